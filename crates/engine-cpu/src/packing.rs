//! Operands generated in the layout of the product: 256 rows at a time.

use protocol::bytes::OperandKey;
use protocol::limits::{INNER_DIM_RANGE, INNER_DIM_STEP, TILE_SIDE, is_inner_dim};
use protocol::operand::Operand;

use crate::keystream::{Stream, panel_keystream, row_sums};
use crate::layout::{PANEL_ROWS, PANELS, Quad, blocks, packed_quads};
use crate::path::Kernels;

/// 256 consecutive rows of an operand, not yet generated (spec §4).
pub(crate) struct RowSource {
    stream: Stream,
    first_row: u32,
    inner_dim: u32,
}

impl RowSource {
    /// Rows `256 * row_block ..` of `operand`.
    ///
    /// # Panics
    ///
    /// If `inner_dim` is not a valid k of a plan or the rows are past the largest matrix.
    pub(crate) fn new(key: &OperandKey, operand: Operand, inner_dim: u32, row_block: u32) -> Self {
        assert!(
            is_inner_dim(inner_dim),
            "inner_dim {inner_dim} is no multiple of {INNER_DIM_STEP} within {INNER_DIM_RANGE:?}"
        );
        assert!(
            row_block < 32_768 / TILE_SIDE as u32,
            "row block {row_block} is past the largest matrix"
        );
        RowSource {
            stream: Stream::new(key, operand),
            first_row: row_block * TILE_SIDE as u32,
            inner_dim,
        }
    }

    /// Writes elements `first_element ..` of all 256 rows as one block to `out`, every byte xored with that of `flip`.
    pub(crate) fn generate(&self, kernels: Kernels, first_element: usize, flip: u32, out: &mut [Quad]) {
        let keystream_blocks_per_row = self.inner_dim / 64;
        for (panel, out) in out.chunks_exact_mut(out.len() / PANELS).enumerate() {
            let row = self.first_row + (panel * PANEL_ROWS) as u32;
            let first_counter = row * keystream_blocks_per_row + first_element as u32 / 64;
            panel_keystream(
                kernels,
                &self.stream,
                first_counter,
                keystream_blocks_per_row,
                flip,
                out,
            );
        }
    }
}

/// 256 rows of an operand, generated and packed.
pub(crate) fn generate_left(kernels: Kernels, source: &RowSource, out: &mut [Quad]) {
    for (first, count) in blocks(source.inner_dim) {
        let out = &mut out[PANELS * first / 4..][..PANELS * count / 4];
        source.generate(kernels, first, kernels.left_flip(), out);
    }
}

/// 256 rows of B packed as right operands into `out`, and the sum of each row's elements.
pub(crate) fn generate_right(kernels: Kernels, source: &RowSource, out: &mut [Quad]) -> RowSums {
    let mut sums = [0; TILE_SIDE];
    for (first, count) in blocks(source.inner_dim) {
        let out = &mut out[PANELS * first / 4..][..PANELS * count / 4];
        source.generate(kernels, first, 0, out);
        add_row_sums(kernels, out, &mut sums);
    }
    sums
}

/// The sum of the elements of each of 256 rows: the correction for a product whose other operand is offset.
pub(crate) type RowSums = [i32; TILE_SIDE];

fn add_row_sums(kernels: Kernels, block: &[Quad], sums: &mut RowSums) {
    for (panel, sums) in block
        .chunks_exact(block.len() / PANELS)
        .zip(sums.as_chunks_mut::<PANEL_ROWS>().0)
    {
        row_sums(kernels, panel, sums);
    }
}

/// 256 consecutive rows of an iteration's operand B, that is, 256 columns of the right operand, packed for the product:
/// 256 * k bytes and the sums of the rows. The layout is the same on every path.
pub struct PackedRows {
    inner_dim: u32,
    quads: Vec<Quad>,
    sums: RowSums,
}

impl PackedRows {
    /// Rows `256 * column_block ..` of operand B of an iteration (spec §4).
    ///
    /// # Panics
    ///
    /// If `inner_dim` is not a valid k of a plan, or `column_block` is past the largest matrix.
    #[must_use]
    pub fn generate(kernels: Kernels, key: &OperandKey, inner_dim: u32, column_block: u32) -> Self {
        let source = RowSource::new(key, Operand::B, inner_dim, column_block);
        let mut quads = vec![Quad::ZERO; packed_quads(inner_dim)];
        let sums = generate_right(kernels, &source, &mut quads);
        PackedRows { inner_dim, quads, sums }
    }

    /// Overwrites the rows with those of another column block, in the same memory.
    ///
    /// # Panics
    ///
    /// If `column_block` is past the largest matrix.
    pub fn regenerate(&mut self, kernels: Kernels, key: &OperandKey, column_block: u32) {
        let source = RowSource::new(key, Operand::B, self.inner_dim, column_block);
        self.sums = generate_right(kernels, &source, &mut self.quads);
    }

    /// Bytes of memory that rows of `inner_dim` elements take when packed.
    #[must_use]
    pub fn size_bytes(inner_dim: u32) -> usize {
        packed_quads(inner_dim) * size_of::<Quad>() + size_of::<PackedRows>()
    }

    /// The rows in the form that the product takes.
    pub(crate) fn as_right(&self) -> Right<'_> {
        Right {
            inner_dim: self.inner_dim,
            quads: &self.quads,
            sums: &self.sums,
        }
    }

    /// Packs rows given element by element, each byte of `rows` xored with `flip`: only for tests of the product.
    #[cfg(test)]
    pub(crate) fn from_rows(kernels: Kernels, inner_dim: u32, rows: &[i8], flip: u8) -> Self {
        let k = inner_dim as usize;
        let mut quads = vec![Quad::ZERO; packed_quads(inner_dim)];
        let mut sums = [0; TILE_SIDE];
        for (first, count) in blocks(inner_dim) {
            let block = &mut quads[PANELS * first / 4..][..PANELS * count / 4];
            for (at, quad) in block.iter_mut().enumerate() {
                let (panel, element) = (at / (count / 4), first + at % (count / 4) * 4);
                for (lane, word) in quad.0.iter_mut().enumerate() {
                    let at = (panel * PANEL_ROWS + lane) * k + element;
                    *word = u32::from_le_bytes(std::array::from_fn(|i| rows[at + i] as u8 ^ flip));
                }
            }
            add_row_sums(kernels, block, &mut sums);
        }
        PackedRows { inner_dim, quads, sums }
    }

    /// The packed quads.
    #[cfg(test)]
    pub(crate) fn quads(&self) -> &[Quad] {
        &self.quads
    }
}

/// A packed right operand, wherever it is stored.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub(crate) inner_dim: u32,
    pub(crate) quads: &'a [Quad],
    pub(crate) sums: &'a RowSums,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Path;

    /// Small enough for Miri: the smallest k of a plan, portable code only.
    #[test]
    fn small_operands_are_packed_as_the_definition_has_them() {
        let kernels = Path::Portable.kernels().expect("portable code runs anywhere");
        let key = OperandKey([5; 32]);
        let rows = reference::operand_b(&key.0, 64, TILE_SIDE, TILE_SIDE);
        let expected = PackedRows::from_rows(kernels, 64, &rows, 0);
        let generated = PackedRows::generate(kernels, &key, 64, 1);
        assert!(generated.quads == expected.quads && generated.sums == expected.sums);
    }

    #[test]
    fn every_path_packs_the_operand_of_the_definition() {
        let key = OperandKey(std::array::from_fn(|i| (7 * i) as u8));
        for (inner_dim, block) in [(64, 0), (192, 3), (512, 1), (576, 127), (1088, 2)] {
            let mut rows = vec![0; TILE_SIDE * inner_dim as usize];
            protocol::operand::operand_rows(&key, Operand::B, inner_dim, block * TILE_SIDE as u32, &mut rows);
            let rows: Vec<i8> = rows.into_iter().map(|byte| byte as i8).collect();
            for path in Path::available() {
                let kernels = path.kernels().expect("available");
                let generated = PackedRows::generate(kernels, &key, inner_dim, block);
                let expected = PackedRows::from_rows(kernels, inner_dim, &rows, 0);
                assert!(
                    generated.quads == expected.quads,
                    "{path}, k = {inner_dim}, block {block}"
                );
                for (r, row) in rows.chunks_exact(inner_dim as usize).enumerate() {
                    let sum: i32 = row.iter().map(|&x| i32::from(x)).sum();
                    assert_eq!(generated.sums[r], sum, "{path}, k = {inner_dim}, row {r}");
                }
            }
        }
    }
}
