//! The Attestation Result as a CWT: the same claims in CBOR under their registered numbers, in a COSE_Sign1 (RFC 9052).

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use coset::cbor::Value;
use coset::{CborSerializable, CoseSign1, CoseSign1Builder, HeaderBuilder, RegisteredLabelWithPrivate};
use coset::{TaggedCborSerializable, iana};
use serde_json::Value as Json;

use crate::key::{Algorithm, JwkSet, SigningKey};
use crate::result::{AttestationResult, Expectations, Submodule, VerifierId};
use crate::tier::Tier;
use crate::token::{MAX_TOKEN_BYTES, TokenError};

const ISS: i64 = 1;
const AUD: i64 = 3;
const EXP: i64 = 4;
const IAT: i64 = 6;
const NONCE: i64 = 10;
const PROFILE: i64 = 265;
const SUBMODS: i64 = 266;
const STATUS: i64 = 1000;
const POLICY_IDS: i64 = 1003;
const VERIFIER_ID: i64 = 1004;
const ATTESTER_CLAIMS: i64 = 1005;
const VERIFIER_CLAIMS: i64 = 1006;

impl AttestationResult {
    /// The result as a signed CWT: a tagged COSE_Sign1, `alg` and `kid` in its protected header.
    ///
    /// # Errors
    ///
    /// [`TokenError::Malformed`] for a nonce that is not base64url.
    pub fn to_cwt(&self, key: &SigningKey) -> Result<Vec<u8>, TokenError> {
        let payload = self.to_cbor()?.to_vec().map_err(|e| malformed(e.to_string()))?;
        let header = HeaderBuilder::new()
            .algorithm(cose_algorithm(key.algorithm()))
            .key_id(key.public().kid().into_bytes())
            .build();
        let signed = CoseSign1Builder::new()
            .protected(header)
            .payload(payload)
            .create_signature(&[], |message| key.sign(message))
            .build();
        signed.to_tagged_vec().map_err(|e| malformed(e.to_string()))
    }

    fn to_cbor(&self) -> Result<Value, TokenError> {
        let mut claims = Vec::new();
        let mut put = |key: i64, value: Value| claims.push((Value::from(key), value));
        self.iss.iter().for_each(|iss| put(ISS, iss.clone().into()));
        self.aud.iter().for_each(|aud| put(AUD, aud.clone().into()));
        put(EXP, self.exp.into());
        put(IAT, self.iat.into());
        if let Some(nonce) = &self.eat_nonce {
            let nonce = Base64UrlUnpadded::decode_vec(nonce).map_err(|e| malformed(e.to_string()))?;
            put(NONCE, Value::Bytes(nonce));
        }
        put(PROFILE, self.eat_profile.clone().into());
        let submods = self.submods.iter();
        let submods = submods.map(|(name, submod)| Ok((name.clone().into(), submod_to_cbor(submod)?)));
        put(SUBMODS, Value::Map(submods.collect::<Result<_, TokenError>>()?));
        put(STATUS, self.ear_status.number().into());
        let id = &self.ear_verifier_id;
        let id = vec![
            (0.into(), id.developer.clone().into()),
            (1.into(), id.build.clone().into()),
        ];
        put(VERIFIER_ID, Value::Map(id));
        Ok(Value::Map(claims))
    }

    fn from_cbor(claims: Value) -> Result<Self, TokenError> {
        let mut claims = Claims::new(claims, "claims")?;
        let nonce = claims
            .optional(NONCE)
            .map(|value| value.into_bytes().map_err(|_| malformed("eat_nonce")));
        let mut id = Claims::new(claims.required(VERIFIER_ID)?, "ear_verifier_id")?;
        let submods = claims.required(SUBMODS)?.into_map().map_err(|_| malformed("submods"))?;
        let submod = |(name, value): (Value, Value)| Ok((text(name, "submods")?, submod_from_cbor(value)?));
        Ok(AttestationResult {
            eat_profile: text(claims.required(PROFILE)?, "eat_profile")?,
            iat: number(claims.required(IAT)?, "iat")?,
            exp: number(claims.required(EXP)?, "exp")?,
            iss: claims.optional(ISS).map(|value| text(value, "iss")).transpose()?,
            aud: claims.optional(AUD).map(|value| text(value, "aud")).transpose()?,
            eat_nonce: nonce.transpose()?.map(|nonce| Base64UrlUnpadded::encode_string(&nonce)),
            ear_verifier_id: VerifierId {
                developer: text(id.required(0)?, "developer")?,
                build: text(id.required(1)?, "build")?,
            },
            ear_status: tier(claims.required(STATUS)?)?,
            submods: submods.into_iter().map(submod).collect::<Result<_, TokenError>>()?,
        })
    }
}

/// Checks a result in CWT form for a Relying Party, as [`crate::verify_result`] does a JWT.
///
/// # Errors
///
/// [`TokenError`] for anything that is not a valid result for this Relying Party now.
pub fn verify_cwt(
    cwt: &[u8],
    jwks: &JwkSet,
    now_unix_s: u64,
    expected: &Expectations,
) -> Result<AttestationResult, TokenError> {
    if cwt.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong(cwt.len()));
    }
    let signed = CoseSign1::from_tagged_slice(cwt).map_err(|e| malformed(e.to_string()))?;
    let header = &signed.protected.header;
    let kid = String::from_utf8_lossy(&header.key_id).into_owned();
    let Some(key) = jwks.key(&kid) else {
        return Err(TokenError::UnknownKey((!kid.is_empty()).then_some(kid)));
    };
    let expected_algorithm = RegisteredLabelWithPrivate::Assigned(cose_algorithm(key.algorithm()));
    if header.alg.as_ref() != Some(&expected_algorithm) {
        return Err(TokenError::Algorithm {
            expected: key.algorithm().name(),
            actual: format!("{:?}", header.alg),
        });
    }
    if !header.crit.is_empty() {
        return Err(TokenError::Critical);
    }
    let check = |signature: &[u8], message: &[u8]| match key.verifies(message, signature) {
        true => Ok(()),
        false => Err(TokenError::Signature(kid.clone())),
    };
    let payload = signed.payload.as_deref().ok_or_else(|| malformed("no payload"))?;
    signed.verify_signature(&[], check)?;
    let claims = Value::from_slice(payload).map_err(|e| malformed(e.to_string()))?;
    let result = AttestationResult::from_cbor(claims)?;
    result.check(now_unix_s, expected)?;
    Ok(result)
}

fn cose_algorithm(algorithm: Algorithm) -> iana::Algorithm {
    match algorithm {
        Algorithm::EdDsa => iana::Algorithm::EdDSA,
        Algorithm::Es256 => iana::Algorithm::ES256,
        Algorithm::Es384 => iana::Algorithm::ES384,
    }
}

fn submod_to_cbor(submod: &Submodule) -> Result<Value, TokenError> {
    let named = |claims: &BTreeMap<String, Json>| Value::serialized(claims).map_err(|e| malformed(e.to_string()));
    let ids = submod.ear_appraisal_policy_ids.iter().map(|id| id.clone().into());
    let mut claims = vec![
        (STATUS.into(), submod.ear_status.number().into()),
        (POLICY_IDS.into(), Value::Array(ids.collect())),
    ];
    if let Some(says) = &submod.ear_attester_claims {
        claims.push((ATTESTER_CLAIMS.into(), named(says)?));
    }
    claims.push((VERIFIER_CLAIMS.into(), named(&submod.ear_verifier_claims)?));
    Ok(Value::Map(claims))
}

fn submod_from_cbor(value: Value) -> Result<Submodule, TokenError> {
    let mut claims = Claims::new(value, "submod")?;
    // Values that JSON cannot represent are refused.
    let named = |value: Value| {
        value
            .deserialized::<BTreeMap<String, Json>>()
            .map_err(|e| malformed(e.to_string()))
    };
    let ids = claims.required(POLICY_IDS)?.into_array();
    let ids = ids.map_err(|_| malformed("ear_appraisal_policy_ids"))?;
    Ok(Submodule {
        ear_status: tier(claims.required(STATUS)?)?,
        ear_appraisal_policy_ids: ids
            .into_iter()
            .map(|id| text(id, "policy id"))
            .collect::<Result<_, _>>()?,
        ear_attester_claims: claims.optional(ATTESTER_CLAIMS).map(named).transpose()?,
        ear_verifier_claims: named(claims.required(VERIFIER_CLAIMS)?)?,
    })
}

/// Claims by number; each is taken once, and a second of the same number is refused.
struct Claims(BTreeMap<i64, Value>);

impl Claims {
    fn new(value: Value, what: &str) -> Result<Self, TokenError> {
        let mut claims = BTreeMap::new();
        for (key, value) in value.into_map().map_err(|_| malformed(what))? {
            // Text keys and unknown numbers belong to claims of others, which are not refused.
            let Some(key) = key.into_integer().ok().and_then(|key| i64::try_from(key).ok()) else {
                continue;
            };
            if claims.insert(key, value).is_some() {
                return Err(malformed(format!("{what}: claim {key} twice")));
            }
        }
        Ok(Claims(claims))
    }

    fn required(&mut self, key: i64) -> Result<Value, TokenError> {
        self.0
            .remove(&key)
            .ok_or_else(|| malformed(format!("claim {key} is missing")))
    }

    fn optional(&mut self, key: i64) -> Option<Value> {
        self.0.remove(&key)
    }
}

fn malformed(what: impl Into<String>) -> TokenError {
    TokenError::Malformed(what.into())
}

fn text(value: Value, what: &str) -> Result<String, TokenError> {
    value.into_text().map_err(|_| malformed(format!("{what} is no text")))
}

fn number(value: Value, what: &str) -> Result<u64, TokenError> {
    let integer = value
        .into_integer()
        .ok()
        .and_then(|integer| u64::try_from(integer).ok());
    integer.ok_or_else(|| malformed(format!("{what} is no number of seconds")))
}

fn tier(value: Value) -> Result<Tier, TokenError> {
    let tiers = [Tier::None, Tier::Affirming, Tier::Warning, Tier::Contraindicated];
    let number = number(value, "ear_status")?;
    let tier = tiers.into_iter().find(|tier| u64::from(tier.number()) == number);
    tier.ok_or_else(|| malformed(format!("ear_status {number}")))
}
