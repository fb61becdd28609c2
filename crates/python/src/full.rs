//! Full re-execution on this host's CPU, by the code of `gpu-validator verify --full`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use engine_cpu::{CpuEngine, CpuEngineConfig};
use protocol::engine::{EngineError, Progress};
use verifier::outcome::{Judge, Outcome};
use verifier::recompute::Recompute;
use verifier::reexecute::{Checkpoint, FullReport, ReexecuteError, check_memory, jobs, reexecute};
use verifier::{Stop, Verified};

/// What repeating all work came to.
pub(crate) struct Full {
    pub(crate) report: FullReport,
    /// The verdict, after the samples' and this.
    pub(crate) outcome: Outcome,
}

/// Why it was not finished, where the samples alone do not decide.
pub(crate) enum Unfinished {
    Stopped,
    Failed(String),
}

/// Repeats all work of a session whose samples were recomputed.
///
/// # Errors
///
/// [`Unfinished`], unless the samples already found a failure, which is final, or nothing counts: then what is missing is in
/// the report.
pub(crate) fn full(
    verified: &Verified,
    evidence_blake3: &str,
    judge: &Judge,
    recompute: &Recompute,
    stop: &Stop,
) -> Result<Full, Unfinished> {
    let mut checkpoint = Checkpoint::none(evidence_blake3);
    let tiles = Tiles {
        done: AtomicU64::new(0),
        stop,
    };
    let since = Instant::now();
    let ended = repeat(verified, &mut checkpoint, recompute, &tiles);
    let outcome = |mismatch| Outcome::new(&verified.evidence, &verified.session, judge, mismatch);
    let mut report = FullReport {
        agrees: None,
        mismatch: None,
        unfinished: None,
        jobs: jobs(&verified.session).map_or(0, |jobs| jobs.len()),
        jobs_taken: 0,
        jobs_done: checkpoint.done().len(),
        tiles: tiles.done.into_inner(),
        seconds: since.elapsed().as_secs_f64(),
    };
    let outcome = match ended {
        Ok(None) => {
            report.agrees = Some(true);
            outcome(None)
        }
        Ok(Some(mismatch)) => {
            report.agrees = Some(false);
            report.mismatch = Some(mismatch.to_string());
            outcome(Some(&mismatch))
        }
        Err(error) => {
            let by_samples = outcome(None);
            // Only a request to stop cancels the engine.
            if let ReexecuteError::Engine {
                error: EngineError::Cancelled,
                ..
            } = error
            {
                return Err(Unfinished::Stopped);
            }
            if matches!(by_samples, Outcome::Affirmed(_)) {
                return Err(Unfinished::Failed(error.to_string()));
            }
            report.unfinished = Some(error.to_string());
            by_samples
        }
    };
    Ok(Full { report, outcome })
}

fn repeat(
    verified: &Verified,
    checkpoint: &mut Checkpoint,
    recompute: &Recompute,
    tiles: &Tiles<'_>,
) -> Result<Option<verifier::reexecute::RootMismatch>, ReexecuteError> {
    let config = CpuEngineConfig {
        path: recompute.path,
        threads: recompute.threads,
        ..CpuEngineConfig::default()
    };
    // Of the paths, the default is one that this CPU runs.
    let engine = CpuEngine::new(config).map_err(|_| ReexecuteError::NoEngine)?;
    check_memory(&verified.session, &engine)?;
    let outcome = reexecute(&verified.session, vec![Box::new(engine)], checkpoint, tiles)?;
    Ok(outcome.err())
}

struct Tiles<'a> {
    done: AtomicU64,
    stop: &'a Stop,
}

impl Progress for Tiles<'_> {
    fn advance(&self, tiles: u64) {
        self.done.fetch_add(tiles, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.stop.is_asked()
    }
}
