//! Full re-execution: repeats every fill and every sweep of a session and compares every root.
//!
//! A job is one device's work in one iteration. Jobs depend only on the evidence, whose roots and salts are all known,
//! so engines of any kind and speed take the next job as they become free, the largest first. When no jobs are left, a
//! free engine repeats the job of one that would take longer for the rest of it; the first to finish counts.

mod checkpoint;
mod error;
mod floor;
mod job;
mod report;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use engine_cpu::CpuEngine;
use protocol::engine::{Engine, Progress};
use protocol::verifier::VerifierSession;
use transport::no_thread;

pub use checkpoint::Checkpoint;
pub use error::{ReexecuteError, RootMismatch};
use floor::{Board, Execution, Floor, JobState, Worker};
pub use job::{Job, jobs};
pub use report::FullReport;

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
        let floor = &floor;
        let mut own = None;
        for (worker, (mut engine, first)) in engines.into_iter().zip(first).enumerate() {
            // The first runs on this thread: at least one does whatever the system gives.
            if worker == 0 {
                own = Some((engine, first));
                continue;
            }
            let begun = first.clone();
            let run = move || floor.work(worker, engine.as_mut(), first);
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, run) {
                floor.without(worker, begun, ReexecuteError::NoThread(no_thread(&error)));
            }
        }
        if let Some((mut engine, first)) = own {
            floor.work(0, engine.as_mut(), first);
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
