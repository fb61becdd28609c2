//! The option to include the hardware manufacturer's own attestation in a session.

use std::ffi::OsString;

use attester::AttestationCommand;
use clap::Args;

/// What attests the hardware beside the session.
#[derive(Args)]
pub(crate) struct AttestationOptions {
    /// Command that prints a token of NVIDIA's own attestation: run by `sh -c` during the work; its output (at most 64
    /// KiB) becomes part of the evidence. The nonce is in its environment as GPU_ATTESTOR_NONCE, 64 hexadecimal digits
    #[arg(long, value_name = "COMMAND")]
    nvidia_attestation: Option<OsString>,
}

impl AttestationOptions {
    pub(crate) fn command(&self) -> Option<AttestationCommand> {
        self.nvidia_attestation.clone().map(AttestationCommand)
    }
}
