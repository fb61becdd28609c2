//! Fill and pair digests by path (spec §4).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use protocol::digest::DigestKey;

use crate::path::{Kernels, Path};
use crate::tile::Tile;

impl Kernels {
    /// Fill digest of one tile (spec §4).
    #[must_use]
    pub fn fill_digest(self, key: &DigestKey, tile: &Tile) -> u64 {
        match self.path() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `self` proves that the CPU has AVX2 (both paths ask for it).
            Path::Avx2 | Path::AvxVnni => unsafe { avx2::fill_digest(&key.words, tile) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `self` proves that the CPU has AVX-512F and DQ (both paths ask for them).
            Path::Avx512Vnni | Path::AmxInt8 => unsafe { avx512::fill_digest(&key.words, tile) },
            // 64-bit ARM multiplies u64 in one instruction; NEON has none for it.
            Path::Portable | Path::NeonDotprod => key.fill_digest(&tile.0),
            #[cfg(not(target_arch = "x86_64"))]
            path => unreachable!("no kernels exist for {path} here"),
        }
    }

    /// Pair digest of `leaf` over its tiles `a` and `b` (spec §4).
    #[must_use]
    pub fn pair_digest(self, key: &DigestKey, leaf: u32, a: &Tile, b: &Tile) -> u64 {
        match self.path() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `self` proves that the CPU has AVX2 (both paths ask for it).
            Path::Avx2 | Path::AvxVnni => unsafe { avx2::pair_digest(&key.words, key.shift(leaf), a, b) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `self` proves that the CPU has AVX-512F, DQ and VL (both paths ask for them).
            Path::Avx512Vnni | Path::AmxInt8 => unsafe { avx512::pair_digest(&key.words, key.shift(leaf), a, b) },
            Path::Portable | Path::NeonDotprod => key.pair_digest(leaf, &a.0, &b.0),
            #[cfg(not(target_arch = "x86_64"))]
            path => unreachable!("no kernels exist for {path} here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::bytes::Salt;
    use protocol::derive::keystream;

    #[test]
    fn every_path_agrees_with_the_definition() {
        let tile = |nonce: u8| {
            let mut tile = Tile::zeroed();
            keystream(&[1; 32], &[nonce; 12], 0, &mut tile.0);
            tile
        };
        let (a, b) = (tile(1), tile(2));
        let ones = Box::new(Tile([255; 65_536]));
        let key = DigestKey::expand(&Salt([3; 32]));
        for path in Path::available() {
            let kernels = path.kernels().expect("available");
            for tile in [&a, &b, &ones] {
                assert_eq!(kernels.fill_digest(&key, tile), key.fill_digest(&tile.0), "{path}");
            }
            for leaf in 0..200 {
                for (a, b) in [(&a, &b), (&b, &a), (&a, &a), (&ones, &ones)] {
                    let expected = key.pair_digest(leaf, &a.0, &b.0);
                    assert_eq!(kernels.pair_digest(&key, leaf, a, b), expected, "{path}, leaf {leaf}");
                }
            }
        }
    }
}
