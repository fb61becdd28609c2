//! Keyed digests of a tile and of a pair of tiles (spec §4). These are the definitions; engines have faster
//! implementations.

use crate::bytes::Salt;
use crate::derive::keystream;
use crate::limits::{TILE_BYTES, TILE_WORDS};
use crate::matching::{Matching, fmix32};

/// The expansion of a salt: one u64 per tile word, the matching's round keys and the source of the word shift (spec
/// §4).
#[derive(Clone)]
pub struct DigestKey {
    /// K: 16,384 words.
    pub words: Box<[u64; TILE_WORDS]>,
    /// The four Feistel round keys of the sweep's matching.
    pub round_keys: [u32; 4],
    /// z: the source of the leaves' word shifts.
    pub shift_source: u32,
}

impl DigestKey {
    /// `key(salt)`: 131,072 bytes of K, 16 of round keys, 4 of z (spec §4).
    #[must_use]
    pub fn expand(salt: &Salt) -> Self {
        let mut stream = vec![0; TILE_WORDS * 8 + 20];
        keystream(&salt.0, &[0; 12], 0, &mut stream);
        let (words, rest) = stream.as_chunks::<8>();
        let tail = [words[TILE_WORDS..].as_flattened(), rest].concat();
        let u32_at = |i: usize| u32::from_le_bytes(tail[4 * i..4 * i + 4].try_into().expect("four bytes"));
        let words: Box<[u64]> = words[..TILE_WORDS].iter().map(|w| u64::from_le_bytes(*w)).collect();
        DigestKey {
            words: words.try_into().expect("16,384 words"),
            round_keys: std::array::from_fn(u32_at),
            shift_source: u32_at(4),
        }
    }

    /// The matching of a sweep over `tiles` tiles under this key.
    #[must_use]
    pub fn matching(&self, tiles: u32) -> Matching {
        Matching::new(self.round_keys, tiles)
    }

    /// m: the word shift of `leaf`, 0..16384 (spec §4).
    #[inline]
    #[must_use]
    pub fn shift(&self, leaf: u32) -> u32 {
        fmix32(leaf ^ self.shift_source) & (TILE_WORDS as u32 - 1)
    }

    /// Fill digest of one tile: sum of `K_j * w_j` mod 2^64 (spec §4).
    #[must_use]
    pub fn fill_digest(&self, tile: &[u8; TILE_BYTES]) -> u64 {
        self.words
            .iter()
            .zip(tile_words(tile))
            .fold(0, |sum, (k, w)| sum.wrapping_add(k.wrapping_mul(u64::from(w))))
    }

    /// Pair digest of `leaf`: sum of `K_i * a_i * b_{i xor m}` mod 2^64 (spec §4).
    #[must_use]
    pub fn pair_digest(&self, leaf: u32, a: &[u8; TILE_BYTES], b: &[u8; TILE_BYTES]) -> u64 {
        let shift = self.shift(leaf) as usize;
        let (b_words, _) = b.as_chunks::<4>();
        self.words
            .iter()
            .zip(tile_words(a))
            .enumerate()
            .fold(0, |sum, (i, (k, a))| {
                let b = u32::from_le_bytes(b_words[i ^ shift]);
                sum.wrapping_add(k.wrapping_mul(u64::from(a)).wrapping_mul(u64::from(b)))
            })
    }
}

/// The matching of a sweep under `salt` over `tiles` tiles, without expanding the whole key (spec §4).
#[must_use]
pub fn matching(salt: &Salt, tiles: u32) -> Matching {
    let mut round_keys = [0; 16];
    keystream(&salt.0, &[0; 12], (TILE_WORDS * 8) as u64, &mut round_keys);
    let (keys, _) = round_keys.as_chunks::<4>();
    Matching::new(std::array::from_fn(|i| u32::from_le_bytes(keys[i])), tiles)
}

/// The 16,384 little-endian words of a tile.
fn tile_words(tile: &[u8; TILE_BYTES]) -> impl Iterator<Item = u32> {
    tile.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w))
}
