//! Full re-execution: every fill and every sweep of a session done again, every root compared.
//!
//! A job is one device's work in one iteration. Jobs depend on nothing but the evidence, whose roots and salts are all
//! known, so engines of any kind and speed take the next one as they become free, the largest first.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use protocol::bytes::{DeviceOrdinal, Root};
use protocol::derive;
use protocol::engine::{CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::verifier::VerifierSession;
use serde::{Deserialize, Serialize};

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
    /// The file of finished jobs cannot be used.
    #[error("{path}: {error}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
}

/// The jobs that are done, kept in a file between runs.
pub struct Checkpoint {
    path: Option<PathBuf>,
    state: CheckpointState,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointState {
    /// BLAKE3 of the sealed evidence, hex.
    evidence: String,
    done: Vec<Job>,
}

impl Checkpoint {
    /// No file: a run that is broken off begins anew.
    #[must_use]
    pub fn none(evidence_blake3: &str) -> Self {
        Checkpoint {
            path: None,
            state: CheckpointState {
                evidence: evidence_blake3.to_owned(),
                done: Vec::new(),
            },
        }
    }

    /// The jobs that `path` says are done for this evidence; a new file if there is none.
    ///
    /// # Errors
    ///
    /// [`ReexecuteError::Checkpoint`] for a file that cannot be read, is no checkpoint, or another evidence's.
    pub fn resume(path: &Path, evidence_blake3: &str) -> Result<Self, ReexecuteError> {
        let failed = |error| ReexecuteError::Checkpoint {
            path: path.to_owned(),
            error,
        };
        let mut checkpoint = Checkpoint::none(evidence_blake3);
        checkpoint.path = Some(path.to_owned());
        match fs::read(path) {
            Ok(bytes) => {
                let state: CheckpointState = serde_json::from_slice(&bytes).map_err(|e| failed(e.into()))?;
                if state.evidence != evidence_blake3 {
                    return Err(failed(io::Error::other(format!(
                        "belongs to evidence {}, this is {evidence_blake3}",
                        state.evidence
                    ))));
                }
                checkpoint.state = state;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => checkpoint.save()?,
            Err(error) => return Err(failed(error)),
        }
        Ok(checkpoint)
    }

    /// Jobs done so far.
    #[must_use]
    pub fn done(&self) -> &[Job] {
        &self.state.done
    }

    fn finish(&mut self, job: Job) -> Result<(), ReexecuteError> {
        self.state.done.push(job);
        self.save()
    }

    /// Writes beside the file and renames: a run that is broken off leaves the old or the new one.
    fn save(&self) -> Result<(), ReexecuteError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut beside = path.clone().into_os_string();
        beside.push(".new");
        let bytes = serde_json::to_vec(&self.state).expect("a checkpoint has only strings and numbers");
        fs::write(&beside, bytes)
            .and_then(|()| fs::rename(&beside, path))
            .map_err(|error| {
                // What is half-written is of no use; where even that fails, the error above says why.
                let _ = fs::remove_file(&beside);
                ReexecuteError::Checkpoint {
                    path: path.clone(),
                    error,
                }
            })
    }
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

/// Tiles that all jobs fill and sweep.
#[must_use]
pub fn total_tiles(session: &VerifierSession) -> u64 {
    session.plan().map_or(0, |plan| {
        let passes: u64 = plan.iterations().iter().map(|i| 1 + u64::from(i.sweeps)).sum();
        let tiles: u64 = plan
            .devices()
            .iter()
            .map(|d| u64::from(plan.assignment(d).tiles()))
            .sum();
        passes * tiles
    })
}

/// Does every job that `checkpoint` does not have, on all `engines` at once; stops at the first root that differs.
///
/// An engine that fails or panics hands its job back and takes no more; the error is returned if no other engine can
/// take it.
///
/// # Errors
///
/// [`ReexecuteError`] for reasons on this side alone.
pub fn reexecute(
    session: &VerifierSession,
    engines: Vec<Box<dyn Engine>>,
    checkpoint: Checkpoint,
    progress: &dyn Progress,
) -> Result<Result<(), RootMismatch>, ReexecuteError> {
    if engines.is_empty() {
        return Err(ReexecuteError::NoEngine);
    }
    let mut waiting = jobs(session)?;
    waiting.retain(|job| !checkpoint.done().contains(job));
    waiting.reverse();
    let board = Mutex::new(Board {
        waiting,
        under_way: 0,
        checkpoint,
        outcome: Ok(()),
        failure: None,
    });
    let lock = || board.lock().unwrap_or_else(PoisonError::into_inner);
    let returned = Condvar::new();
    let progress = &UntilOver {
        progress,
        is_over: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        for mut engine in engines {
            let (lock, returned) = (&lock, &returned);
            scope.spawn(move || {
                loop {
                    let mut board = lock();
                    // A job under way may come back from an engine that cannot do it.
                    while board.waiting.is_empty() && board.under_way > 0 && board.outcome.is_ok() {
                        board = returned.wait(board).unwrap_or_else(PoisonError::into_inner);
                    }
                    if board.outcome.is_err() {
                        return;
                    }
                    let Some(job) = board.waiting.pop() else { return };
                    board.under_way += 1;
                    drop(board);
                    // A panic that left the job counted as under way would leave the others waiting for ever.
                    let done = catch_unwind(AssertUnwindSafe(|| do_again(session, job, engine.as_mut(), progress)))
                        .unwrap_or_else(|_| Err(failed(session, job, EngineError::DeviceLost("panicked".to_owned()))));
                    let mut board = lock();
                    board.under_way -= 1;
                    let is_able = match done {
                        Ok(Ok(())) => match board.checkpoint.finish(job) {
                            Ok(()) => true,
                            Err(error) => {
                                board.waiting.clear();
                                board.failure = Some(error);
                                false
                            }
                        },
                        Ok(Err(mismatch)) => {
                            board.outcome = Err(mismatch);
                            progress.is_over.store(true, Ordering::Relaxed);
                            false
                        }
                        Err(error) => {
                            board.waiting.push(job);
                            board.failure = Some(error);
                            false
                        }
                    };
                    returned.notify_all();
                    if !is_able {
                        return;
                    }
                }
            });
        }
    });
    let board = board.into_inner().unwrap_or_else(PoisonError::into_inner);
    match board.failure {
        // What one engine could not do another has done.
        Some(_) if board.outcome.is_ok() && board.waiting.is_empty() && board.checkpoint.is_whole(session) => {
            Ok(Ok(()))
        }
        Some(error) if board.outcome.is_ok() => Err(error),
        _ => Ok(board.outcome),
    }
}

impl Checkpoint {
    fn is_whole(&self, session: &VerifierSession) -> bool {
        jobs(session).is_ok_and(|jobs| jobs.iter().all(|job| self.done().contains(job)))
    }
}

/// Breaks work off that can change nothing more.
struct UntilOver<'a> {
    progress: &'a dyn Progress,
    is_over: AtomicBool,
}

impl Progress for UntilOver<'_> {
    fn advance(&self, tiles: u64) {
        self.progress.advance(tiles);
    }

    fn is_cancelled(&self) -> bool {
        self.is_over.load(Ordering::Relaxed) || self.progress.is_cancelled()
    }
}

struct Board {
    /// The next job is the last.
    waiting: Vec<Job>,
    under_way: usize,
    checkpoint: Checkpoint,
    outcome: Result<(), RootMismatch>,
    failure: Option<ReexecuteError>,
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
    progress: &dyn Progress,
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
    };
    let expected = engine.fill(&task, progress).map_err(failed)?;
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
