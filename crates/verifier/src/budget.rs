//! The budget for checking evidence, compared with its cost beforehand: the sender of evidence chooses its plan, and a
//! plan of a few kilobytes may require years of work (`gpu-validator: evidence_past_the_budget_costs_nothing`).

use std::collections::BTreeMap;
use std::fmt;

use protocol::cbor::Canonical;
use protocol::evidence::Evidence;
use protocol::frame::MessageType;
use protocol::limits::{MAX_RECORDS, TILE_BYTES};
use protocol::plan::Plan;
use protocol::record::Event;
use protocol::tournament::meetings;

use crate::units::bytes;

/// Multiply-adds in a Tmac.
pub const TMAC: u128 = 1_000_000_000_000;

/// Multiply-adds per second of one core: a tile of k = 16384 in 2.2 ms, as in docs/verification.md.
const CORE_RATE: f64 = TILE_BYTES as f64 * 16_384.0 / 2.2e-3;

/// Memory that evidence takes, as a multiple of its size, while it is parsed and while its records are replayed: it
/// then exists as a file, as records, as the session's state, as openings, and as the canonical bytes that these are
/// compared with.
const TIMES_PARSED: u64 = 2;
const TIMES_REPLAYED: u64 = 6;

/// The same when the whole transcript is shown: as bytes, as JSON values, and as text.
const TIMES_SHOWN: u64 = 16;

/// Memory of one record in addition to its payload, bytes; and the minimum size of a record in a file.
const RECORD_BYTES: u64 = 128;
const MIN_RECORD_BYTES: u64 = 8;

/// Memory of one sample in addition to its opened data, bytes; and the minimum size of its openings in a file.
const SAMPLE_BYTES: u64 = 2_048;
const MIN_SAMPLE_BYTES: u64 = 10;

/// The most that checking evidence may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Multiply-adds of recomputing its samples.
    pub multiply_adds: u128,
    /// Memory for reading and replaying it, bytes; recomputing takes a fixed amount in addition.
    pub memory_bytes: u64,
}

impl Default for Budget {
    /// 500 Tmac and 4 GiB: three times the cost of the largest preset's session of 8 devices (k = 65536 and 2048, 2048
    /// samples: 145 Tmac), and seven times the memory of its evidence.
    fn default() -> Self {
        Budget {
            multiply_adds: 500 * TMAC,
            memory_bytes: 4 << 30,
        }
    }
}

/// Evidence that exceeds the budget; says nothing about the evidence itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooCostly {
    /// Recomputing its samples.
    #[error("recomputing its samples costs {work}; allowed are {} Tmac", Tmac(*.allowed))]
    Work {
        /// An upper bound of the cost: tiles that samples share are computed once.
        work: Work,
        /// The budget's multiply-adds.
        allowed: u128,
    },
    /// Reading it and replaying its records.
    #[error(
        "reading it takes up to {} of memory; allowed are {}",
        bytes((*.required_bytes).into()),
        bytes((*.allowed_bytes).into())
    )]
    Memory {
        /// An upper estimate.
        required_bytes: u64,
        /// The budget's memory.
        allowed_bytes: u64,
    },
}

impl Budget {
    /// The maximum size of evidence that may be read, bytes.
    #[must_use]
    pub fn evidence_bytes(&self) -> u64 {
        self.memory_bytes / TIMES_PARSED
    }

    /// Whether evidence of this many bytes may be parsed.
    ///
    /// # Errors
    ///
    /// [`TooCostly::Memory`].
    pub fn check_length(&self, bytes: u64) -> Result<(), TooCostly> {
        let records = (bytes / MIN_RECORD_BYTES).min(MAX_RECORDS as u64);
        self.check_memory(
            TIMES_PARSED
                .saturating_mul(bytes)
                .saturating_add(RECORD_BYTES * records),
        )
    }

    /// Whether parsed evidence of this many bytes may be replayed and its tiles recomputed: its plan determines the
    /// cost.
    ///
    /// # Errors
    ///
    /// [`TooCostly`].
    pub fn check_evidence(&self, evidence: &Evidence, bytes: u64) -> Result<(), TooCostly> {
        let plan = plan(evidence);
        if let Some(plan) = &plan {
            self.check_work(plan)?;
        }
        // No samples are drawn for missing openings.
        let samples = plan.map_or(0, |plan| plan.total_samples().min(bytes / MIN_SAMPLE_BYTES));
        let records = evidence.records.len() as u64;
        let beyond = 2 * RECORD_BYTES * records + SAMPLE_BYTES.saturating_mul(samples);
        self.check_memory(TIMES_REPLAYED.saturating_mul(bytes).saturating_add(beyond))
    }

    /// Whether the whole transcript of evidence of this many bytes may be shown.
    ///
    /// # Errors
    ///
    /// [`TooCostly::Memory`].
    pub fn check_shown(&self, bytes: u64) -> Result<(), TooCostly> {
        self.check_memory(TIMES_SHOWN.saturating_mul(bytes))
    }

    /// Whether the samples of a plan may be recomputed.
    ///
    /// # Errors
    ///
    /// [`TooCostly::Work`].
    pub fn check_work(&self, plan: &Plan) -> Result<(), TooCostly> {
        let (work, allowed) = (Work::of_samples(plan), self.multiply_adds);
        if work.multiply_adds > allowed {
            return Err(TooCostly::Work { work, allowed });
        }
        Ok(())
    }

    fn check_memory(&self, required_bytes: u64) -> Result<(), TooCostly> {
        if required_bytes > self.memory_bytes {
            return Err(TooCostly::Memory {
                required_bytes,
                allowed_bytes: self.memory_bytes,
            });
        }
        Ok(())
    }
}

/// The plan that was sent according to the evidence: the first one, since replay accepts no other.
fn plan(evidence: &Evidence) -> Option<Plan> {
    let frame = evidence.records.iter().find_map(|record| match &record.event {
        Event::Sent(frame) if frame.message_type() == Some(MessageType::Plan) => Some(frame),
        _ => None,
    })?;
    // An invalid plan is rejected in replay.
    Plan::from_bytes(&frame.payload).ok()
}

/// Tiles to compute, and their multiply-adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Tiles of 256 x 256 elements.
    pub tiles: u64,
    /// 65,536 k per tile.
    pub multiply_adds: u128,
}

impl Work {
    /// Recomputing both tiles of every sample of a plan (spec §5.5), as if no two samples shared one.
    #[must_use]
    pub fn of_samples(plan: &Plan) -> Self {
        // Once for each k: a plan may have thousands of iterations.
        let mut groups: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for iteration in plan.iterations() {
            let (sweeps, crossings) = groups.entry(iteration.inner_dim).or_default();
            *sweeps += u64::from(iteration.sweeps);
            *crossings += 2 * u64::from(iteration.crossings);
        }
        let meetings = u64::from(meetings(plan.devices().len()));
        let drawn = |of: u64| u64::from(plan.fields().samples).min(of);
        let mut work = Work::default();
        for device in plan.devices() {
            let leaves = u64::from(plan.sweep_leaves(device));
            for (&inner_dim, (sweeps, crossings)) in &groups {
                let samples = drawn(sweeps * leaves) + drawn(crossings * meetings);
                work.add(2 * samples, inner_dim);
            }
        }
        work
    }

    /// Filling every device's dataset once in every iteration of a plan; sweeps only read.
    #[must_use]
    pub fn of_fills(plan: &Plan) -> Self {
        let mut work = Work::default();
        let tiles: u64 = (plan.devices().iter())
            .map(|device| u64::from(plan.assignment(device).tiles()))
            .sum();
        for iteration in plan.iterations() {
            work.add(tiles, iteration.inner_dim);
        }
        work
    }

    fn add(&mut self, tiles: u64, inner_dim: u32) {
        self.tiles += tiles;
        self.multiply_adds += u128::from(tiles) * TILE_BYTES as u128 * u128::from(inner_dim);
    }
}

/// "144.9 Tmac (131072 tiles, about 297 core-seconds)".
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core_s = (self.multiply_adds as f64 / CORE_RATE).ceil();
        let (tmac, tiles) = (Tmac(self.multiply_adds), self.tiles);
        write!(f, "{tmac} Tmac ({tiles} tiles, about {core_s} core-seconds)")
    }
}

/// Multiply-adds in Tmac, rounded up to a thousandth: the printed number is never below the required one.
pub struct Tmac(pub u128);

impl fmt::Display for Tmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thousandths = self.0.div_ceil(TMAC / 1_000);
        write!(f, "{}.{:03}", thousandths / 1_000, thousandths % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::bytes::{DeviceOrdinal, Identity};
    use protocol::plan::{Deadlines, DevicePlan, Iteration, PlanFields};

    use crate::preset::Preset;

    /// Matrices of an H200, and a quarter of their tiles.
    const MATRICES: u32 = 2_227;
    const MOST_CROSSINGS: u32 = MATRICES * 32 * 32 / 4;

    /// A plan of this many H200.
    fn plan(devices: u32, iterations: Vec<Iteration>, samples: u32) -> Plan {
        let device = |g| DevicePlan {
            ordinal: DeviceOrdinal(g),
            matrix_offset: u64::from(MATRICES * g),
            num_matrices: MATRICES,
        };
        let limit_ms = 1_000;
        Plan::new(PlanFields {
            session_id: [0; 16],
            verifier: Identity([0; 32]),
            verifier_name: String::new(),
            audience: String::new(),
            matrix_dim: 8_192,
            devices: (0..devices).map(device).collect(),
            iterations,
            samples,
            deadlines: Deadlines {
                ready_ms: limit_ms,
                fill_ms: limit_ms,
                sweep_ms: limit_ms,
                openings_ms: limit_ms,
            },
        })
        .expect("a plan")
    }

    fn iteration(inner_dim: u32, sweeps: u32) -> Iteration {
        Iteration::new(inner_dim, sweeps)
    }

    #[test]
    fn the_default_takes_every_preset_with_room_and_not_every_plan() {
        let budget = Budget::default();
        for preset in Preset::ALL {
            let request = preset.request(Identity([0; 32]));
            let within = |iteration: Iteration| Iteration {
                crossings: iteration.crossings.min(MOST_CROSSINGS),
                ..iteration
            };
            let iterations = request.iterations.into_iter().map(within).collect();
            let plan = plan(8, iterations, request.samples);
            let work = Work::of_samples(&plan);
            assert!(3 * work.multiply_adds < budget.multiply_adds, "{preset:?}: {work}");
        }
        let mut strict = vec![iteration(65_536, 32)];
        strict.extend([iteration(2_048, 1); 8]);
        let work = Work::of_samples(&plan(8, strict, 2_048));
        assert_eq!(work.tiles, 8 * 2 * 2 * 2_048);
        assert_eq!(work.multiply_adds, 8 * 2 * 2_048 * 65_536 * (65_536 + 2_048));
        assert_eq!(work.to_string(), "145.136 Tmac (65536 tiles, about 298 core-seconds)");
        assert!(3 * work.multiply_adds < budget.multiply_adds);
        // Their evidence: 4.7 kB per sample.
        assert_eq!(budget.check_length(65_536 / 2 * 4_700), Ok(()));

        let most = (1..=1_000).map(|i| iteration(64 * i, 4)).collect();
        let most = plan(64, most, 65_536);
        match budget.check_work(&most) {
            Err(TooCostly::Work { work, allowed }) => {
                assert_eq!(allowed, 500 * TMAC);
                assert_eq!(work.tiles, 2 * most.total_samples());
                assert!(work.multiply_adds > 1_000 * allowed, "{work}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_group_has_no_more_samples_than_leaves() {
        let plan = plan(
            2,
            vec![iteration(4_096, 1), iteration(64, 2), iteration(4_096, 1)],
            65_536,
        );
        assert_eq!(Work::of_samples(&plan).tiles, 2 * plan.total_samples());
        let fills = Work::of_fills(&plan);
        assert_eq!(fills.tiles, 3 * 2 * 2_227 * 1_024);
        assert_eq!(fills.multiply_adds, 2 * 2_227 * 1_024 * 65_536 * (4_096 + 64 + 4_096));
    }

    #[test]
    fn the_length_alone_may_be_too_much() {
        let budget = Budget {
            memory_bytes: 1 << 20,
            ..Budget::default()
        };
        assert_eq!(budget.check_length(32 << 10), Ok(()));
        let refused = budget.check_length(512 << 10);
        assert!(matches!(refused, Err(TooCostly::Memory { .. })), "{refused:?}");
        let refused = budget.check_length(u64::MAX);
        assert!(matches!(refused, Err(TooCostly::Memory { .. })), "{refused:?}");
    }

    #[test]
    fn what_is_printed_is_no_less() {
        assert_eq!(Tmac(500 * TMAC).to_string(), "500.000");
        assert_eq!(Tmac(1).to_string(), "0.001");
        assert_eq!(Tmac(TMAC + 1).to_string(), "1.001");
    }
}
