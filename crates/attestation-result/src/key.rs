//! Keys that sign Attestation Results, and the public keys that check them (RFC 7517, 7638, 8037).

use std::fmt;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::Verifier as _;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::certificate::self_signed;

/// Supported signature algorithms; a key has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
}

impl Algorithm {
    /// Its name in JOSE.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
        }
    }

    /// Whether this value of a key's `alg` is accepted: Ed25519 has a second name (RFC 9864), which is not used in tokens here.
    fn is_named(self, name: &str) -> bool {
        name == self.name() || (self == Algorithm::EdDsa && name == "Ed25519")
    }
}

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a private key in PKCS #8 PEM for one of the algorithms.
    #[error("no PKCS #8 PEM of an Ed25519, P-256 or P-384 private key")]
    NoPrivateKey,
    /// The system provided no randomness.
    #[error("no randomness for a new key: {0}")]
    Randomness(getrandom::Error),
    /// No certificate could be made of the key.
    #[error("no certificate of the key could be made: {0}")]
    Certificate(x509_cert::builder::Error),
    /// A JWK that is not a public signing key.
    #[error("key {index} of the set: {problem}")]
    Jwk {
        /// Its position, from 0.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// A set that contains only other keys.
    #[error("none of the set's {} keys checks signatures of EdDSA, ES256 or ES384: {}", .0.len(), .0.join("; "))]
    NoneUsable(Vec<String>),
    /// Not a JWK Set.
    #[error("no JWK Set: {0}")]
    NoJwkSet(serde_json::Error),
}

/// A private key.
#[derive(Clone)]
pub enum SigningKey {
    /// For EdDSA.
    Ed25519(ed25519_dalek::SigningKey),
    /// For ES256.
    P256(p256::ecdsa::SigningKey),
    /// For ES384.
    P384(p384::ecdsa::SigningKey),
}

impl SigningKey {
    /// A new key from the system's randomness.
    ///
    /// # Errors
    ///
    /// [`KeyError::Randomness`].
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        loop {
            let mut seed = Zeroizing::new([0; 48]);
            getrandom::fill(&mut *seed).map_err(KeyError::Randomness)?;
            let (half, _) = seed.split_first_chunk::<32>().expect("32 of 48 bytes");
            // All but 2^-32 of seeds are scalars of P-256, and all but 2^-194 of P-384.
            let key = match algorithm {
                Algorithm::EdDsa => Some(SigningKey::Ed25519(ed25519_dalek::SigningKey::from_bytes(half))),
                Algorithm::Es256 => p256::ecdsa::SigningKey::from_slice(half).ok().map(SigningKey::P256),
                Algorithm::Es384 => p384::ecdsa::SigningKey::from_slice(&*seed).ok().map(SigningKey::P384),
            };
            if let Some(key) = key {
                return Ok(key);
            }
        }
    }

    /// The key of a PKCS #8 PEM.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoPrivateKey`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let ed25519 = ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map(SigningKey::Ed25519);
        ed25519
            .or_else(|_| p256::ecdsa::SigningKey::from_pkcs8_pem(pem).map(SigningKey::P256))
            .or_else(|_| p384::ecdsa::SigningKey::from_pkcs8_pem(pem).map(SigningKey::P384))
            .map_err(|_| KeyError::NoPrivateKey)
    }

    /// The key as PKCS #8 PEM.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoPrivateKey`] if the key can't be encoded.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        match self {
            SigningKey::Ed25519(key) => key.to_pkcs8_pem(LineEnding::LF),
            SigningKey::P256(key) => key.to_pkcs8_pem(LineEnding::LF),
            SigningKey::P384(key) => key.to_pkcs8_pem(LineEnding::LF),
        }
        .map_err(|_| KeyError::NoPrivateKey)
    }

    /// The algorithm of its signatures.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            SigningKey::Ed25519(_) => Algorithm::EdDsa,
            SigningKey::P256(_) => Algorithm::Es256,
            SigningKey::P384(_) => Algorithm::Es384,
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        match self {
            SigningKey::Ed25519(key) => PublicKey::Ed25519(key.verifying_key()),
            SigningKey::P256(key) => PublicKey::P256(*key.verifying_key()),
            SigningKey::P384(key) => PublicKey::P384(*key.verifying_key()),
        }
    }

    /// A signature: the 64 bytes of EdDSA, or r and s of ECDSA, of 32 (ES256) or 48 bytes (ES384) each.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            SigningKey::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            SigningKey::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            SigningKey::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({} {})", self.algorithm().name(), self.public().kid())
    }
}

/// A public key; it checks only signatures of its own algorithm.
#[derive(Clone, Debug, PartialEq)]
pub enum PublicKey {
    /// For EdDSA.
    Ed25519(ed25519_dalek::VerifyingKey),
    /// For ES256.
    P256(p256::ecdsa::VerifyingKey),
    /// For ES384.
    P384(p384::ecdsa::VerifyingKey),
}

impl PublicKey {
    /// The algorithm of the signatures that it checks.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            PublicKey::Ed25519(_) => Algorithm::EdDsa,
            PublicKey::P256(_) => Algorithm::Es256,
            PublicKey::P384(_) => Algorithm::Es384,
        }
    }

    /// Whether `signature` is this key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            PublicKey::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            PublicKey::P256(key) => p256::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
            PublicKey::P384(key) => p384::ecdsa::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }

    /// The key as SubjectPublicKeyInfo (DER); `None` if it cannot be encoded.
    pub(crate) fn to_spki(&self) -> Option<Vec<u8>> {
        let der = match self {
            PublicKey::Ed25519(key) => key.to_public_key_der(),
            PublicKey::P256(key) => key.to_public_key_der(),
            PublicKey::P384(key) => key.to_public_key_der(),
        };
        der.ok().map(|der| der.as_bytes().to_vec())
    }

    /// The key's RFC 7638 thumbprint: its `kid`.
    #[must_use]
    pub fn kid(&self) -> String {
        let jwk = self.bare_jwk();
        // Members in lexicographic order, no blanks (RFC 7638 §3).
        let text = match &jwk.y {
            Some(y) => format!(
                r#"{{"crv":"{}","kty":"{}","x":"{}","y":"{y}"}}"#,
                jwk.crv, jwk.kty, jwk.x
            ),
            None => format!(r#"{{"crv":"{}","kty":"{}","x":"{}"}}"#, jwk.crv, jwk.kty, jwk.x),
        };
        Base64UrlUnpadded::encode_string(&Sha256::digest(text.as_bytes()))
    }

    /// The key as a JWK with `kid`, `alg` and `use`.
    #[must_use]
    pub fn jwk(&self) -> Jwk {
        Jwk {
            kid: Some(self.kid()),
            alg: Some(self.algorithm().name().to_owned()),
            usage: Some("sig".to_owned()),
            ..self.bare_jwk()
        }
    }

    fn bare_jwk(&self) -> Jwk {
        let (kty, crv, point) = match self {
            PublicKey::Ed25519(key) => ("OKP", "Ed25519", key.to_bytes().to_vec()),
            PublicKey::P256(key) => ("EC", "P-256", key.to_sec1_point(false).as_bytes()[1..].to_vec()),
            PublicKey::P384(key) => ("EC", "P-384", key.to_sec1_point(false).as_bytes()[1..].to_vec()),
        };
        let encode = Base64UrlUnpadded::encode_string;
        let (x, y) = match self {
            PublicKey::Ed25519(_) => (encode(&point), None),
            _ => {
                let (x, y) = point.split_at(point.len() / 2);
                (encode(x), Some(encode(y)))
            }
        };
        Jwk {
            kty: kty.to_owned(),
            crv: crv.to_owned(),
            x,
            y,
            kid: None,
            alg: None,
            usage: None,
            x5c: Vec::new(),
        }
    }
}

/// A public key in JSON (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `OKP` or `EC`.
    pub kty: String,
    /// `Ed25519`, `P-256` or `P-384`.
    pub crv: String,
    /// Coordinate, base64url.
    pub x: String,
    /// Second coordinate of an `EC` key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// The name of the key in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The only algorithm it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// `sig`.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// Certificates, base64 of DER: the key's own, then that of each signer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub x5c: Vec<String>,
}

impl Jwk {
    fn public_key(&self) -> Result<PublicKey, String> {
        let bytes = |text: &str, what: &str, len: usize| {
            let bytes = Base64UrlUnpadded::decode_vec(text).map_err(|_| format!("{what} is not base64url"))?;
            match bytes.len() == len {
                true => Ok(bytes),
                false => Err(format!("{what} has {} bytes, expected {len}", bytes.len())),
            }
        };
        let point = |len: usize| -> Result<Vec<u8>, String> {
            let y = self.y.as_deref().ok_or("y is missing")?;
            Ok([vec![4], bytes(&self.x, "x", len)?, bytes(y, "y", len)?].concat())
        };
        let off_curve = |_| "the point is not on the curve".to_owned();
        let key = match (self.kty.as_str(), self.crv.as_str()) {
            ("OKP", "Ed25519") => {
                let x: [u8; 32] = bytes(&self.x, "x", 32)?.try_into().map_err(|_| "x has not 32 bytes")?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(&x).map_err(|_| "x is no point".to_owned())?;
                PublicKey::Ed25519(key)
            }
            ("EC", "P-256") => {
                PublicKey::P256(p256::ecdsa::VerifyingKey::from_sec1_bytes(&point(32)?).map_err(off_curve)?)
            }
            ("EC", "P-384") => {
                PublicKey::P384(p384::ecdsa::VerifyingKey::from_sec1_bytes(&point(48)?).map_err(off_curve)?)
            }
            (kty, crv) => return Err(format!("kty {kty:?} with crv {crv:?}")),
        };
        Ok(key)
    }
}

/// Why a key of a set cannot be used, or `None` if it can: another type, curve, use or algorithm. Such keys are ignored
/// (RFC 7517 §5), because the publisher of a set may add keys at any time.
fn foreign(jwk: &serde_json::Value) -> Option<String> {
    let member = |name: &str| jwk.get(name).and_then(serde_json::Value::as_str);
    let (kty, crv) = (member("kty")?, member("crv"));
    let algorithm = match (kty, crv) {
        ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
        ("EC", Some("P-256")) => Algorithm::Es256,
        ("EC", Some("P-384")) => Algorithm::Es384,
        ("OKP" | "EC", None) => return None,
        (kty, None) => return Some(format!("kty {kty:?}")),
        (kty, Some(crv)) => return Some(format!("kty {kty:?} with crv {crv:?}")),
    };
    if let Some(usage) = member("use").filter(|usage| *usage != "sig") {
        return Some(format!("use {usage:?}, not for signatures"));
    }
    let operations = jwk.get("key_ops").and_then(serde_json::Value::as_array);
    if operations.is_some_and(|operations| operations.iter().all(|operation| operation != "verify")) {
        return Some("key_ops without verify, not for signatures".to_owned());
    }
    let alg = member("alg").filter(|alg| !algorithm.is_named(alg))?;
    Some(format!("alg {alg:?} for a key of {}", algorithm.name()))
}

/// Public keys by `kid`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JwkSet(Vec<Entry>);

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    kid: String,
    key: PublicKey,
    /// DER, the key's own certificate first; empty if the key has none.
    chain: Vec<Vec<u8>>,
}

impl JwkSet {
    /// A set of these keys, under their thumbprints.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let entry = |key: PublicKey| Entry {
            kid: key.kid(),
            key,
            chain: Vec::new(),
        };
        JwkSet(keys.into_iter().map(entry).collect())
    }

    /// The set of the public half of a key, as its issuer publishes it: a key of ES384 with a certificate of its own, because
    /// readers of NVIDIA's tokens take the key from there.
    ///
    /// # Errors
    ///
    /// [`KeyError::Certificate`].
    pub fn of_signer(key: &SigningKey) -> Result<Self, KeyError> {
        let mut set = JwkSet::new([key.public()]);
        if let SigningKey::P384(signer) = key {
            let certificate = self_signed(signer, &key.public().kid()).map_err(KeyError::Certificate)?;
            set.0[0].chain = vec![certificate];
        }
        Ok(set)
    }

    /// The set in JSON text. Keys of other types, curves, uses and algorithms are ignored. Symmetric and private keys
    /// must not be in a set, and are refused.
    ///
    /// # Errors
    ///
    /// [`KeyError`] says which key is wrong; [`KeyError::NoneUsable`] if all are ignored.
    pub fn parse(json: &str) -> Result<Self, KeyError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_str(json).map_err(KeyError::NoJwkSet)?;
        let mut keys: Vec<Entry> = Vec::new();
        let mut passed_over = Vec::new();
        for (index, value) in set.keys.into_iter().enumerate() {
            let fail = |problem: String| KeyError::Jwk { index, problem };
            if value.get("d").is_some() || value.get("k").is_some() {
                return Err(fail("it holds a secret: only public keys belong here".to_owned()));
            }
            if let Some(why) = foreign(&value) {
                passed_over.push(format!("key {index} has {why}"));
                continue;
            }
            let jwk: Jwk = serde_json::from_value(value).map_err(|e| fail(e.to_string()))?;
            let key = jwk.public_key().map_err(fail)?;
            let der = |text: &String| Base64::decode_vec(text).map_err(|_| fail("x5c is not base64".to_owned()));
            let chain = jwk.x5c.iter().map(der).collect::<Result<_, _>>()?;
            let kid = jwk.kid.unwrap_or_else(|| key.kid());
            if keys.iter().any(|known| known.kid == kid) {
                return Err(fail(format!("a second key with kid {kid:?}")));
            }
            keys.push(Entry { kid, key, chain });
        }
        if keys.is_empty() && !passed_over.is_empty() {
            return Err(KeyError::NoneUsable(passed_over));
        }
        Ok(JwkSet(keys))
    }

    /// The set as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        let jwk = |Entry { kid, key, chain }: &Entry| Jwk {
            kid: Some(kid.clone()),
            x5c: chain.iter().map(|der| Base64::encode_string(der)).collect(),
            ..key.jwk()
        };
        let keys: Vec<Jwk> = self.0.iter().map(jwk).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    /// The certificates that came with the key of this `kid`, DER, its own first.
    pub(crate) fn chain(&self, kid: &str) -> &[Vec<u8>] {
        self.entry(kid).map_or(&[], |entry| &entry.chain)
    }

    fn entry(&self, kid: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.kid == kid)
    }

    /// The key of this `kid`.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&PublicKey> {
        self.entry(kid).map(|entry| &entry.key)
    }

    /// Every `kid`.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| entry.kid.as_str())
    }

    /// Removes the key of this `kid`; false if there is none.
    pub fn remove(&mut self, kid: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.kid != kid);
        self.0.len() < before
    }

    /// Adds the keys of another set, with their certificates, except those whose `kid` is there.
    pub fn extend(&mut self, other: &JwkSet) {
        for entry in &other.0 {
            if self.entry(&entry.kid).is_none() {
                self.0.push(entry.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037() {
        let text = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let set = JwkSet::parse(text).expect("the key of RFC 8037, A.2");
        assert_eq!(
            set.kids().collect::<Vec<_>>(),
            ["kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"]
        );
    }

    #[test]
    fn keys_survive_pem_and_jwk() {
        for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384] {
            let key = SigningKey::generate(algorithm).expect("a key");
            let again = SigningKey::from_pem(&key.to_pem().expect("PEM")).expect("the key");
            assert_eq!(again.public(), key.public());
            assert_eq!(again.algorithm(), algorithm);
            for set in [JwkSet::new([key.public()]), JwkSet::of_signer(&key).expect("a set")] {
                assert_eq!(JwkSet::parse(&set.to_json()).expect("the set"), set);
            }
            let signature = again.sign(b"message");
            assert!(key.public().verifies(b"message", &signature));
            assert!(!key.public().verifies(b"another", &signature));
        }
        assert!(matches!(SigningKey::from_pem("no key"), Err(KeyError::NoPrivateKey)));
    }

    #[test]
    fn sets_hold_public_signing_keys_alone() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        for (jwk, problem) in [
            (r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(), "secret"),
            (
                format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","d":"{x}"}}"#),
                "secret",
            ),
            (
                format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","alg":"HS256"}}"#),
                "alg",
            ),
            (
                format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}","use":"enc"}}"#),
                "signatures",
            ),
            (format!(r#"{{"kty":"OKP","crv":"X25519","x":"{x}"}}"#), "kty"),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}"}}"#), "y is missing"),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}"}}"#), "curve"),
            (r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#.to_owned(), "bytes"),
            (
                format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}},{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#),
                "second",
            ),
        ] {
            let error = JwkSet::parse(&format!(r#"{{"keys":[{jwk}]}}"#)).expect_err(problem);
            assert!(error.to_string().contains(problem), "{error}");
        }
        assert!(matches!(JwkSet::parse("[]"), Err(KeyError::NoJwkSet(_))));
    }

    #[test]
    fn other_keys_of_a_set_are_passed_over() {
        let ours = SigningKey::generate(Algorithm::EdDsa).expect("a key").public();
        let point = SigningKey::generate(Algorithm::Es256).expect("a key").public().jwk();
        let (x, y) = (&point.x, point.y.as_deref().expect("an EC key"));
        let own = serde_json::to_string(&ours.jwk()).expect("JSON");
        let strange = [
            r#"{"kty":"RSA","kid":"r","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB"}"#.to_owned(),
            r#"{"kty":"EC","crv":"P-521","kid":"p","x":"AA","y":"AA"}"#.to_owned(),
            r#"{"kty":"OKP","crv":"X25519","kid":"x","use":"enc","x":"CQ"}"#.to_owned(),
            r#"{"kty":"AKP","alg":"ML-DSA-65","kid":"m","pub":"eA"}"#.to_owned(),
            format!(r#"{{"kty":"EC","crv":"P-256","kid":"e","use":"enc","alg":"ECDH-ES","x":"{x}","y":"{y}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","key_ops":["deriveKey"],"x":"{x}","y":"{y}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","alg":"ES256K","x":"{x}","y":"{y}"}}"#),
        ];
        for strange in &strange {
            let set = JwkSet::parse(&format!(r#"{{"keys":[{strange},{own}]}}"#)).expect("ours");
            assert_eq!(set, JwkSet::new([ours.clone()]), "{strange}");
        }
        let all = JwkSet::parse(&format!(r#"{{"keys":[{}]}}"#, strange.join(","))).expect_err("none is ours");
        let text = all.to_string();
        assert!(
            text.contains("none of the set's 7 keys") && text.contains(r#"key 0 has kty "RSA""#),
            "{text}"
        );
        // The name of RFC 9864, an operation that is accepted, and unknown members.
        let mut jwk = serde_json::to_value(ours.jwk()).expect("JSON");
        jwk["alg"] = "Ed25519".into();
        jwk["key_ops"] = serde_json::json!(["verify"]);
        jwk["x-more"] = serde_json::json!({ "a": 1 });
        let set = JwkSet::parse(&serde_json::json!({ "keys": [jwk], "more": 1 }).to_string()).expect("ours");
        assert_eq!(set, JwkSet::new([ours]));
        assert_eq!(JwkSet::parse(r#"{"keys":[]}"#).expect("no keys"), JwkSet::default());
    }
}
