//! Single tiles, as the Verifier recomputes them (spec §5).

use std::sync::Arc;

use protocol::bytes::OperandKey;
use protocol::engine::{EngineError, TileEngine, check_tiles};
use protocol::limits::TILE_BYTES;
use protocol::tile::TileCoordinate;

use crate::cache::OperandCache;
use crate::path::{Kernels, Path, UnsupportedPath};
use crate::self_check::SelfCheckError;
use crate::tile::Tile;
use crate::unchecked::UncheckedTileComputer;

/// Computes any single tile on one thread. Column blocks of B come from a cache, which computers on several threads may
/// share: order tiles by column block to use it well.
pub struct TileComputer(UncheckedTileComputer);

/// Why a path cannot compute tiles here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileComputerError {
    /// This CPU does not support the path.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedPath),
    /// The path computes wrong results here.
    #[error(transparent)]
    SelfCheck(#[from] SelfCheckError),
}

impl TileComputer {
    /// A computer on `path`, checked against known answers.
    ///
    /// # Errors
    ///
    /// [`TileComputerError`] if this CPU does not support the path or computes wrong results on it.
    pub fn new(path: Path, cache: Arc<OperandCache>) -> Result<Self, TileComputerError> {
        let kernels = path.kernels()?;
        kernels.self_check()?;
        Ok(TileComputer(UncheckedTileComputer::new(kernels, cache)))
    }

    /// The kernels of this computer, for digests of its tiles.
    #[must_use]
    pub fn kernels(&self) -> Kernels {
        self.0.kernels()
    }

    /// Writes the tile at `at` of the iteration with this key and k over `out` (spec §4).
    ///
    /// # Panics
    ///
    /// If `inner_dim` is not a valid k of a plan, or `at` is past the largest matrix.
    pub fn compute(&mut self, key: &OperandKey, inner_dim: u32, at: TileCoordinate, out: &mut Tile) {
        self.0.compute(key, inner_dim, at, out);
    }
}

impl TileEngine for TileComputer {
    fn tiles(
        &mut self,
        operand_key: &OperandKey,
        inner_dim: u32,
        at: &[TileCoordinate],
        take: &mut dyn FnMut(usize, &[u8; TILE_BYTES]),
    ) -> Result<(), EngineError> {
        check_tiles(inner_dim, at)?;
        let mut tile = Tile::zeroed();
        for (i, &at) in at.iter().enumerate() {
            self.compute(operand_key, inner_dim, at, &mut tile);
            take(i, &tile.0);
        }
        Ok(())
    }
}
