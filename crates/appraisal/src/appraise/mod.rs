//! Evidence, policy and profiles into an appraisal; anyone can do it again and compare.

mod blame;
mod device;
mod phases;
mod session;

use attestation_result::Tier;
use attestation_result::nvidia::NvidiaKeys;
use protocol::bytes::hex;
use protocol::evidence::Evidence;
use protocol::verifier::VerifierSession;
use report::Report;
use serde::Serialize;
use verifier::outcome::{Judge, NoVerdict, Outcome};

pub use self::phases::PhaseSpan;
pub use self::session::nonce;

use self::device::devices;
use self::session::{host_fits, host_reasons, session_reasons};
use crate::classify::{Certified, Classification, stand_ins};
use crate::finding::{Finding, FindingKind, Findings};
use crate::nvidia::Carried;
use crate::policy::Policy;
use crate::profile::{Basis, Profile, Profiles};
use crate::reason::Reason;
use crate::telemetry::Telemetry;

/// What is appraised: a finished session, live or from verified evidence.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The evidence; its seal is the caller's to have checked.
    pub evidence: &'a Evidence,
    /// Its session, with its verdict: tiles recomputed.
    pub session: &'a VerifierSession,
    /// The evidence's sealed bytes.
    pub sealed: &'a [u8],
}

impl<'a> From<(&'a verifier::Verified, &'a [u8])> for Subject<'a> {
    fn from((verified, sealed): (&'a verifier::Verified, &'a [u8])) -> Self {
        Subject {
            evidence: &verified.evidence,
            session: &verified.session,
            sealed,
        }
    }
}

impl<'a> From<&'a verifier::Attestation> for Subject<'a> {
    fn from(attestation: &'a verifier::Attestation) -> Self {
        Subject {
            evidence: &attestation.evidence,
            session: &attestation.session,
            sealed: &attestation.sealed,
        }
    }
}

/// What evidence comes to under a policy.
#[derive(Clone, Debug, Serialize)]
pub struct Appraisal {
    /// The host's verdict: its own reasons and the worst of its devices.
    pub verdict: Tier,
    /// Reasons of the host and the session.
    pub reasons: Vec<Reason>,
    /// Findings about the host.
    pub findings: Vec<Finding>,
    /// Devices of the plan.
    pub devices: Vec<DeviceAppraisal>,
    /// When it was appraised, ms since the Unix epoch.
    pub appraised_unix_ms: u64,
    /// The policy's name.
    pub policy_name: String,
    /// The policy's identifier, with its digest.
    pub policy_id: String,
    /// What the policy asks for beyond the default, for people.
    pub asked: Vec<String>,
    /// Digest of the profiles, hex.
    pub profiles_blake3: String,
    /// The session's nonce, hex, once sent.
    pub nonce: Option<String>,
    /// Classes one device of which could stand for all of these together (spec §7).
    pub host_indistinguishable_from: Vec<String>,
    /// NVIDIA's own attestation, if the evidence carries one: a complement, no part of the verdict.
    pub nvidia: Option<Carried>,
    /// The session's report, its bounds under the policy's assumptions.
    pub report: Report,
}

/// What one device comes to.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceAppraisal {
    /// Its ordinal.
    pub ordinal: u32,
    /// Its verdict.
    pub verdict: Tier,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What labels say.
    pub findings: Vec<Finding>,
    /// The model it says it is.
    pub model: String,
    /// The class of that model, if it is of one.
    pub claimed_class: Option<String>,
    /// The class that its figures are held against: the one asked for, else the claimed, if it has figures.
    pub held_against: Option<HeldAgainst>,
    /// Its share of what is certified for the host: in which of the system's GPUs it was is not shown (spec §6.3).
    pub certified: Certified,
    /// What that says of the known classes.
    pub classification: Classification,
    /// When it was at work, one entry an iteration.
    pub phases: Vec<PhaseSpan>,
    /// What it says of power, clocks and temperature.
    pub telemetry: Telemetry,
}

/// A class that figures are held against, and what its limits rest on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldAgainst {
    /// The class.
    pub class: String,
    /// What its limits rest on.
    pub basis: Basis,
}

impl From<&Profile> for HeldAgainst {
    fn from(profile: &Profile) -> Self {
        HeldAgainst {
            class: profile.name.clone(),
            basis: profile.basis(),
        }
    }
}

/// Appraises a finished session at `now_unix_ms` for `judge`, whom [`Policy::judge`] makes. The same input gives the same
/// appraisal anywhere.
///
/// # Panics
///
/// If the session has no verdict yet.
#[must_use]
pub fn appraise(
    subject: &Subject<'_>,
    policy: &Policy,
    profiles: &Profiles,
    judge: &Judge,
    now_unix_ms: u64,
) -> Appraisal {
    let Subject {
        evidence,
        session,
        sealed,
    } = subject;
    let outcome = Outcome::new(evidence, session, judge, None);
    let report = Report::of(evidence, session, sealed, judge, &outcome);
    let mut findings = Findings::new(policy);
    let devices = devices(session, policy, profiles, &judge.assumptions, &outcome);
    let certified: Vec<Certified> = devices.iter().map(|device| device.certified).collect();
    let host_indistinguishable_from = match devices.len() {
        0 | 1 => Vec::new(),
        _ => stand_ins(&certified, profiles),
    };
    if let Some(hello) = session.hello() {
        findings.check_host(hello);
        findings.check_coverage(hello, devices.len());
    }
    if !host_indistinguishable_from.is_empty() {
        let detail = format!(
            "one {} could stand for all {} devices",
            host_indistinguishable_from.join(" or "),
            devices.len()
        );
        findings.add(FindingKind::Indistinguishable, None, detail);
    }
    let mut reasons = session_reasons(subject, policy, &outcome, now_unix_ms);
    // Evidence that nobody vouches for accuses nobody, by its figures or by its labels.
    if !is_unvouched(&outcome) {
        reasons.extend(host_reasons(session, policy, &report));
        reasons.extend(host_fits(&devices, &report, profiles, &policy.shares));
        reasons.extend(acting(&findings.list));
    }
    let own = reasons.iter().map(Reason::tier).fold(Tier::Affirming, Tier::and);
    let verdict = devices.iter().map(|device| device.verdict).fold(own, Tier::and);
    Appraisal {
        // Nobody at work, nothing to affirm.
        verdict: if devices.is_empty() {
            verdict.and(Tier::None)
        } else {
            verdict
        },
        reasons,
        findings: findings.list,
        devices,
        appraised_unix_ms: now_unix_ms,
        policy_name: policy.name.clone(),
        policy_id: policy.id(),
        asked: policy.asked(),
        profiles_blake3: profiles.digest(),
        nonce: nonce(session).map(|nonce| hex(&nonce.0)),
        host_indistinguishable_from,
        nvidia: Carried::of(subject, None),
        report,
    }
}

impl Appraisal {
    /// Findings about the host and about each device, in order, with where they were seen.
    pub fn all_findings(&self) -> impl Iterator<Item = (String, &Finding)> {
        let of_devices = self.devices.iter().flat_map(|device| &device.findings);
        self.findings.iter().chain(of_devices).map(|finding| {
            let place = finding
                .device
                .map_or("host".to_owned(), |device| format!("device {device}"));
            (place, finding)
        })
    }

    /// With NVIDIA's own attestation checked by these keys, if the evidence carries one; the verdict stays as it is.
    #[must_use]
    pub fn with_nvidia_keys(self, subject: &Subject<'_>, keys: &NvidiaKeys) -> Self {
        Appraisal {
            nvidia: Carried::of(subject, Some(keys)),
            ..self
        }
    }
}

/// Whether nobody named the Verifier whose evidence it is.
pub(crate) fn is_unvouched(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::None(NoVerdict::UnknownVerifier(_)))
}

fn acting(findings: &[Finding]) -> impl Iterator<Item = Reason> {
    findings.iter().filter_map(Reason::acting)
}
