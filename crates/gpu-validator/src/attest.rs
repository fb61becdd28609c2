//! `gpu-validator attest`: a session with the Attester that a command serves, or that is put on a host.

mod descendants;
mod greeting;
mod host_lines;
mod relay;
mod ssh;
mod started;

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use cli::{
    Exit, Interrupt, Interruptible, OutputFile, RecomputeOptions, SessionOptions, parse_duration, parse_ordinals,
    print_json_text, print_text,
};
use protocol::bytes::DeviceOrdinal;
use report::Report;
use verifier::outcome::Outcome;

use self::greeting::Greeted;
use self::ssh::{Errand, SshOptions, SshTarget};
use self::started::Started;
use crate::judge::PolicyOptions;

/// Options of `gpu-validator attest`.
#[derive(Args)]
#[command(after_help = "Ctrl-C stops the session; its evidence says so.\n\n\
    Examples:\n  \
    gpu-validator attest --evidence e.cbor ssh://user@host\n  \
    gpu-validator attest ssh://host:2222 -- --devices 0,1\n  \
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

    /// How long the command may take until HELLO; with ssh://, also how long each answer of the host's shell may take
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    hello_deadline: Duration,

    #[command(flatten)]
    recompute: RecomputeOptions,

    #[command(flatten)]
    ssh: SshOptions,

    /// The host to attest, `ssh://[USER@]HOST[:PORT]`: gpu-attestor is put there, run, and removed again
    #[arg(value_name = "HOST", value_parser = SshTarget::parse)]
    target: Option<SshTarget>,

    /// The command whose standard input and output lead to the Attester; with ssh://, options of gpu-attestor agent
    #[arg(last = true, required_unless_present = "target", value_name = "COMMAND")]
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
    let target = options.target.as_ref();
    let errand = target.map(|target| Errand::new(target, &options.ssh, &options.command));
    let errand = errand.transpose()?;
    let interrupt = Interrupt::listen()?;

    let words = errand
        .as_ref()
        .map_or(&options.command, |errand| &errand.command)
        .clone();
    let program = words.first().context("no command")?.display();
    let (command, mut from, mut to) = Started::start(&words)?;
    let is_quiet = session.json || session.detail.quiet;
    let progress = Interruptible::new(is_quiet, interrupt);
    let greeted = Greeted::new(&progress, command.screen());
    if let (Some(errand), Some(target)) = (errand, target)
        && let Err(error) = errand.run(&mut from, &mut to, options.hello_deadline, is_quiet, &greeted)
    {
        // Closed first, so that ssh ends by itself; what it says is shown before the error.
        drop((from, to));
        cli::tell(format_args!("{program} {}", command.end()));
        return Err(error.context(format!("no gpu-attestor runs on {target}")));
    }
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
            cli::tell(format_args!("{program} {ended}"));
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
