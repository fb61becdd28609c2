//! Makes an appraisal from evidence, policy and profiles; anyone can repeat it and compare.

mod blame;
mod device;
mod links;
mod session;

use attestation_result::Tier;
use protocol::bytes::hex;
use report::Report;
use report::figure::CertifiedFigures;
use verifier::outcome::{Judge, Outcome};

use self::device::devices;
use self::session::{host_fits, host_reasons, session_reasons};
use crate::appraisal::Appraisal;
use crate::classify::stand_ins;
use crate::finding::FindingKind;
use crate::findings::Findings;
use crate::nvidia::Carried;
use crate::policy::Policy;
use crate::profiles::Profiles;
use crate::reason::Reason;
use crate::subject::{Subject, nonce};

/// Appraises a finished session at `now_unix_ms` for `judge`, made by [`Policy::judge`]. The same input gives the same
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
    let devices = devices(session, policy, profiles, judge, &report, &outcome);
    let certified: Vec<CertifiedFigures> = devices.iter().map(|device| device.certified).collect();
    let host_indistinguishable_from = match devices.len() {
        0 | 1 => Vec::new(),
        _ => stand_ins(&certified, profiles),
    };
    if let Some(hello) = session.hello() {
        findings.check_host(hello);
        findings.check_links(hello);
        findings.check_coverage(hello, devices.len());
    }
    // All pairs have as many rounds only in a whole session.
    if let Some(plan) = session.plan().filter(|_| report.fabric.is_some()) {
        findings.check_pairs(plan, session.windows());
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
    // Evidence from a Verifier that is not trusted accuses no device, neither by its figures nor by its labels.
    if !outcome.is_unvouched() {
        reasons.extend(host_reasons(session, policy, &report));
        reasons.extend(links::reasons(policy, &report));
        reasons.extend(host_fits(&devices, &report, profiles, &policy.shares));
        reasons.extend(findings.list.iter().filter_map(Reason::acting));
    }
    let own = reasons.iter().map(Reason::tier).fold(Tier::Affirming, Tier::and);
    let verdict = devices.iter().map(|device| device.verdict).fold(own, Tier::and);
    Appraisal {
        // Without a device there is nothing to affirm.
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
