//! `gpu-validator result keys`: makes, rotates and drops signing keys, and prints their public halves.

use std::path::PathBuf;

use anyhow::bail;
use attestation_result::key::Algorithm;
use attestation_result::key_ring::{KeyRing, KeyRingError};
use clap::{ArgGroup, Args, ValueEnum};
use cli::{Exit, print_json_text};

/// Options of `gpu-validator result keys`.
#[derive(Args)]
#[command(
    group(ArgGroup::new("source").args(["folder", "key", "key_env"]).required(true)),
    after_help = "Exit codes: 0 done, 2 usage, input or output.\n\n\
    Examples:\n  \
    gpu-validator result keys keys/ --new > jwks.json\n  \
    gpu-validator result keys keys/ --drop KID > jwks.json\n  \
    gpu-validator result keys --key-env SIGNING_KEY > jwks.json"
)]
pub(crate) struct Options {
    /// The folder
    folder: Option<PathBuf>,

    #[command(flatten)]
    one: OneKey,

    /// Create a new key that signs from now on; the public keys of older ones stay in the set
    #[arg(long, conflicts_with_all = ["drop", "key", "key_env"])]
    new: bool,

    /// Algorithm of a new key
    #[arg(long, value_name = "ALG", default_value = "eddsa", requires = "new")]
    algorithm: AlgorithmChoice,

    /// Remove this retired key: what it signed is no longer accepted with the new set
    // A thumbprint in base64url begins with a hyphen once in 64 times.
    #[arg(long, value_name = "KID", allow_hyphen_values = true, conflicts_with_all = ["key", "key_env"])]
    drop: Option<String>,
}

/// One signing key that lies in no folder of keys.
#[derive(Args)]
pub(super) struct OneKey {
    /// File with the signing key, PKCS #8 PEM, readable only by its owner
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Environment variable with the signing key, PKCS #8 PEM
    #[arg(long, value_name = "VARIABLE")]
    key_env: Option<String>,
}

impl OneKey {
    /// The key that the options name, if any.
    pub(super) fn read(&self) -> Result<Option<KeyRing>, KeyRingError> {
        match (&self.key, &self.key_env) {
            (Some(file), _) => KeyRing::from_file(file).map(Some),
            (None, Some(variable)) => KeyRing::from_env(variable).map(Some),
            (None, None) => Ok(None),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum AlgorithmChoice {
    /// Ed25519
    Eddsa,
    /// ECDSA on P-256
    Es256,
    /// ECDSA on P-384, with a certificate of its own in the set (x5c): what NVIDIA's nvat_verify_ear reads
    Es384,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let algorithm = match options.algorithm {
        AlgorithmChoice::Eddsa => Algorithm::EdDsa,
        AlgorithmChoice::Es256 => Algorithm::Es256,
        AlgorithmChoice::Es384 => Algorithm::Es384,
    };
    let keys = match (&options.folder, options.one.read()?) {
        (Some(folder), _) => match (&options.drop, options.new, KeyRing::is_in(folder)) {
            (Some(kid), ..) => KeyRing::drop_retired(folder, kid)?,
            (None, false, _) => KeyRing::load(folder)?,
            (None, true, true) => KeyRing::rotate(folder, algorithm)?,
            (None, true, false) => KeyRing::create(folder, algorithm)?,
        },
        (None, Some(ring)) => ring,
        (None, None) => bail!("neither a folder nor --key nor --key-env"),
    };
    print_json_text(&keys.jwks().to_json())?;
    Ok(Exit::Affirmed)
}
