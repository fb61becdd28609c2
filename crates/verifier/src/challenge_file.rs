//! Challenges as JSON files: the canonical bytes in hexadecimal, and next to them their contents in readable form.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use protocol::bytes::{hex, unhex};
use protocol::cbor::Canonical;
use protocol::challenge::{Challenge, ChallengeError};
use protocol::limits::MAX_PLAN_BYTES;
use protocol::plan::{DevicePlan, Iteration};
use serde::Serialize;
use serde_json::Value;

/// The format's name.
const FORMAT: &str = "gpu-attestor challenge";

/// Longest file that is read, bytes: a plan of the largest size in hexadecimal, and as much again for the readable
/// form.
const MAX_FILE_BYTES: u64 = 8 * MAX_PLAN_BYTES;

/// The file of a challenge. Only `challenge` is read back; the rest describes it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChallengeFile {
    /// Always `gpu-attestor challenge`.
    pub format: &'static str,
    /// Its canonical bytes with the Verifier's signature, hex.
    pub challenge: String,
    /// Session id of the plan, hex.
    pub session_id: String,
    /// The Verifier's key, hex.
    pub verifier: String,
    /// The party that the evidence is for; empty for none.
    pub audience: String,
    /// When it was issued by the Verifier's clock, ms since the Unix epoch.
    pub issued_unix_ms: u64,
    /// When it expires by the Verifier's clock, ms since the Unix epoch.
    pub expires_unix_ms: u64,
    /// The nonce, hex.
    pub nonce: String,
    /// n: rows and columns of a matrix.
    pub matrix_dim: u32,
    /// Devices that must answer.
    pub devices: Vec<ChallengedDevice>,
    /// Iterations, in order.
    pub iterations: Vec<IterationReport>,
    /// Samples per device and distinct k.
    pub samples: u32,
}

/// A device that must answer a challenge.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChallengedDevice {
    /// Its ordinal.
    pub ordinal: u32,
    /// Matrices that it holds.
    pub num_matrices: u32,
}

/// An iteration of a plan.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IterationReport {
    /// k.
    pub inner_dim: u32,
    /// Sweeps.
    pub sweeps: u32,
    /// Leaves of each device and round that cross to another device; absent without rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crossings: Option<u32>,
}

impl From<&Iteration> for IterationReport {
    fn from(iteration: &Iteration) -> Self {
        IterationReport {
            inner_dim: iteration.inner_dim,
            sweeps: iteration.sweeps,
            crossings: Some(iteration.crossings).filter(|crossings| *crossings > 0),
        }
    }
}

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

impl ChallengeFile {
    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a challenge has only strings, numbers and lists")
    }
}

impl From<&Challenge> for ChallengeFile {
    fn from(challenge: &Challenge) -> Self {
        let plan = challenge.plan.fields();
        let device = |device: &DevicePlan| ChallengedDevice {
            ordinal: device.ordinal.0,
            num_matrices: device.num_matrices,
        };
        ChallengeFile {
            format: FORMAT,
            challenge: hex(&challenge.to_bytes()),
            session_id: hex(&plan.session_id),
            verifier: plan.verifier.to_string(),
            audience: plan.audience.clone(),
            issued_unix_ms: challenge.issued_unix_ms,
            expires_unix_ms: challenge.expires_unix_ms,
            nonce: challenge.nonce.to_string(),
            matrix_dim: plan.matrix_dim,
            devices: plan.devices.iter().map(device).collect(),
            iterations: plan.iterations.iter().map(IterationReport::from).collect(),
            samples: plan.samples,
        }
    }
}
