//! `gpu-validator result issue`: the appraisal of evidence, signed.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use attestation_result::Issuance;
use attestation_result::key_ring::KeyRing;
use clap::{ArgGroup, Args, ValueEnum};
use cli::Exit;

use super::keys::OneKey;
use crate::appraise::JudgeOptions;

/// Options of `gpu-validator result issue`.
#[derive(Args)]
#[command(
    group(ArgGroup::new("signing").args(["keys", "key", "key_env"]).required(true)),
    after_help = "Exit codes: 0 affirming or warning, 1 contraindicated, with --strict a warning too, 2 none, or usage, input or output. A result is \
    signed whatever the verdict, unless the evidence is refused.\n\n\
    Examples:\n  \
    gpu-validator result issue e.cbor --keys keys/ --audience market.example -o result.jwt\n  \
    gpu-validator result issue e.cbor --key-env SIGNING_KEY --format cwt -o result.cwt"
)]
pub(crate) struct Options {
    #[command(flatten)]
    judge: JudgeOptions,

    /// Folder of signing keys, created by `result keys --new`
    #[arg(long, value_name = "FOLDER")]
    keys: Option<PathBuf>,

    #[command(flatten)]
    one: OneKey,

    /// jwt (text) or cwt (bytes)
    #[arg(long, value_name = "FORMAT", default_value = "jwt")]
    format: Format,

    /// The audience of the result
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,

    /// The issuer
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,

    /// How long it is valid
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "24h")]
    valid: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Jwt,
    Cwt,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let keys = match (&options.keys, options.one.read()?) {
        (Some(folder), _) => KeyRing::load(folder)?,
        (None, Some(ring)) => ring,
        (None, None) => anyhow::bail!("neither --keys nor --key nor --key-env"),
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
        let result = appraisal.to_result(&issuance);
        match options.format {
            Format::Jwt => Ok((result.to_jwt(keys.signing()) + "\n").into_bytes()),
            Format::Cwt => result.to_cwt(keys.signing()).context("no CWT could be made"),
        }
    })
}
