//! The work that threads and engines share: who computes which tile, and when a check can be done.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_cpu::{Tile, TileComputer};
use protocol::engine::{EngineError, TileEngine};
use protocol::limits::TILE_BYTES;
use protocol::openings::{TileCheck, TileMismatch};
use protocol::tile::TileCoordinate;

use super::error::RecomputeError;
use super::keys::DigestKeys;
use super::schedule::{Schedule, Slot};
use super::so_far::{self, SoFar};
use super::watch::Watch;

/// Most tiles requested of an engine at once: milliseconds of a GPU's work.
pub(super) const TILES_AT_ONCE: usize = 128;

/// A running recomputation, shared by its threads.
pub(super) struct Work<'a> {
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

impl<'a> Work<'a> {
    /// The work of these checks; `names` are those of the engines beside the CPU.
    pub(super) fn new(checks: &'a [TileCheck], schedule: Schedule, names: Vec<String>) -> Self {
        Work {
            names,
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
        }
    }

    /// Number of tiles to compute.
    pub(super) fn tiles(&self) -> usize {
        self.schedule.slots.len()
    }

    /// The name of an engine beside the CPU.
    pub(super) fn name(&self, engine: usize) -> String {
        self.names[engine].clone()
    }

    /// The first mismatch, and what agrees; called when all workers have ended.
    pub(super) fn finish(self) -> (Option<TileMismatch>, SoFar) {
        let so_far = self.so_far.into_inner().unwrap_or_else(PoisonError::into_inner);
        debug_assert!(
            so_far.done < so_far.total || self.tiles.iter().all(|tile| lock(tile).is_none()),
            "a tile is kept after its last check"
        );
        let first = self.mismatch.into_inner().unwrap_or_else(PoisonError::into_inner);
        (first.map(|(_, mismatch)| mismatch), so_far)
    }

    /// A worker's whole run; its error stops the others.
    pub(super) fn or_fail(&self, run: impl FnOnce() -> Result<(), RecomputeError>) -> Result<(), RecomputeError> {
        let done = run();
        if done.is_err() {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        done
    }

    /// Computes tiles until none are left, and does each check once both of its tiles are available.
    pub(super) fn run(&self, mut computer: TileComputer, watch: &dyn Watch) -> Result<(), RecomputeError> {
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
    pub(super) fn run_engine(
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
            name: self.name(number),
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
    pub(super) fn take(&self, most: usize, watch: &dyn Watch) -> Option<Range<usize>> {
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
            name: self.name(engine),
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
