//! Options shared by both commands, and their evaluation.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use keystore::{KeyError, SigningKey};
use protocol::bytes::{DeviceOrdinal, Identity};
use protocol::request::PlanRequest;
use serde::Serialize;
use verifier::Settings;
use verifier::preset::Preset;
use verifier::recompute::Recompute;
use verifier::settings::{SettingsError, SettingsFields, TooFewSamples};

use crate::detail::DetailOptions;
use crate::output::{print_json, print_text};
use crate::paths::OutputPath;
use crate::values::{
    Iterations, parse_audience, parse_bytes, parse_duration, parse_iterations, parse_threads, preset_parser,
};

/// What a session is to do.
#[derive(Args, Clone, Debug)]
pub struct SessionOptions {
    /// How much work
    #[arg(long, value_name = "PRESET", default_value = "smoke", value_parser = preset_parser())]
    pub preset: Preset,

    /// Leaves checked per device and distinct k, 256 to 65536 [default: the preset's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub samples: Option<u32>,

    /// Allow fewer than 256 samples: such a session can catch a cheat but certifies nothing
    #[arg(long)]
    pub few_samples: bool,

    /// Instead of the preset's iterations: k and sweeps of each, as `gpu-validator plan` proposes them, for example
    /// 20480:32,2048:2. A third number asks for rounds between devices, in which so many leaves of each cross:
    /// 20480:32:500000; at most a quarter of the tiles cross
    #[arg(long, value_name = "K:SWEEPS,...", value_parser = parse_iterations)]
    pub iterations: Option<Iterations>,

    /// n: rows and columns of a matrix, a multiple of 256 up to 32768 [default: one that wastes little memory]
    #[arg(long, value_name = "N")]
    pub matrix_dim: Option<u32>,

    /// Largest dataset per device, for example 512MiB [default: the preset's]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub device_memory: Option<u64>,

    /// The party that the evidence is for, which it names
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = parse_audience)]
    pub audience: String,

    /// How long a phase (prepare, fill, sweep, open) may take, for example 90s [default: the preset's]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub phase_deadline: Option<Duration>,

    /// Soundness error: the bounds of a device and distinct k are false with probability at most 2^-BITS
    #[arg(long, value_name = "BITS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub error_bits: u32,

    /// The Verifier's Ed25519 key (PKCS #8 PEM); created on first use [default: $XDG_CONFIG_HOME/gpu-attestor/verifier.pem]
    #[arg(long, value_name = "FILE")]
    pub verifier_key: Option<PathBuf>,

    /// Write the evidence to this file
    #[arg(long, value_name = "FILE")]
    pub evidence: Option<OutputPath>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    /// How much is printed.
    #[command(flatten)]
    pub detail: DetailOptions,
}

/// How sampled tiles are recomputed.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct RecomputeOptions {
    /// Threads that recompute sampled tiles, 1 to 1024 [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
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
    /// If the key cannot be loaded or created, or the system returns no randomness.
    pub fn settings(
        &self,
        devices: Option<Vec<DeviceOrdinal>>,
        hello_deadline: Duration,
        recompute: Recompute,
    ) -> anyhow::Result<Settings> {
        let fields = SettingsFields {
            preset: self.preset,
            devices,
            iterations: self
                .iterations
                .as_ref()
                .map(|Iterations(iterations)| iterations.clone()),
            samples: self.samples,
            few_samples: self.few_samples,
            matrix_dim: self.matrix_dim,
            device_bytes: self.device_memory,
            audience: self.audience.clone(),
            phase_deadline: self.phase_deadline,
            hello_deadline,
            error_bits: self.error_bits,
        };
        let key = verifier_key(self.verifier_key.as_deref())?;
        Settings::new(fields, recompute, key).map_err(|error| match error {
            SettingsError::TooFewSamples(few) => too_few(few),
            SettingsError::Session(error) => error.into(),
        })
    }
}

/// Rejects a request whose samples are too few to certify anything, however large the devices are.
///
/// # Errors
///
/// The option that causes the problem.
pub fn ensure_enough_samples(request: &PlanRequest) -> anyhow::Result<()> {
    verifier::settings::ensure_enough_samples(request).map_err(too_few)
}

/// The option that causes the problem, and what is expected of it.
fn too_few(few: TooFewSamples) -> anyhow::Error {
    match few {
        TooFewSamples::Asked { samples, least } => anyhow::anyhow!(
            "--samples {samples}: fewer than {least} certify nothing; expected more, or --few-samples too"
        ),
        TooFewSamples::Leaves { .. } => {
            anyhow::anyhow!("--device-memory: {few}; expected more memory, or --few-samples too")
        }
    }
}

/// The Verifier's key in `file` or at the default path; created on first use.
///
/// # Errors
///
/// If there is no usable key.
pub fn verifier_key(file: Option<&Path>) -> anyhow::Result<SigningKey> {
    key_of("verifier", file).context("the Verifier's key")
}

/// The Attester's key in `file` or at the default path; created on first use.
///
/// # Errors
///
/// If there is no usable key.
pub fn attester_key(file: Option<&Path>) -> anyhow::Result<SigningKey> {
    key_of("attester", file).context("the Attester's key")
}

fn key_of(name: &str, file: Option<&Path>) -> Result<SigningKey, KeyError> {
    match file {
        Some(path) => keystore::load_or_create(path),
        None => keystore::load_or_create_default(name),
    }
}

/// What `identity --json` prints.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IdentityReport {
    /// The public key, Ed25519, hex.
    pub identity: String,
}

/// Prints the public key, in hexadecimal or as JSON.
///
/// # Errors
///
/// Those of standard output.
pub fn print_identity(key: &SigningKey, is_json: bool) -> anyhow::Result<()> {
    let identity = Identity(key.verifying_key().to_bytes());
    if is_json {
        print_json(&IdentityReport {
            identity: identity.to_string(),
        })
    } else {
        print_text(format_args!("{identity}\n"))
    }
}
