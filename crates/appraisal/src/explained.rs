//! Reasons and findings as programs read them: with the texts that people read.

use attestation_result::Tier;
use serde::{Serialize, Serializer};

use crate::finding::Finding;
use crate::reason::Reason;

/// A reason, and what it means.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct ExplainedReason<'a> {
    #[serde(flatten)]
    reason: &'a Reason,
    /// The verdict that this reason alone leads to.
    tier: Tier,
    /// The reason for people.
    text: String,
    /// What to do about it; empty if nothing is to be done.
    remedy: &'static str,
}

/// A finding, and what it means.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct ExplainedFinding<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    /// What it can come from.
    cause: &'static str,
    /// What to do about it.
    remedy: &'static str,
}

/// Serialises reasons with what they mean.
pub(crate) fn reasons<S: Serializer>(reasons: &[Reason], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(reasons.iter().map(|reason| ExplainedReason {
        reason,
        tier: reason.tier(),
        text: reason.to_string(),
        remedy: reason.remedy(),
    }))
}

/// Serialises findings with what they mean.
pub(crate) fn findings<S: Serializer>(findings: &[Finding], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(findings.iter().map(|finding| ExplainedFinding {
        finding,
        cause: finding.kind.cause(),
        remedy: finding.kind.remedy(),
    }))
}
