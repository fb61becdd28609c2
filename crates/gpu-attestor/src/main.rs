//! The Attester's command.

#[cfg(feature = "adversary")]
mod adversary;
mod agent;
mod attest;
mod attestation;
mod bench;
mod devices;
mod key;
mod limits;
mod prove;
#[cfg(test)]
mod schemas;
mod software;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use cli::{Exit, Failure, Generate, print_identity};

use crate::key::KeyOptions;

/// Proves to a Verifier what this host's GPUs hold and do; runs the whole attestation on the CPU where there is no GPU.
#[derive(Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 affirmed or done, 1 contraindicated (a check failed), 2 no verdict (could not run, stopped, usage, \
        input or output), 130 a second Ctrl-C.\n\n\
        Examples:\n  \
        gpu-attestor devices\n  \
        gpu-attestor bench\n  \
        gpu-attestor attest --preset smoke --evidence e.cbor\n  \
        gpu-validator attest -- ssh host gpu-attestor agent --stdio"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the devices of this host and their engine
    Devices(devices::Options),
    /// Measure this host's devices against their ceilings
    Bench(bench::Options),
    /// Run a whole session with a Verifier in this process
    Attest(attest::Options),
    /// Serve one session to a Verifier on another machine
    Agent(agent::Options),
    /// Cheat, to try a Verifier with: only in builds with the feature `adversary`
    #[cfg(feature = "adversary")]
    Adversary(adversary::Options),
    /// Answer a challenge without a connection to a Verifier
    Prove(prove::Options),
    /// Show this Attester's identity: its public key
    #[command(after_help = "Examples:\n  gpu-attestor identity\n  gpu-attestor identity --json")]
    Identity {
        #[command(flatten)]
        key: KeyOptions,

        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Generate shell completions or man pages
    #[command(
        subcommand,
        after_help = "Examples:\n  gpu-attestor generate completions bash\n  gpu-attestor generate man man1"
    )]
    Generate(Generate),
}

fn main() -> ExitCode {
    let cli = cli::parse::<Cli>();
    if let Err(error) = cli::start_log() {
        return cli::finish(Err(error), Failure::of);
    }
    let ended = match &cli.command {
        Command::Devices(options) => devices::run(options),
        Command::Bench(options) => bench::run(options),
        Command::Attest(options) => attest::run(options),
        Command::Agent(options) => agent::run(options),
        #[cfg(feature = "adversary")]
        Command::Adversary(options) => adversary::run(options),
        Command::Prove(options) => prove::run(options),
        Command::Identity { key, json } => key.read().and_then(|key| {
            print_identity(&key, *json)?;
            Ok(Exit::Affirmed)
        }),
        Command::Generate(what) => cli::generate(what, Cli::command()).map(|()| Exit::Affirmed),
    };
    cli::finish(ended, Failure::of)
}
