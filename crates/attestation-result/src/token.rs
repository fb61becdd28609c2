//! Signed JSON in compact form (RFC 7515): two algorithms for signing, three for checking; the key alone decides which.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use crate::chain::ChainError;
use crate::key::{JwkSet, SigningKey};

/// Longest token that is accepted, bytes.
pub const MAX_TOKEN_BYTES: usize = 1 << 20;

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url, or not the expected JSON or CBOR.
    #[error("malformed token: {0}")]
    Malformed(String),
    /// Longer than any result.
    #[error("a token of {0} bytes, at most {MAX_TOKEN_BYTES} allowed")]
    TooLong(usize),
    /// No `kid`, or a `kid` of no trusted key.
    #[error("{}", unknown_key(.0.as_deref()))]
    UnknownKey(Option<String>),
    /// The token requests an algorithm other than that of its key: `none`, HMAC with a public key, and the like.
    #[error("the token says alg {actual:?}; its key is for {expected} alone")]
    Algorithm {
        /// The key's.
        expected: &'static str,
        /// The token's.
        actual: String,
    },
    /// The token requires extensions that are not supported.
    #[error("the token demands extensions that are not understood (crit)")]
    Critical,
    /// The signature was not made by the key.
    #[error("the signature is not that of key {0}")]
    Signature(String),
    /// The key's certificates lead to no given root.
    #[error("key {kid}: {problem}")]
    Chain {
        /// The key's.
        kid: String,
        /// What is wrong.
        problem: ChainError,
    },
    /// A claim differs from the expected one.
    #[error("{claim} is {actual:?}; expected {expected:?}")]
    Claim {
        /// The claim.
        claim: &'static str,
        /// What was expected.
        expected: String,
        /// The value in the token.
        actual: String,
    },
    /// The result is for an audience, and the Relying Party names none.
    #[error("the result is for {audience:?}; name it with --audience if that is who you are")]
    NotNamed {
        /// The result's.
        audience: String,
    },
    /// No longer valid.
    #[error("expired at {expired_s}, now is {now_s} (seconds since the Unix epoch)")]
    Expired {
        /// `exp`.
        expired_s: u64,
        /// Now.
        now_s: u64,
    },
    /// The result is older than the Relying Party allows.
    #[error("issued {age_s} s ago, at most {limit_s} s allowed")]
    TooOld {
        /// Seconds since `iat`.
        age_s: u64,
        /// The most.
        limit_s: u64,
    },
    /// The result was issued later than now: one of the clocks is wrong.
    #[error("issued at {issued_s}, now is {now_s}: a clock is wrong (seconds since the Unix epoch)")]
    FromTheFuture {
        /// `iat`.
        issued_s: u64,
        /// Now.
        now_s: u64,
    },
}

fn unknown_key(kid: Option<&str>) -> String {
    match kid {
        Some(kid) => format!("no trusted key has kid {kid:?}"),
        None => "the token names no key (kid)".to_owned(),
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// `payload`, signed.
pub(crate) fn sign(payload: &[u8], key: &SigningKey) -> String {
    let header = Header {
        alg: key.algorithm().name().to_owned(),
        typ: Some("JWT".to_owned()),
        kid: Some(key.public().kid()),
        crit: None,
    };
    let header = serde_json::to_vec(&header).expect("a table of strings");
    let encode = Base64UrlUnpadded::encode_string;
    let message = format!("{}.{}", encode(&header), encode(payload));
    let signature = encode(&key.sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// The payload of `token`, signed by a key of `keys`.
pub(crate) fn verify(token: &str, keys: &JwkSet) -> Result<Vec<u8>, TokenError> {
    verify_by(token, keys).map(|(payload, _)| payload)
}

/// The payload of `token`, and the `kid` of the key of `keys` that signed it.
pub(crate) fn verify_by(token: &str, keys: &JwkSet) -> Result<(Vec<u8>, String), TokenError> {
    let malformed = |what: &str| TokenError::Malformed(what.to_owned());
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::TooLong(token.len()));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("expected three parts"));
    };
    let decode = |part: &str, what: &str| {
        Base64UrlUnpadded::decode_vec(part).map_err(|_| malformed(&format!("the {what} is not base64url")))
    };
    let fields: Header =
        serde_json::from_slice(&decode(header, "header")?).map_err(|e| malformed(&format!("header: {e}")))?;
    // The key is chosen by name among the trusted keys; other keys in a header (jwk, jku, x5c) are never used.
    let Some((kid, key)) = fields.kid.as_deref().and_then(|kid| Some((kid, keys.key(kid)?))) else {
        return Err(TokenError::UnknownKey(fields.kid));
    };
    if fields.alg != key.algorithm().name() {
        return Err(TokenError::Algorithm {
            expected: key.algorithm().name(),
            actual: fields.alg,
        });
    }
    if fields.crit.is_some() {
        return Err(TokenError::Critical);
    }
    let message = &token[..header.len() + 1 + payload.len()];
    if !key.verifies(message.as_bytes(), &decode(signature, "signature")?) {
        return Err(TokenError::Signature(kid.to_owned()));
    }
    Ok((decode(payload, "payload")?, kid.to_owned()))
}
