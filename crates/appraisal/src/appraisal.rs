//! The result of evidence under a policy: verdicts, reasons, findings.

use attestation_result::Tier;
use attestation_result::nvidia::NvidiaKeys;
use report::Report;
use report::figure::CertifiedFigures;
use report::phases::PhaseSpan;
use report::telemetry::StatedTelemetry;
use serde::Serialize;

use crate::classify::Classification;
use crate::explained;
use crate::finding::Finding;
use crate::nvidia::Carried;
use crate::profile::{Basis, Profile};
use crate::reason::Reason;
use crate::subject::Subject;

/// The result of evidence under a policy.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Appraisal {
    /// The host's verdict: the worst of its own reasons and of its devices' verdicts.
    pub verdict: Tier,
    /// Reasons of the host and the session.
    #[serde(serialize_with = "explained::reasons")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<explained::ExplainedReason<'static>>"))]
    pub reasons: Vec<Reason>,
    /// Findings about the host.
    #[serde(serialize_with = "explained::findings")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<explained::ExplainedFinding<'static>>"))]
    pub findings: Vec<Finding>,
    /// Devices of the plan.
    pub devices: Vec<DeviceAppraisal>,
    /// When it was appraised, ms since the Unix epoch.
    pub appraised_unix_ms: u64,
    /// The policy's name.
    pub policy_name: String,
    /// The policy's identifier, with its digest.
    pub policy_id: String,
    /// What the policy asks for beyond the default, for people.
    pub asked: Vec<String>,
    /// Digest of the profiles, hex.
    pub profiles_blake3: String,
    /// The session's nonce, hex; present once it was sent.
    pub nonce: Option<String>,
    /// Classes of which one device could pass as all of these devices together (spec §7).
    pub host_indistinguishable_from: Vec<String>,
    /// NVIDIA's own attestation, if the evidence carries one: an addition that is not part of the verdict.
    pub nvidia: Option<Carried>,
    /// The session's report, its bounds under the policy's assumptions.
    pub report: Report,
}

/// The result for one device.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceAppraisal {
    /// Its ordinal.
    pub ordinal: u32,
    /// Its verdict.
    pub verdict: Tier,
    /// Why.
    #[serde(serialize_with = "explained::reasons")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<explained::ExplainedReason<'static>>"))]
    pub reasons: Vec<Reason>,
    /// Findings, mostly from labels.
    #[serde(serialize_with = "explained::findings")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<explained::ExplainedFinding<'static>>"))]
    pub findings: Vec<Finding>,
    /// The model that it states.
    pub model: String,
    /// The class of that model, if it belongs to one.
    pub stated_class: Option<String>,
    /// The class that its figures are compared with: the requested one, otherwise the stated one, if it has figures.
    pub held_against: Option<HeldAgainst>,
    /// Its share of what is certified for the host: which of the system's GPUs provided it is not shown (spec §6.3).
    pub certified: CertifiedFigures,
    /// What that share shows about the known classes.
    pub classification: Classification,
    /// When it was working, one entry per iteration.
    pub phases: Vec<PhaseSpan>,
    /// The power, clocks and temperature that it reports.
    pub telemetry: StatedTelemetry,
}

/// A class that figures are compared with, and the data that its limits are based on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeldAgainst {
    /// The class.
    pub class: String,
    /// The data that its limits are based on.
    pub basis: Basis,
}

impl From<&Profile> for HeldAgainst {
    fn from(profile: &Profile) -> Self {
        HeldAgainst {
            class: profile.name.clone(),
            basis: profile.basis(),
        }
    }
}

impl Appraisal {
    /// Findings about the host and about each device, in order, with where they were seen.
    pub fn all_findings(&self) -> impl Iterator<Item = (String, &Finding)> {
        let of_devices = self.devices.iter().flat_map(|device| &device.findings);
        self.findings.iter().chain(of_devices).map(|finding| {
            let place = finding
                .device
                .map_or("host".to_owned(), |device| format!("device {device}"));
            (place, finding)
        })
    }

    /// Adds the result of checking NVIDIA's own attestation with these keys, if the evidence carries one; the verdict does
    /// not change.
    #[must_use]
    pub fn with_nvidia_keys(self, subject: &Subject<'_>, keys: &NvidiaKeys) -> Self {
        Appraisal {
            nvidia: Carried::of(subject, Some(keys)),
            ..self
        }
    }
}
