//! NVIDIA's own attestation of a GPU, given with a session: its signatures checked offline, its claims reported.
//!
//! An addition, never part of the verdict: it is about firmware and identity; a session is about memory and rates. The
//! input is the detached EAT of NVIDIA's service: an overall token, and one per GPU, signed with ES384 by keys of a JWK Set
//! that the reader trusts, or whose certificates lead to roots that the reader trusts. It was tested only with tokens made
//! for this purpose: no GPU in confidential-computing mode was available.

use std::collections::BTreeMap;

use base16ct::lower::encode_string as hex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::chain::Roots;
use crate::key::JwkSet;
use crate::result::CLOCK_LEEWAY_S;
use crate::token::{self, TokenError};

/// The signers that the reader trusts.
#[derive(Clone, Debug, PartialEq)]
pub struct NvidiaKeys {
    /// Keys of NVIDIA's service.
    pub jwks: JwkSet,
    /// The roots that the keys' own certificates (`x5c`) must lead to, if the keys are not trusted directly.
    pub roots: Option<Roots>,
}

impl NvidiaKeys {
    /// The payload of a token, after its signature was checked with a key that was trusted at `at_s`.
    fn verify(&self, token: &str, at_s: u64) -> Result<Vec<u8>, TokenError> {
        let (payload, kid) = token::verify_by(token, &self.jwks)?;
        if let (Some(roots), Some(key)) = (&self.roots, self.jwks.key(&kid)) {
            roots
                .check(self.jwks.chain(&kid), key, at_s)
                .map_err(|problem| TokenError::Chain { kid, problem })?;
        }
        Ok(payload)
    }
}

/// The content of NVIDIA's attestation, with checked signatures.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NvidiaAttestation {
    /// `iss` of the overall token.
    pub issuer: String,
    /// `x-nvidia-overall-att-result`.
    pub overall: bool,
    /// When it was issued, s since the Unix epoch.
    pub issued_s: u64,
    /// Claims of each GPU's token, unchanged.
    pub gpus: BTreeMap<String, Map<String, Value>>,
}

#[derive(Deserialize)]
struct Overall {
    iss: String,
    iat: u64,
    exp: u64,
    eat_nonce: String,
    #[serde(rename = "x-nvidia-overall-att-result")]
    overall: bool,
    submods: BTreeMap<String, (String, (String, String))>,
}

/// The overall token with its kind, and one token per GPU.
type Detached = ((String, String), BTreeMap<String, String>);

/// The detached EAT by itself, or as the member `detached_eat` of what `nvattest --format json` prints.
fn detached(text: &str) -> Result<Detached, String> {
    #[derive(Deserialize)]
    struct Printed {
        #[serde(default)]
        detached_eat: Value,
        #[serde(default)]
        result_code: Value,
        #[serde(default)]
        result_message: Value,
    }
    const EXPECTED: &str = r#"expected [["JWT", TOKEN], {"GPU-0": TOKEN, …}], or an object with that as detached_eat"#;
    let wrong = |e: serde_json::Error| format!("{e}; {EXPECTED}");
    if !text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(wrong);
    }
    let printed: Printed = serde_json::from_str(text).map_err(wrong)?;
    match printed.detached_eat {
        Value::Null => Err(format!(
            "no detached_eat: the tool says result_code {}, result_message {}; {EXPECTED}",
            printed.result_code, printed.result_message
        )),
        Value::String(text) => serde_json::from_str(&text).map_err(wrong),
        eat => serde_json::from_value(eat).map_err(wrong),
    }
}

/// Checks a detached EAT, JSON of the form `[["JWT", TOKEN], {"GPU-0": TOKEN, …}]` or what `nvattest --format json` prints
/// around it, against trusted keys, the session's nonce and the time.
///
/// # Errors
///
/// [`TokenError`] for signatures, digests, nonces or times that are not valid, and for GPUs without a token.
pub fn check(eat: &str, keys: &NvidiaKeys, nonce: &[u8; 32], now_s: u64) -> Result<NvidiaAttestation, TokenError> {
    let malformed = |what: String| TokenError::Malformed(what);
    if eat.len() > token::MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong(eat.len()));
    }
    let ((kind, overall), tokens) = detached(eat).map_err(malformed)?;
    if kind != "JWT" {
        return Err(malformed(format!("{kind:?} where JWT is expected")));
    }
    let overall: Overall =
        serde_json::from_slice(&keys.verify(&overall, now_s)?).map_err(|e| malformed(e.to_string()))?;
    check_nonce(Some(&overall.eat_nonce), nonce)?;
    check_time(overall.iat, overall.exp, now_s)?;
    if let Some(stranger) = tokens.keys().find(|name| !overall.submods.contains_key(*name)) {
        return Err(malformed(format!(
            "{stranger} is not among the submods of the token over all"
        )));
    }
    let mut gpus = BTreeMap::new();
    for (name, (kind, (algorithm, digest))) in &overall.submods {
        let token = tokens
            .get(name)
            .ok_or_else(|| malformed(format!("{name} has no token")))?;
        if kind != "DIGEST" || algorithm != "SHA-256" {
            return Err(malformed(format!(
                "{name}: {kind} {algorithm}; expected DIGEST SHA-256"
            )));
        }
        let actual = hex(&Sha256::digest(token.as_bytes()));
        if !digest.eq_ignore_ascii_case(&actual) {
            return Err(TokenError::Claim {
                claim: "submods",
                expected: digest.clone(),
                actual,
            });
        }
        let claims = keys.verify(token, now_s)?;
        let claims: Map<String, Value> = serde_json::from_slice(&claims).map_err(|e| malformed(e.to_string()))?;
        check_nonce(claims.get("eat_nonce").and_then(Value::as_str), nonce)?;
        let second = |claim: &str| claims.get(claim).and_then(Value::as_u64);
        let (Some(iat), Some(exp)) = (second("iat"), second("exp")) else {
            return Err(malformed(format!("{name}: no iat or exp")));
        };
        check_time(iat, exp, now_s)?;
        gpus.insert(name.clone(), claims);
    }
    Ok(NvidiaAttestation {
        issuer: overall.iss,
        overall: overall.overall,
        issued_s: overall.iat,
        gpus,
    })
}

fn check_nonce(actual: Option<&str>, nonce: &[u8; 32]) -> Result<(), TokenError> {
    let (expected, actual) = (hex(nonce), actual.unwrap_or_default());
    match actual.eq_ignore_ascii_case(&expected) {
        true => Ok(()),
        false => Err(TokenError::Claim {
            claim: "eat_nonce",
            expected,
            actual: actual.to_owned(),
        }),
    }
}

fn check_time(issued_s: u64, expired_s: u64, now_s: u64) -> Result<(), TokenError> {
    if issued_s > now_s.saturating_add(CLOCK_LEEWAY_S) {
        return Err(TokenError::FromTheFuture { issued_s, now_s });
    }
    match expired_s <= now_s {
        true => Err(TokenError::Expired { expired_s, now_s }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{ChainError, fixtures};
    use crate::key::PublicKey;
    use base64ct::{Base64, Base64UrlUnpadded, Encoding};
    use p384::ecdsa::signature::Signer;
    use p384::ecdsa::{Signature, SigningKey};
    use serde_json::json;

    const NONCE: [u8; 32] = [7; 32];

    fn sign(claims: &Value, key: &SigningKey) -> String {
        let kid = PublicKey::P384(*key.verifying_key()).kid();
        let encode = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let message = format!("{}.{}", encode(&json!({ "alg": "ES384", "kid": kid })), encode(claims));
        let signature: Signature = key.sign(message.as_bytes());
        format!("{message}.{}", Base64UrlUnpadded::encode_string(&signature.to_bytes()))
    }

    fn eat(key: &SigningKey, nonce: &[u8], change: impl Fn(&mut Value)) -> String {
        eat_at(key, nonce, 1000, change)
    }

    fn eat_at(key: &SigningKey, nonce: &[u8], iat: u64, change: impl Fn(&mut Value)) -> String {
        let exp = iat + 3600;
        let nonce = hex(nonce);
        let gpu = sign(
            &json!({ "iat": iat, "exp": exp, "eat_nonce": nonce, "hwmodel": "GH100", "secboot": true }),
            key,
        );
        let digest = hex(&Sha256::digest(gpu.as_bytes()));
        let mut overall = json!({
            "iss": "https://nras.example", "iat": iat, "exp": exp, "eat_nonce": nonce,
            "x-nvidia-overall-att-result": true, "submods": { "GPU-0": ["DIGEST", ["SHA-256", digest]] },
        });
        change(&mut overall);
        json!([["JWT", sign(&overall, key)], { "GPU-0": gpu }]).to_string()
    }

    #[test]
    fn only_signed_fresh_tokens_of_this_session_count() {
        let key = SigningKey::from_slice(&[9; 48]).expect("a scalar");
        let keys = NvidiaKeys {
            jwks: JwkSet::new([PublicKey::P384(*key.verifying_key())]),
            roots: None,
        };
        let good = eat(&key, &NONCE, |_| {});
        let read = check(&good, &keys, &NONCE, 2000).expect("an attestation");
        assert!(read.overall);
        assert_eq!(read.gpus["GPU-0"]["hwmodel"], "GH100");

        let refused = |eat: &str, now| check(eat, &keys, &NONCE, now).expect_err("refused");
        assert!(matches!(refused(&good, 4600), TokenError::Expired { .. }));
        assert!(matches!(refused(&good, 900), TokenError::FromTheFuture { .. }));
        let other = eat(&key, &[8; 32], |_| {});
        assert!(matches!(
            refused(&other, 2000),
            TokenError::Claim { claim: "eat_nonce", .. }
        ));
        let swapped = eat(&key, &NONCE, |all| all["submods"]["GPU-0"][1][1] = json!("00"));
        assert!(matches!(
            refused(&swapped, 2000),
            TokenError::Claim { claim: "submods", .. }
        ));
        let missing = eat(&key, &NONCE, |all| {
            all["submods"]["GPU-1"] = all["submods"]["GPU-0"].clone()
        });
        assert!(matches!(refused(&missing, 2000), TokenError::Malformed(_)));
        let unnamed = eat(&key, &NONCE, |all| all["submods"] = json!({}));
        assert!(matches!(refused(&unnamed, 2000), TokenError::Malformed(_)));
        let stranger = SigningKey::from_slice(&[5; 48]).expect("a scalar");
        assert!(matches!(
            refused(&eat(&stranger, &NONCE, |_| {}), 2000),
            TokenError::UnknownKey(_)
        ));
        assert!(matches!(refused("[]", 2000), TokenError::Malformed(_)));
    }

    #[test]
    fn what_the_tool_prints_around_the_tokens_is_taken_off() {
        let key = SigningKey::from_slice(&[9; 48]).expect("a scalar");
        let keys = NvidiaKeys {
            jwks: JwkSet::new([PublicKey::P384(*key.verifying_key())]),
            roots: None,
        };
        let bare = eat(&key, &NONCE, |_| {});
        let expected = check(&bare, &keys, &NONCE, 2000).expect("an attestation");
        let printed = |eat: Value, code: i32, message: &str| {
            json!({ "claims": [], "detached_eat": eat, "result_code": code, "result_message": message }).to_string()
        };
        let parsed: Value = serde_json::from_str(&bare).expect("JSON");
        for eat in [printed(parsed, 0, "Ok"), printed(bare.clone().into(), 0, "Ok")] {
            let read = check(&format!("\n{eat}\n"), &keys, &NONCE, 2000).expect("an attestation");
            assert_eq!(read, expected);
        }
        let said = |text: &str| check(text, &keys, &NONCE, 2000).expect_err("refused").to_string();
        let failed = said(&printed(Value::Null, 7, "no GPU in confidential-computing mode"));
        assert!(
            failed.contains(r#"result_code 7, result_message "no GPU in confidential-computing mode""#),
            "{failed}"
        );
        assert!(said(&printed(json!({}), 0, "Ok")).contains("or an object with that as detached_eat"));
        assert!(said("{}").contains("no detached_eat"));
    }

    #[test]
    fn with_roots_given_only_certified_keys_count() {
        let key = fixtures::key();
        let now_s = fixtures::VALID_S;
        let signed = eat_at(&key, &NONCE, now_s, |_| {});
        let keys = |x5c: &[&str], roots: &str| {
            let mut set: Value =
                serde_json::from_str(&JwkSet::new([PublicKey::P384(*key.verifying_key())]).to_json()).expect("JSON");
            let x5c: Vec<String> = x5c
                .iter()
                .map(|pem| Base64::encode_string(&fixtures::der(pem)))
                .collect();
            set["keys"][0]["x5c"] = json!(x5c);
            NvidiaKeys {
                jwks: JwkSet::parse(&set.to_string()).expect("a set"),
                roots: Some(Roots::parse(roots).expect("roots")),
            }
        };
        let chain = [fixtures::LEAF, fixtures::INTERMEDIATE];
        let read = check(&signed, &keys(&chain, fixtures::ROOT), &NONCE, now_s).expect("an attestation");
        assert_eq!(read.gpus.len(), 1);
        for (keys, expected) in [
            (keys(&[], fixtures::ROOT), ChainError::Missing),
            (keys(&[fixtures::INTERMEDIATE], fixtures::ROOT), ChainError::AnotherKey),
        ] {
            match check(&signed, &keys, &NONCE, now_s) {
                Err(TokenError::Chain { problem, .. }) => assert_eq!(problem, expected),
                other => panic!("{other:?}"),
            }
        }
        let elsewhere = check(&signed, &keys(&chain, fixtures::OTHER_ROOT), &NONCE, now_s);
        assert!(
            matches!(
                elsewhere,
                Err(TokenError::Chain {
                    problem: ChainError::Untrusted(_),
                    ..
                })
            ),
            "{elsewhere:?}"
        );
    }
}
