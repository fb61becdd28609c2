//! Reports are complete and self-contained, and escape what a hostile peer writes into them.

mod common;

use appraisal::classify::{Classification, Shares};
use appraisal::policy::Policy;
use appraisal::profiles::Profiles;
use appraisal::{Appraisal, HeldAgainst, Subject};
use integration_tests::{attester, cpu, run, settings};
use protocol::bytes::Nonce;
use protocol::cbor::Label;
use protocol::challenge::Challenge;
use protocol::frame::MessageType;
use report::figure::CertifiedFigures;
use report::telemetry::StatedTelemetry;
use report::{html, junit, markdown};
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Tampered, Turn};
use testkit::rehearsal::{Opener, Rehearsal};
use verifier::Unobserved;

const HOSTILE: &str = "<script>alert(1)</script>\"'&]]> | [x](javascript:y) `\u{202E}";

fn appraised(subject: &Subject<'_>) -> Appraisal {
    let now = subject.evidence.started_unix_ms + 5_000;
    common::appraise(subject, &Policy::default(), &Profiles::embedded(), now)
}

/// The CPU's session under a policy that asks for a CPU: its verdict is affirming.
fn cpu_as_asked_for() -> Appraisal {
    let subject = Subject::from(common::session(2));
    let policy = Policy::parse("policy.toml", common::CPU, &Profiles::embedded()).expect("a policy");
    common::appraise(
        &subject,
        &policy,
        &Profiles::embedded(),
        subject.evidence.started_unix_ms + 5_000,
    )
}

#[test]
fn reports_hold_what_a_reader_needs_and_load_nothing() {
    let appraisal = cpu_as_asked_for();
    let page = html(&appraisal.document());
    for part in [
        "affirming",
        "Timeline",
        "Findings",
        "What this does not prove",
        "2^-20",
        "Device 1",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for outside in ["http://", "https://", "<script", "url(", "@import", "src=", "href="] {
        assert!(!page.contains(outside), "{outside}");
    }
    // Under the default policy it is not a GPU, and the remedy is stated.
    assert!(html(&appraised(&Subject::from(common::session(2))).document()).contains("Remedy"));
    let parsed: serde_json::Value = serde_json::from_str(&appraisal.to_json()).expect("JSON");
    assert_eq!(parsed["verdict"], "affirming");
    assert!(markdown(&appraisal.document()).contains("# GPU attestation: affirming"));
    assert!(junit(&appraisal.document()).contains("failures=\"0\""));
    // For manual inspection of the pages.
    if let Some(folder) = std::env::var_os("APPRAISAL_REPORTS") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::write(folder.join("cpu.html"), &page).expect("a write");
        std::fs::write(folder.join("cpu.md"), markdown(&appraisal.document())).expect("a write");
        std::fs::write(folder.join("cpu.xml"), junit(&appraisal.document())).expect("a write");
    }
}

#[test]
fn a_gpu_is_drawn_against_the_class_it_states() {
    let mut appraisal = appraised(&Subject::from(common::session(2)));
    let (profiles, shares) = (Profiles::embedded(), Shares::default());
    // Figures like those of an H200, and of an H100 that states that it is an H200; the session itself was a CPU's.
    for (device, figures) in appraisal.devices.iter_mut().zip([
        (141_000_000_000, 4_320_000_000_000, 1_320_000_000_000_000),
        (75_000_000_000, 2_950_000_000_000, 1_260_000_000_000_000),
    ]) {
        device.model = "NVIDIA H200".to_owned();
        device.stated_class = Some("h200".to_owned());
        device.held_against = profiles.named("h200").map(HeldAgainst::from);
        device.certified = CertifiedFigures {
            memory_bytes: Some(figures.0),
            bandwidth_bytes_per_s: Some(figures.1),
            tensor_ops_per_s: Some(figures.2),
            local_tensor_ops_per_s: Some(figures.2 / 2),
        };
        device.classification = Classification::new(&device.certified, &profiles, &shares);
        device.telemetry = StatedTelemetry::of(
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
    let page = html(&appraisal.document());
    for part in [
        "NVIDIA H200 SXM 141 GB",
        "the class&#39;s limits rest on 44 sessions with 8 cards, measured until 2026-11-28",
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
    devices[0].telemetry = Some(Box::new(common::Says(&[
        ("throttle_reasons", HOSTILE),
        ("power_w", "0:100 NaN:1 1e400:2 0.5:650 x 1:<b>"),
        ("max_power_w", "<b>"),
        ("energy_j", "512.5"),
    ])));
    let mut peer = attester(devices);
    peer.software = Label::new("software", HOSTILE).value;
    let (attestation, _) = run(peer, &settings(), &Unobserved);
    let appraisal = appraised(&Subject::from(&attestation));
    let (page, xml, text) = (
        html(&appraisal.document()),
        junit(&appraisal.document()),
        markdown(&appraisal.document()),
    );
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

/// An affirming page reports only certified work as done.
#[test]
fn a_page_says_what_is_certified_and_why_the_rest_is_not() {
    let appraisal = cpu_as_asked_for();
    let certified = appraisal.devices[0].certified;
    assert!(certified.tensor_ops_per_s.is_some() && certified.memory_bytes.is_none());
    for page in [html(&appraisal.document()), markdown(&appraisal.document())] {
        assert!(
            page.contains("the system behind the session did the work at least as below"),
            "{page}"
        );
        assert!(
            page.contains("nothing is certified of memory V or bandwidth B"),
            "{page}"
        );
        assert!(!page.contains("held the memory"), "{page}");
    }
    let page = html(&appraisal.document());
    assert!(page.contains("no bound: "), "the reason is given: {page}");
    // Without a class there is no scale for a bar.
    assert!(!page.contains("class=\"bar\""), "{page}");
    let page = html(&appraised(&Subject::from(common::session(2))).document());
    assert!(
        page.contains("<th scope=\"row\">The policy asks for</th><td>no minimum figures and no class</td>"),
        "{page}"
    );
}

#[test]
fn what_a_policy_asks_for_is_on_the_page_with_units() {
    let text = "[device]\nmin_memory_bytes = 64_424_509_440\n[assumptions]\nlink_in_bytes_per_s = 32_000_000_000\n[session]\nmin_samples = 300";
    let policy = Policy::parse("p.toml", text, &Profiles::embedded()).expect("a policy");
    let subject = Subject::from(common::session(2));
    let now = subject.evidence.started_unix_ms;
    let page = html(&common::appraise(&subject, &policy, &Profiles::embedded(), now).document());
    for part in [
        "device.min_memory_bytes = 60.00 GiB",
        "assumptions.link_in_bytes_per_s = 32.00 GB/s",
        "session.min_samples = 300",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

/// A session that ended within a fill is drawn up to its end, and one without a clock is not drawn.
#[test]
fn a_timeline_goes_as_far_as_the_session_did() {
    let mut honest = HonestPeer::new(cast::hello(&[4, 4]), |_| cast::engine());
    honest.key = cast::attester_key();
    let fills_late = |turn: &mut Turn<'_>| {
        if turn.answers(MessageType::Nonce) {
            turn.actions.truncate(1);
            turn.actions.insert(0, Action::Wait(200_000_000));
            turn.actions.push(Action::Wait(150_000_000));
            turn.actions.push(Action::Close);
        }
    };
    let rehearsed = Rehearsal::new(cast::request(&[(256, 2)], 8)).run(&mut Tampered::new(honest, fills_late));
    let sealed = rehearsed.sealed();
    let subject = Subject {
        evidence: &rehearsed.evidence,
        session: &rehearsed.session,
        sealed: &sealed,
    };
    let appraisal = appraised(&subject);
    assert_eq!(appraisal.verdict.name(), "none");
    let spans: Vec<_> = appraisal.devices.iter().map(|device| device.phases[0]).collect();
    let ended = rehearsed.session.records().last().expect("records").at_ns;
    assert!(
        spans.iter().all(|span| !span.is_whole && span.sweep_end_ns == ended),
        "{spans:?}"
    );
    // One of them had filled, the other was filling until the end.
    let filled: Vec<bool> = spans.iter().map(|span| span.filled_ns < ended).collect();
    assert_eq!(filled, [true, false], "{spans:?}");
    let page = html(&appraisal.document());
    assert!(page.contains("fill, iteration 0, k = 256: 0.35"), "{page}");
    assert!(
        page.contains("ended by the session&#39;s end") || page.contains("ended by the session's end"),
        "{page}"
    );
    assert!(!page.contains(">0.00 s<"), "ticks that can be told apart");
    assert!(page.contains("fill not ended, 2 sweeps not ended"), "{page}");
    assert!(page.contains("no bound: the session was not affirmed"), "{page}");
    if let Some(folder) = std::env::var_os("APPRAISAL_REPORTS") {
        std::fs::write(std::path::PathBuf::from(folder).join("ended.html"), &page).expect("a write");
    }

    let plan = cast::request(&[(4096, 2)], 8).plan(&cast::hello(&[4])).expect("a plan");
    let challenge = Challenge::sign(plan, Nonce([7; 32]), 1_000, 2_000, &cast::verifier_key());
    let mut honest = HonestPeer::new(cast::hello(&[4]), |_| cast::engine());
    let offline = Rehearsal::opened(Opener::Challenge(challenge)).run(&mut honest);
    let sealed = offline.sealed();
    let subject = Subject {
        evidence: &offline.evidence,
        session: &offline.session,
        sealed: &sealed,
    };
    assert!(!html(&appraised(&subject).document()).contains("Timeline"));
}
