//! The memory layout of operands: the order that both keystream and product need, so that nothing is transposed.
//!
//! 256 rows are split into blocks of [`BLOCK_ELEMENTS`] elements of k (the last may be shorter), a block into 16 panels
//! of 16 rows, a panel into quads: four consecutive elements of each of its 16 rows, one u32 per row. A quad is a
//! 512-bit vector: word w of 16 ChaCha blocks that 16 lanes compute in parallel, and an operand of `vpdpbusd`.

use protocol::limits::TILE_SIDE;

/// Rows of a panel: lanes of a 512-bit vector of u32.
pub(crate) const PANEL_ROWS: usize = 16;

/// Panels of a block: they cover a tile's 256 rows or columns.
pub(crate) const PANELS: usize = TILE_SIDE / PANEL_ROWS;

/// Elements of k in a block: a block of either operand (128 KiB) stays in L2, two panels of it (16 KiB) in L1.
pub(crate) const BLOCK_ELEMENTS: usize = 512;

/// Quads of a ChaCha block: its 16 words.
pub(crate) const QUADS_PER_KEYSTREAM_BLOCK: usize = 16;

/// Four consecutive elements of each of 16 rows; the first element is the low byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Quad(pub(crate) [u32; PANEL_ROWS]);

impl Quad {
    pub(crate) const ZERO: Quad = Quad([0; PANEL_ROWS]);
}

/// Quads of 256 packed rows of `inner_dim` elements.
pub(crate) fn packed_quads(inner_dim: u32) -> usize {
    PANELS * inner_dim as usize / 4
}

/// The blocks of k: the first element and the number of elements of each.
pub(crate) fn blocks(inner_dim: u32) -> impl Iterator<Item = (usize, usize)> {
    let inner_dim = inner_dim as usize;
    (0..inner_dim)
        .step_by(BLOCK_ELEMENTS)
        .map(move |first| (first, BLOCK_ELEMENTS.min(inner_dim - first)))
}
