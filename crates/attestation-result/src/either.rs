//! A result in either form.

use crate::cwt::verify_cwt;
use crate::key::JwkSet;
use crate::result::{AttestationResult, Expectations, verify_result};
use crate::token::TokenError;

/// First byte of a tagged COSE_Sign1 (RFC 9052 §2); no JWT begins with it.
const COSE_SIGN1_TAG: u8 = 0xD2;

/// Checks a result that may be a JWT or a CWT, as [`verify_result`] and [`verify_cwt`] do.
///
/// # Errors
///
/// [`TokenError`].
pub fn verify_token(
    token: &[u8],
    jwks: &JwkSet,
    now_unix_s: u64,
    expected: &Expectations,
) -> Result<AttestationResult, TokenError> {
    if token.first() == Some(&COSE_SIGN1_TAG) {
        return verify_cwt(token, jwks, now_unix_s, expected);
    }
    let jwt = str::from_utf8(token).map_err(|_| TokenError::Malformed("neither JWT nor CWT".to_owned()))?;
    verify_result(jwt.trim(), jwks, now_unix_s, expected)
}
