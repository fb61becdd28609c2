//! A job: one device's work in one iteration, and how it is done again.

use std::cmp::Reverse;

use protocol::derive;
use protocol::engine::{CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::verifier::VerifierSession;
use serde::{Deserialize, Serialize};

use super::error::{ReexecuteError, RootMismatch};

/// What a swept tile costs against a filled one's k: on CPUs and GPUs alike reading it takes as long as some hundred of k.
pub(super) const SWEPT_TILE_UNITS: u64 = 128;

/// One device's work in one iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// Iteration, from 0.
    pub iteration: u32,
    /// Position of the device in the plan, from 0.
    pub device_index: u32,
}

/// The jobs of a finished session, the largest first.
///
/// # Errors
///
/// [`ReexecuteError::Unfinished`] for a session that stopped early.
pub fn jobs(session: &VerifierSession) -> Result<Vec<Job>, ReexecuteError> {
    let plan = session.plan().filter(|_| session.checksum().is_some());
    let plan = plan.ok_or(ReexecuteError::Unfinished)?;
    let mut jobs: Vec<Job> = (0..plan.iterations().len() as u32)
        .flat_map(|iteration| {
            (0..plan.devices().len() as u32).map(move |device_index| Job {
                iteration,
                device_index,
            })
        })
        .collect();
    jobs.sort_by_key(|job| {
        let inner_dim = plan.iterations()[job.iteration as usize].inner_dim;
        let matrices = plan.devices()[job.device_index as usize].num_matrices;
        Reverse(u64::from(inner_dim) * u64::from(matrices))
    });
    Ok(jobs)
}

/// A [`Progress`] that counts work in units.
pub(super) trait Meter: Progress {
    /// The tiles that follow cost so many units each.
    fn tiles_cost(&self, units: u64);
}

/// An engine's error at a job.
pub(super) fn failed(session: &VerifierSession, job: Job, error: EngineError) -> ReexecuteError {
    let plan = session.plan().expect("jobs come from a plan");
    ReexecuteError::Engine {
        device: plan.devices()[job.device_index as usize].ordinal,
        iteration: job.iteration,
        error,
    }
}

/// Does a job again and compares each of its roots; the first that differs.
pub(super) fn do_again(
    session: &VerifierSession,
    job: Job,
    engine: &mut dyn Engine,
    progress: &dyn Meter,
) -> Result<Result<(), RootMismatch>, ReexecuteError> {
    let plan = session.plan().expect("jobs come from a plan");
    let trace = session.trace().expect("jobs come from a finished session");
    let (t, g) = (job.iteration as usize, job.device_index as usize);
    let device = &plan.devices()[g];
    let iteration = &trace.iterations()[t];
    let failed = |error| failed(session, job, error);
    let mismatch = |commitment, expected, actual| RootMismatch {
        device: device.ordinal,
        commitment,
        expected,
        actual,
    };
    engine.prepare(&plan.assignment(device)).map_err(failed)?;
    let task = FillTask {
        inner_dim: plan.iterations()[t].inner_dim,
        operand_key: derive::operand_key(&iteration.chain),
        fill_salt: derive::fill_salt(&iteration.chain),
        sweeps: plan.iterations()[t].sweeps,
    };
    progress.tiles_cost(task.inner_dim.into());
    let expected = engine.fill(&task, progress).map_err(failed)?;
    progress.tiles_cost(SWEPT_TILE_UNITS);
    let actual = iteration.fill_roots[g].expect("the iteration is done");
    if expected != actual {
        let fill = CommitmentId::Fill {
            iteration: job.iteration,
        };
        return Ok(Err(mismatch(fill, expected, actual)));
    }
    // A salt derives from the root before it as it was committed: where that root is right, so is the salt.
    for (sweep, (salt, &actual)) in (1..).zip(iteration.sweep_salts[g].iter().zip(&iteration.sweep_roots[g])) {
        let expected = engine.sweep(salt, progress).map_err(failed)?;
        if expected != actual {
            let sweep = CommitmentId::Sweep {
                iteration: job.iteration,
                sweep,
            };
            return Ok(Err(mismatch(sweep, expected, actual)));
        }
    }
    Ok(Ok(()))
}
