//! The Verifier's side of a session: clock, randomness, recomputation, evidence and reports.
//!
//! The protocol's state machine decides; this crate supplies time, random bytes and recomputed tiles.

pub mod assumptions;
pub mod budget;
pub mod calibrate;
pub mod challenge_file;
pub mod clock;
pub mod cost;
pub mod evidence_file;
pub mod hardware;
pub mod inspect;
mod link;
mod observer;
pub mod outcome;
pub mod partial;
pub mod preset;
pub mod queue;
pub mod recompute;
pub mod reexecute;
mod session;
pub mod settings;
pub mod units;
mod verify;

pub use observer::{Observer, Unobserved};
pub use session::{
    Attestation, Recorded, SessionError, Settings, attest, fill_random, prove, record, result_frame, result_message,
};
pub use transport::Stop;
pub use verify::{Opened, Stopped, Verified, VerifyError, open, open_within, verify};
