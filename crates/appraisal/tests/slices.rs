//! Slices of a card, and other honest devices with unusual labels: labels accuse no device, and a value that NVML does not
//! have is not a figure.

mod common;

use appraisal::finding::Effect;
use appraisal::finding::FindingKind;
use appraisal::policy::Policy;
use appraisal::profiles::Profiles;
use appraisal::reason::Reason;
use appraisal::{Appraisal, Subject, appraise};
use attestation_result::Tier;
use integration_tests::{attester, cpu, run, settings};
use protocol::cbor::Label;
use report::telemetry::StatedTelemetry;
use verifier::Unobserved;

/// Two devices of 10 GiB, from a card of 80 GiB, with these additional labels.
fn two_slices(model: &str, labels: [&[(&str, &str)]; 2]) -> Appraisal {
    let mut devices = cpu(2);
    for (device, labels) in devices.iter_mut().zip(labels) {
        let offer = &mut device.offer;
        offer.engine = "cuda".to_owned();
        offer.model = model.to_owned();
        offer.memory_bytes = 10 << 30;
        let shared = [
            ("model", model),
            ("nvml_model", "NVIDIA H100 80GB HBM3"),
            ("pci_bus_id", "0000:19:00.0"),
            ("memory_bytes", "10737418240"),
            ("card_memory_bytes", "85899345920"),
            ("multiprocessors", "16"),
        ];
        for (name, value) in shared.iter().chain(labels) {
            offer.labels.push(Label::new(name, value));
        }
    }
    let (attestation, _) = run(attester(devices), &settings(), &Unobserved);
    let now = attestation.evidence.started_unix_ms;
    appraise(
        &Subject::from(&attestation),
        &Policy::default(),
        &Profiles::embedded(),
        &attestation.judge(),
        now,
    )
}

fn kinds(appraisal: &Appraisal) -> Vec<&'static str> {
    let of_devices = appraisal.devices.iter().flat_map(|device| &device.findings);
    let all = appraisal.findings.iter().chain(of_devices);
    all.map(|finding| finding.kind.name()).collect()
}

#[test]
fn two_slices_of_a_card_are_two_devices() {
    let slice = ("mig_slice", "true");
    for model in ["NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA H100 80GB HBM3"] {
        let labels: [&[_]; 2] = [&[slice, ("uuid", "MIG-1")], &[slice, ("uuid", "MIG-2")]];
        let appraisal = two_slices(model, labels);
        let kinds = kinds(&appraisal);
        assert_eq!(kinds.iter().filter(|kind| **kind == "slice").count(), 2, "{kinds:?}");
        for odd in [
            "duplicate-device",
            "memory-mismatch",
            "memory-label",
            "sm-count",
            "name-mismatch",
        ] {
            assert!(!kinds.contains(&odd), "{model}: {odd}");
        }
        // With the name of a slice it belongs to no class that it could fall short of.
        if model.contains("MIG") {
            let devices = appraisal.devices.iter().flat_map(|device| &device.reasons);
            let contraindicates = |reason: &Reason| reason.tier() == Tier::Contraindicated;
            assert!(
                !appraisal.reasons.iter().chain(devices).any(contraindicates),
                "{appraisal:?}"
            );
        }
    }
}

#[test]
fn one_slice_twice_and_one_card_twice_are_told() {
    let slice = ("mig_slice", "true");
    let same: &[_] = &[slice, ("uuid", "MIG-1")];
    let appraisal = two_slices("NVIDIA H100 80GB HBM3 MIG 1g.10gb", [same, same]);
    assert!(kinds(&appraisal).contains(&"duplicate-device"));
    let cards: [&[_]; 2] = [&[("uuid", "GPU-1")], &[("uuid", "GPU-2")]];
    let appraisal = two_slices("NVIDIA H100 80GB HBM3", cards);
    let found = kinds(&appraisal);
    assert!(
        found.contains(&"duplicate-device") && found.contains(&"memory-mismatch"),
        "{found:?}"
    );
    assert!(!found.contains(&"slice"));
}

/// A policy may still require it; no finding does so by itself.
#[test]
fn no_finding_contraindicates_by_default() {
    for kind in FindingKind::ALL {
        assert_ne!(kind.default_effect(), Effect::Contraindicate, "{}", kind.name());
    }
}

#[test]
fn what_nvml_does_not_have_is_no_figure() {
    let labels = [
        ("max_temperature_c", "4294967295"),
        ("mean_power_w", "4294967.3"),
        ("energy_j", "512.2"),
        ("power_w", "0.0:4294967 0.1:350"),
        ("temperature_c", "0.0:4294967295"),
    ];
    let labels = labels.map(|(name, value)| Label::new(&format!("device 0 {name}"), value));
    let read = StatedTelemetry::of(0, &labels);
    assert_eq!(read.summaries, [("energy_j", 512.2)]);
    assert_eq!(read.power_w, [(0.1, 350.0)]);
    assert!(read.temperature_c.is_empty());
}
