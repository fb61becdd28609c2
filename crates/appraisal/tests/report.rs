//! Reports: whole, self-contained, and deaf to what a hostile peer writes into them.

mod common;

use appraisal::policy::Policy;
use appraisal::profile::Profiles;
use appraisal::report::{html, json, junit, markdown};
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
fn what_a_hostile_peer_says_stays_text() {
    let mut devices = cpu(1);
    devices[0].offer.model = Label::new("model", HOSTILE).value;
    devices[0].offer.engine = "cuda".to_owned();
    devices[0].offer.labels = vec![
        Label::new("nvml_name", HOSTILE),
        Label::new("cuda_name", "another"),
        Label::new("mig", HOSTILE),
    ];
    devices[0].telemetry = Some(Box::new(|| {
        vec![
            Label::new("0.throttle", HOSTILE),
            Label::new("0.power_w", "0:100 NaN:1 1e400:2 500:650 x 1000:<b>"),
        ]
    }));
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
