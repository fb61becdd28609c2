//! The interface of a device; `engine-cpu` and `engine-cuda` implement it (spec §4, §5).

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::bytes::{OperandKey, Root, Salt};
use crate::commitment::Opening;
use crate::limits::{
    INNER_DIM_RANGE, INNER_DIM_STEP, MATRIX_DIM_RANGE, TILE_BYTES, TILE_SIDE, is_inner_dim, is_matrix_dim,
};
use crate::tile::TileCoordinate;

pub use crate::commitment_id::{CommitmentId, Pass};

/// The part of a plan that one device holds, in the sizes an engine needs before NONCE, valid by construction (spec §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment(AssignmentFields);

/// The unchecked fields of an assignment; [`Assignment::new`] validates them (spec §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AssignmentFields {
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
    /// The assignment of these fields, if a plan can have them (spec §3).
    ///
    /// # Errors
    ///
    /// [`InvalidAssignment`] names the first field outside its limits.
    pub fn new(fields: AssignmentFields) -> Result<Self, InvalidAssignment> {
        let AssignmentFields {
            matrix_dim,
            matrix_offset,
            num_matrices,
            max_inner_dim,
        } = fields;
        if !is_matrix_dim(matrix_dim) {
            return Err(InvalidAssignment::MatrixDim(matrix_dim));
        }
        if !is_inner_dim(max_inner_dim) {
            return Err(InvalidAssignment::MaxInnerDim(max_inner_dim));
        }
        let tiles = u64::from(num_matrices) * u64::from(matrix_dim / TILE_SIDE as u32).pow(2);
        if num_matrices == 0 || tiles > u64::from(u32::MAX) {
            return Err(InvalidAssignment::NumMatrices { num_matrices, tiles });
        }
        if matrix_offset.checked_add(num_matrices.into()).is_none() {
            return Err(InvalidAssignment::MatrixOffset {
                matrix_offset,
                num_matrices,
            });
        }
        Ok(Assignment(fields))
    }

    /// The fields, for reading, and to create another assignment that differs in some.
    #[must_use]
    pub fn fields(&self) -> AssignmentFields {
        self.0
    }

    /// n: a matrix has n x n elements of one byte.
    #[must_use]
    pub fn matrix_dim(&self) -> u32 {
        self.0.matrix_dim
    }

    /// Global index of the device's first matrix.
    #[must_use]
    pub fn matrix_offset(&self) -> u64 {
        self.0.matrix_offset
    }

    /// Matrices the device holds, >= 1.
    #[must_use]
    pub fn num_matrices(&self) -> u32 {
        self.0.num_matrices
    }

    /// Largest k of the plan's iterations.
    #[must_use]
    pub fn max_inner_dim(&self) -> u32 {
        self.0.max_inner_dim
    }

    /// M: tiles the device holds, at most 2^32 - 1.
    #[must_use]
    pub fn tiles(&self) -> u32 {
        let blocks = self.0.matrix_dim / TILE_SIDE as u32;
        self.0.num_matrices * blocks * blocks
    }

    /// N: bytes of the device's dataset.
    #[must_use]
    pub fn dataset_bytes(&self) -> u64 {
        u64::from(self.0.num_matrices) * u64::from(self.0.matrix_dim) * u64::from(self.0.matrix_dim)
    }

    /// Checks that an engine prepared for this assignment can fill with k.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unsupported`] for a k that no plan has, or one above the largest prepared.
    pub fn check_inner_dim(&self, inner_dim: u32) -> Result<(), EngineError> {
        let prepared = self.0.max_inner_dim;
        if is_inner_dim(inner_dim) && inner_dim <= prepared {
            return Ok(());
        }
        Err(EngineError::Unsupported(format!(
            "k = {inner_dim} where {prepared} was prepared"
        )))
    }
}

/// Sizes that a plan cannot have for a device (spec §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAssignment {
    /// n does not consist of whole tiles, or is outside its limits.
    #[error("n = {0} is no multiple of {TILE_SIDE} within {MATRIX_DIM_RANGE:?}")]
    MatrixDim(u32),
    /// k is not a multiple of its step, or is outside its limits.
    #[error("k = {0} is no multiple of {INNER_DIM_STEP} within {INNER_DIM_RANGE:?}")]
    MaxInnerDim(u32),
    /// No matrices, or more tiles than a device's commitment can have.
    #[error("{num_matrices} matrices of {tiles} tiles, expected 1..=2^32 - 1 tiles")]
    NumMatrices {
        /// The number of matrices.
        num_matrices: u32,
        /// Their total number of tiles.
        tiles: u64,
    },
    /// The index of the last matrix exceeds 64 bits.
    #[error("{num_matrices} matrices from index {matrix_offset}, expected indices below 2^64 - 1")]
    MatrixOffset {
        /// Index of the first matrix.
        matrix_offset: u64,
        /// The number of matrices.
        num_matrices: u32,
    },
}

impl From<InvalidAssignment> for EngineError {
    fn from(error: InvalidAssignment) -> Self {
        EngineError::Unsupported(error.to_string())
    }
}

/// The parameters of one fill in addition to the assignment (spec §4).
#[derive(Clone, Copy, Debug)]
pub struct FillTask {
    /// k of this iteration.
    pub inner_dim: u32,
    /// Key of the iteration's operands.
    pub operand_key: OperandKey,
    /// Salt of the iteration's fill digests.
    pub fill_salt: Salt,
    /// The number of sweeps that follow: an engine can allocate memory for their leaves while it fills.
    pub sweeps: u32,
}

/// The part of one device in a round of the tournament (spec §4.8).
#[derive(Clone, Copy, Debug)]
pub struct CrossTask {
    /// Round within the iteration, from 0.
    pub round: u32,
    /// c: leaves that pair two tiles of this device, and leaves that pair one of this device with one of the other.
    pub crossings: u32,
    /// Salt of this device's leaves.
    pub salt: Salt,
    /// Which of the connected datasets is the other device's.
    pub other: usize,
    /// Salt of the other device's leaves, which decides where its tiles are paired.
    pub other_salt: Salt,
}

/// The dataset of a prepared device, for the other devices of its host. It stays that of the device through all fills until the
/// device is prepared again; then it has no tiles to read.
pub trait Dataset: Send + Sync {
    /// M: its tiles.
    fn tiles(&self) -> u32;

    /// Reads one tile, as it is now: for engines that cannot read this device's memory directly.
    ///
    /// # Errors
    ///
    /// The device's error; [`EngineError::Unsupported`] for a tile that it does not have.
    fn read(&self, tile: u32, into: &mut [u8; TILE_BYTES]) -> Result<(), EngineError>;

    /// Itself, for engines of its own kind.
    fn as_any(&self) -> &dyn Any;
}

/// Is notified of a device's progress and may cancel its work.
pub trait Progress: Sync {
    /// `tiles` more tiles have been filled or swept.
    fn advance(&self, tiles: u64);

    /// Whether the work is cancelled; engines check at least once a second.
    fn is_cancelled(&self) -> bool;
}

/// A [`Progress`] that ignores notifications and never cancels.
pub struct Unobserved;

impl Progress for Unobserved {
    fn advance(&self, _tiles: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// How a device reads the tiles of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkPath {
    /// They are in the memory of this same device.
    Same,
    /// From the other GPU's memory, by loads of the kernel.
    Peer,
    /// From copies in the memory of this device: this GPU has no access to the other's memory, or the tiles are not on a GPU.
    Staged,
}

impl fmt::Display for LinkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LinkPath::Same => "same",
            LinkPath::Peer => "peer",
            LinkPath::Staged => "staged",
        })
    }
}

/// One device at work. Calls are in session order: `prepare`, `connect` if there are rounds, then for each iteration `fill`,
/// its sweeps and its rounds, then `open`.
///
/// Iterations count `fill` calls from 0, sweeps count `sweep` calls since the last fill from 1; only calls that return
/// a root count. An engine keeps the leaves of all of them (not the dataset of past iterations) until it is prepared
/// again or dropped.
///
/// The state after a call that commits to nothing:
///
/// - A fill with a k that was not prepared ([`EngineError::Unsupported`]): unchanged.
/// - Any other fill that returns an error, even one that was cancelled before it started: earlier leaves can be opened,
///   but there is no dataset, and a sweep is [`EngineError::Unsupported`] until a fill returns a root.
/// - A sweep or round that was cancelled: unchanged, and the dataset can be swept again.
/// - Any call whose error means that the device is lost ([`EngineError::is_lost`]): nothing is left. Every later fill,
///   sweep and opening ends with such an error, until `prepare` returns `Ok` on a device that is back. No call blocks
///   forever.
pub trait Engine: Send {
    /// Allocates all memory, loads all code and checks it against known answers, so that none of this can fail once the
    /// clock runs.
    ///
    /// # Errors
    ///
    /// [`EngineError::OutOfMemory`] with the required and the available memory; [`EngineError::SelfTest`] if this
    /// device computes wrong results.
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError>;

    /// Fills the dataset and returns the root of the fill digests.
    ///
    /// # Errors
    ///
    /// The device's error; [`EngineError::Cancelled`] if `progress` cancels the work.
    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError>;

    /// Sweeps the dataset once and returns the root of the pair digests.
    ///
    /// # Errors
    ///
    /// As for [`Engine::fill`].
    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError>;

    /// The dataset of the prepared device, for the other devices of the host. Engines that are alone in all their sessions need
    /// not have it.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unsupported`] before `prepare`, or where this engine takes part in no rounds.
    fn dataset(&self) -> Result<Arc<dyn Dataset>, EngineError> {
        Err(no_rounds())
    }

    /// Gets access to the datasets of all devices of the session, itself among them, in the order of the plan: all that can
    /// fail or take time before the clock runs. Returns how it will read each.
    ///
    /// # Errors
    ///
    /// As for [`Engine::prepare`].
    fn connect(&mut self, datasets: &[Arc<dyn Dataset>]) -> Result<Vec<LinkPath>, EngineError> {
        let _ = datasets;
        Err(no_rounds())
    }

    /// Computes this device's leaves of a round and returns their root: c of its own tiles, c with those of the other device,
    /// which it reads itself. No device may fill until all that meet it have returned.
    ///
    /// # Errors
    ///
    /// As for [`Engine::fill`]; [`EngineError::Unsupported`] if the other dataset is not connected, or more tiles are needed than
    /// either has.
    fn cross(&mut self, task: &CrossTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        let (_, _) = (task, progress);
        Err(no_rounds())
    }

    /// The opening of one leaf of an earlier fill, sweep or round.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchLeaf`] for a commitment that does not exist or a leaf that it does not have.
    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError>;
}

fn no_rounds() -> EngineError {
    EngineError::Unsupported("rounds between devices, by this engine".to_owned())
}

/// Computes single tiles for a Verifier (spec §5). A call is short and cannot be cancelled: a caller that needs many
/// tiles requests some at a time.
pub trait TileEngine: Send {
    /// What a user calls the device, with what tells it from others; `None` where nobody has named it.
    fn name(&self) -> Option<&str> {
        None
    }

    /// Computes tiles of one iteration and passes each to `take` with its index in `at`, in any order.
    ///
    /// Neighbours that share a column block are cheapest. If this returns `Ok`, every tile was passed exactly once.
    ///
    /// # Errors
    ///
    /// The device's error; [`EngineError::Unsupported`] for a k or a coordinate that no plan has. After an error that
    /// means that the device is lost ([`EngineError::is_lost`]) every later call returns one.
    fn tiles(
        &mut self,
        operand_key: &OperandKey,
        inner_dim: u32,
        at: &[TileCoordinate],
        take: &mut dyn FnMut(usize, &[u8; TILE_BYTES]),
    ) -> Result<(), EngineError>;
}

/// Checks that a plan can have tiles of this k at these places.
///
/// # Errors
///
/// [`EngineError::Unsupported`] names the value that no plan has.
pub fn check_tiles(inner_dim: u32, at: &[TileCoordinate]) -> Result<(), EngineError> {
    if !is_inner_dim(inner_dim) {
        return Err(EngineError::Unsupported(format!("k = {inner_dim}")));
    }
    let blocks = MATRIX_DIM_RANGE.end() / TILE_SIDE as u32;
    match at.iter().find(|at| at.row_block >= blocks || at.column_block >= blocks) {
        Some(at) => Err(EngineError::Unsupported(format!(
            "tile row {}, column {}, expected below {blocks}",
            at.row_block, at.column_block
        ))),
        None => Ok(()),
    }
}

/// Why a device could not do its work: it becomes the typed reason of "could not run" (spec §5).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The required memory is not available.
    #[error(
        "out of memory: {requested_bytes} bytes asked for, {available_bytes} available{}",
        if available_bytes < requested_bytes { "" } else { ", which the driver did not give in one piece" }
    )]
    OutOfMemory {
        /// Bytes the assignment needs.
        requested_bytes: u64,
        /// Bytes that are free; a driver can refuse even less than this.
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
        /// The driver's error.
        message: String,
    },
    /// The device computed a wrong known answer.
    #[error("self-test failed: {0}")]
    SelfTest(String),
    /// This engine does not support plans of these sizes.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// No commitment has the requested opening.
    #[error("no leaf {leaf} in {commitment:?}")]
    NoSuchLeaf {
        /// The commitment named.
        commitment: CommitmentId,
        /// The leaf named.
        leaf: u32,
    },
}

impl EngineError {
    /// Whether the device, or its data, can no longer be relied on.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        match self {
            EngineError::DeviceLost(_) | EngineError::Driver { .. } | EngineError::SelfTest(_) => true,
            EngineError::OutOfMemory { .. }
            | EngineError::Unsupported(_)
            | EngineError::Cancelled
            | EngineError::NoSuchLeaf { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: AssignmentFields = AssignmentFields {
        matrix_dim: 256,
        matrix_offset: 0,
        num_matrices: 1,
        max_inner_dim: 64,
    };

    fn sizes(matrix_dim: u32, num_matrices: u32, max_inner_dim: u32) -> AssignmentFields {
        AssignmentFields {
            matrix_dim,
            matrix_offset: 5,
            num_matrices,
            max_inner_dim,
        }
    }

    #[test]
    fn sizes_no_plan_has_are_refused_by_name() {
        let num_matrices = |num_matrices, tiles| InvalidAssignment::NumMatrices { num_matrices, tiles };
        for (fields, expected) in [
            (sizes(0, 1, 64), InvalidAssignment::MatrixDim(0)),
            (sizes(128, 1, 64), InvalidAssignment::MatrixDim(128)),
            (sizes(300, 1, 64), InvalidAssignment::MatrixDim(300)),
            (sizes(33_024, 1, 64), InvalidAssignment::MatrixDim(33_024)),
            (sizes(u32::MAX, 1, 64), InvalidAssignment::MatrixDim(u32::MAX)),
            (sizes(256, 1, 0), InvalidAssignment::MaxInnerDim(0)),
            (sizes(256, 1, 65), InvalidAssignment::MaxInnerDim(65)),
            (sizes(256, 1, 65_600), InvalidAssignment::MaxInnerDim(65_600)),
            (sizes(256, 0, 64), num_matrices(0, 0)),
            (sizes(32_768, u32::MAX, 64), num_matrices(u32::MAX, 0x3FFF_FFFF_C000)),
            (sizes(32_768, 1 << 18, 64), num_matrices(1 << 18, 1 << 32)),
        ] {
            assert_eq!(Assignment::new(fields), Err(expected), "{fields:?}");
        }
        let past_the_end = AssignmentFields {
            matrix_offset: u64::MAX,
            ..LEAST
        };
        let expected = InvalidAssignment::MatrixOffset {
            matrix_offset: u64::MAX,
            num_matrices: 1,
        };
        assert_eq!(Assignment::new(past_the_end), Err(expected));
    }

    #[test]
    fn the_ends_of_all_bounds_are_assignments() {
        let last_offset = AssignmentFields {
            matrix_offset: u64::MAX - 1,
            ..LEAST
        };
        for (fields, tiles, dataset_bytes) in [
            (LEAST, 1, 1 << 16),
            (last_offset, 1, 1 << 16),
            (sizes(256, u32::MAX, 65_536), u32::MAX, 0xFFFF_FFFF << 16),
            (sizes(32_768, (1 << 18) - 1, 64), 0xFFFF_C000, 0xFFFF_C000 << 16),
        ] {
            let assignment = Assignment::new(fields).expect("sizes that a plan can have");
            assert_eq!(assignment.fields(), fields);
            assert_eq!((assignment.tiles(), assignment.dataset_bytes()), (tiles, dataset_bytes));
        }
    }

    #[test]
    fn a_fill_has_a_k_that_was_prepared() {
        let assignment = Assignment::new(sizes(256, 1, 192)).expect("sizes that a plan can have");
        for inner_dim in [64, 128, 192] {
            assert_eq!(assignment.check_inner_dim(inner_dim), Ok(()));
        }
        for inner_dim in [0, 32, 65, 256, 65_536, u32::MAX] {
            let refused = EngineError::Unsupported(format!("k = {inner_dim} where 192 was prepared"));
            assert_eq!(assignment.check_inner_dim(inner_dim), Err(refused));
        }
    }

    #[test]
    fn tiles_that_no_plan_has_are_refused() {
        let tile = |matrix, row_block, column_block| TileCoordinate {
            matrix,
            row_block,
            column_block,
        };
        let last = tile(u64::MAX, 127, 127);
        assert_eq!(check_tiles(65_536, &[tile(0, 0, 0), last]), Ok(()));
        let refused = |k, at| check_tiles(k, &[last, at]).expect_err("no plan has it").to_string();
        assert_eq!(refused(63, last), "unsupported: k = 63");
        for (at, expected) in [
            (
                tile(0, 128, 0),
                "unsupported: tile row 128, column 0, expected below 128",
            ),
            (
                tile(0, 0, u32::MAX),
                "unsupported: tile row 0, column 4294967295, expected below 128",
            ),
        ] {
            assert_eq!(refused(64, at), expected);
        }
    }

    #[test]
    fn an_engine_error_says_what_was_wrong() {
        let why = |fields| EngineError::from(Assignment::new(fields).expect_err("no plan has these sizes")).to_string();
        assert_eq!(
            why(sizes(300, 1, 64)),
            "unsupported: n = 300 is no multiple of 256 within 256..=32768"
        );
        assert_eq!(
            why(sizes(256, 1, 65)),
            "unsupported: k = 65 is no multiple of 64 within 64..=65536"
        );
        assert_eq!(
            why(sizes(256, 0, 64)),
            "unsupported: 0 matrices of 0 tiles, expected 1..=2^32 - 1 tiles"
        );
    }
}
