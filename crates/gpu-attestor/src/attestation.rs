//! The option to include the hardware manufacturer's own attestation in a session.

use std::ffi::OsString;

use attester::AttestationCommand;
use clap::Args;

/// What attests the hardware beside the session.
#[derive(Args)]
pub(crate) struct AttestationOptions {
    /// Run this with `sh -c` once the nonce is known, beside the work, and carry what it prints (64 KiB at most) in the
    /// evidence: a token of NVIDIA's own attestation. It finds the nonce in GPU_ATTESTOR_NONCE, 64 hexadecimal digits
    #[arg(long, value_name = "COMMAND")]
    nvidia_attestation: Option<OsString>,
}

impl AttestationOptions {
    pub(crate) fn command(&self) -> Option<AttestationCommand> {
        self.nvidia_attestation.clone().map(AttestationCommand)
    }
}
