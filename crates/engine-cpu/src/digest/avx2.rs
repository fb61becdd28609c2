//! Digests by `vpmuludq`: 64-bit products from 32-bit halves.

use std::arch::x86_64::*;

use protocol::limits::TILE_WORDS;

use crate::tile::Tile;

#[target_feature(enable = "avx2")]
pub(super) fn fill_digest(key: &[u64; TILE_WORDS], tile: &Tile) -> u64 {
    let mut sums = Sums::new();
    for (key, words) in key.as_chunks::<8>().0.iter().zip(tile.0.as_chunks::<32>().0) {
        let [low, high] = widen(load(words));
        let [key_low, key_high] = load_key(key);
        sums.add_product32(key_low, low);
        sums.add_product32(key_high, high);
    }
    sums.total()
}

/// `shift` xors word positions: its low three bits permute words within a vector, the others choose the vector.
#[target_feature(enable = "avx2")]
pub(super) fn pair_digest(key: &[u64; TILE_WORDS], shift: u32, a: &Tile, b: &Tile) -> u64 {
    let within = _mm256_xor_si256(
        _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
        _mm256_set1_epi32(shift as i32 & 7),
    );
    let b = b.0.as_chunks::<32>().0;
    let vector_shift = (shift >> 3) as usize;
    let mut sums = Sums::new();
    for (at, (key, a)) in key.as_chunks::<8>().0.iter().zip(a.0.as_chunks::<32>().0).enumerate() {
        let [a_low, a_high] = widen(load(a));
        let [b_low, b_high] = widen(_mm256_permutevar8x32_epi32(load(&b[at ^ vector_shift]), within));
        let [key_low, key_high] = load_key(key);
        sums.add_product64(key_low, _mm256_mul_epu32(a_low, b_low));
        sums.add_product64(key_high, _mm256_mul_epu32(a_high, b_high));
    }
    sums.total()
}

/// Sums of partial products: those of low halves, and those that count 2^32 times.
struct Sums {
    low: __m256i,
    high: __m256i,
}

impl Sums {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new() -> Self {
        Sums {
            low: _mm256_setzero_si256(),
            high: _mm256_setzero_si256(),
        }
    }

    /// Adds `key * words` for words below 2^32.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_product32(&mut self, key: __m256i, words: __m256i) {
        self.low = _mm256_add_epi64(self.low, _mm256_mul_epu32(key, words));
        self.high = _mm256_add_epi64(self.high, _mm256_mul_epu32(_mm256_srli_epi64::<32>(key), words));
    }

    /// Adds `key * words` mod 2^64.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add_product64(&mut self, key: __m256i, words: __m256i) {
        self.add_product32(key, words);
        self.high = _mm256_add_epi64(self.high, _mm256_mul_epu32(key, _mm256_srli_epi64::<32>(words)));
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn total(self) -> u64 {
        let lanes = _mm256_add_epi64(self.low, _mm256_slli_epi64::<32>(self.high));
        let mut sums = [0u64; 4];
        // SAFETY: 32 writable bytes; the store asks for no alignment.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), lanes) };
        sums.into_iter().fold(0, u64::wrapping_add)
    }
}

/// Eight u32 as two vectors of four u64.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(words: __m256i) -> [__m256i; 2] {
    [
        _mm256_cvtepu32_epi64(_mm256_castsi256_si128(words)),
        _mm256_cvtepu32_epi64(_mm256_extracti128_si256::<1>(words)),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 readable bytes; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_key(words: &[u64; 8]) -> [__m256i; 2] {
    let (words, _) = words.as_chunks::<4>();
    // SAFETY: 32 readable bytes each; the loads ask for no alignment.
    unsafe {
        [
            _mm256_loadu_si256(words[0].as_ptr().cast()),
            _mm256_loadu_si256(words[1].as_ptr().cast()),
        ]
    }
}
