//! What a session certifies: lower bounds V, B, T and T_local in integers, every step rounded against the bound (spec §6).

use crate::limits::{LEAF_BYTES, MIN_INNER_DIM_FOR_MEMORY, MIN_SAMPLES_FOR_BOUND};

/// The assumptions of a bound about hardware; a result states all of them (spec §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumptions {
    /// Highest exact int8 rate of one GPU, operations/s; G is this / 2k and 15 % more, for each of `helper_gpus`.
    pub best_rate_ops_per_s: u64,
    /// GPUs that may regenerate bytes for one device, including itself, each at `best_rate_ops_per_s`.
    pub helper_gpus: u64,
    /// W_in: fastest inward link of each device of the plan, from everything except GPUs behind the session,
    /// bytes/s.
    pub link_in_bytes_per_s: u64,
    /// W_out: the same outwards, bytes/s.
    pub link_out_bytes_per_s: u64,
    /// R: rate at which something that holds tiles elsewhere reads them, bytes/s.
    pub helper_bytes_per_s: u64,
    /// C: largest known on-chip memory, bytes.
    pub on_chip_bytes: u64,
    /// The soundness error of a device and group is 2^-this.
    pub error_bits: u32,
}

/// One device's figures in one group (distinct k), measured by the Verifier's clock (spec §6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// k of the group.
    pub inner_dim: u32,
    /// s: effective samples.
    pub samples: u32,
    /// N: bytes of the dataset, whole tiles.
    pub dataset_bytes: u64,
    /// The group's iterations.
    pub iterations: Vec<MeasuredIteration>,
}

/// One iteration's part of [`Measured`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuredIteration {
    /// Its sweeps.
    pub sweeps: u32,
    /// Its fill window, ns.
    pub fill_ns: u64,
    /// Its sweep window, ns.
    pub sweep_ns: u64,
}

/// Soundness of the offline form is 2^-this: its samples derive from the transcript and can be ground (spec §5).
pub const OFFLINE_ERROR_BITS: u32 = 80;

const NS_PER_S: u128 = 1_000_000_000;
/// ln 2 rounded up, in 10^-9: twenty of them are the 13.8629437 of spec §6.
const LN_2: u128 = 693_147_185;

impl Assumptions {
    /// G: bytes/s that can be regenerated at k by all that may help, rounded up.
    #[must_use]
    pub fn regeneration_bytes_per_s(&self, inner_dim: u32) -> u128 {
        (u128::from(self.best_rate_ops_per_s) * u128::from(self.helper_gpus) * 115)
            .div_ceil(200 * u128::from(inner_dim))
    }

    /// The more cautious value of both, field by field: no bound under the result is larger than under either.
    #[must_use]
    pub fn worst(self, other: Assumptions) -> Self {
        Assumptions {
            best_rate_ops_per_s: self.best_rate_ops_per_s.max(other.best_rate_ops_per_s),
            helper_gpus: self.helper_gpus.max(other.helper_gpus),
            link_in_bytes_per_s: self.link_in_bytes_per_s.max(other.link_in_bytes_per_s),
            link_out_bytes_per_s: self.link_out_bytes_per_s.max(other.link_out_bytes_per_s),
            helper_bytes_per_s: self.helper_bytes_per_s.max(other.helper_bytes_per_s),
            on_chip_bytes: self.on_chip_bytes.max(other.on_chip_bytes),
            error_bits: self.error_bits.max(other.error_bits),
        }
    }

    /// G + W_out + R, bytes/s: whole pairs, or one tile of a pair, answered elsewhere.
    fn answered_elsewhere_bytes_per_s(&self, inner_dim: u32) -> u128 {
        self.regeneration_bytes_per_s(inner_dim)
            + u128::from(self.link_out_bytes_per_s)
            + u128::from(self.helper_bytes_per_s)
    }

    /// E = G + W_in + W_out + R, bytes/s.
    fn elsewhere_bytes_per_s(&self, inner_dim: u32) -> u128 {
        self.answered_elsewhere_bytes_per_s(inner_dim) + u128::from(self.link_in_bytes_per_s)
    }
}

impl Measured {
    /// Sweeps of all iterations.
    #[must_use]
    pub fn sweeps(&self) -> u64 {
        self.iterations.iter().map(|i| u64::from(i.sweeps)).sum()
    }

    /// Sum of the sweep windows, ns.
    #[must_use]
    pub fn sweep_ns(&self) -> u64 {
        self.iterations.iter().fold(0, |sum, i| sum.saturating_add(i.sweep_ns))
    }

    /// Sum of the fill windows, ns.
    #[must_use]
    pub fn fill_ns(&self) -> u64 {
        self.iterations.iter().fold(0, |sum, i| sum.saturating_add(i.fill_ns))
    }

    /// Operations of all fills: a byte of the dataset is 2k.
    #[must_use]
    pub fn operations(&self) -> u128 {
        self.operations_of(u128::from(self.dataset_bytes) * self.iterations.len() as u128)
    }

    /// V: bytes that the system behind the session held when some sweep began; `None` where there is no bound.
    ///
    /// In each sweep all leaves except f were right, and tiles that were not held came from elsewhere during it (rationale
    /// 2.2; the test `helpers_without_copies_stay_below_the_bounds`).
    #[must_use]
    pub fn memory_bytes(&self, assumptions: &Assumptions) -> Option<u64> {
        if self.inner_dim < MIN_INNER_DIM_FOR_MEMORY || self.sweep_ns() == 0 || self.sweeps() == 0 {
            return None;
        }
        let supplied = per_window(assumptions.elsewhere_bytes_per_s(self.inner_dim), self.sweep_ns())?;
        let right = u128::from(self.dataset_bytes).checked_sub(self.wrong(assumptions, 1, 1)?)?;
        positive(right.checked_sub(supplied.div_ceil(self.sweeps().into()))?)
    }

    /// V if the sweeps of this device and of those that it is added to are not synchronous: sessions of a joint record
    /// (spec §6.5).
    ///
    /// Bytes that are generated or received at any time within a sweep window may answer all sweeps that are still to come
    /// (the test `sessions_in_turn_within_a_window_stay_below_the_truth`).
    #[must_use]
    pub fn joint_memory_bytes(&self, assumptions: &Assumptions) -> Option<u64> {
        if self.inner_dim < MIN_INNER_DIM_FOR_MEMORY || self.sweep_ns() == 0 || self.sweeps() == 0 {
            return None;
        }
        let obtained = self.regeneration_and_link(assumptions);
        let mut kept: u128 = 0;
        for iteration in &self.iterations {
            let in_window = per_window(obtained, iteration.sweep_ns)?;
            kept = kept.checked_add(in_window.checked_mul(iteration.sweeps.into())?)?;
        }
        let answered = per_window(
            assumptions.answered_elsewhere_bytes_per_s(self.inner_dim),
            self.sweep_ns(),
        )?;
        let sweeps = u128::from(self.sweeps());
        let right = u128::from(self.dataset_bytes).checked_sub(self.wrong(assumptions, 1, 1)?)?;
        positive(right.checked_sub(kept.checked_add(answered)?.div_ceil(sweeps))?)
    }

    /// B: bytes/s the dataset was read with; `None` where there is no bound or nothing is left.
    #[must_use]
    pub fn bandwidth_bytes_per_s(&self, assumptions: &Assumptions) -> Option<u64> {
        let on_chip = u128::from(assumptions.on_chip_bytes);
        let dataset = u128::from(self.dataset_bytes);
        if self.inner_dim < MIN_INNER_DIM_FOR_MEMORY || dataset < 16 * on_chip {
            return None;
        }
        let read = dataset
            .checked_sub(self.wrong(assumptions, 1, 1)?)?
            .checked_sub(on_chip)?;
        let read = read.checked_mul(u128::from(self.sweeps()) * NS_PER_S)?;
        let rate = read.checked_div(self.sweep_ns().into())?;
        positive(rate.checked_sub(assumptions.elsewhere_bytes_per_s(self.inner_dim))?)
    }

    /// T: operations/s of the system behind the device; `None` where there is no bound.
    #[must_use]
    pub fn tensor_ops_per_s(&self, assumptions: &Assumptions) -> Option<u64> {
        let operations = self.operations_of(self.right_fills(assumptions)?);
        positive(operations.checked_mul(NS_PER_S)?.checked_div(self.fill_ns().into())?)
    }

    /// T_local: operations/s done by the session's devices, over the fill and sweep windows; `None` where there is no bound or
    /// nothing is left.
    ///
    /// In each iteration some sweep is no worse than the mean. Bytes that it needed and that were not computed here were
    /// received since the fill began, or that part of the sweep was answered elsewhere (rationale 2.5; the test
    /// `t_local_stays_below_what_was_computed_here`).
    #[must_use]
    pub fn local_tensor_ops_per_s(&self, assumptions: &Assumptions) -> Option<u64> {
        let is_empty = |i: &MeasuredIteration| i.sweeps == 0 || i.sweep_ns == 0;
        if self.fill_ns() == 0 || self.iterations.iter().any(is_empty) {
            return None;
        }
        let window_ns = self.fill_ns().checked_add(self.sweep_ns())?;
        let came_in = per_window(assumptions.link_in_bytes_per_s.into(), window_ns)?;
        let answered = assumptions.answered_elsewhere_bytes_per_s(self.inner_dim);
        let mut elsewhere = came_in;
        for iteration in &self.iterations {
            elsewhere += per_window(answered, iteration.sweep_ns)?.div_ceil(iteration.sweeps.into());
        }
        let right = self.right_fills(assumptions)?;
        let operations = self.operations_of(right.checked_sub(elsewhere)?);
        positive(operations.checked_mul(NS_PER_S)?.checked_div(window_ns.into())?)
    }

    /// Bytes of all fills that are covered by right leaves. All wrong leaves may be in the iteration with the fewest
    /// sweeps, where they weigh most (the test `a_skipped_iteration_is_not_paid_for`).
    fn right_fills(&self, assumptions: &Assumptions) -> Option<u128> {
        let filled = u128::from(self.dataset_bytes) * self.iterations.len() as u128;
        let fewest = self.iterations.iter().map(|i| i.sweeps).min()?;
        filled.checked_sub(self.wrong(assumptions, self.sweeps().into(), fewest.into())?)
    }

    /// G + W_in, bytes/s: what can be received or regenerated within a window and kept.
    fn regeneration_and_link(&self, assumptions: &Assumptions) -> u128 {
        assumptions.regeneration_bytes_per_s(self.inner_dim) + u128::from(assumptions.link_in_bytes_per_s)
    }

    fn operations_of(&self, bytes: u128) -> u128 {
        2 * u128::from(self.inner_dim) * bytes
    }

    /// f * `numerator` / `denominator` of the bytes that a sweep's leaves stand for, rounded up; `None` with too few samples
    /// for a bound. An odd last tile has a leaf of its own, which counts as two.
    fn wrong(&self, assumptions: &Assumptions, numerator: u128, denominator: u128) -> Option<u128> {
        if self.samples < MIN_SAMPLES_FOR_BOUND || denominator == 0 {
            return None;
        }
        let swept = u128::from(self.dataset_bytes.div_ceil(LEAF_BYTES)) * u128::from(LEAF_BYTES);
        let wrong = swept
            .checked_mul(u128::from(assumptions.error_bits) * LN_2)?
            .checked_mul(numerator)?;
        Some(wrong.div_ceil(u128::from(self.samples) * NS_PER_S * denominator))
    }
}

/// Bytes at `rate` (bytes/s) in a window, rounded up.
fn per_window(rate: u128, window_ns: u64) -> Option<u128> {
    Some(rate.checked_mul(window_ns.into())?.div_ceil(NS_PER_S))
}

fn positive(bound: u128) -> Option<u64> {
    u64::try_from(bound).ok().filter(|&bound| bound > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H200: Assumptions = Assumptions {
        best_rate_ops_per_s: 1_360_000_000_000_000,
        helper_gpus: 1,
        link_in_bytes_per_s: 64_000_000_000,
        link_out_bytes_per_s: 64_000_000_000,
        helper_bytes_per_s: 0,
        on_chip_bytes: 128_000_000,
        error_bits: 20,
    };

    /// The same with a helper that holds copies, and two that regenerate bytes.
    const HELPED: Assumptions = Assumptions {
        helper_gpus: 3,
        helper_bytes_per_s: 90_000_000_000,
        ..H200
    };

    const SWEEP_NS: u64 = 32_000_000;

    fn session(inner_dim: u32, samples: u32, sweeps: &[u32]) -> Measured {
        let iteration = |&sweeps: &u32| MeasuredIteration {
            sweeps,
            fill_ns: 3_500_000_000 * u64::from(inner_dim) / 16_384,
            sweep_ns: u64::from(sweeps) * SWEEP_NS,
        };
        Measured {
            inner_dim,
            samples,
            dataset_bytes: 139 << 30,
            iterations: sweeps.iter().map(iteration).collect(),
        }
    }

    fn theirs(m: &Measured, a: &Assumptions) -> (reference::Measured, reference::Assumptions) {
        let iteration = |i: &MeasuredIteration| reference::MeasuredIteration {
            sweeps: f64::from(i.sweeps),
            fill: i.fill_ns as f64 / 1e9,
            sweep: i.sweep_ns as f64 / 1e9,
        };
        let measured = reference::Measured {
            k: m.inner_dim as usize,
            samples: m.samples.into(),
            dataset: m.dataset_bytes as f64,
            iterations: m.iterations.iter().map(iteration).collect(),
        };
        let assumptions = reference::Assumptions {
            best_rate: a.best_rate_ops_per_s as f64,
            link_in: a.link_in_bytes_per_s as f64,
            link_out: a.link_out_bytes_per_s as f64,
            helper_gpus: a.helper_gpus as f64,
            helper_read: a.helper_bytes_per_s as f64,
            on_chip: a.on_chip_bytes as f64,
        };
        (measured, assumptions)
    }

    #[test]
    fn bounds_are_the_references_rounded_down() {
        // The reference gives the bare formula; a bound of zero or less is none.
        let close = |ours: Option<u64>, theirs: Option<f64>, dataset_bytes: u64| {
            // In a small dataset one byte is a large share.
            let error = 1e-7 + 100.0 / dataset_bytes as f64;
            match (ours, theirs.filter(|&bound| bound > 0.0)) {
                (Some(ours), Some(theirs)) => {
                    assert!((ours as f64 / theirs - 1.0).abs() < error, "{ours} against {theirs}");
                }
                (ours, theirs) => assert_eq!(ours.is_none(), theirs.is_none(), "{ours:?} against {theirs:?}"),
            }
        };
        for (inner_dim, samples, sweeps) in [
            (16_384, 1024, &[32][..]),
            (16_384, 256, &[32]),
            (16_384, 255, &[32]),
            (4096, 512, &[4, 9, 2]),
            (2048, 1024, &[1, 1]),
            (2048, 1024, &[4, 4]),
            (2048, 1024, &[100, 1]),
        ] {
            // Also with an odd number of tiles.
            for dataset_bytes in [139 << 30, (139 << 30) + 65_536, 3 << 16] {
                let measured = Measured {
                    dataset_bytes,
                    ..session(inner_dim, samples, sweeps)
                };
                for assumptions in [&H200, &HELPED] {
                    {
                        let (m, a) = theirs(&measured, assumptions);
                        let close = |ours, theirs| close(ours, theirs, dataset_bytes);
                        close(measured.memory_bytes(assumptions), reference::bound_v(&m, &a));
                        close(
                            measured.joint_memory_bytes(assumptions),
                            reference::bound_v_joint(&m, &a),
                        );
                        close(measured.bandwidth_bytes_per_s(assumptions), reference::bound_b(&m, &a));
                        close(measured.tensor_ops_per_s(assumptions), reference::bound_t(&m));
                        let local = reference::bound_t_local(&m, &a);
                        close(measured.local_tensor_ops_per_s(assumptions), local);
                    }
                }
            }
        }
    }

    /// On-chip memory could hold a good part of a smaller dataset.
    #[test]
    fn bandwidth_is_certified_from_sixteen_times_the_on_chip_memory_on() {
        let large_chip = Assumptions {
            on_chip_bytes: 8 << 30,
            ..H200
        };
        let with = |dataset_bytes| Measured {
            dataset_bytes,
            ..session(16_384, 1024, &[32])
        };
        assert!(with(128 << 30).bandwidth_bytes_per_s(&large_chip).is_some());
        assert_eq!(with((128 << 30) - 1).bandwidth_bytes_per_s(&large_chip), None);
        assert_eq!(with(100 << 30).bandwidth_bytes_per_s(&large_chip), None);
    }

    #[test]
    fn nothing_is_certified_without_windows_or_sweeps() {
        let one = |sweeps, fill_ns, sweep_ns| Measured {
            iterations: vec![MeasuredIteration {
                sweeps,
                fill_ns,
                sweep_ns,
            }],
            ..session(4_096, 1024, &[32])
        };
        let has_bounds = |m: Measured| {
            [
                m.memory_bytes(&H200),
                m.bandwidth_bytes_per_s(&H200),
                m.tensor_ops_per_s(&H200),
                m.local_tensor_ops_per_s(&H200),
            ]
            .map(|bound| bound.is_some())
        };
        let (fill_ns, sweep_ns) = (900_000_000, SWEEP_NS);
        assert_eq!(has_bounds(one(1, fill_ns, sweep_ns)), [true, true, true, true]);
        assert_eq!(has_bounds(one(1, fill_ns, 0)), [false, false, true, false]);
        assert_eq!(has_bounds(one(1, 0, sweep_ns)), [true, true, false, false]);
        // One of several windows is empty: only T_local needs each window.
        let mut two = one(1, fill_ns, sweep_ns);
        two.iterations.push(MeasuredIteration {
            sweep_ns: 0,
            ..two.iterations[0]
        });
        assert_eq!(has_bounds(two), [true, true, true, false]);
        assert_eq!(has_bounds(one(0, fill_ns, sweep_ns)), [false; 4]);
        let none = Measured {
            iterations: Vec::new(),
            ..session(16_384, 1024, &[32])
        };
        assert_eq!(has_bounds(none), [false; 4]);
    }

    #[test]
    fn a_bound_of_nothing_is_none() {
        assert_eq!(positive(0), None);
        assert_eq!(positive(1), Some(1));
        assert_eq!(positive(u64::MAX.into()), Some(u64::MAX));
        assert_eq!(positive(1 << 64), None);
    }

    /// Attack: skip the fill of an iteration with few sweeps; its leaves are few and its operations are not.
    #[test]
    fn a_skipped_iteration_is_not_paid_for() {
        for sweeps in [&[100, 1][..], &[8, 8, 2], &[4, 4], &[1, 4096]] {
            let honest = session(16_384, 1024, sweeps);
            let fewest = sweeps.iter().min().expect("sweeps");
            // All of its leaves are wrong. If they are more than f*, samples detect it except with the probability of the
            // soundness error.
            let wrong_share = f64::from(*fewest) / f64::from(sweeps.iter().sum::<u32>());
            let found_share = f64::from(H200.error_bits) * std::f64::consts::LN_2 / 1024.0;
            if wrong_share < found_share {
                let done = honest.operations() / sweeps.len() as u128 * (sweeps.len() as u128 - 1);
                let truth = done * NS_PER_S / u128::from(honest.fill_ns());
                let certified = |bound: Option<u64>| bound.map_or(0, u128::from);
                assert!(certified(honest.tensor_ops_per_s(&H200)) <= truth, "{sweeps:?}");
                assert!(certified(honest.local_tensor_ops_per_s(&H200)) <= truth, "{sweeps:?}");
            } else {
                assert!(honest.tensor_ops_per_s(&H200).is_some(), "{sweeps:?}");
            }
        }
    }
}
