//! The evidence of a real GPU that the repository keeps, so that anyone can check it.

mod common;

use std::fs;

use common::{Place, code, json, text};

const EVIDENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evidence/h200.cbor");
/// Who recorded it, and the policy that it was recorded with.
const VOUCHED: [&str; 4] = [
    "--policy",
    "h200",
    "--verifier",
    "a71aa6c6b330438745fd6beb7c163869372a22e2f2d2fc9e7b95b715ac30c8f1",
];
const README: &str = include_str!("../../../README.md");

#[test]
fn the_recorded_h200_is_affirmed_as_the_readme_says() {
    let place = Place::new();
    let verified = place.validator(&[&["verify"], &VOUCHED[..], &[EVIDENCE]].concat());
    let said = text(&verified.stdout);
    assert_eq!(code(&verified), 0, "{}", text(&verified.stderr));
    let readme = README.replace(" \\\n    ", " ");
    let (_, after) = readme
        .split_once(&format!("verify {} docs/evidence/h200.cbor\n", VOUCHED.join(" ")))
        .expect("the command");
    let (_, sample) = after.split_once("```text\n").expect("its output");
    let (sample, _) = sample.split_once("```").expect("its end");
    assert!(sample.lines().count() > 8);
    for line in sample.lines() {
        assert!(said.lines().any(|printed| printed == line), "{line:?} is not in {said}");
    }
}

#[test]
fn nobody_else_vouches_for_the_recorded_h200() {
    let place = Place::new();
    let verified = place.validator(&["verify", EVIDENCE]);
    assert_eq!(code(&verified), 2, "{}", text(&verified.stderr));
    assert!(text(&verified.stdout).contains("none (unknown-verifier)"));
}

#[test]
fn the_recorded_h200_fits_its_class() {
    let place = Place::new();
    let report = place.validator(&[&["report", EVIDENCE, "--format", "json"], &VOUCHED[..]].concat());
    assert_eq!(code(&report), 0, "{}", text(&report.stderr));
    let report = json(&report);
    assert_eq!(report["verdict"], "affirming");
    let reasons = &report["devices"][0]["reasons"];
    assert_eq!(
        (&reasons[0]["code"], &reasons[0]["class"]),
        (&"claim-fits".into(), &"h200".into())
    );
}

/// What `--withhold` is for: the evidence is there for everyone, and names no card.
#[test]
fn the_recorded_evidence_names_no_card() {
    let bytes = fs::read(EVIDENCE).expect("the evidence");
    let has = |name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(has("multiprocessors") && has("driver_version"), "labels are there");
    for name in ["serial", "uuid", "GPU-", "pci_bus_id"] {
        assert!(!has(name), "{name}");
    }
}
