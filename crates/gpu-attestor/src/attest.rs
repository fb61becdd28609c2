//! `gpu-attestor attest`: a whole session with a Verifier in this process.

use std::io;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use attester::{Attester, Limits, serve};
use clap::Args;
use cli::{Exit, Interrupt, Interruptible, OutputFile, RecomputeOptions, SessionOptions, print_json_text, print_text};
use report::Report;
use verifier::outcome::Outcome;

use crate::attestation::AttestationOptions;
use crate::devices::{DeviceOptions, OrdinalOptions};
use crate::key::KeyOptions;
use crate::software::software;

/// There is no connection between the two sides here.
const HELLO_DEADLINE: Duration = Duration::from_secs(60);

/// Options of `gpu-attestor attest`.
#[derive(Args)]
#[command(
    after_help = "The Verifier runs in this process: the figures are real, but they convince only those who trust this \
        host. For others, run `gpu-validator attest` on a machine of theirs. Ctrl-C stops the session; its evidence \
        says so.\n\n\
        Examples:\n  \
        gpu-attestor attest\n  \
        gpu-attestor attest --preset standard --evidence e.cbor\n  \
        gpu-attestor attest --cpu-devices 3 --json"
)]
pub(crate) struct Options {
    #[command(flatten)]
    session: SessionOptions,

    #[command(flatten)]
    key: KeyOptions,

    #[command(flatten)]
    ordinals: OrdinalOptions,

    #[command(flatten)]
    devices: DeviceOptions,

    #[command(flatten)]
    attestation: AttestationOptions,

    #[command(flatten)]
    recompute: RecomputeOptions,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let key = options.key.read()?;
    let (devices, engine) = options.devices.discover(&options.ordinals)?;
    let session = &options.session;
    if !session.json && !session.detail.quiet {
        cli::tell(&engine);
    }
    let settings = session.settings(
        options.ordinals.ordinals(),
        HELLO_DEADLINE,
        options.recompute.recompute(),
    )?;
    let file = session.evidence.as_deref().map(OutputFile::evidence).transpose()?;
    let attester = Attester {
        software: software(),
        labels: Vec::new(),
        devices,
        key,
        attestation: options.attestation.command(),
        // The Verifier is this process.
        limits: Limits::NONE,
    };
    let progress = Interruptible::new(session.json || session.detail.quiet, Interrupt::listen()?);

    let (from_verifier, to_attester) = io::pipe().context("no pipe")?;
    let (from_attester, to_verifier) = io::pipe().context("no pipe")?;
    let served = thread::Builder::new().spawn(move || serve(attester, from_verifier, to_verifier));
    let served = served.map_err(|error| transport::no_thread(&error))?;
    let attestation = verifier::attest(from_attester, to_attester, &settings, &progress)?;
    drop(progress);
    if let Some(file) = file {
        file.write(&attestation.sealed)?;
    }
    if let Some(partial) = attestation.partial() {
        let exit = cli::print_stopped(&partial, session.json, session.evidence.as_deref());
        let _ = served.join();
        return exit;
    }
    let judge = attestation.judge();
    let outcome = Outcome::new(&attestation.evidence, &attestation.session, &judge, None);
    let report = Report::of(
        &attestation.evidence,
        &attestation.session,
        &attestation.sealed,
        &judge,
        &outcome,
    );
    if session.json {
        print_json_text(&report.to_json())?;
    } else {
        cli::print_report(&report, session.detail)?;
        if let Some(path) = session.evidence.as_ref().filter(|_| !session.detail.quiet) {
            print_text(format_args!(
                "\nevidence in {}; check it again with: gpu-validator verify {}\n",
                path.display(),
                path.display()
            ))?;
        }
    }
    // After the evidence, which must not wait for a device that hangs. Errors of the Attester's side are in the
    // verdict.
    let _ = served.join();
    let exit = Exit::from(&outcome);
    if exit == Exit::NoVerdict {
        cli::tell(format_args!("{}: {}", outcome.name(), outcome.message()));
    }
    Ok(exit)
}
