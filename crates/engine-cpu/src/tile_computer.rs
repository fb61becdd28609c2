//! Single tiles, as the Verifier recomputes them (spec §5).

use std::sync::Arc;

use protocol::bytes::OperandKey;
use protocol::operand::Operand;
use protocol::tile::TileCoordinate;

use crate::cache::OperandCache;
use crate::packing::{BLOCK_ELEMENTS, PANELS, Quad, RowSource, blocks};
use crate::path::{Kernels, Path, UnsupportedPath};
use crate::product::Product;
use crate::self_check::SelfCheckError;
use crate::tile::Tile;

/// Computes any single tile on one thread. Column blocks of B come from a cache, which computers on several threads may
/// share: order tiles by column block to make the most of it.
pub struct TileComputer {
    kernels: Kernels,
    cache: Arc<OperandCache>,
    product: Product,
    left_block: Vec<Quad>,
}

/// Why a path cannot compute tiles here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileComputerError {
    /// This CPU does not run the path.
    #[error(transparent)]
    Unsupported(#[from] UnsupportedPath),
    /// The path computes wrong answers here.
    #[error(transparent)]
    SelfCheck(#[from] SelfCheckError),
}

impl TileComputer {
    /// A computer on `path` that has been checked against known answers.
    ///
    /// # Errors
    ///
    /// [`TileComputerError`] if this CPU lacks the path or computes wrong answers on it.
    pub fn new(path: Path, cache: Arc<OperandCache>) -> Result<Self, TileComputerError> {
        let kernels = path.kernels()?;
        kernels.self_check()?;
        Ok(TileComputer::unchecked(kernels, cache))
    }

    /// A computer whose kernels nobody has checked.
    pub(crate) fn unchecked(kernels: Kernels, cache: Arc<OperandCache>) -> Self {
        TileComputer {
            kernels,
            cache,
            product: Product::new(kernels),
            left_block: vec![Quad::ZERO; PANELS * BLOCK_ELEMENTS / 4],
        }
    }

    /// The code this computer runs, for digests of its tiles.
    #[must_use]
    pub fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Writes the tile at `at` of the iteration with this key and k over `out` (spec §4).
    ///
    /// The left operand is generated block by block and used while it is in cache.
    ///
    /// # Panics
    ///
    /// If `inner_dim` is no k of a plan, or `at` is past the largest matrix.
    pub fn compute(&mut self, key: &OperandKey, inner_dim: u32, at: TileCoordinate, out: &mut Tile) {
        let source = RowSource::new(key, Operand::A(at.matrix), inner_dim, at.row_block);
        let TileComputer {
            kernels,
            cache,
            product,
            left_block,
        } = self;
        cache.with(*kernels, key, inner_dim, at.column_block, |right| {
            let right = right.as_right();
            product.start(right.sums);
            for (first, count) in blocks(inner_dim) {
                let left = &mut left_block[..PANELS * count / 4];
                source.generate(*kernels, first, kernels.left_flip(), left);
                product.accumulate(left, &right.quads[PANELS * first / 4..][..PANELS * count / 4]);
            }
            product.finish(out);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_tiles_agree_with_the_reference_on_every_path() {
        let coordinates = [(0, 0, 0), (7, 3, 1), (1 << 40, 127, 127), (u64::MAX, 0, 5)];
        for (inner_dim, coordinates) in [
            (64, &coordinates[..]),
            (192, &coordinates),
            (1088, &coordinates[..2]),
            (4096, &coordinates[2..3]),
        ] {
            for &(matrix, row_block, column_block) in coordinates {
                let key = OperandKey([inner_dim as u8 ^ 0x5A; 32]);
                let expected = reference::tile(
                    &key.0,
                    inner_dim as usize,
                    matrix,
                    row_block as usize,
                    column_block as usize,
                );
                for path in Path::available() {
                    let mut computer =
                        TileComputer::new(path, Arc::new(OperandCache::new(1 << 24))).expect("the path works");
                    let mut tile = Tile::zeroed();
                    for pass in ["made", "cached"] {
                        tile.0.fill(0);
                        let at = TileCoordinate {
                            matrix,
                            row_block,
                            column_block,
                        };
                        computer.compute(&key, inner_dim, at, &mut tile);
                        assert!(tile.0[..] == expected[..], "{path}, k = {inner_dim}, {at:?}, B {pass}");
                    }
                }
            }
        }
    }
}
