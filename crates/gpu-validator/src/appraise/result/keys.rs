//! `gpu-validator result keys`: signing keys made, rotated, and their public halves printed.

use std::path::PathBuf;

use appraisal::key::Algorithm;
use appraisal::key_ring::KeyRing;
use clap::{Args, ValueEnum};
use cli::{Exit, print_text};

/// Options of `gpu-validator result keys`.
#[derive(Args)]
pub(crate) struct Options {
    /// The folder
    folder: PathBuf,

    /// Make a new key that signs from here on; the public halves of older ones stay in the set
    #[arg(long)]
    new: bool,

    /// Algorithm of a new key
    #[arg(long, value_name = "ALG", default_value = "eddsa", requires = "new")]
    algorithm: AlgorithmChoice,
}

#[derive(Clone, Copy, ValueEnum)]
enum AlgorithmChoice {
    /// Ed25519
    Eddsa,
    /// ECDSA on P-256
    Es256,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let (folder, algorithm) = (
        &options.folder,
        match options.algorithm {
            AlgorithmChoice::Eddsa => Algorithm::EdDsa,
            AlgorithmChoice::Es256 => Algorithm::Es256,
        },
    );
    let keys = match (options.new, KeyRing::is_in(folder)) {
        (false, _) => KeyRing::load(folder)?,
        (true, true) => KeyRing::rotate(folder, algorithm)?,
        (true, false) => KeyRing::create(folder, algorithm)?,
    };
    print_text(format_args!("{}\n", keys.jwks().to_json()))?;
    Ok(Exit::Affirmed)
}
