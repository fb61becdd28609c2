//! What a Relying Party asks for, in TOML (keys in `docs/results.md`).

use std::collections::BTreeMap;

use report::figure::Figure;
use serde::{Deserialize, Serialize};

use protocol::bounds::Assumptions;
use protocol::bytes::{Identity, hex, unhex};
use protocol::limits::{HELPER_GPUS_RANGE, MAX_DEVICES, MAX_SAMPLES};
use verifier::outcome::{Judge, Narrowing};
use verifier::units;

use crate::assumptions::{AssumptionsPolicy, own_links};
use crate::classify::Shares;
use crate::document::{Document, InputError};
use crate::finding::{Effect, FindingKind};
use crate::profile::{Kind, Profile};
use crate::profiles::Profiles;

/// The requirements of a policy; every part has a default, and unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Name for people; the digest is the identity.
    pub name: String,
    /// Requirements on each device.
    pub device: DevicePolicy,
    /// Requirements on the host.
    pub host: HostPolicy,
    /// Requirements on the session and its evidence.
    pub session: SessionPolicy,
    /// Assumptions that narrow the table of hardware on sale; the bounds follow from them.
    pub assumptions: AssumptionsPolicy,
    /// What share of a class must be certified.
    pub shares: Shares,
    /// The effect of a finding, if it differs from the default of its kind.
    pub findings: BTreeMap<FindingKind, Effect>,
}

/// What each device must show, as its share of what is certified for the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DevicePolicy {
    /// The model in HELLO must name a known class, and the figures must fit that class.
    pub stated_class_must_fit: bool,
    /// The class that each device must state and fit.
    pub class: Option<String>,
    /// Least V, bytes.
    pub min_memory_bytes: Option<u64>,
    /// Least B, bytes/s.
    pub min_bandwidth_bytes_per_s: Option<u64>,
    /// Least T, operations/s.
    pub min_tensor_ops_per_s: Option<u64>,
    /// Least T_local, operations/s.
    pub min_local_tensor_ops_per_s: Option<u64>,
    /// V and B must be certified for it: nothing else distinguishes a GPU from a CPU. Not required for the class `cpu`.
    pub gpu_must_show: bool,
    /// It must state a UUID, else the finding `uuid-withheld` contraindicates it. A UUID is a label: it proves nothing.
    pub must_state_uuid: bool,
}

impl DevicePolicy {
    /// The least figures: keys and values of V, B, T and T_local.
    pub(crate) fn minima(&self) -> [(&'static str, Option<u64>); 4] {
        [
            ("device.min_memory_bytes", self.min_memory_bytes),
            ("device.min_bandwidth_bytes_per_s", self.min_bandwidth_bytes_per_s),
            ("device.min_tensor_ops_per_s", self.min_tensor_ops_per_s),
            ("device.min_local_tensor_ops_per_s", self.min_local_tensor_ops_per_s),
        ]
    }

    fn has_minimum(&self) -> bool {
        self.minima().iter().any(|(_, least)| least.is_some())
    }
}

impl Default for DevicePolicy {
    fn default() -> Self {
        DevicePolicy {
            stated_class_must_fit: true,
            class: None,
            min_memory_bytes: None,
            min_bandwidth_bytes_per_s: None,
            min_tensor_ops_per_s: None,
            min_local_tensor_ops_per_s: None,
            gpu_must_show: true,
            must_state_uuid: false,
        }
    }
}

/// What the host must show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostPolicy {
    /// Devices in the session, exactly.
    pub devices: Option<u32>,
    /// Devices in the session, at least.
    pub min_devices: Option<u32>,
    /// Least V of the host, bytes.
    pub min_memory_bytes: Option<u64>,
    /// Least B of the host, bytes/s.
    pub min_bandwidth_bytes_per_s: Option<u64>,
    /// Least T of the host, operations/s.
    pub min_tensor_ops_per_s: Option<u64>,
    /// Least bytes/s over links between every two devices of the plan, both ways together.
    pub min_link_bytes_per_s: Option<u64>,
    /// Every two devices of the plan must have a bound of what moved between them, over whatever path.
    pub require_all_pairs: bool,
}

impl HostPolicy {
    /// Whether it asks for what rounds between devices certify.
    pub(crate) fn asks_for_pairs(&self) -> bool {
        self.require_all_pairs || self.min_link_bytes_per_s.is_some()
    }

    /// The least figures: keys and values of V, B and T.
    pub(crate) fn minima(&self) -> [(&'static str, Option<u64>); 3] {
        [
            ("host.min_memory_bytes", self.min_memory_bytes),
            ("host.min_bandwidth_bytes_per_s", self.min_bandwidth_bytes_per_s),
            ("host.min_tensor_ops_per_s", self.min_tensor_ops_per_s),
        ]
    }
}

/// Requirements on the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionPolicy {
    /// Verifier keys whose evidence counts, hex; if empty, only this host's own key.
    pub verifiers: Vec<String>,
    /// The audience that the evidence must have been made for.
    pub audience: Option<String>,
    /// Oldest evidence that counts, seconds since its start.
    pub max_age_s: Option<u64>,
    /// Longest fill window, ms.
    pub max_fill_ms: Option<u64>,
    /// Longest sum of sweep windows of an iteration, ms.
    pub max_sweep_ms: Option<u64>,
    /// Fewest samples per device and distinct k.
    pub min_samples: Option<u32>,
}

/// Keys with their tables, and values.
fn entries(policy: &Policy) -> BTreeMap<String, toml::Value> {
    let mut entries = BTreeMap::new();
    for (table, value) in toml::Table::try_from(policy).expect("a table of plain values") {
        match value {
            toml::Value::Table(keys) => {
                entries.extend(keys.into_iter().map(|(key, value)| (format!("{table}.{key}"), value)));
            }
            value => drop(entries.insert(table, value)),
        }
    }
    entries
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            name: "default".to_owned(),
            device: DevicePolicy::default(),
            host: HostPolicy::default(),
            session: SessionPolicy::default(),
            assumptions: AssumptionsPolicy::default(),
            shares: Shares::default(),
            findings: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// The policy in `text`, whose classes are among `profiles`; `file` names it in errors.
    ///
    /// # Errors
    ///
    /// [`InputError`] with line and key for unknown keys, contradictions and values that no session can meet.
    pub fn parse(file: &str, text: &str, profiles: &Profiles) -> Result<Self, InputError> {
        let document = Document::new(file, text);
        let mut policy: Policy = document.read()?;
        policy.check(&document, profiles)?;
        // A class has one name, so that policies which differ in its case have one identifier.
        if let Some(class) = &mut policy.device.class {
            class.make_ascii_lowercase();
        }
        Ok(policy)
    }

    /// A policy that asks for the class, and assumes that the links of a device are no faster than those of a device of
    /// the class.
    #[must_use]
    pub fn for_class(profile: &Profile) -> Self {
        Policy {
            name: profile.name.clone(),
            device: DevicePolicy {
                class: Some(profile.name.clone()),
                ..DevicePolicy::default()
            },
            assumptions: own_links(profile),
            ..Policy::default()
        }
    }

    /// The judge of evidence that was recorded with these assumptions. Only evidence of the named Verifiers counts; they are
    /// named here or by the policy. If none is named, only evidence of this host's own Verifier counts.
    #[must_use]
    pub fn judge(&self, named: &[Identity], own: Option<Identity>, recorded: &Assumptions) -> Judge {
        let listed = self.session.verifiers.iter().filter_map(|key| {
            let bytes = unhex(key)?;
            Some(Identity(bytes.try_into().ok()?))
        });
        let mut trusted: Vec<Identity> = named.iter().copied().chain(listed).collect();
        if trusted.is_empty() {
            trusted.extend(own);
        }
        Judge {
            trusted,
            assumptions: self.assumptions.applied_to(recorded),
            narrowed_by: (self.assumptions != AssumptionsPolicy::default()).then(|| Narrowing {
                policy: self.name.clone(),
                gpu_memory_bytes: self.assumptions.gpu_memory_bytes,
            }),
        }
    }

    /// The policy as TOML that [`Policy::parse`] reads.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a table of plain values")
    }

    /// What it requires beyond the default policy, key by key, figures with units; for people.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        let default = entries(&Policy::default());
        let own = entries(self).into_iter();
        own.filter(|(key, value)| default.get(key) != Some(value) && key != "name")
            .map(
                |(key, value)| match value.as_integer().and_then(|value| u64::try_from(value).ok()) {
                    Some(figure) => format!("{key} = {}", units::by_name(&key, figure)),
                    None => format!("{key} = {value}"),
                },
            )
            .collect()
    }

    /// BLAKE3 of the policy's content, defaults included, hex: a verdict names it.
    #[must_use]
    pub fn digest(&self) -> String {
        blake3::hash(self.to_toml().as_bytes()).to_hex().to_string()
    }

    /// The policy's identifier in results: `urn:gpu-attestor:policy:NAME:BLAKE3`.
    #[must_use]
    pub fn id(&self) -> String {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let name: String = self.name.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
        format!("urn:gpu-attestor:policy:{name}:{}", self.digest())
    }

    /// What a finding of this kind does.
    #[must_use]
    pub fn effect(&self, kind: FindingKind) -> Effect {
        let is_asked = kind == FindingKind::UuidWithheld && self.device.must_state_uuid;
        let default = match is_asked {
            true => Effect::Contraindicate,
            false => kind.default_effect(),
        };
        self.findings.get(&kind).copied().unwrap_or(default)
    }

    fn check(&self, document: &Document<'_>, profiles: &Profiles) -> Result<(), InputError> {
        let fail = |key: &str, problem: String| Err(document.error(key, problem));
        if self.name.is_empty() || self.name.len() > 64 {
            return fail("name", "expected 1 to 64 bytes".to_owned());
        }
        if let Some(class) = &self.device.class {
            let Some(profile) = profiles.named(class) else {
                let known: Vec<&str> = profiles.iter().map(|p| p.name.as_str()).collect();
                return fail("device.class", format!("{class:?} is none of {}", known.join(", ")));
            };
            if !self.device.stated_class_must_fit {
                return fail(
                    "device.stated_class_must_fit",
                    "false, but device.class asks for a class: contradiction".to_owned(),
                );
            }
            let devices = self.host.devices.unwrap_or(MAX_DEVICES as u32);
            let [memory, bandwidth, tensor] = Figure::ALL.map(|figure| profile.most(figure));
            let all = |most: Option<u64>| most.map(|most| most.saturating_mul(devices.into()));
            let of_device = self
                .device
                .minima()
                .into_iter()
                .zip([memory, bandwidth, tensor, tensor]);
            let of_host = self.host.minima().into_iter().zip([memory, bandwidth, tensor].map(all));
            for ((key, least), most) in of_device.chain(of_host) {
                if let (Some(least), Some(most)) = (least, most)
                    && least > most
                {
                    let of = match key.starts_with("host.") {
                        true => format!("{devices} devices of {class} have"),
                        false => format!("{class} has"),
                    };
                    return fail(key, format!("{least}, but {of} at most {most}"));
                }
            }
            if profile.kind == Kind::Cpu && self.device.must_state_uuid {
                return fail("device.must_state_uuid", format!("true, but {class} has no UUID"));
            }
            if profile.kind == Kind::Cpu && !self.device.has_minimum() {
                return fail(
                    "device.class",
                    format!("{class} has no figures: ask for least figures too"),
                );
            }
        }
        if !self.device.stated_class_must_fit && !self.device.has_minimum() {
            return fail(
                "device.stated_class_must_fit",
                "false, and no least figure of a device: nothing is asked of it that could be certified".to_owned(),
            );
        }
        if self.device.must_state_uuid && self.effect(FindingKind::UuidWithheld) == Effect::Note {
            return fail(
                "device.must_state_uuid",
                "true, but findings.uuid-withheld is note: contradiction".to_owned(),
            );
        }
        self.check_zeros(document)?;
        self.check_counts(document)?;
        self.check_links(document, profiles)?;
        match (self.host.devices, self.host.min_devices) {
            (Some(exactly), Some(least)) if exactly < least => {
                return fail(
                    "host.min_devices",
                    format!("{least}, but host.devices is {exactly}: contradiction"),
                );
            }
            _ => {}
        }
        for key in &self.session.verifiers {
            if unhex(key).is_none_or(|bytes| bytes.len() != 32 || hex(&bytes) != *key) {
                return fail(
                    "session.verifiers",
                    format!("{key:?}; expected 64 lower-case hexadecimal digits"),
                );
            }
        }
        if let Some(bits) = self.assumptions.error_bits.filter(|bits| !(1..=256).contains(bits)) {
            return fail("assumptions.error_bits", format!("{bits}; expected 1 to 256"));
        }
        let gpus = self.assumptions.helper_gpus;
        if let Some(gpus) = gpus.filter(|gpus| !HELPER_GPUS_RANGE.contains(gpus)) {
            return fail("assumptions.helper_gpus", format!("{gpus}; expected 1 to 65536"));
        }
        self.check_shares(document)?;
        Ok(())
    }

    fn check_zeros(&self, document: &Document<'_>) -> Result<(), InputError> {
        let a = &self.assumptions;
        // A link or helper may be assumed absent with 0; sums of these stay far within a u128.
        let assumed = [
            ("best_rate_ops_per_s", a.best_rate_ops_per_s, 1),
            ("link_in_bytes_per_s", a.link_in_bytes_per_s, 0),
            ("link_out_bytes_per_s", a.link_out_bytes_per_s, 0),
            ("helper_bytes_per_s", a.helper_bytes_per_s, 0),
            ("on_chip_bytes", a.on_chip_bytes, 0),
            ("gpu_memory_bytes", a.gpu_memory_bytes, 1),
        ];
        for (key, value, least) in assumed {
            if let Some(value) = value.filter(|value| *value < least || *value >> 62 != 0) {
                return Err(document.error(&format!("assumptions.{key}"), format!("{value}; out of range")));
            }
        }
        let (host, session) = (&self.host, &self.session);
        let positive = [
            ("host.devices", host.devices.map(u64::from)),
            ("host.min_devices", host.min_devices.map(u64::from)),
            ("host.min_link_bytes_per_s", host.min_link_bytes_per_s),
            ("session.max_age_s", session.max_age_s),
            ("session.max_fill_ms", session.max_fill_ms),
            ("session.max_sweep_ms", session.max_sweep_ms),
            ("session.min_samples", session.min_samples.map(u64::from)),
        ];
        let minima = self.device.minima().into_iter().chain(host.minima());
        match minima.chain(positive).find(|(_, value)| *value == Some(0)) {
            Some((key, _)) => Err(document.error(key, "0; leave it out to ask for nothing")),
            None => Ok(()),
        }
    }

    fn check_links(&self, document: &Document<'_>, profiles: &Profiles) -> Result<(), InputError> {
        let host = &self.host;
        if host.devices == Some(1) && host.asks_for_pairs() {
            let key = match host.require_all_pairs {
                true => "host.require_all_pairs",
                false => "host.min_link_bytes_per_s",
            };
            return Err(document.error(key, "host.devices is 1, and one device has no links to others"));
        }
        let class = self.device.class.as_ref().and_then(|class| profiles.named(class));
        let links = class.and_then(|class| class.capacity.as_ref()?.peer_link_bytes_per_s);
        // Both ways together: what one device sends and what it receives.
        let most = links.map(|each_way| each_way.saturating_mul(2));
        if let (Some(class), Some(least), Some(most)) = (class, host.min_link_bytes_per_s, most)
            && least > most
        {
            let name = &class.name;
            let problem = format!("{least}, but two devices of {name} have at most {most}, both ways together");
            return Err(document.error("host.min_link_bytes_per_s", problem));
        }
        Ok(())
    }

    fn check_counts(&self, document: &Document<'_>) -> Result<(), InputError> {
        let most_devices = MAX_DEVICES as u32;
        let counts = [
            ("session.min_samples", self.session.min_samples, MAX_SAMPLES),
            ("host.devices", self.host.devices, most_devices),
            ("host.min_devices", self.host.min_devices, most_devices),
        ];
        for (key, count, most) in counts {
            if let Some(count) = count.filter(|count| *count > most) {
                return Err(document.error(key, format!("{count}, but no session has more than {most}")));
            }
        }
        Ok(())
    }

    fn check_shares(&self, document: &Document<'_>) -> Result<(), InputError> {
        let s = &self.shares;
        let shares = [
            ("memory", s.memory),
            ("datasheet_bandwidth", s.datasheet_bandwidth),
            ("datasheet_tensor", s.datasheet_tensor),
            ("doubt", s.doubt),
        ];
        for (key, share) in shares {
            if !(share > 0.0 && share <= 1.0) {
                let key = format!("shares.{key}");
                return Err(document.error(&key, format!("{share}; expected more than 0, at most 1")));
            }
        }
        if !(s.ceiling >= 1.0 && s.ceiling <= 2.0) {
            return Err(document.error("shares.ceiling", format!("{}; expected 1 to 2", s.ceiling)));
        }
        Ok(())
    }
}
