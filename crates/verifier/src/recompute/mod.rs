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

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::bytes::{DeviceOrdinal, OperandKey, Root, Salt};
    use protocol::digest::DigestKey;
    use protocol::openings::Digest;
    use protocol::sampling::Sample;
    use protocol::tile::TileCoordinate;
    use protocol::trace::Site;

    /// A check of two tiles of 1024 x 1024 matrices, its digests still to be filled in.
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

    /// Checks that share tiles, one of a tile with itself, all of them right.
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

    /// Hears how many agree, and stops after some.
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
