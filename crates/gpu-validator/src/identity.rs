//! `gpu-validator identity`: the Verifier's key in evidence and challenges of this host.

use std::path::PathBuf;

use clap::Args;
use cli::{Exit, print_identity, verifier_key};

/// Options of `gpu-validator identity`.
#[derive(Args)]
#[command(
    after_help = "Those who check this Verifier's evidence need this key: `gpu-validator verify --verifier KEY`.\n\n\
        Examples:\n  gpu-validator identity\n  gpu-validator identity --json"
)]
pub(crate) struct Options {
    /// The Verifier's Ed25519 key (PKCS #8 PEM); created on first use [default: $XDG_CONFIG_HOME/gpu-attestor/verifier.pem]
    #[arg(long, value_name = "FILE")]
    verifier_key: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    print_identity(&verifier_key(options.verifier_key.as_deref())?, options.json)?;
    Ok(Exit::Affirmed)
}
