//! Recomputing sampled tiles on every core and comparing their digests (spec §5).

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use engine_cpu::{OperandCache, Path, Tile, TileComputer, TileComputerError};
use protocol::bytes::Salt;
use protocol::digest::DigestKey;
use protocol::openings::{TileCheck, TileMismatch};

/// How tiles are recomputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recompute {
    /// The code that recomputes.
    pub path: Path,
    /// Threads it runs on.
    pub threads: NonZeroUsize,
    /// Bytes of packed operand B kept for tiles that share it.
    pub operand_budget_bytes: usize,
}

impl Default for Recompute {
    /// The best path, a thread a CPU, 512 MiB of operands.
    fn default() -> Self {
        Recompute {
            path: Path::best(),
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            operand_budget_bytes: 512 << 20,
        }
    }
}

/// Why tiles could not be recomputed; says nothing about the Attester.
pub type RecomputeError = TileComputerError;

impl Recompute {
    /// Recomputes both tiles of every check and compares three digests each; stops at the first that differs.
    /// `advance` hears of each check that passed.
    ///
    /// # Errors
    ///
    /// [`RecomputeError`] if this CPU lacks the path or computes wrong answers on it.
    pub fn run(
        &self,
        checks: &[TileCheck],
        advance: &(dyn Fn() + Sync),
    ) -> Result<Result<(), TileMismatch>, RecomputeError> {
        // Neighbours share column blocks of B, and sweep keys.
        let mut order: Vec<usize> = (0..checks.len()).collect();
        order.sort_by_key(|&i| {
            let site = &checks[i].site;
            (site.sample.iteration, site.tiles[0].column_block, site.sample.sweep)
        });
        let cache = Arc::new(OperandCache::new(self.operand_budget_bytes));
        let next = AtomicUsize::new(0);
        let is_over = AtomicBool::new(false);
        let first_mismatch = Mutex::new(None::<(usize, TileMismatch)>);
        let work = || -> Result<(), RecomputeError> {
            let mut checker = Checker::new(TileComputer::new(self.path, Arc::clone(&cache))?);
            while !is_over.load(Ordering::Relaxed) {
                let Some(&index) = order.get(next.fetch_add(1, Ordering::Relaxed)) else {
                    break;
                };
                match checker.check(&checks[index]) {
                    Ok(()) => advance(),
                    Err(mismatch) => {
                        is_over.store(true, Ordering::Relaxed);
                        let mut first = first_mismatch.lock().unwrap_or_else(PoisonError::into_inner);
                        if first.as_ref().is_none_or(|(i, _)| index < *i) {
                            *first = Some((index, mismatch));
                        }
                    }
                }
            }
            Ok(())
        };
        let threads = self.threads.get().min(checks.len().max(1));
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let first_mismatch = first_mismatch.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(first_mismatch.map_or(Ok(()), |(_, mismatch)| Err(mismatch)))
    }
}

/// What one thread recomputes with.
struct Checker {
    computer: TileComputer,
    tiles: [Box<Tile>; 2],
    fill_key: Option<(Salt, DigestKey)>,
    sweep_key: Option<(Salt, DigestKey)>,
}

impl Checker {
    fn new(computer: TileComputer) -> Self {
        Checker {
            computer,
            tiles: [Tile::zeroed(), Tile::zeroed()],
            fill_key: None,
            sweep_key: None,
        }
    }

    fn check(&mut self, check: &TileCheck) -> Result<(), TileMismatch> {
        let site = &check.site;
        let [a, b] = &mut self.tiles;
        self.computer
            .compute(&site.operand_key, site.inner_dim, site.tiles[0], a);
        if site.tiles[0] == site.tiles[1] {
            b.0.copy_from_slice(&a.0);
        } else {
            self.computer
                .compute(&site.operand_key, site.inner_dim, site.tiles[1], b);
        }
        let kernels = self.computer.kernels();
        let fill_key = expanded(&mut self.fill_key, site.fill_salt);
        let fill_digests = [kernels.fill_digest(fill_key, a), kernels.fill_digest(fill_key, b)];
        let sweep_key = expanded(&mut self.sweep_key, site.sweep_salt);
        check.compare(kernels.pair_digest(sweep_key, site.sample.leaf, a, b), fill_digests)
    }
}

/// The key of `salt`, expanded anew only if the last was another's.
fn expanded(last: &mut Option<(Salt, DigestKey)>, salt: Salt) -> &DigestKey {
    if last.as_ref().is_none_or(|(of, _)| *of != salt) {
        *last = None;
    }
    &last.get_or_insert_with(|| (salt, DigestKey::expand(&salt))).1
}
