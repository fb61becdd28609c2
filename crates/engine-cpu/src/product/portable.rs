//! Plain Rust: operands widened to i16 rows, whose dot products compilers vectorise on any CPU.

use protocol::limits::TILE_SIDE;

use super::sums::Sums;
use crate::layout::{BLOCK_ELEMENTS, PANEL_ROWS, PANELS, Quad};
use crate::tile::Tile;

/// Both operands' blocks as i16.
pub(super) const SCRATCH_ELEMENTS: usize = 2 * TILE_SIDE * BLOCK_ELEMENTS;

pub(super) fn accumulate(sums: &mut Sums, left: &[Quad], right: &[Quad], scratch: &mut [i16]) {
    let block_elements = left.len() / PANELS * 4;
    let (left_rows, right_rows) = scratch.split_at_mut(TILE_SIDE * BLOCK_ELEMENTS);
    let left_rows = widen(left, block_elements, left_rows);
    let right_rows = widen(right, block_elements, right_rows);
    for (squares, left) in sums.iter_mut().zip(left_rows.chunks_exact(PANEL_ROWS * block_elements)) {
        for (square, right) in squares
            .iter_mut()
            .zip(right_rows.chunks_exact(PANEL_ROWS * block_elements))
        {
            for (sums, a) in square.0.iter_mut().zip(left.chunks_exact(block_elements)) {
                for (sum, b) in sums.iter_mut().zip(right.chunks_exact(block_elements)) {
                    *sum = sum.wrapping_add(dot(a, b));
                }
            }
        }
    }
}

fn dot(a: &[i16], b: &[i16]) -> i32 {
    a.iter().zip(b).fold(0, |sum, (&a, &b)| {
        sum.wrapping_add(i32::from(a).wrapping_mul(i32::from(b)))
    })
}

/// A block's 256 rows, row-major.
fn widen<'a>(block: &[Quad], block_elements: usize, out: &'a mut [i16]) -> &'a [i16] {
    let out = &mut out[..TILE_SIDE * block_elements];
    for (panel, rows) in block
        .chunks_exact(block_elements / 4)
        .zip(out.chunks_exact_mut(PANEL_ROWS * block_elements))
    {
        for (lane, row) in rows.chunks_exact_mut(block_elements).enumerate() {
            for (quad, elements) in panel.iter().zip(row.as_chunks_mut::<4>().0) {
                *elements = quad.0[lane].to_le_bytes().map(|byte| i16::from(byte as i8));
            }
        }
    }
    out
}

#[inline(always)]
pub(super) fn fold(sums: &Sums, out: &mut Tile) {
    let (rows, _) = out.0.as_chunks_mut::<TILE_SIDE>();
    for (squares, rows) in sums.iter().zip(rows.as_chunks_mut::<PANEL_ROWS>().0) {
        for (r, row) in rows.iter_mut().enumerate() {
            for (square, out) in squares.iter().zip(row.as_chunks_mut::<PANEL_ROWS>().0) {
                *out = square.0[r].map(protocol::tile::fold);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packing::PackedRows;
    use crate::path::Path;
    use crate::product::Product;

    /// Small enough for Miri: k is below a plan's.
    #[test]
    fn small_products_are_the_definitions() {
        let k = 8;
        let element = |i: usize| [-128, 127, 0, i as i8][(i * 0x9E37_79B9) >> 16 & 3];
        let rows = |first| (first..first + TILE_SIDE * k).map(element).collect::<Vec<i8>>();
        let (a, b) = (rows(0), rows(12_345));
        let kernels = Path::Portable.kernels().expect("portable code runs anywhere");
        let [left, right] = [&a, &b].map(|rows| PackedRows::from_rows(kernels, k as u32, rows, 0));
        let mut tile = Tile::zeroed();
        Product::new(kernels).tile(left.quads(), right.as_right(), &mut tile);
        assert!(tile.0[..] == reference::tile_of_rows(&a, &b, k)[..]);
    }
}
