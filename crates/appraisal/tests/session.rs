//! A CPU session, appraised: the live session and its evidence result in the same verdict.

mod common;

use appraisal::assumptions::own_links;
use appraisal::policy::Policy;
use appraisal::profile::Profile;
use appraisal::profiles::Profiles;
use appraisal::reason::{Reason, Untested};
use appraisal::{Appraisal, DeviceAppraisal, Subject};
use attestation_result::Issuance;
use attestation_result::Tier;
use common::appraise;
use integration_tests::{attester, cpu, run, settings};
use protocol::bytes::DeviceOrdinal;
use protocol::cbor::{Canonical, Label};
use protocol::frame::{Frame, MessageType};
use protocol::message::{Abort, AbortCode, Filled, Swept};
use protocol::verdict::{Failure, Verdict};
use report::figure::CertifiedFigures;
use report::{html, junit, markdown};
use testkit::adversary::Adversary;
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Tampered, Turn};
use testkit::rehearsal::{Rehearsal, Rehearsed};
use verifier::recompute::Recompute;
use verifier::units::ops_per_s;
use verifier::{Attestation, Unobserved, verify};

#[test]
fn a_cpu_session_is_affirmed_live_and_from_its_evidence() {
    let attestation = common::session(2);
    let profiles = Profiles::embedded();
    let policy = Policy::parse("policy.toml", common::CPU, &profiles).expect("a policy");
    let now = attestation.evidence.started_unix_ms + 5_000;
    let live = appraise(&Subject::from(attestation), &policy, &profiles, now);
    assert_eq!(live.verdict, Tier::Affirming, "{:?}", live.reasons);
    assert_eq!(live.devices.len(), 2);
    assert!(
        live.devices
            .iter()
            .all(|device| device.stated_class.as_deref() == Some("cpu"))
    );
    assert!(live.devices.iter().all(|device| device.phases.len() == 3));

    let verified = verify(
        &attestation.sealed,
        &Recompute::default(),
        &attestation.judge(),
        &Unobserved,
    )
    .expect("evidence");
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
        // Only the criteria other than the device decide: the device itself is what the policy asks for.
        let device = if text.contains("[device]") { "" } else { common::CPU };
        let policy = Policy::parse("policy.toml", &format!("{device}{text}"), &profiles).expect("a policy");
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
        ("", started, "minima-met", Tier::Affirming),
        (&verifier, started, "unknown-verifier", Tier::None),
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
            "[device]\nstated_class_must_fit = false\nmin_tensor_ops_per_s = 1",
            started,
            "no-gpu-shown",
            Tier::None,
        ),
        (
            "[device]\nstated_class_must_fit = false\nmin_tensor_ops_per_s = 1\ngpu_must_show = false",
            started,
            "minima-met",
            Tier::Affirming,
        ),
        ("[session]\nmax_fill_ms = 1", started, "too-slow", Tier::Contraindicated),
    ] {
        assert_eq!(code(text, now), (expected, tier), "{text}");
    }
}

/// One CPU device that states that it is something else, under `policy` and the embedded profiles with `more`.
fn states_it_is(engine: &str, model: &str, policy: &str, more: &[Profile]) -> Appraisal {
    let mut devices = cpu(1);
    devices[0].offer.engine = engine.to_owned();
    devices[0].offer.model = model.to_owned();
    let (attestation, _) = run(attester(devices), &settings(), &Unobserved);
    let known = Profiles::embedded()
        .iter()
        .cloned()
        .chain(more.iter().cloned())
        .collect();
    let profiles = Profiles::new(known).expect("profiles");
    let policy = Policy::parse("policy.toml", policy, &profiles).expect("a policy");
    let now = attestation.evidence.started_unix_ms;
    appraise(&Subject::from(&attestation), &policy, &profiles, now)
}

fn codes(device: &DeviceAppraisal) -> Vec<&'static str> {
    device.reasons.iter().map(Reason::code).collect()
}

/// A device that states no class, or no particular one, is not what the policy asks for; its figures are examined
/// nevertheless.
#[test]
fn no_model_is_taken_for_the_class_that_is_asked_for() {
    let again = Profiles::embedded().named("h200").cloned().map(|h200| Profile {
        name: "h200-too".to_owned(),
        ..h200
    });
    let again = [again.expect("a class")];
    for (model, more, expected, says) in [
        (
            "NVIDIA X9000",
            &[][..],
            "stated-unknown",
            "\"NVIDIA X9000\" is of no known class",
        ),
        (
            "NVIDIA H200",
            &again,
            "stated-ambiguous",
            "may be any of h200, h200-too",
        ),
    ] {
        let appraisal = states_it_is("cuda", model, "[device]\nclass = \"h200\"", more);
        let device = &appraisal.devices[0];
        assert_eq!(codes(device)[..3], [expected, "wrong-class", "stated-short"], "{model}");
        assert_eq!(device.verdict, Tier::Contraindicated);
        assert!(device.reasons[1].to_string().contains(says), "{}", device.reasons[1]);
        // A CPU does not have the figures of an H200.
        assert_eq!(device.held_against.as_ref().map(|held| &held.class[..]), Some("h200"));
        assert_eq!(device.stated_class, None);
        // If no class is requested, this is a doubt and not a pass; without V and B it may be a CPU, and nothing can be
        // concluded.
        for (policy, tier, all) in [
            ("", Tier::None, vec![expected, "no-gpu-shown"]),
            ("[device]\ngpu_must_show = false", Tier::Warning, vec![expected]),
        ] {
            let appraisal = states_it_is("cuda", model, policy, more);
            assert_eq!(
                (appraisal.verdict, codes(&appraisal.devices[0])),
                (tier, all),
                "{policy}"
            );
        }
    }
}

/// The engine is only the Attester's statement: a device that names a GPU's model is judged as that GPU.
#[test]
fn a_gpu_on_the_cpu_engine_is_not_taken_for_a_cpu() {
    let appraisal = states_it_is("cpu", "NVIDIA H200", "", &[]);
    let device = &appraisal.devices[0];
    assert_eq!(device.stated_class.as_deref(), Some("h200"));
    assert!(codes(device).contains(&"engine-mismatch"), "{:?}", device.reasons);
    assert!(
        !codes(device).contains(&"class-without-figures"),
        "{:?}",
        device.reasons
    );
    assert_ne!(appraisal.verdict, Tier::Affirming);
}

/// A session with too few samples for any bound affirms nothing, whatever the policy asks for.
#[test]
fn nothing_certified_is_nothing_affirmed() {
    let mut few = settings();
    few.request.samples = 100;
    let (attestation, _) = run(attester(cpu(1)), &few, &Unobserved);
    let profiles = Profiles::embedded();
    let mut unasked = Policy::default();
    unasked.device.stated_class_must_fit = false;
    let mut least = unasked.clone();
    least.device.min_tensor_ops_per_s = Some(1);
    // Neither would a policy that asks for a CPU: T is not certified either.
    let cpu_asked_for = Policy::parse("policy.toml", common::CPU, &profiles).expect("a policy");
    let under = |attestation: &Attestation, policy: &Policy| {
        let now = attestation.evidence.started_unix_ms;
        let appraisal = appraise(&Subject::from(attestation), policy, &profiles, now);
        assert_eq!(appraisal.verdict, Tier::None);
        appraisal
    };
    for policy in [&least, &Policy::default(), &unasked, &cpu_asked_for] {
        let appraisal = under(&attestation, policy);
        // The session states the cause, once, whatever the policy asks of its devices.
        match &appraisal.reasons[..] {
            [reason @ Reason::NothingCertified { message }] => {
                assert!(message.contains("fewer than 256 samples"), "{message}");
                assert!(reason.remedy().contains("256 samples"), "the remedy is of the cause");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(codes(&appraisal.devices[0]), ["no-figures"]);
        assert_eq!(appraisal.report.verdict, "none");
    }
    // A session that could certify does not affirm either if the policy asks for nothing; with a CPU it also shows no GPU.
    let appraisal = under(common::session(2), &unasked);
    assert_eq!(codes(&appraisal.devices[0]), ["not-tested", "no-gpu-shown"]);
    unasked.device.gpu_must_show = false;
    let appraisal = under(common::session(2), &unasked);
    assert_eq!(
        appraisal.devices[0].reasons,
        [Reason::NotTested {
            cause: Untested::Question
        }]
    );
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
                .all(|device| device.certified == CertifiedFigures::default() && device.verdict == tier)
        );
        let result = appraisal.to_result(&Issuance::default());
        assert_eq!((result.ear_status, result.eat_nonce.is_some()), (tier, has_nonce));
        for report in [html(&appraisal.document()), markdown(&appraisal.document())] {
            assert!(report.contains(tier.name()) && report.contains(code));
        }
        let (failures, skipped) = if tier == Tier::None { (0, 1) } else { (2, 0) };
        assert!(junit(&appraisal.document()).contains(&format!("failures=\"{failures}\" skipped=\"{skipped}\"")));
    }
}

/// Devices of a session in memory, appraised: the tier and codes of each.
fn devices_of(rehearsed: &Rehearsed) -> (Tier, Vec<(Tier, Vec<&'static str>)>) {
    let sealed = rehearsed.sealed();
    let subject = Subject {
        evidence: &rehearsed.evidence,
        session: &rehearsed.session,
        sealed: &sealed,
    };
    let now = rehearsed.evidence.started_unix_ms;
    let appraisal = appraise(&subject, &Policy::default(), &Profiles::embedded(), now);
    let device = |device: &DeviceAppraisal| (device.verdict, device.reasons.iter().map(Reason::code).collect());
    (appraisal.verdict, appraisal.devices.iter().map(device).collect())
}

/// Three devices; `tamper` changes what the Attester does.
fn rehearse(tamper: impl FnMut(&mut Turn<'_>)) -> Rehearsed {
    let honest = HonestPeer::new(cast::hello(&[4, 4, 4]), |_| cast::engine());
    Rehearsal::new(cast::request(&[(256, 2)], 8)).run(&mut Tampered::new(honest, tamper))
}

/// Changes a commitment of device 1.
fn of_device_1(turn: &mut Turn<'_>, message_type: MessageType, change: impl FnOnce(&mut Vec<Action>, usize)) {
    let is_its = |action: &Action| {
        matches!(action, Action::Frame(frame) if frame.message_type() == Some(message_type)
            && (Filled::from_bytes(&frame.payload).is_ok_and(|filled| filled.device.0 == 1)
                || Swept::from_bytes(&frame.payload).is_ok_and(|swept| swept.device.0 == 1)))
    };
    if let Some(at) = turn.actions.iter().position(is_its) {
        change(&mut turn.actions, at);
    }
}

/// The failure names a device, or a device's answer did not arrive: it is blamed, and the others neither pass nor are
/// blamed.
#[test]
fn a_failure_is_blamed_on_its_device_alone() {
    let late_fill =
        |turn: &mut Turn<'_>| of_device_1(turn, MessageType::Filled, |actions, at| drop(actions.remove(at)));
    let late_sweep =
        |turn: &mut Turn<'_>| of_device_1(turn, MessageType::Swept, |actions, at| drop(actions.remove(at)));
    let twice = |turn: &mut Turn<'_>| {
        of_device_1(turn, MessageType::Filled, |actions, at| {
            actions.insert(at, actions[at].clone())
        })
    };
    // Another byte in the first opening of device 1: device 0 has four leaves, all sampled before it.
    let mut changed = HonestPeer::new(cast::hello(&[4, 4, 4]), |_| cast::engine());
    changed.openings_hook = Some(Box::new(|openings| openings[4][0].chunk[0] ^= 1));
    let junk = Adversary::named("junk-fill").expect("an adversary");
    let mut lazy = HonestPeer::new(cast::hello(&[4, 4, 4]), |g: DeviceOrdinal| match g.0 {
        1 => junk.engine(cast::engine(), 1.0),
        _ => cast::engine(),
    });
    let run = |peer: &mut HonestPeer| Rehearsal::new(cast::request(&[(256, 2)], 8)).run(peer);
    let unjudged = (Tier::None, vec!["not-judged"]);
    let blamed = [
        unjudged.clone(),
        (Tier::Contraindicated, vec!["device-failed"]),
        unjudged.clone(),
    ];
    for (what, rehearsed) in [
        ("FILLED missing", rehearse(late_fill)),
        ("SWEPT missing", rehearse(late_sweep)),
        ("FILLED twice", rehearse(twice)),
        ("another opening", run(&mut changed)),
        ("junk instead of products", run(&mut lazy)),
    ] {
        assert!(
            matches!(rehearsed.verdict(), Verdict::Contraindicated(_)),
            "{what}: {:?}",
            rehearsed.verdict()
        );
        assert_eq!(
            devices_of(&rehearsed),
            (Tier::Contraindicated, blamed.to_vec()),
            "{what}: {:?}",
            rehearsed.verdict()
        );
    }
}

/// A failure of the Attester as a whole blames no device and clears none.
#[test]
fn a_failure_without_a_device_blames_none() {
    let mut honest = HonestPeer::new(cast::hello(&[4, 4]), |_| cast::engine());
    honest.key = cast::strangers_key();
    let rehearsed = Rehearsal::new(cast::request(&[(256, 2)], 8)).run(&mut honest);
    assert_eq!(rehearsed.verdict(), &Verdict::Contraindicated(Failure::Signature));
    let unjudged = (Tier::None, vec!["not-judged"]);
    assert_eq!(
        devices_of(&rehearsed),
        (Tier::Contraindicated, vec![unjudged.clone(), unjudged.clone()])
    );

    let closed = rehearse(|turn| {
        if turn.answers(MessageType::Nonce) {
            turn.actions = vec![Action::Close];
        }
    });
    assert_eq!(
        devices_of(&closed),
        (Tier::None, vec![unjudged.clone(), unjudged.clone(), unjudged])
    );
}

/// An ABORT that names a device reports which one could not run.
#[test]
fn the_device_that_gave_up_is_named() {
    let lost = rehearse(|turn| {
        if turn.answers(MessageType::Nonce) {
            let abort = Abort {
                code: AbortCode::DeviceLost,
                device: Some(DeviceOrdinal(2)),
                message: "it fell off the bus".to_owned(),
            };
            turn.actions = vec![
                Action::Frame(Frame::new(MessageType::Abort, abort.to_bytes())),
                Action::Close,
            ];
        }
    });
    let unjudged = (Tier::None, vec!["not-judged"]);
    let lost_one = (Tier::None, vec!["could-not-run"]);
    assert_eq!(
        devices_of(&lost),
        (Tier::None, vec![unjudged.clone(), unjudged, lost_one])
    );
}

#[test]
fn one_device_listed_twice_is_told_and_a_label_contraindicates_nobody() {
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
    // A CPU is not a GPU; beyond that the label is only a doubt.
    assert_eq!(appraisal.verdict, Tier::None);
    assert_eq!(appraisal.findings[0].effect.name(), "warn");
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
        ("max_sm_clock_mhz", "1980"),
        ("nvml_model", "NVIDIA GeForce RTX 3090"),
    ] {
        offer.labels.push(Label::new(name, value));
    }
    devices[0].telemetry = Some(Box::new(common::Says(&[
        ("max_power_w", "0.0001"),
        ("max_sm_clock_mhz", "0.0001"),
        ("throttle_reasons", "sw_power_cap"),
    ])));
    let (attestation, _) = run(attester(devices), &settings(), &Unobserved);
    let now = attestation.evidence.started_unix_ms;
    // By default no class has faster links than assumed (`no_class_exceeds_the_table…`); under a policy for PCIe this one
    // has.
    let profiles = Profiles::embedded();
    let pcie = Policy {
        assumptions: own_links(profiles.named("h200").expect("a class")),
        ..Policy::default()
    };
    let appraisal = appraise(&Subject::from(&attestation), &pcie, &profiles, now);
    let kinds: Vec<&str> = appraisal.devices[0]
        .findings
        .iter()
        .map(|finding| finding.kind.name())
        .collect();
    for expected in [
        "class-unmeasured",
        "memory-label",
        "memory-mismatch",
        "name-mismatch",
        "sm-count",
        "power-capped",
        "power-against-rate",
        "clock-against-rate",
        "throttled",
        "assumption-below-class",
    ] {
        assert!(kinds.contains(&expected), "{expected}: {kinds:?}");
    }
    // The fastest of its fills is compared with the power.
    let measured = appraisal.report.devices[0].measured.iter();
    let fastest = measured.map(|m| m.fill_ops_per_s).max().expect("fills");
    let findings = &appraisal.devices[0].findings;
    let against = findings.iter().find(|f| f.kind.name() == "power-against-rate");
    let detail = &against.expect("seen above").detail;
    assert!(detail.starts_with(&ops_per_s(fastest.into())), "{detail}, {fastest}");
    assert_ne!(appraisal.verdict, Tier::Affirming);
}
