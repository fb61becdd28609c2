//! Recomputes sampled tiles on all cores, and on GPUs if requested, and compares their digests (spec §5).

mod error;
mod keys;
mod schedule;
mod so_far;
#[cfg(test)]
mod tests;
mod watch;
mod work;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use engine_cpu::{OperandCache, Path, TileComputer};
use protocol::engine::TileEngine;
use protocol::openings::{TileCheck, TileMismatch};

use crate::budget::Budget;
pub use error::RecomputeError;
use schedule::Schedule;
pub use so_far::{GroupSoFar, SoFar};
pub use watch::{Unwatched, Watch};
use work::{TILES_AT_ONCE, Work};

/// How tiles are recomputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recompute {
    /// The code path that recomputes.
    pub path: Path,
    /// Number of threads; fewer if the system provides fewer.
    pub threads: NonZeroUsize,
    /// Bytes of packed operand B kept for tiles that share it.
    pub operand_budget_bytes: usize,
    /// Bytes of tiles kept until both tiles of a pair are available, and for checks that need the same tiles.
    pub tile_budget_bytes: usize,
    /// The cost limit for evidence of others; it does not apply to a session of one's own.
    pub budget: Budget,
}

impl Default for Recompute {
    /// The best path, one thread per CPU, 512 MiB of operands, 128 MiB of tiles, the default budget.
    fn default() -> Self {
        Recompute {
            path: Path::best(),
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            operand_budget_bytes: 512 << 20,
            tile_budget_bytes: 128 << 20,
            budget: Budget::default(),
        }
    }
}

/// The outcome of recomputing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recomputed {
    /// Every digest agrees.
    Agrees,
    /// One does not; the rest was not checked.
    Differs(TileMismatch),
    /// It was stopped; everything checked so far agrees.
    Stopped(SoFar),
}

impl Recompute {
    /// Recomputes both tiles of every check and compares three digests each. Once one differs, only earlier checks
    /// continue: the first of all mismatches is reported, independent of the number of threads and their timing.
    ///
    /// # Errors
    ///
    /// [`RecomputeError`] if this CPU does not support the path or computes wrong results on it.
    pub fn run(&self, checks: &[TileCheck], watch: &dyn Watch) -> Result<Recomputed, RecomputeError> {
        self.run_with(checks, &mut [], watch)
    }

    /// Checks that this CPU can recompute tiles at all; called before a session depends on it.
    ///
    /// # Errors
    ///
    /// [`RecomputeError`] if this CPU does not support the path or computes wrong results on it.
    pub fn check(&self) -> Result<(), RecomputeError> {
        TileComputer::new(self.path, Arc::new(OperandCache::new(0)))?;
        Ok(())
    }

    /// The same, with `engines` in addition to the CPU's threads: all take tiles from one list.
    ///
    /// The CPU's digests count. A mismatch is reported only if the CPU computes the same tiles as the engine did.
    ///
    /// # Errors
    ///
    /// [`RecomputeError`]; an error of one engine ends the recomputation.
    pub fn run_with(
        &self,
        checks: &[TileCheck],
        engines: &mut [Box<dyn TileEngine>],
        watch: &dyn Watch,
    ) -> Result<Recomputed, RecomputeError> {
        let names = engines.iter().enumerate();
        let names = names.map(|(i, engine)| engine.name().map_or_else(|| format!("engine {i}"), str::to_owned));
        let schedule = Schedule::new(checks, self.operand_budget_bytes, self.tile_budget_bytes);
        let work = Work::new(checks, schedule, names.collect());
        let cache = Arc::new(OperandCache::new(self.operand_budget_bytes));
        let threads = self.threads.get().min(work.tiles().max(1));
        thread::scope(|scope| {
            let (work, cache) = (&work, &cache);
            let computer = || TileComputer::new(self.path, Arc::clone(cache));
            // Engines first: if there are few tiles, engines may take all of them.
            let first: Vec<_> = engines.iter().map(|_| work.take(TILES_AT_ONCE, watch)).collect();
            let mut workers = Vec::new();
            for (i, (engine, first)) in engines.iter_mut().zip(first).enumerate() {
                let run = move || work.or_fail(|| work.run_engine(i, engine.as_mut(), first, computer()?, watch));
                match thread::Builder::new().spawn_scoped(scope, run) {
                    Ok(worker) => workers.push(worker),
                    // The tiles taken for it are lost.
                    Err(error) => work.or_fail(|| {
                        Err(RecomputeError::NoThread {
                            engine: i,
                            name: work.name(i),
                            error: error.to_string(),
                        })
                    })?,
                }
            }
            let run = move || work.or_fail(|| work.run(computer()?, watch));
            for _ in 1..threads {
                match thread::Builder::new().spawn_scoped(scope, run) {
                    Ok(worker) => workers.push(worker),
                    // As many threads as the system provides: fewer threads do the same work.
                    Err(_) => break,
                }
            }
            // This thread is one of them, so there is at least one.
            let own = run();
            // All threads are joined; of several errors the first is reported.
            let ends: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            ends.into_iter().try_for_each(|end| match end {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })?;
            own
        })?;
        Ok(match work.finish() {
            (Some(mismatch), _) => Recomputed::Differs(mismatch),
            (None, so_far) if so_far.done == so_far.total => Recomputed::Agrees,
            (None, so_far) => Recomputed::Stopped(so_far),
        })
    }
}
