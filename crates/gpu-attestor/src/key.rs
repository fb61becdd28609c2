//! The Attester's key, an option of the commands that use it.

use std::path::PathBuf;

use clap::Args;
use cli::attester_key;
use keystore::SigningKey;

/// The option that names the key.
#[derive(Args)]
pub(crate) struct KeyOptions {
    /// The Attester's Ed25519 key (PKCS #8 PEM); created on first use [default: $XDG_CONFIG_HOME/gpu-attestor/attester.pem]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl KeyOptions {
    /// The key, which is created if there is none.
    ///
    /// # Errors
    ///
    /// If there is no usable key.
    pub(crate) fn read(&self) -> anyhow::Result<SigningKey> {
        attester_key(self.key.as_deref())
    }
}
