//! Sixteen ChaCha8 blocks in parallel, one per lane: word w of all of them is one quad of the panel.

use std::arch::x86_64::*;

use super::stream::Stream;
use crate::layout::{PANEL_ROWS, QUADS_PER_KEYSTREAM_BLOCK, Quad};

#[target_feature(enable = "avx512f")]
pub(super) fn panel_keystream(stream: &Stream, first_counter: u32, counter_stride: u32, flip: u32, out: &mut [Quad]) {
    let initial = stream.state().map(|word| _mm512_set1_epi32(word as i32));
    let flip = _mm512_set1_epi32(flip as i32);
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let first = _mm512_add_epi32(
        _mm512_mullo_epi32(lanes, _mm512_set1_epi32(counter_stride as i32)),
        _mm512_set1_epi32(first_counter as i32),
    );
    for (block, out) in out
        .as_chunks_mut::<QUADS_PER_KEYSTREAM_BLOCK>()
        .0
        .iter_mut()
        .enumerate()
    {
        let mut initial = initial;
        initial[12] = _mm512_add_epi32(first, _mm512_set1_epi32(block as i32));
        let mixed = rounds(initial);
        for ((quad, mixed), initial) in out.iter_mut().zip(mixed).zip(initial) {
            let words = _mm512_xor_si512(_mm512_add_epi32(mixed, initial), flip);
            // SAFETY: a Quad is 64 writable bytes, aligned to 64.
            unsafe { _mm512_store_si512(quad.0.as_mut_ptr().cast(), words) };
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn rounds(mut x: [__m512i; 16]) -> [__m512i; 16] {
    for _ in 0..4 {
        for [a, b, c, d] in [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]] {
            quarter_round(&mut x, a, b, c, d);
        }
        for [a, b, c, d] in [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]] {
            quarter_round(&mut x, a, b, c, d);
        }
    }
    x
}

#[inline]
#[target_feature(enable = "avx512f")]
fn quarter_round(x: &mut [__m512i; 16], a: usize, b: usize, c: usize, d: usize) {
    x[a] = _mm512_add_epi32(x[a], x[b]);
    x[d] = _mm512_rol_epi32::<16>(_mm512_xor_si512(x[d], x[a]));
    x[c] = _mm512_add_epi32(x[c], x[d]);
    x[b] = _mm512_rol_epi32::<12>(_mm512_xor_si512(x[b], x[c]));
    x[a] = _mm512_add_epi32(x[a], x[b]);
    x[d] = _mm512_rol_epi32::<8>(_mm512_xor_si512(x[d], x[a]));
    x[c] = _mm512_add_epi32(x[c], x[d]);
    x[b] = _mm512_rol_epi32::<7>(_mm512_xor_si512(x[b], x[c]));
}

#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn row_sums(panel: &[Quad], sums: &mut [i32; PANEL_ROWS]) {
    let ones = _mm512_set1_epi8(1);
    // SAFETY: `sums` is 64 readable bytes; the load asks for no alignment.
    let mut total = unsafe { _mm512_loadu_si512(sums.as_ptr().cast()) };
    for quad in panel {
        // SAFETY: a Quad is 64 readable bytes, aligned to 64.
        let elements = unsafe { _mm512_load_si512(quad.0.as_ptr().cast()) };
        total = _mm512_dpbusd_epi32(total, ones, elements);
    }
    // SAFETY: `sums` is 64 writable bytes; the store asks for no alignment.
    unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), total) };
}
