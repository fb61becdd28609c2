//! Which Attester stated which device's UUID: a registry kept across sessions, for the finding `uuid-elsewhere`; for
//! devices without a UUID, there is nothing to compare, which is the finding `uuid-withheld`.
//!
//! UUIDs are labels: an Attester can state the UUID of another's device. An entry in the registry raises doubt, and proves
//! nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::appraisal::Appraisal;
use crate::finding::{Finding, FindingKind};
use crate::findings::stated_uuid;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::subject::Subject;

/// Version of the registry's format.
const VERSION: u32 = 1;

/// The Attesters' keys under which each UUID was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    version: u32,
    /// By UUID, then by the Attester's key, hex.
    devices: BTreeMap<String, BTreeMap<String, Sighting>>,
}

/// When an Attester first stated a UUID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sighting {
    /// The session's id, hex.
    pub session: String,
    /// When it was recorded here, s since the Unix epoch.
    pub recorded_unix_s: u64,
}

/// Why a file is not a registry.
#[derive(Debug, thiserror::Error)]
pub enum SeenError {
    /// Not the expected JSON.
    #[error("no registry of devices: {0}")]
    Malformed(serde_json::Error),
    /// Of another version.
    #[error("a registry of version {actual}; expected {VERSION}")]
    Version {
        /// The file's.
        actual: u32,
    },
}

impl Default for Seen {
    fn default() -> Self {
        Seen {
            version: VERSION,
            devices: BTreeMap::new(),
        }
    }
}

impl Seen {
    /// The registry in JSON text.
    ///
    /// # Errors
    ///
    /// [`SeenError`]; nothing is skipped.
    pub fn parse(json: &str) -> Result<Self, SeenError> {
        let seen: Seen = serde_json::from_str(json).map_err(SeenError::Malformed)?;
        match seen.version {
            VERSION => Ok(seen),
            actual => Err(SeenError::Version { actual }),
        }
    }

    /// The registry as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers") + "\n"
    }

    /// Records the UUIDs of an affirmed session, whose Attester has shown its key; nothing is recorded of any other session.
    ///
    /// The first entry of a UUID under a key is kept.
    pub fn record(&mut self, subject: &Subject<'_>, appraisal: &Appraisal) {
        let (Some(identity), Some(session)) = (&appraisal.report.attester, &appraisal.report.session_id) else {
            return;
        };
        // Evidence from a Verifier that is not trusted could contain the UUIDs of another's devices.
        if appraisal.report.verdict != "affirmed" {
            return;
        }
        for (_, uuid) in uuids(subject) {
            let sightings = self.devices.entry(uuid.to_owned()).or_default();
            sightings.entry(identity.clone()).or_insert_with(|| Sighting {
                session: session.clone(),
                recorded_unix_s: appraisal.appraised_unix_ms / 1000,
            });
        }
    }

    /// The Attesters other than `identity` that had stated this UUID by then.
    fn others<'a>(&'a self, uuid: &str, identity: &str, by_unix_s: u64) -> Vec<(&'a str, &'a Sighting)> {
        let sightings = self.devices.get(uuid).into_iter().flatten();
        sightings
            .filter(|(key, sighting)| *key != identity && sighting.recorded_unix_s <= by_unix_s)
            .map(|(key, sighting)| (&key[..], sighting))
            .collect()
    }
}

impl Appraisal {
    /// Adds a finding for each device whose UUID another Attester stated before, according to `seen` at the time of this
    /// appraisal, and for each that states none.
    #[must_use]
    pub fn with_seen(mut self, subject: &Subject<'_>, policy: &Policy, seen: &Seen) -> Self {
        let Some(identity) = self.report.attester.clone() else {
            return self;
        };
        if self.report.reason == "unknown-verifier" {
            return self;
        }
        let stated: BTreeMap<u32, &str> = uuids(subject).collect();
        let appraised_unix_s = self.appraised_unix_ms / 1000;
        for device in &mut self.devices {
            let (kind, detail) = match stated.get(&device.ordinal) {
                Some(uuid) => {
                    let others = seen.others(uuid, &identity, appraised_unix_s);
                    if others.is_empty() {
                        continue;
                    }
                    let list: Vec<String> = others
                        .iter()
                        .map(|(key, sighting)| format!("{key} in session {}", sighting.session))
                        .collect();
                    let detail = format!("{uuid} was given by {}", list.join(", "));
                    (FindingKind::UuidElsewhere, detail)
                }
                // The policy asked for it, and the appraisal has said so.
                None if policy.device.must_state_uuid => continue,
                None => {
                    let detail = "no UUID in HELLO: --seen has nothing to compare".to_owned();
                    (FindingKind::UuidWithheld, detail)
                }
            };
            let finding = Finding {
                kind,
                effect: policy.effect(kind),
                device: Some(device.ordinal),
                detail,
            };
            if let Some(reason) = Reason::acting(&finding) {
                device.verdict = device.verdict.and(reason.tier());
                self.verdict = self.verdict.and(reason.tier());
                device.reasons.push(reason);
            }
            device.findings.push(finding);
        }
        self
    }
}

/// Ordinal and UUID of each device that states one.
fn uuids<'a>(subject: &Subject<'a>) -> impl Iterator<Item = (u32, &'a str)> {
    let offers = subject.session.hello().map(|hello| &hello.devices[..]);
    let uuid = |offer: &'a protocol::message::DeviceOffer| Some((offer.ordinal.0, stated_uuid(offer)?));
    offers.unwrap_or_default().iter().filter_map(uuid)
}
