//! The Verifier's command.

mod appraise;
mod attest;
mod bench;
mod challenge;
mod classes;
mod engines;
mod evidence;
mod failure;
mod full;
mod identity;
mod input;
mod inspect;
mod joint;
mod judge;
mod named;
mod plan;
mod refusal;
#[cfg(test)]
mod schemas;
mod telling;
mod verify;
mod wanted;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use cli::{Exit, Generate};

/// Establishes, without a GPU, what an untrusted host's GPUs hold and do.
#[derive(Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 affirmed or done, 1 contraindicated (a check failed), 2 no verdict (could not run, stopped, \
        damaged or too costly evidence, usage, input or output), 130 a second Ctrl-C.\n\n\
        Examples:\n  \
        gpu-validator attest --evidence e.cbor ssh://host\n  \
        gpu-validator verify e.cbor\n  \
        gpu-validator inspect e.cbor --json"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Attest a host that ssh reaches, or the Attester on a command's standard input and output
    Attest(attest::Options),
    /// Check evidence again: recomputes everything except the Verifier's clock and randomness
    Verify(verify::Options),
    /// Show the transcript in evidence
    Inspect(inspect::Options),
    /// Judge evidence by a policy: verdict, classes and findings, as a page or for programs
    Report(appraise::report::ReportOptions),
    /// Check policies
    #[command(subcommand)]
    Policy(appraise::policy::PolicyCommand),
    /// Sign and check Attestation Results
    #[command(subcommand)]
    Result(appraise::result::ResultCommand),
    /// List the known classes of devices, and what a session can show of each
    Classes(classes::Options),
    /// Show profiles of classes
    #[command(subcommand, after_help = "Examples:\n  gpu-validator profile show h200")]
    Profile(classes::ProfileCommand),
    /// Create or update a class's profile from trusted sessions
    Calibrate(appraise::calibrate::CalibrateOptions),
    /// Create a challenge for the offline form
    Challenge(challenge::Options),
    /// Propose samples, k and sweeps for a wanted bound or a time budget
    Plan(plan::PlanOptions),
    /// Measure the cost of recomputing on this host
    Bench(bench::BenchOptions),
    /// Show this Verifier's identity: its public key
    Identity(identity::Options),
    /// Generate shell completions or man pages
    #[command(
        subcommand,
        after_help = "Examples:\n  gpu-validator generate completions bash\n  gpu-validator generate man man1"
    )]
    Generate(Generate),
}

fn main() -> ExitCode {
    let cli = cli::parse::<Cli>();
    if let Err(error) = cli::start_log() {
        return cli::finish(Err(error), failure::of);
    }
    let ended = match &cli.command {
        Command::Attest(options) => attest::run(options),
        Command::Verify(options) => verify::run(options),
        Command::Inspect(options) => inspect::run(options),
        Command::Report(options) => appraise::report::run(options),
        Command::Policy(command) => appraise::policy::run(command),
        Command::Result(command) => appraise::result::run(command),
        Command::Classes(options) => classes::run(options),
        Command::Profile(command) => classes::profile(command),
        Command::Calibrate(options) => appraise::calibrate::run(options),
        Command::Challenge(options) => challenge::run(options),
        Command::Plan(options) => plan::run(options),
        Command::Bench(options) => bench::run(options),
        Command::Identity(options) => identity::run(options),
        Command::Generate(what) => cli::generate(what, Cli::command()).map(|()| Exit::Affirmed),
    };
    cli::finish(ended, failure::of)
}
