//! What speaks for or against a session and its host as a whole.

use protocol::bytes::Nonce;
use protocol::cbor::Canonical;
use protocol::frame::MessageType;
use protocol::message::NonceMessage;
use protocol::plan::Plan;
use protocol::record::Event;
use protocol::verdict::Verdict;
use protocol::verifier::{Mode, VerifierSession};
use verifier::report::Report;

use super::Subject;
use crate::policy::Policy;
use crate::reason::Reason;

/// A clock of the Verifier's host and one here may differ by this much, s.
const CLOCK_LEEWAY_S: u64 = 60;

/// What speaks against the session as a whole.
pub(super) fn session_reasons(subject: &Subject<'_>, policy: &Policy, now_unix_ms: u64) -> Vec<Reason> {
    let Subject { evidence, session, .. } = subject;
    let mut reasons = Vec::new();
    match session.verdict().expect("a finished session") {
        Verdict::Affirmed => {}
        Verdict::Contraindicated(failure) => reasons.push(Reason::SessionFailed {
            failure: failure.code().to_owned(),
            message: failure.to_string(),
        }),
        Verdict::CouldNotRun(obstacle) => reasons.push(Reason::CouldNotRun {
            obstacle: obstacle.code().to_owned(),
            message: obstacle.to_string(),
        }),
    }
    if evidence.config.mode == Mode::Offline {
        reasons.push(Reason::Offline);
    }
    let asked = &policy.session;
    if let Some(plan) = session.plan().map(Plan::fields) {
        let actual = plan.verifier.to_string();
        if !asked.verifiers.is_empty() && !asked.verifiers.contains(&actual) {
            reasons.push(Reason::WrongVerifier { actual });
        }
        if let Some(expected) = asked.audience.as_ref().filter(|expected| **expected != plan.audience) {
            reasons.push(Reason::WrongAudience {
                expected: expected.clone(),
                actual: plan.audience.clone(),
            });
        }
        if let Some(least) = asked.min_samples.filter(|least| *least > plan.samples) {
            reasons.push(Reason::TooFewSamples {
                actual: plan.samples,
                least,
            });
        }
    }
    let started_s = evidence.started_unix_ms / 1000;
    let ahead_s = started_s.saturating_sub(now_unix_ms / 1000);
    let age_s = (now_unix_ms / 1000).saturating_sub(started_s);
    if ahead_s > CLOCK_LEEWAY_S {
        reasons.push(Reason::FromTheFuture { ahead_s });
    } else if let Some(limit_s) = asked.max_age_s.filter(|limit_s| age_s > *limit_s) {
        reasons.push(Reason::TooOld { age_s, limit_s });
    }
    for (iteration, windows) in session.windows().iter().enumerate() {
        let phases = [
            ("fill", windows.fill_ns, asked.max_fill_ms),
            ("sweep", windows.sweep_ns, asked.max_sweep_ms),
        ];
        for (phase, ns, limit_ms) in phases {
            let actual_ms = ns.div_ceil(1_000_000);
            if let Some(limit_ms) = limit_ms.filter(|limit_ms| actual_ms > *limit_ms) {
                reasons.push(Reason::TooSlow {
                    phase: phase.to_owned(),
                    iteration: iteration as u32,
                    actual_ms,
                    limit_ms,
                });
            }
        }
    }
    reasons
}

pub(super) fn host_reasons(session: &VerifierSession, policy: &Policy, report: &Report) -> Vec<Reason> {
    let Some(plan) = session.plan() else { return Vec::new() };
    let mut reasons = Vec::new();
    let actual = plan.devices().len() as u32;
    if let Some(expected) = policy.host.devices.filter(|expected| *expected != actual) {
        let expected = expected.to_string();
        reasons.push(Reason::DeviceCount { actual, expected });
    }
    if let Some(least) = policy.host.min_devices.filter(|least| *least > actual) {
        let expected = format!("at least {least}");
        reasons.push(Reason::DeviceCount { actual, expected });
    }
    // Where nothing could be certified, that is said already.
    if let (Some(least), Some(host)) = (policy.host.min_tensor_ops_per_s, &report.host) {
        let certified = host.tensor_ops_per_s.map(|ops| u64::try_from(ops).unwrap_or(u64::MAX));
        if certified.unwrap_or(0) < least {
            let key = "host.min_tensor_ops_per_s".to_owned();
            reasons.push(Reason::BelowMinimum { key, certified, least });
        }
    }
    reasons
}

/// The nonce of a session, once sent.
#[must_use]
pub fn nonce(session: &VerifierSession) -> Option<Nonce> {
    session.records().iter().find_map(|record| match &record.event {
        Event::Sent(frame) if frame.message_type() == Some(MessageType::Nonce) => {
            NonceMessage::from_bytes(&frame.payload).ok().map(|message| message.0)
        }
        _ => None,
    })
}
