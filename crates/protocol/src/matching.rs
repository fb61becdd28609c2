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

/// Which tiles the leaves of one device pair in a round: c leaves its own tiles with each other, c its own with those of the
/// device that it meets (spec §4.8).
#[derive(Clone, Copy, Debug)]
pub struct Crossing {
    /// The permutation of this device's tiles.
    pub own: Matching,
    /// The permutation of the other device's tiles.
    pub other: Matching,
    /// c, at most a quarter of the tiles of either.
    pub crossings: u32,
}

impl Crossing {
    /// Leaves of the round.
    #[must_use]
    pub fn leaves(&self) -> u32 {
        2 * self.crossings
    }

    /// Whether the second tile of `leaf` is the other device's.
    #[inline]
    #[must_use]
    pub fn crosses(&self, leaf: u32) -> bool {
        leaf >= self.crossings
    }

    /// The two tiles of `leaf`; the second is one of the other device if the leaf crosses.
    #[inline]
    #[must_use]
    pub fn pair(&self, leaf: u32) -> (u32, u32) {
        let c = self.crossings;
        // 4c is at most the number of tiles, so positions fit a u32.
        match leaf.checked_sub(c) {
            None => (self.own.permute(2 * leaf), self.own.permute(2 * leaf + 1)),
            Some(j) => (self.own.permute(2 * c + j), self.other.permute(3 * c + j)),
        }
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
    fn a_round_uses_every_tile_at_most_once() {
        for (g_tiles, h_tiles, c) in [(4, 4, 1), (16, 20, 4), (1000, 257, 64)] {
            let [g, h] = [
                Matching::new([1, 2, 3, 4], g_tiles),
                Matching::new([5, 6, 7, 8], h_tiles),
            ];
            let mut seen = [vec![0; g_tiles as usize], vec![0; h_tiles as usize]];
            let mut crossed = 0;
            for (side, own, other) in [(0, g, h), (1, h, g)] {
                let crossing = Crossing {
                    own,
                    other,
                    crossings: c,
                };
                for leaf in 0..crossing.leaves() {
                    let (a, b) = crossing.pair(leaf);
                    let of_b = if crossing.crosses(leaf) { 1 - side } else { side };
                    crossed += u32::from(crossing.crosses(leaf));
                    seen[side][a as usize] += 1;
                    seen[of_b][b as usize] += 1;
                }
            }
            assert_eq!(crossed, 2 * c);
            for seen in seen {
                assert!(seen.iter().all(|&n| n <= 1));
                assert_eq!(
                    seen.iter().sum::<u32>(),
                    4 * c,
                    "{g_tiles} and {h_tiles} tiles, c = {c}"
                );
            }
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
