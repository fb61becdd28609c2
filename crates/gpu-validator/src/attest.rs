//! `gpu-validator attest`: a session with the Attester that a command serves.

mod descendants;
mod greeting;
mod host_lines;
mod relay;
mod started;

use std::ffi::OsString;
use std::time::Duration;

use self::greeting::Greeted;
use self::started::Started;
use anyhow::Context;
use clap::Args;
use cli::{
    Exit, Interrupt, Interruptible, OutputFile, RecomputeOptions, SessionOptions, parse_duration, parse_ordinals,
    print_json_text, print_text,
};
use protocol::bytes::DeviceOrdinal;
use report::Report;
use verifier::outcome::Outcome;

use crate::judge::PolicyOptions;

/// Options of `gpu-validator attest`.
#[derive(Args)]
#[command(after_help = "Ctrl-C stops the session; its evidence says so.\n\n\
    Examples:\n  \
    gpu-validator attest -- ssh host gpu-attestor agent --stdio\n  \
    gpu-validator attest --preset standard -- srun -u -w node7 gpu-attestor agent --stdio\n  \
    gpu-validator attest --json -- kubectl exec -i pod -- gpu-attestor agent --stdio")]
pub(crate) struct Options {
    #[command(flatten)]
    session: SessionOptions,

    #[command(flatten)]
    policy: PolicyOptions,

    /// Only these devices, by ordinal, for example 0,2 [default: all offered devices]
    #[arg(long, value_name = "LIST", value_parser = parse_ordinal_list)]
    devices: Option<OrdinalList>,

    /// How long the command may take until HELLO
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    hello_deadline: Duration,

    #[command(flatten)]
    recompute: RecomputeOptions,

    /// The command whose standard input and output lead to the Attester
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Clone, Debug)]
struct OrdinalList(Vec<DeviceOrdinal>);

fn parse_ordinal_list(text: &str) -> Result<OrdinalList, String> {
    parse_ordinals(text).map(OrdinalList)
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let session = &options.session;
    let devices = options.devices.as_ref().map(|list| list.0.clone());
    let (policy, _) = options.policy.read()?;
    let mut settings = session.settings(devices, options.hello_deadline, options.recompute.recompute())?;
    let own = settings.assumptions;
    settings.assumptions = policy.assumptions.applied_to(&own);
    settings.narrowed_by = policy.judge(&[], None, &own).narrowed_by;
    let file = session.evidence.as_deref().map(OutputFile::evidence).transpose()?;
    let interrupt = Interrupt::listen()?;

    let (command, from, to) = Started::start(&options.command)?;
    let progress = Interruptible::new(session.json || session.detail.quiet, interrupt);
    let greeted = Greeted::new(&progress, command.screen());
    let attestation = verifier::attest(from, to, &settings, &greeted);
    let is_terminal = greeted.is_terminal();
    drop(progress);
    // Before any result is printed: from here on only the Verifier writes to the terminal.
    let ended = command.end();
    let attestation = attestation?;

    if let Some(file) = file {
        file.write(&attestation.sealed)?;
    }
    if let Some(partial) = attestation.partial() {
        return cli::print_stopped(&partial, session.json, session.evidence.as_deref());
    }
    let judge = attestation.judge();
    let outcome = Outcome::new(&attestation.evidence, &attestation.session, &judge, None);
    let report = Report::of(
        &attestation.evidence,
        &attestation.session,
        &attestation.sealed,
        &judge,
        &outcome,
    );
    if session.json {
        print_json_text(&report.to_json())?;
    } else {
        cli::print_report(&report, session.detail)?;
        if let Some(path) = session.evidence.as_ref().filter(|_| !session.detail.quiet) {
            print_text(format_args!("\nevidence in {}\n", path.display()))?;
        }
    }
    let exit = Exit::from(&outcome);
    if exit == Exit::NoVerdict {
        cli::tell(format_args!("{}: {}", outcome.name(), outcome.message()));
        if attestation.session.hello().is_none() {
            let program = options.command.first().map(|program| program.display());
            cli::tell(format_args!("{} {ended}", program.context("no command")?));
            if is_terminal {
                cli::tell(
                    "the host's text ends its lines like a terminal, which changes bytes: start the command without one (ssh -T; \
                     docker exec and kubectl exec with -i, not -t; srun -u without --pty)",
                );
            }
        }
    }
    Ok(exit)
}
