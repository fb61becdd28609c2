//! The Attestation Result: an EAR (draft-ietf-rats-ear-04) as a signed JWT; `docs/results.md` describes its claims.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use verifier::report::Claim;

use protocol::bytes::unhex;

use crate::appraise::{Appraisal, DeviceAppraisal};
use crate::classify::{Certified, ClassFit};
use crate::finding::Finding;
use crate::key::{JwkSet, SigningKey};
use crate::reason::{Reason, Tier};
use crate::token::{self, TokenError};

/// The EAT profile of every result.
pub const EAR_PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

/// The member of `ear_verifier_claims` and `ear_attester_claims` under which all our own claims are.
pub const PRIVATE_CLAIM: &str = "gpu-attestor";

/// Version of our own claims.
pub const CLAIMS_VERSION: u32 = 1;

/// Clocks of issuer and Relying Party may differ by this much, s.
pub const CLOCK_LEEWAY_S: u64 = 60;

/// An EAT Attestation Result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttestationResult {
    /// [`EAR_PROFILE`].
    pub eat_profile: String,
    /// When it was issued, s since the Unix epoch.
    pub iat: u64,
    /// When it ends to be valid.
    pub exp: u64,
    /// Who issued it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// For whom it is; a Relying Party that is not named must refuse it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// The session's nonce, base64url; absent if the session ended before it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eat_nonce: Option<String>,
    /// What appraised the evidence.
    pub ear_verifier_id: VerifierId,
    /// The host's verdict.
    pub ear_status: Tier,
    /// `host`, and `gpu` with its ordinal for each device.
    pub submods: BTreeMap<String, Submodule>,
}

/// The software that appraised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifierId {
    /// Who made it.
    pub developer: String,
    /// Which build.
    pub build: String,
}

impl Default for VerifierId {
    fn default() -> Self {
        VerifierId {
            developer: env!("CARGO_PKG_REPOSITORY").to_owned(),
            build: concat!("gpu-validator ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// The appraisal of the host or of one device. No trustworthiness vector: none of its claims is what is certified here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submodule {
    /// Its verdict.
    pub ear_status: Tier,
    /// The policy, with its digest.
    pub ear_appraisal_policy_ids: Vec<String>,
    /// What the Attester says of itself, under [`PRIVATE_CLAIM`]; not evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ear_attester_claims: Option<BTreeMap<String, Value>>,
    /// What is certified and why the verdict is what it is, under [`PRIVATE_CLAIM`].
    pub ear_verifier_claims: BTreeMap<String, Value>,
}

/// Who issues, for whom, for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuance {
    /// `iss`.
    pub issuer: Option<String>,
    /// `aud`.
    pub audience: Option<String>,
    /// Validity, s.
    pub valid_s: u64,
    /// The software.
    pub verifier_id: VerifierId,
}

impl Default for Issuance {
    fn default() -> Self {
        Issuance {
            issuer: None,
            audience: None,
            valid_s: 24 * 3600,
            verifier_id: VerifierId::default(),
        }
    }
}

/// What a Relying Party expects of a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// Its own name: `aud` must be this; `None` accepts only results for nobody in particular.
    pub audience: Option<String>,
    /// The issuer's name.
    pub issuer: Option<String>,
    /// The session's nonce.
    pub nonce: Option<[u8; 32]>,
    /// The policy's identifier.
    pub policy_id: Option<String>,
    /// Oldest `iat`, s.
    pub max_age_s: Option<u64>,
}

impl AttestationResult {
    /// The result of an appraisal, issued when it was appraised.
    #[must_use]
    pub fn new(appraisal: &Appraisal, issuance: &Issuance) -> Self {
        let iat = appraisal.appraised_unix_ms / 1000;
        let nonce = appraisal.nonce.as_deref().and_then(unhex);
        let mut submods = BTreeMap::from([("host".to_owned(), host(appraisal))]);
        for device in &appraisal.devices {
            submods.insert(format!("gpu{}", device.ordinal), gpu(device, appraisal));
        }
        AttestationResult {
            eat_profile: EAR_PROFILE.to_owned(),
            iat,
            exp: iat.saturating_add(issuance.valid_s),
            iss: issuance.issuer.clone(),
            aud: issuance.audience.clone(),
            eat_nonce: nonce.map(|nonce| Base64UrlUnpadded::encode_string(&nonce)),
            ear_verifier_id: issuance.verifier_id.clone(),
            ear_status: appraisal.verdict,
            submods,
        }
    }

    /// The result as a JWT, signed.
    ///
    /// # Panics
    ///
    /// Never: every result is a table of plain values.
    #[must_use]
    pub fn to_jwt(&self, key: &SigningKey) -> String {
        token::sign(&serde_json::to_vec(self).expect("a table of plain values"), key)
    }

    /// Where this result, appraised again, differs from a signed one: paths with both values. Empty if in nothing but
    /// who issued it when and for whom.
    #[must_use]
    pub fn differences(&self, signed: &AttestationResult) -> Vec<Difference> {
        let strip = |result: &AttestationResult| {
            let mut value = serde_json::to_value(result).unwrap_or_default();
            for claim in ["iat", "exp", "iss", "aud", "ear_verifier_id"] {
                value.as_object_mut().map(|claims| claims.remove(claim));
            }
            value
        };
        let mut found = Vec::new();
        compare("", &strip(self), &strip(signed), &mut found);
        found
    }

    pub(crate) fn check(&self, now_s: u64, expected: &Expectations) -> Result<(), TokenError> {
        let claim = |claim, expected: &str, actual: Option<&str>| match actual == Some(expected) {
            true => Ok(()),
            false => Err(TokenError::Claim {
                claim,
                expected: expected.to_owned(),
                actual: actual.unwrap_or_default().to_owned(),
            }),
        };
        claim("eat_profile", EAR_PROFILE, Some(&self.eat_profile))?;
        match (&expected.audience, &self.aud) {
            (None, None) => {}
            (Some(expected), actual) => claim("aud", expected, actual.as_deref())?,
            (None, Some(audience)) => {
                return Err(TokenError::NotNamed {
                    audience: audience.clone(),
                });
            }
        }
        if let Some(issuer) = &expected.issuer {
            claim("iss", issuer, self.iss.as_deref())?;
        }
        if let Some(nonce) = &expected.nonce {
            claim(
                "eat_nonce",
                &Base64UrlUnpadded::encode_string(nonce),
                self.eat_nonce.as_deref(),
            )?;
        }
        if self.submods.is_empty() {
            return Err(TokenError::Malformed("no submods".to_owned()));
        }
        if let Some(id) = &expected.policy_id {
            for submod in self.submods.values() {
                let actual = submod.ear_appraisal_policy_ids.join(" ");
                claim("ear_appraisal_policy_ids", id, Some(&actual))?;
            }
        }
        if self.iat > now_s.saturating_add(CLOCK_LEEWAY_S) {
            return Err(TokenError::FromTheFuture {
                issued_s: self.iat,
                now_s,
            });
        }
        if self.exp <= now_s {
            return Err(TokenError::Expired {
                expired_s: self.exp,
                now_s,
            });
        }
        let age_s = now_s.saturating_sub(self.iat);
        match expected.max_age_s {
            Some(limit_s) if age_s > limit_s => Err(TokenError::TooOld { age_s, limit_s }),
            _ => Ok(()),
        }
    }
}

/// Checks a result for a Relying Party: signature by a key of `jwks`, profile, audience, nonce, times.
///
/// The status is in the result: a valid result can say `contraindicated`.
///
/// # Errors
///
/// [`TokenError`] for anything that is not a valid result for this Relying Party now.
pub fn verify_result(
    jwt: &str,
    jwks: &JwkSet,
    now_unix_s: u64,
    expected: &Expectations,
) -> Result<AttestationResult, TokenError> {
    let payload = token::verify(jwt, jwks)?;
    let result: AttestationResult =
        serde_json::from_slice(&payload).map_err(|e| TokenError::Malformed(format!("payload: {e}")))?;
    result.check(now_unix_s, expected)?;
    Ok(result)
}

/// Where two results differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Members from the root, with dots.
    pub path: String,
    /// What the appraisal gives now.
    pub appraised: Option<Value>,
    /// What was signed.
    pub signed: Option<Value>,
}

fn compare(path: &str, appraised: &Value, signed: &Value, found: &mut Vec<Difference>) {
    match (appraised, signed) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => compare(&path, a, b, found),
                    (a, b) => found.push(Difference {
                        path,
                        appraised: a.cloned(),
                        signed: b.cloned(),
                    }),
                }
            }
        }
        (a, b) if a == b => {}
        (a, b) => found.push(Difference {
            path: path.to_owned(),
            appraised: Some(a.clone()),
            signed: Some(b.clone()),
        }),
    }
}

fn private(claims: Map<String, Value>) -> BTreeMap<String, Value> {
    BTreeMap::from([(PRIVATE_CLAIM.to_owned(), Value::Object(claims))])
}

fn host(appraisal: &Appraisal) -> Submodule {
    let report = &appraisal.report;
    let mut claims = Map::new();
    let mut put = |key: &str, value: Value| {
        // Absent members, not nulls: CBOR readers of EAR know none.
        if !value.is_null() {
            claims.insert(key.to_owned(), value);
        }
    };
    put("version", json!(CLAIMS_VERSION));
    put("session_id", json!(report.session_id));
    put("mode", json!(report.mode));
    put("started_unix_ms", json!(report.started_unix_ms));
    put("evidence_blake3", json!(report.evidence_blake3));
    put("evidence_audience", json!(report.audience));
    put("recorded_by", json!(report.verifier));
    put("attester_key", json!(report.attester));
    put("checksum", json!(report.checksum));
    put("samples_checked", json!(report.samples_checked));
    put("session_verdict", json!(report.verdict));
    put("policy_name", json!(appraisal.policy_name));
    put("profiles_blake3", json!(appraisal.profiles_blake3));
    put("error_bits", json!(report.error_bits));
    put("assumptions", json!(report.assumptions));
    if let Some(host) = &report.host {
        let clamp = |claim: &Claim<u128>| claim.at_least.map(|value| u64::try_from(value).unwrap_or(u64::MAX));
        let certified = Certified {
            memory_bytes: clamp(&host.memory_bytes),
            bandwidth_bytes_per_s: clamp(&host.bandwidth_bytes_per_s),
            tensor_ops_per_s: clamp(&host.tensor_ops_per_s),
            local_tensor_ops_per_s: clamp(&host.local_tensor_ops_per_s),
        };
        put("certified", figures(&certified));
    }
    put("indistinguishable_from", json!(appraisal.host_indistinguishable_from));
    put(
        "nvidia",
        appraisal
            .nvidia
            .as_ref()
            .map_or(Value::Null, |nvidia| without_nulls(json!(nvidia))),
    );
    put("reasons", reasons(&appraisal.reasons));
    put("findings", findings(&appraisal.findings));
    let says = report
        .software
        .as_ref()
        .map(|software| Map::from_iter([("software".to_owned(), json!(software))]));
    // The host's own verdict is the whole's: its devices speak for themselves beside it.
    Submodule {
        ear_status: appraisal.verdict,
        ear_appraisal_policy_ids: vec![appraisal.policy_id.clone()],
        ear_attester_claims: says.map(private),
        ear_verifier_claims: private(claims),
    }
}

fn gpu(device: &DeviceAppraisal, appraisal: &Appraisal) -> Submodule {
    let classification = &device.classification;
    let names = |fits: &[ClassFit]| json!(fits.iter().map(|fit| fit.class.as_str()).collect::<Vec<_>>());
    let mut claims = Map::from_iter([
        ("version".to_owned(), json!(CLAIMS_VERSION)),
        ("certified".to_owned(), figures(&device.certified)),
        (
            "shows_gpu_memory".to_owned(),
            json!(device.certified.shows_gpu_memory()),
        ),
        ("fits".to_owned(), names(&classification.fits)),
        ("excluded".to_owned(), names(&classification.excluded)),
        (
            "indistinguishable_from".to_owned(),
            json!(classification.indistinguishable_from),
        ),
        ("reasons".to_owned(), reasons(&device.reasons)),
        ("findings".to_owned(), findings(&device.findings)),
    ]);
    if let Some(class) = &device.claimed_class {
        claims.insert("claimed_class".to_owned(), json!(class));
    }
    if let Some(held) = &device.held_against {
        claims.insert("held_against".to_owned(), json!(held));
    }
    let report = appraisal
        .report
        .devices
        .iter()
        .find(|report| report.ordinal == device.ordinal);
    let mut says = Map::from_iter([("model".to_owned(), json!(device.model))]);
    if let Some(report) = report {
        claims.insert("dataset_bytes".to_owned(), json!(report.dataset_bytes));
        claims.insert("measured".to_owned(), json!(report.measured));
        says.insert("engine".to_owned(), json!(report.engine));
        says.insert("memory_bytes".to_owned(), json!(report.memory_bytes));
    }
    Submodule {
        ear_status: device.verdict,
        ear_appraisal_policy_ids: vec![appraisal.policy_id.clone()],
        ear_attester_claims: Some(private(says)),
        ear_verifier_claims: private(claims),
    }
}

/// Foreign claims may be null, which CBOR readers of EAR do not know.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let present = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(present.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(values) => values.into_iter().filter(|v| !v.is_null()).map(without_nulls).collect(),
        other => other,
    }
}

fn figures(certified: &Certified) -> Value {
    let members = [
        ("memory_bytes", certified.memory_bytes),
        ("bandwidth_bytes_per_s", certified.bandwidth_bytes_per_s),
        ("tensor_ops_per_s", certified.tensor_ops_per_s),
        ("local_tensor_ops_per_s", certified.local_tensor_ops_per_s),
    ];
    let present = members
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), json!(value?))));
    Value::Object(present.collect())
}

fn reasons(reasons: &[Reason]) -> Value {
    let entry = |reason: &Reason| {
        let mut entry = json!({ "code": reason.code(), "tier": reason.tier().name(), "text": reason.to_string() });
        if !reason.remedy().is_empty() {
            entry["remedy"] = reason.remedy().into();
        }
        entry
    };
    reasons.iter().map(entry).collect()
}

fn findings(findings: &[Finding]) -> Value {
    let entry = |finding: &Finding| {
        let (kind, remedy) = (finding.kind.name(), finding.kind.remedy());
        json!({ "kind": kind, "effect": finding.effect, "detail": finding.detail, "remedy": remedy })
    };
    findings.iter().map(entry).collect()
}
