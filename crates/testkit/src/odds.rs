//! Probability: reproducible draws, the odds of being caught, and how far counts may deviate from them.

use std::collections::HashSet;

use protocol::bytes::Fresh;
use protocol::derive::keystream;
use protocol::plan::Plan;
use protocol::sampling::{Sample, samples};

/// A reproducible stream of draws.
pub struct Draws {
    key: [u8; 32],
    position: u64,
}

impl Draws {
    /// The stream of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut key = *b"gpu-attestor testkit draws......";
        key[24..].copy_from_slice(&seed.to_le_bytes());
        Draws { key, position: 0 }
    }

    /// 32 bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        keystream(&self.key, &[0; 12], self.position, &mut bytes);
        self.position += 32;
        bytes
    }

    /// A u64.
    pub fn draw(&mut self) -> u64 {
        let bytes = self.bytes();
        u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
    }

    /// A number below `bound`; its bias is below bound / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// `count` distinct numbers below `bound`: the first steps of a Fisher-Yates shuffle.
    ///
    /// # Panics
    ///
    /// If there are fewer than `count`.
    pub fn distinct(&mut self, count: u64, bound: u64) -> HashSet<u64> {
        assert!(count <= bound, "{count} distinct numbers below {bound}");
        let mut numbers: Vec<u64> = (0..bound).collect();
        for i in 0..count {
            let j = i + self.below(bound - i);
            numbers.swap(i as usize, j as usize);
        }
        numbers.into_iter().take(count as usize).collect()
    }
}

/// Whether a session with `plan` whose samples come from `seed` samples a leaf that `is_wrong`.
pub fn is_caught(plan: &Plan, seed: &Fresh, is_wrong: impl FnMut(Sample) -> bool) -> bool {
    samples(plan, seed).into_iter().any(is_wrong)
}

/// 1 - (1 - fraction)^samples: the odds of being caught with that fraction of leaves wrong, drawn with replacement;
/// distinct samples give odds that are at least as high.
#[must_use]
pub fn caught_odds(fraction: f64, samples: u32) -> f64 {
    -(f64::from(samples) * (-fraction).ln_1p()).exp_m1()
}

/// The odds of being caught with `wrong` of `leaves` leaves wrong and `samples` distinct ones sampled.
#[must_use]
pub fn caught_odds_distinct(wrong: u64, leaves: u64, samples: u32) -> f64 {
    let missed: f64 = (0..u64::from(samples))
        .map(|drawn| (leaves - wrong).saturating_sub(drawn) as f64 / (leaves - drawn) as f64)
        .product();
    1.0 - missed
}

/// Whether `hits` of `trials` agrees with these odds: within three standard deviations and one more hit. Seeds are fixed, so
/// a count that could be outside these limits by chance is outside them in every run or in none.
#[must_use]
pub fn is_binomial(hits: u64, trials: u64, odds: f64) -> bool {
    let trials = trials as f64;
    let deviation = (trials * odds * (1.0 - odds)).sqrt();
    (hits as f64 - trials * odds).abs() <= 3.0 * deviation + 1.0
}

/// Chi-square of `counts` against equal odds, as standard deviations from its mean: below 5 for a uniform draw.
#[must_use]
pub fn uniformity(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let expected = total as f64 / counts.len() as f64;
    let chi_square: f64 = counts.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
    let freedom = counts.len() as f64 - 1.0;
    (chi_square - freedom) / (2.0 * freedom).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_are_those_of_the_formula() {
        assert_eq!(caught_odds(0.0, 256), 0.0);
        assert_eq!(caught_odds(1.0, 1), 1.0);
        assert!((caught_odds(0.5, 2) - 0.75).abs() < 1e-12);
        assert!((caught_odds_distinct(1, 4, 2) - 0.5).abs() < 1e-12);
        assert_eq!(caught_odds_distinct(3, 4, 2), 1.0);
    }

    #[test]
    fn counts_far_off_are_refused() {
        assert!(is_binomial(500, 1_000, 0.5));
        assert!(is_binomial(547, 1_000, 0.5));
        assert!(!is_binomial(550, 1_000, 0.5));
        assert!(!is_binomial(10, 1_000, 0.0));
        assert!(uniformity(&[100; 256]) < 0.0);
        let mut biased = [100; 256];
        biased[0] = 300;
        assert!(uniformity(&biased) > 5.0);
    }

    #[test]
    fn draws_are_distinct_and_reproducible() {
        let drawn = Draws::new(7).distinct(50, 100);
        assert_eq!(drawn.len(), 50);
        assert_eq!(drawn, Draws::new(7).distinct(50, 100));
        assert_ne!(drawn, Draws::new(8).distinct(50, 100));
    }
}
