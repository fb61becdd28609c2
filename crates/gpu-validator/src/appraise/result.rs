//! `gpu-validator result`: Attestation Results, signed for Relying Parties and checked by them.

mod issue;
mod keys;
mod text;
pub(crate) mod verify;

use clap::Subcommand;
use cli::Exit;

/// What can be done with Attestation Results.
#[derive(Subcommand)]
#[command(after_help = "Examples:\n  \
    gpu-validator result keys keys/ --new > jwks.json\n  \
    gpu-validator result issue e.cbor --keys keys/ --audience market.example -o r.jwt\n  \
    gpu-validator result verify r.jwt --jwks jwks.json --audience market.example\n  \
    gpu-validator result verify r.jwt --jwks jwks.json --evidence e.cbor")]
pub(crate) enum ResultCommand {
    /// Sign the appraisal of evidence: an EAR as JWT or CWT
    Issue(issue::Options),
    /// Check a signed result, and whether it follows from its evidence
    Verify(verify::Options),
    /// Print the public keys of a folder of signing keys as a JWK Set
    Keys(keys::Options),
}

pub(crate) fn run(command: &ResultCommand) -> anyhow::Result<Exit> {
    match command {
        ResultCommand::Issue(options) => issue::run(options),
        ResultCommand::Verify(options) => verify::run(options),
        ResultCommand::Keys(options) => keys::run(options),
    }
}
