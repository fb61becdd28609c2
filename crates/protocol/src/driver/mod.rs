//! Both sides of a session without IO: bytes and times go in, bytes and requests come out (spec §5, §9.3).
//!
//! Threads, an async runtime, tests and fuzzing are thin shells around [`VerifierDriver`] and [`AttesterDriver`].
//!
//! A caller on the Verifier's side does what [`VerifierDriver::need`] returns, until there is a verdict or tiles are to
//! be recomputed:
//!
//! - it reads while [`VerifierDriver::wants_bytes`], and timestamps what it has read before it does anything else;
//! - it reports to the driver when the connection has ended, when the session is stopped, and when a time has been
//!   reached;
//! - if a message is ready to be sent, it releases it: at once, or together with those of other sessions.
//!
//! A caller on the Attester's side does every [`AttesterDriver::next_action`], reports what its devices have finished
//! and when a time has been reached, until [`AttesterDriver::outcome`].

mod attester;
mod decoder;
mod limits;
mod verifier;

pub use attester::{Action, AttesterDriver, Done, Ended};
pub use limits::{LimitPassed, Limits, OPERATIONS_PER_SWEPT_BYTE, work};
pub use verifier::{Need, Opener, VerifierDriver};
