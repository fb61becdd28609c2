//! Deferred verdicts: recorded evidence of many sessions waits in one queue, and is recomputed in order on one bounded set
//! of threads.
//!
//! A queue entry is a path and a judge. One piece of evidence is in memory at a time, within the budget of [`Recompute`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use protocol::engine::TileEngine;
use protocol::joint::EvidenceHash;
use tracing::debug_span;
use transport::{Stop, no_thread};

use crate::evidence_file::{ReadError, read};
use crate::outcome::Judge;
use crate::recompute::Recompute;
use crate::verify::{Verified, VerifyError, open_within};

/// Recomputes evidence; when dropped, it stops the current recomputation and discards the waiting entries.
pub struct Queue {
    /// `None` once no more entries are accepted.
    jobs: Option<SyncSender<Job>>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    evidence: PathBuf,
    judge: Judge,
    done: Done,
}

type Done = Box<dyn FnOnce(Result<Checked, JobError>) + Send>;

/// Evidence that was checked.
pub struct Checked {
    /// Its hash, by which a joint record names it.
    pub evidence: EvidenceHash,
    /// Its result.
    pub verified: Verified,
}

/// Why evidence of the queue has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is not evidence, or could not be recomputed.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// The queue is full: submit the evidence again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as much evidence waits to be recomputed as may")]
pub struct Full;

impl Queue {
    /// A queue of at most `waiting` pieces of evidence beside the one that is recomputed, with `engines` beside the CPU's threads.
    ///
    /// # Errors
    ///
    /// If the system provides no thread or pipe.
    pub fn start(recompute: Recompute, engines: Vec<Box<dyn TileEngine>>, waiting: usize) -> io::Result<Self> {
        let stop = Stop::new()?;
        let (jobs, incoming) = sync_channel(waiting);
        let worker = Worker {
            recompute,
            engines,
            stop: stop.clone(),
        };
        let thread = thread::Builder::new().spawn(move || worker.run(&incoming));
        let thread = thread.map_err(|error| no_thread(&error))?;
        Ok(Queue {
            jobs: Some(jobs),
            stop,
            thread: Some(thread),
        })
    }

    /// Submits the evidence in a file; never waits. `done` is called with the result, on the queue's thread, or dropped
    /// if the queue is stopped first.
    ///
    /// # Errors
    ///
    /// [`Full`]; `done` is dropped then.
    pub fn submit(
        &self,
        evidence: PathBuf,
        judge: Judge,
        done: impl FnOnce(Result<Checked, JobError>) + Send + 'static,
    ) -> Result<(), Full> {
        let job = Job {
            evidence,
            judge,
            done: Box::new(done),
        };
        let Some(jobs) = &self.jobs else { return Ok(()) };
        match jobs.try_send(job) {
            Err(TrySendError::Full(_)) => Err(Full),
            // A queue whose thread has ended drops `done`, like a stopped queue.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// Stops the current recomputation and discards the waiting entries, without waiting for the thread.
    pub fn stop(&self) {
        self.stop.ask();
    }

    /// Waits until all submitted evidence is processed.
    pub fn finish(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been printed, and its `done` dropped.
            let _ = thread.join();
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // After the wait nothing is left to stop.
        self.stop();
        self.join();
    }
}

struct Worker {
    recompute: Recompute,
    engines: Vec<Box<dyn TileEngine>>,
    stop: Stop,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        for Job { evidence, judge, done } in jobs {
            if self.stop.is_asked() {
                return;
            }
            let _span = debug_span!("check", evidence = %evidence.display()).entered();
            done(self.check(&evidence, &judge));
        }
    }

    fn check(&mut self, path: &Path, judge: &Judge) -> Result<Checked, JobError> {
        let sealed = read(path, &self.recompute.budget)?;
        let opened = open_within(&sealed, &self.recompute.budget)?;
        let evidence = EvidenceHash::of(&sealed);
        drop(sealed);
        let verified = opened.recompute(&self.recompute, &mut self.engines, judge, &self.stop)?;
        Ok(Checked { evidence, verified })
    }
}
