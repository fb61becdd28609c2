//! One CPU session for all tests of a binary.

use std::sync::OnceLock;

use integration_tests::{attester, cpu, run, settings};
use protocol::verdict::Verdict;
use verifier::{Attestation, Unobserved};

/// An affirmed session of `devices` CPU devices, run once.
pub(crate) fn session(devices: usize) -> &'static Attestation {
    static SESSION: OnceLock<Attestation> = OnceLock::new();
    SESSION.get_or_init(|| {
        let (attestation, _) = run(attester(cpu(devices)), &settings(), &Unobserved);
        assert_eq!(attestation.session.verdict(), Some(&Verdict::Affirmed));
        attestation
    })
}
