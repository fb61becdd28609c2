//! The position of a tile, and the fold that converts an exact product into its byte (spec §4).

use std::fmt;

use crate::limits::TILE_SIDE;

/// Position of one 256 x 256 tile among all matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileCoordinate {
    /// Global index of the matrix.
    pub matrix: u64,
    /// Rows `256 * row_block ..` of the matrix.
    pub row_block: u32,
    /// Columns `256 * column_block ..` of the matrix.
    pub column_block: u32,
}

impl fmt::Display for TileCoordinate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TileCoordinate {
            matrix,
            row_block,
            column_block,
        } = self;
        write!(
            f,
            "the tile of matrix {matrix}, row block {row_block}, column block {column_block}"
        )
    }
}

impl TileCoordinate {
    /// Coordinate of tile `index` of a device that holds matrices from `matrix_offset` on (spec §4).
    #[must_use]
    pub fn from_index(index: u32, matrix_offset: u64, matrix_dim: u32) -> Self {
        let blocks = matrix_dim / TILE_SIDE as u32;
        let (matrix, within) = (index / (blocks * blocks), index % (blocks * blocks));
        TileCoordinate {
            matrix: matrix_offset + u64::from(matrix),
            row_block: within / blocks,
            column_block: within % blocks,
        }
    }
}

/// The byte for an exact sum of products: a nonlinear mix, so that no algebraic shortcut exists for it (spec §4).
#[inline(always)]
#[must_use]
pub fn fold(acc: i32) -> u8 {
    let mut h = (acc as u32).wrapping_mul(0x9E37_79B1);
    h ^= h >> 15;
    h = h.wrapping_mul(0x85EB_CA6B);
    (h >> 24) as u8
}
