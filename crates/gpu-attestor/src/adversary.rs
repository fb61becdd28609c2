//! `gpu-attestor adversary`: testkit's Attesters that cheat, to try a Verifier with.

mod gpu;

use attester::{Attester, Device, Limits};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use cli::{Exit, print_text};
use keystore::SigningKey;
use testkit::adversary::{ADVERSARIES, Adversary, End};

use crate::devices::{DeviceOptions, OrdinalOptions};
use crate::key::KeyOptions;
use crate::software::software;

/// Options of `gpu-attestor adversary`.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Serves one session on standard input and output, as `agent --stdio` does; every device cheats.\n\
        `list` says what each must end in: `caught`, but for fractions so small that samples miss them,\n\
        `late` once the deadline of the fill has passed, `affirmed` for no more than its time allows.\n\
        Those that break a rule of the work (*-operands, top-byte, neighbours, unshifted) and those that\n\
        bring tiles back (regenerate, disk-paged, junk-mixture) compute on one thread of the CPU,\n\
        slowly, whatever the engine: give them 1 MiB.\n\n\
        Examples:\n  \
        gpu-attestor adversary list\n  \
        gpu-attestor adversary gpu\n  \
        gpu-validator attest --preset smoke -- gpu-attestor adversary junk-fill --fraction 0.05\n  \
        gpu-validator attest --device-memory 1MiB -- gpu-attestor adversary unshifted --engine cpu"
)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    /// The adversary: `gpu-attestor adversary list` says what each does
    #[arg(value_name = "NAME", required = true, hide_possible_values = true, value_parser = names())]
    name: Option<String>,

    /// How much of the work it leaves out, 0 to 1, where it leaves a part out; of the memory, where it lacks some
    #[arg(long, value_name = "FRACTION", default_value = "0.05", value_parser = parse_fraction)]
    fraction: f64,

    #[command(flatten)]
    ordinals: OrdinalOptions,

    #[command(flatten)]
    key: KeyOptions,

    #[command(flatten)]
    devices: DeviceOptions,
}

#[derive(Subcommand)]
enum Command {
    /// Show the adversaries, and what each must end in
    List,
    /// Play the attacks that want a GPU, and show them beside what a Verifier would certify
    Gpu(gpu::Options),
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(ADVERSARIES.iter().map(|adversary| adversary.name))
}

fn parse_fraction(text: &str) -> Result<f64, String> {
    let fraction = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.0..=1.0).contains(&fraction) {
        Ok(fraction)
    } else {
        Err("expected 0 to 1".to_owned())
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    match (&options.command, &options.name) {
        (Some(Command::List), _) => list(),
        (Some(Command::Gpu(options)), _) => gpu::run(options),
        (None, Some(name)) => cheat(options, name, options.key.read()?),
        (None, None) => anyhow::bail!("expected the name of an adversary"),
    }
}

fn list() -> anyhow::Result<Exit> {
    let line = |adversary: &Adversary| {
        let end = match adversary.ends {
            End::Caught => "caught",
            End::Late => "late",
            End::Affirmed => "affirmed",
        };
        format!("{:<20} {end:<9} {}\n", adversary.name, adversary.summary)
    };
    print_text(ADVERSARIES.iter().map(line).collect::<String>())?;
    Ok(Exit::Affirmed)
}

fn cheat(options: &Options, name: &str, key: SigningKey) -> anyhow::Result<Exit> {
    let Some(adversary) = Adversary::named(name) else {
        anyhow::bail!("no adversary is named {name}; `gpu-attestor adversary list` shows them");
    };
    let (devices, engine) = options.devices.discover(&options.ordinals)?;
    let cheating = |mut device: Device| {
        adversary.boast(&mut device.offer);
        device.engine = adversary.engine(device.engine, options.fraction);
        device
    };
    let devices: Vec<_> = devices.into_iter().map(cheating).collect();
    cli::tell(format_args!(
        "gpu-attestor adversary {name}: {}; {}, {engine}",
        adversary.summary,
        crate::agent::counted(devices.len())
    ));
    let attester = Attester {
        software: software(),
        labels: Vec::new(),
        devices,
        key,
        attestation: None,
        limits: Limits::default(),
    };
    crate::agent::serve_stdio("adversary", attester)
}
