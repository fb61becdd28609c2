//! A CPU's session: whatever the policy asks for, it is accepted only as a CPU.

mod common;

use appraisal::policy::Policy;
use appraisal::profiles::Profiles;
use appraisal::reason::Reason;
use appraisal::{Appraisal, Subject};
use attestation_result::Tier;
use integration_tests::{attester, cpu, run, settings};
use protocol::verdict::Verdict;
use verifier::{Attestation, Unobserved};

/// An affirmed session of one CPU whose labels state this.
fn session(engine: &str, model: &str) -> Attestation {
    let mut devices = cpu(1);
    devices[0].offer.engine = engine.to_owned();
    devices[0].offer.model = model.to_owned();
    let (attestation, _) = run(attester(devices), &settings(), &Unobserved);
    assert_eq!(attestation.session.verdict(), Some(&Verdict::Affirmed));
    attestation
}

fn under(attestation: &Attestation, policy: &str) -> Appraisal {
    let profiles = Profiles::embedded();
    let policy = Policy::parse("policy.toml", policy, &profiles).expect("a policy");
    let now = attestation.evidence.started_unix_ms;
    common::appraise(&Subject::from(attestation), &policy, &profiles, now)
}

fn codes(appraisal: &Appraisal) -> Vec<&'static str> {
    appraisal.devices[0].reasons.iter().map(Reason::code).collect()
}

/// T counts exact multiply-adds on any unit: only V and B indicate a GPU, and a CPU shows neither.
#[test]
fn a_cpu_is_never_affirmed_as_a_gpu() {
    let honest = common::session(1);
    let liar = session("cuda", "NVIDIA H200");
    let half_liar = session("cpu", "NVIDIA H200");
    let nobody = session("cuda", "NVIDIA X9000");
    let least = "[device]\nstated_class_must_fit = false\nmin_tensor_ops_per_s = 1\n";
    // If the policy asks for a class without figures, for a GPU's class, by minimum figures, or by default; under the
    // class's own links too.
    let h200 = Policy::for_class(Profiles::embedded().named("h200").expect("a class")).to_toml();
    let narrow = "[assumptions]\nlink_in_bytes_per_s = 4_000_000_000\nlink_out_bytes_per_s = 4_000_000_000\n";
    let narrow = format!("{least}{narrow}");
    for (what, policy) in [
        ("default", ""),
        ("minima alone", least),
        ("minima under narrow links", &narrow),
        ("a host's minimum", "[host]\nmin_tensor_ops_per_s = 1\n"),
        ("an H200", &h200),
    ] {
        for (whose, attestation) in [
            ("a CPU", honest),
            ("an H200 on cuda", &liar),
            ("an H200 on cpu", &half_liar),
            ("no class", &nobody),
        ] {
            let appraisal = under(attestation, policy);
            let certified = appraisal.devices[0].certified;
            assert!(!certified.shows_gpu_memory(), "{whose}, {what}: {certified:?}");
            assert!(
                certified.tensor_ops_per_s.is_some(),
                "{whose}, {what}: a rate is certified"
            );
            for tier in [appraisal.verdict, appraisal.devices[0].verdict] {
                assert!(
                    matches!(tier, Tier::None | Tier::Contraindicated),
                    "{whose}, {what}: {}, {:?}",
                    tier.name(),
                    codes(&appraisal)
                );
            }
            assert!(
                codes(&appraisal).contains(&"no-gpu-shown"),
                "{whose}, {what}: {:?}",
                codes(&appraisal)
            );
        }
    }
    assert_eq!(codes(&under(honest, "")), ["class-without-figures", "no-gpu-shown"]);
    assert_eq!(codes(&under(honest, least)), ["minima-met", "no-gpu-shown"]);
    // A policy that accepts a rate from any unit has to state so.
    let appraisal = under(honest, &format!("{least}gpu_must_show = false\n"));
    assert_eq!(
        (appraisal.verdict, codes(&appraisal)),
        (Tier::Affirming, vec!["minima-met"])
    );
}

#[test]
fn a_cpu_that_is_asked_for_is_affirmed_as_one() {
    let honest = common::session(1);
    let appraisal = under(honest, common::CPU);
    assert_eq!(
        (appraisal.verdict, codes(&appraisal)),
        (Tier::Affirming, vec!["minima-met"])
    );
    assert_eq!(appraisal.report.verdict, "affirmed");
    assert!(
        appraisal.report.shown.contains("no GPU is proven"),
        "{}",
        appraisal.report.shown
    );
    // More than it has is not affirmed.
    let more = "[device]\nclass = \"cpu\"\nmin_tensor_ops_per_s = 1_000_000_000_000_000_000\n";
    let appraisal = under(honest, more);
    assert_eq!(appraisal.verdict, Tier::Contraindicated);
    assert!(codes(&appraisal).contains(&"below-minimum"), "{:?}", codes(&appraisal));
    // Neither is a CPU that states that it is something else, or a GPU that is not one.
    for (engine, model) in [("cuda", "NVIDIA H200"), ("cpu", "NVIDIA H200"), ("cuda", "Xeon")] {
        let appraisal = under(&session(engine, model), common::CPU);
        assert_eq!(appraisal.verdict, Tier::Contraindicated, "{engine}, {model}");
        assert!(
            codes(&appraisal).contains(&"wrong-class"),
            "{engine}, {model}: {:?}",
            codes(&appraisal)
        );
    }
}
