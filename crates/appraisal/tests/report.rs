//! Reports: whole, self-contained, and deaf to what a hostile peer writes into them.

mod common;

use appraisal::classify::{Certified, Classification, Shares};
use appraisal::policy::Policy;
use appraisal::profile::Profiles;
use appraisal::report::{html, json, junit, markdown};
use appraisal::telemetry::Telemetry;
use appraisal::{Appraisal, Subject, appraise};
use integration_tests::{attester, cpu, run, settings};
use protocol::cbor::Label;
use verifier::Unobserved;

const HOSTILE: &str = "<script>alert(1)</script>\"'&]]> | [x](javascript:y) `\u{202E}";

fn appraised(subject: &Subject<'_>) -> Appraisal {
    let now = subject.evidence.started_unix_ms + 5_000;
    appraise(subject, &Policy::default(), &Profiles::embedded(), now)
}

#[test]
fn reports_hold_what_a_reader_needs_and_load_nothing() {
    let appraisal = appraised(&Subject::from(common::session(2)));
    let page = html(&appraisal);
    for part in [
        "affirming",
        "Timeline",
        "Findings",
        "What this does not prove",
        "Remedy",
        "2^-20",
        "Device 1",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["http://", "https://", "<script", "url(", "@import", "src=", "href="] {
        assert!(!page.contains(outside), "{outside}");
    }
    let parsed: serde_json::Value = serde_json::from_str(&json(&appraisal)).expect("JSON");
    assert_eq!(parsed["verdict"], "affirming");
    assert!(markdown(&appraisal).contains("# GPU attestation: affirming"));
    assert!(junit(&appraisal).contains("failures=\"0\""));
    // For whoever wants to look at them.
    if let Some(folder) = std::env::var_os("APPRAISAL_REPORTS") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::write(folder.join("cpu.html"), &page).expect("a write");
        std::fs::write(folder.join("cpu.md"), markdown(&appraisal)).expect("a write");
        std::fs::write(folder.join("cpu.xml"), junit(&appraisal)).expect("a write");
    }
}

#[test]
fn a_gpu_is_drawn_against_the_class_it_claims() {
    let mut appraisal = appraised(&Subject::from(common::session(2)));
    let (profiles, shares) = (Profiles::embedded(), Shares::default());
    // Figures as of an H200, and of an H100 that says it is one; the session itself was a CPU's.
    for (device, figures) in appraisal.devices.iter_mut().zip([
        (141_000_000_000, 4_320_000_000_000, 1_320_000_000_000_000),
        (75_000_000_000, 2_950_000_000_000, 1_260_000_000_000_000),
    ]) {
        device.model = "NVIDIA H200".to_owned();
        device.claimed_class = Some("h200".to_owned());
        device.certified = Certified {
            memory_bytes: Some(figures.0),
            bandwidth_bytes_per_s: Some(figures.1),
            tensor_ops_per_s: Some(figures.2),
            local_tensor_ops_per_s: Some(figures.2 / 2),
        };
        device.classification = Classification::new(&device.certified, &profiles, &shares);
        device.telemetry = Telemetry::of(
            0,
            &[
                Label::new("device 0 power_w", "0.0:120 0.4:640 0.8:688 1.2:690 1.6:655 2.0:410"),
                Label::new(
                    "device 0 sm_clock_mhz",
                    "0.0:1980 0.4:1830 0.8:1755 1.2:1710 1.6:1980 2.0:1980",
                ),
                Label::new("device 0 temperature_c", "0.0:38 0.4:44 0.8:52 1.2:57 1.6:56 2.0:51"),
            ],
        );
    }
    let page = html(&appraisal);
    for part in [
        "NVIDIA H200 SXM 141 GB",
        "class=\"short\"",
        "class=\"needed\"",
        "Power: 120 to 690 W",
        ">0.0 s</text>",
        ">2.0 s</text>",
    ] {
        assert!(page.contains(part), "{part}");
    }
    if let Some(folder) = std::env::var_os("APPRAISAL_REPORTS") {
        std::fs::write(std::path::PathBuf::from(folder).join("gpu.html"), &page).expect("a write");
    }
}

#[test]
fn what_a_hostile_peer_says_stays_text() {
    let mut devices = cpu(1);
    devices[0].offer.model = Label::new("model", HOSTILE).value;
    devices[0].offer.engine = "cuda".to_owned();
    devices[0].offer.labels = vec![
        Label::new("model", "<i>another</i>"),
        Label::new("uuid", HOSTILE),
        Label::new("mig_slice", "true"),
    ];
    devices[0].telemetry = Some(Box::new(common::Says(vec![
        Label::new("device 0 throttle_reasons", HOSTILE),
        Label::new("device 0 power_w", "0:100 NaN:1 1e400:2 0.5:650 x 1:<b>"),
        Label::new("device 0 max_power_w", "<b>"),
        Label::new("device 0 energy_j", "512.5"),
    ])));
    let mut peer = attester(devices);
    peer.software = Label::new("software", HOSTILE).value;
    let (attestation, _) = run(peer, &settings(), &Unobserved);
    let appraisal = appraised(&Subject::from(&attestation));
    let (page, xml, text) = (html(&appraisal), junit(&appraisal), markdown(&appraisal));
    for report in [&page, &xml, &text] {
        assert!(!report.contains("<script") && !report.contains('\u{202E}'), "{report}");
        assert!(report.contains("&lt;script&gt;"), "shown as text");
    }
    assert!(!text.contains("[x](") && !xml.contains("]]>"));
    assert!(
        page.contains("Power: 100 to 650 W"),
        "samples that parse are drawn, others are not"
    );
    let kinds: Vec<&str> = appraisal.devices[0].findings.iter().map(|f| f.kind.name()).collect();
    for expected in ["name-mismatch", "slice", "throttled"] {
        assert!(kinds.contains(&expected), "{kinds:?}");
    }
    if let Some(folder) = std::env::var_os("APPRAISAL_REPORTS") {
        std::fs::write(std::path::PathBuf::from(folder).join("hostile.html"), &page).expect("a write");
    }
}
