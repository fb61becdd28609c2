//! Clocks that jump: every command that reads times reports this and trusts none of them.

mod common;

use common::{CAST, Place, code, json, text};
use protocol::bytes::{DeviceOrdinal, Nonce};
use protocol::challenge::Challenge;
use protocol::evidence::Evidence;
use testkit::cast;
use testkit::peer::HonestPeer;
use testkit::rehearsal::{Opener, Rehearsal, seal};

fn evidence(change: impl FnOnce(&mut Evidence)) -> Vec<u8> {
    let mut honest = HonestPeer::new(cast::hello(&[4]), |_: DeviceOrdinal| cast::engine());
    let mut rehearsed = Rehearsal::new(cast::request(&[(4096, 128)], 256)).run(&mut honest);
    change(&mut rehearsed.evidence);
    seal(&rehearsed.evidence)
}

/// Sealed by its Verifier, but impossible: a monotonic clock does not run backwards.
#[test]
fn evidence_whose_clock_goes_back_is_refused() {
    let place = Place::new();
    place.put("e.cbor", evidence(|_| {}));
    assert_eq!(code(&place.validator(&[&["verify", "e.cbor"], &CAST[..]].concat())), 0);
    for at in [3, 5, 7] {
        place.put("back.cbor", evidence(|evidence| evidence.records[at].at_ns = 0));
        for arguments in [
            &["verify", "back.cbor"][..],
            &["inspect", "back.cbor"],
            &["report", "back.cbor"],
        ] {
            let refused = place.validator(arguments);
            let said = text(&refused.stdout) + &text(&refused.stderr);
            assert_eq!(code(&refused), 1, "record {at}, {arguments:?}: {said}");
            assert!(
                said.contains("the clock went from "),
                "record {at}, {arguments:?}: {said}"
            );
        }
    }
}

/// Evidence from the future is neither affirmed nor contraindicated: one of two clocks is wrong, and it is not known which.
#[test]
fn evidence_from_the_future_is_none() {
    let place = Place::new();
    place.put(
        "e.cbor",
        evidence(|evidence| evidence.started_unix_ms = 4_000_000_000_000),
    );
    let report = place.validator(&[&["report", "e.cbor", "--format", "json"], &CAST[..]].concat());
    assert_eq!(code(&report), 2);
    let report = json(&report);
    assert_eq!(report["verdict"], "none");
    assert!(
        report["reasons"].to_string().contains("from-the-future"),
        "{}",
        report["reasons"]
    );
}

/// Nothing can answer a challenge before it was issued.
#[test]
fn offline_evidence_received_before_its_challenge_was_issued_is_refused() {
    let place = Place::new();
    let plan = cast::request(&[(4096, 128)], 256)
        .plan(&cast::hello(&[4]))
        .expect("a plan");
    // 2096-10-02 to the day after.
    let (issued, expires) = (4_000_000_000_000, 4_000_086_400_000);
    let challenge = Challenge::sign(plan, Nonce([7; 32]), issued, expires, &cast::verifier_key());
    let mut honest = HonestPeer::new(cast::hello(&[4]), |_: DeviceOrdinal| cast::engine());
    place.put(
        "o.cbor",
        Rehearsal::opened(Opener::Challenge(challenge))
            .run(&mut honest)
            .sealed(),
    );
    let issuer = cast::identity(&cast::verifier_key()).to_string();
    let verify = ["verify", "o.cbor", "--verifier", &issuer];
    let received = |at| place.validator(&[&verify[..], &["--received", at]].concat());
    assert_eq!(code(&received("2096-10-02T08:00:00Z")), 0);
    let early = received("2026-11-24T12:00:00Z");
    assert_eq!(code(&early), 1);
    let said = text(&early.stdout);
    assert!(
        said.contains("the challenge was issued 2096-10-02T07:06:40Z: a clock is wrong"),
        "{said}"
    );
    assert_eq!(code(&place.validator(&verify)), 1, "nor now");
}
