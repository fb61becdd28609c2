//! Recomputes sampled tiles on all cores, and on GPUs if requested, and compares their digests (spec §5).

mod keys;
mod schedule;
mod so_far;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use engine_cpu::{OperandCache, Path, Tile, TileComputer, TileComputerError};
use protocol::engine::{EngineError, TileEngine};
use protocol::limits::TILE_BYTES;
use protocol::openings::{TileCheck, TileMismatch};
use protocol::tile::TileCoordinate;

use crate::budget::Budget;
use keys::DigestKeys;
use schedule::{Schedule, Slot};
pub use so_far::{GroupSoFar, SoFar};

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

/// Most tiles requested of an engine at once: milliseconds of a GPU's work.
const TILES_AT_ONCE: usize = 128;

/// Why tiles could not be recomputed; says nothing about the Attester.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecomputeError {
    /// The CPU does not support the path, or computes wrong results on it.
    #[error(transparent)]
    Cpu(#[from] TileComputerError),
    /// An engine failed.
    #[error("{name}: {error}")]
    Engine {
        /// Its index among the given engines, from 0.
        engine: usize,
        /// Its name ([`TileEngine::name`]).
        name: String,
        /// The error.
        error: EngineError,
    },
    /// The system could not start a thread for an engine.
    #[error("no thread for {name}: {error}")]
    NoThread {
        /// Its index among the given engines, from 0.
        engine: usize,
        /// Its name ([`TileEngine::name`]).
        name: String,
        /// The system's error.
        error: String,
    },
    /// An engine's tile differs from the CPU's: there is no verdict.
    #[error(
        "{name} computes wrongly: it gives another tile than the CPU for {at} at k = {inner_dim}; expected the same; do not use \
         it, verify without it (CUDA_VISIBLE_DEVICES) or on the CPU (--engine cpu)"
    )]
    WrongTile {
        /// Its index among the given engines, from 0.
        engine: usize,
        /// Its name ([`TileEngine::name`]).
        name: String,
        /// The tile.
        at: TileCoordinate,
        /// Its k.
        inner_dim: u32,
    },
}

/// Is notified of the progress of recomputing, and may stop it.
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

/// A [`Watch`] that ignores notifications and never stops.
pub struct Unwatched;

impl Watch for Unwatched {}

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
        let schedule = Schedule::new(checks, self.operand_budget_bytes, self.tile_budget_bytes);
        let names = engines.iter().enumerate();
        let names = names.map(|(i, engine)| engine.name().map_or_else(|| format!("engine {i}"), str::to_owned));
        let work = Work {
            names: names.collect(),
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
            has_failed: AtomicBool::new(false),
            first_wrong: AtomicUsize::new(usize::MAX),
            mismatch: Mutex::default(),
            so_far: Mutex::new(SoFar::new(checks)),
        };
        let cache = Arc::new(OperandCache::new(self.operand_budget_bytes));
        let threads = self.threads.get().min(work.schedule.slots.len().max(1));
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
                            name: work.names[i].clone(),
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
        let so_far = work.so_far.into_inner().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(
            so_far.done < so_far.total || work.tiles.iter().all(|tile| lock(tile).is_none()),
            "a tile is kept after its last check"
        );
        Ok(
            match work.mismatch.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some((_, mismatch)) => Recomputed::Differs(mismatch),
                None if so_far.done == so_far.total => Recomputed::Agrees,
                None => Recomputed::Stopped(so_far),
            },
        )
    }
}

/// A running recomputation, shared by its threads.
struct Work<'a> {
    /// Of the engines beside the CPU.
    names: Vec<String>,
    checks: &'a [TileCheck],
    /// Position of each check within its group.
    positions: Vec<usize>,
    schedule: Schedule,
    /// The tile of each slot, kept from its computation until its last check is done.
    tiles: Vec<Mutex<Option<Arc<Held>>>>,
    /// Number of unfinished checks of each slot.
    uses_left: Vec<AtomicUsize>,
    /// Number of missing tiles of each check.
    missing: Vec<AtomicU8>,
    keys: DigestKeys,
    next: AtomicUsize,
    /// A worker ended with an error: the others need not continue.
    has_failed: AtomicBool,
    /// First check with a known mismatch; later checks are skipped.
    first_wrong: AtomicUsize,
    /// The mismatch of the first such check.
    mismatch: Mutex<Option<(usize, TileMismatch)>>,
    so_far: Mutex<SoFar>,
}

struct Held {
    tile: Box<Tile>,
    /// The engine that computed it; `None` for the CPU.
    engine: Option<usize>,
}

impl Work<'_> {
    /// A worker's whole run; its error stops the others.
    fn or_fail(&self, run: impl FnOnce() -> Result<(), RecomputeError>) -> Result<(), RecomputeError> {
        let done = run();
        if done.is_err() {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        done
    }

    /// Computes tiles until none are left, and does each check once both of its tiles are available.
    fn run(&self, mut computer: TileComputer, watch: &dyn Watch) -> Result<(), RecomputeError> {
        while let Some(slots) = self.take(1, watch) {
            for at in slots.filter(|&at| !self.is_idle(at)) {
                let slot = &self.schedule.slots[at].tile;
                let mut tile = Tile::zeroed();
                computer.compute(&slot.operand_key, slot.inner_dim, slot.at, &mut tile);
                self.deliver(at, Held { tile, engine: None }, &mut computer, watch)?;
            }
        }
        Ok(())
    }

    /// The same on an engine, many tiles at a time, starting with `first`.
    fn run_engine(
        &self,
        number: usize,
        engine: &mut dyn TileEngine,
        first: Option<Range<usize>>,
        mut computer: TileComputer,
        watch: &dyn Watch,
    ) -> Result<(), RecomputeError> {
        let mut next = first;
        while let Some(slots) = next {
            self.compute_on(number, engine, slots, &mut computer, watch)?;
            next = self.take(TILES_AT_ONCE, watch);
        }
        Ok(())
    }

    fn compute_on(
        &self,
        number: usize,
        engine: &mut dyn TileEngine,
        slots: Range<usize>,
        computer: &mut TileComputer,
        watch: &dyn Watch,
    ) -> Result<(), RecomputeError> {
        let slots: Vec<usize> = slots.filter(|&at| !self.is_idle(at)).collect();
        let Some(&first) = slots.first() else { return Ok(()) };
        let task = &self.schedule.slots[first].tile;
        let at: Vec<TileCoordinate> = slots.iter().map(|&at| self.schedule.slots[at].tile.at).collect();
        let mut is_taken = vec![false; slots.len()];
        let mut outcome = Ok(());
        let mut take = |i: usize, bytes: &[u8; TILE_BYTES]| {
            if outcome.is_ok() && is_taken.get(i) == Some(&false) {
                is_taken[i] = true;
                let mut tile = Tile::zeroed();
                tile.0.copy_from_slice(bytes);
                let engine = Some(number);
                outcome = self.deliver(slots[i], Held { tile, engine }, computer, watch);
            }
        };
        let failed = |error| RecomputeError::Engine {
            engine: number,
            name: self.names[number].clone(),
            error,
        };
        engine
            .tiles(&task.operand_key, task.inner_dim, &at, &mut take)
            .map_err(failed)?;
        outcome?;
        match is_taken.iter().position(|is_taken| !is_taken) {
            None => Ok(()),
            Some(i) => {
                let why = format!("{} was asked for and not computed", at[i]);
                Err(failed(EngineError::DeviceLost(why)))
            }
        }
    }

    /// The next slots that share an iteration, at most `most`; `None` if there are none or they are no longer needed.
    fn take(&self, most: usize, watch: &dyn Watch) -> Option<Range<usize>> {
        if watch.is_stopped() || self.has_failed.load(Ordering::Relaxed) {
            return None;
        }
        let slots = &self.schedule.slots;
        let task = |slot: &Slot| (slot.tile.operand_key, slot.tile.inner_dim);
        let end = |at: usize| {
            let first = task(slots.get(at)?);
            let alike = slots[at..].iter().take(most).take_while(|&slot| task(slot) == first);
            Some(at + alike.count())
        };
        let taken = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end);
        taken.ok().map(|at| at..end(at).expect("it was there a moment ago"))
    }

    /// Whether no check waits for a slot's tile any more.
    fn is_idle(&self, at: usize) -> bool {
        self.schedule.slots[at]
            .checks
            .iter()
            .all(|&check| self.is_left_out(check))
    }

    /// Keeps a tile and does the checks whose other tile is already available.
    fn deliver(
        &self,
        at: usize,
        held: Held,
        computer: &mut TileComputer,
        watch: &dyn Watch,
    ) -> Result<(), RecomputeError> {
        *lock(&self.tiles[at]) = Some(Arc::new(held));
        for &check in &self.schedule.slots[at].checks {
            // The later of the two sees the tile of the other.
            if self.is_left_out(check) {
                self.release(at);
            } else if self.missing[check].fetch_sub(1, Ordering::AcqRel) == 1 {
                self.check(check, computer, watch)?;
            }
        }
        Ok(())
    }

    fn check(&self, at: usize, computer: &mut TileComputer, watch: &dyn Watch) -> Result<(), RecomputeError> {
        let (check, slots) = (&self.checks[at], self.schedule.tiles_of[at]);
        let held = slots.map(|slot| Arc::clone(lock(&self.tiles[slot]).as_ref().expect("both tiles are there")));
        let ([a, b], kernels) = (held.each_ref().map(|held| &held.tile), computer.kernels());
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
                for (slot, held) in slots.into_iter().zip(&held) {
                    self.confirm(slot, held, computer)?;
                }
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
        Ok(())
    }

    /// Computes an engine's tile again on the CPU: an engine's result alone never leads to a failed verdict.
    fn confirm(&self, slot: usize, held: &Held, computer: &mut TileComputer) -> Result<(), RecomputeError> {
        let Some(engine) = held.engine else { return Ok(()) };
        let task = &self.schedule.slots[slot].tile;
        let mut tile = Tile::zeroed();
        computer.compute(&task.operand_key, task.inner_dim, task.at, &mut tile);
        if tile == held.tile {
            return Ok(());
        }
        Err(RecomputeError::WrongTile {
            engine,
            name: self.names[engine].clone(),
            at: task.at,
            inner_dim: task.inner_dim,
        })
    }

    /// Whether an earlier check is known to differ.
    fn is_left_out(&self, check: usize) -> bool {
        check > self.first_wrong.load(Ordering::Relaxed)
    }

    /// Records that one check fewer needs this slot's tile.
    fn release(&self, slot: usize) {
        if self.uses_left[slot].fetch_sub(1, Ordering::AcqRel) == 1 {
            *lock(&self.tiles[slot]) = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::bytes::{DeviceOrdinal, OperandKey, Root, Salt};
    use protocol::digest::DigestKey;
    use protocol::openings::Digest;
    use protocol::sampling::Sample;
    use protocol::tile::TileCoordinate;
    use protocol::trace::Site;

    /// A check of two tiles of 1024 x 1024 matrices, its digests not yet filled in.
    pub(super) fn check(device: u32, iteration: u32, inner_dim: u32, leaf: u32, tiles: [u32; 2]) -> TileCheck {
        TileCheck {
            site: Site {
                sample: Sample {
                    device: DeviceOrdinal(device),
                    iteration,
                    sweep: 1,
                    leaf,
                },
                inner_dim,
                operand_key: OperandKey([iteration as u8; 32]),
                fill_salt: Salt([iteration as u8; 32]),
                sweep_salt: Salt([0xFF; 32]),
                pair: tiles,
                tiles: tiles.map(|tile| TileCoordinate::from_index(tile, 0, 1024)),
                fill_root: Root([0; 32]),
                fill_leaves: 64,
                sweep_root: Root([0; 32]),
                sweep_leaves: 32,
            },
            sweep_digest: 0,
            fill_digests: [0; 2],
        }
    }

    /// Checks that share tiles, one of a tile with itself, all of them correct.
    fn right() -> Vec<TileCheck> {
        let cache = Arc::new(OperandCache::new(1 << 20));
        let mut computer = TileComputer::new(Path::best(), cache).expect("the best path runs here");
        let mut checks: Vec<TileCheck> = (0..24)
            .map(|i| check(0, i / 12, 64, i, [i * 7 % 10, if i == 5 { 5 } else { i * 3 % 10 }]))
            .collect();
        for check in &mut checks {
            let tiles = check.site.tiles.map(|at| {
                let mut tile = Tile::zeroed();
                computer.compute(&check.site.operand_key, check.site.inner_dim, at, &mut tile);
                tile
            });
            let [fill_key, sweep_key] = check.salts().map(|salt| DigestKey::expand(&salt));
            let kernels = computer.kernels();
            check.fill_digests = [0, 1].map(|i| kernels.fill_digest(&fill_key, &tiles[i]));
            check.sweep_digest = kernels.pair_digest(&sweep_key, check.site.sample.leaf, &tiles[0], &tiles[1]);
        }
        checks
    }

    /// One thread and three, with room for every tile and for none.
    fn ways() -> impl Iterator<Item = Recompute> {
        [(1, 0), (1, 64 << 20), (3, 0), (3, 64 << 20)]
            .map(|(threads, tile_budget_bytes)| Recompute {
                threads: NonZeroUsize::new(threads).expect("some"),
                operand_budget_bytes: 1 << 20,
                tile_budget_bytes,
                ..Recompute::default()
            })
            .into_iter()
    }

    /// Counts agreeing checks, and stops after a given number.
    struct Counted {
        stop_after: usize,
        agreed: AtomicUsize,
    }

    impl Watch for Counted {
        fn agreed(&self, so_far: &SoFar) {
            let before = self.agreed.fetch_add(1, Ordering::Relaxed);
            assert_eq!(so_far.done, before + 1);
        }

        fn is_stopped(&self) -> bool {
            self.agreed.load(Ordering::Relaxed) >= self.stop_after
        }
    }

    #[test]
    fn right_digests_agree_however_they_are_recomputed() {
        let checks = right();
        for way in ways() {
            assert_eq!(way.run(&checks, &Unwatched).expect("a path"), Recomputed::Agrees);
            let watch = Counted {
                stop_after: usize::MAX,
                agreed: AtomicUsize::new(0),
            };
            assert_eq!(way.run(&checks, &watch).expect("a path"), Recomputed::Agrees);
            assert_eq!(watch.agreed.into_inner(), checks.len());
        }
        let none = Recompute::default().run(&[], &Unwatched).expect("a path");
        assert_eq!(none, Recomputed::Agrees);
    }

    #[test]
    fn the_first_wrong_digest_is_told_whatever_comes_first() {
        for (wrong, digest) in [(3, Digest::Sweep), (11, Digest::FillA), (20, Digest::FillB)] {
            let mut checks = right();
            match digest {
                Digest::Sweep => checks[wrong].sweep_digest ^= 1,
                Digest::FillA => checks[wrong].fill_digests[0] ^= 1,
                Digest::FillB => checks[wrong].fill_digests[1] ^= 1,
            }
            checks[23].sweep_digest ^= 1;
            for way in ways() {
                match way.run(&checks, &Unwatched).expect("a path") {
                    Recomputed::Differs(mismatch) => {
                        assert_eq!(
                            (mismatch.sample.leaf, mismatch.digest),
                            (wrong as u32, digest),
                            "{way:?}"
                        );
                        assert_eq!(mismatch.expected ^ mismatch.actual, 1);
                    }
                    other => panic!("{way:?}: {other:?}"),
                }
            }
        }
    }

    /// Where tiles are kept, checks are not done in their order.
    #[test]
    fn of_two_wrong_digests_the_first_is_told_whichever_is_found_first() {
        let right = right();
        let way = ways().nth(1).expect("one thread, with room");
        for second in 0..right.len() {
            for first in 0..second {
                let mut checks = right.clone();
                checks[first].sweep_digest ^= 1;
                checks[second].sweep_digest ^= 1;
                match way.run(&checks, &Unwatched).expect("a path") {
                    Recomputed::Differs(mismatch) => assert_eq!(mismatch.sample.leaf, first as u32, "and {second}"),
                    other => panic!("{first}, {second}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn what_was_done_before_it_was_stopped_is_told() {
        let checks = right();
        for way in ways() {
            let watch = Counted {
                stop_after: 3,
                agreed: AtomicUsize::new(0),
            };
            match way.run(&checks, &watch).expect("a path") {
                Recomputed::Stopped(so_far) => {
                    assert!(so_far.done >= 3 && so_far.done < checks.len(), "{way:?}: {so_far:?}");
                    assert_eq!((so_far.done, so_far.total), (watch.agreed.into_inner(), checks.len()));
                }
                other => panic!("{way:?}: {other:?}"),
            }
        }
    }
}
