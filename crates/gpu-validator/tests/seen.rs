//! `--seen`: a UUID that another Attester reported before is mentioned by `report`, `result issue` and `result verify`.

mod common;

use std::fs;

use common::{CAST, Place, code, json, text};
use ed25519_dalek::SigningKey;
use protocol::bytes::{DeviceOrdinal, Identity};
use protocol::cbor::Label;
use testkit::cast;
use testkit::peer::HonestPeer;
use testkit::rehearsal::Rehearsal;

/// A class that such a session fits, so that only the finding counts against it.
const X1: &str = "name = \"x1\"\ntitle = \"X1 of the tests\"\nkind = \"gpu\"\nstatus = \"datasheet\"\nmodels = [\"X1\"]\n\n\
    [capacity]\nmemory_bytes = 16_777_216\nbandwidth_bytes_per_s = 1_000_000_000\n\n[source]\nnote = \"made up\"\n";

/// Sealed evidence of an Attester with this key, whose one device reports this UUID or none; complete, or with another device's
/// signature.
fn session(key: u8, uuid: Option<&str>, seed: u64, is_whole: bool) -> Vec<u8> {
    let key = SigningKey::from_bytes(&[key; 32]);
    let mut hello = cast::hello(&[4]);
    hello.identity = Identity(key.verifying_key().to_bytes());
    hello.devices[0].engine = "cuda".to_owned();
    hello.devices[0].model = "ACME X1".to_owned();
    // An Attester that withholds UUIDs sends no such label.
    if let Some(uuid) = uuid {
        hello.devices[0].labels.push(Label::new("uuid", uuid));
    }
    let mut peer = HonestPeer::new(hello, |_: DeviceOrdinal| cast::engine());
    peer.key = if is_whole { key } else { cast::strangers_key() };
    let mut rehearsal = Rehearsal::new(cast::request(&[(4096, 128)], 256));
    rehearsal.seed = seed;
    rehearsal.run(&mut peer).sealed()
}

/// Sessions of Attesters a, b and c; a and b report one UUID, c another.
fn place() -> Place {
    let place = Place::new();
    fs::create_dir(place.path("profiles")).expect("a folder");
    place.put("profiles/x1.toml", X1);
    for (name, key, uuid) in [("a", 1, "GPU-1"), ("b", 2, "GPU-1"), ("c", 3, "GPU-2")] {
        place.put(&format!("{name}.cbor"), session(key, Some(uuid), key.into(), true));
    }
    place.put("failed.cbor", session(4, Some("GPU-2"), 4, false));
    place
}

/// Findings of the one device of a report with the registry `seen.json`.
fn findings(place: &Place, evidence: &str, more: &[&str]) -> String {
    let report = [
        "report",
        evidence,
        "--profiles",
        "profiles",
        "--format",
        "json",
        "--seen",
        "seen.json",
        CAST[0],
        CAST[1],
    ];
    let report = place.validator(&[&report[..], more].concat());
    json(&report)["devices"][0]["findings"].to_string()
}

#[test]
fn a_uuid_of_another_attester_is_found_and_ones_own_is_not() {
    let place = place();
    assert!(
        !findings(&place, "a.cbor", &[]).contains("uuid-elsewhere"),
        "nobody gave it before"
    );
    let first = place.text("seen.json");
    assert!(first.contains("GPU-1") && first.contains("\"session\""), "{first}");
    assert!(!findings(&place, "a.cbor", &[]).contains("uuid-elsewhere"), "its own");
    assert_eq!(place.text("seen.json"), first, "the first sighting stays");
    assert!(
        !findings(&place, "c.cbor", &[]).contains("uuid-elsewhere"),
        "another UUID"
    );
    let found = findings(&place, "b.cbor", &[]);
    assert!(
        found.contains("uuid-elsewhere") && found.contains("GPU-1 was given by "),
        "{found}"
    );
    // From then on it is reported for both.
    assert!(findings(&place, "a.cbor", &[]).contains("uuid-elsewhere"));
    // An Attester that did not show its key is not recorded.
    let before = place.text("seen.json");
    findings(&place, "failed.cbor", &[]);
    assert_eq!(place.text("seen.json"), before);
    assert!(!findings(&place, "c.cbor", &[]).contains("uuid-elsewhere"));
}

#[test]
fn the_policy_says_what_it_does_and_every_form_shows_it() {
    let place = place();
    findings(&place, "a.cbor", &[]);
    for (policy, effect) in [("", "warn"), ("contraindicate", "contraindicate"), ("note", "note")] {
        let line = match policy {
            "" => String::new(),
            effect => format!("[findings]\nuuid-elsewhere = \"{effect}\"\n"),
        };
        place.put("policy.toml", line);
        for format in ["html", "md", "junit", "json"] {
            let report = [
                &["report", "b.cbor", "--profiles", "profiles", "--seen", "seen.json"],
                &CAST[..],
            ]
            .concat();
            let report = place.validator(&[&report[..], &["--policy", "policy.toml", "--format", format]].concat());
            let (page, said) = (text(&report.stdout), text(&report.stderr));
            assert!(
                page.contains("uuid-elsewhere") && page.contains(effect),
                "{format}: {page}"
            );
            assert!(
                page.contains("ask both hosts, challenge them at once"),
                "the remedy, {format}: {page}"
            );
            assert!(said.contains("GPU-1 was given by "), "{said}");
            assert_eq!(code(&report) == 1, effect == "contraindicate", "{said}");
        }
    }
    // Signed, and reproduced by an auditor who has the registry; without it the two differ.
    let keys = place.validator(&["result", "keys", "keys", "--new"]);
    place.put("jwks.json", &keys.stdout);
    let issue = [
        "result",
        "issue",
        "b.cbor",
        "--profiles",
        "profiles",
        "--keys",
        "keys",
        "-o",
        "r.jwt",
        CAST[0],
        CAST[1],
    ];
    place.validator(&[&issue[..], &["--seen", "seen.json"]].concat());
    let shown = place.validator(&["result", "verify", "r.jwt", "--jwks", "jwks.json"]);
    assert!(
        text(&shown.stdout).contains("uuid-elsewhere: GPU-1 was given by "),
        "{}",
        text(&shown.stdout)
    );
    let audit = [
        "result",
        "verify",
        "r.jwt",
        "--jwks",
        "jwks.json",
        "--evidence",
        "b.cbor",
        "--profiles",
        "profiles",
        CAST[0],
        CAST[1],
        "--json",
    ];
    let registry = place.text("seen.json");
    let with = json(&place.validator(&[&audit[..], &["--seen", "seen.json"]].concat()));
    assert_eq!(with["audit"]["differences"], serde_json::json!([]));
    let without = json(&place.validator(&audit));
    assert_ne!(without["audit"]["differences"], serde_json::json!([]));
    assert_eq!(place.text("seen.json"), registry, "an auditor only reads");
}

/// What affirms the sessions of these tests, so that only a finding counts against them.
const FIGURES: &str = "stated_class_must_fit = false\nmin_tensor_ops_per_s = 1\ngpu_must_show = false\n";

/// Exit code, the device's findings as kind and effect, and what is said, of a report that asks for
/// [`FIGURES`] and for this.
fn judged(place: &Place, evidence: &str, policy: &str, more: &[&str]) -> (i32, Vec<String>, String) {
    place.put("policy.toml", format!("[device]\n{FIGURES}{policy}"));
    let report = [
        "report",
        evidence,
        "--format",
        "json",
        "--strict",
        "--policy",
        "policy.toml",
    ];
    let report = place.validator(&[&report[..], &CAST[..], more].concat());
    let said = text(&report.stderr);
    let shown = json(&report);
    let findings = shown["devices"][0]["findings"].as_array().expect("findings");
    let named = findings
        .iter()
        .filter(|finding| finding["kind"].as_str().is_some_and(|kind| kind.starts_with("uuid")));
    let named = named.map(|finding| format!("{} {}", finding["kind"], finding["effect"]).replace('"', ""));
    (code(&report), named.collect(), said)
}

#[test]
fn a_uuid_that_is_withheld_is_said_and_can_be_asked_for() {
    const ASKED: &str = "must_state_uuid = true\n";
    const WARNED: &str = "must_state_uuid = true\n[findings]\nuuid-withheld = \"warn\"\n";
    let place = place();
    place.put("none.cbor", session(5, None, 5, true));
    place.put("blank.cbor", session(6, Some(" "), 6, true));
    let seen: &[&str] = &["--seen", "seen.json"];
    for evidence in ["none.cbor", "blank.cbor"] {
        for (policy, more, exit, effect) in [
            ("", &[][..], 0, None),
            ("", seen, 0, Some("note")),
            ("[findings]\nuuid-withheld = \"warn\"\n", seen, 1, Some("warn")),
            (ASKED, &[], 1, Some("contraindicate")),
            (ASKED, seen, 1, Some("contraindicate")),
            (WARNED, &[], 1, Some("warn")),
            (WARNED, seen, 1, Some("warn")),
        ] {
            let (code, findings, said) = judged(&place, evidence, policy, more);
            let expected: Vec<String> = effect
                .map(|effect| format!("uuid-withheld {effect}"))
                .into_iter()
                .collect();
            assert_eq!(
                (code, findings),
                (exit, expected),
                "{evidence} {policy} {more:?}: {said}"
            );
            assert_eq!(said.contains("no UUID in HELLO"), effect.is_some(), "{said}");
        }
    }
    // Nothing was recorded of them, and a stated UUID meets the policy.
    assert!(
        !place.text("seen.json").contains("session"),
        "{}",
        place.text("seen.json")
    );
    let (code, findings, said) = judged(&place, "a.cbor", ASKED, seen);
    assert_eq!((code, findings), (0, Vec::new()), "{said}");
    for (policy, says) in [
        (
            "[device]\nmust_state_uuid = true\n[findings]\nuuid-withheld = \"note\"\n",
            "device.must_state_uuid: true, but findings.uuid-withheld is note: contradiction",
        ),
        (
            "[device]\nclass = \"cpu\"\nmin_tensor_ops_per_s = 1\nmust_state_uuid = true\n",
            "device.must_state_uuid: true, but cpu has no UUID",
        ),
    ] {
        place.put("policy.toml", policy);
        let refused = place.validator(&["policy", "check", "policy.toml"]);
        let said = text(&refused.stderr);
        assert!(self::code(&refused) == 2 && said.contains(says), "{said}");
    }
}

#[test]
fn a_registry_that_is_none_is_refused_and_stays() {
    let place = place();
    fs::create_dir(place.path("folder")).expect("a folder");
    for (content, says) in [
        ("", "registry seen.json: no registry of devices: EOF"),
        ("[]", "registry seen.json: no registry of devices: "),
        (
            "{\"version\": 2, \"devices\": {}}",
            "registry seen.json: a registry of version 2; expected 1",
        ),
        ("{\"version\": 1, \"devices\": {}, \"more\": 1}", "unknown field `more`"),
        (
            "{\"version\": 1, \"devices\": {\"GPU-1\": {\"key\": {}}}}",
            "missing field `session`",
        ),
    ] {
        place.put("seen.json", content);
        let refused = place.validator(&["report", "a.cbor", "--seen", "seen.json"]);
        let said = text(&refused.stderr);
        assert_eq!((code(&refused), &refused.stdout[..]), (2, &b""[..]), "{said}");
        assert!(said.contains(says), "{said}");
        assert_eq!(place.text("seen.json"), content);
    }
    for (path, says) in [
        ("folder", "folder"),
        ("no/seen.json", "cannot write a registry into no"),
    ] {
        let refused = place.validator(&["report", "a.cbor", "--seen", path]);
        assert_eq!((code(&refused), &refused.stdout[..]), (2, &b""[..]));
        assert!(text(&refused.stderr).contains(says), "{}", text(&refused.stderr));
    }
    assert!(!place.path("no").exists());
}
