//! Options shared by both commands, and their evaluation.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use keystore::{KeyError, SigningKey};
use protocol::bounds::Assumptions;
use protocol::bytes::{DeviceOrdinal, Identity};
use protocol::limits::MIN_SAMPLES_FOR_BOUND;
use protocol::plan::Deadlines;
use protocol::request::PlanRequest;
use serde_json::json;
use verifier::Settings;
use verifier::preset::{Preset, default_assumptions};
use verifier::recompute::Recompute;

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
    /// 20480:32,2048:2
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
        let key = verifier_key(self.verifier_key.as_deref())?;
        let mut request = self.preset.request(Identity(key.verifying_key().to_bytes()));
        getrandom::fill(&mut request.session_id).context("no randomness")?;
        request.audience.clone_from(&self.audience);
        request.devices = devices;
        request.matrix_dim = self.matrix_dim.or(request.matrix_dim);
        request.device_bytes = self.device_memory.or(request.device_bytes);
        request.samples = self.samples.unwrap_or(request.samples);
        if let Some(Iterations(iterations)) = &self.iterations {
            request.iterations.clone_from(iterations);
        }
        if !self.few_samples {
            ensure_enough_samples(&request)?;
        }
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
            assumptions: Assumptions {
                helper_gpus: self.preset.helper_gpus(),
                ..default_assumptions(self.error_bits)
            },
            narrowed_by: None,
            hello_deadline,
            recompute,
            key,
        })
    }
}

/// Rejects a request whose samples are too few to certify anything, however large the devices are.
///
/// # Errors
///
/// The option that causes the problem.
pub fn ensure_enough_samples(request: &PlanRequest) -> anyhow::Result<()> {
    anyhow::ensure!(
        request.samples >= MIN_SAMPLES_FOR_BOUND,
        "--samples {}: fewer than {MIN_SAMPLES_FOR_BOUND} certify nothing; expected more, or --few-samples too",
        request.samples
    );
    let of_any = PlanRequest {
        devices: None,
        ..request.clone()
    };
    // If no plan is possible, the code that makes the real one reports why.
    let Ok(plan) = of_any.plan_for_any(1) else {
        return Ok(());
    };
    let effective = plan.most_effective_samples();
    anyhow::ensure!(
        effective >= MIN_SAMPLES_FOR_BOUND,
        "--device-memory: a device has {effective} leaves to sample in all its sweeps, and fewer than {MIN_SAMPLES_FOR_BOUND} \
         samples certify nothing; expected more memory, or --few-samples too"
    );
    Ok(())
}

/// The Verifier's key in `file` or at the default path; created on first use.
///
/// # Errors
///
/// If there is no usable key.
pub fn verifier_key(file: Option<&Path>) -> anyhow::Result<SigningKey> {
    key_of("verifier", file).context("the Verifier's key")
}

/// The key of this host's own Verifier, if it exists at the default path; it is not created.
///
/// # Errors
///
/// If there is a key that cannot be used.
pub fn known_verifier() -> anyhow::Result<Option<Identity>> {
    let Ok(path) = keystore::default_path("verifier") else {
        return Ok(None);
    };
    match keystore::load(&path) {
        Ok(key) => Ok(Some(Identity(key.verifying_key().to_bytes()))),
        Err(KeyError::File(error)) if error.kind() == Some(std::io::ErrorKind::NotFound) => Ok(None),
        Err(error) => Err(anyhow::Error::new(error).context("the Verifier's key")),
    }
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

/// Prints the public key, in hexadecimal or as JSON.
///
/// # Errors
///
/// Those of standard output.
pub fn print_identity(key: &SigningKey, is_json: bool) -> anyhow::Result<()> {
    let identity = Identity(key.verifying_key().to_bytes());
    if is_json {
        print_json(&json!({ "identity": identity.to_string() }))
    } else {
        print_text(format_args!("{identity}\n"))
    }
}
