//! The figures that a flawless, idle device of a class is certified for in a standard session, by the protocol's own
//! bounds (spec §6).
//!
//! For measured classes these follow from their lowest expected fill and sweep. For others the shares of the datasheet are
//! about those of the slowest H200 (`profiles/h200.toml`).

use protocol::bounds::{Assumptions, Measured, MeasuredIteration};
use protocol::certified::system_bounds;
use protocol::limits::MIN_INNER_DIM_FOR_MEMORY;
use report::figure::{CertifiedFigures, Figure};
use verifier::preset::LONG_INNER_DIM;

use crate::classify::{Shares, needed};
use crate::profile::Profile;

/// Share of a class's memory that a session's dataset takes (docs/performance.md).
const DATASET_SHARE: f64 = 0.99;
/// Sweep, as a share of the datasheet's bandwidth.
const SWEEP_SHARE: f64 = 0.94;
/// Fill, as a share of the datasheet's int8 peak: lowest and highest.
const FILL_SHARES: (f64, f64) = (0.66, 0.70);
/// Fill at the k of the short iterations, as a share of that at the k of memory.
const SHORT_FILL_SHARE: f64 = 0.88;
/// k of the standard preset's iteration for V, B and T, and its sweeps.
const LONG: (u32, u32) = (LONG_INNER_DIM, 32);
/// k of the standard preset's two iterations for T_local, and the sweeps of each.
const SHORT: (u32, u32) = (2_048, 2);
/// The standard preset's samples per device and distinct k.
pub const SAMPLES: u32 = 1_280;

/// A flawless device of a class that works in a standard session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// N, bytes.
    pub dataset_bytes: u64,
    /// Sweeps, bytes/s.
    pub sweep_bytes_per_s: u64,
    /// Fill at the k of memory, operations/s; `None` if the class's rate is not known.
    pub fill_ops_per_s: Option<u64>,
    /// Samples per device and k.
    pub samples: u32,
}

impl Expected {
    /// The figures of a device of this class with the standard preset's samples; `None` for a class without figures.
    #[must_use]
    pub fn of(profile: &Profile) -> Option<Self> {
        let capacity = profile.capacity.as_ref()?;
        let share = |figure: u64, share: f64| (figure as f64 * share) as u64;
        let measured = profile.measured.as_ref();
        Some(Expected {
            dataset_bytes: share(capacity.memory_bytes, DATASET_SHARE),
            sweep_bytes_per_s: measured.map_or(share(capacity.bandwidth_bytes_per_s, SWEEP_SHARE), |m| {
                m.sweep_low_bytes_per_s
            }),
            fill_ops_per_s: measured
                .map(|m| m.fill_low_ops_per_s)
                .or(capacity.int8_ops_per_s.map(|peak| share(peak, FILL_SHARES.0))),
            samples: SAMPLES,
        })
    }

    /// What such a device is certified for in a standard session.
    #[must_use]
    pub fn certified(&self, assumptions: &Assumptions) -> CertifiedFigures {
        let standard = [(LONG, 1), (SHORT, 2)].map(|((inner_dim, sweeps), iterations)| {
            let iteration = MeasuredIteration {
                sweeps,
                fill_ns: 0,
                sweep_ns: 0,
            };
            Measured {
                inner_dim,
                samples: self.samples,
                dataset_bytes: self.dataset_bytes,
                iterations: vec![iteration; iterations],
            }
        });
        self.certified_in(&standard, assumptions)
    }

    /// What such a device is certified for in a session of these groups; the groups' own times are not used.
    #[must_use]
    pub fn certified_in<'a>(
        &self,
        groups: impl IntoIterator<Item = &'a Measured>,
        assumptions: &Assumptions,
    ) -> CertifiedFigures {
        let groups: Vec<Measured> = groups.into_iter().map(|group| self.timed(group)).collect();
        let (_, shares) = system_bounds(&[groups], assumptions);
        CertifiedFigures::from(&shares[0])
    }

    /// The same group with this device's times.
    fn timed(&self, group: &Measured) -> Measured {
        let ns = |count: f64, per_s: f64| (count / per_s * 1e9) as u64;
        let dataset = group.dataset_bytes as f64;
        let operations = 2.0 * f64::from(group.inner_dim) * dataset;
        let share = match group.inner_dim < MIN_INNER_DIM_FOR_MEMORY {
            true => SHORT_FILL_SHARE,
            false => 1.0,
        };
        // Without a rate there is no window, and no bound of T.
        let fill_ns = self
            .fill_ops_per_s
            .map_or(0, |rate| ns(operations, rate as f64 * share));
        let timed = |iteration: &MeasuredIteration| MeasuredIteration {
            fill_ns,
            sweep_ns: ns(dataset * f64::from(iteration.sweeps), self.sweep_bytes_per_s as f64),
            ..*iteration
        };
        Measured {
            iterations: group.iterations.iter().map(timed).collect(),
            ..group.clone()
        }
    }
}

/// Whether a flawless device of the class is certified for what it needs of `figure`; true for a class without the figure.
#[must_use]
pub fn is_showable(
    profile: &Profile,
    figure: Figure,
    shares: &Shares,
    assumptions: &Assumptions,
    samples: u32,
) -> bool {
    let (Some(expected), Some(needed)) = (Expected::of(profile), needed(profile, shares, figure)) else {
        return true;
    };
    // T does not depend on links, so a shortfall of T always counts; the rate of classes without a peak is not known.
    if figure == Figure::Tensor {
        return true;
    }
    let certified = Expected { samples, ..expected }.certified(assumptions);
    figure.of(&certified).is_some_and(|most| most >= needed)
}

/// Highest rate that a device of the class is known or expected to reach, operations/s.
#[must_use]
pub fn highest_rate(profile: &Profile) -> Option<u64> {
    let peak = profile.capacity.as_ref().and_then(|capacity| capacity.int8_ops_per_s);
    let measured = profile.measured.as_ref().map(|m| m.fill_high_ops_per_s);
    measured.or(peak.map(|peak| (peak as f64 * FILL_SHARES.1) as u64))
}

/// The `assumptions` that a device of the class breaks: which one, the assumed value, and the device's value.
#[must_use]
pub fn broken_by(profile: &Profile, assumptions: &Assumptions) -> Vec<(Assumed, u64, u64)> {
    let Some(capacity) = &profile.capacity else {
        return Vec::new();
    };
    let all = [
        (Assumed::OnChip, assumptions.on_chip_bytes, capacity.on_chip_bytes),
        (
            Assumed::LinkIn,
            assumptions.link_in_bytes_per_s,
            capacity.link_in_bytes_per_s,
        ),
        (
            Assumed::LinkOut,
            assumptions.link_out_bytes_per_s,
            capacity.link_out_bytes_per_s,
        ),
        (
            Assumed::BestRate,
            assumptions.best_rate_ops_per_s,
            highest_rate(profile),
        ),
    ];
    all.into_iter()
        .filter_map(|(which, assumed, has)| Some((which, assumed, has.filter(|has| *has > assumed)?)))
        .collect()
}

/// An assumption that a class has a figure for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assumed {
    /// C.
    OnChip,
    /// W_in.
    LinkIn,
    /// W_out.
    LinkOut,
    /// The rate that G is derived from.
    BestRate,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles::Profiles;

    /// The shares are those of the measured class, rounded.
    #[test]
    fn what_is_estimated_stands_as_an_h200_does() {
        let profiles = Profiles::embedded();
        let h200 = profiles.named("h200").expect("the class");
        let capacity = h200.capacity.as_ref().expect("its capacity");
        let measured = h200.measured.as_ref().expect("measured");
        let peak = capacity.int8_ops_per_s.expect("its peak") as f64;
        let fill = measured.fill_low_ops_per_s as f64 / peak;
        let sweep = measured.sweep_low_bytes_per_s as f64 / capacity.bandwidth_bytes_per_s as f64;
        assert!(
            (fill - FILL_SHARES.0).abs() < 0.002 && (sweep - SWEEP_SHARE).abs() < 0.001,
            "{fill} {sweep}"
        );
    }
}
