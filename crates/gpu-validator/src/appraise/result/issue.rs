//! `gpu-validator result issue`: what evidence comes to, signed.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use appraisal::key_ring::KeyRing;
use appraisal::result::{AttestationResult, Issuance};
use clap::{Args, ValueEnum};
use cli::Exit;

use crate::appraise::JudgeOptions;

/// Options of `gpu-validator result issue`.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 affirming or warning, 1 contraindicated, 2 none, or usage, input or output. A result is \
    signed whatever the verdict, unless the evidence is refused.\n\n\
    Examples:\n  \
    gpu-validator result issue e.cbor --keys keys/ --audience market.example -o result.jwt\n  \
    gpu-validator result issue e.cbor --key-env SIGNING_KEY --format cwt -o result.cwt"
)]
pub(crate) struct Options {
    #[command(flatten)]
    judge: JudgeOptions,

    #[command(flatten)]
    key: KeyOptions,

    /// jwt (text) or cwt (bytes)
    #[arg(long, value_name = "FORMAT", default_value = "jwt")]
    format: Format,

    /// For whom the result is
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,

    /// Who issues it
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,

    /// How long it counts
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "24h")]
    valid: Duration,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct KeyOptions {
    /// Folder of signing keys, as `result keys` makes them
    #[arg(long, value_name = "FOLDER")]
    keys: Option<PathBuf>,

    /// Environment variable that holds the signing key, PKCS #8 PEM
    #[arg(long, value_name = "VARIABLE")]
    key_env: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jwt,
    Cwt,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let keys = match (&options.key.keys, &options.key.key_env) {
        (Some(folder), _) => KeyRing::load(folder)?,
        (None, Some(variable)) => KeyRing::from_env(variable)?,
        (None, None) => anyhow::bail!("neither --keys nor --key-env"),
    };
    anyhow::ensure!(
        options.valid.as_secs() > 0,
        "--valid is less than 1s: nobody could use it"
    );
    anyhow::ensure!(
        options.format == Format::Jwt || options.judge.output.is_some() || !io::stdout().is_terminal(),
        "a CWT is bytes, not for a terminal: name a file with -o"
    );
    let issuance = Issuance {
        issuer: options.issuer.clone(),
        audience: options.audience.clone(),
        valid_s: options.valid.as_secs(),
        ..Issuance::default()
    };
    options.judge.judge("a result", |appraisal| {
        let result = AttestationResult::new(appraisal, &issuance);
        match options.format {
            Format::Jwt => Ok((result.to_jwt(keys.signing()) + "\n").into_bytes()),
            Format::Cwt => result.to_cwt(keys.signing()).context("no CWT could be made"),
        }
    })
}
