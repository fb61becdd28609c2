//! `gpu-attestor prove`: the offline form (spec §5).

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use attester::{Attester, Limits, serve};
use clap::Args;
use cli::{Exit, Interrupt, Interruptible, OutputFile, OutputPath, input_path, print_json, print_text};
use protocol::bounds::OFFLINE_ERROR_BITS;
use protocol::verdict::{Obstacle, Verdict};
use serde::Serialize;
use verifier::challenge_file;
use verifier::preset::default_assumptions;

use crate::attestation::AttestationOptions;
use crate::devices::{DeviceOptions, OrdinalOptions};
use crate::key::KeyOptions;
use crate::software::software;

/// An answer to a challenge.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ProofReport {
    /// The file of the evidence.
    evidence: String,
    /// The session's checksum, hex.
    checksum: Option<String>,
    /// The engine that did the work.
    engine: &'static str,
}

/// Options of `gpu-attestor prove`.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    gpu-validator challenge > c.json\n  \
    gpu-attestor prove --challenge c.json --evidence e.cbor\n  \
    gpu-validator verify e.cbor --challenge c.json")]
pub(crate) struct Options {
    /// The challenge that `gpu-validator challenge` printed
    #[arg(long, value_name = "FILE", value_parser = input_path())]
    challenge: PathBuf,

    /// Write the evidence to this file
    #[arg(long, value_name = "FILE")]
    evidence: OutputPath,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    ordinals: OrdinalOptions,

    #[command(flatten)]
    key: KeyOptions,

    #[command(flatten)]
    devices: DeviceOptions,

    #[command(flatten)]
    attestation: AttestationOptions,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let key = options.key.read()?;
    let challenge = challenge_file::read(&options.challenge)
        .with_context(|| format!("challenge {}", options.challenge.display()))?;
    // By this host's clock; the Verifier counts by its own. What takes long must not be done in vain.
    let now_unix_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_millis());
    if let Some(since_ms) = now_unix_ms.checked_sub(challenge.expires_unix_ms.into()) {
        anyhow::bail!(
            "challenge {} expired {:.3} s ago, by this host's clock: its Verifier would refuse the answer; ask for a new one",
            options.challenge.display(),
            since_ms as f64 / 1e3
        );
    }
    let (devices, engine) = options.devices.discover(&options.ordinals)?;
    let file = OutputFile::evidence(&options.evidence)?;
    let progress = Interruptible::new(options.json, Interrupt::listen()?);
    let attester = Attester {
        software: software(),
        labels: Vec::new(),
        devices,
        key: key.clone(),
        attestation: options.attestation.command(),
        // The Verifier is this process.
        limits: Limits::NONE,
    };

    let (from_verifier, to_attester) = io::pipe().context("no pipe")?;
    let (from_attester, to_verifier) = io::pipe().context("no pipe")?;
    let served = thread::Builder::new().spawn(move || serve(attester, from_verifier, to_verifier));
    let served = served.map_err(|error| transport::no_thread(&error))?;
    let assumptions = default_assumptions(OFFLINE_ERROR_BITS);
    let recorded = verifier::prove(from_attester, to_attester, &challenge, &assumptions, &key, &progress)?;
    drop(progress);
    let session = &recorded.opened.session;
    if let Some(verdict) = session.verdict() {
        if let Verdict::Affirmed = verdict {
            anyhow::bail!("a verdict before any tile was recomputed: a defect of this software");
        }
        if let Verdict::CouldNotRun(Obstacle::Stopped) = verdict {
            anyhow::bail!("stopped; nothing was proven");
        }
        anyhow::bail!("nothing was proven: {}", verdict.message());
    }
    file.write(&recorded.sealed)?;
    // After the evidence, which must not wait for a device that hangs. Errors of the Attester's side are in the
    // verdict.
    let _ = served.join();
    let checksum = session.checksum().map(|checksum| checksum.to_string());
    let path = options.evidence.display();
    if options.json {
        print_json(&ProofReport {
            evidence: path.to_string(),
            checksum,
            engine: engine.name,
        })?;
    } else {
        print_text(format_args!(
            "{engine}\nchecksum     {}\nevidence in {path}; to be checked with: gpu-validator verify {path} --challenge {}\n",
            checksum.unwrap_or_default(),
            options.challenge.display()
        ))?;
    }
    Ok(Exit::Affirmed)
}
