//! `gpu-attestor agent`: the Attester's side for a remote Verifier.

use std::io::{self, IsTerminal};

use attester::{Attester, LimitPassed, ServeError, refuse, serve};
use clap::Args;
use cli::Exit;
use engines::Unavailable;
use keystore::SigningKey;
use protocol::message::AbortCode;

use crate::attestation::AttestationOptions;
use crate::devices::{DeviceOptions, OrdinalOptions};
use crate::key::KeyOptions;
use crate::limits::LimitOptions;
use crate::software::software;

/// Options of `gpu-attestor agent`.
#[derive(Args)]
#[command(
    after_help = "Standard output carries the protocol; messages for people go to standard error.\n\n\
        Examples:\n  \
        gpu-validator attest -- ssh host gpu-attestor agent --stdio\n  \
        gpu-validator attest -- gpu-attestor agent --stdio --engine cpu --cpu-devices 3"
)]
pub(crate) struct Options {
    /// Serve one session on standard input and output
    #[arg(long, required = true)]
    stdio: bool,

    #[command(flatten)]
    key: KeyOptions,

    #[command(flatten)]
    ordinals: OrdinalOptions,

    #[command(flatten)]
    devices: DeviceOptions,

    #[command(flatten)]
    attestation: AttestationOptions,

    #[command(flatten)]
    limits: LimitOptions,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    // Check both: under `srun -u` standard output is a terminal that passes every byte on, and standard input is the
    // Verifier's.
    anyhow::ensure!(
        !(io::stdin().is_terminal() && io::stdout().is_terminal()),
        "standard input and output are a terminal, which changes bytes; expected a Verifier: gpu-validator attest -- ssh -T HOST \
         gpu-attestor agent --stdio"
    );
    match options.key.read().and_then(|key| attester(options, key)) {
        Ok(attester) => serve_stdio("agent", attester),
        Err(error) => {
            let unavailable = error.downcast_ref::<Unavailable>();
            let code = unavailable.map_or(AbortCode::Internal, Unavailable::abort_code);
            refuse(io::stdout(), code, &format_args!("{error:#}"));
            Err(error)
        }
    }
}

/// A number of devices in words.
pub(crate) fn counted(devices: usize) -> String {
    match devices {
        1 => "1 device".to_owned(),
        count => format!("{count} devices"),
    }
}

/// Who attests, its devices opened.
fn attester(options: &Options, key: SigningKey) -> anyhow::Result<Attester> {
    let (devices, engine) = options.devices.discover(&options.ordinals)?;
    cli::tell(format_args!("gpu-attestor agent: {}, {engine}", counted(devices.len())));
    Ok(Attester {
        software: software(),
        labels: Vec::new(),
        devices,
        key,
        attestation: options.attestation.command(),
        limits: options.limits.limits(),
    })
}

/// Serves one session on standard input and output as the subcommand `name`.
pub(crate) fn serve_stdio(name: &str, attester: Attester) -> anyhow::Result<Exit> {
    match serve(attester, io::stdin(), io::stdout()) {
        Ok(result) => {
            let reason = if result.reason.is_empty() {
                String::new()
            } else {
                format!(" ({}): {}", result.reason, result.message)
            };
            let verdict = ["affirmed", "contraindicated", "could not run"][result.status as usize % 3];
            cli::tell(format_args!(
                "gpu-attestor {name}: the Verifier says: {verdict}{reason}"
            ));
            Ok(match result.status {
                0 => Exit::Affirmed,
                1 => Exit::Contraindicated,
                _ => Exit::NoVerdict,
            })
        }
        Err(error @ (ServeError::Engine { .. } | ServeError::HostMemory(_))) => {
            Err(anyhow::Error::new(error).context("could not run"))
        }
        Err(ServeError::Limit(limit)) => {
            let option = match limit {
                LimitPassed::Idle { .. } => "--max-idle",
                LimitPassed::Session { .. } => "--max-session",
                LimitPassed::Work { .. } => "--max-work",
            };
            Err(anyhow::Error::new(limit).context(format!("the session was given up; {option} sets the limit")))
        }
        Err(error) => Err(error.into()),
    }
}
