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

/// The policy that README offers to marketplaces is met by an H200 on a host of which nothing is known.
#[test]
fn the_recorded_h200_meets_the_policy_for_marketplaces() {
    let place = Place::new();
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policies/marketplace-h200.toml");
    let key = VOUCHED
        .iter()
        .position(|argument| *argument == "--verifier")
        .expect("a key");
    let verifier = &VOUCHED[key..key + 2];
    let judged = place.validator(&[&["report", RECORDED, "--policy", policy, "--format", "md"], verifier].concat());
    assert_eq!(code(&judged), 0, "{}", text(&judged.stderr));
    assert!(
        text(&judged.stderr).ends_with("verdict: affirming\n"),
        "{}",
        text(&judged.stderr)
    );
}

/// README's table of what each GPU can show is that of `classes`.
#[test]
fn the_readme_has_the_figures_of_the_classes() {
    let place = Place::new();
    let classes = place.validator(&["classes"]);
    let classes = text(&classes.stdout);
    for (title, class) in [
        ("H200", "h200"),
        ("H100 SXM", "h100-sxm"),
        ("H100 NVL", "h100-nvl"),
        ("H100 PCIe", "h100-pcie"),
        ("A100 80 GB", "a100-80"),
        ("B200", "b200"),
        ("RTX 4090", "rtx-4090"),
        ("L40S", "l40s"),
    ] {
        let row = classes
            .lines()
            .find(|line| line.split("  ").next() == Some(class))
            .expect("a class");
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let figures = |memory: &str, bandwidth: &str| match memory {
            "-" => "no bound".to_owned(),
            _ => format!("{memory}, {bandwidth}"),
        };
        let [.., default_v, default_b, policy_v, policy_b] = cells[..] else {
            panic!("{row}");
        };
        let expected = format!(
            "| {title} | {} | {} | ",
            figures(default_v, default_b),
            figures(policy_v, policy_b)
        );
        assert!(README.contains(&expected), "README lacks {expected:?}");
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
