//! `calibrate`, run like a user runs it, on sessions in memory whose times are made up.

mod common;

use std::fs;

use appraisal::profile::{Profile, Status};
use common::x1::{hello, put_sessions, session};
use common::{CAST, Place, code, json, text};
use protocol::bytes::{DeviceOrdinal, Nonce};
use protocol::challenge::Challenge;
use testkit::cast;
use testkit::peer::HonestPeer;
use testkit::rehearsal::{Opener, Rehearsal};

/// A folder with `profiles/x1.toml` and sessions `s0.cbor` to `s5.cbor`, one for each of six cards.
fn place() -> Place {
    let place = Place::new();
    put_sessions(&place);
    place
}

const CALIBRATE: [&str; 7] = ["calibrate", "--class", "x1", "--profiles", "profiles", CAST[0], CAST[1]];
const SIX: [&str; 6] = ["s0.cbor", "s1.cbor", "s2.cbor", "s3.cbor", "s4.cbor", "s5.cbor"];

#[test]
fn six_cards_make_a_profile_that_judges() {
    let place = place();
    let printed = place.validator(&[&CALIBRATE[..], &SIX].concat());
    assert_eq!(code(&printed), 0, "{}", text(&printed.stderr));
    let said = text(&printed.stderr);
    assert!(
        said.contains("x1: 6 observations, k = 4096; tolerance limits over 6 cards, each by its mean"),
        "{said}"
    );
    let profile = Profile::parse("x1.toml", &text(&printed.stdout)).expect("a profile");
    let measured = profile.measured.as_ref().expect("figures");
    assert_eq!(
        (profile.status, measured.cards, measured.sessions),
        (Status::Measured, 6, 6)
    );
    assert_eq!((measured.content, measured.confidence), (Some(0.95), Some(0.95)));
    // 16 matrices of 256 x 256 at k = 4096 within 10 to 10.2 ms, including 1 ms of transit; 32 sweeps within 41 to 41.8 ms.
    let (slow, fast) = (
        16.0 * 65_536.0 * 8_192.0 / 10.201e-3,
        16.0 * 65_536.0 * 8_192.0 / 10.0e-3,
    );
    assert!((measured.fill_low_ops_per_s as f64) < slow && (measured.fill_high_ops_per_s as f64) > fast);
    assert!((measured.fill_low_ops_per_s as f64) > slow * 0.9, "limits, not guesses");
    let (slow, fast) = (32.0 * 1_048_576.0 / 41.801e-3, 32.0 * 1_048_576.0 / 41.0e-3);
    assert!((measured.sweep_low_bytes_per_s as f64) < slow && (measured.sweep_high_bytes_per_s as f64) > fast);

    // More of the class has to be within the limits: they are wider.
    let wide = place.validator(&[&CALIBRATE[..], &SIX, &["--content", "0.99", "--confidence", "0.99"]].concat());
    let wide = Profile::parse("x1.toml", &text(&wide.stdout)).expect("a profile");
    assert!(
        wide.measured
            .as_ref()
            .is_some_and(|wide| wide.fill_low_ops_per_s < measured.fill_low_ops_per_s)
    );

    // Written in place, and used.
    let written = place.validator(&[&CALIBRATE[..], &SIX, &["-o", "profiles/x1.toml"]].concat());
    assert_eq!(
        (code(&written), &written.stdout[..]),
        (0, &b""[..]),
        "{}",
        text(&written.stderr)
    );
    assert_eq!(Profile::parse("x1.toml", &place.text("profiles/x1.toml")), Ok(profile));
    let report = place.validator(&["report", "s0.cbor", "--profiles", "profiles", "--format", "json"]);
    let device = &json(&report)["devices"][0];
    assert_eq!(device["stated_class"], "x1");
    assert!(!device["findings"].to_string().contains("class-unmeasured"), "{device}");
}

#[test]
fn few_cards_say_that_they_are_few() {
    let place = place();
    for seed in 0..5 {
        place.put(
            &format!("one{seed}.cbor"),
            session("ACME X1", 7, 100 + seed, 9_000 + 40 * seed, 5_000),
        );
    }
    let sessions = ["one0.cbor", "one1.cbor", "one2.cbor", "one3.cbor", "one4.cbor"];
    let printed = place.validator(&[&CALIBRATE[..], &sessions].concat());
    assert_eq!(code(&printed), 0, "{}", text(&printed.stderr));
    let few = "over sessions of one card: of these alone, not of the class (few-cards)";
    assert!(text(&printed.stdout).contains(few) && text(&printed.stderr).contains(few));
    // Every verdict by such a profile states so.
    place.put("profiles/x1.toml", &printed.stdout);
    let report = json(&place.validator(&["report", "one0.cbor", "--profiles", "profiles", "--format", "json"]));
    let device = &report["devices"][0];
    assert!(device["findings"].to_string().contains("few-cards"), "{device}");
    assert_eq!(
        (
            device["held_against"]["basis"]["cards"].as_u64(),
            device["held_against"]["basis"]["sessions"].as_u64()
        ),
        (Some(1), Some(5)),
        "{device}"
    );
}

#[test]
fn what_no_profile_can_be_made_of_is_said_and_nothing_is_written() {
    let place = place();
    place.put("other.cbor", session("ACME X2", 0, 50, 9_000, 5_000));
    place.put("late.cbor", session("ACME X1", 0, 51, 2_000_000, 5_000));
    place.put("wild.cbor", session("ACME X1", 9, 52, 900_000, 5_000));
    let mut changed = fs::read(place.path("s0.cbor")).expect("evidence");
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    place.put("changed.cbor", changed);
    fs::copy(place.path("s0.cbor"), place.path("copy.cbor")).expect("a copy");
    let fixed = fs::read_to_string(place.path("profiles/x1.toml")).expect("a profile");
    for (arguments, expected, says) in [
        (&SIX[..4], 2, "4 observations; limits need at least 5"),
        (
            &["s0.cbor", "copy.cbor"],
            2,
            "s0.cbor and copy.cbor are the same session",
        ),
        (&["s0.cbor", "changed.cbor"], 2, "refused: evidence changed.cbor: "),
        (
            &["late.cbor"],
            1,
            "refused: session late.cbor failed: Fill took longer than its 1000 ms",
        ),
        (
            &["other.cbor"],
            2,
            "device 0 says that it is a \"ACME X2\", which is no x1",
        ),
        (
            &["s0.cbor", "s1.cbor", "s2.cbor", "s3.cbor", "wild.cbor"],
            2,
            "fill: limits of ",
        ),
        (&["missing.cbor"], 2, "missing.cbor"),
        (
            &["s0.cbor", "--content", "2"],
            2,
            "content and confidence must be from 0.5 to 0.9999",
        ),
        (
            &["s0.cbor", "--content", "NaN"],
            2,
            "content and confidence must be from 0.5 to 0.9999",
        ),
        (&["s0.cbor", "--class", "x9"], 2, "cannot be used multiple times"),
    ] {
        let arguments = [&CALIBRATE[..], arguments, &["-o", "profiles/x1.toml"]].concat();
        let refused = place.validator(&arguments);
        let said = text(&refused.stderr);
        assert_eq!(
            (code(&refused), &refused.stdout[..]),
            (expected, &b""[..]),
            "{arguments:?}: {said}"
        );
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert_eq!(place.text("profiles/x1.toml"), fixed, "{arguments:?}");
    }
    for (arguments, says) in [
        (
            &["calibrate", "--class", "x9", "s0.cbor"][..],
            "no class \"x9\"; known are h200, ",
        ),
        (
            &["calibrate", "--class", "h200", "s0.cbor", "-o", "h100.toml"],
            "h100.toml is not named h200.toml",
        ),
        (
            &["calibrate", "--class", "h200"],
            "required arguments were not provided",
        ),
        (
            &["calibrate", "--class", "cpu", CAST[0], CAST[1], "s0.cbor"],
            "which is no cpu",
        ),
    ] {
        let refused = place.validator(arguments);
        assert_eq!(code(&refused), 2, "{arguments:?}");
        assert!(
            text(&refused.stderr).contains(says),
            "{arguments:?}: {}",
            text(&refused.stderr)
        );
    }
}

/// Without a clock there is nothing to calibrate with.
#[test]
fn offline_evidence_says_nothing_of_rates() {
    let place = place();
    let plan = cast::request(&[(4096, 32)], 256)
        .plan(&hello("ACME X1", 0))
        .expect("a plan");
    let challenge = Challenge::sign(plan, Nonce([7; 32]), 1_000, 2_000, &cast::verifier_key());
    let mut honest = HonestPeer::new(hello("ACME X1", 0), |_: DeviceOrdinal| cast::engine());
    let rehearsed = Rehearsal::opened(Opener::Challenge(challenge)).run(&mut honest);
    place.put("offline.cbor", rehearsed.sealed());
    let refused = place.validator(&[&CALIBRATE[..], &["offline.cbor"]].concat());
    assert_eq!(code(&refused), 2, "{}", text(&refused.stderr));
    assert!(text(&refused.stderr).contains("session offline.cbor says nothing of rates: it has no clock"));
}
