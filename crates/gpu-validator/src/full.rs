//! `gpu-validator verify --full`: the whole work done again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use cli::{Interrupt, OutputPath, WorkProgress};
use protocol::engine::{EngineError, Progress};
use protocol::verifier::VerifierSession;
use verifier::budget::Work;
use verifier::recompute::Recompute;
use verifier::reexecute::{Checkpoint, FullReport, ReexecuteError, RootMismatch, jobs, reexecute, tiles_left};

use crate::engines::Engines;

/// Options of full re-execution.
#[derive(Args)]
pub(crate) struct FullOptions {
    /// Repeat all fills and sweeps and compare every root, not only samples. Rounds between devices are not repeated: of them the
    /// samples are recomputed, as always
    #[arg(long)]
    full: bool,

    /// Save progress in this file, and continue from it after an interruption
    #[arg(long, value_name = "FILE", requires = "full")]
    resume: Option<OutputPath>,
}

/// The result of full re-execution, in jobs; a job is the work of one device in one iteration.
pub(crate) struct Full {
    pub(crate) ended: Ended,
    resume: Option<PathBuf>,
    /// Jobs of the session.
    jobs: usize,
    /// Jobs taken from the file.
    jobs_taken: usize,
    /// Jobs done now that agree.
    jobs_done: usize,
    /// Filled and swept now.
    tiles: u64,
    elapsed: Duration,
}

/// How it ended.
pub(crate) enum Ended {
    /// Every root agrees.
    Agrees,
    /// One root does not agree.
    Differs(RootMismatch),
    /// It was asked to stop.
    Stopped,
    /// Something on this side failed: this says nothing about the evidence.
    Failed(anyhow::Error),
}

impl Ended {
    /// Only a request to stop cancels an engine whose job no other engine has done.
    fn of(error: anyhow::Error) -> Self {
        match error.downcast_ref() {
            Some(ReexecuteError::Engine {
                error: EngineError::Cancelled,
                ..
            }) => Ended::Stopped,
            _ => Ended::Failed(error),
        }
    }
}

impl FullOptions {
    /// What was done before, and will be done. A file that cannot be used is refused here, before any tile is recomputed.
    ///
    /// # Errors
    ///
    /// If the file is none of this evidence.
    pub(crate) fn checkpoint(&self, evidence_blake3: &str) -> anyhow::Result<Option<Checkpoint>> {
        Ok(match (self.full, &self.resume) {
            (false, _) => None,
            (true, None) => Some(Checkpoint::none(evidence_blake3)),
            (true, Some(path)) => Some(Checkpoint::resume(path, evidence_blake3)?),
        })
    }

    /// Runs it from this checkpoint, if it was asked for.
    pub(crate) fn run(
        &self,
        checkpoint: Option<Checkpoint>,
        session: &VerifierSession,
        engines: &Engines,
        recompute: &Recompute,
        is_quiet: bool,
        interrupt: &Interrupt,
    ) -> Option<Full> {
        checkpoint.map(|checkpoint| {
            let mut full = Full {
                ended: Ended::Agrees,
                resume: self.resume.as_deref().map(Path::to_owned),
                jobs: 0,
                jobs_taken: 0,
                jobs_done: 0,
                tiles: 0,
                elapsed: Duration::ZERO,
            };
            full.ended = full
                .work(checkpoint, session, engines, recompute, is_quiet, interrupt)
                .unwrap_or_else(Ended::of);
            full
        })
    }
}

impl Full {
    fn work(
        &mut self,
        mut checkpoint: Checkpoint,
        session: &VerifierSession,
        engines: &Engines,
        recompute: &Recompute,
        is_quiet: bool,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Ended> {
        let jobs = jobs(session)?;
        self.jobs = jobs.len();
        let done = |checkpoint: &Checkpoint| jobs.iter().filter(|job| checkpoint.done().contains(job)).count();
        self.jobs_taken = done(&checkpoint);
        if self.jobs_taken == self.jobs {
            return Ok(Ended::Agrees);
        }
        let engines = engines.all(session, recompute)?;
        let tiles_left = tiles_left(session, &checkpoint);
        let all = session.plan().map(Work::of_fills).unwrap_or_default();
        let text = format!("doing all fills and sweeps again: {all}");
        let progress = Tiles {
            done: AtomicU64::new(0),
            interrupt: interrupt.clone(),
            shown: WorkProgress::new(&text, tiles_left, is_quiet),
        };
        let since = Instant::now();
        let outcome = reexecute(session, engines, &mut checkpoint, &progress);
        self.elapsed = since.elapsed();
        self.tiles = progress.done.into_inner();
        self.jobs_done = done(&checkpoint) - self.jobs_taken;
        Ok(outcome?.map_or_else(Ended::Differs, |()| Ended::Agrees))
    }
}

struct Tiles {
    done: AtomicU64,
    interrupt: Interrupt,
    shown: WorkProgress,
}

impl Progress for Tiles {
    fn advance(&self, tiles: u64) {
        self.done.fetch_add(tiles, Ordering::Relaxed);
        self.shown.advance(tiles);
    }

    fn is_cancelled(&self) -> bool {
        self.interrupt.is_asked()
    }
}

impl Full {
    pub(crate) fn report(&self) -> FullReport {
        let (agrees, mismatch, unfinished) = match &self.ended {
            Ended::Agrees => (Some(true), None, None),
            Ended::Differs(mismatch) => (Some(false), Some(mismatch.to_string()), None),
            Ended::Stopped => (None, None, Some("stopped".to_owned())),
            Ended::Failed(error) => (None, None, Some(format!("{error:#}"))),
        };
        FullReport {
            agrees,
            mismatch,
            unfinished,
            jobs: self.jobs,
            jobs_taken: self.jobs_taken,
            jobs_done: self.jobs_done,
            tiles: self.tiles,
            seconds: self.elapsed.as_secs_f64(),
        }
    }

    /// "2 of 3 jobs done, 1 of them taken from e.done".
    fn jobs_line(&self) -> String {
        let mut line = format!("{} of {} jobs done", self.jobs_taken + self.jobs_done, self.jobs);
        if let Some(path) = self.taken_from() {
            line += &format!(", {} of them taken from {}", self.jobs_taken, path.display());
        }
        line
    }

    /// The file that jobs were taken from.
    fn taken_from(&self) -> Option<&Path> {
        self.resume.as_deref().filter(|_| self.jobs_taken > 0)
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        match &self.ended {
            Ended::Agrees => {
                write!(f, "full         every root agrees; ")?;
                if let Some(path) = self.taken_from() {
                    let (taken, path) = (self.jobs_taken, path.display());
                    write!(f, "{taken} of {} jobs taken from {path}; ", self.jobs)?;
                }
                if self.jobs_done == 0 {
                    return write!(f, "nothing was left to do");
                }
                let rate = self.tiles as f64 / seconds.max(1e-9);
                let tiles = self.tiles;
                write!(
                    f,
                    "{tiles} tiles filled and swept again in {seconds:.1} s ({rate:.0} a second)"
                )
            }
            Ended::Differs(mismatch) => write!(f, "full         contraindicated (full-mismatch): {mismatch}"),
            Ended::Stopped => write!(f, "full         stopped, no verdict: {}", self.jobs_line()),
            Ended::Failed(error) => {
                let jobs = self.jobs_line();
                write!(f, "full         could not be done, no verdict: {error:#}; {jobs}")
            }
        }
    }
}
