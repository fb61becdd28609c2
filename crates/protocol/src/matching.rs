//! The random matching of a sweep: which two tiles each leaf pairs (spec §4).

/// A permutation of `0..tiles` by a four-round Feistel network with cycle walking, read as pairs (spec §4).
#[derive(Clone, Copy, Debug)]
pub struct Matching {
    round_keys: [u32; 4],
    tiles: u32,
    half_bits: u32,
}

impl Matching {
    /// The matching of `tiles` (>= 1) tiles under four round keys.
    #[must_use]
    pub fn new(round_keys: [u32; 4], tiles: u32) -> Self {
        assert!(tiles >= 1, "a device has at least one tile");
        let half_bits = (1..=16)
            .find(|h| 1u64 << (2 * h) >= u64::from(tiles))
            .expect("2^32 covers every u32");
        Matching {
            round_keys,
            tiles,
            half_bits,
        }
    }

    /// Leaves of a sweep over `tiles` tiles: ceil(tiles / 2).
    #[must_use]
    pub fn leaves(tiles: u32) -> u32 {
        tiles.div_ceil(2)
    }

    /// The image of position `x` (< tiles) under the permutation.
    #[inline]
    #[must_use]
    pub fn permute(&self, x: u32) -> u32 {
        let mask = ((1u64 << self.half_bits) - 1) as u32;
        let mut x = x;
        loop {
            let (mut left, mut right) = (x >> self.half_bits, x & mask);
            for key in self.round_keys {
                (left, right) = (right, left ^ (fmix32(right ^ key) & mask));
            }
            x = left << self.half_bits | right;
            if x < self.tiles {
                return x;
            }
        }
    }

    /// The two tiles of `leaf`; an odd last tile is paired with itself.
    #[inline]
    #[must_use]
    pub fn pair(&self, leaf: u32) -> (u32, u32) {
        let a = self.permute(2 * leaf);
        // 2 * leaf <= tiles - 1 <= 2^32 - 2, so the next position fits a u32.
        let b = if 2 * leaf + 1 < self.tiles {
            self.permute(2 * leaf + 1)
        } else {
            a
        };
        (a, b)
    }
}

/// MurmurHash3's 32-bit finalizer (spec §4).
#[inline(always)]
#[must_use]
pub fn fmix32(x: u32) -> u32 {
    let mut h = x;
    h ^= h >> 16;
    h = h.wrapping_mul(0x85EB_CA6B);
    h ^= h >> 13;
    h = h.wrapping_mul(0xC2B2_AE35);
    h ^ h >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_in_exactly_one_pair() {
        for tiles in [1, 2, 3, 4, 5, 16, 17, 255, 256, 257, 1000] {
            let matching = Matching::new([1, 2, 3, 4], tiles);
            let mut seen = vec![0; tiles as usize];
            for leaf in 0..Matching::leaves(tiles) {
                let (a, b) = matching.pair(leaf);
                seen[a as usize] += 1;
                if a != b {
                    seen[b as usize] += 1;
                }
            }
            assert!(seen.iter().all(|&n| n == 1), "{tiles} tiles: {seen:?}");
        }
    }

    #[test]
    fn the_largest_device_stays_in_range() {
        let matching = Matching::new([9, 8, 7, 6], u32::MAX);
        for leaf in [0, 1, Matching::leaves(u32::MAX) - 1] {
            let (a, b) = matching.pair(leaf);
            assert!(a < u32::MAX && b < u32::MAX);
        }
    }
}
