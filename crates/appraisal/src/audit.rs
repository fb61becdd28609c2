//! Compares a signed result with a new appraisal of its evidence.

use attestation_result::{AttestationResult, Difference, Issuance, Tier};
use serde::Serialize;

use crate::appraisal::Appraisal;

/// The result of an audit. Evidence, policy and profiles show whether the same input was appraised; only if they agree does a
/// verdict that differs count against the issuer.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Audit {
    /// Digests of the evidence.
    pub evidence: Pair,
    /// Identifiers of the policy.
    pub policy: Pair,
    /// Digests of the profiles.
    pub profiles: Pair,
    /// The host's verdict.
    pub verdict: Pair,
    /// Every claim that differs, including those above and the devices' verdicts and figures.
    pub differences: Vec<Difference>,
}

/// A value in the result, and the value that follows now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pair {
    /// In the signed result; empty if it has no such value.
    pub signed: String,
    /// From the evidence, policy and profiles that are given.
    pub appraised: String,
}

impl Pair {
    /// Whether they are the same.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.signed == self.appraised
    }
}

impl Audit {
    /// Compares a signed result with an appraisal made as of the time it was issued.
    #[must_use]
    pub fn new(signed: &AttestationResult, appraisal: &Appraisal) -> Self {
        let appraised = appraisal.to_result(&Issuance::default());
        let pair = |of: &dyn Fn(&AttestationResult) -> String| Pair {
            signed: of(signed),
            appraised: of(&appraised),
        };
        Audit {
            evidence: pair(&|result| host_claim(result, "evidence_blake3")),
            policy: pair(&policy_ids),
            profiles: pair(&|result| host_claim(result, "profiles_blake3")),
            verdict: pair(&|result| Tier::name(result.ear_status).to_owned()),
            differences: appraised.differences(signed),
        }
    }

    /// Whether every claim of the result equals the one that follows now.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.differences.is_empty()
    }
}

fn host_claim(result: &AttestationResult, name: &str) -> String {
    let claim = result.submods.get("host").and_then(|host| host.claim(name).as_str());
    claim.unwrap_or_default().to_owned()
}

/// The policies of all submodules: a single one in a result made by this program.
fn policy_ids(result: &AttestationResult) -> String {
    let mut ids: Vec<&str> = result
        .submods
        .values()
        .flat_map(|submod| submod.ear_appraisal_policy_ids.iter().map(String::as_str))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.join(" ")
}
