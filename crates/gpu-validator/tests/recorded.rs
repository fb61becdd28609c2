//! The evidence of a real GPU that is kept in the repository, so that anyone can check it.

mod common;

use std::fs;

use common::{Place, RECORDED, VOUCHED, code, text};

const README: &str = include_str!("../../../README.md");

#[test]
fn the_recorded_h200_is_affirmed_as_the_readme_says() {
    let place = Place::new();
    let verified = place.validator(&[&["verify"], &VOUCHED[..], &[RECORDED]].concat());
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
    let verified = place.validator(&["verify", RECORDED]);
    assert_eq!(code(&verified), 2, "{}", text(&verified.stderr));
    assert!(text(&verified.stdout).contains("none (unknown-verifier)"));
}

/// The purpose of `--withhold`: the evidence is public, and identifies no card.
#[test]
fn the_recorded_evidence_names_no_card() {
    let bytes = fs::read(RECORDED).expect("the evidence");
    let has = |name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(has("multiprocessors") && has("driver_version"), "labels are there");
    for name in ["serial", "uuid", "GPU-", "pci_bus_id"] {
        assert!(!has(name), "{name}");
    }
}
