//! How engines share jobs: which engine takes which job, takes one over, and what is reported of it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::engine::{Engine, EngineError, Progress};
use protocol::plan::Plan;
use protocol::verifier::VerifierSession;

use super::checkpoint::Checkpoint;
use super::error::{ReexecuteError, RootMismatch};
use super::job::{Job, Meter, SWEPT_TILE_UNITS, do_again, failed};

/// How often an idle engine checks whether another engine's job is worth taking over.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Where all engines work.
pub(super) struct Floor<'a> {
    pub(super) session: &'a VerifierSession,
    pub(super) progress: &'a dyn Progress,
    /// A root differs: jobs still running cannot change the result.
    pub(super) is_over: AtomicBool,
    pub(super) states: HashMap<Job, JobState>,
    pub(super) board: Mutex<Board<'a>>,
    pub(super) changed: Condvar,
}

/// A job's size and its state across all engines.
pub(super) struct JobState {
    units: u64,
    dataset_bytes: u64,
    is_done: AtomicBool,
    /// Tiles reported: those of the engine that progressed furthest.
    told_tiles: AtomicU64,
}

impl JobState {
    pub(super) fn new(plan: &Plan, job: Job) -> Self {
        let iteration = &plan.iterations()[job.iteration as usize];
        let assignment = plan.assignment(&plan.devices()[job.device_index as usize]);
        let units_per_tile = u64::from(iteration.inner_dim) + u64::from(iteration.sweeps) * SWEPT_TILE_UNITS;
        JobState {
            units: u64::from(assignment.tiles()) * units_per_tile,
            dataset_bytes: assignment.dataset_bytes(),
            is_done: AtomicBool::new(false),
            told_tiles: AtomicU64::new(0),
        }
    }
}

pub(super) struct Board<'a> {
    /// The next job is the last.
    pub(super) waiting: Vec<Job>,
    pub(super) under_way: Vec<Execution>,
    pub(super) workers: Vec<Worker>,
    /// Roots that one engine found to differ, and which engine: no result until another execution finds the same.
    pub(super) suspected: HashMap<Job, (usize, RootMismatch)>,
    pub(super) checkpoint: &'a mut Checkpoint,
    pub(super) outcome: Result<(), RootMismatch>,
    /// An engine's error; another engine may take the job.
    pub(super) failure: Option<ReexecuteError>,
    /// The checkpoint's error: a finished job is missing from its file.
    pub(super) unsaved: Option<ReexecuteError>,
}

/// The state of an engine.
#[derive(Clone, Copy)]
pub(super) struct Worker {
    /// It takes jobs.
    is_able: bool,
    /// It has too little memory for datasets of this many bytes.
    too_large_bytes: u64,
}

impl Default for Worker {
    fn default() -> Self {
        Worker {
            is_able: true,
            too_large_bytes: u64::MAX,
        }
    }
}

/// A job on one engine.
#[derive(Clone)]
pub(super) struct Execution {
    job: Job,
    worker: usize,
    since: Instant,
    /// Units done so far.
    units: Arc<AtomicU64>,
}

impl Board<'_> {
    pub(super) fn begin(&mut self, job: Job, worker: usize) -> Execution {
        let execution = Execution {
            job,
            worker,
            since: Instant::now(),
            units: Arc::default(),
        };
        self.under_way.push(execution.clone());
        execution
    }

    /// Whether an engine has the memory for a job.
    fn has_room(&self, worker: usize, state: &JobState) -> bool {
        let Worker {
            is_able,
            too_large_bytes,
        } = self.workers[worker];
        is_able && state.dataset_bytes < too_large_bytes
    }

    /// Whether an engine should do a waiting job: the engine that suspects a root leaves the second execution to
    /// another one that can take it.
    fn is_for(&self, worker: usize, job: Job, states: &HashMap<Job, JobState>) -> bool {
        let has_room = |worker: usize| self.has_room(worker, &states[&job]);
        let is_own_suspicion = self.suspected.get(&job).is_some_and(|(by, _)| *by == worker);
        let others = || (0..self.workers.len()).any(|other| other != worker && has_room(other));
        has_room(worker) && !(is_own_suspicion && others())
    }

    fn take_waiting(&mut self, worker: usize, states: &HashMap<Job, JobState>) -> Option<Job> {
        let at = self.waiting.iter().rposition(|&job| self.is_for(worker, job, states))?;
        Some(self.waiting.remove(at))
    }

    /// Whether any engine should do any waiting job.
    fn is_anything_left(&self, states: &HashMap<Job, JobState>) -> bool {
        let for_any = |&job: &Job| (0..self.workers.len()).any(|worker| self.is_for(worker, job, states));
        self.waiting.iter().any(for_any)
    }

    fn executions(&self, job: Job) -> usize {
        self.under_way.iter().filter(|execution| execution.job == job).count()
    }

    /// The job that an engine of this speed (units per second) would finish before the engine that runs it; of several,
    /// the one with the longest remaining time.
    fn worth_taking_over(&self, worker: usize, units_per_second: f64, states: &HashMap<Job, JobState>) -> Option<Job> {
        self.under_way
            .iter()
            // The engine that suspects a root should not do the second execution too while another can.
            .filter(|execution| self.is_for(worker, execution.job, states))
            .filter(|execution| !states[&execution.job].is_done.load(Ordering::Relaxed))
            .filter(|execution| self.executions(execution.job) == 1)
            .filter_map(|execution| {
                let all = states[&execution.job].units as f64;
                let done = execution.units.load(Ordering::Relaxed) as f64;
                let elapsed = execution.since.elapsed().as_secs_f64();
                // A job without reported progress is assumed to need as long again.
                let left = if done > 0.0 {
                    elapsed * (all - done) / done
                } else {
                    elapsed
                };
                (left > all / units_per_second).then_some((execution.job, left))
            })
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(job, _)| job)
    }
}

impl<'a> Floor<'a> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Board<'a>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An engine's whole run.
    pub(super) fn work(&self, worker: usize, engine: &mut dyn Engine, first: Option<Execution>) {
        let mut units_per_second = None;
        let mut next = first.or_else(|| self.next(worker, units_per_second));
        while let Some(execution) = next {
            let observed = Observed {
                floor: self,
                state: &self.states[&execution.job],
                units: &execution.units,
                units_per_tile: AtomicU64::new(0),
                tiles: AtomicU64::new(0),
            };
            // If a panic left the job counted as running, the others would wait forever.
            let done = catch_unwind(AssertUnwindSafe(|| {
                do_again(self.session, execution.job, engine, &observed)
            }))
            .unwrap_or_else(|_| {
                let error = EngineError::DeviceLost("panicked".to_owned());
                Err(failed(self.session, execution.job, error))
            });
            if !self.end(&execution, done) {
                return;
            }
            let (units, elapsed) = (execution.units.load(Ordering::Relaxed), execution.since.elapsed());
            units_per_second = Some(units as f64 / elapsed.as_secs_f64().max(1e-9));
            next = self.next(worker, units_per_second);
        }
    }

    /// Gives back what an engine was to begin that cannot run.
    pub(super) fn without(&self, worker: usize, first: Option<Execution>, error: ReexecuteError) {
        match first {
            Some(execution) => drop(self.end(&execution, Err(error))),
            None => self.lock().workers[worker].is_able = false,
        }
    }

    /// The next job for an engine, as soon as there is one; `None` once there will be none.
    fn next(&self, worker: usize, units_per_second: Option<f64>) -> Option<Execution> {
        let mut board = self.lock();
        loop {
            if self.is_over.load(Ordering::Relaxed) || board.unsaved.is_some() {
                return None;
            }
            let waiting = board.take_waiting(worker, &self.states);
            let taken_over = || board.worth_taking_over(worker, units_per_second?, &self.states);
            if let Some(job) = waiting.or_else(taken_over) {
                return Some(board.begin(job, worker));
            }
            // A running job may be returned by an engine that cannot do it, or that suspects a root.
            if board.under_way.is_empty() && !board.is_anything_left(&self.states) {
                return None;
            }
            let waited = self.changed.wait_timeout(board, LOOK_EVERY);
            (board, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Records how an execution ended. Returns whether its engine can continue.
    fn end(&self, execution: &Execution, done: Result<Result<(), RootMismatch>, ReexecuteError>) -> bool {
        let (job, state) = (execution.job, &self.states[&execution.job]);
        let mut board = self.lock();
        board
            .under_way
            .retain(|other| (other.job, other.worker) != (job, execution.worker));
        let was_done = state.is_done.load(Ordering::Relaxed);
        let is_able = match done {
            Ok(Ok(())) if was_done => true,
            Ok(Ok(())) => {
                state.is_done.store(true, Ordering::Relaxed);
                match board.checkpoint.finish(job) {
                    Ok(()) => true,
                    Err(error) => {
                        board.unsaved = Some(error);
                        false
                    }
                }
            }
            // Another engine arrived at every committed root, which no error does: this engine is wrong.
            Ok(Err(_)) if was_done => false,
            Ok(Err(mismatch)) => match board.suspected.remove(&job) {
                None => {
                    board.suspected.insert(job, (execution.worker, mismatch));
                    board.waiting.push(job);
                    true
                }
                Some((_, first)) if first == mismatch => {
                    board.outcome = Err(mismatch);
                    self.is_over.store(true, Ordering::Relaxed);
                    false
                }
                Some((_, first)) => {
                    board.failure = Some(ReexecuteError::Disagreement(Box::new([first, mismatch])));
                    self.is_over.store(true, Ordering::Relaxed);
                    false
                }
            },
            // Another engine was first, and this one was cancelled.
            Err(ReexecuteError::Engine {
                error: EngineError::Cancelled,
                ..
            }) if was_done => true,
            Err(error) => {
                if !was_done && board.executions(job) == 0 {
                    board.waiting.push(job);
                }
                // An engine that lacks memory for this job may still do smaller ones.
                let is_able = matches!(
                    error,
                    ReexecuteError::Engine {
                        error: EngineError::OutOfMemory { .. },
                        ..
                    }
                );
                if is_able {
                    let known = &mut board.workers[execution.worker].too_large_bytes;
                    *known = state.dataset_bytes.min(*known);
                }
                // An error of a cancelled execution of a finished job is ignored.
                if !self.is_over.load(Ordering::Relaxed) {
                    board.failure = Some(error);
                }
                is_able
            }
        };
        board.workers[execution.worker].is_able &= is_able;
        self.changed.notify_all();
        is_able
    }
}

/// What an engine at one job tells of, and whether it is called off.
struct Observed<'a, 's> {
    floor: &'a Floor<'s>,
    state: &'a JobState,
    units: &'a AtomicU64,
    units_per_tile: AtomicU64,
    tiles: AtomicU64,
}

impl Progress for Observed<'_, '_> {
    fn advance(&self, tiles: u64) {
        let units_per_tile = self.units_per_tile.load(Ordering::Relaxed);
        self.units.fetch_add(tiles * units_per_tile, Ordering::Relaxed);
        let all = self.tiles.fetch_add(tiles, Ordering::Relaxed) + tiles;
        let told = self.state.told_tiles.fetch_max(all, Ordering::Relaxed);
        if all > told {
            self.floor.progress.advance(all - told);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.floor.is_over.load(Ordering::Relaxed)
            || self.state.is_done.load(Ordering::Relaxed)
            || self.floor.progress.is_cancelled()
    }
}

impl Meter for Observed<'_, '_> {
    fn tiles_cost(&self, units: u64) {
        self.units_per_tile.store(units, Ordering::Relaxed);
    }
}
