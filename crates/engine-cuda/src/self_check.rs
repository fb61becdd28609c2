//! Known answers that a device must return, on the paths it will use, before it is used.

use std::sync::Arc;
use std::time::Duration;

use protocol::bytes::{OperandKey, Root, Salt, hex};
use protocol::engine::{Assignment, AssignmentFields, CrossTask, EngineError, FillTask, Unobserved};

use crate::context::Context;
use crate::workload::{Kernels, Workload};

/// A small plan and its roots, as the `reference` crate computes them.
pub(crate) struct KnownAnswer {
    pub(crate) assignment: AssignmentFields,
    pub(crate) fill_root: &'static str,
    pub(crate) sweep_root: &'static str,
    /// Of a round with its own dataset in place of another, with as many crossings as there can be.
    pub(crate) round_root: &'static str,
}

pub(crate) const OPERAND_KEY: OperandKey = OperandKey([0x5A; 32]);
pub(crate) const FILL_SALT: Salt = Salt([0x0F; 32]);
pub(crate) const SWEEP_SALT: Salt = Salt([0xC3; 32]);
pub(crate) const ROUND_SALTS: [Salt; 2] = [Salt([0x3C; 32]), Salt([0x96; 32])];

pub(crate) const KNOWN_ANSWERS: [KnownAnswer; 2] = [
    // More panels than four batches, a matrix index that passes 2^32, k that ends within a stage, leaves of several chunks.
    KnownAnswer {
        assignment: AssignmentFields {
            matrix_dim: 256,
            matrix_offset: 0xFFFF_FF80,
            num_matrices: 261,
            max_inner_dim: 192,
        },
        fill_root: "fd78d2892d3fae5c9a177fc8a2cb24e50df5aecabc1fdb3c0f5f6bbf9e991a54",
        sweep_root: "78cd7450c1ffd83759d64aedb0e874c06d680b867b08c40f6657984f0e6a9d73",
        round_root: "64762c9c239b15890e50c419dbcaaf001bccf53f40b3eaa1f809603e2935f2fe",
    },
    // Several tile columns, an odd number of them; an even number of tiles.
    KnownAnswer {
        assignment: AssignmentFields {
            matrix_dim: 768,
            matrix_offset: 3,
            num_matrices: 2,
            max_inner_dim: 320,
        },
        fill_root: "c00ed270cb894dc1501d7fb9a55c5cdab623440df49041ab4662605559769269",
        sweep_root: "d5f7765e60d9ed8593ce126b3c239830c326253a649fcb54e76e69fdb8ed031d",
        round_root: "30abea91eeae217ec4a52bd6d1e67a9f38d313b87258f0061f71b79f0b547ecb",
    },
];

/// Runs the known answers through the code that sessions use: some milliseconds, 64 MiB at most.
pub(crate) fn self_check(context: &Arc<Context>, kernels: &Kernels, limit: Duration) -> Result<(), EngineError> {
    for known in &KNOWN_ANSWERS {
        let assignment = Assignment::new(known.assignment)?;
        let mut workload = Workload::new(context, &assignment, kernels.fill.path(), limit)?;
        let task = FillTask {
            inner_dim: assignment.max_inner_dim(),
            operand_key: OPERAND_KEY,
            fill_salt: FILL_SALT,
            sweeps: 1,
        };
        let fill = workload.fill(kernels, &task, &Unobserved)?;
        compare("fill", kernels.fill.path(), known.fill_root, &fill)?;
        let sweep = workload.sweep(kernels, &SWEEP_SALT, &Unobserved)?;
        compare("sweep", kernels.sweep.path(), known.sweep_root, &sweep)?;
        workload.connect(&[workload.dataset()])?;
        let [salt, other_salt] = ROUND_SALTS;
        let task = CrossTask {
            round: 0,
            crossings: assignment.tiles() / 4,
            salt,
            other: 0,
            other_salt,
        };
        let round = workload.cross(kernels, &task, &Unobserved)?;
        compare("round", kernels.sweep.path(), known.round_root, &round)?;
    }
    Ok(())
}

fn compare(what: &str, path: impl std::fmt::Display, expected: &str, actual: &Root) -> Result<(), EngineError> {
    let actual = hex(&actual.0);
    if actual == expected {
        Ok(())
    } else {
        Err(EngineError::SelfTest(format!(
            "the {path} {what} gives root {actual}, expected {expected}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_answers_are_those_of_the_reference() {
        for known in &KNOWN_ANSWERS {
            let AssignmentFields {
                matrix_dim,
                matrix_offset,
                num_matrices,
                max_inner_dim,
            } = known.assignment;
            let device = reference::Device {
                matrix_offset,
                num_matrices: num_matrices.into(),
            };
            let tiles = reference::device_tiles(&OPERAND_KEY.0, matrix_dim as usize, max_inner_dim as usize, &device);
            let key = reference::key(&FILL_SALT.0);
            let leaves: Vec<u64> = tiles.iter().map(|tile| reference::fill_digest(&key, tile)).collect();
            let sweep = reference::sweep(&SWEEP_SALT.0, &tiles);
            let [own, other] = ROUND_SALTS;
            let round = reference::cross(&own.0, &other.0, &tiles, &tiles, tiles.len() as u64 / 4);
            let roots = [leaves, sweep, round].map(|leaves| hex(&reference::root(&leaves)));
            let known_roots = [known.fill_root, known.sweep_root, known.round_root];
            assert_eq!(roots, known_roots, "n = {matrix_dim}");
        }
    }
}
