//! `gpu-attestor bench`: what this host's devices reach, each figure beside its own ceiling of the same run.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use cli::{Exit, WorkProgress, print_json, print_text};
use engine_cpu::bench as cpu;
use engine_cuda::CudaEngineConfig;
use engine_cuda::bench as cuda;
use protocol::bytes::DeviceOrdinal;
use serde_json::{Value, json};
use verifier::units::bytes;

use crate::devices::{DeviceOptions, Measured, OrdinalOptions};

/// Options of `gpu-attestor bench`.
#[derive(Args)]
#[command(
    after_help = "A GPU takes all the memory that it may, one GPU after the other; a CPU is measured on one thread. The fill's \
        peak is what the tensor cores could do, by the number of multiprocessors and the clock. cuBLASLt's int8 product is \
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
    let measured = options.devices.measured(&options.ordinals)?;
    let mut failed = Vec::new();
    let (engine, reports) = match measured {
        Measured::Cpu(path) => {
            let stages = Stages::new(String::new(), is_quiet);
            let report = cpu::bench(path, options.seconds, &|stage| stages.begin(stage)).context("the CPU engine")?;
            ("cpu", vec![Report::of_cpu(&report)])
        }
        Measured::Cuda(ordinals, memory_limit_bytes) => {
            let mut reports = Vec::new();
            for ordinal in ordinals {
                let config = CudaEngineConfig {
                    memory_limit_bytes,
                    ..CudaEngineConfig::new(ordinal.0)
                };
                let stages = Stages::new(format!("GPU {ordinal}: "), is_quiet);
                // One that cannot be measured does not take the others' figures along.
                match cuda::bench(config, options.seconds, &|stage| stages.begin(stage)) {
                    Ok(report) => reports.push(Report::of_gpu(ordinal, &report)),
                    Err(error) => failed.push((ordinal, error)),
                }
            }
            ("cuda", reports)
        }
    };
    if options.json {
        let devices: Vec<_> = reports.iter().map(Report::to_json).collect();
        let failed: Vec<_> = failed
            .iter()
            .map(|(ordinal, error)| json!({ "ordinal": ordinal.0, "error": error.to_string() }))
            .collect();
        print_json(&json!({ "engine": engine, "devices": devices, "failed": failed }))?;
    } else {
        print_text(reports.iter().map(Report::to_table).collect::<Vec<_>>().join("\n"))?;
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

/// What is being measured.
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
        // The one before is cleared first.
        self.shown.take();
        let text = format!("{}{stage}", self.prefix);
        *self.shown.borrow_mut() = Some(WorkProgress::stage(&text, self.is_quiet));
    }
}

/// One device's figures, ready to be shown.
struct Report {
    /// Facts about the device, in JSON under these names.
    facts: Vec<(&'static str, Value)>,
    title: String,
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// One figure.
struct Row {
    name: &'static str,
    unit: &'static str,
    value: f64,
    least: f64,
    most: f64,
    repeats: usize,
    ceilings: Vec<Ceiling>,
    load: Option<(cuda::Load, Option<f64>)>,
}

struct Ceiling {
    name: String,
    value: f64,
}

impl Ceiling {
    fn new(name: impl Into<String>, value: f64) -> Self {
        Ceiling {
            name: name.into(),
            value,
        }
    }
}

impl Report {
    fn of_cpu(report: &cpu::BenchReport) -> Self {
        let row = |name, unit, rate: &cpu::Rate, ceiling: Option<(&str, &cpu::Rate)>| Row {
            name,
            unit,
            value: rate.median,
            least: rate.least,
            most: rate.most,
            repeats: rate.repeats,
            ceilings: ceiling
                .into_iter()
                .map(|(name, ceiling)| Ceiling::new(name, ceiling.median))
                .collect(),
            load: None,
        };
        let registers = report.registers.as_ref().map(|rate| ("the same in registers", rate));
        Report {
            facts: vec![
                ("path", report.path.name().into()),
                ("inner_dim", cpu::INNER_DIM.into()),
            ],
            title: format!("CPU, path {}, one thread, k = {}", report.path, cpu::INNER_DIM),
            rows: vec![
                row("product", "G multiply-adds/s", &report.product, registers),
                row("tile", "tiles/s", &report.tile, None),
                row("tile, B made anew", "tiles/s", &report.tile_from_keys, None),
                row(
                    "keystream",
                    "GB/s",
                    &report.keystream,
                    Some(("memory writes", &report.writes)),
                ),
                row(
                    "pair digests",
                    "GB/s",
                    &report.pair_digests,
                    Some(("pairs in address order", &report.address_order)),
                ),
            ],
            notes: vec![format!("a tile in {:.2} ms", 1e3 / report.tile.median)],
        }
    }

    fn of_gpu(ordinal: DeviceOrdinal, report: &cuda::BenchReport) -> Self {
        let device = &report.device;
        let dataset_bytes = u64::from(report.num_matrices) * u64::from(report.matrix_dim).pow(2);
        let most_bytes = report.most_matrices * u64::from(report.matrix_dim).pow(2);
        let card_bytes = device.card_memory_bytes.unwrap_or(device.memory_bytes);
        let gemms = report.cublaslt.as_ref().ok();
        let gemm = gemms.map(|[suggested, _]| suggested);
        let fill_names = ["fill, k = 16384", "fill, k = 2048"];
        let mut rows: Vec<_> = report
            .fills
            .iter()
            .zip(fill_names)
            .map(|(fill, name)| arithmetic(name, fill, gemm.filter(|_| fill.inner_dim > 2048)))
            .collect();
        for (name, gemm) in ["cuBLASLt int8", "  as torch calls it"]
            .iter()
            .zip(gemms.into_iter().flatten())
        {
            rows.push(arithmetic(name, gemm, None));
        }
        rows.push(bandwidth("sweep", &report.sweep));
        rows.push(bandwidth("keystream", &report.keystream));
        let mut notes = vec![format!(
            "n = {}; dataset {} here, {} at most: {:.2} % of the card",
            report.matrix_dim,
            bytes(dataset_bytes.into()),
            bytes(most_bytes.into()),
            100.0 * most_bytes as f64 / card_bytes as f64
        )];
        notes.extend(report.cublaslt.as_ref().err().map(|why| format!("no cuBLASLt: {why}")));
        notes.extend(
            device
                .without_nvml
                .as_ref()
                .map(|why| format!("no power and clocks: {why}")),
        );
        Report {
            facts: vec![
                ("ordinal", ordinal.0.into()),
                ("model", device.model.clone().into()),
                ("uuid", device.uuid.clone().into()),
                ("multiprocessors", device.multiprocessors.into()),
                ("max_sm_clock_mhz", device.max_sm_clock_mhz.into()),
                ("power_limit_w", device.power_limit_w.into()),
                ("fill_path", report.fill_path.to_string().into()),
                ("sweep_path", report.sweep_path.to_string().into()),
                ("matrix_dim", report.matrix_dim.into()),
                ("dataset_bytes", dataset_bytes.into()),
                ("most_dataset_bytes", most_bytes.into()),
                ("card_memory_bytes", card_bytes.into()),
                ("without_cublaslt", report.cublaslt.as_ref().err().cloned().into()),
            ],
            title: format!(
                "GPU {ordinal}, {}: fill {}, sweep {}",
                device.model, report.fill_path, report.sweep_path
            ),
            rows,
            notes,
        }
    }

    fn to_json(&self) -> Value {
        let mut device: serde_json::Map<_, _> = self
            .facts
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let figures = self.rows.iter().map(Row::to_json).collect();
        device.insert("figures".to_owned(), figures);
        device.into()
    }

    fn to_table(&self) -> String {
        let mut text = format!(
            "{}\n  {:<18} {:>9} {:<17} {:>19} {:>7}  of its ceilings\n",
            self.title, "", "", "", "least .. most", "repeats"
        );
        for row in &self.rows {
            text += &row.to_line();
        }
        for note in &self.notes {
            text += &format!("  {note}\n");
        }
        text
    }
}

fn arithmetic(name: &'static str, figure: &cuda::Arithmetic, gemm: Option<&cuda::Arithmetic>) -> Row {
    let mut ceilings = Vec::new();
    let mut ceiling = |name: &str, value: Option<f64>| ceilings.extend(value.map(|value| Ceiling::new(name, value)));
    ceiling("peak at the highest clock", figure.peak_tops_at_max_clock);
    ceiling("peak at the mean clock", figure.peak_tops_at_mean_clock);
    ceiling("cuBLASLt int8", gemm.map(|gemm| gemm.tops));
    Row {
        name,
        unit: "Tops",
        value: figure.tops,
        least: figure.launches.least,
        most: figure.launches.most,
        repeats: figure.launches.repeats,
        ceilings,
        load: Some((
            figure.load.clone(),
            figure.load.power_w.map(|power| figure.tops / power),
        )),
    }
}

fn bandwidth(name: &'static str, figure: &cuda::Bandwidth) -> Row {
    Row {
        name,
        unit: "GB/s",
        value: figure.rate.median,
        least: figure.rate.least,
        most: figure.rate.most,
        repeats: figure.rate.repeats,
        ceilings: vec![Ceiling::new(figure.ceiling_name, figure.ceiling.median)],
        load: Some((figure.load.clone(), None)),
    }
}

impl Row {
    fn to_json(&self) -> Value {
        let ceilings: Vec<_> = self
            .ceilings
            .iter()
            .map(|ceiling| json!({ "name": ceiling.name, "value": ceiling.value, "share": self.value / ceiling.value }))
            .collect();
        let mut row = json!({
            "name": self.name,
            "unit": self.unit,
            "value": self.value,
            "least": self.least,
            "most": self.most,
            "repeats": self.repeats,
            "ceilings": ceilings,
        });
        if let Some((load, tops_per_watt)) = &self.load {
            row["power_w"] = load.power_w.into();
            row["mean_sm_clock_mhz"] = load.mean_sm_clock_mhz.into();
            row["max_temperature_c"] = load.max_temperature_c.into();
            row["throttle_reasons"] = load.throttle_reasons.clone().into();
            row["tops_per_w"] = (*tops_per_watt).into();
        }
        row
    }

    fn to_line(&self) -> String {
        let digits = if self.value < 1000.0 { 2 } else { 1 };
        let shares: Vec<_> = self
            .ceilings
            .iter()
            .map(|ceiling| {
                format!(
                    "{:.3} of {} ({:.*})",
                    self.value / ceiling.value,
                    ceiling.name,
                    digits,
                    ceiling.value
                )
            })
            .collect();
        let spread = format!("{:.*} .. {:.*}", digits, self.least, digits, self.most);
        let mut line = format!(
            "  {:<18} {:>9.*} {:<17} {:>19} {:>7}  {}\n",
            self.name,
            digits,
            self.value,
            self.unit,
            spread,
            self.repeats,
            shares.join(", ")
        );
        if let Some((load, tops_per_watt)) = &self.load {
            let mut seen = Vec::new();
            seen.extend(load.power_w.map(|power| format!("{power:.0} W")));
            seen.extend(tops_per_watt.map(|ratio| format!("{ratio:.3} Tops/W")));
            seen.extend(load.mean_sm_clock_mhz.map(|mhz| format!("{mhz:.0} MHz")));
            seen.extend(load.max_temperature_c.map(|celsius| format!("{celsius} C")));
            seen.extend((!load.throttle_reasons.is_empty()).then(|| load.throttle_reasons.join(" ")));
            if !seen.is_empty() {
                line += &format!("  {:<18} {}\n", "", seen.join(", "));
            }
        }
        line
    }
}
