//! One CPU session for all tests of a binary, and made-up devices and classes.

use std::sync::OnceLock;

use appraisal::policy::Policy;
use appraisal::profile::{Capacity, Kind, Profile, Source, Status};
use appraisal::profiles::Profiles;
use appraisal::{Appraisal, Subject};
use attester::Telemetry;
use integration_tests::{attester, cpu, run, settings};
use protocol::verdict::Verdict;
use verifier::outcome::verifier_of;
use verifier::{Attestation, Unobserved};

/// A class of a datasheet with these figures, bytes, bytes/s and operations/s, and no other data.
#[allow(dead_code, reason = "not every test binary makes one up")]
pub(crate) fn class(
    name: &str,
    models: &[&str],
    memory_bytes: u64,
    bandwidth_bytes_per_s: u64,
    int8_ops_per_s: Option<u64>,
) -> Profile {
    Profile {
        name: name.to_owned(),
        title: name.to_owned(),
        kind: Kind::Gpu,
        status: Status::Datasheet,
        models: models.iter().copied().map(str::to_owned).collect(),
        not_models: vec![],
        capacity: Some(Capacity {
            memory_bytes,
            int8_ops_per_s,
            bandwidth_bytes_per_s,
            link_in_bytes_per_s: None,
            link_out_bytes_per_s: None,
            peer_link_bytes_per_s: None,
            power_w: None,
            on_chip_bytes: None,
            sm_count: None,
            int8_ops_per_clock_and_sm: None,
        }),
        source: Source::default(),
        measured: None,
    }
}

/// A policy that asks for a CPU and accepts any rate: all that a session of [`session`] can show.
#[allow(dead_code, reason = "not every test binary asks for one")]
pub(crate) const CPU: &str = "[device]\nclass = \"cpu\"\nmin_tensor_ops_per_s = 1\n";

/// The appraisal by the host whose Verifier ran the session, unless the policy names others.
#[allow(dead_code, reason = "not every test binary appraises sessions")]
pub(crate) fn appraise(subject: &Subject<'_>, policy: &Policy, profiles: &Profiles, now_unix_ms: u64) -> Appraisal {
    let own = verifier_of(subject.evidence, subject.session);
    let judge = policy.judge(&[], own, &subject.evidence.assumptions);
    appraisal::appraise(subject, policy, profiles, &judge, now_unix_ms)
}

/// An affirmed session of `devices` CPU devices, run once.
#[allow(dead_code, reason = "not every test binary runs one")]
pub(crate) fn session(devices: usize) -> &'static Attestation {
    static SESSION: OnceLock<Attestation> = OnceLock::new();
    SESSION.get_or_init(|| {
        let (attestation, _) = run(attester(cpu(devices)), &settings(), &Unobserved);
        assert_eq!(attestation.session.verdict(), Some(&Verdict::Affirmed));
        attestation
    })
}

/// A device's statements about itself, invented: names and values.
#[allow(dead_code, reason = "not every test binary makes one up")]
pub(crate) struct Says(pub(crate) &'static [(&'static str, &'static str)]);

impl Telemetry for Says {
    fn start(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<(String, String)>, String> {
        let says = self.0.iter();
        Ok(says
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect())
    }
}
