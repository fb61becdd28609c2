//! Challenges as JSON files: the canonical bytes in hexadecimal, and next to them their contents in readable form.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use protocol::bytes::{hex, unhex};
use protocol::cbor::Canonical;
use protocol::challenge::{Challenge, ChallengeError};
use protocol::limits::MAX_PLAN_BYTES;
use serde_json::{Value, json};

/// The format's name.
const FORMAT: &str = "gpu-attestor challenge";

/// Longest file that is read, bytes: a plan of the largest size in hexadecimal, and as much again for the readable
/// form.
const MAX_FILE_BYTES: u64 = 8 * MAX_PLAN_BYTES;

/// Why a file is not a valid challenge.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeFileError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file is longer than any challenge.
    #[error("not a challenge file: longer than {MAX_FILE_BYTES} bytes")]
    TooLong,
    /// Not JSON of a challenge.
    #[error("not a challenge file: {0}")]
    Format(String),
    /// The challenge itself is invalid.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
}

/// Reads the challenge from a file and checks its signature.
///
/// # Errors
///
/// [`ChallengeFileError`].
pub fn read(path: &Path) -> Result<Challenge, ChallengeFileError> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(ChallengeFileError::TooLong);
    }
    let text = String::from_utf8(bytes).map_err(|_| ChallengeFileError::Format("no text in UTF-8".to_owned()))?;
    parse(&text)
}

/// Parses the challenge from the text of a file and checks its signature.
///
/// # Errors
///
/// [`ChallengeFileError`].
pub fn parse(text: &str) -> Result<Challenge, ChallengeFileError> {
    let format = |why: &str| ChallengeFileError::Format(why.to_owned());
    let value: Value = serde_json::from_str(text).map_err(|e| format(&e.to_string()))?;
    if value["format"] != FORMAT {
        return Err(format(&format!(
            "\"format\" is {}, expected {FORMAT:?}",
            value["format"]
        )));
    }
    let bytes = value["challenge"]
        .as_str()
        .and_then(unhex)
        .ok_or_else(|| format("\"challenge\" is not hexadecimal"))?;
    Ok(Challenge::verify(&bytes)?)
}

/// The file of a challenge. Only `challenge` is read back; the rest describes it.
#[must_use]
pub fn to_json(challenge: &Challenge) -> Value {
    let plan = challenge.plan.fields();
    json!({
        "format": FORMAT,
        "challenge": hex(&challenge.to_bytes()),
        "session_id": hex(&plan.session_id),
        "verifier": plan.verifier.to_string(),
        "audience": plan.audience,
        "issued_unix_ms": challenge.issued_unix_ms,
        "expires_unix_ms": challenge.expires_unix_ms,
        "nonce": challenge.nonce.to_string(),
        "matrix_dim": plan.matrix_dim,
        "devices": plan.devices.iter().map(|device| json!({
            "ordinal": device.ordinal.0,
            "num_matrices": device.num_matrices,
        })).collect::<Vec<_>>(),
        "iterations": plan.iterations.iter().map(|iteration| json!({
            "inner_dim": iteration.inner_dim,
            "sweeps": iteration.sweeps,
        })).collect::<Vec<_>>(),
        "samples": plan.samples,
    })
}
