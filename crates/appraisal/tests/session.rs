//! A CPU session, appraised: the same verdict from the live session and from its evidence.

mod common;

use appraisal::classify::Certified;
use appraisal::policy::Policy;
use appraisal::profile::Profiles;
use appraisal::reason::{Reason, Tier};
use appraisal::report::{html, junit, markdown};
use appraisal::result::{AttestationResult, Issuance};
use appraisal::{Subject, appraise};
use integration_tests::{attester, cpu, run, settings};
use protocol::bytes::DeviceOrdinal;
use protocol::cbor::Label;
use verifier::recompute::Recompute;
use verifier::{Unobserved, verify};

#[test]
fn a_cpu_session_is_affirmed_live_and_from_its_evidence() {
    let attestation = common::session(2);
    let profiles = Profiles::embedded();
    let policy = Policy::default();
    let now = attestation.evidence.started_unix_ms + 5_000;
    let live = appraise(&Subject::from(attestation), &policy, &profiles, now);
    assert_eq!(live.verdict, Tier::Affirming, "{:?}", live.reasons);
    assert_eq!(live.devices.len(), 2);
    assert!(
        live.devices
            .iter()
            .all(|device| device.claimed_class.as_deref() == Some("cpu"))
    );
    assert!(live.devices.iter().all(|device| device.phases.len() == 3));

    let verified = verify(&attestation.sealed, &Recompute::default(), &Unobserved).expect("evidence");
    let again = appraise(
        &Subject::from((&verified, &attestation.sealed[..])),
        &policy,
        &profiles,
        now,
    );
    let json = |appraisal| serde_json::to_string(appraisal).expect("JSON");
    assert_eq!(json(&live), json(&again));
}

#[test]
fn policies_decide() {
    let attestation = common::session(2);
    let profiles = Profiles::embedded();
    let started = attestation.evidence.started_unix_ms;
    let under = |text: &str, now: u64| {
        let policy = Policy::parse("policy.toml", text, &profiles).expect("a policy");
        appraise(&Subject::from(attestation), &policy, &profiles, now)
    };
    let code = |text: &str, now: u64| {
        let appraisal = under(text, now);
        let device = appraisal.devices.iter().flat_map(|device| &device.reasons);
        let worst = appraisal
            .reasons
            .iter()
            .chain(device)
            .find(|r| r.tier() == appraisal.verdict);
        (worst.map(Reason::code).unwrap_or_default(), appraisal.verdict)
    };
    let verifier = format!("[session]\nverifiers = [\"{}\"]", "00".repeat(32));
    for (text, now, expected, tier) in [
        ("[host]\ndevices = 1", started, "device-count", Tier::Contraindicated),
        (
            "[host]\nmin_devices = 3",
            started,
            "device-count",
            Tier::Contraindicated,
        ),
        ("[session]\nmax_age_s = 10", started + 12_000, "too-old", Tier::None),
        ("", started - 3_600_000, "from-the-future", Tier::None),
        (
            "[session]\naudience = \"others\"",
            started,
            "wrong-audience",
            Tier::None,
        ),
        (&verifier, started, "wrong-verifier", Tier::None),
        ("[session]\nmin_samples = 60000", started, "too-few-samples", Tier::None),
        (
            "[device]\nclass = \"h200\"",
            started,
            "wrong-class",
            Tier::Contraindicated,
        ),
        (
            "[device]\nmin_tensor_ops_per_s = 1_000_000_000_000_000",
            started,
            "below-minimum",
            Tier::Contraindicated,
        ),
        (
            "[device]\nclaim_must_fit = false",
            started,
            "minima-met",
            Tier::Affirming,
        ),
        ("[session]\nmax_fill_ms = 1", started, "too-slow", Tier::Contraindicated),
    ] {
        assert_eq!(code(text, now), (expected, tier), "{text}");
    }
}

#[test]
fn a_failed_session_is_contraindicated_and_one_that_could_not_run_is_none() {
    let profiles = Profiles::embedded();
    let mut late = settings();
    late.request.deadlines.fill_ms = 1;
    late.request.iterations[0].inner_dim = 16_384;
    late.request.device_bytes = Some(4 << 20);
    let mut absent = settings();
    absent.request.devices = Some(vec![DeviceOrdinal(9)]);
    for (settings, tier, code, has_nonce) in [
        (late, Tier::Contraindicated, "session-failed", true),
        (absent, Tier::None, "could-not-run", false),
    ] {
        let (attestation, _) = run(attester(cpu(1)), &settings, &Unobserved);
        let now = attestation.evidence.started_unix_ms;
        let appraisal = appraise(&Subject::from(&attestation), &Policy::default(), &profiles, now);
        assert_eq!(appraisal.verdict, tier, "{:?}", appraisal.reasons);
        assert!(appraisal.reasons.iter().any(|reason| reason.code() == code));
        // A host's figures are not certified by a session that was not affirmed.
        assert!(
            appraisal
                .devices
                .iter()
                .all(|device| device.certified == Certified::default() && device.verdict == tier)
        );
        let result = AttestationResult::new(&appraisal, &Issuance::default());
        assert_eq!((result.ear_status, result.eat_nonce.is_some()), (tier, has_nonce));
        for report in [html(&appraisal), markdown(&appraisal)] {
            assert!(report.contains(tier.name()) && report.contains(code));
        }
        let (failures, skipped) = if tier == Tier::None { (0, 1) } else { (2, 0) };
        assert!(junit(&appraisal).contains(&format!("failures=\"{failures}\" skipped=\"{skipped}\"")));
    }
}

#[test]
fn one_device_listed_twice_is_contraindicated() {
    let mut devices = cpu(2);
    for device in &mut devices {
        device.offer.labels.push(Label::new("uuid", "GPU-1"));
    }
    let (attestation, _) = run(attester(devices), &settings(), &Unobserved);
    let now = attestation.evidence.started_unix_ms;
    let appraisal = appraise(
        &Subject::from(&attestation),
        &Policy::default(),
        &Profiles::embedded(),
        now,
    );
    assert_eq!(appraisal.verdict, Tier::Contraindicated);
    assert_eq!(appraisal.findings[0].kind.name(), "duplicate-device");
}

#[test]
fn labels_of_a_gpu_raise_findings_and_never_help() {
    let mut devices = cpu(1);
    let offer = &mut devices[0].offer;
    offer.engine = "cuda".to_owned();
    offer.model = "NVIDIA GH200 480GB".to_owned();
    offer.memory_bytes = 64 << 30;
    for (name, value) in [
        ("multiprocessors", "108"),
        ("power_limit_w", "300"),
        ("card_memory_bytes", "100000000000"),
        ("memory_bytes", "50000000000"),
    ] {
        offer.labels.push(Label::new(name, value));
    }
    devices[0].telemetry = Some(Box::new(common::Says(vec![
        Label::new("device 0 max_power_w", "0.0001"),
        Label::new("device 0 throttle_reasons", "sw_power_cap"),
    ])));
    let (attestation, _) = run(attester(devices), &settings(), &Unobserved);
    let now = attestation.evidence.started_unix_ms;
    let appraisal = appraise(
        &Subject::from(&attestation),
        &Policy::default(),
        &Profiles::embedded(),
        now,
    );
    let kinds: Vec<&str> = appraisal.devices[0]
        .findings
        .iter()
        .map(|finding| finding.kind.name())
        .collect();
    for expected in [
        "class-unmeasured",
        "memory-label",
        "memory-mismatch",
        "sm-count",
        "power-capped",
        "power-against-rate",
        "throttled",
        "assumption-below-class",
    ] {
        assert!(kinds.contains(&expected), "{expected}: {kinds:?}");
    }
    assert_ne!(appraisal.verdict, Tier::Affirming);
}
