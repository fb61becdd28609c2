//! The effect of memory elsewhere, results over links, shared GPUs and offline retries, on a clock that the test sets: the
//! bounds stay below the true figures; where an attack is not excluded (spec §7), it passes here and the result states so.

use std::sync::atomic::Ordering;

use protocol::bounds::OFFLINE_ERROR_BITS;
use protocol::bytes::{DeviceOrdinal, Nonce};
use protocol::cbor::Label;
use protocol::certified::{Bound, Certified, HostBounds};
use protocol::challenge::Challenge;
use protocol::engine::Engine;
use protocol::frame::MessageType;
use protocol::openings::Digest;
use protocol::verdict::{Failure, Verdict};
use protocol::verifier::Windows;
use report::Report;
use testkit::adversary::Adversary;
use testkit::cast;
use testkit::engine::{AbsentEngine, Place};
use testkit::model::{
    DATASET_BYTES, FILL_NS, INNER_DIM, LINK_BYTES_PER_S, READ_BYTES_PER_S, SWEEPS, SWEEPS_NS, TILES, assumptions,
    bounds_with, certified, delayed, operations, rehearsal,
};
use testkit::odds::{caught_odds, is_binomial};
use testkit::peer::HonestPeer;
use testkit::rehearsal::{Opener, Rehearsal, Rehearsed};

/// A session at k with devices that have these numbers of tiles, whose correct answers arrive after these times (ns),
/// device by device.
fn timed(inner_dim: u32, tiles: &[u64], fills_ns: &[u64], sweeps_ns: &[u64]) -> Rehearsed {
    let peer = HonestPeer::new(cast::hello(tiles), |_| cast::engine());
    let mut peer = delayed(peer, |message_type, device| match message_type {
        MessageType::Filled => fills_ns[device],
        _ => sweeps_ns[device],
    });
    rehearsal(inner_dim).run(&mut peer)
}

/// Seconds as nanoseconds.
fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// The bounds of one device whose sweeps take `sweep_s` each.
fn swept_in(sweep_s: f64) -> Certified {
    certified(&timed(
        INNER_DIM,
        &[TILES],
        &[FILL_NS],
        &[ns(sweep_s * f64::from(SWEEPS))],
    ))
}

/// Checks the bounds of one device that holds `1 - missing` of its dataset and sweeps in `sweep_s` against its true
/// figures.
fn hold_to_the_truth(attack: &str, missing: f64, sweep_s: f64, certified: &Certified) {
    let held = (1.0 - missing) * DATASET_BYTES as f64;
    let value = |bound: Option<Bound<u128>>| bound.map_or(0, |bound| bound.value) as f64;
    let (memory, bandwidth) = (
        value(certified.host.memory_bytes),
        value(certified.host.bandwidth_bytes_per_s),
    );
    println!(
        "{attack:<24} {:>5.1} % missing  holds {:>5.1} %  V {:>5.1} %  B {:>5.1} % of {:>5.1} %",
        100.0 * missing,
        100.0 * held / DATASET_BYTES as f64,
        100.0 * memory / DATASET_BYTES as f64,
        100.0 * bandwidth / READ_BYTES_PER_S as f64,
        100.0 * held / sweep_s / READ_BYTES_PER_S as f64,
    );
    assert!(memory <= held, "{attack}, {missing}: V {memory} above {held}");
    let read = held / sweep_s;
    assert!(bandwidth <= read, "{attack}, {missing}: B {bandwidth} above {read}");
    if missing == 0.0 {
        assert!(memory > 0.85 * held && bandwidth > 0.85 * read, "{memory}, {bandwidth}");
    }
}

/// Tiles that are not held arrive from elsewhere at `rate`, in parallel with reading the rest: no sweep can be faster.
fn from_elsewhere(attack: &str, rate: f64) {
    let memory_s = |missing: f64| (1.0 - missing) / 10.0;
    for missing in [0.0, 0.01, 0.03, 0.1, 0.25] {
        let sweep_s = f64::max(memory_s(missing), missing * DATASET_BYTES as f64 / rate);
        hold_to_the_truth(attack, missing, sweep_s, &swept_in(sweep_s));
    }
    // The largest share that can be missing without slowing down the sweep.
    let free = rate / (rate + READ_BYTES_PER_S as f64);
    hold_to_the_truth(attack, free, memory_s(free), &swept_in(memory_s(free)));
}

#[test]
fn host_memory_behind_a_shim_stays_below_the_bounds() {
    from_elsewhere("host memory", LINK_BYTES_PER_S as f64);
}

#[test]
fn bytes_regenerated_stay_below_the_bounds() {
    let regenerated = assumptions().regeneration_bytes_per_s(INNER_DIM) as f64;
    from_elsewhere("regenerated", regenerated);
    // Both links and the arithmetic at once.
    from_elsewhere("all of these", regenerated + 2.0 * LINK_BYTES_PER_S as f64);
}

/// An engine that actually lacks its tiles and transfers or regenerates them for every sweep, on a clock that counts the
/// bytes.
fn brought_back(attack: &str, places: &'static [Place], rate: f64) {
    for missing in [0.0, 2.0, 6.0, 16.0].map(|tiles| tiles / TILES as f64) {
        let engine = AbsentEngine::new(missing, places);
        let brought_bytes = engine.brought_bytes();
        let mut engine = Some(Box::new(engine) as Box<dyn Engine>);
        let peer = HonestPeer::new(cast::hello(&[TILES]), |_| engine.take().expect("one device"));
        let mut sweep_s = 0.0;
        let mut peer = delayed(peer, |message_type, _| {
            if message_type == MessageType::Filled {
                return FILL_NS;
            }
            let brought = brought_bytes.load(Ordering::Relaxed) as f64 / f64::from(SWEEPS);
            assert_eq!(
                brought,
                missing * DATASET_BYTES as f64,
                "every missing tile once a sweep"
            );
            sweep_s = f64::max((1.0 - missing) / 10.0, brought / rate);
            ns(sweep_s * f64::from(SWEEPS))
        });
        let rehearsed = rehearsal(INNER_DIM).run(&mut peer);
        drop(peer);
        hold_to_the_truth(attack, missing, sweep_s, &certified(&rehearsed));
    }
}

#[test]
fn tiles_read_back_from_a_file_stay_below_the_bounds() {
    brought_back("from a file", &[Place::File], LINK_BYTES_PER_S as f64);
}

#[test]
fn tiles_regenerated_or_read_back_in_turn_stay_below_the_bounds() {
    let regenerated = assumptions().regeneration_bytes_per_s(INNER_DIM) as f64;
    // Half of them each way: the slower way determines the time.
    let rate = 2.0 * f64::min(regenerated, LINK_BYTES_PER_S as f64);
    brought_back("regenerated and from a file", &[Place::Regenerated, Place::File], rate);
}

/// T_local: a part of the results at k = 2048 arrives over a link at W_in, in parallel with computing the rest.
#[test]
fn results_brought_in_over_a_link_are_not_counted_as_local() {
    const INNER_DIM: u32 = 2_048;
    // Computing here takes half of the time that it takes at twice the k.
    let whole_s = FILL_NS as f64 / 2e9;
    let brought_most = LINK_BYTES_PER_S as f64 * whole_s / DATASET_BYTES as f64;
    // The third value is the largest part that costs no time.
    for brought in [0.0, 0.05, brought_most / (1.0 + brought_most), 0.3, 0.5, 0.9] {
        let link_s = brought * DATASET_BYTES as f64 / LINK_BYTES_PER_S as f64;
        let fill_s = f64::max(whole_s * (1.0 - brought), link_s);
        // Iterations of one sweep each: what arrives during sweeps is subtracted.
        let mut request = cast::request(&[(INNER_DIM, 1); 32], 1_000);
        request.deadlines.fill_ms = 1_000_000;
        request.deadlines.sweep_ms = 1_000_000;
        let peer = HonestPeer::new(cast::hello(&[TILES]), |_| cast::engine());
        let mut peer = delayed(peer, |message_type, _| match message_type {
            MessageType::Filled => ns(fill_s),
            _ => ns(0.1),
        });
        let rehearsed = Rehearsal::new(request).run(&mut peer);
        let host = certified(&rehearsed).host;
        let system = operations(INNER_DIM) as f64 / fill_s;
        let computed = (1.0 - brought) * system;
        let value = |bound: Option<Bound<u128>>| bound.map_or(0, |bound| bound.value) as f64;
        let (local, all) = (value(host.local_tensor_ops_per_s), value(host.tensor_ops_per_s));
        println!(
            "{:>4.0} % brought in: T_local {:.1} % of what was computed here, T {:.1} % of what the system did",
            100.0 * brought,
            100.0 * local / computed,
            100.0 * all / system
        );
        assert!(local <= computed, "{brought}: T_local {local} above {computed}");
        assert!(all <= system, "{brought}: T {all} above {system}");
        // T is a figure of the whole system, and is labelled as such: it includes what was transferred in.
        assert!(all > 0.9 * system, "{brought}: T {all} of {system}");
        if brought == 0.0 {
            // Sweeps take a tenth of the time, and links could have transferred a quarter.
            assert!(local > 0.55 * computed, "T_local {local} of {computed}");
        }
    }
}

/// Two GPUs, each with half of the tiles, whose link has this share of the rate that slows down no sweep: a quarter of the
/// dataset crosses it in every sweep, half of that in each direction.
fn joined(share: f64, waits: bool) -> Rehearsed {
    let adversary = Adversary::named("joined-gpus").expect("an adversary");
    let junk = if waits { 0.0 } else { 1.0 - share };
    let peer = HonestPeer::new(cast::hello(&[TILES]), |_| adversary.engine(cast::engine(), junk));
    let sweeps_ns = if waits {
        (SWEEPS_NS as f64 / share) as u64
    } else {
        SWEEPS_NS
    };
    let mut peer = delayed(peer, |message_type, _| match message_type {
        MessageType::Filled => FILL_NS,
        _ => sweeps_ns,
    });
    rehearsal(INNER_DIM).run(&mut peer)
}

/// Not excluded: over a fast enough link they pass as one GPU with the memory of both.
#[test]
fn two_gpus_joined_by_a_fast_link_pass_as_one_and_the_result_says_so() {
    let rehearsed = joined(1.0, false);
    let memory = certified(&rehearsed).host.memory_bytes.expect("V").value;
    assert!(
        memory > u128::from(DATASET_BYTES) * 9 / 10,
        "{memory}: as one GPU that holds all"
    );
    let text = Report::new(
        &rehearsed.evidence,
        &rehearsed.session,
        &rehearsed.sealed(),
        &cast::judge(),
    )
    .text(report::Detail::All);
    let limit = "not excluded: other GPUs behind the session, joined to its own, with their memory and links; a larger GPU in \
        place of smaller ones";
    assert!(text.contains(limit), "{text}");
}

/// Over a slower link they answer junk for the pairs that the link does not transfer, and are caught; or they wait for it,
/// and V and B drop. V covers both: pairs that lie on one of them need no link, and at the assumed rate of the links V is
/// still more than one of them holds.
#[test]
fn two_gpus_joined_by_a_slow_link_are_caught_or_wait_and_are_certified_for_less() {
    // Each direction transfers an eighth of the dataset per sweep.
    let assumed = LINK_BYTES_PER_S as f64 / (READ_BYTES_PER_S as f64 / 8.0);
    let mut last = [u128::MAX; 2];
    let mut shown = Vec::new();
    for share in [0.9, 0.5, assumed, assumed / 2.0] {
        let rehearsed = joined(share, false);
        let verdict = rehearsed.verdict();
        assert!(
            matches!(verdict, Verdict::Contraindicated(Failure::Tile(mismatch)) if mismatch.digest == Digest::Pair),
            "{share}: {verdict:?}"
        );
        let host = certified(&joined(share, true)).host;
        let certified =
            [host.memory_bytes, host.bandwidth_bytes_per_s].map(|bound| bound.map_or(0, |bound| bound.value));
        let truth = [DATASET_BYTES as f64, READ_BYTES_PER_S as f64 * share];
        let of_truth: [f64; 2] = std::array::from_fn(|i| certified[i] as f64 / truth[i]);
        println!(
            "link at {:>4.1} % of what they need, waited for: V {:.1} % of both, B {:.1} % of what they read",
            100.0 * share,
            100.0 * of_truth[0],
            100.0 * of_truth[1]
        );
        for i in 0..2 {
            assert!(
                certified[i] < last[i] && of_truth[i] <= 1.0,
                "{share}: {certified:?} after {last:?}"
            );
        }
        last = certified;
        shown.push(of_truth[0]);
    }
    assert!(shown[2] > 0.5 && shown[2] < 0.75, "V at the assumed links: {shown:?}");
    assert!(
        shown[3] < 0.5,
        "V at half of the assumed links is less than one of them holds: {shown:?}"
    );
}

/// The session's windows if each device's window were only its own slice: `halves` of the whole.
fn cut(rehearsed: &Rehearsed, halves: [u64; 2]) -> HostBounds {
    let window = Windows {
        fill_ns: FILL_NS / 2 * halves[0],
        sweep_ns: SWEEPS_NS / 2 * halves[1],
        ..Windows::default()
    };
    bounds_with(rehearsed, &[window])
}

/// Two ordinals with half of the dataset each, one GPU in slices: whatever the slices are, the total work takes the same
/// time.
#[test]
fn a_gpu_in_time_slices_is_certified_once() {
    let rate = operations(INNER_DIM) * 1_000_000_000 / u128::from(FILL_NS);
    let truth = [u128::from(DATASET_BYTES), u128::from(READ_BYTES_PER_S), rate, rate];
    for (name, first, second) in [
        ("one after the other", [1, 1], [1, 1]),
        ("slice by slice", [2, 2], [0, 0]),
        ("fills in turn, sweeps by slices", [1, 2], [1, 0]),
    ] {
        let share = |whole: u64, halves: u64| whole / 2 * halves;
        let rehearsed = timed(
            INNER_DIM,
            &[TILES / 2; 2],
            &[share(FILL_NS, first[0]), share(FILL_NS, second[0])],
            &[share(SWEEPS_NS, first[1]), share(SWEEPS_NS, second[1])],
        );
        let certified = certified(&rehearsed);
        println!(
            "{name}: {:?} of V {DATASET_BYTES}, B {READ_BYTES_PER_S}",
            certified.host
        );
        for (bound, truth) in figures(&certified.host).into_iter().zip(truth) {
            assert!(bound <= truth, "{name}: {bound} above {truth}");
        }
        for device in &certified.devices {
            let half = device.share.bandwidth_bytes_per_s.expect("B of a half").value;
            assert!(half <= READ_BYTES_PER_S / 2, "{name}: device {}, {half}", device.device);
        }
        // The single common window ensures this: by their own slices, the two would appear to have read and computed twice
        // as much.
        let own = figures(&cut(&rehearsed, [1, 1]));
        assert!(own[1] > truth[1] && own[2] > truth[2], "{name}: {own:?}");
    }
}

/// V, B, T and T_local of the host; a link could transfer half of what this GPU computes, so T_local may be zero.
fn figures(host: &HostBounds) -> [u128; 4] {
    let [memory, bandwidth, rate] = [host.memory_bytes, host.bandwidth_bytes_per_s, host.tensor_ops_per_s]
        .map(|bound| bound.expect("a bound").value);
    [
        memory,
        bandwidth,
        rate,
        host.local_tensor_ops_per_s.map_or(0, |bound| bound.value),
    ]
}

/// A proof with a quarter of its sweep leaves junk, retried under another label.
fn ground(attempt: u32, samples: u32) -> bool {
    const TILES: u64 = 32;
    let plan = cast::request(&[(64, 2)], samples)
        .plan(&cast::hello(&[TILES]))
        .expect("a plan");
    let challenge = Challenge::sign(plan, Nonce([0xC4; 32]), 1_000, 2_000, &cast::verifier_key());
    let mut hello = cast::hello(&[TILES]);
    hello.labels = vec![Label::new("attempt", &attempt.to_string())];
    let junk = Adversary::named("junk-sweep").expect("an adversary");
    let mut peer = HonestPeer::new(hello, |_: DeviceOrdinal| junk.engine(cast::engine(), 0.25));
    let rehearsed = Rehearsal::opened(Opener::Challenge(challenge)).run(&mut peer);
    rehearsed.verdict() == &Verdict::Affirmed
}

/// Offline, the samples derive from the transcript, which a cheat may change and retry: it passes as often as the samples
/// miss, and only their number keeps that probability below 2^-80 per try.
#[test]
fn tries_ground_offline_pass_as_often_as_samples_miss() {
    const TRIES: u32 = 200;
    for samples in [2, 4, 8] {
        let passed = (0..TRIES).filter(|&attempt| ground(attempt, samples)).count() as u64;
        let missed = 1.0 - testkit::odds::caught_odds_distinct(8, 32, samples);
        println!(
            "{samples} samples: {passed} of {TRIES} tries pass, predicted {:.1} %",
            100.0 * missed
        );
        assert!(
            is_binomial(passed, TRIES.into(), missed),
            "{samples} samples: {passed} of {TRIES}"
        );
        assert!(passed > 0, "grinding works with so few samples");
    }
    // The share that an offline result leaves undetected, with its 1024 samples.
    let open = f64::from(OFFLINE_ERROR_BITS) * std::f64::consts::LN_2 / 1024.0;
    let missed = (1024.0 * (-open).ln_1p()).exp();
    assert!(missed <= (-f64::from(OFFLINE_ERROR_BITS)).exp2(), "{missed}");
    assert!(caught_odds(open, 1024) > 0.999_999);
}
