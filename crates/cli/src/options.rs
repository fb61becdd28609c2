//! Options that both commands take, and what they mean.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bytesize::ByteSize;
use clap::Args;
use keystore::SigningKey;
use protocol::bytes::{DeviceOrdinal, Identity};
use protocol::plan::Deadlines;
use verifier::Settings;
use verifier::preset::{Preset, default_assumptions};
use verifier::recompute::Recompute;

/// What a session is to do.
#[derive(Args, Clone, Debug)]
pub struct SessionOptions {
    /// How much work: smoke (16 MiB a device, seconds), standard (all memory offered), soak (minutes of it)
    #[arg(long, value_name = "PRESET", default_value = "smoke")]
    pub preset: Preset,

    /// Leaves checked a device and distinct k, 1 to 65536 [default: the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub samples: Option<u32>,

    /// n: rows and columns of a matrix, a multiple of 256 up to 32768 [default: what wastes little memory]
    #[arg(long, value_name = "N")]
    pub matrix_dim: Option<u32>,

    /// Most dataset a device, say 512MiB [default: the preset's]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub device_memory: Option<u64>,

    /// For whom the evidence is made
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub audience: String,

    /// How long a phase (prepare, fill, sweep, open) may take, say 90s [default: the preset's]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub phase_deadline: Option<Duration>,

    /// Soundness: each claim of a device is false with probability at most 2^-BITS
    #[arg(long, value_name = "BITS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub error_bits: u32,

    /// The Verifier's Ed25519 key (PKCS #8 PEM); made on first use [default: $XDG_CONFIG_HOME/gpu-attestor/verifier.pem]
    #[arg(long, value_name = "FILE")]
    pub verifier_key: Option<PathBuf>,

    /// Write the evidence to this file
    #[arg(long, value_name = "FILE")]
    pub evidence: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// How sampled tiles are recomputed.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct RecomputeOptions {
    /// Threads that recompute sampled tiles [default: one a CPU]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

impl RecomputeOptions {
    /// What is recomputed with.
    #[must_use]
    pub fn recompute(&self) -> Recompute {
        let default = Recompute::default();
        Recompute {
            threads: self.threads.unwrap_or(default.threads),
            ..default
        }
    }
}

impl SessionOptions {
    /// The Verifier's settings for these options; a fresh session id is drawn.
    ///
    /// # Errors
    ///
    /// If the key cannot be had or the system gives no randomness.
    pub fn settings(
        &self,
        devices: Option<Vec<DeviceOrdinal>>,
        hello_deadline: Duration,
        recompute: Recompute,
    ) -> anyhow::Result<Settings> {
        let key = verifier_key(self.verifier_key.as_deref())?;
        let mut request = self.preset.request(Identity(key.verifying_key().to_bytes()));
        getrandom::fill(&mut request.session_id).context("no randomness")?;
        request.audience.clone_from(&self.audience);
        request.devices = devices;
        request.matrix_dim = self.matrix_dim.or(request.matrix_dim);
        request.device_bytes = self.device_memory.or(request.device_bytes);
        request.samples = self.samples.unwrap_or(request.samples);
        if let Some(limit) = self.phase_deadline {
            let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
            request.deadlines = Deadlines {
                ready_ms: limit_ms,
                fill_ms: limit_ms,
                sweep_ms: limit_ms,
                openings_ms: limit_ms,
            };
        }
        Ok(Settings {
            request,
            assumptions: default_assumptions(self.error_bits),
            hello_deadline,
            recompute,
            key,
        })
    }
}

/// The Verifier's key in `file` or its usual place; made on first use.
///
/// # Errors
///
/// If there is no usable key.
pub fn verifier_key(file: Option<&Path>) -> anyhow::Result<SigningKey> {
    let path = match file {
        Some(path) => path.to_owned(),
        None => keystore::default_path("verifier").context("the Verifier's key")?,
    };
    keystore::load_or_create(&path).context("the Verifier's key")
}

/// Bytes of a size like `512MiB` or `24GB`.
///
/// # Errors
///
/// What is wrong with it.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let size: ByteSize = text.parse()?;
    Ok(size.as_u64())
}

/// Device ordinals of a list like `0,2,5`.
///
/// # Errors
///
/// The part that is no ordinal, or comes twice.
pub fn parse_ordinals(text: &str) -> Result<Vec<DeviceOrdinal>, String> {
    let mut ordinals = Vec::new();
    for part in text.split(',') {
        let ordinal = part
            .trim()
            .parse()
            .map(DeviceOrdinal)
            .map_err(|_| format!("{part:?} is no device ordinal; expected a list like 0,2"))?;
        if ordinals.contains(&ordinal) {
            return Err(format!("device {ordinal} is named twice"));
        }
        ordinals.push(ordinal);
    }
    ordinals.sort();
    Ok(ordinals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lists_are_parsed_or_explained() {
        assert_eq!(parse_bytes("512MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("24GB"), Ok(24_000_000_000));
        assert!(parse_bytes("much").is_err());
        assert_eq!(parse_ordinals("2, 0"), Ok(vec![DeviceOrdinal(0), DeviceOrdinal(2)]));
        assert!(parse_ordinals("0,x").is_err_and(|e| e.contains("\"x\"")));
        assert!(parse_ordinals("1,1").is_err_and(|e| e.contains("twice")));
    }
}
