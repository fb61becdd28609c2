//! Attesters whose engines cheat: all leaves are sampled, so the outcomes do not depend on chance.

use std::collections::HashMap;
use std::io;
use std::thread;
use std::time::Duration;

use attester::{Attester, Device, Limits, serve};
use protocol::commitment::OpeningError;
use protocol::engine::Pass;
use protocol::openings::{Digest, OpeningsError, TileMismatch};
use protocol::verdict::{Failure, Phase, Verdict};
use testkit::adversary::{ADVERSARIES, Adversary, End, engines};
use testkit::cast;
use testkit::engine::{Shortcut, ShortcutEngine};
use testkit::peer::HonestPeer;
use testkit::rehearsal::Rehearsal;
use verifier::{Settings, Unobserved, attest};

use crate::attacks;
use crate::stage::judge;

/// The verdict on an Attester whose device `g` is this adversary.
pub(crate) fn adversary(g: u32, name: &'static str, fraction: f64) -> Verdict {
    let rehearsal = Rehearsal::new(cast::request(&[(128, 3), (64, 2)], 1_000));
    let engines = engines(HashMap::from([(g, (name, fraction))]), cast::engine);
    judge(&rehearsal, &mut HonestPeer::new(cast::hello(&[5, 4]), engines))
}

use Failure::{Openings, Tile};
use Verdict::Contraindicated;

attacks! {
    fn junk_in_one_fill_leaf(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { digest: Digest::FillA | Digest::FillB, .. })) => adversary(0, "junk-fill", 0.2);
    fn junk_in_one_sweep_leaf(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { digest: Digest::Pair, .. })) => adversary(1, "junk-sweep", 0.5);
    fn digests_in_the_epilogue_nothing_stored(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { digest: Digest::Pair, .. })) => adversary(0, "missing-memory", 1.0);
    fn one_tile_not_stored(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { digest: Digest::Pair, .. })) => adversary(0, "missing-memory", 0.2);
    fn missing_tiles_half_junk(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { digest: Digest::Pair, .. })) => adversary(0, "junk-mixture", 0.6);
    fn missing_tiles_made_anew(): "", Verdict::Affirmed => adversary(0, "regenerate", 0.6);
    fn missing_tiles_read_from_a_file(): "", Verdict::Affirmed => adversary(1, "disk-paged", 0.5);
    fn two_gpus_as_one_over_a_slow_link(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { digest: Digest::Pair, .. })) => adversary(1, "joined-gpus", 0.5);
    fn several_sweeps_in_one_pass(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { digest: Digest::Pair, sample, .. })) if matches!(sample.pass, Pass::Sweep(2..))
        => adversary(0, "sweeps-in-one-pass", 0.0);
    fn sweeps_skipped_and_repeated(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { digest: Digest::Pair, sample, .. })) if matches!(sample.pass, Pass::Sweep(2..))
        => adversary(1, "sweeps-repeated", 0.0);
    fn sweeps_skipped_and_roots_invented(): "opening-path",
        Contraindicated(Openings(OpeningsError::Opening {
            digest: Digest::Pair, error: OpeningError::Root { .. }, ..
        })) => adversary(0, "roots-invented", 0.0);
    fn an_iteration_skipped(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { sample, .. })) if sample.iteration == 1 => adversary(1, "fill-skipped", 0.0);
    fn one_dataset_for_two_devices(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { sample, .. })) if sample.device.0 == 1 => adversary(1, "twin", 0.0);
    fn filled_for_another_nonce(): "tile-mismatch", Contraindicated(Tile(_)) => adversary(0, "other-nonce", 0.0);
    fn answers_made_before_the_session(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { digest: Digest::FillA | Digest::FillB | Digest::Pair, .. }))
        => adversary(0, "other-session", 0.0);
    fn products_of_half_the_length(): "tile-mismatch", Contraindicated(Tile(_)) => adversary(0, "short-products", 0.0);
    fn hankel_operands(): "tile-mismatch", Contraindicated(Tile(_)) => adversary(0, "hankel-operands", 0.0);
    fn low_rank_operands(): "tile-mismatch", Contraindicated(Tile(_)) => adversary(0, "low-rank-operands", 0.0);
    fn the_top_byte_in_place_of_the_fold(): "tile-mismatch", Contraindicated(Tile(_)) => adversary(0, "top-byte", 0.0);
    fn pairs_of_neighbours(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { digest: Digest::Pair, .. })) => adversary(0, "neighbours", 0.0);
    fn words_not_shifted(): "tile-mismatch",
        Contraindicated(Tile(TileMismatch { digest: Digest::Pair, .. })) => adversary(0, "unshifted", 0.0);
}

#[test]
fn every_adversary_ends_as_it_must_on_either_device() {
    for cheat in ADVERSARIES {
        for g in 0..2 {
            // Device 0 holds the matrices from 0 on in any case.
            let status = match cheat.ends {
                End::Caught if (cheat.name, g) != ("twin", 0) => 1,
                End::Caught | End::Affirmed => 0,
                // It waits for an event that a simulated clock does not report: see below.
                End::Late => continue,
            };
            let verdict = adversary(g, cheat.name, 0.5);
            assert_eq!(
                verdict.status(),
                status,
                "{} ({}) on device {g}: {verdict:?}",
                cheat.name,
                cheat.summary
            );
        }
    }
}

/// On real streams and clocks: the Verifier gives up at the deadline, and the Attester is notified.
#[test]
fn a_fill_that_does_not_come_is_late() {
    let late = Adversary::named("late").expect("an adversary");
    assert_eq!(late.ends, End::Late);
    let offers = cast::hello(&[3]).devices.into_iter();
    let cheat = Attester {
        software: "testkit".to_owned(),
        labels: Vec::new(),
        attestation: None,
        limits: Limits::default(),
        devices: offers
            .map(|offer| Device {
                offer,
                engine: late.engine(cast::engine(), 0.0),
                telemetry: None,
            })
            .collect(),
        key: cast::attester_key(),
    };
    let mut request = cast::request(&[(64, 2)], 3);
    request.deadlines.ready_ms = 60_000;
    request.deadlines.fill_ms = 200;
    let settings = Settings {
        request,
        hello_deadline: Duration::from_secs(60),
        assumptions: cast::assumptions(),
        narrowed_by: None,
        recompute: cast::recompute(),
        key: cast::verifier_key(),
    };
    let (from_verifier, to_attester) = io::pipe().expect("a pipe");
    let (from_attester, to_verifier) = io::pipe().expect("a pipe");
    let served = thread::spawn(move || serve(cheat, from_verifier, to_verifier));
    let attestation = attest(from_attester, to_attester, &settings, &Unobserved).expect("a session");
    let expected = Contraindicated(Failure::Late {
        phase: Phase::Fill,
        limit_ms: 200,
    });
    assert_eq!(attestation.session.verdict(), Some(&expected));
    let result = served.join().expect("serving does not panic").expect("a result");
    assert_eq!((result.status, result.reason.as_str()), (1, "late"));
}

#[test]
fn adversaries_that_leave_nothing_out_are_affirmed() {
    for name in [
        "junk-fill",
        "junk-sweep",
        "missing-memory",
        "junk-mixture",
        "joined-gpus",
    ] {
        assert_eq!(adversary(0, name, 0.0), Verdict::Affirmed, "{name}");
    }
    let rehearsal = Rehearsal::new(cast::request(&[(64, 2)], 1_000));
    let engine = |_| Box::new(ShortcutEngine::new(Shortcut::default())) as Box<dyn protocol::engine::Engine>;
    let verdict = judge(&rehearsal, &mut HonestPeer::new(cast::hello(&[5, 4]), engine));
    assert_eq!(verdict, Verdict::Affirmed, "the plain engine without a shortcut");
}
