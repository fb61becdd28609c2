//! Products by `sdot`: four 4-byte dot products per instruction. Its intrinsics are not stable, inline assembly is.

use std::arch::aarch64::*;
use std::arch::asm;
use std::hint::black_box;

use super::sums::{Square, Sums};
use crate::layout::{PANEL_ROWS, PANELS, Quad};

/// Words of a vector.
const LANES: usize = 4;

/// Vectors of a quad.
const VECTORS: usize = PANEL_ROWS / LANES;

/// Adds the products of one block of k.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn accumulate(sums: &mut Sums, left: &[Quad], right: &[Quad]) {
    let panel_quads = left.len() / PANELS;
    for (pb, right) in right.chunks_exact(panel_quads).enumerate() {
        for (squares, left) in sums.iter_mut().zip(left.chunks_exact(panel_quads)) {
            add_rows::<0>(&mut squares[pb], left, right);
            add_rows::<1>(&mut squares[pb], left, right);
            add_rows::<2>(&mut squares[pb], left, right);
            add_rows::<3>(&mut squares[pb], left, right);
        }
    }
}

/// Four rows of the left panel, those of vector `PART` of each quad, times all 16 of the right: 16 accumulators.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add_rows<const PART: usize>(square: &mut Square, left: &[Quad], right: &[Quad]) {
    // SAFETY: all bits zero are a value of the vector type.
    let mut sums = [[unsafe { std::mem::zeroed::<int32x4_t>() }; VECTORS]; LANES];
    for (left, right) in left.iter().zip(right) {
        let rows = load(&left.0, PART);
        let columns: [int8x16_t; VECTORS] = std::array::from_fn(|part| load(&right.0, part));
        for (part, columns) in columns.into_iter().enumerate() {
            sums[0][part] = sdot::<0>(sums[0][part], columns, rows);
            sums[1][part] = sdot::<1>(sums[1][part], columns, rows);
            sums[2][part] = sdot::<2>(sums[2][part], columns, rows);
            sums[3][part] = sdot::<3>(sums[3][part], columns, rows);
        }
    }
    for (row, sums) in square.0[PART * LANES..].iter_mut().zip(sums) {
        for (to, sum) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(sums) {
            // SAFETY: `to` is 16 readable and writable bytes.
            unsafe { vst1q_s32(to.as_mut_ptr(), vaddq_s32(vld1q_s32(to.as_ptr()), sum)) };
        }
    }
}

/// Vector `part` of a quad: four consecutive elements of four rows.
#[inline]
#[target_feature(enable = "neon")]
fn load(quad: &[u32; PANEL_ROWS], part: usize) -> int8x16_t {
    let words = &quad.as_chunks::<LANES>().0[part];
    // SAFETY: 16 readable bytes.
    unsafe { vld1q_s8(words.as_ptr().cast()) }
}

/// Adds to each sum the product of its column's four elements and those of row `ROW`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot<const ROW: u32>(mut sums: int32x4_t, columns: int8x16_t, rows: int8x16_t) -> int32x4_t {
    // SAFETY: the instruction reads and writes the named registers alone.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {columns:v}.16b, {rows:v}.4b[{row}]",
            sums = inout(vreg) sums,
            columns = in(vreg) columns,
            rows = in(vreg) rows,
            row = const ROW,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// `sdot` on registers only, `rounds` times 16; returns the number of multiply-adds.
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn spin(rounds: u32) -> u64 {
    const SUMS: usize = 16;
    let (a, b) = (vdupq_n_s8(black_box(3)), vdupq_n_s8(black_box(5)));
    // Different initial values, so that no two chains can be merged.
    let mut sums: [int32x4_t; SUMS] = std::array::from_fn(|i| vdupq_n_s32(black_box(i as i32)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = sdot::<0>(*sum, a, b);
        }
    }
    black_box(sums);
    u64::from(rounds) * SUMS as u64 * 16
}
