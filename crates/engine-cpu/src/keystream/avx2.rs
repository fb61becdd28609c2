//! Eight ChaCha8 blocks in parallel, one per lane: half a panel at a time.

use std::arch::x86_64::*;

use super::portable;
use super::stream::Stream;
use crate::layout::{PANEL_ROWS, QUADS_PER_KEYSTREAM_BLOCK, Quad};

const LANES: usize = 8;

#[target_feature(enable = "avx2")]
pub(super) fn panel_keystream(stream: &Stream, first_counter: u32, counter_stride: u32, flip: u32, out: &mut [Quad]) {
    let initial = stream.state().map(|word| _mm256_set1_epi32(word as i32));
    let flip = _mm256_set1_epi32(flip as i32);
    let stride = _mm256_set1_epi32(counter_stride as i32);
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for half in 0..PANEL_ROWS / LANES {
        let lane = _mm256_add_epi32(lanes, _mm256_set1_epi32((half * LANES) as i32));
        let first = _mm256_add_epi32(
            _mm256_mullo_epi32(lane, stride),
            _mm256_set1_epi32(first_counter as i32),
        );
        for (block, out) in out
            .as_chunks_mut::<QUADS_PER_KEYSTREAM_BLOCK>()
            .0
            .iter_mut()
            .enumerate()
        {
            let mut initial = initial;
            initial[12] = _mm256_add_epi32(first, _mm256_set1_epi32(block as i32));
            let mixed = rounds(initial);
            for ((quad, mixed), initial) in out.iter_mut().zip(mixed).zip(initial) {
                let words = _mm256_xor_si256(_mm256_add_epi32(mixed, initial), flip);
                let to = &mut quad.0.as_chunks_mut::<LANES>().0[half];
                // SAFETY: `to` is 32 writable bytes; a Quad is aligned to 64, so each half of it to 32.
                unsafe { _mm256_store_si256(to.as_mut_ptr().cast(), words) };
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn rounds(mut x: [__m256i; 16]) -> [__m256i; 16] {
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
#[target_feature(enable = "avx2")]
fn quarter_round(x: &mut [__m256i; 16], a: usize, b: usize, c: usize, d: usize) {
    let by_16 = _mm256_setr_epi8(
        2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
    );
    let by_8 = _mm256_setr_epi8(
        3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14,
    );
    x[a] = _mm256_add_epi32(x[a], x[b]);
    x[d] = _mm256_shuffle_epi8(_mm256_xor_si256(x[d], x[a]), by_16);
    x[c] = _mm256_add_epi32(x[c], x[d]);
    let t = _mm256_xor_si256(x[b], x[c]);
    x[b] = _mm256_or_si256(_mm256_slli_epi32::<12>(t), _mm256_srli_epi32::<20>(t));
    x[a] = _mm256_add_epi32(x[a], x[b]);
    x[d] = _mm256_shuffle_epi8(_mm256_xor_si256(x[d], x[a]), by_8);
    x[c] = _mm256_add_epi32(x[c], x[d]);
    let t = _mm256_xor_si256(x[b], x[c]);
    x[b] = _mm256_or_si256(_mm256_slli_epi32::<7>(t), _mm256_srli_epi32::<25>(t));
}

/// The portable code, compiled for AVX2.
#[target_feature(enable = "avx2")]
pub(super) fn row_sums(panel: &[Quad], sums: &mut [i32; PANEL_ROWS]) {
    portable::row_sums(panel, sums);
}
