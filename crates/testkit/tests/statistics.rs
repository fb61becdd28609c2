//! Matching, word shift, digests and folded products: nothing in them to exploit.

use std::sync::Arc;

use engine_cpu::{OperandCache, Path, Tile, TileComputer};
use protocol::bytes::{OperandKey, Salt};
use protocol::digest::{DigestKey, matching};
use protocol::matching::Matching;
use protocol::tile::TileCoordinate;
use testkit::odds::{Draws, is_binomial, uniformity};

/// Pairs of one matching whose tiles lie on different sides.
fn crossings(matching: &Matching, tiles: u32, side: &dyn Fn(u32) -> bool) -> u64 {
    (0..Matching::leaves(tiles))
        .map(|leaf| matching.pair(leaf))
        .filter(|&(a, b)| side(a) != side(b))
        .count() as u64
}

/// Standard deviations by which the crossings of `salts` matchings differ from those of a uniform one, in all and at most
/// in a single one.
fn crossing_deviations(tiles: u32, salts: u64, side: &dyn Fn(u32) -> bool, draws: &mut Draws) -> (f64, f64) {
    let left = (0..tiles).filter(|&tile| side(tile)).count() as f64;
    let n = f64::from(tiles);
    // Tiles on either side, and pairs: mean and variance of a uniform perfect matching.
    let pairs = f64::from(tiles / 2);
    let odds = 2.0 * left * (n - left) / (n * (n - 1.0));
    let two =
        4.0 * left * (left - 1.0) * (n - left) * (n - left - 1.0) * 2.0 / (n * (n - 1.0) * (n - 2.0) * (n - 3.0)) / 2.0;
    let variance = pairs * odds + pairs * (pairs - 1.0) * two - (pairs * odds).powi(2);
    let (mut total, mut largest) = (0.0, 0.0f64);
    for _ in 0..salts {
        let counted = crossings(&matching(&Salt(draws.bytes()), tiles), tiles, side) as f64;
        let deviation = (counted - pairs * odds) / variance.sqrt();
        total += deviation;
        largest = largest.max(deviation.abs());
    }
    (total / (salts as f64).sqrt(), largest)
}

#[test]
fn every_half_and_half_split_crosses_in_half_of_the_pairs() {
    let mut draws = Draws::new(21);
    for tiles in [256u32, 1_000, 1_024, 4_096, 6_400, 65_536] {
        let chosen = draws.distinct(u64::from(tiles) / 2, tiles.into());
        type Side = Box<dyn Fn(u32) -> bool>;
        let mut sides: Vec<(String, Side)> = vec![
            ("lower half".to_owned(), Box::new(move |tile| tile < tiles / 2)),
            (
                "a random half".to_owned(),
                Box::new(move |tile| chosen.contains(&tile.into())),
            ),
            (
                "parity of all bits".to_owned(),
                Box::new(|tile| tile.count_ones() % 2 == 1),
            ),
        ];
        for bit in 0..tiles.ilog2() {
            sides.push((format!("bit {bit}"), Box::new(move |tile| tile >> bit & 1 == 1)));
        }
        for (name, side) in sides {
            let salts = (3_000_000 / u64::from(tiles)).min(300);
            let (mean, largest) = crossing_deviations(tiles, salts, side.as_ref(), &mut draws);
            println!("{tiles:>5} tiles, {name:<18}: mean {mean:>6.2} deviations, largest of {salts} {largest:>5.2}");
            assert!(mean.abs() < 5.0, "{tiles} tiles, {name}: mean {mean} deviations off");
            assert!(
                largest < 6.0,
                "{tiles} tiles, {name}: one matching {largest} deviations off"
            );
        }
    }
}

/// Pairs by the exclusive or of their tiles' indices, relative to a uniform matching.
fn differences(tiles: u32, salts: u32, draws: &mut Draws) -> Vec<f64> {
    let mut counts = vec![0u64; tiles as usize];
    for _ in 0..salts {
        let matching = matching(&Salt(draws.bytes()), tiles);
        for (a, b) in (0..Matching::leaves(tiles)).map(|leaf| matching.pair(leaf)) {
            counts[(a ^ b) as usize] += 1;
        }
    }
    let uniform = f64::from(salts) * f64::from(tiles / 2) / f64::from(tiles - 1);
    counts.iter().map(|&count| count as f64 / uniform).collect()
}

/// Four Feistel rounds leave one trace of positions 2j and 2j + 1: tiles 2i and 2i + 1 are paired about twice as often as
/// any other two. Whoever keeps such tiles together saves one pair in `tiles`, which is nothing at the sizes of devices.
#[test]
fn no_tiles_but_neighbours_meet_more_often_than_others() {
    let mut draws = Draws::new(22);
    for (tiles, salts) in [(256u32, 20_000), (1_024, 20_000), (4_096, 10_000)] {
        let relative = differences(tiles, salts, &mut draws);
        let (least, most) = relative[2..]
            .iter()
            .fold((f64::MAX, 0.0f64), |(least, most), &x| (least.min(x), most.max(x)));
        println!(
            "{tiles:>5} tiles: neighbours {:.2} times, others {least:.2} to {most:.2} times",
            relative[1]
        );
        assert_eq!(relative[0], 0.0, "{tiles} tiles: a tile met itself");
        assert!(
            relative[1] < 2.05,
            "{tiles} tiles: neighbours meet {} times as often",
            relative[1]
        );
        assert!(
            most < 1.1,
            "{tiles} tiles: some difference occurs {most} times as often"
        );
        assert!(
            least > 0.85,
            "{tiles} tiles: some difference occurs {least} times as often"
        );
    }
}

#[test]
fn leaves_follow_no_order_of_tiles() {
    // Where a tile lands says nothing about where its neighbour does.
    let mut draws = Draws::new(23);
    let tiles = 4_096u32;
    let mut distances = [0u64; 64];
    for _ in 0..50 {
        let matching = matching(&Salt(draws.bytes()), tiles);
        for x in 0..tiles - 1 {
            let distance = (matching.permute(x + 1) + tiles - matching.permute(x)) % tiles;
            distances[(distance * 64 / tiles) as usize] += 1;
        }
    }
    let deviation = uniformity(&distances);
    assert!(
        deviation < 5.0,
        "distances of neighbours are {deviation} deviations off uniform"
    );
}

#[test]
fn word_shifts_spread() {
    let mut draws = Draws::new(24);
    // Over the leaves of one sweep.
    for _ in 0..3 {
        let key = DigestKey::expand(&Salt(draws.bytes()));
        let mut counts = vec![0u64; 1_024];
        for leaf in 0..200_000 {
            counts[key.shift(leaf) as usize / 16] += 1;
        }
        let deviation = uniformity(&counts);
        assert!(
            deviation < 5.0,
            "shifts of a sweep's leaves are {deviation} deviations off uniform"
        );
    }
    // Over the sweeps of one leaf, each bit by itself.
    let keys: Vec<DigestKey> = (0..500).map(|_| DigestKey::expand(&Salt(draws.bytes()))).collect();
    for leaf in [0, 1, 77, u32::MAX - 1] {
        for bit in 0..14 {
            let ones = keys.iter().filter(|key| key.shift(leaf) >> bit & 1 == 1).count() as u64;
            assert!(
                is_binomial(ones, 500, 0.5),
                "leaf {leaf}, bit {bit} of the shift: {ones} ones of 500"
            );
        }
    }
}

fn tile(k: u32, matrix: u64) -> Box<Tile> {
    let cache = Arc::new(OperandCache::new(1 << 24));
    let mut computer = TileComputer::new(Path::best(), cache).expect("the best path runs here");
    let mut tile = Tile::zeroed();
    let at = TileCoordinate {
        matrix,
        row_block: 0,
        column_block: 0,
    };
    computer.compute(&OperandKey([9; 32]), k, at, &mut tile);
    tile
}

/// The fold is one fixed function of sums that take a few hundred thousand values, so its bytes are close to uniform but not
/// uniform: what that lets anyone save is counted here. Nothing is claimed from k below 2,048.
#[test]
fn folded_products_leave_nothing_to_compress() {
    for (k, tiles, savable) in [(64, 16, 3e-4), (2_048, 32, 1e-4), (4_096, 32, 5e-5), (16_384, 16, 5e-5)] {
        let mut counts = [0u64; 256];
        let mut neighbours = vec![0u64; 4_096];
        for matrix in 0..tiles {
            let tile = tile(k, matrix);
            tile.0.iter().for_each(|&byte| counts[usize::from(byte)] += 1);
            for pair in tile.0.windows(2) {
                neighbours[usize::from(pair[0] >> 2) << 6 | usize::from(pair[1] >> 2)] += 1;
            }
        }
        let total = counts.iter().sum::<u64>() as f64;
        let entropy: f64 = counts.iter().map(|&n| n as f64 / total).map(|p| -p * p.log2()).sum();
        // A counted entropy falls short of the true one by (256 - 1) / (2 ln 2 n) bits on average.
        let saved = (8.0 - entropy - 255.0 / (2.0 * std::f64::consts::LN_2 * total)) / 8.0;
        let most = *counts.iter().max().expect("256 counts") as f64 * 256.0 / total;
        let (single, double) = (uniformity(&counts), uniformity(&neighbours));
        println!(
            "k = {k:>5}: {total} bytes, {saved:.1e} of them saved at best, the most frequent {most:.3} times, \
             {single:.1} deviations off uniform, neighbours {double:.1}"
        );
        assert!(saved < savable, "k = {k}: {saved} of the bytes can be saved");
        assert!(most < 1.2, "k = {k}: a byte is {most} times as frequent");
        assert!(
            double < 20.0,
            "k = {k}: neighbouring bytes are {double} deviations off uniform"
        );
    }
}

#[test]
fn any_changed_bit_changes_the_digests() {
    let mut draws = Draws::new(25);
    let (a, b) = (tile(64, 0), tile(64, 1));
    let key = DigestKey::expand(&Salt(draws.bytes()));
    let (fill, pair) = (key.fill_digest(&a.0), key.pair_digest(3, &a.0, &b.0));
    let mut changed = a.clone();
    let mut high_bits = [0u64; 64];
    for _ in 0..1_000 {
        let (at, bit) = (draws.below(65_536) as usize, draws.below(8));
        changed.0[at] ^= 1 << bit;
        let (new_fill, new_pair) = (key.fill_digest(&changed.0), key.pair_digest(3, &changed.0, &b.0));
        assert_ne!(new_fill, fill, "byte {at}, bit {bit}: fill digest");
        assert_ne!(new_pair, pair, "byte {at}, bit {bit}: pair digest");
        high_bits[(new_pair.wrapping_sub(pair) >> 58) as usize] += 1;
        changed.0[at] ^= 1 << bit;
    }
    // Without the key nobody can say by how much.
    let deviation = uniformity(&high_bits);
    assert!(
        deviation < 5.0,
        "changes of the pair digest are {deviation} deviations off uniform"
    );
}

#[test]
fn digests_of_one_pair_are_uniform_over_keys() {
    let mut draws = Draws::new(26);
    let (a, b) = (tile(64, 0), tile(64, 1));
    let (mut high, mut low) = ([0u64; 16], [0u64; 16]);
    for _ in 0..1_500 {
        let key = DigestKey::expand(&Salt(draws.bytes()));
        let digest = key.pair_digest(0, &a.0, &b.0);
        high[(digest >> 60) as usize] += 1;
        low[(digest & 15) as usize] += 1;
    }
    for (name, counts) in [("high", high), ("low", low)] {
        let deviation = uniformity(&counts);
        assert!(deviation < 5.0, "{name} bits are {deviation} deviations off uniform");
    }
}
