//! What doing work again may find, and why it may not be done.

use std::io;
use std::path::PathBuf;

use protocol::bytes::{DeviceOrdinal, Root};
use protocol::engine::{CommitmentId, EngineError};

/// A root that doing the work again gives another value for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device {device}, {commitment}: root is {expected}, committed was {actual}")]
pub struct RootMismatch {
    /// The device.
    pub device: DeviceOrdinal,
    /// Its fill or sweep.
    pub commitment: CommitmentId,
    /// The root that the work gives.
    pub expected: Root,
    /// The root committed to.
    pub actual: Root,
}

/// Why work could not be done again; says nothing about the evidence.
#[derive(Debug, thiserror::Error)]
pub enum ReexecuteError {
    /// The session stopped before its last iteration was done.
    #[error("the session has no checksum: it stopped before its last iteration was done")]
    Unfinished,
    /// No engine was given.
    #[error("no engine to work with")]
    NoEngine,
    /// No job of this device can be done: its dataset must be held whole.
    #[error(
        "device {device}: doing its work again takes {required_bytes} bytes of memory, {available_bytes} are available; expected \
         a host that can hold the device's dataset, or GPUs that can (--engine cuda)"
    )]
    TooLarge {
        /// The device.
        device: DeviceOrdinal,
        /// Bytes that the engine needs.
        required_bytes: u64,
        /// Bytes that there are.
        available_bytes: u64,
    },
    /// An engine could not do a job that no other took.
    #[error("device {device}, iteration {iteration}: {error}")]
    Engine {
        /// The device whose work it was.
        device: DeviceOrdinal,
        /// The iteration.
        iteration: u32,
        /// What the engine met.
        error: EngineError,
    },
    /// The system gave no thread for an engine, and no other engine took its job.
    #[error("an engine: {0}")]
    NoThread(io::Error),
    /// Two executions of one job come to different roots, neither of them the committed one: an engine errs.
    #[error("engines disagree, so one of them errs: first {}; then {}", .0[0], .0[1])]
    Disagreement(Box<[RootMismatch; 2]>),
    /// The file of finished jobs cannot be used.
    #[error("{path}: {error}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
}
