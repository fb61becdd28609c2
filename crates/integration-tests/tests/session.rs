//! Sessions that are affirmed, and what their evidence says when it is checked again.

use integration_tests::{attester, cpu, run, settings};
use protocol::verdict::Verdict;
use verifier::recompute::Recompute;
use verifier::report::Report;
use verifier::{Unobserved, verify};

#[test]
fn a_session_is_affirmed_and_its_evidence_too() {
    for devices in [1, 3] {
        let (attestation, result) = run(attester(cpu(devices)), &settings(), &Unobserved);
        assert_eq!(attestation.session.verdict(), Some(&Verdict::Affirmed));
        assert_eq!(result.expect("a RESULT").status, 0);
        let plan = attestation.session.plan().expect("a plan");
        assert_eq!(plan.devices().len(), devices);

        let verified = verify(&attestation.sealed, &Recompute::default(), &Unobserved).expect("evidence");
        assert_eq!(verified.session.verdict(), Some(&Verdict::Affirmed));
        assert_eq!(verified.session.checksum(), attestation.session.checksum());
        assert!(verified.session.checksum().is_some());
        let report = |evidence, session| Report::new(evidence, session, &attestation.sealed).to_json();
        assert_eq!(
            report(&verified.evidence, &verified.session),
            report(&attestation.evidence, &attestation.session)
        );
        println!(
            "{}",
            Report::new(&verified.evidence, &verified.session, &attestation.sealed)
        );
    }
}
