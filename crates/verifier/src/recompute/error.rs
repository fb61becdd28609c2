//! Why tiles could not be recomputed.

use engine_cpu::TileComputerError;
use protocol::engine::EngineError;
use protocol::tile::TileCoordinate;

/// Why tiles could not be recomputed; says nothing about the Attester.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecomputeError {
    /// The CPU does not support the path, or computes wrong results on it.
    #[error(transparent)]
    Cpu(#[from] TileComputerError),
    /// An engine failed.
    #[error("{name}: {error}")]
    Engine {
        /// Its index among the given engines, from 0.
        engine: usize,
        /// Its name ([`protocol::engine::TileEngine::name`]).
        name: String,
        /// The error.
        error: EngineError,
    },
    /// The system could not start a thread for an engine.
    #[error("no thread for {name}: {error}")]
    NoThread {
        /// Its index among the given engines, from 0.
        engine: usize,
        /// Its name ([`protocol::engine::TileEngine::name`]).
        name: String,
        /// The system's error.
        error: String,
    },
    /// An engine's tile differs from the CPU's: there is no verdict.
    #[error(
        "{name} computes wrongly: it gives another tile than the CPU for {at} at k = {inner_dim}; expected the same; do not use \
         it, verify without it (CUDA_VISIBLE_DEVICES) or on the CPU (--engine cpu)"
    )]
    WrongTile {
        /// Its index among the given engines, from 0.
        engine: usize,
        /// Its name ([`protocol::engine::TileEngine::name`]).
        name: String,
        /// The tile.
        at: TileCoordinate,
        /// Its k.
        inner_dim: u32,
    },
}
