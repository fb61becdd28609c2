//! Single tiles on kernels that need not have been checked: what the self-check itself runs on.

use std::sync::Arc;

use protocol::bytes::OperandKey;
use protocol::operand::Operand;
use protocol::tile::TileCoordinate;

use crate::cache::OperandCache;
use crate::layout::{BLOCK_ELEMENTS, PANELS, Quad, blocks};
use crate::packing::RowSource;
use crate::path::Kernels;
use crate::product::Product;
use crate::tile::Tile;

/// Computes any single tile on one thread, by kernels that may be wrong.
pub(crate) struct UncheckedTileComputer {
    kernels: Kernels,
    cache: Arc<OperandCache>,
    product: Product,
    left_block: Vec<Quad>,
}

impl UncheckedTileComputer {
    pub(crate) fn new(kernels: Kernels, cache: Arc<OperandCache>) -> Self {
        UncheckedTileComputer {
            kernels,
            cache,
            product: Product::new(kernels),
            left_block: vec![Quad::ZERO; PANELS * BLOCK_ELEMENTS / 4],
        }
    }

    pub(crate) fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// Writes the tile at `at` over `out` (spec §4). The left operand is generated block by block and used while it is
    /// in cache.
    ///
    /// # Panics
    ///
    /// If `inner_dim` is not a valid k of a plan, or `at` is past the largest matrix.
    pub(crate) fn compute(&mut self, key: &OperandKey, inner_dim: u32, at: TileCoordinate, out: &mut Tile) {
        let source = RowSource::new(key, Operand::A(at.matrix), inner_dim, at.row_block);
        let UncheckedTileComputer {
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
