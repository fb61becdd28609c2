//! Findings: indications from labels and circumstances, which are not evidence. They raise doubt, and never prove anything
//! (spec §1).

use attestation_result::Tier;
use serde::{Deserialize, Serialize};

/// What a finding does to a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The finding is shown, and has no other effect.
    Note,
    /// The verdict is a warning at best.
    Warn,
    /// The verdict is contraindicated.
    Contraindicate,
}

impl Effect {
    /// The verdict that a finding with this effect leads to.
    pub(crate) fn tier(self) -> Tier {
        match self {
            Effect::Note => Tier::Affirming,
            Effect::Warn => Tier::Warning,
            Effect::Contraindicate => Tier::Contraindicated,
        }
    }

    /// Its name in policies and results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Effect::Note => "note",
            Effect::Warn => "warn",
            Effect::Contraindicate => "contraindicate",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $effect:ident, $cause:literal, $remedy:literal;)*) => {
        /// All kinds of findings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

            /// Its effect unless a policy sets another.
            #[must_use]
            pub fn default_effect(self) -> Effect {
                match self { $(FindingKind::$kind => Effect::$effect),* }
            }

            /// Its cause.
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
    /// The stated class was never measured.
    ClassUnmeasured = "class-unmeasured", Note,
        "nobody has measured a device of this class with this software: its thresholds come from a datasheet",
        "calibrate a profile from sessions with devices you trust";
    /// The class's limits rest on few cards.
    FewCards = "few-cards", Note,
        "the class's limits were measured on fewer than five cards: they are of these cards, not of the class",
        "calibrate the profile from sessions with more cards";
    /// A device that states a GPU's model uses the CPU engine.
    EngineMismatch = "engine-mismatch", Warn,
        "the device says that it is a GPU and that the CPU engine works it: one of the two is made up",
        "state the CPU for what it is, or run the Attester with the GPU's engine";
    /// The memory in HELLO is not that of the stated class.
    MemoryLabel = "memory-label", Warn,
        "the memory that the device says it has differs from its class's by more than 8 %: a slice of a device, a modified card, or tampered tools",
        "check for MIG or vGPU, and compare with the tools of the machine's owner";
    /// HELLO, its labels and NVML do not name the same model.
    NameMismatch = "name-mismatch", Warn,
        "the model in HELLO is not the one among the labels, or not NVML's: one of them was made up, or they are of different devices",
        "reinstall the driver from its vendor and run again";
    /// NVML and the driver state different memory sizes.
    MemoryMismatch = "memory-mismatch", Warn,
        "NVML and the driver give sizes of memory that differ by more than 8 %: one of them was tampered with, or they are of different devices",
        "check for vGPU; reinstall the driver from its vendor";
    /// The number of multiprocessors is not that of the stated class.
    SmCount = "sm-count", Warn,
        "the count of multiprocessors is not that of the stated class: another model, a slice, or tampered tools",
        "check for MIG or vGPU";
    /// Two devices of one session have the same UUID, or the same PCI address without being slices.
    // Based on a label alone, so it only warns: a host is never contraindicated by something that is not evidence.
    DuplicateDevice = "duplicate-device", Warn,
        "two devices of one session say that they are the same one: a count faked with one device, or labels made up",
        "list each device once";
    /// The device states that it is a slice.
    Slice = "slice", Warn,
        "the device says that it is a MIG slice: what is certified is the slice's, if the others are idle",
        "disable MIG, or state the slice for what it is";
    /// Throttling was reported.
    Throttled = "throttled", Note,
        "the device says that its clocks were held back: power limit, heat or an external brake",
        "raise the power limit, improve cooling, run again when idle";
    /// The power limit is below the device's default or the class's.
    PowerCapped = "power-capped", Note,
        "the device's power limit is below its default or that of its class: its rate is lower than the class's can be",
        "raise the power limit, or judge by the certified figures alone";
    /// Memory errors that were not corrected.
    MemoryErrors = "memory-errors", Warn,
        "the device says that bits of its memory changed and were not corrected: a session fails once such a bit is in its data",
        "reset the device and run again; if the count grows, test it with NVIDIA's diagnostics (dcgmi diag)";
    /// Defective memory that is not repaired.
    MemoryRepair = "memory-repair", Warn,
        "the device says that defective memory is not repaired, or that much of it was: more errors are likely",
        "reset the device if a repair is pending; have it replaced if a repair failed or 60 pages are retired";
    /// Error correction is off.
    EccOff = "ecc-off", Note,
        "the device says that error correction of its memory is off: a bit that changes is noticed only where a tile is sampled",
        "turn it on (nvidia-smi -e 1) and reset the device";
    /// The driver asks for a reset or the like.
    RecoveryNeeded = "recovery-needed", Warn,
        "the device says that its driver asks for a reset, a reboot or a drain: parts of it, or its links, do not work until then",
        "do what the driver asks for (nvidia-smi -q, GPU Recovery Action), and run again";
    /// Errors in the kernel's log that no application causes.
    XidErrors = "xid-errors", Note,
        "the host's kernel log has errors of this device since boot that no application causes: hardware or driver are at fault",
        "look up the numbers in NVIDIA's catalogue of Xid errors; reset the device, and have it replaced if they come back";
    /// The PCIe link is narrower or slower than it can be.
    PcieDegraded = "pcie-degraded", Note,
        "the device says that its PCIe link is narrower or of an older generation than it can be: copies from and to the host are slower, the certified figures are not",
        "run again when the device is busy, as an idle link may sleep; reseat the card, and look at the slot and its riser";
    /// NVLink had errors, or has fewer links than on the other devices.
    NvlinkDegraded = "nvlink-degraded", Note,
        "the device says that NVLink had errors, or fewer of its links are up than on others of its model: work on several GPUs is slower, the certified figures are not",
        "look at nvidia-smi nvlink -s and -e; reset the device; check bridges, or nvidia-fabricmanager and the switches";
    /// Two devices took far longer than others in the rounds between devices.
    SlowLink = "slow-link", Note,
        "two devices exchanged tiles at less than half the pace of most others: a slower path joins them, or links with errors or other work; the bounds of all that met in that round are lower",
        "look at nvidia-smi topo -m, and at nvidia-smi nvlink -s and -e; start nvidia-fabricmanager on hosts with NVSwitch (without it CUDA fails with status 802); let GPUs reach each other (containers, IOMMU and ACS); look at the devices' ECC errors";
    /// Other processes were on the device.
    OtherProcesses = "other-processes", Note,
        "the device says that other processes were on it before the session: their memory is missing from V, and their work from T and B",
        "end them (nvidia-smi names them), and run again";
    /// More operations per joule than the class is known or able to do.
    PowerAgainstRate = "power-against-rate", Warn,
        "the labelled power is too low for the measured rate: labels made up, or the work was done elsewhere",
        "measure power outside the host, and challenge all hosts of the operator at once";
    /// More operations per clock than the class can do.
    ClockAgainstRate = "clock-against-rate", Warn,
        "the certified rate is more than the labelled multiprocessors can do at the labelled clock: labels made up, or the work was done elsewhere",
        "measure the clock outside the host, and challenge all hosts of the operator at once";
    /// One device ended long after the others.
    Uneven = "uneven", Note,
        "a device needed more than one and a half times as long as the fastest of the session: busy, throttled, or on a slower link",
        "look at what else uses the device";
    /// An assumption is below what a device of the stated class has.
    AssumptionBelowClass = "assumption-below-class", Warn,
        "the bounds assume less on-chip memory, slower links or a lower int8 rate than the class has: they may promise too much",
        "set [assumptions] in the policy to the class's figures; `policy default --class` begins one";
    /// A smaller part of T is shown to be local than a device of the class shows.
    RateMayBeRemote = "rate-may-be-remote", Warn,
        "less of T is certified as local than six tenths of what a flawless device of the class shows: results may have come in over a link",
        "free device and links of other work and run again; challenge all hosts of the operator at once";
    /// The UUID was recorded under another Attester's key.
    UuidElsewhere = "uuid-elsewhere", Warn,
        "another Attester's session gave the same UUID: a card shown by two hosts, a new key of the same host, or a label made up by either",
        "ask both hosts, challenge them at once; a UUID is a label, and anyone can write another's";
    /// The device states no UUID, and one is asked for.
    UuidWithheld = "uuid-withheld", Note,
        "the device states no UUID: nothing tells whether another host showed the same card, or this session another device",
        "ask the host for it: an Attester states UUIDs unless its operator withholds them (--withhold)";
    /// HELLO offers devices that the session does not cover.
    PartialHost = "partial-host", Warn,
        "the host has more devices than the session covers: the others' memory, links and rate may have helped",
        "run a session with all devices of the host, or assume as many helpers in the policy";
    /// A larger device could pass as this one, or as all of them.
    Indistinguishable = "indistinguishable", Note,
        "one device of a larger class could have done the same: figures can't tell it, or slices of it, from the stated (spec §7)",
        "ask for hardware attestation beside this one, if the model itself matters";
    /// Linked devices with parts of the data could pass as this one.
    JoinedPossible = "joined-possible", Note,
        "two GPUs joined by fast links, each with a part of the dataset, could pass as one: argued, not proven (spec §7)",
        "ask for all GPUs of the host in one session: what stands for another can't answer for itself";
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// Which.
    pub kind: FindingKind,
    /// Its effect on the verdict.
    pub effect: Effect,
    /// The device; null for the host.
    pub device: Option<u32>,
    /// What was observed, with figures.
    pub detail: String,
}
