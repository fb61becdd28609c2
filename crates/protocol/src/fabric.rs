//! What the rounds between devices certify: bytes that moved between the memories of GPUs (spec §6.6, rationale 2.10).
//!
//! Half of a round's leaves pair tiles of two devices, and which tiles is not known before. A GPU answers alone only for pairs of
//! tiles that it holds both, and what one GPU can hold is bounded by its memory. For any other leaf 65,536 bytes have to move, or
//! be made again.

use crate::bounds::Assumptions;
use crate::bytes::DeviceOrdinal;
use crate::certified::NothingCertified;
use crate::limits::{MIN_INNER_DIM_FOR_MEMORY, MIN_SAMPLES_FOR_BOUND, TILE_BYTES};
use crate::plan::{DevicePlan, Plan};
use crate::tournament;
use crate::verdict::Verdict;
use crate::verifier::{Mode, VerifierSession, Windows};

const NS_PER_S: u128 = 1_000_000_000;
/// ln 2 rounded up, in 10^-9.
const LN_2: u128 = 693_147_185;

/// One group's (distinct k) tournaments, measured by the Verifier's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredRounds {
    /// k of the group.
    pub inner_dim: u32,
    /// C: the sum of the crossings of the group's iterations.
    pub crossings: u64,
    /// Of each device, in the plan's order: its dataset in bytes, and the effective samples of its rounds.
    pub devices: Vec<(u64, u32)>,
    /// The window of each round, summed over the group's iterations, ns.
    pub round_ns: Vec<u64>,
}

/// Lower bounds of bytes/s between GPUs, in both directions together; `None` where there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Bytes/s that moved into and out of memories of GPUs, on whatever way.
    pub any_path_bytes_per_s: Option<u64>,
    /// The part of them that cannot have come in or gone out over W_in and W_out: it moved over links between GPUs.
    pub links_bytes_per_s: Option<u64>,
}

/// What the round of two devices certifies: its share of what moved in that round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairCertified {
    /// The devices.
    pub devices: [DeviceOrdinal; 2],
    /// Their round, from 0.
    pub round: u32,
    /// Its window, ns.
    pub window_ns: u64,
    /// Their share.
    pub exchange: Exchange,
}

/// All that the rounds of a session certify.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fabric {
    /// The most memory that one GPU behind the session is assumed to have, bytes.
    pub gpu_memory_bytes: u64,
    /// k of the group that it comes from.
    pub inner_dim: u32,
    /// Every two devices of the plan once, round by round.
    pub pairs: Vec<PairCertified>,
    /// Between two halves of the system's GPUs, however it is divided, in the mean over the rounds.
    pub bisection: Exchange,
    /// In how many ways samples or matchings can have been lucky: all bounds together are false with at most this many times
    /// 2^-`error_bits`.
    pub chances: usize,
}

impl VerifierSession {
    /// What the session's rounds certify under these assumptions, if no GPU behind it has more than `gpu_memory_bytes`; `None` for
    /// a plan without rounds.
    ///
    /// # Errors
    ///
    /// [`NothingCertified`] unless it ran online and is affirmed.
    pub fn fabric(&self, assumptions: &Assumptions, gpu_memory_bytes: u64) -> Result<Option<Fabric>, NothingCertified> {
        if !matches!(self.verdict(), Some(Verdict::Affirmed)) {
            return Err(NothingCertified::NotAffirmed);
        }
        if self.config().mode != Mode::Online {
            return Err(NothingCertified::Offline);
        }
        let plan = self.plan().ok_or(NothingCertified::NotAffirmed)?;
        Ok(fabric(plan, self.windows(), assumptions, gpu_memory_bytes))
    }
}

/// The tournaments of every group that has some.
#[must_use]
pub fn measured_rounds(plan: &Plan, windows: &[Windows]) -> Vec<MeasuredRounds> {
    let of_group = |inner_dim: u32| {
        let iterations = plan.iterations().iter().zip(windows);
        let iterations = iterations.filter(|(i, _)| i.inner_dim == inner_dim && i.crossings > 0);
        let mut crossings = 0;
        let mut round_ns = vec![0_u64; tournament::rounds(plan.devices().len()) as usize];
        for (iteration, windows) in iterations {
            crossings += u64::from(iteration.crossings);
            for (sum, window) in round_ns.iter_mut().zip(&windows.round_ns) {
                *sum = sum.saturating_add(*window);
            }
        }
        let samples = plan.effective_crossing_samples(inner_dim);
        let device = |device: &DevicePlan| (plan.assignment(device).dataset_bytes(), samples);
        (crossings > 0).then(|| MeasuredRounds {
            inner_dim,
            crossings,
            devices: plan.devices().iter().map(device).collect(),
            round_ns,
        })
    };
    plan.groups().into_iter().filter_map(of_group).collect()
}

/// Arithmetic on the given figures: certified only if they come from an affirmed session.
fn fabric(plan: &Plan, windows: &[Windows], assumptions: &Assumptions, gpu_memory_bytes: u64) -> Option<Fabric> {
    let groups = measured_rounds(plan, windows);
    let (devices, places) = (plan.devices(), 0..plan.devices().len());
    let of_group = |measured: &MeasuredRounds| {
        let pair = |round: u32, place: usize| {
            let other = plan.opponent(round, place).filter(|other| place < *other)?;
            Some(PairCertified {
                devices: [place, other].map(|place| devices[place].ordinal),
                round,
                window_ns: measured.round_ns[round as usize],
                exchange: measured.pair(round, [place, other], assumptions, gpu_memory_bytes),
            })
        };
        let of_round = |round| places.clone().filter_map(move |place| pair(round, place));
        Fabric {
            gpu_memory_bytes,
            inner_dim: measured.inner_dim,
            pairs: (0..measured.round_ns.len() as u32).flat_map(of_round).collect(),
            bisection: measured.bisection(assumptions, gpu_memory_bytes),
            chances: 0,
        }
    };
    let sum = |fabric: &Fabric| -> u128 {
        let pairs = fabric.pairs.iter();
        pairs
            .filter_map(|pair| pair.exchange.any_path_bytes_per_s)
            .map(u128::from)
            .sum()
    };
    let best = groups.iter().map(of_group).max_by_key(sum)?;
    // The samples of each device, and the matchings of each pair and of all.
    let each = devices.len() + best.pairs.len() + 1;
    Some(Fabric {
        chances: each * groups.len(),
        ..best
    })
}

impl MeasuredRounds {
    /// The share of two devices, at these places, in what moved in their round (spec §6.6).
    #[must_use]
    pub fn pair(&self, round: u32, places: [usize; 2], assumptions: &Assumptions, gpu_memory_bytes: u64) -> Exchange {
        let pairs = u128::from(tournament::pairs(self.devices.len()));
        let wrong = places.map(|place| self.wrong(place, assumptions));
        let leaves = || {
            let [g, h] = wrong;
            self.leaves(1)?
                .checked_sub(self.alone(assumptions, gpu_memory_bytes)?)?
                .checked_sub(self.lucky(1, assumptions)?)?
                .checked_sub(g?.checked_add(h?)?)
        };
        self.exchange(
            leaves(),
            *self.round_ns.get(round as usize).unwrap_or(&0),
            pairs,
            assumptions,
        )
    }

    /// What moved between two halves of the GPUs, however divided, in the mean over all rounds (spec §6.6).
    #[must_use]
    pub fn bisection(&self, assumptions: &Assumptions, gpu_memory_bytes: u64) -> Exchange {
        let leaves = || {
            let all = self.devices.len() as u128;
            let wrong = (0..self.devices.len()).map(|place| self.wrong(place, assumptions));
            let wrong: u128 = wrong.sum::<Option<u128>>()?;
            self.leaves(all * (all - 1) / 2)?
                .checked_sub(self.alone_in_halves(assumptions, gpu_memory_bytes)?)?
                .checked_sub(self.lucky(all * (all - 1) / 2, assumptions)?)?
                .checked_sub(wrong)
                .and_then(|leaves| self.despite_moves(leaves))
        };
        let window_ns = self.round_ns.iter().fold(0_u64, |sum, &ns| sum.saturating_add(ns));
        self.exchange(leaves(), window_ns, 1, assumptions)
    }

    /// Leaves of so many pairs.
    fn leaves(&self, pairs: u128) -> Option<u128> {
        (4 * u128::from(self.crossings)).checked_mul(pairs)
    }

    /// A pair's share of the leaves of a round for which a GPU may hold both tiles, rounded up. A GPU that holds a share x of the
    /// tiles of a pair holds both of at most x^2 of its leaves in the mean, and most if it holds tiles of one pair only (the test
    /// `placements_leave_no_more_leaves_alone_than_is_certified`).
    fn alone(&self, assumptions: &Assumptions, gpu_memory_bytes: u64) -> Option<u128> {
        let held = u128::from(gpu_memory_bytes) + u128::from(assumptions.on_chip_bytes);
        let mut datasets: Vec<u128> = self.devices.iter().map(|(bytes, _)| u128::from(*bytes)).collect();
        datasets.sort_unstable();
        let pair_bytes = datasets.first()? + datasets.get(1)?;
        let pairs = u128::from(tournament::pairs(self.devices.len()));
        let gpus = self.leaves(self.devices.len() as u128)?;
        let [held, pair_bytes] = [held, pair_bytes].map(|bytes| bytes.div_ceil(TILE_BYTES as u128));
        let pair_bytes = pair_bytes.checked_mul(pair_bytes)?.checked_mul(pairs)?;
        Some(gpus.checked_mul(held)?.checked_mul(held)?.div_ceil(pair_bytes))
    }

    /// The same for all rounds where a half of the GPUs holds both tiles.
    fn alone_in_halves(&self, assumptions: &Assumptions, gpu_memory_bytes: u64) -> Option<u128> {
        let tile = TILE_BYTES as u128;
        let held = (u128::from(gpu_memory_bytes) + u128::from(assumptions.on_chip_bytes)).div_ceil(tile);
        // Whole tiles: rounding does nothing.
        let least = self.devices.iter().map(|(bytes, _)| u128::from(*bytes) / tile).min()?;
        let all = self.devices.len() as u128;
        let (larger, smaller) = (all.div_ceil(2), all / 2);
        let one_each = (all - 2) * all * held.checked_mul(least)?;
        let both = (larger * larger + smaller * smaller) * held.checked_mul(held)?;
        let leaves = one_each.checked_add(both)?.checked_mul(self.crossings.into())?;
        Some(leaves.div_ceil(least.checked_mul(least)?.max(1)))
    }

    /// What of these leaves holds if tiles are moved from one half to the other between rounds: a tile that is moved once may save a
    /// leaf in each of half of the rounds (rationale 2.10; the test `tiles_moved_between_rounds_do_not_beat_the_bisection`).
    fn despite_moves(&self, leaves: u128) -> Option<u128> {
        let least = self
            .devices
            .iter()
            .map(|(bytes, _)| u128::from(*bytes) / TILE_BYTES as u128)
            .min()?;
        let saved = 4 * u128::from(self.crossings) * (self.round_ns.len() as u128 / 2);
        if saved <= least {
            return Some(leaves);
        }
        Some(leaves.checked_mul(least)? / saved)
    }

    /// Leaves by which a random matching may exceed its mean in so many pairs, but with the odds of the soundness error: 4
    /// sqrt(C pairs ln(1/eta)), rounded up (rationale 2.10).
    fn lucky(&self, pairs: u128, assumptions: &Assumptions) -> Option<u128> {
        let square = (16 * u128::from(self.crossings))
            .checked_mul(pairs)?
            .checked_mul(u128::from(assumptions.error_bits) * LN_2)?
            .div_ceil(NS_PER_S);
        Some(square.isqrt() + 1)
    }

    /// Leaves of a device in all rounds that may be wrong, all of them in one round, rounded up; `None` with too few samples.
    fn wrong(&self, place: usize, assumptions: &Assumptions) -> Option<u128> {
        let (_, samples) = *self.devices.get(place)?;
        if samples < MIN_SAMPLES_FOR_BOUND {
            return None;
        }
        let meetings = u128::from(tournament::meetings(self.devices.len()));
        let leaves = 2 * u128::from(self.crossings) * meetings;
        let wrong = leaves.checked_mul(u128::from(assumptions.error_bits) * LN_2)?;
        Some(wrong.div_ceil(u128::from(samples) * NS_PER_S))
    }

    /// Bytes/s of these leaves in a window, less what the devices' part of everything else could replace: regenerated, read
    /// elsewhere, and for links W_in and W_out. It is divided among so many pairs.
    fn exchange(&self, leaves: Option<u128>, window_ns: u64, among: u128, assumptions: &Assumptions) -> Exchange {
        let devices = self.devices.len() as u128;
        let made = assumptions.regeneration_bytes_per_s(self.inner_dim) + u128::from(assumptions.helper_bytes_per_s);
        let host_links = u128::from(assumptions.link_in_bytes_per_s) + u128::from(assumptions.link_out_bytes_per_s);
        let less = |rate: u128| {
            if self.inner_dim < MIN_INNER_DIM_FOR_MEMORY || window_ns == 0 {
                return None;
            }
            let replaced = rate
                .checked_mul(devices)?
                .checked_mul(window_ns.into())?
                .div_ceil(NS_PER_S)
                .div_ceil(among);
            let moved = leaves?.checked_mul(TILE_BYTES as u128)?.checked_sub(replaced)?;
            let rate = moved.checked_mul(NS_PER_S)? / u128::from(window_ns);
            u64::try_from(rate).ok().filter(|rate| *rate > 0)
        };
        Exchange {
            any_path_bytes_per_s: less(made),
            links_bytes_per_s: less(made + host_links),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::{Crossing, Matching};

    /// An H200 under the assumptions of its own class.
    const H200: Assumptions = Assumptions {
        best_rate_ops_per_s: 1_979_000_000_000_000,
        helper_gpus: 1,
        link_in_bytes_per_s: 64_000_000_000,
        link_out_bytes_per_s: 64_000_000_000,
        helper_bytes_per_s: 0,
        on_chip_bytes: 128_000_000,
        error_bits: 20,
    };
    const CARD_BYTES: u64 = 150_754_820_096;
    const DATASET_BYTES: u64 = 2_276_000 * TILE_BYTES as u64;

    fn rounds(devices: usize) -> MeasuredRounds {
        MeasuredRounds {
            inner_dim: 65_536,
            crossings: 569_000,
            devices: vec![(DATASET_BYTES, 2048); devices],
            round_ns: vec![111_000_000; tournament::rounds(devices) as usize],
        }
    }

    fn any(exchange: Exchange) -> f64 {
        exchange.any_path_bytes_per_s.expect("a bound") as f64
    }

    #[test]
    fn most_of_what_crosses_is_certified() {
        let two = rounds(2);
        let moved = 2.0 * 569_000.0 * 65_536.0 / 0.111;
        let pair = two.pair(0, [0, 1], &H200, CARD_BYTES);
        assert!((0.85..1.0).contains(&(any(pair) / moved)), "{} of {moved}", any(pair));
        // Two halves of two GPUs are the GPUs.
        let bisection = two.bisection(&H200, CARD_BYTES);
        assert!((any(bisection) / any(pair) - 1.0).abs() < 0.001);
        let host_links = pair.any_path_bytes_per_s.unwrap() - pair.links_bytes_per_s.unwrap();
        assert!(host_links.abs_diff(4 * 64_000_000_000) <= 1);

        // A bisection of eight GPUs is crossed by what 16 of 28 pairs exchange; tiles may move between rounds.
        let eight = rounds(8);
        let (pair, bisection) = (
            eight.pair(3, [0, 6], &H200, CARD_BYTES),
            eight.bisection(&H200, CARD_BYTES),
        );
        assert!(any(pair) > 0.7 * moved, "{} of {moved}", any(pair));
        assert!(
            (0.25..16.0 / 21.0).contains(&(any(bisection) / moved)),
            "{} of {moved}",
            any(bisection)
        );
    }

    #[test]
    fn bounds_of_pairs_are_the_references() {
        let theirs = reference::Assumptions {
            best_rate: H200.best_rate_ops_per_s as f64,
            link_in: H200.link_in_bytes_per_s as f64,
            link_out: H200.link_out_bytes_per_s as f64,
            helper_gpus: H200.helper_gpus as f64,
            helper_read: H200.helper_bytes_per_s as f64,
            on_chip: H200.on_chip_bytes as f64,
        };
        for devices in [2, 3, 4, 8] {
            let ours = rounds(devices).pair(0, [0, 1], &H200, CARD_BYTES);
            let measured = reference::Measured {
                k: 65_536,
                samples: 2048,
                dataset: DATASET_BYTES as f64,
                iterations: Vec::new(),
            };
            let bound = |links_alone| {
                let (card, crossings) = (CARD_BYTES as f64, 569_000.0);
                reference::bound_exchange(&measured, devices as f64, crossings, 0.111, card, &theirs, links_alone)
            };
            for (ours, theirs) in [
                (ours.any_path_bytes_per_s, bound(false)),
                (ours.links_bytes_per_s, bound(true)),
            ] {
                match ours {
                    Some(ours) => assert!(
                        (ours as f64 / theirs - 1.0).abs() < 1e-4,
                        "{devices}: {ours} against {theirs}"
                    ),
                    None => assert!(theirs <= 0.0, "{devices}: none against {theirs}"),
                }
            }
        }
    }

    #[test]
    fn what_could_hold_both_datasets_certifies_nothing() {
        let two = rounds(2);
        let of = |bytes| two.pair(0, [0, 1], &H200, bytes).any_path_bytes_per_s;
        assert_eq!(of(2 * CARD_BYTES), None);
        assert_eq!(of(u64::MAX), None);
        assert!(of(CARD_BYTES) > of(CARD_BYTES + CARD_BYTES / 10));
        assert_eq!(two.bisection(&H200, 2 * CARD_BYTES), Exchange::default());
    }

    #[test]
    fn nothing_is_certified_without_samples_windows_or_depth() {
        let pair = |rounds: &MeasuredRounds| rounds.pair(0, [0, 1], &H200, CARD_BYTES);
        let few = MeasuredRounds {
            devices: vec![(DATASET_BYTES, 2048), (DATASET_BYTES, 255)],
            ..rounds(2)
        };
        let flat = MeasuredRounds {
            inner_dim: 4032,
            ..rounds(2)
        };
        let empty = MeasuredRounds {
            round_ns: vec![0],
            ..rounds(2)
        };
        for nothing in [few, flat, empty] {
            assert_eq!(pair(&nothing), Exchange::default());
            assert_eq!(nothing.bisection(&H200, CARD_BYTES), Exchange::default());
        }
        assert_eq!(
            rounds(2).pair(1, [0, 1], &H200, CARD_BYTES),
            Exchange::default(),
            "no such round"
        );
    }

    const TILES: u32 = 8192;

    /// Two devices of so many tiles, a quarter of which cross.
    fn small() -> (MeasuredRounds, Assumptions) {
        let measured = MeasuredRounds {
            inner_dim: 65_536,
            crossings: u64::from(TILES / 4),
            devices: vec![(u64::from(TILES) * TILE_BYTES as u64, 2048); 2],
            round_ns: vec![1],
        };
        let no_chip = Assumptions {
            on_chip_bytes: 0,
            ..H200
        };
        (measured, no_chip)
    }

    /// Whether a GPU holds a tile of a device.
    type Holds = fn(gpu: u32, device: u32, tile: u32) -> bool;

    /// Leaves of a round for which one of so many GPUs holds both tiles.
    fn answered_alone(gpus: u32, holds: Holds, salt: u32) -> u128 {
        let matching = |g: u32| Matching::new([salt, 77 * g + 1, salt ^ 0x5A5A, g], TILES);
        let mut alone = 0;
        for (g, h) in [(0, 1), (1, 0)] {
            let crossing = Crossing {
                own: matching(g),
                other: matching(h),
                crossings: TILES / 4,
            };
            for leaf in 0..crossing.leaves() {
                let (a, b) = crossing.pair(leaf);
                let of_b = if crossing.crosses(leaf) { h } else { g };
                alone += u128::from((0..gpus).any(|gpu| holds(gpu, g, a) && holds(gpu, of_b, b)));
            }
        }
        alone
    }

    fn held(holds: Holds, gpu: u32) -> u64 {
        let of = |device| (0..TILES).filter(|&tile| holds(gpu, device, tile)).count() as u64;
        of(0) + of(1)
    }

    /// Attack: any placement of the tiles, copies included, in two GPUs that cannot hold more than they have. The leaves that a GPU
    /// answers alone are counted over real matchings.
    #[test]
    fn placements_leave_no_more_leaves_alone_than_is_certified() {
        let (measured, no_chip) = small();
        // Memory of a GPU in hundredths of a dataset, and what it holds.
        let placements: [(u64, Holds); 6] = [
            (100, |gpu, device, _| gpu == device),
            (100, |gpu, _, tile| tile % 2 == gpu),
            (100, |gpu, _, tile| tile / (TILES / 2) == gpu),
            (100, |gpu, device, tile| (tile < TILES * 3 / 4) == (gpu == device)),
            (110, |gpu, device, tile| gpu == device || tile < TILES / 10),
            (150, |gpu, _, tile| tile / (TILES / 4) != 2 * gpu),
        ];
        for (at, (hundredths, holds)) in placements.into_iter().enumerate() {
            let gpu_memory = (u64::from(TILES) * hundredths).div_ceil(100);
            for gpu in 0..2 {
                let held = held(holds, gpu);
                assert!(held <= gpu_memory, "placement {at} holds {held} of {gpu_memory}");
            }
            let gpu_memory_bytes = gpu_memory * TILE_BYTES as u64;
            let mean = measured.alone(&no_chip, gpu_memory_bytes).expect("small");
            let halves = measured.alone_in_halves(&no_chip, gpu_memory_bytes).expect("small");
            assert!(mean.abs_diff(halves) <= 1, "two halves of two GPUs are the GPUs");
            let most = mean + measured.lucky(1, &no_chip).expect("small");
            for salt in 0..8 {
                let alone = answered_alone(2, holds, salt);
                assert!(
                    alone <= most,
                    "placement {at}, salt {salt}: {alone} leaves alone, at most {most} expected"
                );
            }
        }
    }

    /// Attack: four GPUs on each of two hosts exchange whole datasets between rounds, so that later rounds need less of the link between
    /// the hosts. The cheapest way of all, in tiles; a dataset has 24.
    #[test]
    fn tiles_moved_between_rounds_do_not_beat_the_bisection() {
        const DEVICES: usize = 8;
        let halves: Vec<u32> = (0..1_u32 << DEVICES).filter(|half| half.count_ones() == 4).collect();
        for crossings in 1..=6_u64 {
            let cost = |half: u32, round| -> u64 {
                let in_half = |place: usize| half >> place & 1 == 1;
                let meets = |place| tournament::opponent(DEVICES, round, place).expect("an even number");
                let crossing = (0..DEVICES).filter(|&place| in_half(place) && !in_half(meets(place)));
                2 * crossings * crossing.count() as u64
            };
            let mut least: Vec<u64> = halves.iter().map(|&half| cost(half, 0)).collect();
            for round in 1..tournament::rounds(DEVICES) {
                let reached = |to: u32| {
                    let moved = |half: u32| 24 * u64::from((half ^ to).count_ones());
                    let ways = halves.iter().zip(&least).map(|(&half, least)| least + moved(half));
                    ways.min().expect("there are halves")
                };
                least = halves.iter().map(|&half| reached(half) + cost(half, round)).collect();
            }
            let least = least.into_iter().min().expect("there are halves");
            // If nothing moves, half of the leaves of 16 pairs need the link.
            let stays = 16 * 2 * crossings;
            let measured = MeasuredRounds {
                crossings,
                devices: vec![(24 * TILE_BYTES as u64, 2048); DEVICES],
                ..rounds(DEVICES)
            };
            let certified = measured.despite_moves(stays.into()).expect("small");
            println!("{crossings} crossings: {certified} certified of {least}, {stays} if nothing moves");
            assert!(certified <= least.into() && least <= stays);
        }
    }

    /// Not excluded: six GPUs, no larger than the two of the plan, hold every two quarters of each dataset, and no leaf needs a link.
    #[test]
    fn hidden_gpus_with_copies_need_no_link() {
        let (measured, no_chip) = small();
        let quarters: Holds = |gpu, _, tile| {
            let pairs = [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]];
            pairs[gpu as usize].contains(&(tile / (TILES / 4)))
        };
        assert!((0..6).all(|gpu| held(quarters, gpu) == u64::from(TILES)));
        let alone = answered_alone(6, quarters, 1);
        assert_eq!(alone, u128::from(TILES), "all leaves of the round");
        let expected = measured.alone(&no_chip, u64::from(TILES) * TILE_BYTES as u64);
        assert!(alone > expected.expect("small") + measured.lucky(1, &no_chip).expect("small"));
    }
}
