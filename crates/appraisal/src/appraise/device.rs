//! The result for one device: its statements compared with its figures, its labels with its class, its pace with that of
//! the others.

use attestation_result::Tier;
use protocol::bounds::{Assumptions, Measured};
use protocol::bytes::DeviceOrdinal;
use protocol::certified::DeviceCertified;
use protocol::limits::MIN_INNER_DIM_FOR_MEMORY;
use protocol::message::DeviceOffer;
use protocol::plan::{DevicePlan, Plan};
use protocol::verifier::VerifierSession;
use report::Report;
use report::figure::CertifiedFigures;
use report::phases::{PhaseSpan, phases};
use report::telemetry::StatedTelemetry;
use verifier::hardware::ON_SALE;
use verifier::outcome::{Judge, Outcome};
use verifier::units::bytes_per_s;

use super::blame;
use crate::appraisal::{DeviceAppraisal, HeldAgainst};
use crate::classify::Classification;
use crate::finding::FindingKind;
use crate::findings::Findings;
use crate::policy::Policy;
use crate::profile::{Kind, Profile};
use crate::profiles::Profiles;
use crate::reason::{Met, Reason, Untested};
use crate::stated::{Tested, judge};

/// In windows shorter than this, ns, differences between devices are noise.
const UNEVEN_FROM_NS: u64 = 500_000_000;

/// The result for each device of the plan in a session with this outcome.
pub(super) fn devices(
    session: &VerifierSession,
    policy: &Policy,
    profiles: &Profiles,
    judge: &Judge,
    report: &Report,
    outcome: &Outcome,
) -> Vec<DeviceAppraisal> {
    let (Some(hello), Some(plan)) = (session.hello(), session.plan()) else {
        return Vec::new();
    };
    let context = Context {
        session,
        policy,
        profiles,
        assumptions: &judge.assumptions,
        gpu_memory_bytes: report.fabric.as_ref().map(|fabric| fabric.gpu_memory_bytes),
        outcome,
    };
    let device = |device: &DevicePlan| {
        let offer = hello.devices.iter().find(|offer| offer.ordinal == device.ordinal);
        context.device(device, offer)
    };
    plan.devices().iter().map(device).collect()
}

struct Context<'a> {
    session: &'a VerifierSession,
    policy: &'a Policy,
    profiles: &'a Profiles,
    assumptions: &'a Assumptions,
    /// What bounds of links assume of a GPU's memory; `None` if there are no rounds.
    gpu_memory_bytes: Option<u64>,
    outcome: &'a Outcome,
}

impl Context<'_> {
    fn device(&self, device: &DevicePlan, offer: Option<&DeviceOffer>) -> DeviceAppraisal {
        let ordinal = device.ordinal.0;
        let certified = self.outcome.certified();
        let certified =
            certified.and_then(|certified| certified.devices.iter().find(|own| own.device == device.ordinal));
        let labels = self.session.said().map(|said| &said.labels[..]);
        let telemetry = StatedTelemetry::of(ordinal, labels.unwrap_or_default());
        let figures = certified
            .map(|certified| CertifiedFigures::from(&certified.share))
            .unwrap_or_default();
        let classification = Classification::new(&figures, self.profiles, &self.policy.shares);
        let (engine, model) = offer.map_or(("", ""), |offer| (&offer.engine, &offer.model));
        let stated = self.profiles.stated(engine, model);
        let stated_class = match stated[..] {
            [profile] => Some(profile),
            _ => None,
        };
        let required = self
            .policy
            .device
            .class
            .as_deref()
            .and_then(|name| self.profiles.named(name));
        // If no single class is stated, the figures are compared with the requested class.
        let profile = stated_class.or(required);
        let phases = phases(self.session, device);
        let mut findings = Findings::new(self.policy);
        if let Some(offer) = offer {
            findings.check_device(offer, profile, &telemetry, certified.map_or(0, fastest_fill));
            findings.check_health(offer);
            findings.check_clocks(offer, profile, &telemetry, figures.tensor_ops_per_s);
        }
        if let Some(profile) = profile {
            findings.check_assumptions(ordinal, profile, self.assumptions, self.gpu_memory_bytes);
            if let Some(certified) = certified {
                findings.check_local_rate(ordinal, profile, certified, self.assumptions);
            }
        }
        self.check_neighbours(&mut findings, ordinal, &figures, profile, &classification);
        self.check_evenness(&mut findings, ordinal, &phases);
        let mut reasons = match certified {
            // An affirmed session without figures has reasons of its own, for example that it has no clock.
            None => vec![self.without_figures(device.ordinal)],
            Some(certified) => self.reasons_of_figures(device, offer, certified, &figures, &stated, &classification),
        };
        if !self.outcome.is_unvouched() {
            reasons.extend(findings.list.iter().filter_map(Reason::acting));
        }
        let verdict = reasons.iter().map(Reason::tier).fold(Tier::Affirming, Tier::and);
        DeviceAppraisal {
            ordinal,
            verdict,
            reasons,
            findings: findings.list,
            model: model.to_owned(),
            stated_class: stated_class.map(|profile| profile.name.clone()),
            held_against: required
                .or(stated_class)
                .filter(|profile| profile.capacity.is_some())
                .map(HeldAgainst::from),
            certified: figures,
            classification,
            phases,
            telemetry,
        }
    }

    /// Why a device gets no judgement. Evidence from a Verifier that is not trusted accuses no device.
    fn without_figures(&self, device: DeviceOrdinal) -> Reason {
        match self.outcome.is_unvouched() {
            true => Reason::NotJudged {
                why: "nobody vouches for the evidence".to_owned(),
            },
            false => blame::reason(self.session, device).unwrap_or(Reason::NoFigures),
        }
    }

    fn reasons_of_figures(
        &self,
        device: &DevicePlan,
        offer: Option<&DeviceOffer>,
        certified: &DeviceCertified,
        figures: &CertifiedFigures,
        stated: &[&Profile],
        classification: &Classification,
    ) -> Vec<Reason> {
        let asked = &self.policy.device;
        let model = offer.map(|offer| offer.model.clone()).unwrap_or_default();
        let mut reasons = Vec::new();
        let tested = self.tested(device, offer, certified);
        let shares = &self.policy.shares;
        let judge = |profile| judge(profile, figures, &tested, classification, self.profiles, shares);
        if asked.stated_class_must_fit {
            match stated {
                [] => reasons.push(Reason::StatedUnknown { model: model.clone() }),
                [profile] => reasons.push(judge(profile)),
                several => reasons.push(Reason::StatedAmbiguous {
                    model: model.clone(),
                    classes: names(several),
                }),
            }
            let is_stated = |required: &str| matches!(stated, [one] if one.name == required);
            if let Some(required) = asked.class.as_ref().filter(|required| !is_stated(required)) {
                reasons.push(Reason::WrongClass {
                    required: required.clone(),
                    model,
                    stated: names(stated),
                });
                // Whatever the device states, its figures show whether it could be of the requested class.
                reasons.extend(self.profiles.named(required).map(judge));
            }
        }
        let by_key = [
            figures.memory_bytes,
            figures.bandwidth_bytes_per_s,
            figures.tensor_ops_per_s,
            figures.local_tensor_ops_per_s,
        ];
        let mut met = Vec::new();
        for ((key, least), certified) in asked.minima().into_iter().zip(by_key) {
            let (Some(least), key) = (least, key.to_owned()) else {
                continue;
            };
            match certified {
                Some(certified) if certified >= least => met.push(Met { key, certified, least }),
                certified => reasons.push(Reason::BelowMinimum { key, certified, least }),
            }
        }
        // A class without figures is compared with the figures that the policy requires.
        if !met.is_empty() {
            reasons.retain(|reason| !matches!(reason, Reason::ClassWithoutFigures { .. }));
        }
        if reasons.is_empty() {
            reasons.push(match met.is_empty() {
                true => Reason::NotTested {
                    cause: Untested::Question,
                },
                false => Reason::MinimaMet { met },
            });
        }
        // Figures that a CPU could have shown are not accepted for a GPU (the test `a_cpu_is_never_affirmed_as_a_gpu`).
        let is_cpu_asked_for = asked.class.as_ref().and_then(|name| self.profiles.named(name));
        let is_cpu_asked_for = is_cpu_asked_for.is_some_and(|profile| profile.kind == Kind::Cpu);
        if asked.gpu_must_show && !is_cpu_asked_for && !figures.shows_gpu_memory() {
            reasons.push(Reason::NoGpuShown);
        }
        reasons
    }

    fn tested(&self, device: &DevicePlan, offer: Option<&DeviceOffer>, certified: &DeviceCertified) -> Tested {
        let samples = certified
            .groups
            .iter()
            .filter(|m| m.inner_dim >= MIN_INNER_DIM_FOR_MEMORY)
            .map(|m| m.samples)
            .max();
        let plan = self.session.plan().expect("bounds follow a plan");
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
            inner_dim,
            assumptions: *self.assumptions,
        }
    }

    /// Findings: larger classes, and joined devices, that could show the same figures.
    fn check_neighbours(
        &self,
        findings: &mut Findings<'_>,
        ordinal: u32,
        figures: &CertifiedFigures,
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
            let detail = format!("{} could have done the same as {}", others.join(", "), profile.name);
            findings.add(FindingKind::Indistinguishable, Some(ordinal), detail);
        }
        let Some(bandwidth) = figures.bandwidth_bytes_per_s else {
            return;
        };
        let own = profile
            .capacity
            .as_ref()
            .and_then(|capacity| capacity.peer_link_bytes_per_s);
        let link = own.unwrap_or(ON_SALE.peer_link_bytes_per_s.value);
        // Two GPUs that each lack a share u move u^2 N / 2 per direction in each sweep (spec §7).
        let missing = (2.0 * link as f64 / bandwidth as f64).sqrt().min(0.5);
        let detail = format!(
            "two GPUs joined by links of {} each way, each holding {:.0} % of the dataset, are argued to reach {}",
            bytes_per_s(link.into()),
            100.0 * (1.0 - missing),
            bytes_per_s(bandwidth.into())
        );
        findings.add(FindingKind::JoinedPossible, Some(ordinal), detail);
    }

    fn check_evenness(&self, findings: &mut Findings<'_>, ordinal: u32, phases: &[PhaseSpan]) {
        let share = |device: &DevicePlan| f64::from(device.num_matrices.max(1));
        let plan = self.session.plan();
        let devices = plan.map(Plan::devices).unwrap_or_default();
        for (span, windows) in phases.iter().zip(self.session.windows()) {
            let pace = |arrivals: &[(DeviceOrdinal, u64)], wanted: u32| {
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

fn names(classes: &[&Profile]) -> Vec<String> {
    classes.iter().map(|profile| profile.name.clone()).collect()
}

fn fastest_fill(certified: &DeviceCertified) -> u64 {
    let rate = |m: &Measured| m.operations() * 1_000_000_000 / u128::from(m.fill_ns().max(1));
    let fastest = certified.groups.iter().map(rate).max().unwrap_or(0);
    u64::try_from(fastest).unwrap_or(u64::MAX)
}
