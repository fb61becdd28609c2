//! Full re-execution: every fill and every sweep of a session done again, every root compared.
//!
//! A job is one device's work in one iteration. Jobs depend on nothing but the evidence, whose roots and salts are all
//! known, so engines of any kind and speed take the next one as they become free, the largest first. When none are left,
//! an engine that is free does the job of one that would take longer for the rest of it; the first to end it counts.

mod checkpoint;
mod floor;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use engine_cpu::CpuEngine;
use protocol::bytes::{DeviceOrdinal, Root};
use protocol::derive;
use protocol::engine::{CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::verifier::VerifierSession;
use serde::{Deserialize, Serialize};

pub use checkpoint::Checkpoint;
use floor::{Board, Execution, Floor, JobState, Observed, SWEPT_TILE_UNITS, Worker};

/// One device's work in one iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Job {
    /// Iteration, from 0.
    pub iteration: u32,
    /// Position of the device in the plan, from 0.
    pub device_index: u32,
}

/// A root that doing the work again gives another value for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device {device}, {commitment}: root is {expected}, committed was {actual}")]
pub struct RootMismatch {
    /// The device.
    pub device: DeviceOrdinal,
    /// Its fill or sweep.
    pub commitment: CommitmentId,
    /// The root that the work gives.
    pub expected: Root,
    /// The root committed to.
    pub actual: Root,
}

/// Why work could not be done again; says nothing about the evidence.
#[derive(Debug, thiserror::Error)]
pub enum ReexecuteError {
    /// The session stopped before its last iteration was done.
    #[error("the session has no checksum: it stopped before its last iteration was done")]
    Unfinished,
    /// No engine was given.
    #[error("no engine to work with")]
    NoEngine,
    /// No job of this device can be done: its dataset must be held whole.
    #[error(
        "device {device}: doing its work again takes {required_bytes} bytes of memory, {available_bytes} are available; expected \
         a host that can hold the device's dataset, or GPUs that can (--engine cuda)"
    )]
    TooLarge {
        /// The device.
        device: DeviceOrdinal,
        /// Bytes that the engine needs.
        required_bytes: u64,
        /// Bytes that there are.
        available_bytes: u64,
    },
    /// An engine could not do a job that no other took.
    #[error("device {device}, iteration {iteration}: {error}")]
    Engine {
        /// The device whose work it was.
        device: DeviceOrdinal,
        /// The iteration.
        iteration: u32,
        /// What the engine met.
        error: EngineError,
    },
    /// Two executions of one job come to different roots, neither of them the committed one: an engine errs.
    #[error("engines disagree, so one of them errs: first {}; then {}", .0[0], .0[1])]
    Disagreement(Box<[RootMismatch; 2]>),
    /// The file of finished jobs cannot be used.
    #[error("{path}: {error}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
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
        std::cmp::Reverse(u64::from(inner_dim) * u64::from(matrices))
    });
    Ok(jobs)
}

/// Tiles that the jobs fill and sweep that `checkpoint` does not have.
#[must_use]
pub fn tiles_left(session: &VerifierSession, checkpoint: &Checkpoint) -> u64 {
    let (Some(plan), Ok(jobs)) = (session.plan(), jobs(session)) else {
        return 0;
    };
    let tiles = |job: &Job| {
        let passes = 1 + u64::from(plan.iterations()[job.iteration as usize].sweeps);
        passes * u64::from(plan.assignment(&plan.devices()[job.device_index as usize]).tiles())
    };
    jobs.iter()
        .filter(|job| !checkpoint.done().contains(job))
        .map(tiles)
        .sum()
}

/// Whether `engine`, alone, has the memory for every device's work.
///
/// # Errors
///
/// [`ReexecuteError::TooLarge`] names the device that needs most.
pub fn check_memory(session: &VerifierSession, engine: &CpuEngine) -> Result<(), ReexecuteError> {
    let (Some(plan), Some(available_bytes)) = (session.plan(), engine.available_bytes()) else {
        return Ok(());
    };
    let required = plan
        .devices()
        .iter()
        .map(|device| (engine.required_bytes(&plan.assignment(device)), device.ordinal));
    match required.max() {
        Some((required_bytes, device)) if required_bytes > available_bytes => Err(ReexecuteError::TooLarge {
            device,
            required_bytes,
            available_bytes,
        }),
        _ => Ok(()),
    }
}

/// Does every job that `checkpoint` does not have, on all `engines` at once; stops at the first root that differs, and that
/// differs again in the same way when its job is done once more, on another engine where one can take it: an engine that errs
/// accuses nobody. However it ends, `checkpoint` then has the jobs whose roots agree.
///
/// The first engines get the first, largest jobs: name the fastest first. An engine that fails or panics hands its job back and
/// takes no more, one that has too little memory takes smaller jobs; the error is returned if no other engine can take it.
///
/// # Errors
///
/// [`ReexecuteError`] for reasons on this side alone.
pub fn reexecute(
    session: &VerifierSession,
    engines: Vec<Box<dyn Engine>>,
    checkpoint: &mut Checkpoint,
    progress: &dyn Progress,
) -> Result<Result<(), RootMismatch>, ReexecuteError> {
    if engines.is_empty() {
        return Err(ReexecuteError::NoEngine);
    }
    let mut waiting = jobs(session)?;
    let plan = session.plan().expect("a session with jobs has a plan");
    waiting.retain(|job| !checkpoint.done().contains(job));
    waiting.reverse();
    let floor = Floor {
        session,
        progress,
        is_over: AtomicBool::new(false),
        states: waiting.iter().map(|&job| (job, JobState::new(plan, job))).collect(),
        board: Mutex::new(Board {
            waiting,
            under_way: Vec::new(),
            workers: vec![Worker::default(); engines.len()],
            suspected: HashMap::new(),
            checkpoint,
            outcome: Ok(()),
            failure: None,
            unsaved: None,
        }),
        changed: Condvar::new(),
    };
    // Before any thread runs, so that a slow one that is early takes nothing from a fast one.
    let first: Vec<Option<Execution>> = (0..engines.len())
        .map(|worker| {
            let mut board = floor.lock();
            let job = board.waiting.pop()?;
            Some(board.begin(job, worker))
        })
        .collect();
    thread::scope(|scope| {
        for (worker, (mut engine, first)) in engines.into_iter().zip(first).enumerate() {
            let floor = &floor;
            scope.spawn(move || floor.work(worker, engine.as_mut(), first));
        }
    });
    let board = floor.board.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (board.unsaved, board.failure) {
        // A root that differs is a finding, whatever else went wrong.
        _ if board.outcome.is_err() => Ok(board.outcome),
        (_, Some(error @ ReexecuteError::Disagreement(_))) => Err(error),
        // Whoever goes on from the file would do again what it lacks.
        (Some(error), _) => Err(error),
        // What one engine could not do another has done.
        (None, Some(_)) if board.checkpoint.is_whole(session) => Ok(Ok(())),
        (None, Some(error)) => Err(error),
        // Engines that each erred once on what another had done leave work behind without a failure: what was not done again
        // does not agree.
        (None, None) if !board.checkpoint.is_whole(session) => Err(ReexecuteError::NoEngine),
        (None, None) => Ok(Ok(())),
    }
}

fn failed(session: &VerifierSession, job: Job, error: EngineError) -> ReexecuteError {
    let plan = session.plan().expect("jobs come from a plan");
    ReexecuteError::Engine {
        device: plan.devices()[job.device_index as usize].ordinal,
        iteration: job.iteration,
        error,
    }
}

fn do_again(
    session: &VerifierSession,
    job: Job,
    engine: &mut dyn Engine,
    progress: &Observed<'_, '_>,
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
    let a_tile = |units| progress.units_per_tile.store(units, Ordering::Relaxed);
    a_tile(task.inner_dim.into());
    let expected = engine.fill(&task, progress).map_err(failed)?;
    a_tile(SWEPT_TILE_UNITS);
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
