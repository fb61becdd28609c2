//! Full re-execution: repeats every fill and every sweep of a session and compares every root.
//!
//! A job is one device's work in one iteration. Jobs depend only on the evidence, whose roots and salts are all known,
//! so engines of any kind and speed take the next job as they become free, the largest first. When no jobs are left, a
//! free engine repeats the job of one that would take longer for the rest of it; the first to finish counts.

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

/// A root that differs when the work is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device {device}, {commitment}: root is {expected}, committed was {actual}")]
pub struct RootMismatch {
    /// The device.
    pub device: DeviceOrdinal,
    /// Its fill or sweep.
    pub commitment: CommitmentId,
    /// The root computed by re-execution.
    pub expected: Root,
    /// The committed root.
    pub actual: Root,
}

/// Why work could not be repeated; says nothing about the evidence.
#[derive(Debug, thiserror::Error)]
pub enum ReexecuteError {
    /// The session stopped before its last iteration was done.
    #[error("the session has no checksum: it stopped before its last iteration was done")]
    Unfinished,
    /// No engine was given.
    #[error("no engine to work with")]
    NoEngine,
    /// No engine can do this device's jobs: its dataset must fit into memory as a whole.
    #[error(
        "device {device}: doing its work again takes {required_bytes} bytes of memory, {available_bytes} are available; expected \
         a host that can hold the device's dataset, or GPUs that can (--engine cuda)"
    )]
    TooLarge {
        /// The device.
        device: DeviceOrdinal,
        /// Bytes that the engine needs.
        required_bytes: u64,
        /// Bytes available.
        available_bytes: u64,
    },
    /// An engine failed at a job that no other engine took.
    #[error("device {device}, iteration {iteration}: {error}")]
    Engine {
        /// The device whose work it was.
        device: DeviceOrdinal,
        /// The iteration.
        iteration: u32,
        /// The engine's error.
        error: EngineError,
    },
    /// Two executions of one job result in different roots, neither of them the committed one: an engine is wrong.
    #[error("engines disagree, so one of them errs: first {}; then {}", .0[0], .0[1])]
    Disagreement(Box<[RootMismatch; 2]>),
    /// The checkpoint file cannot be used.
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

/// Tiles filled and swept by the jobs that are missing from `checkpoint`.
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

/// Checks that `engine`, alone, has enough memory for every device's work.
///
/// # Errors
///
/// [`ReexecuteError::TooLarge`] names the device that needs the most.
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

/// Does every job that is missing from `checkpoint`, on all `engines` concurrently. Stops at the first root that
/// differs, if it differs in the same way when its job is repeated, on another engine if one can take it: an engine's
/// error never leads to a mismatch. However it ends, `checkpoint` then contains the jobs whose roots agree.
///
/// The first engines get the first, largest jobs: list the fastest first. An engine that fails or panics returns its
/// job and takes no more, and one with too little memory takes smaller jobs; the error is returned if no other engine
/// can take the job.
///
/// # Errors
///
/// [`ReexecuteError`] for local errors only.
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
    // Before any thread runs, so that a slow engine that starts early takes nothing from a fast one.
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
        // A root that differs is a result, whatever else failed.
        _ if board.outcome.is_err() => Ok(board.outcome),
        (_, Some(error @ ReexecuteError::Disagreement(_))) => Err(error),
        // A run resumed from the file would repeat the jobs missing from it.
        (Some(error), _) => Err(error),
        // Another engine has done what this one could not.
        (None, Some(_)) if board.checkpoint.is_whole(session) => Ok(Ok(())),
        (None, Some(error)) => Err(error),
        // Engines that each suspected a root that another engine then confirmed leave jobs behind without an error:
        // what was not repeated does not count as agreeing.
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
    // A salt derives from the previous root as committed: if that root is correct, so is the salt.
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
