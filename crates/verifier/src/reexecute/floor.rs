//! How engines share jobs: who takes which, who takes over, and what is told of it.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::engine::{Engine, EngineError, Progress};
use protocol::plan::Plan;
use protocol::verifier::VerifierSession;

use super::{Checkpoint, Job, ReexecuteError, RootMismatch, do_again, failed};

/// How often an engine without a job looks whether another's is worth taking over.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a swept tile costs against a filled one's k: on CPUs and GPUs alike reading it takes as long as some hundred of k.
pub(super) const SWEPT_TILE_UNITS: u64 = 128;

/// Where all engines work.
pub(super) struct Floor<'a> {
    pub(super) session: &'a VerifierSession,
    pub(super) progress: &'a dyn Progress,
    /// A root differs: what is still under way can change nothing.
    pub(super) is_over: AtomicBool,
    pub(super) states: HashMap<Job, JobState>,
    pub(super) board: Mutex<Board<'a>>,
    pub(super) changed: Condvar,
}

/// A job's size, and what has come of it by whatever engines.
pub(super) struct JobState {
    units: u64,
    is_done: AtomicBool,
    /// Tiles told of: those of the engine that came furthest.
    told_tiles: AtomicU64,
}

impl JobState {
    pub(super) fn new(plan: &Plan, job: Job) -> Self {
        let iteration = &plan.iterations()[job.iteration as usize];
        let tiles = plan.assignment(&plan.devices()[job.device_index as usize]).tiles();
        let units_a_tile = u64::from(iteration.inner_dim) + u64::from(iteration.sweeps) * SWEPT_TILE_UNITS;
        JobState {
            units: u64::from(tiles) * units_a_tile,
            is_done: AtomicBool::new(false),
            told_tiles: AtomicU64::new(0),
        }
    }
}

pub(super) struct Board<'a> {
    /// The next job is the last.
    pub(super) waiting: Vec<Job>,
    pub(super) under_way: Vec<Execution>,
    pub(super) checkpoint: &'a mut Checkpoint,
    pub(super) outcome: Result<(), RootMismatch>,
    /// An engine's, of which another may take the job.
    pub(super) failure: Option<ReexecuteError>,
    /// The checkpoint's: a finished job is not in its file.
    pub(super) unsaved: Option<ReexecuteError>,
}

/// A job at one engine.
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

    fn executions(&self, job: Job) -> usize {
        self.under_way.iter().filter(|execution| execution.job == job).count()
    }

    /// The job that an engine of so many units a second would end before the one that is at it; of several the one that
    /// has longest to go.
    fn worth_taking_over(&self, units_a_second: f64, states: &HashMap<Job, JobState>) -> Option<Job> {
        self.under_way
            .iter()
            .filter(|execution| !states[&execution.job].is_done.load(Ordering::Relaxed))
            .filter(|execution| self.executions(execution.job) == 1)
            .filter_map(|execution| {
                let all = states[&execution.job].units as f64;
                let done = execution.units.load(Ordering::Relaxed) as f64;
                let elapsed = execution.since.elapsed().as_secs_f64();
                // One that has said nothing yet is taken to need as long again.
                let left = if done > 0.0 {
                    elapsed * (all - done) / done
                } else {
                    elapsed
                };
                (left > all / units_a_second).then_some((execution.job, left))
            })
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(job, _)| job)
    }
}

impl<'a> Floor<'a> {
    pub(super) fn lock(&self) -> MutexGuard<'_, Board<'a>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One engine's whole run.
    pub(super) fn work(&self, worker: usize, engine: &mut dyn Engine, first: Option<Execution>) {
        let mut units_a_second = None;
        let mut next = first.or_else(|| self.next(worker, units_a_second));
        while let Some(execution) = next {
            let observed = Observed {
                floor: self,
                state: &self.states[&execution.job],
                units: &execution.units,
                units_a_tile: AtomicU64::new(0),
                tiles: AtomicU64::new(0),
            };
            // A panic that left the job counted as under way would leave the others waiting for ever.
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
            units_a_second = Some(units as f64 / elapsed.as_secs_f64().max(1e-9));
            next = self.next(worker, units_a_second);
        }
    }

    /// The next job for an engine, as soon as there is one; `None` once there will be none.
    fn next(&self, worker: usize, units_a_second: Option<f64>) -> Option<Execution> {
        let mut board = self.lock();
        loop {
            if board.outcome.is_err() || board.unsaved.is_some() {
                return None;
            }
            let waiting = board.waiting.pop();
            let taken_over = || board.worth_taking_over(units_a_second?, &self.states);
            if let Some(job) = waiting.or_else(taken_over) {
                return Some(board.begin(job, worker));
            }
            // A job under way may come back from an engine that cannot do it.
            if board.under_way.is_empty() {
                return None;
            }
            let waited = self.changed.wait_timeout(board, LOOK_EVERY);
            (board, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes note of how an execution ended, and says whether its engine can go on.
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
            Ok(Err(mismatch)) => {
                board.outcome = Err(mismatch);
                self.is_over.store(true, Ordering::Relaxed);
                false
            }
            // Another was first, and this one was called off.
            Err(ReexecuteError::Engine {
                error: EngineError::Cancelled,
                ..
            }) if was_done => true,
            Err(error) => {
                if !was_done && board.executions(job) == 0 {
                    board.waiting.push(job);
                }
                board.failure = Some(error);
                false
            }
        };
        self.changed.notify_all();
        is_able
    }
}

/// What an engine at one job tells of, and whether it is called off.
pub(super) struct Observed<'a, 's> {
    floor: &'a Floor<'s>,
    state: &'a JobState,
    units: &'a AtomicU64,
    pub(super) units_a_tile: AtomicU64,
    tiles: AtomicU64,
}

impl Progress for Observed<'_, '_> {
    fn advance(&self, tiles: u64) {
        let units_a_tile = self.units_a_tile.load(Ordering::Relaxed);
        self.units.fetch_add(tiles * units_a_tile, Ordering::Relaxed);
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
