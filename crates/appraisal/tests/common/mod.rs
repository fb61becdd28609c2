//! One CPU session for all tests of a binary.

use std::sync::OnceLock;

use attester::Telemetry;
use integration_tests::{attester, cpu, run, settings};
use protocol::cbor::Label;
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

/// A device's view of itself, made up.
#[allow(dead_code, reason = "not every test binary makes one up")]
pub(crate) struct Says(pub(crate) Vec<Label>);

impl Telemetry for Says {
    fn start(&mut self) {}

    fn finish(&mut self) -> Vec<Label> {
        std::mem::take(&mut self.0)
    }
}
