//! Whose evidence `verify` accepts: decided before any tile is recomputed, and stated in its output.

mod common;

use common::{Place, SMALL, code, json, text};

#[test]
fn other_evidence_is_refused_before_any_tile() {
    let place = Place::new();
    let attested = place.attester(&[&["attest", "--evidence", "e.cbor", "--json"], &SMALL[..]].concat());
    let attested = json(&attested);
    let key = |name: &str| attested[name].as_str().expect("a key").to_owned();
    let (verifier, attester) = (key("verifier"), key("attester"));
    place.put(
        "c.json",
        place.validator(&["challenge", "--device-memory", "4MiB"]).stdout,
    );

    for (arguments, expected) in [
        (
            ["--attester", &verifier],
            format!("the evidence is of Attester {attester}; expected {verifier}"),
        ),
        (
            ["--challenge", "c.json"],
            "the evidence answers no challenge; expected the challenge of session".to_owned(),
        ),
    ] {
        let refused = place.validator(&[&["verify", "e.cbor"], &arguments[..]].concat());
        assert_eq!(code(&refused), 1, "{arguments:?}");
        assert!(text(&refused.stdout).contains(&expected), "{}", text(&refused.stdout));
        assert!(
            !text(&refused.stderr).contains("recomputed in"),
            "{}",
            text(&refused.stderr)
        );
    }
    let no_key = place.validator(&["verify", "e.cbor", "--verifier", "72d4"]);
    assert_eq!(code(&no_key), 2);
    assert!(text(&no_key.stderr).contains("expected 64 hexadecimal digits"));

    // The output states who recorded it, and whether that Verifier counts: for any other there is no verdict.
    let says = |place: &Place, arguments: &[&str], expected: &str| {
        let verified = place.validator(&[&["verify", "e.cbor"], arguments].concat());
        let is_counted = expected == "which counts here";
        assert_eq!(
            code(&verified),
            if is_counted { 0 } else { 2 },
            "{}",
            text(&verified.stderr)
        );
        assert_eq!(text(&verified.stdout).contains("none (unknown-verifier)"), !is_counted);
        let expected = format!("verifier     {verifier}, {expected}\n");
        assert!(text(&verified.stdout).contains(&expected), "{}", text(&verified.stdout));
    };
    says(&place, &[], "which counts here");
    says(&place, &["--verifier", &verifier.to_uppercase()], "which counts here");
    says(&place, &["--verifier", &attester], "which nobody named");
    let elsewhere = Place::new();
    std::fs::copy(place.path("e.cbor"), elsewhere.path("e.cbor")).expect("a copy");
    says(&elsewhere, &[], "which nobody named");
}

/// No possible result would count, so its samples are not recomputed for its sender.
#[test]
fn evidence_of_a_verifier_that_nobody_named_costs_no_tile() {
    let place = Place::new();
    let attested = place.attester(&[&["attest", "--evidence", "e.cbor", "--json"], &SMALL[..]].concat());
    let key = json(&attested)["verifier"].as_str().expect("a key").to_owned();
    let elsewhere = Place::new();
    std::fs::copy(place.path("e.cbor"), elsewhere.path("e.cbor")).expect("a copy");
    for (named, is_counted) in [(&[][..], false), (&["--verifier", &key], true)] {
        let verified = elsewhere.validator(&[&["verify", "e.cbor"], named].concat());
        assert_eq!(
            code(&verified),
            if is_counted { 0 } else { 2 },
            "{}",
            text(&verified.stderr)
        );
        assert_eq!(
            text(&verified.stderr).contains("samples recomputed in"),
            is_counted,
            "{}",
            text(&verified.stderr)
        );
        let as_json = elsewhere.validator(&[&["verify", "e.cbor", "--json"], named].concat());
        assert_eq!(
            code(&as_json),
            if is_counted { 0 } else { 2 },
            "{}",
            text(&as_json.stderr)
        );
        let report = json(&as_json);
        assert_eq!(report["reason"], if is_counted { "" } else { "unknown-verifier" });
        assert_eq!(report["verifier"], key);
        assert_eq!(report["samples_checked"].as_u64().expect("a count") > 0, is_counted);
    }
}

/// A host that creates its own challenge had unlimited time (spec §10.4).
#[test]
fn offline_evidence_wants_a_challenge_that_somebody_here_trusts() {
    let place = Place::new();
    let challenge = place.validator(&["challenge", "--device-memory", "4MiB"]);
    let issuer = json(&challenge)["verifier"].as_str().expect("a key").to_owned();
    place.put("c.json", challenge.stdout);
    let proved = place.attester(&["prove", "--challenge", "c.json", "--evidence", "o.cbor"]);
    assert_eq!(code(&proved), 0, "{}", text(&proved.stderr));
    // The issuer's own host knows its key.
    assert_eq!(code(&place.validator(&["verify", "o.cbor"])), 0);

    let elsewhere = Place::new();
    for file in ["o.cbor", "c.json"] {
        std::fs::copy(place.path(file), elsewhere.path(file)).expect("a copy");
    }
    let unnamed = elsewhere.validator(&["verify", "o.cbor"]);
    assert_eq!(code(&unnamed), 2, "{}", text(&unnamed.stdout));
    let said = text(&unnamed.stderr);
    assert!(said.contains(&issuer) && said.contains("--verifier KEY"), "{said}");
    assert!(text(&unnamed.stdout).contains("none (unknown-verifier)"));
    for named in [["--challenge", "c.json"], ["--verifier", &issuer]] {
        assert_eq!(
            code(&elsewhere.validator(&[&["verify", "o.cbor"], &named[..]].concat())),
            0
        );
    }
}
