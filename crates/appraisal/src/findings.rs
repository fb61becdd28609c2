//! The rules that produce findings.
//!
//! The labels that are read are those written by the Attester's CUDA engine: for a device `model`, `uuid`, `pci_bus_id`,
//! `memory_bytes` (the driver's), `card_memory_bytes` and `nvml_model` (NVML's), `multiprocessors`, `power_limit_w`,
//! `default_power_limit_w`, `mig_slice`; those of its health are in [`crate::health`], and those of a session in
//! [`report::telemetry`].

use std::collections::BTreeMap;

use protocol::bounds::Assumptions;
use protocol::bytes::DeviceOrdinal;
use protocol::certified::DeviceCertified;
use protocol::message::{DeviceOffer, Hello};
use protocol::plan::Plan;
use protocol::verifier::Windows;
use report::figure::{CertifiedFigures, Figure};
use report::telemetry::{StatedTelemetry, is_sentinel, label};

use crate::calibrate::MIN_OBSERVATIONS;
use crate::expected::{Assumed, Expected, broken_by};
use crate::finding::{Finding, FindingKind};
use crate::policy::Policy;
use crate::profile::{Basis, Profile};
use crate::profiles::is_cpu;

/// Rounds of a pair that last less than this, ns, differ by chance.
const SLOW_PAIR_FROM_NS: u64 = 50_000_000;
/// As many slow pairs are named besides the slowest.
const SLOW_PAIRS_NAMED: usize = 8;
/// Clocks are sampled a few times a second: the highest sample may be this much below the actual maximum.
const CLOCK_LEEWAY: f64 = 1.05;
/// A smaller local share of T is significant only if a flawless device of the class can show at least this share.
const SHOWS_LOCAL: f64 = 0.2;
/// Part of a flawless device's share; below it, results may have been received over a link. An H200 shows about 0.35 where 64
/// GB/s could bring in 262 Tops at k = 2048 (spec §6.3); one that computes less than about half of its rate itself shows less
/// than six tenths of that.
const LEAST_LOCAL: f64 = 0.6;

/// Collects findings with the effects of a policy.
pub(crate) struct Findings<'a> {
    policy: &'a Policy,
    pub(crate) list: Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(policy: &'a Policy) -> Self {
        Findings {
            policy,
            list: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, kind: FindingKind, device: Option<u32>, detail: String) {
        self.list.push(Finding {
            kind,
            effect: self.policy.effect(kind),
            device,
            detail,
        });
    }

    /// Devices of one session whose labels identify the same card. Slices of a card share its PCI address and have
    /// different UUIDs.
    pub(crate) fn check_host(&mut self, hello: &Hello) {
        for name in ["uuid", "pci_bus_id"] {
            let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
            for offer in &hello.devices {
                let Some(value) = label(&offer.labels, name) else {
                    continue;
                };
                if name == "pci_bus_id" && says_slice(offer) {
                    continue;
                }
                if let Some(first) = seen.insert(value, offer.ordinal.0) {
                    let ordinal = offer.ordinal.0;
                    let detail = format!("devices {first} and {ordinal} both have {name} {value}");
                    self.add(FindingKind::DuplicateDevice, Some(ordinal), detail);
                }
            }
        }
    }

    /// Devices that HELLO offers but the session does not include.
    pub(crate) fn check_coverage(&mut self, hello: &Hello, covered: usize) {
        let offered = hello.devices.len();
        if covered > 0 && covered < offered {
            let detail = format!("the session covers {covered} of the {offered} devices that HELLO offers");
            self.add(FindingKind::PartialHost, None, detail);
        }
    }

    /// Two devices that took more than twice as long in their round as most others, by arrivals: a round ends with its slowest
    /// pair, so its window is of no use here.
    pub(crate) fn check_pairs(&mut self, plan: &Plan, windows: &[Windows]) {
        let mut paces: BTreeMap<[u32; 2], u64> = BTreeMap::new();
        for windows in windows {
            let arrival = |round: u32, device: DeviceOrdinal| {
                let mut arrivals = windows.crossed_after_ns.iter();
                let arrival = arrivals.find(|(in_round, of, _)| *in_round == round && *of == device)?;
                Some(arrival.2)
            };
            for round in 0..windows.round_ns.len() as u32 {
                for (place, device) in plan.devices().iter().enumerate() {
                    let other = plan.opponent(round, place).filter(|other| place < *other);
                    let Some(other) = other.map(|other| plan.devices()[other].ordinal) else {
                        continue;
                    };
                    if let (Some(own), Some(its)) = (arrival(round, device.ordinal), arrival(round, other)) {
                        let pace = paces.entry([device.ordinal.0, other.0]).or_default();
                        *pace = pace.saturating_add(own.max(its));
                    }
                }
            }
        }
        let mut sorted: Vec<u64> = paces.values().copied().collect();
        sorted.sort_unstable();
        // Of two pairs neither is the rule.
        let Some(&median) = sorted.get((sorted.len().max(1) - 1) / 2).filter(|_| sorted.len() > 2) else {
            return;
        };
        let is_slow = |ns: u64| ns >= SLOW_PAIR_FROM_NS && ns > median.saturating_mul(2);
        let mut slow: Vec<([u32; 2], u64)> = paces.into_iter().filter(|(_, ns)| is_slow(*ns)).collect();
        slow.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
        let Some(&([a, b], slowest)) = slow.first() else { return };
        let ms = |ns: u64| format!("{:.0} ms", ns as f64 / 1e6);
        let mut detail = format!(
            "devices {a} and {b} took {} for their rounds, {:.1} times as long as the median pair, {}",
            ms(slowest),
            slowest as f64 / median.max(1) as f64,
            ms(median)
        );
        if slow.len() > 1 {
            let others = slow.iter().skip(1).take(SLOW_PAIRS_NAMED);
            let others: Vec<String> = others.map(|([a, b], _)| format!("{a} and {b}")).collect();
            detail.push_str(&format!(
                "; {} pairs are as slow: also {}",
                slow.len(),
                others.join(", ")
            ));
            if slow.len() > SLOW_PAIRS_NAMED + 1 {
                detail.push_str(" and more");
            }
        }
        self.add(FindingKind::SlowLink, None, detail);
    }

    /// Compares what a device states with its other statements and with its stated class.
    pub(crate) fn check_device(
        &mut self,
        offer: &DeviceOffer,
        profile: Option<&Profile>,
        telemetry: &StatedTelemetry,
        fill_ops_per_s: u64,
    ) {
        let device = Some(offer.ordinal.0);
        if self.policy.device.must_state_uuid && stated_uuid(offer).is_none() {
            let detail = "no UUID in HELLO, and device.must_state_uuid asks for one".to_owned();
            self.add(FindingKind::UuidWithheld, device, detail);
        }
        let number = |name: &str| label(&offer.labels, name).and_then(|value| value.trim().parse::<f64>().ok());
        let memory = |bytes: u64| Figure::Memory.with_unit(bytes);
        if let Some(model) = label(&offer.labels, "model").filter(|model| *model != offer.model) {
            let detail = format!("HELLO says {:?}, its label {model:?}", offer.model);
            self.add(FindingKind::NameMismatch, device, detail);
        }
        // The driver appends the slice's size to the card's name; NVML gives the card's name alone.
        if let Some(nvml) = label(&offer.labels, "nvml_model").filter(|nvml| !offer.model.starts_with(nvml)) {
            let detail = format!("the driver says {:?}, NVML {nvml:?}", offer.model);
            self.add(FindingKind::NameMismatch, device, detail);
        }
        // For a slice, one value is of the card and the other of the slice.
        let is_slice = says_slice(offer);
        if let (Some(card), Some(driver)) = (number("card_memory_bytes"), number("memory_bytes"))
            && !is_slice
            && !is_near(card, driver, 0.08)
        {
            let (card, driver) = (memory(card as u64), memory(driver as u64));
            let detail = format!("NVML says {card}, the driver {driver}");
            self.add(FindingKind::MemoryMismatch, device, detail);
        }
        if is_slice {
            self.add(FindingKind::Slice, device, format!("model {:?}", offer.model));
        }
        if let Some(reasons) = telemetry
            .throttle_reasons
            .as_deref()
            .filter(|reasons| !matches!(*reasons, "" | "none"))
        {
            self.add(FindingKind::Throttled, device, format!("the device says: {reasons}"));
        }
        // Both are rounded to whole watts.
        let limit = number("power_limit_w").filter(|limit| *limit > 0.0);
        let default =
            number("default_power_limit_w").filter(|default| limit.is_some_and(|limit| limit < default - 1.0));
        if let (Some(limit), Some(default)) = (limit, default) {
            let detail = format!("{limit} W, {default} W by default");
            self.add(FindingKind::PowerCapped, device, detail);
        }
        let Some((profile, capacity)) = profile.and_then(|p| Some((p, p.capacity.as_ref()?))) else {
            return;
        };
        if is_cpu(&offer.engine) {
            let detail = format!("engine {:?}, model {:?}", offer.engine, offer.model);
            self.add(FindingKind::EngineMismatch, device, detail);
        }
        match profile.basis() {
            Basis::Datasheet => {
                let sheet = profile.source.datasheet.as_deref().unwrap_or("a datasheet");
                let detail = format!("{}: figures from {sheet}", profile.title);
                self.add(FindingKind::ClassUnmeasured, device, detail);
            }
            basis @ Basis::Measured { cards, .. } if (cards as usize) < MIN_OBSERVATIONS => {
                self.add(FindingKind::FewCards, device, format!("{}: {basis}", profile.title));
            }
            Basis::Measured { .. } => {}
        }
        // A slice has less of everything than its class; the finding that it is a slice was reported above.
        if !is_slice && !is_near(offer.memory_bytes as f64, capacity.memory_bytes as f64, 0.08) {
            let detail = format!(
                "it says {}, {} has {}",
                memory(offer.memory_bytes),
                profile.title,
                memory(capacity.memory_bytes)
            );
            self.add(FindingKind::MemoryLabel, device, detail);
        }
        if let (Some(said), Some(expected)) = (number("multiprocessors"), capacity.sm_count)
            && said != f64::from(expected)
            && !is_slice
        {
            let detail = format!("it says {said}, {} has {expected}", profile.title);
            self.add(FindingKind::SmCount, device, detail);
        }
        let Some(class_power) = capacity.power_w else { return };
        if let Some(limit) = limit.filter(|limit| *limit < class_power * 0.95 && default.is_none()) {
            let detail = format!("{limit} W, {} has {class_power} W", profile.title);
            self.add(FindingKind::PowerCapped, device, detail);
        }
        let power = telemetry.max_power_w();
        if let Some(peak) = capacity.int8_ops_per_s.filter(|_| power > 0.0) {
            // Measured kernels reach two thirds of the peak at the power limit; lower clocks do better, but not twice as well.
            let most = peak as f64 / class_power * 1.5;
            let per_joule = fill_ops_per_s as f64 / power;
            if per_joule > most {
                let rate = Figure::Tensor.with_unit(fill_ops_per_s);
                let detail = format!("{rate} at {power} W at most");
                self.add(FindingKind::PowerAgainstRate, device, detail);
            }
        }
    }

    /// Compares the certified rate with that of its multiprocessors at the highest clock that it reports it ran at, or can
    /// run at.
    pub(crate) fn check_clocks(
        &mut self,
        offer: &DeviceOffer,
        profile: Option<&Profile>,
        telemetry: &StatedTelemetry,
        tensor_ops_per_s: Option<u64>,
    ) {
        let number = |name: &str| label(&offer.labels, name).and_then(|value| value.trim().parse::<f64>().ok());
        let is_positive = |value: &f64| value.is_finite() && *value > 0.0 && !is_sentinel(*value);
        let capacity = profile.and_then(|profile| profile.capacity.as_ref());
        let class_sms = capacity.and_then(|capacity| capacity.sm_count).map(f64::from);
        let (Some(tensor), Some(ops), Some(sms), Some(mhz)) = (
            tensor_ops_per_s,
            capacity.and_then(|capacity| capacity.int8_ops_per_clock_and_sm),
            number("multiprocessors").filter(is_positive).or(class_sms),
            telemetry
                .max_clock_mhz()
                .or(number("max_sm_clock_mhz").filter(is_positive)),
        ) else {
            return;
        };
        let most = sms * mhz * 1e6 * f64::from(ops);
        if tensor as f64 > most * CLOCK_LEEWAY {
            let detail = format!(
                "{} certified; {sms} multiprocessors at {mhz} MHz with {ops} operations a clock do {}",
                Figure::Tensor.with_unit(tensor),
                Figure::Tensor.with_unit(most as u64)
            );
            self.add(FindingKind::ClockAgainstRate, Some(offer.ordinal.0), detail);
        }
    }

    /// Assumptions that a device of this class would break.
    pub(crate) fn check_assumptions(
        &mut self,
        device: u32,
        profile: &Profile,
        assumptions: &Assumptions,
        gpu_memory_bytes: Option<u64>,
    ) {
        let has = profile.most(Figure::Memory);
        if let (Some(assumed), Some(has)) = (gpu_memory_bytes, has.filter(|has| gpu_memory_bytes < Some(*has))) {
            let [assumed, has] = [assumed, has].map(|value| Figure::Memory.with_unit(value));
            let detail = format!("memory of a GPU: {assumed} assumed, {} has {has}", profile.title);
            self.add(FindingKind::AssumptionBelowClass, Some(device), detail);
        }
        for (which, assumed, has) in broken_by(profile, assumptions) {
            let (what, unit) = match which {
                Assumed::OnChip => ("on-chip memory", Figure::Memory),
                Assumed::LinkIn => ("link in", Figure::Bandwidth),
                Assumed::LinkOut => ("link out", Figure::Bandwidth),
                Assumed::BestRate => ("exact int8 rate", Figure::Tensor),
            };
            let (assumed, has) = (unit.with_unit(assumed), unit.with_unit(has));
            let detail = format!("{what}: {assumed} assumed, {} has {has}", profile.title);
            self.add(FindingKind::AssumptionBelowClass, Some(device), detail);
        }
    }

    /// Compares the share of T that is certified as local with that of a flawless device of the class in such a session.
    ///
    /// If such a device could not show a fifth of its T, a smaller share proves nothing: it is for the policy to assume slower
    /// links or faster cards.
    pub(crate) fn check_local_rate(
        &mut self,
        device: u32,
        profile: &Profile,
        certified: &DeviceCertified,
        assumptions: &Assumptions,
    ) {
        let share = |certified: &CertifiedFigures| {
            let tensor = certified.tensor_ops_per_s?;
            Some(certified.local_tensor_ops_per_s.unwrap_or(0) as f64 / tensor as f64)
        };
        let Some(flawless) = Expected::of(profile) else { return };
        let flawless = flawless.certified_in(&certified.groups, assumptions);
        let (Some(shown), Some(expected)) = (share(&CertifiedFigures::from(&certified.share)), share(&flawless)) else {
            return;
        };
        if expected >= SHOWS_LOCAL && shown < LEAST_LOCAL * expected {
            let detail = format!(
                "{shown:.2} of T is certified as local; a flawless {} shows {expected:.2}",
                profile.title
            );
            self.add(FindingKind::RateMayBeRemote, Some(device), detail);
        }
    }
}

/// The UUID that a device states; one of blanks alone is none.
pub(crate) fn stated_uuid(offer: &DeviceOffer) -> Option<&str> {
    label(&offer.labels, "uuid").filter(|uuid| !uuid.trim().is_empty())
}

/// Whether the device states that it is a slice of a card.
fn says_slice(offer: &DeviceOffer) -> bool {
    label(&offer.labels, "mig_slice") == Some("true") || offer.model.to_ascii_uppercase().contains("MIG ")
}

fn is_near(a: f64, b: f64, share: f64) -> bool {
    (a - b).abs() <= share * a.max(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles::Profiles;
    use protocol::bounds::{Measured, MeasuredIteration};
    use protocol::bytes::DeviceOrdinal;
    use protocol::certified::system_bounds;
    use verifier::preset::default_assumptions;

    /// A session of `memory_bytes` read at `bandwidth`, filled at the rate of each group: k, sweeps, rate.
    fn certified(memory_bytes: u64, bandwidth: f64, groups: &[(u32, u32, f64)], a: &Assumptions) -> DeviceCertified {
        let group = |&(inner_dim, sweeps, rate): &(u32, u32, f64)| {
            let memory = memory_bytes as f64;
            Measured {
                inner_dim,
                samples: 1280,
                dataset_bytes: memory_bytes,
                iterations: vec![MeasuredIteration {
                    sweeps,
                    fill_ns: (2e9 * f64::from(inner_dim) * memory / rate) as u64,
                    sweep_ns: (f64::from(sweeps) * memory / bandwidth * 1e9) as u64,
                }],
            }
        };
        let groups: Vec<Measured> = groups.iter().map(group).collect();
        let (_, shares) = system_bounds(std::slice::from_ref(&groups), a);
        DeviceCertified {
            device: DeviceOrdinal(0),
            share: shares[0],
            groups,
        }
    }

    fn is_found(class: &str, certified: &DeviceCertified, assumptions: &Assumptions) -> bool {
        let (policy, profiles) = (Policy::default(), Profiles::embedded());
        let mut findings = Findings::new(&policy);
        findings.check_local_rate(0, profiles.named(class).expect("a class"), certified, assumptions);
        !findings.list.is_empty()
    }

    #[test]
    fn a_rate_that_came_in_over_a_link_is_told_from_one_that_was_done_here() {
        let profiles = Profiles::embedded();
        let links = crate::assumptions::own_links(profiles.named("h200").expect("a class"));
        let a = links.applied_to(&default_assumptions(20));
        let h200 = |long: f64, short: f64| {
            let groups = [(20_480, 32, long * 1e12), (2_048, 2, short * 1e12)];
            certified(139 << 30, 4.6e12, &groups, &a)
        };
        assert!(!is_found("h200", &h200(1_340.0, 1_215.0), &a), "as three H200 measured");
        assert!(
            !is_found("h200", &h200(1_340.0, 950.0), &a),
            "short iterations disturbed"
        );
        // 400 and 600 Tops are its own, the rest is received over a link of 64 GB/s: all of the rest at k = 16384, 262
        // Tops at 2048.
        assert!(is_found("h200", &h200(1_340.0, 400.0 + 262.0), &a));
        assert!(is_found("h200", &h200(1_340.0, 530.0 + 262.0), &a));
        assert!(
            !is_found("h200", &h200(1_340.0, 700.0 + 262.0), &a),
            "more than half is its own"
        );
        // Without short iterations no device can show a local share.
        let long = certified(139 << 30, 4.6e12, &[(20_480, 32, 1_340e12)], &a);
        assert_eq!(long.share.local_tensor_ops_per_s, None);
        assert!(!is_found("h200", &long, &a));
        // The same holds for a class that reads too slowly for such links, or whose rate is not known.
        let groups = [(20_480, 32, 410e12), (2_048, 2, 360e12)];
        let a100 = certified(79 << 30, 1.9e12, &groups, &a);
        assert!(!is_found("a100-80", &a100, &a));
        assert!(!is_found("b300", &h200(1_340.0, 300.0), &a));
    }

    /// No honest device of any class gets the finding by default or under its class's own assumptions.
    #[test]
    fn honest_devices_are_not_told_that_their_rate_may_be_remote() {
        for profile in Profiles::embedded().iter() {
            let Some(expected) = Expected::of(profile) else {
                continue;
            };
            let Some(rate) = expected.fill_ops_per_s else { continue };
            let default = default_assumptions(20);
            let own = crate::assumptions::own_links(profile).applied_to(&default);
            for a in [default, own] {
                let groups = [(20_480, 32, rate as f64), (2_048, 2, rate as f64 * 0.85)];
                let slow = certified(
                    expected.dataset_bytes,
                    expected.sweep_bytes_per_s as f64 * 0.97,
                    &groups,
                    &a,
                );
                assert!(!is_found(&profile.name, &slow, &a), "{}", profile.name);
            }
        }
    }
}
