//! `gpu-validator plan`: samples, k and sweeps for a wanted bound, and what they cost the Verifier.

mod class;
mod plot;

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context;
use appraisal::expected::Expected;
use appraisal::policy::Policy;
use appraisal::profile::{Profile, Status};
use clap::Args;
use cli::{Exit, OutputFile, OutputPath, parse_bytes, print_json, print_text};
use serde::Serialize;
use verifier::calibrate::calibrate;
use verifier::challenge_file::IterationReport;
use verifier::cost::{DeviceFigures, LOCAL_INNER_DIM, Proposal, Row, VerifierFigures, Wanted, propose};
use verifier::preset::default_assumptions;
use verifier::recompute::Recompute;
use verifier::units::bytes_per_s;

use crate::classes;
use crate::judge::ProfileOptions;

/// How long a tile's time is measured at each of two k.
const CALIBRATION: Duration = Duration::from_millis(300);

/// Rate of a fill with k = 2048 divided by that with a large k, on an H200 (docs/performance.md).
const LOCAL_FILL_SHARE: f64 = 0.9;

/// k of the tiles that `--tile-ms` is about.
const TILE_INNER_DIM: u32 = 16_384;

/// A proposed session, and what others would certify.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PlanProposal<'a> {
    /// The class whose figures are used.
    class: PlannedClass<'a>,
    /// Samples per device and distinct k; null if no number meets what was asked for.
    samples: Option<u32>,
    /// Options of `attest` that ask for this session; null without samples.
    attest_options: Option<String>,
    /// Iterations, in order.
    iterations: Vec<IterationReport>,
    /// All fills and sweeps, s.
    session_seconds: f64,
    /// Threads of the Verifier.
    threads: usize,
    /// Time to recompute a tile with k = 16384 on one thread, ms.
    tile_ms: f64,
    /// Bounds and costs by number of samples.
    rows: Vec<PlanRow>,
}

/// The class whose figures a plan uses.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PlannedClass<'a> {
    /// Its name.
    name: &'a str,
    /// Where its figures come from.
    status: Status,
}

/// What a number of samples certifies, as shares of what is measured, and what it costs.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PlanRow {
    /// Samples per device and distinct k.
    samples: u32,
    /// The share of wrong leaves that the samples may miss.
    wrong_share: f64,
    /// V as a share of the dataset; null if it is not certified.
    memory_share: Option<f64>,
    /// B as a share of the sweep's rate; null if it is not certified.
    bandwidth_share: Option<f64>,
    /// T as a share of the fill's rate; null if it is not certified.
    tensor_share: Option<f64>,
    /// T_local as a share of the fill's rate with k = 2048; null if it is not certified.
    local_tensor_share: Option<f64>,
    /// Work of the Verifier, s on one thread.
    core_seconds: f64,
    /// Time of the Verifier, s on its threads.
    verifier_seconds: f64,
}

/// Options of `gpu-validator plan`.
#[derive(Args)]
#[command(
    after_help = "Shares refer to the figures that a session measures. The cost of recomputing here is measured for half a second, unless \
        --tile-ms is given.\n\n\
    Examples:\n  \
    gpu-validator plan --time-budget 2s --class H200\n  \
    gpu-validator plan --memory-share 0.95 --devices 8 --threads 16\n  \
    gpu-validator plan --class a100-80 --json\n  \
    gpu-validator plan --memory 79GiB --fill-tops 700 --sweep-gbs 3100 --json"
)]
pub(crate) struct PlanOptions {
    /// Most time that the Verifier may spend on recomputing [default: 2s, unless --memory-share is given]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    time_budget: Option<Duration>,

    /// Share of a device's memory to certify, for example 0.94, at the lowest cost
    #[arg(long, value_name = "SHARE", conflicts_with = "time_budget")]
    memory_share: Option<f64>,

    /// The class whose figures are used, by its profile's name: h200, a100-80 …; those from datasheets are estimates
    #[arg(long, value_name = "CLASS", default_value = "H200")]
    class: String,

    #[command(flatten)]
    profiles: ProfileOptions,

    /// Dataset of a device, for example 79GiB [default: the class's]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory: Option<u64>,

    /// Rate of a fill, 10^12 operations/s [default: the class's]
    #[arg(long, value_name = "TOPS")]
    fill_tops: Option<f64>,

    /// Rate of a fill with k = 2048, 10^12 operations/s [default: 0.9 of a fill's]
    #[arg(long, value_name = "TOPS")]
    local_fill_tops: Option<f64>,

    /// Rate of a sweep, 10^9 bytes/s [default: the class's]
    #[arg(long, value_name = "GB/S")]
    sweep_gbs: Option<f64>,

    /// Time of a phase's messages, both ways
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, default_value = "2ms")]
    round_trip: Duration,

    /// Number of equal devices
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    devices: u32,

    /// Time of a tile with k = 16384 on one thread of the Verifier, ms [default: measured]
    #[arg(long, value_name = "MS")]
    tile_ms: Option<f64>,

    /// Threads of the Verifier [default: one per CPU]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Soundness error: the bounds of a device and distinct k are false with probability at most 2^-BITS
    #[arg(long, value_name = "BITS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=256))]
    error_bits: u32,

    /// Draw bounds against cost into this SVG file
    #[arg(long, value_name = "FILE")]
    svg: Option<OutputPath>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &PlanOptions) -> anyhow::Result<Exit> {
    let profiles = options.profiles.read()?;
    let class = classes::find(&profiles, &options.class)?;
    let device = options.device(class)?;
    let svg = options.svg.as_deref().map(|path| OutputFile::create(path, "plot"));
    let (svg, verifier) = (svg.transpose()?, options.verifier()?);
    let wanted = match options.memory_share {
        Some(share) => {
            anyhow::ensure!(
                (0.0..1.0).contains(&share),
                "--memory-share {share} is no share from 0 to 1"
            );
            Wanted::MemoryShare(share)
        }
        None => Wanted::TimeBudget(options.time_budget.unwrap_or(Duration::from_secs(2)).as_secs_f64()),
    };
    // The links of the class's hosts, as its policy narrows them.
    let narrowed = Policy::for_class(class).assumptions;
    let mut assumptions = narrowed.applied_to(&default_assumptions(options.error_bits));
    // A bound that assumes less than the device's own rate is not valid.
    assumptions.best_rate_ops_per_s = assumptions.best_rate_ops_per_s.max(device.fill_ops as u64);
    cli::tell(format_args!(
        "planned with links of {} in and {} out, the class's: judge by --policy {}",
        bytes_per_s(assumptions.link_in_bytes_per_s.into()),
        bytes_per_s(assumptions.link_out_bytes_per_s.into()),
        class.name
    ));
    let proposal = propose(&device, options.devices, &verifier, &assumptions, wanted);
    if let Some(file) = svg {
        let links = bytes_per_s(assumptions.link_in_bytes_per_s.into());
        let title = format!("{}, error 2^-{}, links of {links}", options.class, options.error_bits);
        file.write(plot::svg(&proposal, &title).as_bytes())?;
    }
    if options.json {
        print_json(&report(&proposal, &verifier, class))?;
    } else {
        print_text(text(&proposal, &verifier, options.devices, class))?;
    }
    if proposal.samples.is_none() {
        cli::tell("no number of samples meets what was asked for");
        return Ok(Exit::NoVerdict);
    }
    Ok(Exit::Affirmed)
}

impl PlanOptions {
    fn device(&self, class: &Profile) -> anyhow::Result<DeviceFigures> {
        let lacks = |what, option| format!("class {} has no {what}; {option} says it", class.name);
        let positive = |name: &str, value: Option<f64>| match value {
            Some(value) if !(value.is_finite() && value > 0.0) => anyhow::bail!("{name} {value} is no rate"),
            value => Ok(value),
        };
        let scaled = |value: Option<f64>, unit: f64| value.map(|value| value * unit);
        let fill_ops = scaled(positive("--fill-tops", self.fill_tops)?, 1e12);
        let expected = Expected::of(class);
        let fill_ops = fill_ops.or(expected
            .and_then(|expected| expected.fill_ops_per_s)
            .map(|rate| rate as f64));
        let fill_ops = fill_ops.with_context(|| lacks("int8 rate", "--fill-tops"))?;
        let local_fill_ops = scaled(positive("--local-fill-tops", self.local_fill_tops)?, 1e12);
        let sweep = scaled(positive("--sweep-gbs", self.sweep_gbs)?, 1e9);
        let dataset_bytes = self.memory.or(expected.map(|expected| expected.dataset_bytes));
        anyhow::ensure!(self.memory != Some(0), "--memory is 0");
        Ok(DeviceFigures {
            dataset_bytes: dataset_bytes.with_context(|| lacks("memory", "--memory"))?,
            fill_ops,
            local_fill_ops: local_fill_ops.unwrap_or(LOCAL_FILL_SHARE * fill_ops),
            sweep_bytes_per_s: sweep
                .or(expected.map(|expected| expected.sweep_bytes_per_s as f64))
                .with_context(|| lacks("bandwidth", "--sweep-gbs"))?,
            round_trip_s: self.round_trip.as_secs_f64(),
        })
    }

    /// The cost of recomputation: as given, or as measured here.
    fn verifier(&self) -> anyhow::Result<VerifierFigures> {
        let default = Recompute::default();
        let recompute = Recompute {
            threads: self.threads.unwrap_or(default.threads),
            ..default
        };
        let threads = recompute.threads.get();
        if let Some(ms) = self.tile_ms {
            anyhow::ensure!(ms.is_finite() && ms > 0.0, "--tile-ms {ms} is no time");
            return Ok(VerifierFigures {
                threads,
                fixed_ms: 0.0,
                per_inner_dim_ms: ms / f64::from(TILE_INNER_DIM),
            });
        }
        let measured = |k| Ok::<_, anyhow::Error>((k, calibrate(&recompute, k, CALIBRATION)?.tile_ms()));
        Ok(VerifierFigures::through(
            threads,
            [measured(LOCAL_INNER_DIM)?, measured(TILE_INNER_DIM)?],
        ))
    }
}

fn text(proposal: &Proposal, verifier: &VerifierFigures, devices: u32, class: &Profile) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:<12} {value}\n"));
    line("class", class::origin(class));
    if let Some(samples) = proposal.samples {
        line("samples", format!("{samples} per device and distinct k"));
    }
    for iteration in &proposal.iterations {
        line(
            "iteration",
            format!("k = {}, {} sweeps", iteration.inner_dim, iteration.sweeps),
        );
    }
    if let Some(options) = proposal.samples.map(|samples| options_for(proposal, samples, class)) {
        line("attest with", options);
    }
    line("session", format!("{:.1} s of fills and sweeps", proposal.session_s));
    line(
        "verifier",
        format!(
            "{:.2} ms per tile at k = {TILE_INNER_DIM}, {:.2} ms at k = {LOCAL_INNER_DIM}, {}, {}",
            verifier.tile_ms(TILE_INNER_DIM),
            verifier.tile_ms(LOCAL_INNER_DIM),
            count(verifier.threads, "thread"),
            count(devices as usize, "device")
        ),
    );
    text.push_str("\ncertified of what is measured\n");
    text.push_str("samples      f*       V      B      T      T_local  core-s  verifier\n");
    for row in &proposal.rows {
        let mark = if proposal.samples == Some(row.samples) {
            " <"
        } else {
            ""
        };
        text.push_str(&format!(
            "{:<9} {:>6.2} %  {:>5}  {:>5}  {:>5}  {:>7}  {:>6.2}  {:>6.2} s{mark}\n",
            row.samples,
            100.0 * row.wrong_share,
            share(row.memory),
            share(row.bandwidth),
            share(row.tensor),
            share(row.local_tensor),
            row.core_s,
            row.verifier_s
        ));
    }
    text
}

/// The options of `attest` that request this session.
fn options_for(proposal: &Proposal, samples: u32, class: &Profile) -> String {
    let iterations = proposal.iterations.iter();
    let iterations: Vec<String> = iterations
        .map(|one| format!("{}:{}", one.inner_dim, one.sweeps))
        .collect();
    format!(
        "--preset standard --policy {} --samples {samples} --iterations {}",
        class.name,
        iterations.join(",")
    )
}

fn count(count: usize, of: &str) -> String {
    format!("{count} {of}{}", if count == 1 { "" } else { "s" })
}

fn share(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{share:.3}"))
}

fn report<'a>(proposal: &Proposal, verifier: &VerifierFigures, class: &'a Profile) -> PlanProposal<'a> {
    let row = |row: &Row| PlanRow {
        samples: row.samples,
        wrong_share: row.wrong_share,
        memory_share: row.memory,
        bandwidth_share: row.bandwidth,
        tensor_share: row.tensor,
        local_tensor_share: row.local_tensor,
        core_seconds: row.core_s,
        verifier_seconds: row.verifier_s,
    };
    PlanProposal {
        class: PlannedClass {
            name: &class.name,
            status: class.status,
        },
        samples: proposal.samples,
        attest_options: proposal.samples.map(|samples| options_for(proposal, samples, class)),
        iterations: proposal.iterations.iter().map(IterationReport::from).collect(),
        session_seconds: proposal.session_s,
        threads: verifier.threads,
        tile_ms: verifier.tile_ms(TILE_INNER_DIM),
        rows: proposal.rows.iter().map(row).collect(),
    }
}
