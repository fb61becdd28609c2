//! `gpu-validator policy`: checks policies, and prints policies to begin from.

use std::fmt::{self, Write};
use std::path::PathBuf;

use anyhow::ensure;
use appraisal::expected::{SAMPLES, is_showable};
use appraisal::policy::Policy;
use appraisal::profile::{Kind, Profile};
use clap::Subcommand;
use cli::{Exit, input_path, print_json, print_text};
use report::figure::Figure;
use serde::Serialize;
use verifier::hardware::ON_SALE;
use verifier::preset::{DEFAULT_ERROR_BITS, default_assumptions};

use crate::classes;
use crate::input::read_text;
use crate::judge::ProfileOptions;

/// A policy that is valid.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct SoundPolicy {
    /// Its name.
    name: String,
    /// Its identifier, with its digest.
    policy_id: String,
}

/// What can be done with policies.
#[derive(Subcommand)]
#[command(
    after_help = "Exit codes: 0 sound, 2 not: the error names file, line, column and key.\n\n\
    Examples:\n  \
    gpu-validator policy default > policy.toml\n  \
    gpu-validator policy default --class a100-80 > policy.toml\n  \
    gpu-validator policy check policy.toml"
)]
pub(crate) enum PolicyCommand {
    /// Check a policy; errors name line and key
    #[command(after_help = "Examples:\n  \
        gpu-validator policy check policy.toml\n  \
        gpu-validator policy check policy.toml --profiles profiles --json")]
    Check {
        /// The policy
        #[arg(value_parser = input_path())]
        file: PathBuf,

        #[command(flatten)]
        profiles: ProfileOptions,

        /// Print what is found as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the default policy, or that of a class, as a start for your own
    #[command(after_help = "Examples:\n  \
        gpu-validator policy default > policy.toml\n  \
        gpu-validator policy default --class a100-80 > policy.toml")]
    Default {
        /// Require this class, and assume its own links
        #[arg(long, value_name = "NAME")]
        class: Option<String>,

        #[command(flatten)]
        profiles: ProfileOptions,
    },
}

pub(crate) fn run(command: &PolicyCommand) -> anyhow::Result<Exit> {
    match command {
        PolicyCommand::Check { file, profiles, json } => {
            let (profiles, text) = (profiles.read()?, read_text(file)?);
            let policy = Policy::parse(&file.display().to_string(), &text, &profiles)?;
            if *json {
                print_json(&SoundPolicy {
                    policy_id: policy.id(),
                    name: policy.name,
                })?;
            } else {
                print_text(format_args!("{} is sound\n", policy.id()))?;
            }
        }
        PolicyCommand::Default { class: None, .. } => print_text(Policy::default().to_toml())?,
        PolicyCommand::Default {
            class: Some(class),
            profiles,
        } => {
            let profiles = profiles.read()?;
            let profile = classes::find(&profiles, class)?;
            ensure!(
                profile.kind == Kind::Gpu,
                "class {} has no figures to compare with: write a policy with minimum figures instead",
                profile.name
            );
            print_text(ClassPolicy(profile))?;
        }
    }
    Ok(Exit::Affirmed)
}

/// A policy for a class, with comments that state its assumptions.
struct ClassPolicy<'a>(&'a Profile);

impl fmt::Display for ClassPolicy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = self.0;
        let policy = Policy::for_class(profile);
        let assumptions = policy.assumptions.applied_to(&default_assumptions(DEFAULT_ERROR_BITS));
        let mut taken = format!(
            "# The links of {}. Taken for granted is that nothing in the host has faster ones.\n\
             # A host with faster slots, or one that nobody looked at, can break this: the bounds then promise too much.\n\
             # The same holds for gpu_memory_bytes, the memory of one GPU: only bounds of links between GPUs depend on it.\n\
             # All else is the fastest hardware on sale: {}, {}.\n",
            profile.title, ON_SALE.name, ON_SALE.date
        );
        let unshown: Vec<&str> = Figure::ALL
            .into_iter()
            .filter(|figure| !is_showable(profile, *figure, &policy.shares, &assumptions, SAMPLES))
            .map(Figure::name)
            .collect();
        let _ = match unshown.is_empty() {
            true => writeln!(taken, "# An honest device can be affirmed under it."),
            false => writeln!(
                taken,
                "# Even so no such device can be certified for enough {}: an honest one is not-tested.\n\
                 # Only slower links, where the host is known to have no faster ones, change that.",
                unshown.join(" and ")
            ),
        };
        writeln!(
            f,
            "# Begun for class {}, whose limits rest on {}.",
            profile.name,
            profile.basis()
        )?;
        let text = policy.to_toml();
        f.write_str(&text.replace("[assumptions]\n", &format!("[assumptions]\n{taken}")))
    }
}
