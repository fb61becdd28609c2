//! What a session keeps in host memory until it ends: every leaf, so that samples can be opened, and the openings.

use protocol::frame::MessageType;
use protocol::openings::max_payload_bytes;
use protocol::plan::{Iteration, Plan};

/// The host has too little memory for the data that a plan requires it to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "leaves and openings of this plan take {required_bytes} bytes of the host's memory, {available_bytes} are available"
)]
pub struct HostMemoryError {
    /// Bytes of leaves and openings.
    pub required_bytes: u64,
    /// Bytes available on the host.
    pub available_bytes: u64,
}

/// Checks a plan against the memory available on the host, where the system reports it.
///
/// The Verifier chooses the plan: without this check, a plan of a few kilobytes could make the system kill processes of
/// the host.
pub(crate) fn check(plan: &Plan, available_bytes: Option<u64>) -> Result<(), HostMemoryError> {
    let required_bytes = required_bytes(plan);
    match available_bytes {
        Some(available_bytes) if available_bytes < required_bytes => Err(HostMemoryError {
            required_bytes,
            available_bytes,
        }),
        _ => Ok(()),
    }
}

/// Eight bytes per leaf: one leaf per tile for every fill, one per two tiles for every sweep, and those of rounds. OPENINGS exists three
/// times: as openings, as their encoding, and as the frame.
fn required_bytes(plan: &Plan) -> u64 {
    let leaves: u128 = plan
        .devices()
        .iter()
        .map(|device| {
            let tiles = u128::from(plan.assignment(device).tiles());
            let of_iteration = |iteration: &Iteration| tiles + u128::from(iteration.sweeps) * tiles.div_ceil(2);
            let of_rounds = |k| u128::from(plan.group_crossing_leaves(k));
            let iterations: u128 = plan.iterations().iter().map(of_iteration).sum();
            iterations + plan.groups().into_iter().map(of_rounds).sum::<u128>()
        })
        .sum();
    let openings = u128::from(max_payload_bytes(plan, MessageType::Openings));
    u64::try_from(8 * leaves + 3 * openings).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use protocol::bytes::{DeviceOrdinal, Identity};
    use protocol::plan::{Deadlines, DevicePlan, PlanFields};

    use super::*;

    fn plan(matrices: u32, iterations: &[u32], samples: u32) -> Plan {
        let iteration = |&sweeps: &u32| Iteration::new(64, sweeps);
        Plan::new(PlanFields {
            session_id: [0; 16],
            verifier: Identity([0; 32]),
            verifier_name: String::new(),
            audience: String::new(),
            matrix_dim: 8192,
            devices: vec![DevicePlan {
                ordinal: DeviceOrdinal(0),
                matrix_offset: 0,
                num_matrices: matrices,
            }],
            iterations: iterations.iter().map(iteration).collect(),
            samples,
            deadlines: Deadlines {
                ready_ms: 1,
                fill_ms: 1,
                sweep_ms: 1,
                openings_ms: 1,
            },
        })
        .expect("within the bounds")
    }

    /// An H200's dataset: 2227 matrices are 2,280,448 tiles.
    #[test]
    fn leaves_of_a_large_device_are_counted() {
        let standard = plan(2227, &[32, 4, 4], 1);
        let leaves = 3 * 2_280_448 + 40 * 1_140_224;
        let openings = max_payload_bytes(&standard, MessageType::Openings);
        assert_eq!(required_bytes(&standard), 8 * leaves + 3 * openings);
        // 65,536 sweeps are a legal plan of a few bytes, and 600 GB of leaves.
        let hostile = plan(2227, &[4096; 16], 1);
        let available_bytes = 128 << 30;
        assert_eq!(check(&standard, Some(available_bytes)), Ok(()));
        let error = check(&hostile, Some(available_bytes)).expect_err("more than there is");
        assert_eq!(error.available_bytes, available_bytes);
        assert!(error.required_bytes > 590_000_000_000, "{error}");
        assert_eq!(check(&hostile, None), Ok(()));
    }

    #[test]
    fn exactly_enough_is_enough() {
        let plan = plan(3, &[2], 100);
        let required = required_bytes(&plan);
        assert_eq!(check(&plan, Some(required)), Ok(()));
        assert!(check(&plan, Some(required - 1)).is_err());
    }
}
