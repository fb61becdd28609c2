//! Plans and samples of this crate compared with the one-file reference, and the plan's canonical bytes.

use protocol::bytes::{DeviceOrdinal, Fresh, Identity};
use protocol::cbor::Canonical;
use protocol::engine::Pass;
use protocol::plan::{Deadlines, DevicePlan, Iteration, Plan, PlanFields};
use protocol::sampling::samples;

fn fields() -> PlanFields {
    let device = |ordinal, matrix_offset, num_matrices| DevicePlan {
        ordinal: DeviceOrdinal(ordinal),
        matrix_offset,
        num_matrices,
    };
    let iteration = |inner_dim, sweeps| Iteration::new(inner_dim, sweeps);
    PlanFields {
        session_id: [7; 16],
        verifier: Identity([9; 32]),
        verifier_name: "verifier".into(),
        audience: "anyone".into(),
        matrix_dim: 512,
        devices: vec![device(0, 0, 3), device(1, 3, 70), device(2, 73, 1)],
        iterations: vec![
            Iteration {
                crossings: 1,
                ..iteration(192, 3)
            },
            iteration(64, 2),
            Iteration {
                crossings: 1,
                ..iteration(192, 1)
            },
        ],
        samples: 40,
        deadlines: Deadlines {
            ready_ms: 1,
            fill_ms: 2,
            sweep_ms: 3,
            openings_ms: 4,
        },
    }
}

#[test]
fn samples_are_the_references() {
    let plan = Plan::new(fields()).expect("a valid plan");
    let seed = [3; 32];
    let theirs = reference::Plan {
        n: 512,
        devices: plan
            .devices()
            .iter()
            .map(|d| reference::Device {
                matrix_offset: d.matrix_offset,
                num_matrices: u64::from(d.num_matrices),
            })
            .collect(),
        iterations: plan
            .iterations()
            .iter()
            .map(|i| reference::Iteration {
                k: i.inner_dim as usize,
                sweeps: u64::from(i.sweeps),
                crossings: u64::from(i.crossings),
            })
            .collect(),
    };
    let groups = reference::groups(&theirs);
    // Of each device and group the sweeps, then the rounds.
    let mut totals = Vec::new();
    for (entry, sweeps) in reference::sample_totals(&theirs).into_iter().enumerate() {
        totals.push(sweeps);
        totals.push(reference::crossing_total(&theirs, groups[entry % groups.len()]));
    }
    let counts: Vec<u64> = totals
        .iter()
        .map(|&total| reference::effective_samples(40, total))
        .collect();
    let mut expected = Vec::new();
    for (entry, indices) in reference::sample_indices(&seed, &totals, &counts).iter().enumerate() {
        let (g, k) = (entry / 2 / groups.len(), groups[entry / 2 % groups.len()]);
        for &index in indices {
            let (t, pass, leaf) = if entry % 2 == 0 {
                let (t, sweep, leaf) = reference::sample_coordinates(&theirs, &theirs.devices[g], k, index);
                (t, Pass::Sweep(sweep as u32), leaf)
            } else {
                let (t, round, leaf) = reference::crossing_coordinates(&theirs, g, k, index);
                (t, Pass::Round(round as u32), leaf)
            };
            expected.push((g as u32, t as u32, pass, leaf as u32));
        }
    }
    let actual: Vec<_> = samples(&plan, &Fresh(seed))
        .iter()
        .map(|s| (s.device.0, s.iteration, s.pass, s.leaf))
        .collect();
    assert!(actual.iter().any(|(_, _, pass, _)| matches!(pass, Pass::Round(_))));
    assert!(!actual.is_empty());
    assert_eq!(actual, expected);
}

#[test]
fn a_plan_has_one_encoding() {
    let plan = Plan::new(fields()).expect("a valid plan");
    let bytes = plan.to_bytes();
    assert_eq!(Plan::from_bytes(&bytes), Ok(plan.clone()));
    for end in 0..bytes.len() {
        assert!(Plan::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
    }
    assert!(Plan::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert_ne!(Plan::from_bytes(&changed), Ok(plan.clone()), "byte {at} changed");
    }
    // The version as a two-byte integer: the same value, not the canonical bytes.
    let long = [&bytes[..1], &[0x18, 0x01], &bytes[2..]].concat();
    assert_eq!(Plan::from_bytes(&long), Err(protocol::cbor::Malformed::NotCanonical));
}

#[test]
fn plans_out_of_bounds_are_refused() {
    let refused = |change: fn(&mut PlanFields)| {
        let mut changed = fields();
        change(&mut changed);
        assert!(Plan::new(changed.clone()).is_err(), "{changed:?}");
    };
    refused(|p| p.matrix_dim = 128);
    refused(|p| p.matrix_dim = 300);
    refused(|p| p.matrix_dim = 33_024);
    refused(|p| p.devices.clear());
    refused(|p| p.devices[1].matrix_offset = 4);
    refused(|p| p.devices[1].num_matrices = 0);
    refused(|p| p.devices[2].num_matrices = u32::MAX);
    refused(|p| p.devices[1].ordinal = DeviceOrdinal(0));
    refused(|p| p.iterations.clear());
    refused(|p| p.iterations[0].inner_dim = 100);
    refused(|p| p.iterations[0].inner_dim = 65_600);
    refused(|p| p.iterations[0].sweeps = 0);
    refused(|p| p.iterations[0].sweeps = 4_097);
    refused(|p| p.samples = 0);
    refused(|p| p.samples = 65_537);
    refused(|p| p.deadlines.fill_ms = 0);
}
