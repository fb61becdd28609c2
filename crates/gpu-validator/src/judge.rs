//! The judge of evidence: the trusted Verifiers, the policy, the classes. The same rule holds for every command (spec §10.2).

use std::path::PathBuf;

use appraisal::policy::Policy;
use appraisal::profiles::Profiles;
use clap::Args;
use cli::input_path;
use evidence_check::OwnKeyError;
use protocol::bytes::{Identity, unhex};
use protocol::evidence::Evidence;
use verifier::outcome::Judge;

/// Whose evidence counts.
#[derive(Args)]
pub(crate) struct VouchOptions {
    /// Verifier whose evidence counts, in addition to those of the policy (public key, hex; may be repeated) [default:
    /// this host's own, if neither names one]
    #[arg(long, value_name = "KEY", value_parser = parse_identity)]
    verifier: Vec<Identity>,
}

pub(crate) fn parse_identity(text: &str) -> Result<Identity, String> {
    let key = unhex(text).and_then(|bytes| bytes.try_into().ok());
    key.map(Identity)
        .ok_or_else(|| "no public key; expected 64 hexadecimal digits".to_owned())
}

impl VouchOptions {
    /// The judge of this evidence under `policy`.
    pub(crate) fn judge(&self, policy: &Policy, evidence: &Evidence) -> Result<Judge, OwnKeyError> {
        evidence_check::judge(policy, &self.verifier, evidence)
    }

    /// The Verifiers that were named.
    pub(crate) fn named(&self) -> &[Identity] {
        &self.verifier
    }
}

/// Profiles beside the built-in ones.
#[derive(Args)]
pub(crate) struct ProfileOptions {
    /// Folder of class profiles, which add to the built-in ones or replace them
    #[arg(long, value_name = "FOLDER")]
    profiles: Option<PathBuf>,
}

impl ProfileOptions {
    pub(crate) fn read(&self) -> anyhow::Result<Profiles> {
        let embedded = Profiles::embedded();
        Ok(match &self.profiles {
            Some(folder) => embedded.overridden_by(folder)?,
            None => embedded,
        })
    }

    pub(crate) fn is_any(&self) -> bool {
        self.profiles.is_some()
    }
}

/// The policy that evidence is judged by.
#[derive(Args)]
pub(crate) struct PolicyOptions {
    /// The policy: a TOML file, or a class such as h200 for the output of `policy default --class h200`. `attest` and
    /// `verify` use its assumptions and its Verifiers [default: the worst hardware on sale is assumed; in reports and
    /// results the stated class must fit]
    #[arg(long, value_name = "FILE|CLASS", value_parser = input_path())]
    policy: Option<PathBuf>,

    #[command(flatten)]
    profiles: ProfileOptions,
}

impl PolicyOptions {
    /// Whether any was given.
    pub(crate) fn is_any(&self) -> bool {
        self.policy.is_some() || self.profiles.is_any()
    }

    pub(crate) fn read(&self) -> anyhow::Result<(Policy, Profiles)> {
        let profiles = self.profiles.read()?;
        let Some(path) = &self.policy else {
            return Ok((Policy::default(), profiles));
        };
        let policy = Policy::of_file_or_class(path, &profiles)?;
        Ok((policy, profiles))
    }
}
