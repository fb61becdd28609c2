//! Whose evidence counts, and that evidence cannot weaken its judge's assumptions.

use appraisal::finding::Effect;
use appraisal::finding::FindingKind;
use appraisal::policy::Policy;
use appraisal::profiles::Profiles;
use appraisal::reason::Reason;
use appraisal::{Appraisal, Subject, appraise};
use attestation_result::Tier;
use protocol::bounds::Assumptions;
use protocol::bytes::Identity;
use protocol::cbor::Label;
use protocol::evidence::Evidence;
use protocol::frame::MessageType;
use protocol::verdict::Verdict;
use report::figure::CertifiedFigures;
use testkit::cast;
use testkit::peer::{Action, Tampered, Turn};
use testkit::rehearsal::{Rehearsal, Rehearsed};
use verifier::preset::default_assumptions;

use crate::{CERTIFYING, TILE, certifying, hello, of_figures, one, peer, policy, request, under};

/// Judged for the named Verifiers, by a host that has a different Verifier itself.
fn judged(rehearsed: &Rehearsed, policy: &Policy, named: &[Identity]) -> Appraisal {
    let own = cast::identity(&cast::attester_key());
    let judge = policy.judge(named, Some(own), &rehearsed.evidence.assumptions);
    let sealed = rehearsed.sealed();
    let subject = Subject {
        evidence: &rehearsed.evidence,
        session: &rehearsed.session,
        sealed: &sealed,
    };
    appraise(
        &subject,
        policy,
        &Profiles::embedded(),
        &judge,
        rehearsed.evidence.started_unix_ms,
    )
}

/// A policy that any rate meets.
fn content() -> Policy {
    let mut policy = of_figures();
    policy.device.min_tensor_ops_per_s = Some(1);
    policy
}

/// Nothing is reported, for or against any party, except that no trusted Verifier vouches.
fn assert_unvouched(appraisal: &Appraisal, what: &str) {
    assert_eq!(appraisal.verdict, Tier::None, "{what}");
    match &appraisal.reasons[..] {
        [Reason::UnknownVerifier { message }] => {
            let verifier = cast::identity(&cast::verifier_key()).to_string();
            assert!(message.contains(&verifier), "{what}: {message}");
        }
        other => panic!("{what}: {other:?}"),
    }
    assert!(!appraisal.devices.is_empty(), "{what}");
    for device in &appraisal.devices {
        assert_eq!(device.verdict, Tier::None, "{what}: {:?}", device.reasons);
        assert!(
            matches!(device.reasons[..], [Reason::NotJudged { .. }]),
            "{what}: {:?}",
            device.reasons
        );
        assert_eq!(device.certified, CertifiedFigures::default(), "{what}");
    }
    assert_eq!(
        (appraisal.report.verdict, appraisal.report.reason),
        ("none", "unknown-verifier"),
        "{what}"
    );
    assert!(appraisal.report.host.is_none(), "{what}");
}

/// The Verifier that ran the session controlled the clock and chose the challenges: its word is worth as much as its key.
#[test]
fn evidence_of_a_verifier_that_nobody_named_says_nothing() {
    assert_unvouched(&judged(one(), &content(), &[]), "affirmed");
    // Nothing else that the policy asks of the session, such as its age, counts against any party either.
    let mut asking = content();
    asking.session.audience = Some("others".to_owned());
    asking.session.max_fill_ms = Some(1);
    asking.device.min_tensor_ops_per_s = Some(u64::MAX >> 2);
    assert_unvouched(&judged(one(), &asking, &[]), "asking");
    // Naming a Verifier excludes all others: this host's own is not trusted then.
    let stranger = cast::identity(&cast::strangers_key());
    assert_unvouched(&judged(one(), &content(), &[stranger]), "a stranger named");

    // A host could also invent a failed session of a competitor.
    let late = |turn: &mut Turn<'_>| {
        if let Some(first) = turn.position(MessageType::Filled) {
            turn.actions.truncate(first);
            turn.actions.push(Action::Hang);
        }
    };
    let failed = Rehearsal::new(request(&[(64, 1)], 4)).run(&mut Tampered::new(peer(cast::hello(&[2, 2])), late));
    assert!(
        matches!(failed.verdict(), Verdict::Contraindicated(_)),
        "{:?}",
        failed.verdict()
    );
    assert_unvouched(&judged(&failed, &content(), &[]), "contraindicated");
    let verifier = cast::identity(&cast::verifier_key());
    assert_eq!(judged(&failed, &content(), &[verifier]).verdict, Tier::Contraindicated);
}

/// Counts and labels of evidence that no trusted Verifier vouches for are no better than the rest: a host could invent a
/// competitor's.
#[test]
fn counts_and_labels_of_unvouched_evidence_accuse_nobody() {
    let mut hello = hello(&[CERTIFYING, CERTIFYING]);
    for offer in &mut hello.devices {
        offer.labels.push(Label::new("uuid", "GPU-1"));
        offer.labels.push(Label::new("mig_slice", "true"));
    }
    let rehearsed = Rehearsal::new(request(&[(4096, 2)], 256)).run(&mut peer(hello));
    assert_eq!(rehearsed.verdict(), &Verdict::Affirmed);
    let mut asking = content();
    asking.host.devices = Some(3);
    asking.findings.insert(FindingKind::Slice, Effect::Contraindicate);
    let verifier = cast::identity(&cast::verifier_key());
    let vouched = judged(&rehearsed, &asking, &[verifier]);
    assert_eq!(vouched.verdict, Tier::Contraindicated);
    let codes: Vec<&str> = vouched.reasons.iter().map(Reason::code).collect();
    assert_eq!(codes, ["device-count", "duplicate-device"]);
    assert_unvouched(&judged(&rehearsed, &asking, &[]), "labels and counts");
}

#[test]
fn evidence_of_a_named_verifier_is_judged() {
    let verifier = cast::identity(&cast::verifier_key());
    let by_caller = judged(one(), &content(), &[verifier]);
    assert_eq!(by_caller.verdict, Tier::Affirming, "{:?}", by_caller.reasons);
    let mut listing = content();
    listing.session.verifiers = vec![verifier.to_string()];
    for named in [&[][..], &[cast::identity(&cast::strangers_key())]] {
        let by_policy = judged(one(), &listing, named);
        assert_eq!(by_policy.verdict, Tier::Affirming, "{:?}", by_policy.reasons);
        assert_eq!(by_policy.devices[0].certified, by_caller.devices[0].certified);
    }
}

/// The same session as if it had been recorded with these assumptions.
fn recorded_with(assumptions: Assumptions) -> Rehearsed {
    let rehearsed = certifying(Some(CERTIFYING * TILE), &[CERTIFYING + 40]);
    Rehearsed {
        evidence: Evidence {
            assumptions,
            ..rehearsed.evidence
        },
        ..rehearsed
    }
}

/// The recorder may be the party that benefits from weak assumptions.
#[test]
fn evidence_cannot_weaken_what_its_judge_takes_for_granted() {
    let default = default_assumptions(20);
    let weak = recorded_with(Assumptions {
        best_rate_ops_per_s: 1,
        helper_gpus: 1,
        link_in_bytes_per_s: 1,
        link_out_bytes_per_s: 1,
        helper_bytes_per_s: 0,
        on_chip_bytes: 1,
        error_bits: 20,
    });
    let assumed = |appraisal: &Appraisal| {
        let a = &appraisal.report.assumptions.assumed;
        (
            a.best_rate_ops_per_s,
            a.helper_gpus,
            a.link_in_bytes_per_s,
            a.link_out_bytes_per_s,
            a.on_chip_bytes,
        )
    };
    let of = |a: &Assumptions| {
        (
            a.best_rate_ops_per_s,
            a.helper_gpus,
            a.link_in_bytes_per_s,
            a.link_out_bytes_per_s,
            a.on_chip_bytes,
        )
    };
    // Under the recorded assumptions a CPU would hold memory as fast as a GPU's; by default none is certified.
    let honest = recorded_with(default);
    let [by_default, by_record] = [&honest, &weak].map(|rehearsed| under(rehearsed, &Policy::default()));
    for appraisal in [&by_default, &by_record] {
        assert_eq!(assumed(appraisal), of(&default));
        assert!(!appraisal.devices[0].certified.shows_gpu_memory());
        assert_eq!(appraisal.report.assumptions.narrowed_by, None);
    }
    let certified = weak
        .session
        .certified(&weak.evidence.assumptions)
        .expect("an affirmed session");
    assert!(certified.host.shows_gpu_memory());
    // The same as the session itself gives under the default's assumptions.
    let certified = weak.session.certified(&default).expect("an affirmed session");
    assert_eq!(
        by_record.devices[0].certified,
        CertifiedFigures::from(&certified.devices[0].share)
    );

    // The recorded assumptions count where they are worse: its Verifier may know of more helpers.
    let strong = recorded_with(Assumptions {
        helper_gpus: 8,
        ..default
    });
    let appraisal = under(&strong, &Policy::default());
    assert_eq!(assumed(&appraisal), of(&strong.evidence.assumptions));
    // The policy's own figures override all of them; its author is responsible for them.
    let mut one_helper = policy();
    for rehearsed in [&weak, &strong] {
        let appraisal = under(rehearsed, &one_helper);
        assert_eq!(assumed(&appraisal), (1, 1, 0, 0, 0));
        assert!(appraisal.devices[0].certified.shows_gpu_memory());
        assert_eq!(appraisal.report.assumptions.narrowed_by.as_deref(), Some("default"));
    }
    // For figures that the policy does not state, the worse of the two applies.
    one_helper.assumptions.helper_gpus = None;
    assert_eq!(assumed(&under(&strong, &one_helper)), (1, 8, 0, 0, 0));
    assert_eq!(assumed(&under(&weak, &one_helper)), (1, 1, 0, 0, 0));
}
