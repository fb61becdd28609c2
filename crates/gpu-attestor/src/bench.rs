//! `gpu-attestor bench`: the performance of this host's devices, each figure next to its ceiling from the same run.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use cli::{Exit, WorkProgress, print_json, print_text};
use engines::{Report, Row};
use protocol::bytes::DeviceOrdinal;
use serde::Serialize;
use serde_json::Value;
use verifier::units::bytes;

use crate::devices::{DeviceOptions, Measured, OrdinalOptions};

/// The performance of this host's devices.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct BenchReport {
    /// The engine that was measured.
    engine: &'static str,
    /// Devices that were measured.
    devices: Vec<DeviceFigures>,
    /// Devices that could not be measured.
    failed: Vec<NotMeasured>,
}

/// A device's figures. The members beside `figures` are facts that depend on the engine.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct DeviceFigures {
    #[serde(flatten)]
    facts: BTreeMap<&'static str, Value>,
    /// The figures.
    figures: Vec<Figure>,
}

/// A device that could not be measured.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct NotMeasured {
    /// Its ordinal.
    ordinal: u32,
    /// Why.
    error: String,
}

/// One figure, the median of its repeats.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Figure {
    /// What was measured.
    name: &'static str,
    /// The unit of `value`, `least`, `most` and the ceilings.
    unit: &'static str,
    /// The median.
    value: f64,
    /// The minimum of all repeats.
    least: f64,
    /// The maximum of all repeats.
    most: f64,
    /// The number of repeats.
    repeats: usize,
    /// Upper limits from the same run.
    ceilings: Vec<CeilingFigure>,
    #[serde(flatten)]
    load: Option<LoadFigures>,
}

/// The upper limit of a figure.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CeilingFigure {
    /// What it is.
    name: String,
    /// Its value.
    value: f64,
    /// The figure divided by it.
    share: f64,
}

/// Telemetry during a measurement; absent where there is none.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct LoadFigures {
    /// Mean power, W.
    power_w: Option<f64>,
    /// Mean clock, MHz.
    mean_sm_clock_mhz: Option<f64>,
    /// Highest temperature, degrees Celsius.
    max_temperature_c: Option<u32>,
    /// Why the clock was throttled.
    throttle_reasons: Vec<String>,
    /// 10^12 operations/s per W, where that is meaningful.
    tops_per_w: Option<f64>,
}

/// Options of `gpu-attestor bench`.
#[derive(Args)]
#[command(
    after_help = "GPUs are measured one after the other, each with all the memory that it may take; a CPU, on one thread. The fill's peak follows from the number of multiprocessors and the clock. cuBLASLt's int8 product is \
        measured where its library is (libcublasLt.so.13 or .12, in LD_LIBRARY_PATH or /usr/local/cuda/lib64). A third of \
        the time goes to the long fill: for 30 s of it, --seconds 85.\n\n\
        Examples:\n  \
        gpu-attestor bench\n  \
        gpu-attestor bench --seconds 85 --devices 0 --json\n  \
        gpu-attestor bench --engine cpu --cpu-path avx2 --seconds 3"
)]
pub(crate) struct Options {
    /// About how long to measure each device
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    seconds: Duration,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    ordinals: OrdinalOptions,

    #[command(flatten)]
    devices: DeviceOptions,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| (0.1..=3600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected 0.1 to 3600".to_owned())
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let is_quiet = options.json;
    let Measured {
        backend,
        wanted,
        ordinals,
    } = options.devices.measured(&options.ordinals)?;
    let (mut reports, mut failed) = (Vec::new(), Vec::new());
    for ordinal in ordinals {
        let prefix = if backend.is_emulated() {
            String::new()
        } else {
            format!("GPU {ordinal}: ")
        };
        let stages = Stages::new(prefix, is_quiet);
        // A device that cannot be measured does not discard the figures of the others.
        match backend.bench(ordinal, &wanted, options.seconds, &|stage| stages.begin(stage)) {
            Ok(report) => reports.push(report),
            Err(error) if backend.is_emulated() => {
                return Err(anyhow::Error::from_boxed(error).context("the CPU engine"));
            }
            Err(error) => failed.push((ordinal, error)),
        }
    }
    if options.json {
        let not_measured = |(ordinal, error): &(DeviceOrdinal, _)| NotMeasured {
            ordinal: ordinal.0,
            error: format!("{error}"),
        };
        print_json(&BenchReport {
            engine: backend.name(),
            devices: reports.iter().map(DeviceFigures::from).collect(),
            failed: failed.iter().map(not_measured).collect(),
        })?;
    } else {
        print_text(reports.iter().map(to_table).collect::<Vec<_>>().join("\n"))?;
    }
    for (ordinal, error) in &failed {
        cli::tell(format_args!("GPU {ordinal}: {error}"));
    }
    Ok(if failed.is_empty() {
        Exit::Affirmed
    } else {
        Exit::NoVerdict
    })
}

/// The current stage of the measurement.
struct Stages {
    prefix: String,
    is_quiet: bool,
    shown: std::cell::RefCell<Option<WorkProgress>>,
}

impl Stages {
    fn new(prefix: String, is_quiet: bool) -> Self {
        Stages {
            prefix,
            is_quiet,
            shown: None.into(),
        }
    }

    fn begin(&self, stage: &str) {
        // The previous line is cleared first.
        self.shown.take();
        let text = format!("{}{stage}", self.prefix);
        *self.shown.borrow_mut() = Some(WorkProgress::stage(&text, self.is_quiet));
    }
}

impl From<&Report> for DeviceFigures {
    fn from(report: &Report) -> Self {
        DeviceFigures {
            facts: report.facts.iter().cloned().collect(),
            figures: report.rows.iter().map(Figure::from).collect(),
        }
    }
}

impl From<&Row> for Figure {
    fn from(row: &Row) -> Self {
        let ceilings = row.ceilings.iter().map(|ceiling| CeilingFigure {
            name: ceiling.name.clone(),
            value: ceiling.value,
            share: row.value / ceiling.value,
        });
        Figure {
            name: row.name,
            unit: row.unit,
            value: row.value,
            least: row.least,
            most: row.most,
            repeats: row.repeats,
            ceilings: ceilings.collect(),
            load: row.load.as_ref().map(|load| LoadFigures {
                power_w: load.power_w,
                mean_sm_clock_mhz: load.mean_sm_clock_mhz,
                max_temperature_c: load.max_temperature_c,
                throttle_reasons: load.throttle_reasons.clone(),
                tops_per_w: load.tops_per_w,
            }),
        }
    }
}

fn to_table(report: &Report) -> String {
    let mut text = format!(
        "{}\n  {:<18} {:>9} {:<17} {:>19} {:>7}  of its ceilings\n",
        report.title, "", "", "", "least .. most", "repeats"
    );
    for row in &report.rows {
        text += &row_to_line(row);
    }
    text.extend(report.memory.as_ref().map(|memory| {
        format!(
            "  n = {}; dataset {} here, {} at most: {:.2} % of the card\n",
            memory.matrix_dim,
            bytes(memory.dataset_bytes.into()),
            bytes(memory.most_bytes.into()),
            100.0 * memory.most_bytes as f64 / memory.card_bytes as f64
        )
    }));
    for note in &report.notes {
        text += &format!("  {note}\n");
    }
    text
}

fn row_to_line(row: &Row) -> String {
    let digits = if row.value < 1000.0 { 2 } else { 1 };
    let shares: Vec<_> = row
        .ceilings
        .iter()
        .map(|ceiling| {
            format!(
                "{:.3} of {} ({:.*})",
                row.value / ceiling.value,
                ceiling.name,
                digits,
                ceiling.value
            )
        })
        .collect();
    let spread = format!("{:.*} .. {:.*}", digits, row.least, digits, row.most);
    let mut line = format!(
        "  {:<18} {:>9.*} {:<17} {:>19} {:>7}  {}\n",
        row.name,
        digits,
        row.value,
        row.unit,
        spread,
        row.repeats,
        shares.join(", ")
    );
    if let Some(load) = &row.load {
        let mut seen = Vec::new();
        seen.extend(load.power_w.map(|power| format!("{power:.0} W")));
        seen.extend(load.tops_per_w.map(|ratio| format!("{ratio:.3} Tops/W")));
        seen.extend(load.mean_sm_clock_mhz.map(|mhz| format!("{mhz:.0} MHz")));
        seen.extend(load.max_temperature_c.map(|celsius| format!("{celsius} C")));
        seen.extend((!load.throttle_reasons.is_empty()).then(|| load.throttle_reasons.join(" ")));
        if !seen.is_empty() {
            line += &format!("  {:<18} {}\n", "", seen.join(", "));
        }
    }
    line
}
