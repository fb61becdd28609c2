//! Many concurrent sessions over an async runtime (spec §5.2): connections in, sealed evidence out. Nothing is
//! recomputed here: evidence can be verified at any time, by anyone.
//!
//! One task drives all sessions by one clock; one task per connection reads and timestamps. An open session needs its
//! driver and a read buffer; its OPENINGS is written to a file as soon as it has been received, and only a few sessions
//! are asked for it at a time.

mod error;
mod folder;
mod ran;
mod reader;
mod run;
mod settings;

pub use error::RunError;
pub use ran::{Ran, Recorded};
pub use run::run;
pub use settings::{Member, Settings};
