//! Signed results, checked.

use std::time::{SystemTime, UNIX_EPOCH};

use attestation_result::key::JwkSet;
use attestation_result::{Expectations, TokenError, verify_token};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::{KeyUnusableError, ResultRefusedError};

/// What a signed result says, as JSON.
#[pyfunction]
#[pyo3(signature = (token, jwks, audience, issuer, nonce, policy_id, max_age_s))]
pub(crate) fn verify_result(
    token: &[u8],
    jwks: &str,
    audience: Option<String>,
    issuer: Option<String>,
    nonce: Option<&[u8]>,
    policy_id: Option<String>,
    max_age_s: Option<u64>,
) -> PyResult<String> {
    let keys = JwkSet::parse(jwks).map_err(|error| KeyUnusableError::new_err(("jwks", error.to_string())))?;
    let nonce = match nonce {
        Some(nonce) => Some(
            nonce
                .try_into()
                .map_err(|_| PyValueError::new_err(format!("nonce: {} bytes; expected 32", nonce.len())))?,
        ),
        None => None,
    };
    let expectations = Expectations {
        audience,
        issuer,
        nonce,
        policy_id,
        max_age_s,
    };
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let result = verify_token(token, &keys, now_s, &expectations)
        .map_err(|error| ResultRefusedError::new_err((code(&error), error.to_string())))?;
    serde_json::to_string(&result).map_err(|error| PyValueError::new_err(error.to_string()))
}

fn code(error: &TokenError) -> &'static str {
    match error {
        TokenError::Malformed(_) => "malformed",
        TokenError::TooLong(_) => "too-long",
        TokenError::UnknownKey(_) => "unknown-key",
        TokenError::Algorithm { .. } => "algorithm",
        TokenError::Critical => "critical",
        TokenError::Signature(_) => "signature",
        TokenError::Chain { .. } => "chain",
        TokenError::Claim { .. } => "claim",
        TokenError::NotNamed { .. } => "audience-not-named",
        TokenError::Expired { .. } => "expired",
        TokenError::TooOld { .. } => "too-old",
        TokenError::FromTheFuture { .. } => "from-the-future",
    }
}
