//! Products by `vpmaddwd` on elements widened to 16 bits: `vpmaddubsw` would saturate.

use std::arch::x86_64::*;

use super::portable;
use super::sums::{Pairs, Square, Sums};
use crate::layout::{PANELS, Quad};
use crate::tile::Tile;

#[target_feature(enable = "avx2")]
pub(super) fn accumulate(sums: &mut Sums, left: &[Quad], right: &[Quad], scratch: &mut [Pairs]) {
    let panel_pairs = left.len() / PANELS * 2;
    let (left_pairs, right_pairs) = scratch.split_at_mut(scratch.len() / 2);
    let left_pairs = widen(left, left_pairs);
    let right_pairs = widen(right, right_pairs);
    for (pb, right) in right_pairs.chunks_exact(panel_pairs).enumerate() {
        for (squares, left) in sums.iter_mut().zip(left_pairs.chunks_exact(panel_pairs)) {
            add_rows::<0, 6>(&mut squares[pb], left, right);
            add_rows::<6, 5>(&mut squares[pb], left, right);
            add_rows::<11, 5>(&mut squares[pb], left, right);
        }
    }
}

/// Rows `FIRST..FIRST + ROWS` of the left panel with all 16 of the right: 2 * ROWS accumulators.
#[inline]
#[target_feature(enable = "avx2")]
fn add_rows<const FIRST: usize, const ROWS: usize>(square: &mut Square, left: &[Pairs], right: &[Pairs]) {
    let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
    for (left, right) in left.iter().zip(right) {
        let right = right.0.as_chunks::<8>().0;
        // SAFETY: each half of Pairs is 32 readable bytes, aligned to 32.
        let right = unsafe {
            [
                _mm256_load_si256(right[0].as_ptr().cast()),
                _mm256_load_si256(right[1].as_ptr().cast()),
            ]
        };
        for (row, sums) in sums.iter_mut().enumerate() {
            let [low, high] = left.0[FIRST + row];
            let pair = _mm256_set1_epi32(i32::from(low) & 0xFFFF | i32::from(high) << 16);
            sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(pair, right[0]));
            sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(pair, right[1]));
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let to = square.0[FIRST + row].as_mut_ptr().cast::<__m256i>();
        // SAFETY: a row of a Square is 64 bytes, aligned to 64: two aligned vectors.
        unsafe {
            _mm256_store_si256(to, _mm256_add_epi32(_mm256_load_si256(to), sums[0]));
            _mm256_store_si256(to.add(1), _mm256_add_epi32(_mm256_load_si256(to.add(1)), sums[1]));
        }
    }
}

/// Each quad as two [`Pairs`]: elements 0 and 2, then 1 and 3. The order within k is arbitrary as long as both operands
/// have the same.
#[target_feature(enable = "avx2")]
fn widen<'a>(block: &[Quad], out: &'a mut [Pairs]) -> &'a [Pairs] {
    let out = &mut out[..2 * block.len()];
    for (quad, [even, odd]) in block.iter().zip(out.as_chunks_mut::<2>().0) {
        for (half, words) in quad.0.as_chunks::<8>().0.iter().enumerate() {
            // SAFETY: half a Quad is 32 readable bytes, aligned to 32; so is half of Pairs, and writable.
            unsafe {
                let words = _mm256_load_si256(words.as_ptr().cast());
                let evens = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(words));
                let odds = _mm256_srai_epi16::<8>(words);
                _mm256_store_si256(even.0.as_chunks_mut::<8>().0[half].as_mut_ptr().cast(), evens);
                _mm256_store_si256(odd.0.as_chunks_mut::<8>().0[half].as_mut_ptr().cast(), odds);
            }
        }
    }
    out
}

/// The portable code, compiled for AVX2.
#[target_feature(enable = "avx2")]
pub(super) fn fold(sums: &Sums, out: &mut Tile) {
    portable::fold(sums, out);
}
