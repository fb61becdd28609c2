//! Options that say whose evidence is wanted.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context;
use clap::Args;
use cli::{input_path, parse_time};
use evidence_check::{Admitted, Wanted};
use protocol::bytes::Identity;
use verifier::challenge_file;

use crate::judge::parse_identity;

/// Options that say whose evidence is wanted.
#[derive(Args)]
pub(crate) struct WantedOptions {
    /// Accept only evidence of this Attester (its public key, hex)
    #[arg(long, value_name = "KEY", value_parser = parse_identity)]
    attester: Option<Identity>,

    /// Accept only offline evidence for this challenge
    #[arg(long, value_name = "FILE", value_parser = input_path())]
    challenge: Option<PathBuf>,

    /// When offline evidence was received (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    received: Option<SystemTime>,
}

impl WantedOptions {
    /// Reads the files that the options name. Evidence counts as received now, however long its recomputation takes.
    pub(crate) fn wanted(&self) -> anyhow::Result<Wanted> {
        let received = self.received.unwrap_or_else(SystemTime::now);
        let challenge = match &self.challenge {
            Some(path) => Some(challenge_file::read(path).with_context(|| format!("challenge {}", path.display()))?),
            None => None,
        };
        Ok(Wanted {
            attester: self.attester,
            challenge,
            received,
        })
    }

    /// Refuses an option that has no effect on this evidence.
    pub(crate) fn ensure_used(&self, admitted: &Admitted) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.received.is_none() || admitted.opened.evidence.challenge.is_some(),
            "--received: no effect on evidence of an online session, which has times of its own"
        );
        Ok(())
    }
}
