//! The reasons for or against a session and its host as a whole.

use std::collections::BTreeMap;

use protocol::plan::Plan;
use protocol::verifier::{Mode, VerifierSession};
use report::Report;
use report::figure::{CertifiedFigures, Figure, Margin, Relation};
use verifier::outcome::{NoVerdict, Outcome};

use crate::appraisal::DeviceAppraisal;
use crate::classify::{Shares, needed};
use crate::policy::Policy;
use crate::profile::Profile;
use crate::profiles::Profiles;
use crate::reason::Reason;
use crate::subject::Subject;

/// The clock of the Verifier's host and the local one may differ by this much, s.
const CLOCK_LEEWAY_S: u64 = 60;

/// The reasons against the session as a whole.
pub(super) fn session_reasons(
    subject: &Subject<'_>,
    policy: &Policy,
    outcome: &Outcome,
    now_unix_ms: u64,
) -> Vec<Reason> {
    let Subject { evidence, session, .. } = subject;
    let mut reasons = Vec::new();
    match outcome {
        Outcome::Affirmed(_) => {}
        Outcome::Contraindicated { code, message } => reasons.push(Reason::SessionFailed {
            failure: (*code).to_owned(),
            message: message.clone(),
        }),
        Outcome::CouldNotRun { code, message } => reasons.push(Reason::CouldNotRun {
            obstacle: (*code).to_owned(),
            message: message.clone(),
        }),
        Outcome::None(why @ NoVerdict::UnknownVerifier(_)) => {
            // The maker of the evidence also had the clock: nothing else in the evidence counts.
            let message = why.to_string();
            return vec![Reason::UnknownVerifier { message }];
        }
        Outcome::None(why @ NoVerdict::NothingCertified(_)) => reasons.push(Reason::NothingCertified {
            message: why.to_string(),
        }),
    }
    if evidence.config.mode == Mode::Offline {
        reasons.push(Reason::Offline);
    }
    let asked = &policy.session;
    if let Some(plan) = session.plan().map(Plan::fields) {
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
    // If nothing could be certified, another reason already says so.
    if let Some(host) = &report.host {
        let host = CertifiedFigures::from(host);
        for ((key, least), figure) in policy.host.minima().into_iter().zip(Figure::ALL) {
            let certified = figure.of(&host);
            if let Some(least) = least.filter(|least| certified.unwrap_or(0) < *least) {
                let key = key.to_owned();
                reasons.push(Reason::BelowMinimum { key, certified, least });
            }
        }
    }
    reasons
}

/// Compares what is certified for the host with the total of the classes that its devices state (spec §6.4): however
/// its GPUs are joined, the system has that much.
pub(super) fn host_fits(
    devices: &[DeviceAppraisal],
    report: &Report,
    profiles: &Profiles,
    shares: &Shares,
) -> Option<Reason> {
    let host = CertifiedFigures::from(report.host.as_ref()?);
    let mut counts: BTreeMap<&str, (&Profile, u32)> = BTreeMap::new();
    for device in devices {
        let profile = profiles.named(device.stated_class.as_deref()?)?;
        counts.entry(&profile.name).or_insert((profile, 0)).1 += 1;
    }
    let mut margins = Vec::new();
    for figure in Figure::ALL {
        let sum = |of: &dyn Fn(&Profile) -> Option<u64>| {
            counts.values().try_fold(0_u64, |sum, (profile, count)| {
                Some(sum.saturating_add(of(profile)?.saturating_mul(u64::from(*count))))
            })
        };
        let (Some(needed), Some(capacity)) = (
            sum(&|profile| needed(profile, shares, figure)),
            sum(&|profile| profile.most(figure)),
        ) else {
            continue;
        };
        margins.push(Margin::new(figure, figure.of(&host), needed, capacity, shares.ceiling));
    }
    let fits = !margins.is_empty() && margins.iter().all(|margin| margin.relation == Relation::Fits);
    let classes = counts.iter().map(|(name, (_, count))| format!("{count} x {name}"));
    fits.then(|| Reason::HostFits {
        classes: classes.collect::<Vec<_>>().join(" and "),
        margins,
    })
}
