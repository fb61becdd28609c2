//! Checks that are right and wrong, however they are recomputed.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine_cpu::{OperandCache, Path, Tile, TileComputer};
use protocol::bytes::{DeviceOrdinal, OperandKey, Root, Salt};
use protocol::digest::DigestKey;
use protocol::engine::Pass;
use protocol::openings::{Digest, TileCheck};
use protocol::sampling::Sample;
use protocol::tile::TileCoordinate;
use protocol::trace::Site;

use super::{Recompute, Recomputed, SoFar, Unwatched, Watch};

/// A check of two tiles of 1024 x 1024 matrices, its digests not yet filled in.
pub(super) fn check(device: u32, iteration: u32, inner_dim: u32, leaf: u32, tiles: [u32; 2]) -> TileCheck {
    TileCheck {
        site: Site {
            sample: Sample {
                device: DeviceOrdinal(device),
                iteration,
                pass: Pass::Sweep(1),
                leaf,
            },
            inner_dim,
            operand_key: OperandKey([iteration as u8; 32]),
            fill_salt: Salt([iteration as u8; 32]),
            pair_salt: Salt([0xFF; 32]),
            holders: [DeviceOrdinal(device); 2],
            pair: tiles,
            tiles: tiles.map(|tile| TileCoordinate::from_index(tile, 0, 1024)),
            fill_roots: [Root([0; 32]); 2],
            fill_leaves: [64; 2],
            pair_root: Root([0; 32]),
            pair_leaves: 32,
        },
        pair_digest: 0,
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
        check.pair_digest = kernels.pair_digest(&sweep_key, check.site.sample.leaf, &tiles[0], &tiles[1]);
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
    for (wrong, digest) in [(3, Digest::Pair), (11, Digest::FillA), (20, Digest::FillB)] {
        let mut checks = right();
        match digest {
            Digest::Pair => checks[wrong].pair_digest ^= 1,
            Digest::FillA => checks[wrong].fill_digests[0] ^= 1,
            Digest::FillB => checks[wrong].fill_digests[1] ^= 1,
        }
        checks[23].pair_digest ^= 1;
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
            checks[first].pair_digest ^= 1;
            checks[second].pair_digest ^= 1;
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
