//! What a device must be able to do; `engine-cpu` and `engine-cuda` implement it (spec §4, §5).

use std::fmt;

use crate::bytes::{OperandKey, Root, Salt};
use crate::commitment::Opening;
use crate::limits::{TILE_BYTES, TILE_SIDE};
use crate::tile::TileCoordinate;

/// The part of a plan that one device holds, in the sizes an engine needs before NONCE (spec §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// n: a matrix has n x n elements of one byte.
    pub matrix_dim: u32,
    /// Global index of the device's first matrix.
    pub matrix_offset: u64,
    /// Matrices the device holds, >= 1.
    pub num_matrices: u32,
    /// Largest k of the plan's iterations.
    pub max_inner_dim: u32,
}

impl Assignment {
    /// M: tiles the device holds, at most 2^32 - 1.
    #[must_use]
    pub fn tiles(&self) -> u32 {
        let blocks = self.matrix_dim / TILE_SIDE as u32;
        self.num_matrices * blocks * blocks
    }

    /// N: bytes of the device's dataset.
    #[must_use]
    pub fn dataset_bytes(&self) -> u64 {
        u64::from(self.num_matrices) * u64::from(self.matrix_dim) * u64::from(self.matrix_dim)
    }
}

/// What one fill needs to know beyond the assignment (spec §4).
#[derive(Clone, Copy, Debug)]
pub struct FillTask {
    /// k of this iteration.
    pub inner_dim: u32,
    /// Key of the iteration's operands.
    pub operand_key: OperandKey,
    /// Salt of the iteration's fill digests.
    pub fill_salt: Salt,
    /// Sweeps that are to follow: an engine can make room for their leaves while it fills.
    pub sweeps: u32,
}

/// Names one commitment of a device: the fill of iteration t, or its sweep s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CommitmentId {
    /// The fill of an iteration (from 0).
    Fill {
        /// Iteration, from 0.
        iteration: u32,
    },
    /// A sweep (from 1) of an iteration (from 0).
    Sweep {
        /// Iteration, from 0.
        iteration: u32,
        /// Sweep within the iteration, from 1.
        sweep: u32,
    },
}

/// Hears how far a device has come and may end its work early.
pub trait Progress: Sync {
    /// `tiles` more tiles are filled or swept.
    fn advance(&self, tiles: u64);

    /// Whether the work is no longer wanted; engines ask at least once a second.
    fn is_cancelled(&self) -> bool;
}

/// A [`Progress`] that nobody listens to.
pub struct Unobserved;

impl Progress for Unobserved {
    fn advance(&self, _tiles: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// One device at work. Calls come in session order: `prepare`, then for each iteration `fill` and its sweeps, then `open`.
///
/// Iterations count `fill` calls from 0, sweeps count `sweep` calls since the last fill from 1. An engine keeps the
/// leaves of all of them (not the dataset of past iterations) until it is prepared anew or dropped.
pub trait Engine: Send {
    /// Takes all memory, loads all code and checks itself against known answers, so that nothing is left to go wrong
    /// for want of them once the clock runs.
    ///
    /// # Errors
    ///
    /// [`EngineError::OutOfMemory`] with what was asked and what there was; [`EngineError::SelfTest`] if this device
    /// computes wrong answers.
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError>;

    /// Fills the dataset and returns the root of the fill digests.
    ///
    /// # Errors
    ///
    /// Whatever the device reports; [`EngineError::Cancelled`] if `progress` says so.
    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError>;

    /// Sweeps the dataset once and returns the root of the pair digests.
    ///
    /// # Errors
    ///
    /// As for [`Engine::fill`].
    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError>;

    /// The opening of one leaf of an earlier fill or sweep.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchLeaf`] for a commitment that was not made or a leaf it does not have.
    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError>;
}

/// A device that computes single tiles for a Verifier, beside its CPU (spec §5).
pub trait TileEngine: Send {
    /// Computes tiles of one iteration and hands each to `take` with its place in `at`, in any order.
    ///
    /// Neighbours that share a column block are cheapest. Every tile is handed over exactly once where this returns `Ok`.
    ///
    /// # Errors
    ///
    /// Whatever the device reports; [`EngineError::Unsupported`] for a k or a coordinate that no plan has.
    fn tiles(
        &mut self,
        operand_key: &OperandKey,
        inner_dim: u32,
        at: &[TileCoordinate],
        take: &mut dyn FnMut(usize, &[u8; TILE_BYTES]),
    ) -> Result<(), EngineError>;
}

/// Why a device could not do its work: it becomes the typed reason of "could not run" (spec §5).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The memory asked for is not there.
    #[error("out of memory: {requested_bytes} bytes asked for, {available_bytes} available")]
    OutOfMemory {
        /// Bytes the assignment needs.
        requested_bytes: u64,
        /// Bytes that could be had.
        available_bytes: u64,
    },
    /// The device stopped answering.
    #[error("device lost: {0}")]
    DeviceLost(String),
    /// A driver call failed.
    #[error("driver error in {call}: {message}")]
    Driver {
        /// The call that failed.
        call: String,
        /// What the driver said.
        message: String,
    },
    /// The device's known answer came out wrong.
    #[error("self-test failed: {0}")]
    SelfTest(String),
    /// This engine does not run plans of these sizes.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The session no longer wants the work.
    #[error("cancelled")]
    Cancelled,
    /// An opening was asked for that no commitment has.
    #[error("no leaf {leaf} in {commitment:?}")]
    NoSuchLeaf {
        /// The commitment named.
        commitment: CommitmentId,
        /// The leaf named.
        leaf: u32,
    },
}

impl fmt::Display for CommitmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitmentId::Fill { iteration } => write!(f, "fill of iteration {iteration}"),
            CommitmentId::Sweep { iteration, sweep } => write!(f, "sweep {sweep} of iteration {iteration}"),
        }
    }
}
