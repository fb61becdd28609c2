//! Signed results and NVIDIA's tokens, both as input and signed here, so that the code behind the signature check is
//! reached.

use attestation_result::key::{JwkSet, SigningKey};
use attestation_result::nvidia::{self, NvidiaKeys};
use attestation_result::{AttestationResult, EAR_PROFILE, Expectations, Submodule, Tier, VerifierId, verify_result};
use base64ct::{Base64UrlUnpadded, Encoding};
use coset::{CborSerializable, CoseSign1Builder, HeaderBuilder, TaggedCborSerializable, iana};
use protocol::bytes::hex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testkit::cast;

/// Seconds since the Unix epoch: issued, now, expiry.
const ISSUED_S: u64 = 1_000;
const NOW_S: u64 = 2_000;
const ENDS_S: u64 = 4_600;

/// The nonce of NVIDIA's tokens.
const NONCE: [u8; 32] = [7; 32];

fn key() -> SigningKey {
    SigningKey::Ed25519(cast::verifier_key())
}

/// The trusted keys: the one that signs here, and another.
pub(crate) fn keys() -> JwkSet {
    JwkSet::new([key().public(), SigningKey::Ed25519(cast::strangers_key()).public()])
}

fn nvidia_keys() -> NvidiaKeys {
    NvidiaKeys {
        jwks: keys(),
        roots: None,
    }
}

fn sign(payload: &[u8]) -> String {
    let header = json!({ "alg": "EdDSA", "kid": key().public().kid() }).to_string();
    let encode = Base64UrlUnpadded::encode_string;
    let message = format!("{}.{}", encode(header.as_bytes()), encode(payload));
    format!("{message}.{}", encode(&key().sign(message.as_bytes())))
}

fn verify_jwt(jwt: &str) -> Option<AttestationResult> {
    verify_result(jwt, &keys(), NOW_S, &Expectations::default()).ok()
}

fn verify_cwt(cwt: &[u8]) -> Option<AttestationResult> {
    attestation_result::verify_cwt(cwt, &keys(), NOW_S, &Expectations::default()).ok()
}

/// Parses bytes as a result's JWT, and as the claims of one.
///
/// # Panics
///
/// If an accepted result differs when signed again.
pub fn run_jwt(data: &[u8]) {
    let raw = std::str::from_utf8(data).ok().and_then(verify_jwt);
    for result in raw.into_iter().chain(verify_jwt(&sign(data))) {
        assert_eq!(verify_jwt(&result.to_jwt(&key())), Some(result.clone()));
        // A nonce that is not base64url has no CWT.
        if let Ok(cwt) = result.to_cwt(&key()) {
            assert_eq!(verify_cwt(&cwt), Some(result));
        }
    }
}

/// Parses bytes as a result's CWT, and as the claims of one.
///
/// # Panics
///
/// If an accepted result differs when signed again.
pub fn run_cwt(data: &[u8]) {
    let header = HeaderBuilder::new()
        .algorithm(iana::Algorithm::EdDSA)
        .key_id(key().public().kid().into_bytes())
        .build();
    let signed = CoseSign1Builder::new()
        .protected(header)
        .payload(data.to_vec())
        .create_signature(&[], |message| key().sign(message))
        .build();
    let signed = signed.to_tagged_vec().expect("a COSE_Sign1");
    for result in verify_cwt(data).into_iter().chain(verify_cwt(&signed)) {
        let cwt = result.to_cwt(&key()).expect("its nonce came from bytes");
        assert_eq!(verify_cwt(&cwt), Some(result.clone()));
        assert_eq!(verify_jwt(&result.to_jwt(&key())), Some(result));
    }
}

/// Reads bytes as a detached EAT, and, parted at zero bytes, as the claims over all and those of each GPU: `@0` among the
/// first stands for the digest of the first GPU's token.
///
/// # Panics
///
/// Where an attestation is accepted that does not name each GPU's token.
pub fn run_nvidia_eat(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let check = |eat: &str| nvidia::check(eat, &nvidia_keys(), &NONCE, NOW_S);
    // Content behind a signature is only available with the key.
    assert!(check(text).is_err() || text.contains('.'), "{text}");
    let mut parts = text.split('\0');
    let mut overall = parts.next().unwrap_or_default().to_owned();
    let mut tokens = serde_json::Map::new();
    for (index, claims) in parts.take(8).enumerate() {
        let token = sign(claims.as_bytes());
        overall = overall.replace(&format!("@{index}"), &hex(&Sha256::digest(token.as_bytes())));
        tokens.insert(format!("GPU-{index}"), token.into());
    }
    let names: Vec<String> = tokens.keys().cloned().collect();
    let eat = json!([["JWT", sign(overall.as_bytes())], tokens]).to_string();
    if let Ok(read) = check(&eat) {
        assert!(
            read.gpus.keys().eq(names.iter()),
            "{:?}, tokens of {names:?}",
            read.gpus
        );
        let is_ours = |claims: &serde_json::Map<String, Value>| {
            let nonce = claims.get("eat_nonce").and_then(Value::as_str);
            nonce.is_some_and(|nonce| nonce.eq_ignore_ascii_case(&hex(&NONCE)))
        };
        assert!(read.gpus.values().all(is_ours), "{:?}", read.gpus);
    }
}

/// A result of one host and GPU.
fn result() -> AttestationResult {
    let claims = json!({ "gpu-attestor": { "version": 1, "share": 0.5, "none": null, "list": [1, -1, "x"] } });
    let Value::Object(claims) = claims else {
        unreachable!("written as an object")
    };
    let submodule = Submodule {
        ear_status: Tier::Affirming,
        ear_appraisal_policy_ids: vec!["urn:gpu-attestor:policy:default:00".to_owned()],
        ear_attester_claims: Some(claims.clone().into_iter().collect()),
        ear_verifier_claims: claims.into_iter().collect(),
    };
    AttestationResult {
        eat_profile: EAR_PROFILE.to_owned(),
        iat: ISSUED_S,
        exp: ENDS_S,
        iss: Some("issuer".to_owned()),
        aud: None,
        eat_nonce: Some(Base64UrlUnpadded::encode_string(&NONCE)),
        ear_verifier_id: VerifierId::default(),
        ear_status: Tier::Warning,
        submods: [("host", &submodule), ("gpu0", &submodule)]
            .into_iter()
            .map(|(name, submodule)| (name.to_owned(), submodule.clone()))
            .collect(),
    }
}

/// A token, and its claims.
#[must_use]
pub fn seeds_of_jwts() -> Vec<Vec<u8>> {
    let result = result();
    vec![
        result.to_jwt(&key()).into_bytes(),
        serde_json::to_vec(&result).expect("JSON"),
    ]
}

/// A token, and its claims.
#[must_use]
pub fn seeds_of_cwts() -> Vec<Vec<u8>> {
    let cwt = result().to_cwt(&key()).expect("a CWT");
    let signed = coset::CoseSign1::from_tagged_slice(&cwt).expect("a COSE_Sign1");
    let untagged = signed.clone().to_vec().expect("CBOR");
    vec![cwt, untagged, signed.payload.expect("claims")]
}

/// The claims over all and of one GPU, and a detached EAT.
#[must_use]
pub fn seeds_of_nvidia_eats() -> Vec<Vec<u8>> {
    let nonce = hex(&NONCE);
    let gpu = json!({ "iat": ISSUED_S, "exp": ENDS_S, "eat_nonce": nonce, "hwmodel": "GH100" }).to_string();
    let overall = |digest: &str| {
        json!({
            "iss": "issuer", "iat": ISSUED_S, "exp": ENDS_S, "eat_nonce": nonce, "x-nvidia-overall-att-result": true,
            "submods": { "GPU-0": ["DIGEST", ["SHA-256", digest]] },
        })
        .to_string()
    };
    let token = sign(gpu.as_bytes());
    let digest = hex(&Sha256::digest(token.as_bytes()));
    let eat = json!([["JWT", sign(overall(&digest).as_bytes())], { "GPU-0": token }]).to_string();
    vec![format!("{}\0{gpu}", overall("@0")).into_bytes(), eat.into_bytes()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepted inputs must occur, otherwise nothing is compared.
    #[test]
    fn the_seeds_are_accepted() {
        let [jwt, claims] = &seeds_of_jwts()[..] else {
            panic!("a token and its claims");
        };
        assert_eq!(verify_jwt(std::str::from_utf8(jwt).expect("text")), Some(result()));
        assert_eq!(verify_jwt(&sign(claims)), Some(result()));
        assert_eq!(verify_cwt(&seeds_of_cwts()[0]), Some(result()));
        let eat = String::from_utf8(seeds_of_nvidia_eats()[1].clone()).expect("text");
        let read = nvidia::check(&eat, &nvidia_keys(), &NONCE, NOW_S).expect("an attestation");
        assert_eq!(read.gpus["GPU-0"]["hwmodel"], "GH100");
        let profiles = appraisal::profiles::Profiles::embedded();
        for policy in crate::documents::seeds_of_policies() {
            let policy = String::from_utf8(policy).expect("text");
            appraisal::policy::Policy::parse("policy.toml", &policy, &profiles).expect("a policy");
        }
    }
}
