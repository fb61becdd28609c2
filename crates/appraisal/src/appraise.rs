//! Evidence, policy and profiles into an appraisal; anyone can do it again and compare.

use serde::Serialize;

use protocol::bounds::Assumptions;
use protocol::bytes::{Nonce, hex};
use protocol::cbor::Canonical;
use protocol::claims::{Claims, DeviceClaims};
use protocol::evidence::Evidence;
use protocol::frame::MessageType;
use protocol::limits::MIN_INNER_DIM_FOR_MEMORY;
use protocol::message::{DeviceOffer, NonceMessage};
use protocol::plan::{DevicePlan, Plan};
use protocol::record::Event;
use protocol::verdict::Verdict;
use protocol::verifier::{Mode, VerifierSession};
use verifier::report::Report;

use crate::claim::{Tested, judge};
use crate::classify::{Certified, Classification, stand_ins};
use crate::finding::{Finding, FindingKind, Findings};
use crate::nvidia::NvidiaAttestation;
use crate::policy::{Effect, Limits, Policy};
use crate::profile::{Profile, Profiles};
use crate::reason::{Reason, Tier};
use crate::telemetry::Telemetry;

/// A clock of the Verifier's host and one here may differ by this much, s.
const CLOCK_LEEWAY_S: u64 = 60;

/// In shorter windows differences between devices are noise, ns.
const UNEVEN_FROM_NS: u64 = 500_000_000;

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
    /// Digest of the profiles, hex.
    pub profiles_blake3: String,
    /// The session's nonce, hex, once sent.
    pub nonce: Option<String>,
    /// What the limits of the protocol would cost a cheat.
    pub limits: Limits,
    /// Classes one device of which could stand for all of these together (spec §7).
    pub host_indistinguishable_from: Vec<String>,
    /// NVIDIA's own attestation, if one was given with the session and checked: a complement, no part of the verdict.
    pub nvidia: Option<NvidiaAttestation>,
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
    /// What is certified.
    pub certified: Certified,
    /// What that says of the known classes.
    pub classification: Classification,
    /// When it was at work, one entry an iteration.
    pub phases: Vec<PhaseSpan>,
    /// What it says of power, clocks and temperature.
    pub telemetry: Telemetry,
}

/// One device in one iteration, ns since the session began; arrivals are diagnostics (spec §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PhaseSpan {
    /// Iteration, from 0.
    pub iteration: u32,
    /// k.
    pub inner_dim: u32,
    /// The fill window's start.
    pub fill_start_ns: u64,
    /// FILLED of this device.
    pub filled_ns: u64,
    /// The fill window's end: SALT v.
    pub sweep_start_ns: u64,
    /// SWEPT of this device.
    pub swept_ns: u64,
    /// The sweep window's end.
    pub sweep_end_ns: u64,
}

/// Appraises a finished session at `now_unix_ms`. The same input gives the same appraisal anywhere.
///
/// # Panics
///
/// If the session has no verdict yet.
#[must_use]
pub fn appraise(subject: &Subject<'_>, policy: &Policy, profiles: &Profiles, now_unix_ms: u64) -> Appraisal {
    let Subject {
        evidence,
        session,
        sealed,
    } = subject;
    let assumptions = policy.assumptions.applied_to(&evidence.assumptions);
    // The report reads all but the records.
    let header = Evidence {
        config: evidence.config,
        started_unix_ms: evidence.started_unix_ms,
        assumptions,
        challenge: None,
        sealer: evidence.sealer,
        records: Vec::new(),
    };
    let report = Report::new(&header, session, sealed);
    let mut findings = Findings::new(policy);
    let devices = devices(session, policy, profiles, &assumptions, evidence.config.mode);
    let certified: Vec<Certified> = devices.iter().map(|device| device.certified).collect();
    let host_indistinguishable_from = match devices.len() {
        0 | 1 => Vec::new(),
        _ => stand_ins(&certified, profiles),
    };
    if let Some(hello) = session.hello() {
        findings.check_host(hello);
    }
    if !host_indistinguishable_from.is_empty() {
        let detail = format!(
            "one {} could stand for all {} devices",
            host_indistinguishable_from.join(" or "),
            devices.len()
        );
        findings.add(FindingKind::Indistinguishable, None, detail);
    }
    let mut reasons = session_reasons(subject, policy, now_unix_ms);
    reasons.extend(host_reasons(session, policy, &report));
    reasons.extend(acting(&findings.list));
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
        profiles_blake3: profiles.digest(),
        nonce: nonce(session).map(|nonce| hex(&nonce.0)),
        limits: policy.limits.clone(),
        host_indistinguishable_from,
        nvidia: None,
        report,
    }
}

impl Appraisal {
    /// With NVIDIA's own attestation beside it; the verdict stays as it is.
    #[must_use]
    pub fn with_nvidia(self, nvidia: NvidiaAttestation) -> Self {
        Appraisal {
            nvidia: Some(nvidia),
            ..self
        }
    }
}

fn acting(findings: &[Finding]) -> impl Iterator<Item = Reason> {
    findings
        .iter()
        .filter(|finding| finding.effect != Effect::Note)
        .map(Reason::from)
}

/// What speaks against the session as a whole.
fn session_reasons(subject: &Subject<'_>, policy: &Policy, now_unix_ms: u64) -> Vec<Reason> {
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

fn host_reasons(session: &VerifierSession, policy: &Policy, report: &Report) -> Vec<Reason> {
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

fn devices(
    session: &VerifierSession,
    policy: &Policy,
    profiles: &Profiles,
    assumptions: &Assumptions,
    mode: Mode,
) -> Vec<DeviceAppraisal> {
    let (Some(hello), Some(plan)) = (session.hello(), session.plan()) else {
        return Vec::new();
    };
    let is_whole = session.windows().len() == plan.iterations().len();
    let is_affirmed = session.verdict() == Some(&Verdict::Affirmed);
    let claims =
        (is_affirmed && is_whole && mode == Mode::Online).then(|| Claims::new(plan, session.windows(), assumptions));
    let labels = session
        .openings()
        .map(|openings| &openings.labels[..])
        .unwrap_or_default();
    let appraise_device = |device: &DevicePlan| {
        let offer = hello.devices.iter().find(|offer| offer.ordinal == device.ordinal);
        let claims = claims
            .as_ref()
            .and_then(|c| c.devices.iter().find(|c| c.device == device.ordinal));
        let telemetry = Telemetry::of(device.ordinal.0, labels);
        let context = Context {
            session,
            policy,
            profiles,
            assumptions,
        };
        context.device(device, offer, claims, telemetry)
    };
    plan.devices().iter().map(appraise_device).collect()
}

struct Context<'a> {
    session: &'a VerifierSession,
    policy: &'a Policy,
    profiles: &'a Profiles,
    assumptions: &'a Assumptions,
}

impl Context<'_> {
    fn device(
        &self,
        device: &DevicePlan,
        offer: Option<&DeviceOffer>,
        claims: Option<&DeviceClaims>,
        telemetry: Telemetry,
    ) -> DeviceAppraisal {
        let ordinal = device.ordinal.0;
        let certified = claims.map(|claims| Certified::from(&claims.best)).unwrap_or_default();
        let classification = Classification::new(&certified, self.profiles, &self.policy.shares);
        let (engine, model) = offer.map_or(("", ""), |offer| (&offer.engine, &offer.model));
        let claimed = self.profiles.claimed(engine, model);
        let profile = match claimed[..] {
            [profile] => Some(profile),
            _ => None,
        };
        let phases = phases(self.session, device);
        let mut findings = Findings::new(self.policy);
        if let Some(offer) = offer {
            findings.check_device(offer, profile, &telemetry, claims.map_or(0, fastest_fill));
        }
        if let Some(profile) = profile {
            findings.check_assumptions(ordinal, profile, self.assumptions);
        }
        self.check_neighbours(&mut findings, ordinal, &certified, profile, &classification);
        self.check_evenness(&mut findings, ordinal, &phases);
        let mut reasons = match claims {
            // The session's reasons say why.
            None => vec![Reason::NoFigures],
            Some(claims) => self.claim_reasons(device, offer, claims, &certified, &claimed, &classification),
        };
        reasons.extend(acting(&findings.list));
        let verdict = match self.session.verdict() {
            Some(Verdict::Contraindicated(_)) => Tier::Contraindicated,
            _ => reasons.iter().map(Reason::tier).fold(Tier::Affirming, Tier::and),
        };
        DeviceAppraisal {
            ordinal,
            verdict,
            reasons,
            findings: findings.list,
            model: model.to_owned(),
            claimed_class: profile.map(|profile| profile.name.clone()),
            certified,
            classification,
            phases,
            telemetry,
        }
    }

    fn claim_reasons(
        &self,
        device: &DevicePlan,
        offer: Option<&DeviceOffer>,
        claims: &DeviceClaims,
        certified: &Certified,
        claimed: &[&Profile],
        classification: &Classification,
    ) -> Vec<Reason> {
        let asked = &self.policy.device;
        let model = offer.map(|offer| offer.model.clone()).unwrap_or_default();
        let mut reasons = Vec::new();
        if asked.claim_must_fit {
            match claimed {
                [] => reasons.push(Reason::ClaimUnknown { model }),
                [profile] => {
                    if let Some(required) = asked.class.as_ref().filter(|required| **required != profile.name) {
                        reasons.push(Reason::WrongClass {
                            required: required.clone(),
                            claimed: profile.name.clone(),
                        });
                    }
                    let tested = self.tested(device, offer, claims);
                    let shares = &self.policy.shares;
                    reasons.push(judge(
                        profile,
                        certified,
                        &tested,
                        classification,
                        self.profiles,
                        shares,
                    ));
                }
                several => reasons.push(Reason::ClaimAmbiguous {
                    model,
                    classes: several.iter().map(|profile| profile.name.clone()).collect(),
                }),
            }
        }
        let least = [
            (
                "device.min_memory_bytes",
                asked.min_memory_bytes,
                certified.memory_bytes,
            ),
            (
                "device.min_bandwidth_bytes_per_s",
                asked.min_bandwidth_bytes_per_s,
                certified.bandwidth_bytes_per_s,
            ),
            (
                "device.min_tensor_ops_per_s",
                asked.min_tensor_ops_per_s,
                certified.tensor_ops_per_s,
            ),
            (
                "device.min_local_tensor_ops_per_s",
                asked.min_local_tensor_ops_per_s,
                certified.local_tensor_ops_per_s,
            ),
        ];
        for (key, least, certified) in least {
            if let Some(least) = least.filter(|least| certified.unwrap_or(0) < *least) {
                let key = key.to_owned();
                reasons.push(Reason::BelowMinimum { key, certified, least });
            }
        }
        if reasons.is_empty() {
            reasons.push(Reason::MinimaMet);
        }
        reasons
    }

    fn tested(&self, device: &DevicePlan, offer: Option<&DeviceOffer>, claims: &DeviceClaims) -> Tested {
        let eligible = claims.groups.iter().map(|group| &group.measured);
        let samples = eligible
            .filter(|m| m.inner_dim >= MIN_INNER_DIM_FOR_MEMORY)
            .map(|m| m.samples)
            .max();
        let plan = self.session.plan().expect("claims follow a plan");
        let inner_dim = plan.iterations().iter().map(|i| i.inner_dim).max().unwrap_or(0);
        let matrix_bytes = u64::from(plan.matrix_dim()).pow(2);
        Tested {
            dataset_bytes: plan.assignment(device).dataset_bytes(),
            offered_bytes: offer.map_or(0, |offer| {
                offer
                    .matrices(plan.matrix_dim(), inner_dim)
                    .saturating_mul(matrix_bytes)
            }),
            samples: samples.unwrap_or(0),
        }
    }

    /// Larger classes, and joined devices, that could do the same.
    fn check_neighbours(
        &self,
        findings: &mut Findings<'_>,
        ordinal: u32,
        certified: &Certified,
        profile: Option<&Profile>,
        classification: &Classification,
    ) {
        let Some(profile) = profile.filter(|profile| profile.capacity.is_some()) else {
            return;
        };
        let others = classification
            .indistinguishable_from
            .iter()
            .filter(|name| **name != profile.name);
        let others: Vec<&str> = others.map(String::as_str).collect();
        if !others.is_empty() {
            let detail = format!("a {} could have done the same as a {}", others.join(", "), profile.name);
            findings.add(FindingKind::Indistinguishable, Some(ordinal), detail);
        }
        let Some(bandwidth) = certified.bandwidth_bytes_per_s else {
            return;
        };
        let joined = self
            .policy
            .limits
            .joined
            .iter()
            .find(|row| row.bytes_per_s >= bandwidth);
        if let Some(row) = joined {
            let detail = format!(
                "{bandwidth} bytes/s certified; {} GPUs with links of {} bytes/s are argued to reach {}",
                row.gpus, self.policy.limits.link_bytes_per_s, row.bytes_per_s
            );
            findings.add(FindingKind::JoinedPossible, Some(ordinal), detail);
        }
    }

    fn check_evenness(&self, findings: &mut Findings<'_>, ordinal: u32, phases: &[PhaseSpan]) {
        let share = |device: &DevicePlan| f64::from(device.num_matrices.max(1));
        let plan = self.session.plan();
        let devices = plan.map(Plan::devices).unwrap_or_default();
        for (span, windows) in phases.iter().zip(self.session.windows()) {
            let pace = |arrivals: &[(protocol::bytes::DeviceOrdinal, u64)], wanted: u32| {
                let of = |device: &DevicePlan| {
                    let arrival = arrivals.iter().find(|(ordinal, _)| *ordinal == device.ordinal)?;
                    Some((device.ordinal.0, arrival.1 as f64 / share(device)))
                };
                let paces: Vec<(u32, f64)> = devices.iter().filter_map(of).collect();
                let fastest = paces.iter().map(|pace| pace.1).fold(f64::INFINITY, f64::min);
                let own = paces.iter().find(|pace| pace.0 == wanted)?.1;
                (own > 1.5 * fastest && arrivals.iter().any(|arrival| arrival.1 >= UNEVEN_FROM_NS))
                    .then_some(own / fastest)
            };
            for (phase, arrivals) in [("fill", &windows.filled_after_ns), ("sweep", &windows.swept_after_ns)] {
                if let Some(times) = pace(arrivals, ordinal) {
                    let detail = format!(
                        "{phase} of iteration {}: {times:.1} times as long a matrix as the fastest",
                        span.iteration
                    );
                    findings.add(FindingKind::Uneven, Some(ordinal), detail);
                }
            }
        }
    }
}

fn fastest_fill(claims: &DeviceClaims) -> u64 {
    let rate = |m: &protocol::bounds::Measured| m.operations() * 1_000_000_000 / u128::from(m.fill_ns().max(1));
    let fastest = claims
        .groups
        .iter()
        .map(|group| rate(&group.measured))
        .max()
        .unwrap_or(0);
    u64::try_from(fastest).unwrap_or(u64::MAX)
}

fn phases(session: &VerifierSession, device: &DevicePlan) -> Vec<PhaseSpan> {
    let Some(plan) = session.plan() else { return Vec::new() };
    let span = |(at, (iteration, windows)): (usize, (&protocol::plan::Iteration, &protocol::verifier::Windows))| {
        let arrival = |arrivals: &[(protocol::bytes::DeviceOrdinal, u64)]| {
            let own = arrivals.iter().find(|(ordinal, _)| *ordinal == device.ordinal);
            own.map_or(0, |(_, after_ns)| *after_ns)
        };
        let sweep_start_ns = windows.fill_start_ns + windows.fill_ns;
        PhaseSpan {
            iteration: at as u32,
            inner_dim: iteration.inner_dim,
            fill_start_ns: windows.fill_start_ns,
            filled_ns: windows.fill_start_ns + arrival(&windows.filled_after_ns),
            sweep_start_ns,
            swept_ns: sweep_start_ns + arrival(&windows.swept_after_ns),
            sweep_end_ns: sweep_start_ns + windows.sweep_ns,
        }
    };
    plan.iterations()
        .iter()
        .zip(session.windows())
        .enumerate()
        .map(span)
        .collect()
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
