//! Attestation Results: what an issuer signs and a Relying Party checks.
//!
//! A result is an EAR (draft-ietf-rats-ear-04) as JWT or CWT; `docs/results.md` describes its claims. [`verify_result`] and
//! [`verify_cwt`] are all that a Relying Party needs: nothing here depends on sessions, engines or evidence.

#![forbid(unsafe_code)]

mod certificate;
pub mod chain;
mod cwt;
mod either;
pub mod key;
pub mod key_ring;
pub mod nvidia;
mod result;
mod tier;
mod token;

pub use cwt::verify_cwt;
pub use either::verify_token;
pub use result::{
    AttestationResult, CLAIMS_VERSION, CLOCK_LEEWAY_S, Difference, EAR_PROFILE, Expectations, Issuance, PRIVATE_CLAIM,
    Submodule, VerifierId, verify_result,
};
pub use tier::Tier;
pub use token::{MAX_TOKEN_BYTES, TokenError};
