//! The Attestation Result: an EAR (draft-ietf-rats-ear-04) as a signed JWT; `docs/results.md` describes its claims.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::key::{JwkSet, SigningKey};
use crate::tier::Tier;
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AttestationResult {
    /// The EAT profile, `tag:ietf.org,2026:rats/ear#04`.
    pub eat_profile: String,
    /// When it was issued, s since the Unix epoch.
    pub iat: u64,
    /// When its validity ends.
    pub exp: u64,
    /// Who issued it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// Its audience; a Relying Party that is not named must refuse it.
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct VerifierId {
    /// Its developer.
    pub developer: String,
    /// Its build.
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

/// The appraisal of the host or of one device. It has no trustworthiness vector: none of the vector's claims matches what
/// is certified here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Submodule {
    /// Its verdict.
    pub ear_status: Tier,
    /// The policy, with its digest.
    pub ear_appraisal_policy_ids: Vec<String>,
    /// What the Attester states about itself, under `gpu-attestor`; not evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ear_attester_claims: Option<BTreeMap<String, Value>>,
    /// What is certified and why the verdict is what it is, under `gpu-attestor` (docs/results.md).
    pub ear_verifier_claims: BTreeMap<String, Value>,
}

impl Submodule {
    /// The issuer's claim of this name under [`PRIVATE_CLAIM`]; null if there is none.
    #[must_use]
    pub fn claim(&self, name: &str) -> &Value {
        let own = self.ear_verifier_claims.get(PRIVATE_CLAIM);
        own.and_then(|claims| claims.get(name)).unwrap_or(&Value::Null)
    }
}

/// Issuer, audience and validity.
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
    /// Its own name: `aud` must be this; `None` accepts only results without an audience.
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
    /// The result as a JWT, signed.
    #[must_use]
    pub fn to_jwt(&self, key: &SigningKey) -> String {
        token::sign(&serde_json::to_vec(self).expect("a table of plain values"), key)
    }

    /// Where this result of a new appraisal differs from a signed one: paths with both values. Empty if only the issuer, the
    /// time of issue and the audience differ.
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Difference {
    /// Members from the root, with dots.
    pub path: String,
    /// The value from the new appraisal.
    pub appraised: Option<Value>,
    /// The signed value.
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
