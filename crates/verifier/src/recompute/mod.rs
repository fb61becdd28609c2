//! Recomputing sampled tiles on every core and comparing their digests (spec §5).

mod keys;
mod schedule;
mod so_far;

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use engine_cpu::{OperandCache, Path, Tile, TileComputer, TileComputerError};
use protocol::openings::{TileCheck, TileMismatch};

use keys::DigestKeys;
use schedule::Schedule;
pub use so_far::{GroupSoFar, SoFar};

/// How tiles are recomputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recompute {
    /// The code that recomputes.
    pub path: Path,
    /// Threads it runs on.
    pub threads: NonZeroUsize,
    /// Bytes of packed operand B kept for tiles that share it.
    pub operand_budget_bytes: usize,
    /// Bytes of tiles kept until both of a pair are there, and for checks that need the same ones.
    pub tile_budget_bytes: usize,
}

impl Default for Recompute {
    /// The best path, a thread a CPU, 512 MiB of operands, 128 MiB of tiles.
    fn default() -> Self {
        Recompute {
            path: Path::best(),
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            operand_budget_bytes: 512 << 20,
            tile_budget_bytes: 128 << 20,
        }
    }
}

/// Why tiles could not be recomputed; says nothing about the Attester.
pub type RecomputeError = TileComputerError;

/// Hears how recomputing goes, and may stop it.
pub trait Watch: Sync {
    /// One more check agrees.
    fn agreed(&self, so_far: &SoFar) {
        let _ = so_far;
    }

    /// Whether the rest is no longer wanted.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// A [`Watch`] that nobody keeps.
pub struct Unwatched;

impl Watch for Unwatched {}

/// What recomputing came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recomputed {
    /// Every digest agrees.
    Agrees,
    /// One does not; the rest was not looked at.
    Differs(TileMismatch),
    /// It was stopped; what was looked at agrees.
    Stopped(SoFar),
}

impl Recompute {
    /// Recomputes both tiles of every check and compares three digests each. Once one differs, only checks before it go
    /// on: the first of all that differ is what is told, by however many threads in whatever order.
    ///
    /// # Errors
    ///
    /// [`RecomputeError`] if this CPU lacks the path or computes wrong answers on it.
    pub fn run(&self, checks: &[TileCheck], watch: &dyn Watch) -> Result<Recomputed, RecomputeError> {
        let schedule = Schedule::new(checks, self.operand_budget_bytes, self.tile_budget_bytes);
        let work = Work {
            checks,
            positions: so_far::positions(checks),
            tiles: schedule.slots.iter().map(|_| Mutex::default()).collect(),
            uses_left: schedule
                .slots
                .iter()
                .map(|slot| AtomicUsize::new(slot.checks.len()))
                .collect(),
            missing: schedule
                .tiles_of
                .iter()
                .map(|[a, b]| AtomicU8::new(1 + u8::from(a != b)))
                .collect(),
            schedule,
            keys: DigestKeys::default(),
            next: AtomicUsize::new(0),
            first_wrong: AtomicUsize::new(usize::MAX),
            mismatch: Mutex::default(),
            so_far: Mutex::new(SoFar::new(checks)),
        };
        let cache = Arc::new(OperandCache::new(self.operand_budget_bytes));
        let threads = self.threads.get().min(work.schedule.slots.len().max(1));
        thread::scope(|scope| {
            let thread = || work.run(TileComputer::new(self.path, Arc::clone(&cache))?, watch);
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(thread)).collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        let so_far = work.so_far.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(
            match work.mismatch.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some((_, mismatch)) => Recomputed::Differs(mismatch),
                None if so_far.done == so_far.total => Recomputed::Agrees,
                None => Recomputed::Stopped(so_far),
            },
        )
    }
}

/// A recomputation under way, shared by its threads.
struct Work<'a> {
    checks: &'a [TileCheck],
    /// Place of each check among its group's.
    positions: Vec<usize>,
    schedule: Schedule,
    /// The tile of each slot, from when it is computed until its last check is done.
    tiles: Vec<Mutex<Option<Arc<Held>>>>,
    /// Checks of each slot that are not done.
    uses_left: Vec<AtomicUsize>,
    /// Tiles of each check that are not there yet.
    missing: Vec<AtomicU8>,
    keys: DigestKeys,
    next: AtomicUsize,
    /// First check known to differ; those after it are left out.
    first_wrong: AtomicUsize,
    /// Of those found, the one of the first check.
    mismatch: Mutex<Option<(usize, TileMismatch)>>,
    so_far: Mutex<SoFar>,
}

struct Held(Box<Tile>);

impl Work<'_> {
    /// Computes tiles until there are none left, and does each check whose tiles are both there.
    fn run(&self, mut computer: TileComputer, watch: &dyn Watch) -> Result<(), RecomputeError> {
        while !watch.is_stopped() {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = self.schedule.slots.get(at) else { break };
            if slot.checks.iter().all(|&check| self.is_left_out(check)) {
                continue;
            }
            let mut tile = Tile::zeroed();
            computer.compute(&slot.tile.operand_key, slot.tile.inner_dim, slot.tile.at, &mut tile);
            *lock(&self.tiles[at]) = Some(Arc::new(Held(tile)));
            for &check in &slot.checks {
                // The last to come sees what the other left.
                if self.is_left_out(check) {
                    self.release(at);
                } else if self.missing[check].fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.check(check, &computer, watch);
                }
            }
        }
        Ok(())
    }

    fn check(&self, at: usize, computer: &TileComputer, watch: &dyn Watch) {
        let (check, slots) = (&self.checks[at], self.schedule.tiles_of[at]);
        let [a, b] = slots.map(|slot| Arc::clone(lock(&self.tiles[slot]).as_ref().expect("both tiles are there")));
        let (a, b, kernels) = (&a.0, &b.0, computer.kernels());
        let [fill_salt, sweep_salt] = check.salts();
        let fill_key = self.keys.expanded(fill_salt);
        let fill_digests = [kernels.fill_digest(&fill_key, a), kernels.fill_digest(&fill_key, b)];
        let sweep_key = self.keys.expanded(sweep_salt);
        let sweep_digest = kernels.pair_digest(&sweep_key, check.site.sample.leaf, a, b);
        match check.compare(sweep_digest, fill_digests) {
            Ok(()) => {
                let mut so_far = lock(&self.so_far);
                so_far.agree(check, self.positions[at]);
                watch.agreed(&so_far);
            }
            Err(mismatch) => {
                self.first_wrong.fetch_min(at, Ordering::Relaxed);
                let mut first = lock(&self.mismatch);
                if first.as_ref().is_none_or(|(i, _)| at < *i) {
                    *first = Some((at, mismatch));
                }
            }
        }
        for (i, slot) in slots.into_iter().enumerate() {
            if i == 0 || slot != slots[0] {
                self.release(slot);
            }
        }
    }

    /// Whether a check before this one is known to differ.
    fn is_left_out(&self, check: usize) -> bool {
        check > self.first_wrong.load(Ordering::Relaxed)
    }

    /// One check less that wants this slot's tile.
    fn release(&self, slot: usize) {
        if self.uses_left[slot].fetch_sub(1, Ordering::AcqRel) == 1 {
            *lock(&self.tiles[slot]) = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
