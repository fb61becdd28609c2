//! How often cheats are caught, counted and predicted: `cargo test -p testkit` prints the tables.
//!
//! Most trials simulate only the sampling of a set of wrong leaves: the Verifier recomputes what it samples, so it finds a
//! wrong leaf if and only if it samples it. Whole sessions confirm that.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::bounds::{Assumptions, Measured, MeasuredIteration};
use protocol::bytes::{Fresh, Salt};
use protocol::digest::matching;
use protocol::engine::Pass;
use protocol::matching::Matching;
use protocol::plan::Plan;
use protocol::sampling::Sample;
use testkit::adversary::engines;
use testkit::cast;
use testkit::odds::{Draws, caught_odds, caught_odds_distinct, is_binomial, is_caught};
use testkit::peer::HonestPeer;
use testkit::rehearsal::Rehearsal;

/// Tiles of the modelled device.
const TILES: u32 = 512;
/// Sweeps of the modelled session: 16 * 256 leaves.
const SWEEPS: u32 = 16;
const LEAVES: u64 = (TILES / 2 * SWEEPS) as u64;
const FRACTIONS: [f64; 8] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5];
const TRIALS: u64 = 2_000;

fn plan(samples: u32) -> Plan {
    let request = cast::request(&[(4_096, SWEEPS)], samples);
    request.plan(&cast::hello(&[TILES.into()])).expect("a plan")
}

/// Prints a line despite the capture of a test's output: the tables are part of the tests' results.
fn tell(line: fmt::Arguments<'_>) {
    // Standard error has no reader: there is nobody left to notify.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Holds back other tests until a table is complete.
fn begin_table() -> MutexGuard<'static, ()> {
    static TABLE: Mutex<()> = Mutex::new(());
    let table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    tell(format_args!(""));
    table
}

/// Begins a table of adversaries.
fn begin_adversaries() -> MutexGuard<'static, ()> {
    let table = begin_table();
    tell(format_args!(
        "{:<28} {:>9} {:>8} {:>7} {:>7} {:>10} {:>10}",
        "adversary", "parameter", "samples", "trials", "caught", "counted", "predicted"
    ));
    table
}

/// Prints a row of the table and compares it with the odds.
fn row(adversary: &str, fraction: f64, samples: u32, trials: u64, caught: u64, predicted: f64) {
    tell(format_args!(
        "{adversary:<28} {:>7.1} % {samples:>8} {trials:>7} {caught:>7} {:>9.2} % {:>9.2} %",
        100.0 * fraction,
        100.0 * caught as f64 / trials as f64,
        100.0 * predicted,
    ));
    assert!(
        is_binomial(caught, trials, predicted),
        "{adversary}, {fraction} with {samples} samples: caught {caught} of {trials}, predicted {predicted}"
    );
}

fn sweep(sample: Sample) -> u32 {
    match sample.pass {
        Pass::Sweep(sweep) => sweep,
        Pass::Round(round) => panic!("round {round}, where the plan has none"),
    }
}

/// Position of a sampled leaf among all leaves of the modelled session.
fn index(sample: Sample) -> u64 {
    u64::from(sweep(sample) - 1) * u64::from(TILES / 2) + u64::from(sample.leaf)
}

#[test]
fn junk_sweep_leaves_are_caught_as_predicted() {
    let _table = begin_adversaries();
    let mut draws = Draws::new(11);
    for samples in [64, 256, 1_024] {
        let plan = plan(samples);
        for fraction in FRACTIONS {
            let wrong = (LEAVES as f64 * fraction).round() as u64;
            let fraction = wrong as f64 / LEAVES as f64;
            // The position of the wrong leaves makes no difference to uniform samples; it is new each time nevertheless.
            let caught = (0..TRIALS)
                .filter(|_| {
                    let first = draws.below(LEAVES);
                    let is_wrong = |sample| (index(sample) + LEAVES - first) % LEAVES < wrong;
                    is_caught(&plan, &Fresh(draws.bytes()), is_wrong)
                })
                .count() as u64;
            let predicted = caught_odds_distinct(wrong, LEAVES, samples);
            let with_replacement = caught_odds(fraction, samples);
            assert!(predicted >= with_replacement, "{predicted} < {with_replacement}");
            row("junk sweep leaves", fraction, samples, TRIALS, caught, predicted);
        }
    }
}

/// Matchings of all sweeps under random salts.
fn matchings(draws: &mut Draws) -> Vec<Matching> {
    (0..SWEEPS).map(|_| matching(&Salt(draws.bytes()), TILES)).collect()
}

/// Whether a session that lacks these tiles is caught.
fn is_found(plan: &Plan, missing: &HashSet<u64>, draws: &mut Draws) -> bool {
    let matchings = matchings(draws);
    is_caught(plan, &Fresh(draws.bytes()), |sample| {
        let (a, b) = matchings[sweep(sample) as usize - 1].pair(sample.leaf);
        [a, b].iter().any(|&tile| missing.contains(&u64::from(tile)))
    })
}

/// Share of all pairs with at least one of `missing` tiles.
fn spoiled(missing: u64) -> f64 {
    let (kept, tiles) = ((u64::from(TILES) - missing) as f64, f64::from(TILES));
    1.0 - kept * (kept - 1.0) / (tiles * (tiles - 1.0))
}

#[test]
fn missing_tiles_and_junk_fill_leaves_are_caught_as_predicted() {
    let _table = begin_adversaries();
    let mut draws = Draws::new(12);
    for samples in [64, 256] {
        let plan = plan(samples);
        // A 512th is the smallest share that can be missing.
        for fraction in &FRACTIONS[1..] {
            let count = (f64::from(TILES) * fraction).round().max(1.0) as u64;
            let fraction = count as f64 / f64::from(TILES);
            let caught = (0..TRIALS)
                .filter(|_| {
                    let missing = draws.distinct(count, TILES.into());
                    is_found(&plan, &missing, &mut draws)
                })
                .count() as u64;
            // A pair is wrong if either of its tiles is.
            let wrong = (LEAVES as f64 * spoiled(count)).round() as u64;
            let predicted = caught_odds_distinct(wrong, LEAVES, samples);
            assert!(predicted >= caught_odds(fraction, samples), "pairs double the odds");
            row("missing or junk tiles", fraction, samples, TRIALS, caught, predicted);
        }
    }
}

#[test]
fn whole_sessions_are_caught_as_predicted() {
    const TILES: u64 = 64;
    const TRIALS: u64 = 240;
    let _table = begin_adversaries();
    // 2 sweeps of 32 leaves.
    let leaves = 64;
    for (name, fraction, samples) in [
        ("junk-sweep", 0.0625, 8),
        ("junk-sweep", 0.25, 4),
        ("junk-fill", 0.03125, 8),
        ("missing-memory", 0.125, 4),
        ("missing-memory", 0.5, 1),
    ] {
        let request = cast::request(&[(64, 2)], samples);
        let caught = (0..TRIALS)
            .filter(|&trial| {
                let mut rehearsal = Rehearsal::new(request.clone());
                rehearsal.seed = trial;
                let engines = engines(HashMap::from([(0, (name, fraction))]), cast::engine);
                let rehearsed = rehearsal.run(&mut HonestPeer::new(cast::hello(&[TILES]), engines));
                assert!(
                    matches!(rehearsed.verdict().code(), "" | "tile-mismatch"),
                    "{name}, trial {trial}: {:?}",
                    rehearsed.verdict()
                );
                rehearsed.verdict().status() == 1
            })
            .count() as u64;
        let share = if name == "junk-sweep" {
            fraction
        } else {
            let kept = TILES as f64 * (1.0 - fraction);
            1.0 - kept * (kept - 1.0) / (TILES as f64 * (TILES as f64 - 1.0))
        };
        let predicted = caught_odds_distinct((share * leaves as f64).round() as u64, leaves, samples);
        row(
            &format!("{name}, whole sessions"),
            fraction,
            samples,
            TRIALS,
            caught,
            predicted,
        );
    }
}

/// The measured times of an Attester that neither links nor regenerated products could help: fills and sweeps take almost
/// no time.
fn measured(samples: u32) -> Measured {
    Measured {
        inner_dim: 4_096,
        samples,
        dataset_bytes: u64::from(TILES) << 16,
        iterations: vec![MeasuredIteration {
            sweeps: SWEEPS,
            fill_ns: 1_000,
            // T_local counts over both windows.
            sweep_ns: 1,
        }],
    }
}

const BOUNDS: [&str; 4] = ["V", "B", "T", "T_local"];

/// The number of trials that were not caught and whose V, B, T and T_local exceed the true figures: the missing tiles were
/// neither computed nor held nor read.
fn false_bounds(assumptions: &Assumptions, samples: u32, missing: u64, trials: u64, draws: &mut Draws) -> [u64; 4] {
    let (plan, measured) = (plan(samples), measured(samples));
    let [iteration] = measured.iterations[..] else {
        panic!("one iteration")
    };
    let per_s = |count: u128, ns: u64| count * 1_000_000_000 / u128::from(ns);
    let kept = u128::from(u64::from(TILES) - missing);
    let computed = per_s(measured.operations() * kept / u128::from(TILES), iteration.fill_ns);
    let truth = [
        kept << 16,
        per_s((kept << 16) * u128::from(SWEEPS), iteration.sweep_ns),
        computed,
        computed,
    ];
    let bounds = [
        measured.memory_bytes(assumptions),
        measured.bandwidth_bytes_per_s(assumptions),
        measured.tensor_ops_per_s(assumptions),
        measured.local_tensor_ops_per_s(assumptions),
    ]
    .map(|bound| u128::from(bound.expect("a bound")));
    let passed = (0..trials)
        .filter(|_| {
            let missing = draws.distinct(missing, TILES.into());
            !is_found(&plan, &missing, draws)
        })
        .count() as u64;
    std::array::from_fn(|i| if bounds[i] > truth[i] { passed } else { 0 })
}

#[test]
fn certified_bounds_stay_below_the_truth() {
    let mut draws = Draws::new(13);
    let trials = 1_000;
    let _table = begin_table();
    tell(format_args!(
        "{:<14} {:>8} {:>8} {:>8} {:>10} {:>10} {:>10} {:>16} {:>10}",
        "missing tiles",
        "error",
        "samples",
        "trials",
        "V too high",
        "B too high",
        "T too high",
        "T_local too high",
        "allowed"
    ));
    let mut counted = [0; 4];
    for error_bits in [20, 6, 3] {
        let assumptions = Assumptions {
            error_bits,
            on_chip_bytes: 0,
            ..cast::assumptions()
        };
        for missing in [1, 2, 3, 4, 6, 8, 13, 26] {
            let counts = false_bounds(&assumptions, 256, missing, trials, &mut draws);
            let odds = 0.5f64.powi(error_bits as i32);
            let allowed = trials as f64 * odds + 3.0 * (trials as f64 * odds).sqrt();
            let [memory, bandwidth, rate, local] = counts;
            tell(format_args!(
                "{missing:<14} {:>8} {:>8} {trials:>8} {memory:>10} {bandwidth:>10} {rate:>10} {local:>16} {allowed:>10.1}",
                format!("2^-{error_bits}"),
                256
            ));
            for ((bound, count), counted) in BOUNDS.into_iter().zip(counts).zip(&mut counted) {
                assert!(
                    count as f64 <= allowed,
                    "{bound} above the truth in {count} of {trials}: {missing} tiles missing, error 2^-{error_bits}"
                );
                *counted += count;
            }
        }
    }
    // With an error of an eighth, some trials are: the counter works.
    for (bound, counted) in BOUNDS.into_iter().zip(counted) {
        assert!(counted > 0, "{bound} was never above the truth");
    }
}
