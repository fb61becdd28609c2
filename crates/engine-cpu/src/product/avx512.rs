//! Products by 512-bit `vpdpbusd`: 8 rows by 2 vectors of 16 columns in registers.

use std::arch::x86_64::*;

use protocol::limits::TILE_SIDE;

use super::sums::{Square, Sums};
use crate::layout::{PANEL_ROWS, PANELS, Quad};
use crate::tile::Tile;

/// Adds the products of one block of k; left elements are u8, offset by 128. Two right panels stay in L1 while the
/// whole left block streams through from L2 and the next two panels are loaded from L3 or memory into L2.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn accumulate(sums: &mut Sums, left: &[Quad], right: &[Quad]) {
    let panel_quads = left.len() / PANELS;
    let mut pairs = right.chunks_exact(2 * panel_quads).enumerate().peekable();
    while let Some((pair, right)) = pairs.next() {
        let (right0, right1) = right.split_at(panel_quads);
        let coming = pairs.peek().map_or(&[][..], |&(_, next)| next);
        let mut coming = coming.chunks(right.len().div_ceil(PANELS));
        for (squares, left) in sums.iter_mut().zip(left.chunks_exact(panel_quads)) {
            for quad in coming.next().unwrap_or_default() {
                _mm_prefetch::<_MM_HINT_T1>(quad.0.as_ptr().cast());
            }
            let squares = &mut squares.as_chunks_mut::<2>().0[pair];
            add_rows::<0>(squares, left, right0, right1);
            add_rows::<8>(squares, left, right0, right1);
        }
    }
}

/// Rows `FIRST..FIRST + 8` of the left panel with 32 rows of the right: 16 accumulators.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add_rows<const FIRST: usize>(squares: &mut [Square; 2], left: &[Quad], right0: &[Quad], right1: &[Quad]) {
    const ROWS: usize = 8;
    let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
    for ((left, right0), right1) in left.iter().zip(right0).zip(right1) {
        let right = [load(right0), load(right1)];
        for (row, sums) in sums.iter_mut().enumerate() {
            let left = _mm512_set1_epi32(left.0[FIRST + row] as i32);
            sums[0] = _mm512_dpbusd_epi32(sums[0], left, right[0]);
            sums[1] = _mm512_dpbusd_epi32(sums[1], left, right[1]);
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (square, &sum) in squares.iter_mut().zip(sums) {
            let to = square.0[FIRST + row].as_mut_ptr().cast();
            // SAFETY: a row of a Square is 64 bytes, aligned to 64.
            unsafe { _mm512_store_si512(to, _mm512_add_epi32(_mm512_load_si512(to), sum)) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(quad: &Quad) -> __m512i {
    // SAFETY: a Quad is 64 readable bytes, aligned to 64.
    unsafe { _mm512_load_si512(quad.0.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
pub(super) fn fold(sums: &Sums, out: &mut Tile) {
    let (first, second) = (
        _mm512_set1_epi32(0x9E37_79B1_u32 as i32),
        _mm512_set1_epi32(0x85EB_CA6B_u32 as i32),
    );
    let (rows, _) = out.0.as_chunks_mut::<TILE_SIDE>();
    for (squares, rows) in sums.iter().zip(rows.as_chunks_mut::<PANEL_ROWS>().0) {
        for (r, row) in rows.iter_mut().enumerate() {
            for (square, out) in squares.iter().zip(row.as_chunks_mut::<PANEL_ROWS>().0) {
                // SAFETY: a row of a Square is 64 readable bytes, aligned to 64.
                let h = unsafe { _mm512_load_si512(square.0[r].as_ptr().cast()) };
                let h = _mm512_mullo_epi32(h, first);
                let h = _mm512_xor_si512(h, _mm512_srli_epi32::<15>(h));
                let h = _mm512_srli_epi32::<24>(_mm512_mullo_epi32(h, second));
                // SAFETY: `out` is 16 writable bytes; the store asks for no alignment.
                unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(h)) };
            }
        }
    }
}
