//! Both sides of a session without IO: bytes and times go in, bytes and what is waited for come out (spec §5, §9.3).
//!
//! Threads, an async runtime, tests and fuzzing are thin shells around [`VerifierDriver`] and [`AttesterDriver`].
//!
//! A Verifier's shell does what [`VerifierDriver::need`] says, until there is a verdict or tiles are to be recomputed:
//!
//! - it reads while [`VerifierDriver::wants_bytes`], and stamps what it has read before it does anything else;
//! - it tells the driver when the connection has ended, when somebody stops the session, and when a time has come;
//! - where a message is ready to be sent, it releases it: at once, or together with those of other sessions.
//!
//! An Attester's shell does every [`AttesterDriver::next_action`], tells what its devices have done, and when a time has come, until
//! [`AttesterDriver::outcome`].

mod attester;
mod decoder;
mod limits;
mod verifier;

pub use attester::{Action, AttesterDriver, Done, Ended};
pub use limits::{LimitPassed, Limits, OPERATIONS_PER_SWEPT_BYTE, work};
pub use verifier::{Need, Opener, VerifierDriver};
