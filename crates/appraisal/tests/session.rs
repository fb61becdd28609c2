//! A CPU session, appraised: the same verdict from the live session and from its evidence.

mod common;

use appraisal::policy::Policy;
use appraisal::profile::Profiles;
use appraisal::reason::{Reason, Tier};
use appraisal::{Subject, appraise};
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
