//! Shell completions and man pages, generated from the command definitions.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Command, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::output::print_text;
use crate::output_file::OutputFile;

/// What can be generated.
#[derive(Subcommand)]
pub enum Generate {
    /// Completions for a shell, on standard output
    #[command(after_help = "Examples:\n  \
        gpu-attestor generate completions bash > /etc/bash_completion.d/gpu-attestor\n  \
        gpu-validator generate completions fish > ~/.config/fish/completions/gpu-validator.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Man pages of the command and its subcommands, into a folder
    #[command(after_help = "Examples:\n  \
        gpu-attestor generate man ~/.local/share/man/man1\n  \
        gpu-validator generate man ~/.local/share/man/man1")]
    Man {
        /// The folder; created if it is missing
        folder: PathBuf,
    },
}

/// Generates the requested output for `command`.
///
/// # Errors
///
/// If the folder cannot be written.
pub fn generate(what: &Generate, mut command: Command) -> anyhow::Result<()> {
    match what {
        Generate::Completions { shell } => {
            let name = command.get_name().to_owned();
            // Into memory first: clap_complete panics on write errors.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, name, &mut script);
            let script = String::from_utf8(script).context("a completion script is text")?;
            print_text(if *shell == Shell::Bash {
                one_label_per_command(&script, command.get_name())
            } else {
                script
            })
        }
        Generate::Man { folder } => man(command, folder),
    }
}

/// The script for Bash names commands by labels that clap_complete 4.6 writes in two ways if the name has a hyphen:
/// `gpu__validator__subcmd__attest` where the label is set, `gpu__subcmd__validator__subcmd__attest` where it is used. So
/// nothing below the top level would be completed.
fn one_label_per_command(script: &str, name: &str) -> String {
    let (used, set) = (name.replace('-', "__subcmd__"), name.replace('-', "__"));
    script.replace(&used, &set)
}

/// Writes each page completely or not at all.
fn man(command: Command, folder: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot write man pages into {}", folder.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    let mut command = command.disable_help_subcommand(true);
    command.build();
    pages(command)
        .into_iter()
        .try_for_each(|page| {
            let mut text = Vec::new();
            page.render(&mut text)?;
            OutputFile::create(&folder.join(page.get_filename()), "man page")?.write(&text)
        })
        .with_context(context)
}

/// One page for the command and for each visible subcommand.
fn pages(command: Command) -> Vec<Man> {
    let below = command.get_subcommands().filter(|command| !command.is_hide_set());
    let mut pages: Vec<Man> = below.cloned().flat_map(pages).collect();
    pages.push(Man::new(command));
    pages
}
