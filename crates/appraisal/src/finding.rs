//! Findings: what labels and circumstances say beside the evidence. They raise doubt, and never prove anything (spec §1).
//!
//! The labels that are read are those that the Attester's CUDA side writes: of a device `model`, `uuid`, `pci_bus_id`,
//! `memory_bytes` (the driver's), `card_memory_bytes` (NVML's), `multiprocessors`, `power_limit_w`, `mig_slice`; those of a
//! session are in [`crate::telemetry`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use protocol::bounds::Assumptions;
use protocol::cbor::Label;
use protocol::message::{DeviceOffer, Hello};

use crate::classify::Figure;
use crate::policy::{Effect, Policy};
use crate::profile::{Profile, Status};
use crate::reason::figure;
use crate::telemetry::Telemetry;

/// Clocks are sampled a few times a second: the highest seen may be this much below the highest there was.
const CLOCK_LEEWAY: f64 = 1.05;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $effect:ident, $cause:literal, $remedy:literal;)*) => {
        /// The findings there are.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum FindingKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind,)*
        }

        impl FindingKind {
            /// Every kind.
            pub const ALL: &[FindingKind] = &[$(FindingKind::$kind),*];

            /// Its name in policies and results.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(FindingKind::$kind => $name),* }
            }

            /// What it does unless a policy says otherwise.
            #[must_use]
            pub fn default_effect(self) -> Effect {
                match self { $(FindingKind::$kind => Effect::$effect),* }
            }

            /// What brings it about.
            #[must_use]
            pub fn cause(self) -> &'static str {
                match self { $(FindingKind::$kind => $cause),* }
            }

            /// What to do about it.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(FindingKind::$kind => $remedy),* }
            }
        }
    };
}

kinds! {
    /// The claimed class was never measured.
    ClassUnmeasured = "class-unmeasured", Note,
        "nobody has measured a device of this class with this software: its thresholds come from a datasheet",
        "calibrate a profile from sessions with devices you trust";
    /// HELLO's memory is not the claimed class's.
    MemoryLabel = "memory-label", Warn,
        "the memory that the device says it has differs from its class's by more than 8 %: a slice of a device, a modified card, or tampered tools",
        "check for MIG or vGPU, and compare with the tools of the machine's owner";
    /// HELLO and its labels do not name the same model.
    NameMismatch = "name-mismatch", Warn,
        "the model in HELLO is not the one among the labels: one of them was made up, or they are of different devices",
        "reinstall the driver from its vendor and run again";
    /// NVML and the driver do not give the same memory.
    MemoryMismatch = "memory-mismatch", Warn,
        "NVML and the driver give sizes of memory that differ by more than 8 %: one of them was tampered with, or a slice is in use",
        "check for MIG or vGPU; reinstall the driver from its vendor";
    /// The multiprocessors are not the claimed class's.
    SmCount = "sm-count", Warn,
        "the count of multiprocessors is not that of the claimed class: another model, a slice, or tampered tools",
        "check for MIG or vGPU";
    /// Two devices of one session have the same UUID or PCI address.
    DuplicateDevice = "duplicate-device", Contraindicate,
        "two devices of one session say that they are the same one: a count faked with one device, or labels made up",
        "list each device once";
    /// The device says it is a slice.
    Slice = "slice", Warn,
        "the device says that it is a MIG slice: what is certified is the slice's, if the others are idle",
        "disable MIG, or claim the slice for what it is";
    /// Throttling was seen.
    Throttled = "throttled", Note,
        "the device says that its clocks were held back: power limit, heat or an external brake",
        "raise the power limit, improve cooling, run again when idle";
    /// The power limit is below the class's.
    PowerCapped = "power-capped", Note,
        "the device's power limit is below that of its class: its rate is lower than the class's can be",
        "raise the power limit, or judge by the certified figures alone";
    /// More operations a joule than the class is known or able to do.
    PowerAgainstRate = "power-against-rate", Warn,
        "the labelled power is too low for the measured rate: labels made up, or the work was done elsewhere",
        "measure power outside the host, and challenge all hosts of the operator at once";
    /// More operations a clock than the class can do.
    ClockAgainstRate = "clock-against-rate", Warn,
        "the certified rate is more than the labelled multiprocessors can do at the labelled clock: labels made up, or the work was done elsewhere",
        "measure the clock outside the host, and challenge all hosts of the operator at once";
    /// One device ended long after the others.
    Uneven = "uneven", Note,
        "a device needed more than one and a half times as long as the fastest of the same class: busy, throttled, or on a slower link",
        "look at what else uses the device";
    /// An assumption is below what a device of the claimed class has.
    AssumptionBelowClass = "assumption-below-class", Warn,
        "the bounds assume less on-chip memory or slower links than the claimed class has: they may promise too much",
        "set [assumptions] in the policy to the class's figures";
    /// A larger device could stand for this one, or for all of them.
    Indistinguishable = "indistinguishable", Note,
        "one device of a larger class could have done the same: figures can't tell it, or slices of it, from the claimed (spec §7)",
        "ask for hardware attestation beside this one, if the model itself matters";
    /// Linked devices with parts of the data could pass as this one.
    JoinedPossible = "joined-possible", Note,
        "several GPUs joined by fast links could reach the certified bandwidth as one: argued, not proven (spec §7)",
        "ask for all GPUs of the host in one session: what stands for another can't answer for itself";
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which.
    pub kind: FindingKind,
    /// What it does to the verdict.
    pub effect: Effect,
    /// The device; `None` for the host.
    pub device: Option<u32>,
    /// What was seen, with figures.
    pub detail: String,
}

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

    /// Devices of one session that say that they are the same.
    pub(crate) fn check_host(&mut self, hello: &Hello) {
        for name in ["uuid", "pci_bus_id"] {
            let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
            for offer in &hello.devices {
                let Some(value) = label(&offer.labels, name) else {
                    continue;
                };
                if let Some(first) = seen.insert(value, offer.ordinal.0) {
                    let ordinal = offer.ordinal.0;
                    let detail = format!("devices {first} and {ordinal} both have {name} {value}");
                    self.add(FindingKind::DuplicateDevice, Some(ordinal), detail);
                }
            }
        }
    }

    /// What a device says of itself, against itself and the class it claims.
    pub(crate) fn check_device(
        &mut self,
        offer: &DeviceOffer,
        profile: Option<&Profile>,
        telemetry: &Telemetry,
        fill_ops_per_s: u64,
    ) {
        let device = Some(offer.ordinal.0);
        let number = |name: &str| label(&offer.labels, name).and_then(|value| value.trim().parse::<f64>().ok());
        if let Some(model) = label(&offer.labels, "model").filter(|model| *model != offer.model) {
            let detail = format!("HELLO says {:?}, its label {model:?}", offer.model);
            self.add(FindingKind::NameMismatch, device, detail);
        }
        if let (Some(card), Some(driver)) = (number("card_memory_bytes"), number("memory_bytes"))
            && !is_near(card, driver, 0.08)
        {
            let detail = format!("NVML says {card} bytes, the driver {driver}");
            self.add(FindingKind::MemoryMismatch, device, detail);
        }
        let says_slice = label(&offer.labels, "mig_slice") == Some("true");
        if says_slice || offer.model.to_ascii_uppercase().contains("MIG ") {
            self.add(FindingKind::Slice, device, format!("model {:?}", offer.model));
        }
        if let Some(reasons) = telemetry
            .throttle_reasons
            .as_deref()
            .filter(|reasons| !matches!(*reasons, "" | "none"))
        {
            self.add(FindingKind::Throttled, device, format!("the device says: {reasons}"));
        }
        let Some((profile, capacity)) = profile.and_then(|p| Some((p, p.capacity.as_ref()?))) else {
            return;
        };
        if profile.status == Status::Datasheet {
            let sheet = profile.source.datasheet.as_deref().unwrap_or("a datasheet");
            let detail = format!("{}: figures from {sheet}", profile.title);
            self.add(FindingKind::ClassUnmeasured, device, detail);
        }
        if !is_near(offer.memory_bytes as f64, capacity.memory_bytes as f64, 0.08) {
            let detail = format!(
                "it says {} bytes, {} has {}",
                offer.memory_bytes, profile.title, capacity.memory_bytes
            );
            self.add(FindingKind::MemoryLabel, device, detail);
        }
        if let (Some(said), Some(expected)) = (number("multiprocessors"), capacity.sm_count)
            && said != f64::from(expected)
        {
            let detail = format!("it says {said}, {} has {expected}", profile.title);
            self.add(FindingKind::SmCount, device, detail);
        }
        let Some(class_power) = capacity.power_w else { return };
        if let Some(limit) = number("power_limit_w").filter(|limit| *limit > 0.0 && *limit < class_power * 0.95) {
            let detail = format!("{limit} W, {} has {class_power} W", profile.title);
            self.add(FindingKind::PowerCapped, device, detail);
        }
        let power = telemetry.max_power_w();
        if let Some(peak) = capacity.int8_ops_per_s.filter(|_| power > 0.0) {
            // Measured kernels reach two thirds of the peak at the power limit; lower clocks do better, not twice.
            let most = peak as f64 / class_power * 1.5;
            let per_joule = fill_ops_per_s as f64 / power;
            if per_joule > most {
                let detail = format!("{fill_ops_per_s} operations/s at {power} W at most");
                self.add(FindingKind::PowerAgainstRate, device, detail);
            }
        }
    }

    /// The certified rate against what its multiprocessors can do at the highest clock it says it ran at, or can run at.
    pub(crate) fn check_clocks(
        &mut self,
        offer: &DeviceOffer,
        profile: Option<&Profile>,
        telemetry: &Telemetry,
        tensor_ops_per_s: Option<u64>,
    ) {
        let number = |name: &str| label(&offer.labels, name).and_then(|value| value.trim().parse::<f64>().ok());
        let is_positive = |value: &f64| value.is_finite() && *value > 0.0;
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
                figure(Figure::Tensor, tensor),
                figure(Figure::Tensor, most as u64)
            );
            self.add(FindingKind::ClockAgainstRate, Some(offer.ordinal.0), detail);
        }
    }

    /// Assumptions that a device of this class would break.
    pub(crate) fn check_assumptions(&mut self, device: u32, profile: &Profile, assumptions: &Assumptions) {
        let Some(capacity) = &profile.capacity else { return };
        for (what, assumed, has) in [
            ("on-chip memory", assumptions.on_chip_bytes, capacity.on_chip_bytes),
            ("link in", assumptions.link_in_bytes, capacity.link_in_bytes_per_s),
            ("link out", assumptions.link_out_bytes, capacity.link_out_bytes_per_s),
        ] {
            if let Some(has) = has.filter(|has| *has > assumed) {
                let detail = format!("{what}: {assumed} assumed, {} has {has}", profile.title);
                self.add(FindingKind::AssumptionBelowClass, Some(device), detail);
            }
        }
    }
}

/// The value of the first label of this name.
pub(crate) fn label<'a>(labels: &'a [Label], name: &str) -> Option<&'a str> {
    labels
        .iter()
        .find(|label| label.name == name)
        .map(|label| label.value.as_str())
}

fn is_near(a: f64, b: f64, share: f64) -> bool {
    (a - b).abs() <= share * a.max(b)
}
