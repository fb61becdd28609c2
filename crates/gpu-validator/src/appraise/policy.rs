//! `gpu-validator policy`: policies checked, and one to begin from.

use std::path::PathBuf;

use appraisal::policy::Policy;
use clap::Subcommand;
use cli::{Exit, print_json, print_text};
use serde_json::json;

use super::{ProfileOptions, read_text};

/// What can be done with policies.
#[derive(Subcommand)]
#[command(
    after_help = "Exit codes: 0 sound, 2 not: the error names file, line, column and key.\n\n\
    Examples:\n  \
    gpu-validator policy default > policy.toml\n  \
    gpu-validator policy check policy.toml"
)]
pub(crate) enum PolicyCommand {
    /// Check a policy; errors name line and key
    Check {
        /// The policy
        file: PathBuf,

        #[command(flatten)]
        profiles: ProfileOptions,

        /// Print what is found as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the default policy, to begin one from
    Default,
}

pub(crate) fn run(command: &PolicyCommand) -> anyhow::Result<Exit> {
    match command {
        PolicyCommand::Check { file, profiles, json } => {
            let (profiles, text) = (profiles.read()?, read_text(file)?);
            match (Policy::parse(&file.display().to_string(), &text, &profiles), json) {
                (Ok(policy), false) => print_text(format_args!("{} is sound\n", policy.id()))?,
                (Ok(policy), true) => print_json(&json!({ "name": policy.name, "policy_id": policy.id() }))?,
                (Err(error), false) => return Err(error.into()),
                (Err(error), true) => {
                    let (line, column) = error.position.unzip();
                    print_json(&json!({ "error": {
                        "file": error.file, "line": line, "column": column, "key": error.key, "problem": error.problem,
                    } }))?;
                    return Ok(Exit::NoVerdict);
                }
            }
        }
        PolicyCommand::Default => print_text(Policy::default().to_toml())?,
    }
    Ok(Exit::Affirmed)
}
