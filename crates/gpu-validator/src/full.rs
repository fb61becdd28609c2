//! `gpu-validator verify --full`: the whole work done again.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use cli::WorkProgress;
use engine_cpu::{CpuEngine, CpuEngineConfig};
use protocol::engine::{Engine, Progress};
use protocol::verifier::VerifierSession;
use serde_json::{Value, json};
use verifier::reexecute::{Checkpoint, RootMismatch, reexecute, total_tiles};

/// What does the work again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineChoice {
    /// This host's CPU
    Cpu,
    /// All NVIDIA GPUs of this host
    #[cfg(feature = "cuda")]
    Cuda,
    /// The GPUs and the CPU, each taking what comes next
    #[cfg(feature = "cuda")]
    Both,
}

/// Options of full re-execution.
#[derive(Args)]
pub(crate) struct FullOptions {
    /// Do the whole work again and compare every root, not only samples
    #[arg(long)]
    full: bool,

    /// What does the work again
    #[arg(long, value_name = "ENGINE", default_value = "cpu", requires = "full")]
    engine: EngineChoice,

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
        is_quiet: bool,
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
            shown: WorkProgress::new("doing all of it again", total_tiles(session), is_quiet),
        };
        let since = Instant::now();
        let outcome = reexecute(session, self.engines()?, checkpoint, &progress)?;
        Ok(Some(Full {
            outcome,
            elapsed: since.elapsed(),
            tiles: progress.done.into_inner(),
        }))
    }

    fn engines(&self) -> anyhow::Result<Vec<Box<dyn Engine>>> {
        #[cfg(not(feature = "cuda"))]
        let mut engines = Vec::new();
        #[cfg(feature = "cuda")]
        let mut engines = if self.engine == EngineChoice::Cpu {
            Vec::new()
        } else {
            gpus()?
        };
        #[cfg(feature = "cuda")]
        if self.engine == EngineChoice::Cuda {
            return Ok(engines);
        }
        engines.extend([cpu()?]);
        Ok(engines)
    }
}

fn cpu() -> anyhow::Result<Box<dyn Engine>> {
    let engine = CpuEngine::new(CpuEngineConfig::default()).context("--engine cpu")?;
    Ok(Box::new(engine))
}

#[cfg(feature = "cuda")]
fn gpus() -> anyhow::Result<Vec<Box<dyn Engine>>> {
    let infos = engine_cuda::devices().context("--engine")?;
    let engine = |info: engine_cuda::DeviceInfo| -> anyhow::Result<Box<dyn Engine>> {
        let config = engine_cuda::CudaEngineConfig::new(info.index);
        Ok(Box::new(engine_cuda::CudaEngine::new(config)?))
    };
    infos.into_iter().map(engine).collect()
}

struct Tiles {
    done: AtomicU64,
    shown: WorkProgress,
}

impl Progress for Tiles {
    fn advance(&self, tiles: u64) {
        self.done.fetch_add(tiles, Ordering::Relaxed);
        self.shown.advance(tiles);
    }

    fn is_cancelled(&self) -> bool {
        false
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
