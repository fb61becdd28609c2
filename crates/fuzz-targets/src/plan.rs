//! Plans: every accepted plan is usable (spec §3).

use std::collections::HashSet;

use protocol::bytes::Fresh;
use protocol::cbor::Canonical;
use protocol::derive::hash;
use protocol::engine::Pass;
use protocol::frame::MessageType;
use protocol::limits::{MAX_SAMPLES, MAX_SWEEPS};
use protocol::openings::max_payload_bytes;
use protocol::plan::{Iteration, Plan};
use protocol::sampling::samples;

use crate::vectors;

/// Parses a plan and computes everything derived from it.
///
/// # Panics
///
/// If the plan's bounds do not limit the derived values.
pub fn run(data: &[u8]) {
    if let Ok(plan) = Plan::from_bytes(data) {
        assert_eq!(plan.to_bytes(), data, "one plan has one encoding");
        check(&plan);
    }
}

pub(crate) fn check(plan: &Plan) {
    assert_eq!(
        Plan::new(plan.fields().clone()).as_ref(),
        Ok(plan),
        "a plan is valid by construction"
    );
    for kind in MessageType::ALL {
        assert!(max_payload_bytes(plan, kind) > 0);
    }
    let passes = |(t, iteration): (u32, &Iteration)| iteration.sweeps + plan.rounds(t);
    let passes: u32 = (0..).zip(plan.iterations()).map(passes).sum();
    assert!(passes <= MAX_SWEEPS);
    let groups = plan.groups();
    let mut total = 0;
    for device in plan.devices() {
        let assignment = plan.assignment(device);
        assert!(assignment.tiles() >= 1);
        assert_eq!(assignment.dataset_bytes(), u64::from(assignment.tiles()) << 16);
        for &inner_dim in groups.iter().take(8) {
            let effective = plan.effective_samples(device, inner_dim);
            assert!((1..=MAX_SAMPLES).contains(&effective));
            assert!(u64::from(effective) <= plan.group_leaves(device, inner_dim));
            let crossing = plan.effective_crossing_samples(inner_dim);
            assert!(u64::from(crossing) <= plan.group_crossing_leaves(inner_dim));
            total += u64::from(effective) + u64::from(crossing);
        }
    }
    if groups.len() <= 8 {
        assert_eq!(plan.total_samples(), total);
    }
    if groups.len() <= 8 && total <= 4096 {
        check_samples(plan, total);
    }
}

/// The number of samples is correct, and they are distinct and within the plan.
fn check_samples(plan: &Plan, total: u64) {
    let drawn = samples(plan, &Fresh(hash(&[&plan.to_bytes()])));
    assert_eq!(drawn.len() as u64, total);
    assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), drawn.len(), "no leaf twice");
    for sample in drawn {
        let device = plan.devices().iter().find(|d| d.ordinal == sample.device);
        let leaves = device.map_or(0, |device| plan.sweep_leaves(device));
        let iteration = plan.iterations().get(sample.iteration as usize);
        let is_there = |iteration: &Iteration| match sample.pass {
            Pass::Sweep(sweep) => (1..=iteration.sweeps).contains(&sweep) && sample.leaf < leaves,
            Pass::Round(round) => round < plan.rounds(sample.iteration) && sample.leaf < 2 * iteration.crossings,
        };
        assert!(iteration.is_some_and(is_there));
    }
}

/// The vectors of PLAN.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    vectors::load(&["accept", "reject"])
        .into_iter()
        .filter(|(name, payload)| name == "PLAN" && payload.len() < 4096)
        .map(|(_, payload)| payload)
        .collect()
}
