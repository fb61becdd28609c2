//! Digests by `vpmullq`, eight words a vector.

use std::arch::x86_64::*;

use protocol::limits::TILE_WORDS;

use crate::tile::Tile;

#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn fill_digest(key: &[u64; TILE_WORDS], tile: &Tile) -> u64 {
    let mut sums = [_mm512_setzero_si512(); 4];
    for (key, words) in key.as_chunks::<32>().0.iter().zip(tile.0.as_chunks::<128>().0) {
        for ((sum, key), words) in sums
            .iter_mut()
            .zip(key.as_chunks::<8>().0)
            .zip(words.as_chunks::<32>().0)
        {
            let words = _mm512_cvtepu32_epi64(load256(words));
            *sum = _mm512_add_epi64(*sum, _mm512_mullo_epi64(load512(key), words));
        }
    }
    total(sums)
}

/// `shift` xors word positions: its low three bits permute words within a vector, the others choose the vector.
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
pub(super) fn pair_digest(key: &[u64; TILE_WORDS], shift: u32, a: &Tile, b: &Tile) -> u64 {
    let within = _mm256_xor_si256(
        _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        _mm256_set1_epi32(shift as i32 & 7),
    );
    let b = b.0.as_chunks::<32>().0.as_chunks::<{ TILE_WORDS / 8 }>().0;
    let b = &b[0];
    let vector_shift = (shift >> 3) as usize & (TILE_WORDS / 8 - 1);
    let mut sums = [_mm512_setzero_si512(); 4];
    for (at, (key, a)) in key.as_chunks::<32>().0.iter().zip(a.0.as_chunks::<128>().0).enumerate() {
        for (i, (sum, (key, a))) in sums
            .iter_mut()
            .zip(key.as_chunks::<8>().0.iter().zip(a.as_chunks::<32>().0))
            .enumerate()
        {
            let b = _mm256_permutevar8x32_epi32(load256(&b[(4 * at + i) ^ vector_shift]), within);
            let products = _mm512_mul_epu32(_mm512_cvtepu32_epi64(load256(a)), _mm512_cvtepu32_epi64(b));
            *sum = _mm512_add_epi64(*sum, _mm512_mullo_epi64(load512(key), products));
        }
    }
    total(sums)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn total([a, b, c, d]: [__m512i; 4]) -> u64 {
    _mm512_reduce_add_epi64(_mm512_add_epi64(_mm512_add_epi64(a, b), _mm512_add_epi64(c, d))) as u64
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load512(words: &[u64; 8]) -> __m512i {
    // SAFETY: 64 readable bytes; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx")]
fn load256(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 readable bytes; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}
