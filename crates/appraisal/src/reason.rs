//! Why a verdict is what it is: typed reasons, each with cause and remedy (documented in `docs/results.md`).

use std::fmt;

use attestation_result::Tier;
use report::figure::Margin;
use serde::{Deserialize, Serialize};
use verifier::units::{self, bytes, bytes_per_s};

use crate::finding::{Effect, Finding, FindingKind};
use crate::profile::Basis;

pub use self::untested::Untested;

mod untested;

/// A reason for a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "code", rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum Reason {
    /// A check of the session failed.
    SessionFailed {
        /// The failure's code (spec §9).
        failure: String,
        /// The failure.
        message: String,
    },
    /// The session was not completed.
    CouldNotRun {
        /// The obstacle's code (spec §9).
        obstacle: String,
        /// The obstacle.
        message: String,
    },
    /// Evidence without a clock shows nothing about rates.
    Offline,
    /// The Verifier of the evidence was not named as one whose evidence counts.
    UnknownVerifier {
        /// What is said of it.
        message: String,
    },
    /// Every check passed, but nothing can be concluded.
    NothingCertified {
        /// Why.
        message: String,
    },
    /// Neither V nor B is certified: the device may be a CPU.
    NoGpuShown,
    /// The certified totals fit the classes that the devices state, all together.
    HostFits {
        /// How many devices of which classes, say `2 x h200`.
        classes: String,
        /// Figure by figure.
        margins: Vec<Margin>,
    },
    /// The evidence was made for another audience.
    WrongAudience {
        /// The expected audience.
        expected: String,
        /// The audience of the evidence.
        actual: String,
    },
    /// The evidence is older than the policy allows.
    TooOld {
        /// Its age, s.
        age_s: u64,
        /// The most, s.
        limit_s: u64,
    },
    /// The evidence begins after it is appraised: a clock is wrong.
    FromTheFuture {
        /// By how much, s.
        ahead_s: u64,
    },
    /// Fewer samples than the policy asks for.
    TooFewSamples {
        /// In the session.
        actual: u32,
        /// The least.
        least: u32,
    },
    /// A phase took longer than the policy allows.
    TooSlow {
        /// `fill` or `sweep`.
        phase: String,
        /// Iteration, from 0.
        iteration: u32,
        /// Its window, ms.
        actual_ms: u64,
        /// The most, ms.
        limit_ms: u64,
    },
    /// The number of devices is not the requested one.
    DeviceCount {
        /// In the session.
        actual: u32,
        /// Asked for.
        expected: String,
    },
    /// A check of this device's answers failed.
    DeviceFailed {
        /// The failure's code (spec §9).
        failure: String,
        /// The failure.
        message: String,
    },
    /// The session ended for a reason other than this device, before the device could be judged.
    NotJudged {
        /// What ended it.
        why: String,
    },
    /// A device of the plan is not in HELLO, or nothing is certified for it.
    NoFigures,
    /// The stated model belongs to no known class.
    StatedUnknown {
        /// The model string.
        model: String,
    },
    /// The stated model matches several classes.
    StatedAmbiguous {
        /// The model string.
        model: String,
        /// The classes.
        classes: Vec<String>,
    },
    /// The stated class is not the requested one, or is not known.
    WrongClass {
        /// Asked for.
        required: String,
        /// The model string.
        model: String,
        /// The classes that it matches: none, one, or several.
        stated: Vec<String>,
    },
    /// The certified figures fit the class.
    StatedFits {
        /// The class.
        class: String,
        /// The data that its limits are based on.
        basis: Basis,
    },
    /// The stated class has no figures to compare with.
    ClassWithoutFigures {
        /// The class.
        class: String,
    },
    /// More is certified than one device of the stated class has.
    StatedExceeded {
        /// The class.
        class: String,
        /// Where.
        margins: Vec<Margin>,
    },
    /// Less is certified than a device of the stated class gives, by more than a bad day explains.
    StatedShort {
        /// The class.
        class: String,
        /// Where.
        margins: Vec<Margin>,
        /// Classes that the figures fit.
        looks_like: Vec<String>,
        /// The data that the class's limits are based on.
        basis: Basis,
    },
    /// A little less is certified than the stated class gives, and no lesser class explains it.
    StatedDoubtful {
        /// The class.
        class: String,
        /// Where.
        margins: Vec<Margin>,
        /// The data that the class's limits are based on.
        basis: Basis,
    },
    /// The device offered too little of its memory, but is as fast as its class.
    MemoryWithheld {
        /// What it offered, bytes.
        offered_bytes: u64,
        /// What the class needs, bytes.
        needed_bytes: u64,
        /// Lesser classes of about that memory whose other figures are certified.
        looks_like: Vec<String>,
    },
    /// The session or the policy asked for too little to decide.
    NotTested {
        /// What was missing.
        cause: Untested,
    },
    /// Less is certified than the policy asks for.
    BelowMinimum {
        /// The policy's key.
        key: String,
        /// What is certified.
        certified: Option<u64>,
        /// What is asked for.
        least: u64,
    },
    /// Less is certified of links between two devices than the policy asks for.
    LinksBelowMinimum {
        /// The two devices with the least.
        devices: [u32; 2],
        /// What is certified of them over links between GPUs, both ways together, bytes/s.
        certified: Option<u64>,
        /// What is asked for.
        least: u64,
        /// How many pairs have less than that.
        short: u32,
        /// How many pairs there are.
        pairs: u32,
    },
    /// Nothing is certified of what moved between two devices, and the policy asks for it.
    LinksNotShown {
        /// How many pairs have no bound; 0 without rounds.
        short: u32,
        /// How many pairs there are; 0 without rounds.
        pairs: u32,
        /// What was missing.
        why: String,
    },
    /// The policy asks for no class, and its least figures are certified.
    MinimaMet {
        /// What was asked for, and is certified.
        met: Vec<Met>,
    },
    /// A finding that the policy acts on.
    Finding {
        /// Which.
        kind: FindingKind,
        /// Its effect.
        effect: Effect,
        /// What was observed.
        detail: String,
    },
}

/// A least figure of a policy that is certified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Met {
    /// The policy's key.
    pub key: String,
    /// What is certified.
    pub certified: u64,
    /// What is asked for.
    pub least: u64,
}

impl From<&Finding> for Reason {
    fn from(finding: &Finding) -> Self {
        Reason::Finding {
            kind: finding.kind,
            effect: finding.effect,
            detail: finding.detail.clone(),
        }
    }
}

impl Reason {
    /// The reason that a finding becomes; `None` if the policy only notes the finding.
    pub(crate) fn acting(finding: &Finding) -> Option<Self> {
        (finding.effect != Effect::Note).then(|| Reason::from(finding))
    }

    /// The verdict this reason alone leads to.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.entry().1
    }

    /// The reason's code, its key in `docs/results.md`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.entry().0
    }

    /// Its cause, and what to do about it; for people.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.entry().2
    }
}

macro_rules! entries {
    ($($variant:ident $code:literal $tier:ident $remedy:literal;)*) => {
        impl Reason {
            /// Every code except those of findings.
            pub const CODES: &[&str] = &[$($code,)* "not-tested"];

            /// Code, tier, remedy.
            fn entry(&self) -> (&'static str, Tier, &'static str) {
                match self {
                    $(Reason::$variant { .. } => ($code, Tier::$tier, $remedy),)*
                    Reason::NotTested { cause } => ("not-tested", Tier::None, cause.remedy()),
                    Reason::Finding { kind, effect, .. } => (kind.name(), effect.tier(), kind.remedy()),
                }
            }
        }
    };
}

entries! {
    SessionFailed "session-failed" Contraindicated
        "an answer was wrong, late or malformed: update the Attester, test the device's memory, and run \
        again; if it stays, do not trust the device";
    CouldNotRun "could-not-run" None
        "see the obstacle; neither a pass nor a ban: run again once it is removed";
    Offline "offline" None "run a session with a Verifier's clock to certify rates";
    UnknownVerifier "unknown-verifier" None
        "if you trust this Verifier's clock and randomness, name it: --verifier KEY, or session.verifiers \
        in the policy";
    NothingCertified "nothing-certified" None
        "run a session of 256 samples or more over all memory: the standard preset; narrow what is assumed \
        by a policy for the hosts at hand";
    NoGpuShown "no-gpu-shown" None
        "run the standard preset, and narrow the assumed links by a policy for the hosts at hand; whoever \
        buys T alone, of whatever unit, says so with device.gpu_must_show = false";
    HostFits "host-fits" Affirming "";
    WrongAudience "wrong-audience" None "run a session for this audience";
    TooOld "too-old" None "run a new session";
    FromTheFuture "from-the-future" None
        "set the clocks of the Verifier and of this machine, then appraise again";
    TooFewSamples "too-few-samples" None "run a session with more samples";
    TooSlow "too-slow" Contraindicated "free the device of other work, check power and cooling, run again";
    DeviceCount "device-count" Contraindicated "run a session with all devices of the host";
    DeviceFailed "device-failed" Contraindicated
        "this device's answer was wrong, late or malformed: test its memory, run again without it; if it \
        stays, do not trust it";
    NotJudged "not-judged" None
        "run again without what ended the session: this device is neither passed nor blamed";
    NoFigures "no-figures" None "run a whole session with this device";
    StatedUnknown "stated-unknown" Warning
        "add a profile for the model, or set device.stated_class_must_fit = false with least figures";
    StatedAmbiguous "stated-ambiguous" Warning "make the profiles' models distinct";
    WrongClass "wrong-class" Contraindicated "offer the class that is asked for";
    StatedFits "stated-fits" Affirming "";
    ClassWithoutFigures "class-without-figures" None "ask for least figures in the policy";
    StatedExceeded "stated-exceeded" Warning
        "the device is more than it says: correct what it states, or the profile";
    StatedShort "stated-short" Contraindicated
        "if the device is what it says: free it of other work, check power limit, cooling and links, and \
        run again; a device that stays short is not what it says";
    StatedDoubtful "stated-doubtful" Warning
        "busy, throttled or power-capped devices look like this: free it, check power and cooling, run \
        again";
    MemoryWithheld "memory-withheld" Warning
        "something else holds the device's memory: free it and run again";
    BelowMinimum "below-minimum" Contraindicated "offer a device with more, or ask for less";
    LinksBelowMinimum "links-below-minimum" Contraindicated
        "look at nvidia-smi topo -m and nvidia-smi nvlink -s, start nvidia-fabricmanager on hosts with NVSwitch, free the links \
        of other work and run again; or ask for less";
    LinksNotShown "links-not-shown" None
        "run a session of two or more devices with rounds between them, in an iteration of k >= 4096 with 256 samples or more over \
        all memory; name the memory of the GPUs at hand in the policy: assumptions.gpu_memory_bytes";
    MinimaMet "minima-met" Affirming "";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::SessionFailed { failure, message } => write!(f, "the session failed ({failure}): {message}"),
            Reason::CouldNotRun { obstacle, message } => write!(f, "the session could not run ({obstacle}): {message}"),
            Reason::Offline => f.write_str("the session had no clock: the work was done, how fast is not known"),
            Reason::UnknownVerifier { message } | Reason::NothingCertified { message } => f.write_str(message),
            Reason::NoGpuShown => f.write_str(
                "no GPU is proven: no memory is certified to be faster than the links and the regeneration that are assumed",
            ),
            Reason::HostFits { classes, margins } => {
                write!(f, "what is certified for the host fits {classes}: {}", Margins(margins))
            }
            Reason::WrongAudience { expected, actual } => {
                write!(f, "the evidence was made for {actual:?}, not for {expected:?}")
            }
            Reason::TooOld { age_s, limit_s } => {
                write!(f, "the evidence is {age_s} s old; the policy allows {limit_s} s")
            }
            Reason::FromTheFuture { ahead_s } => {
                write!(f, "the evidence begins {ahead_s} s after now: a clock is wrong")
            }
            Reason::TooFewSamples { actual, least } => write!(f, "{actual} samples; the policy asks for {least}"),
            Reason::TooSlow {
                phase,
                iteration,
                actual_ms,
                limit_ms,
            } => {
                write!(
                    f,
                    "the {phase} of iteration {iteration} took {actual_ms} ms; the policy allows {limit_ms} ms"
                )
            }
            Reason::DeviceCount { actual, expected } => write!(f, "number of devices: {actual}; the policy asks for {expected}"),
            Reason::DeviceFailed { failure, message } => write!(f, "its answer failed ({failure}): {message}"),
            Reason::NotJudged { why } => write!(f, "not judged: {why}"),
            Reason::NoFigures => f.write_str("nothing is certified for this device"),
            Reason::StatedUnknown { model } => write!(f, "{model:?} is of no known class"),
            Reason::StatedAmbiguous { model, classes } => write!(f, "{model:?} may be any of {}", classes.join(", ")),
            Reason::WrongClass {
                required,
                model,
                stated,
            } => {
                write!(f, "the policy asks for {required}; ")?;
                match &stated[..] {
                    [] => write!(f, "the stated {model:?} is of no known class"),
                    [one] => write!(f, "stated is {one}"),
                    several => write!(f, "the stated {model:?} may be any of {}", several.join(", ")),
                }
            }
            Reason::StatedFits { class, basis } => {
                write!(
                    f,
                    "its share of what is certified for the host fits {class}; the class's limits rest on {basis}"
                )
            }
            Reason::ClassWithoutFigures { class } => write!(
                f,
                "{class} has no figures to be held against, and the policy asks for none"
            ),
            Reason::StatedExceeded { class, margins } => {
                write!(
                    f,
                    "more is certified than one device of class {class} has: {}",
                    Margins(margins)
                )
            }
            Reason::StatedShort {
                class,
                margins,
                looks_like,
                basis,
            } => {
                write!(f, "less is certified than class {class} gives: {}", Margins(margins))?;
                if !looks_like.is_empty() {
                    write!(f, "; the figures fit {}", looks_like.join(", "))?;
                }
                write!(f, "; its limits rest on {basis}")
            }
            Reason::StatedDoubtful { class, margins, basis } => write!(
                f,
                "a little less is certified than class {class} gives: {}; its limits rest on {basis}",
                Margins(margins)
            ),
            Reason::MemoryWithheld {
                offered_bytes,
                needed_bytes,
                looks_like,
            } => {
                write!(
                    f,
                    "as fast as its class, but it offered {} of memory where {} are needed",
                    bytes((*offered_bytes).into()),
                    bytes((*needed_bytes).into())
                )?;
                match looks_like.is_empty() {
                    true => Ok(()),
                    false => write!(f, "; it may be {}, which has about as much", looks_like.join(" or ")),
                }
            }
            Reason::NotTested { cause } => write!(f, "what it states was not tested: {cause}"),
            Reason::BelowMinimum { key, certified, least } => {
                let certified = certified.map_or("nothing".to_owned(), |value| units::by_name(key, value));
                write!(f, "{certified} certified; {key} asks for {}", units::by_name(key, *least))
            }
            Reason::LinksBelowMinimum {
                devices: [a, b],
                certified,
                least,
                short,
                pairs,
            } => {
                let certified = certified.map_or("nothing".to_owned(), |value| bytes_per_s(value.into()));
                let least = bytes_per_s((*least).into());
                write!(
                    f,
                    "{certified} certified over links between devices {a} and {b}; host.min_link_bytes_per_s asks for {least} of every \
                     two, and {short} of {pairs} pairs have less"
                )
            }
            Reason::LinksNotShown { short, pairs, why } => match pairs {
                0 => f.write_str(why),
                _ => write!(f, "nothing is certified of what moved between {short} of {pairs} pairs of devices: {why}"),
            },
            Reason::MinimaMet { met } => {
                f.write_str("certified is what the policy asks for: ")?;
                let one = |met: &Met| {
                    let (certified, least) = (units::by_name(&met.key, met.certified), units::by_name(&met.key, met.least));
                    format!("{certified} ({} asks for {least})", met.key)
                };
                f.write_str(&met.iter().map(one).collect::<Vec<_>>().join(", "))
            }
            Reason::Finding { detail, .. } => f.write_str(detail),
        }
    }
}

struct Margins<'a>(&'a [Margin]);

impl fmt::Display for Margins<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, margin) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            let certified = margin
                .certified
                .map_or("nothing".to_owned(), |value| margin.figure.with_unit(value));
            let needed = margin.figure.with_unit(margin.needed);
            let capacity = margin.figure.with_unit(margin.capacity);
            let name = margin.figure.name();
            write!(f, "{separator}{name} {certified} (needed {needed}, at most {capacity})")?;
        }
        Ok(())
    }
}
