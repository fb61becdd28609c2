//! What every attack is run with: the honest engine to compare with, the tasks, and the times.

use std::time::{Duration, Instant};

use protocol::bytes::{OperandKey, Root, Salt};
use protocol::derive::derive;
use protocol::engine::{Assignment, AssignmentFields, Engine, EngineError, FillTask, InvalidAssignment, Unobserved};

use super::outcome::{Outcome, Played, Times, Truth};
use crate::engine::{CudaEngine, CudaEngineConfig};

/// k of the fills.
pub const INNER_DIM: u32 = 16_384;
/// n: small, so that one percent of a dataset is a whole number of matrices.
const MATRIX_DIM: u32 = 8192;
pub(super) const MATRIX_BYTES: u64 = MATRIX_DIM as u64 * MATRIX_DIM as u64;
/// Sweeps of a `standard` session.
const SWEEPS: u32 = 32;
/// Number of timed sweeps, and their maximum duration.
const TIMED_SWEEPS: usize = 9;
const TIMED_AT_MOST: Duration = Duration::from_millis(700);

/// An attack in progress.
pub(super) struct Stage<'a> {
    pub(super) config: CudaEngineConfig,
    pub(super) whole: Assignment,
    pub(super) honest: Honest,
    report: &'a mut dyn FnMut(Outcome),
}

impl<'a> Stage<'a> {
    /// Runs the honest engine that attacks on the dataset `whole` are compared with.
    pub(super) fn new(
        config: CudaEngineConfig,
        whole: Assignment,
        report: &'a mut dyn FnMut(Outcome),
    ) -> Result<Self, EngineError> {
        Ok(Stage {
            config,
            whole,
            honest: honest(config, whole)?,
            report,
        })
    }

    /// Reports the result of one parameter.
    pub(super) fn say(&mut self, parameter: impl Into<String>, played: Result<Played, EngineError>) {
        (self.report)(Outcome {
            parameter: parameter.into(),
            played,
        });
    }

    /// This many matrices, at least one and not all.
    pub(super) fn part(&self, thousandths: u32) -> u32 {
        let matrices = u64::from(self.whole.num_matrices());
        (matrices * u64::from(thousandths))
            .div_ceil(1000)
            .clamp(1, matrices - 1) as u32
    }

    /// The real resources where `held` matrices are kept and read, and everything is filled.
    pub(super) fn truth(&self, times: Times, held: u32) -> Truth {
        let held_bytes = u64::from(held) * MATRIX_BYTES;
        Truth {
            held_bytes,
            read_bytes_per_s: held_bytes as f64 / times.sweep.as_secs_f64(),
            ops_per_s: operations(&self.whole) / times.fill.as_secs_f64(),
        }
    }

    pub(super) fn played(&self, attack: Times, truth: Truth) -> Played {
        Played {
            assignments: vec![self.whole],
            sweeps: SWEEPS,
            wrong_share: 0.0,
            honest: self.honest.times,
            attack,
            truth,
            same_roots: None,
        }
    }
}

pub(super) fn assignment(matrix_offset: u64, num_matrices: u32) -> Result<Assignment, InvalidAssignment> {
    Assignment::new(AssignmentFields {
        matrix_dim: MATRIX_DIM,
        matrix_offset,
        num_matrices,
        max_inner_dim: INNER_DIM,
    })
}

pub(super) fn task() -> FillTask {
    FillTask {
        inner_dim: INNER_DIM,
        operand_key: OperandKey(derive("attack operands", &[])),
        fill_salt: Salt(derive("attack fill", &[])),
        sweeps: 0,
    }
}

pub(super) fn salt(sweep: usize) -> Salt {
    Salt(derive("attack sweep", &[&sweep.to_le_bytes()]))
}

/// Operations of an assignment's fill.
pub(super) fn operations(assignment: &Assignment) -> f64 {
    2.0 * f64::from(INNER_DIM) * assignment.dataset_bytes() as f64
}

/// The result of an honest engine with the same dataset.
pub(super) struct Honest {
    pub(super) times: Times,
    pub(super) roots: [Root; 2],
}

fn honest(config: CudaEngineConfig, whole: Assignment) -> Result<Honest, EngineError> {
    let mut engine = CudaEngine::new(config)?;
    engine.prepare(&whole)?;
    let (fill, fill_root) = timed(|| engine.fill(&task(), &Unobserved))?;
    let (sweep, sweep_root) = sweeps(|salt| timed(|| engine.sweep(salt, &Unobserved)))?;
    Ok(Honest {
        times: Times { fill, sweep },
        roots: [fill_root, sweep_root],
    })
}

pub(super) fn timed<T>(work: impl FnOnce() -> Result<T, EngineError>) -> Result<(Duration, T), EngineError> {
    let start = Instant::now();
    let made = work()?;
    Ok((start.elapsed(), made))
}

/// The median of several timed sweeps, and the first one's result.
pub(super) fn sweeps<T>(
    mut sweep: impl FnMut(&Salt) -> Result<(Duration, T), EngineError>,
) -> Result<(Duration, T), EngineError> {
    // The first may load code and move pages.
    let (_, first) = sweep(&salt(0))?;
    let (start, mut times) = (Instant::now(), Vec::new());
    while times.is_empty() || times.len() < TIMED_SWEEPS && start.elapsed() < TIMED_AT_MOST {
        times.push(sweep(&salt(times.len() + 1))?.0);
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], first))
}

pub(super) fn percent(thousandths: u32) -> String {
    format!("{} %", f64::from(thousandths) / 10.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn stage<'a>(matrices: u32, report: &'a mut dyn FnMut(Outcome)) -> Stage<'a> {
        let times = Times {
            fill: Duration::from_secs(1),
            sweep: Duration::from_millis(8),
        };
        Stage {
            config: CudaEngineConfig::new(0),
            whole: assignment(0, matrices).expect("matrices that a plan can have"),
            honest: Honest {
                times,
                roots: [Root([0; 32]); 2],
            },
            report,
        }
    }

    #[test]
    fn the_middle_of_the_sweeps_counts_and_the_first_is_not_timed() {
        let mut calls = 0_u64;
        let (middle, first) = sweeps(|_| {
            calls += 1;
            Ok((Duration::from_millis(if calls == 1 { 1000 } else { calls }), calls))
        })
        .expect("nothing fails");
        assert_eq!((middle, first, calls), (Duration::from_millis(6), 1, 10));
    }
}
