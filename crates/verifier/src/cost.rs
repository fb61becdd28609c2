//! What samples certify and cost, before a session: the bounds from a class's figures by number of samples.

use protocol::bounds::{Assumptions, Measured, MeasuredIteration};
use protocol::limits::MIN_SAMPLES_FOR_BOUND;
use protocol::plan::Iteration;

use crate::preset::LONG_INNER_DIM;

/// k of the iterations that T_local comes from.
pub const LOCAL_INNER_DIM: u32 = 2_048;

/// k that memory, bandwidth and T may be measured with.
const INNER_DIMS: [u32; 6] = [4_096, 8_192, 16_384, LONG_INNER_DIM, 32_768, 65_536];

/// Numbers of samples that a table shows.
const SAMPLES: [u32; 10] = [256, 384, 512, 768, 1_024, 1_536, 2_048, 4_096, 8_192, 16_384];

/// The number of sweeps is sufficient when the messages of a phase take a 500th of its window.
const ROUND_TRIP_SHARE: f64 = 0.002;

/// The speed of a device, as measured over a session's windows.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceFigures {
    /// N: bytes of dataset.
    pub dataset_bytes: u64,
    /// Operations/s of a fill with k >= 4096.
    pub fill_ops: f64,
    /// Operations/s of a fill with [`LOCAL_INNER_DIM`].
    pub local_fill_ops: f64,
    /// Bytes/s of a sweep.
    pub sweep_bytes_per_s: f64,
    /// The time of a phase in addition to its work: messages both ways, s.
    pub round_trip_s: f64,
}

impl DeviceFigures {
    /// Seconds of a fill at k.
    #[must_use]
    pub fn fill_s(&self, inner_dim: u32) -> f64 {
        let rate = if inner_dim == LOCAL_INNER_DIM {
            self.local_fill_ops
        } else {
            self.fill_ops
        };
        2.0 * f64::from(inner_dim) * self.dataset_bytes as f64 / rate + self.round_trip_s
    }

    /// Seconds of an iteration's sweeps.
    #[must_use]
    pub fn sweeps_s(&self, sweeps: u32) -> f64 {
        f64::from(sweeps) * self.dataset_bytes as f64 / self.sweep_bytes_per_s + self.round_trip_s
    }

    /// The number of sweeps from which messages are negligible.
    fn sweeps(&self) -> u32 {
        let sweep_s = self.dataset_bytes as f64 / self.sweep_bytes_per_s;
        ((self.round_trip_s / (ROUND_TRIP_SHARE * sweep_s)).ceil() as u32).clamp(4, 64)
    }
}

/// The Verifier's cost of recomputing: a tile's time on one thread is `fixed_ms + per_inner_dim_ms * k`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VerifierFigures {
    /// Threads that recompute.
    pub threads: usize,
    /// Per tile, independent of k, ms.
    pub fixed_ms: f64,
    /// Per tile and element of k, ms.
    pub per_inner_dim_ms: f64,
}

impl VerifierFigures {
    /// The line through a tile's times (ms) at two values of k.
    #[must_use]
    pub fn through(threads: usize, [(k0, ms0), (k1, ms1)]: [(u32, f64); 2]) -> Self {
        let per_inner_dim_ms = (ms1 - ms0) / (f64::from(k1) - f64::from(k0));
        let fixed_ms = ms0 - per_inner_dim_ms * f64::from(k0);
        // Noise must not result in a cost of zero.
        if per_inner_dim_ms > 0.0 && fixed_ms >= 0.0 {
            VerifierFigures {
                threads,
                fixed_ms,
                per_inner_dim_ms,
            }
        } else {
            VerifierFigures {
                threads,
                fixed_ms: 0.0,
                per_inner_dim_ms: ms1 / f64::from(k1),
            }
        }
    }

    /// A tile's time on one thread, ms.
    #[must_use]
    pub fn tile_ms(&self, inner_dim: u32) -> f64 {
        self.fixed_ms + self.per_inner_dim_ms * f64::from(inner_dim)
    }
}

/// A session's work, and what each number of samples certifies of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// The iterations.
    pub iterations: Vec<Iteration>,
    /// Seconds of all fills and sweeps.
    pub session_s: f64,
    /// The number of samples proposed; `None` if no number meets the goal.
    pub samples: Option<u32>,
    /// Ascending by samples, including the proposed number.
    pub rows: Vec<Row>,
}

/// What one number of samples certifies, as shares of the measured figures, and its cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// s, per device and distinct k.
    pub samples: u32,
    /// f*: except with the error's probability fewer than this share of leaves were wrong.
    pub wrong_share: f64,
    /// V / N.
    pub memory: Option<f64>,
    /// B divided by the sweeps' rate.
    pub bandwidth: Option<f64>,
    /// T divided by the fill's rate.
    pub tensor: Option<f64>,
    /// T_local divided by the rate of the fills it is derived from.
    pub local_tensor: Option<f64>,
    /// Core-seconds of recomputing, all devices.
    pub core_s: f64,
    /// Seconds of recomputing on the Verifier's threads.
    pub verifier_s: f64,
}

/// The goal of a proposal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// The best result that fits into this many seconds of the Verifier.
    TimeBudget(f64),
    /// At least this share of the memory, at the lowest cost.
    MemoryShare(f64),
}

/// Chooses k, sweeps and samples for `devices` equal devices.
#[must_use]
pub fn propose(
    device: &DeviceFigures,
    devices: u32,
    verifier: &VerifierFigures,
    assumptions: &Assumptions,
    wanted: Wanted,
) -> Proposal {
    let proposals = INNER_DIMS.map(|inner_dim| {
        let model = Model {
            device,
            devices,
            verifier,
            assumptions,
            inner_dim,
        };
        let samples = (MIN_SAMPLES_FOR_BOUND..=65_536).step_by(64);
        let samples = match wanted {
            Wanted::TimeBudget(s) => samples.take_while(|&n| model.row(n).verifier_s <= s).last(),
            Wanted::MemoryShare(share) => {
                let mut samples = samples;
                samples.find(|&n| model.row(n).memory.is_some_and(|memory| memory >= share))
            }
        };
        (model, samples)
    });
    let best = proposals
        .iter()
        .filter_map(|(model, samples)| Some((model, (*samples)?)))
        .max_by(|(a, s), (b, t)| {
            let (a, b) = (a.row(*s), b.row(*t));
            match wanted {
                Wanted::TimeBudget(_) => least(&a).total_cmp(&least(&b)),
                Wanted::MemoryShare(_) => b.verifier_s.total_cmp(&a.verifier_s),
            }
        });
    match best {
        Some((model, samples)) => model.proposal(Some(samples)),
        // The table still shows the options, at the k of the presets.
        None => proposals[3].0.proposal(None),
    }
}

/// The smallest of the shares of V, B and T.
fn least(row: &Row) -> f64 {
    [row.memory, row.bandwidth, row.tensor]
        .map(|share| share.unwrap_or(0.0))
        .into_iter()
        .fold(1.0, f64::min)
}

struct Model<'a> {
    device: &'a DeviceFigures,
    devices: u32,
    verifier: &'a VerifierFigures,
    assumptions: &'a Assumptions,
    inner_dim: u32,
}

impl Model<'_> {
    /// One iteration for V, B and T, two short ones for T_local.
    fn iterations(&self) -> Vec<Iteration> {
        let local = Iteration::new(LOCAL_INNER_DIM, 2);
        let main = Iteration::new(self.inner_dim, self.device.sweeps());
        vec![main, local, local]
    }

    fn measured(&self, inner_dim: u32, samples: u32) -> Measured {
        let ns = |s: f64| (s * 1e9) as u64;
        let iterations = self.iterations().into_iter().filter(|i| i.inner_dim == inner_dim);
        Measured {
            inner_dim,
            samples,
            dataset_bytes: self.device.dataset_bytes,
            iterations: iterations
                .map(|i| MeasuredIteration {
                    sweeps: i.sweeps,
                    fill_ns: ns(self.device.fill_s(inner_dim)),
                    sweep_ns: ns(self.device.sweeps_s(i.sweeps)),
                })
                .collect(),
        }
    }

    fn row(&self, samples: u32) -> Row {
        let (main, local) = (
            self.measured(self.inner_dim, samples),
            self.measured(LOCAL_INNER_DIM, samples),
        );
        let share = |bound: Option<u64>, of: f64| bound.map(|bound| bound as f64 / of);
        let fill_rate = |m: &Measured| m.operations() as f64 / (m.fill_ns() as f64 / 1e9);
        let sweep_rate = main.dataset_bytes as f64 * main.sweeps() as f64 / (main.sweep_ns() as f64 / 1e9);
        let tiles_ms = 2.0 * (self.verifier.tile_ms(self.inner_dim) + self.verifier.tile_ms(LOCAL_INNER_DIM));
        let core_s = f64::from(samples) * f64::from(self.devices) * tiles_ms / 1e3;
        Row {
            samples,
            wrong_share: f64::from(self.assumptions.error_bits) * std::f64::consts::LN_2 / f64::from(samples),
            memory: share(main.memory_bytes(self.assumptions), main.dataset_bytes as f64),
            bandwidth: share(main.bandwidth_bytes_per_s(self.assumptions), sweep_rate),
            tensor: share(main.tensor_ops_per_s(self.assumptions), fill_rate(&main)),
            local_tensor: share(local.local_tensor_ops_per_s(self.assumptions), fill_rate(&local)),
            core_s,
            verifier_s: core_s / self.verifier.threads as f64,
        }
    }

    fn proposal(&self, samples: Option<u32>) -> Proposal {
        let iterations = self.iterations();
        let mut rows: Vec<u32> = SAMPLES.into_iter().chain(samples).collect();
        rows.sort_unstable();
        rows.dedup();
        Proposal {
            session_s: iterations
                .iter()
                .map(|i| self.device.fill_s(i.inner_dim) + self.device.sweeps_s(i.sweeps))
                .sum(),
            iterations,
            samples,
            rows: rows.into_iter().map(|samples| self.row(samples)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preset::default_assumptions;

    fn proposal(wanted: Wanted) -> Proposal {
        // The recorded session of an H200: 555 matrices of n = 16384.
        let device = DeviceFigures {
            dataset_bytes: 555 << 28,
            fill_ops: 1.35e15,
            local_fill_ops: 1.215e15,
            sweep_bytes_per_s: 4.576e12,
            round_trip_s: 0.002,
        };
        let verifier = VerifierFigures::through(2, [(2_048, 0.3), (16_384, 2.2)]);
        // Links of PCIe 5.0.
        let assumptions = Assumptions {
            link_in_bytes_per_s: 64_000_000_000,
            link_out_bytes_per_s: 64_000_000_000,
            ..default_assumptions(20)
        };
        propose(&device, 1, &verifier, &assumptions, wanted)
    }

    /// What this many samples certify at the k of the presets.
    fn standard_row(samples: u32) -> Row {
        let nothing = proposal(Wanted::TimeBudget(0.01));
        assert_eq!(nothing.iterations[0].inner_dim, LONG_INNER_DIM);
        let device = DeviceFigures {
            dataset_bytes: 555 << 28,
            fill_ops: 1.35e15,
            local_fill_ops: 1.215e15,
            sweep_bytes_per_s: 4.576e12,
            round_trip_s: 0.002,
        };
        let model = Model {
            device: &device,
            devices: 1,
            verifier: &VerifierFigures::through(2, [(2_048, 0.3), (16_384, 2.2)]),
            assumptions: &Assumptions {
                link_in_bytes_per_s: 64_000_000_000,
                link_out_bytes_per_s: 64_000_000_000,
                ..default_assumptions(20)
            },
            inner_dim: LONG_INNER_DIM,
        };
        model.row(samples)
    }

    #[test]
    fn a_time_budget_buys_what_it_can_and_no_more() {
        let two = proposal(Wanted::TimeBudget(2.0));
        let samples = two.samples.expect("two seconds are enough");
        let row = two
            .rows
            .iter()
            .find(|row| row.samples == samples)
            .expect("what is proposed");
        assert!(row.verifier_s <= 2.0 && row.verifier_s > 1.8, "{row:?}");
        let four = proposal(Wanted::TimeBudget(4.0));
        assert!(four.samples > two.samples);
        assert_eq!(proposal(Wanted::TimeBudget(0.01)).samples, None);
    }

    #[test]
    fn a_share_is_met_as_cheaply_as_can_be_or_not_at_all() {
        let met = proposal(Wanted::MemoryShare(0.94));
        let samples = met.samples.expect("0.94 can be met");
        let at = met
            .rows
            .iter()
            .position(|row| row.samples == samples)
            .expect("what is proposed");
        assert!(met.rows[at].memory.is_some_and(|memory| memory >= 0.94));
        assert!(
            met.rows[..at]
                .iter()
                .all(|row| row.memory.is_none_or(|memory| memory < 0.94))
        );
        assert_eq!(proposal(Wanted::MemoryShare(0.999)).samples, None);
    }

    #[test]
    fn more_samples_certify_more_and_the_recorded_session_is_met() {
        let rows = proposal(Wanted::TimeBudget(2.0)).rows;
        assert!(rows.is_sorted_by_key(|row| row.memory));
        assert!(rows.is_sorted_by_key(|row| row.local_tensor));
        // Two H200 with 1280 samples at k = 20480: V 129.9 of 139.2 GiB, B 4.252 of 4.563 TB/s, T 1328 of 1343 Tops each.
        let row = standard_row(1_280);
        for (share, expected) in [(row.memory, 0.9333), (row.bandwidth, 0.9318), (row.tensor, 0.9892)] {
            assert!(
                share.is_some_and(|share| (share - expected).abs() < 0.002),
                "{share:?}, expected {expected}"
            );
        }
    }

    #[test]
    fn a_line_through_noise_costs_something() {
        let figures = VerifierFigures::through(1, [(2_048, 3.0), (16_384, 2.0)]);
        assert!(figures.tile_ms(2_048) > 0.0 && figures.tile_ms(32_768) > figures.tile_ms(16_384));
    }
}
