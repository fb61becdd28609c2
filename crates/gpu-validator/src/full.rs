//! `gpu-validator verify --full`: the whole work done again.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use cli::{Interrupt, WorkProgress};
use protocol::engine::Progress;
use protocol::verifier::VerifierSession;
use serde_json::{Value, json};
use verifier::reexecute::{Checkpoint, RootMismatch, reexecute, total_tiles};

use crate::engines::Engines;

/// Options of full re-execution.
#[derive(Args)]
pub(crate) struct FullOptions {
    /// Do the whole work again and compare every root, not only samples
    #[arg(long)]
    full: bool,

    /// Keep what is done in this file, and go on from it after a break
    #[arg(long, value_name = "FILE", requires = "full")]
    resume: Option<PathBuf>,
}

/// What full re-execution came to.
pub(crate) struct Full {
    pub(crate) outcome: Result<(), RootMismatch>,
    elapsed: Duration,
    tiles: u64,
}

impl FullOptions {
    /// Runs it, if it was asked for.
    pub(crate) fn run(
        &self,
        session: &VerifierSession,
        evidence_blake3: &str,
        engines: &Engines,
        is_quiet: bool,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Option<Full>> {
        if !self.full {
            return Ok(None);
        }
        let checkpoint = match &self.resume {
            Some(path) => Checkpoint::resume(path, evidence_blake3)?,
            None => Checkpoint::none(evidence_blake3),
        };
        let progress = Tiles {
            done: AtomicU64::new(0),
            interrupt: interrupt.clone(),
            shown: WorkProgress::new("doing all of it again", total_tiles(session), is_quiet),
        };
        let since = Instant::now();
        let outcome = reexecute(session, engines.all()?, checkpoint, &progress)?;
        Ok(Some(Full {
            outcome,
            elapsed: since.elapsed(),
            tiles: progress.done.into_inner(),
        }))
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
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "agrees": self.outcome.is_ok(),
            "mismatch": self.outcome.as_ref().err().map(ToString::to_string),
            "tiles": self.tiles,
            "seconds": self.elapsed.as_secs_f64(),
        })
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        match &self.outcome {
            Ok(()) => write!(
                f,
                "full         every root agrees; {} tiles filled and swept again in {seconds:.1} s ({:.0} a second)",
                self.tiles,
                self.tiles as f64 / seconds.max(1e-9)
            ),
            Err(mismatch) => write!(f, "full         contraindicated (full-mismatch): {mismatch}"),
        }
    }
}
