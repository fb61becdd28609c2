//! Fill and sweep rates of one device through the `Engine` trait, including all overhead:
//! `rates [--device G] [--fill sm90a|mma|dp4a] [--sweep bulk|load] [--portable] ROW...`
//!
//! A row is `n,k,matrices,fills,sweeps` (matrices 0: all that fit) and runs in a separate engine.

use std::fmt::Display;
use std::time::{Duration, Instant};

use engine_cuda::{CudaEngine, CudaEngineConfig, FillPath, NvmlWatch, SweepPath, describe};
use protocol::bytes::{OperandKey, Salt};
use protocol::derive;
use protocol::engine::{Assignment, AssignmentFields, CommitmentId, Engine, EngineError, FillTask, Unobserved};

fn main() {
    let mut config = CudaEngineConfig::new(0);
    let mut rows = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("the option takes a value");
        if argument == "--device" {
            config.device_index = value().parse().expect("--device takes an index");
        } else if argument == "--fill" {
            config.fill_path = Some(named(&FillPath::ALL, &value()));
        } else if argument == "--sweep" {
            config.sweep_path = Some(named(&SweepPath::ALL, &value()));
        } else if argument == "--portable" {
            config.portable_images = true;
        } else {
            let numbers: Vec<u32> = argument
                .split(',')
                .map(|number| number.parse().expect("a row is n,k,matrices,fills,sweeps"))
                .collect();
            rows.push(<[u32; 5]>::try_from(numbers).expect("a row has five numbers"));
        }
    }
    println!(
        "     n      k matrices  dataset GB  of card   fill ms    Tops (each fill)        sweep ms    GB/s (median, best)"
    );
    for row in rows {
        if let Err(error) = measure(config, row) {
            println!("{row:?}: {error}");
        }
    }
}

fn named<P: Copy + Display>(paths: &[P], name: &str) -> P {
    let path = paths.iter().find(|path| path.to_string() == name);
    *path.unwrap_or_else(|| panic!("no path {name}"))
}

fn measure(config: CudaEngineConfig, [n, k, matrices, fills, sweeps]: [u32; 5]) -> Result<(), EngineError> {
    let mut engine = CudaEngine::new(config)?;
    let offer = engine.offer()?;
    let matrices = if matrices == 0 {
        offer.matrices(n, k) as u32
    } else {
        matrices
    };
    let assignment = Assignment::new(AssignmentFields {
        matrix_dim: n,
        matrix_offset: 7,
        num_matrices: matrices,
        max_inner_dim: k,
    })?;
    let start = Instant::now();
    engine.prepare(&assignment)?;
    let prepared = start.elapsed();
    let operations = 2.0 * f64::from(n) * f64::from(n) * f64::from(k) * f64::from(matrices);
    let uuid = describe(&[config.device_index])
        .ok()
        .and_then(|devices| Some(devices.first()?.uuid.clone()));
    let telemetry = uuid.and_then(|uuid| NvmlWatch::start(&uuid).ok());
    let mut fill_times = Vec::new();
    let mut sweep_times = Vec::new();
    for fill in 0..fills {
        let task = FillTask {
            inner_dim: k,
            operand_key: OperandKey(derive::derive("rates operands", &[&fill.to_le_bytes()])),
            fill_salt: Salt([fill as u8; 32]),
            sweeps,
        };
        let start = Instant::now();
        let root = engine.fill(&task, &Unobserved)?;
        fill_times.push(start.elapsed());
        let mut salt = Salt(root.0);
        for _ in 0..sweeps {
            let start = Instant::now();
            let root = engine.sweep(&salt, &Unobserved)?;
            sweep_times.push(start.elapsed());
            salt = Salt(root.0);
        }
    }
    let seen = telemetry.and_then(|watch| watch.finish().ok()).unwrap_or_default();
    let start = Instant::now();
    let opened = engine
        .open(CommitmentId::Fill { iteration: 0 }, 0)
        .map(|_| start.elapsed())?;

    let dataset = assignment.dataset_bytes() as f64;
    let tops: Vec<String> = fill_times
        .iter()
        .map(|time| format!("{:.1}", operations / time.as_secs_f64() * 1e-12))
        .collect();
    sweep_times.sort();
    let rate = |time: &Duration| dataset / time.as_secs_f64() * 1e-9;
    let sweep = match sweep_times.as_slice() {
        [] => String::new(),
        times => {
            let median = &times[times.len() / 2];
            format!(
                "{:9.3} {:8.1} {:8.1}",
                median.as_secs_f64() * 1e3,
                rate(median),
                rate(&times[0])
            )
        }
    };
    println!(
        "{n:6} {k:6} {matrices:8} {:11.3} {:7.2}% {:9.3}    {:24} {sweep}",
        dataset * 1e-9,
        dataset / offer.memory_bytes as f64 * 100.0,
        fill_times.iter().min().map_or(0.0, |time| time.as_secs_f64() * 1e3),
        tops.join(" "),
    );
    println!(
        "       {} / {}; prepared in {:.0} ms, opened one leaf in {:.1} ms; {} of {} bytes free, {} required, reserve {}",
        engine.fill_path(),
        engine.sweep_path(),
        prepared.as_secs_f64() * 1e3,
        opened.as_secs_f64() * 1e3,
        offer.available_bytes,
        offer.memory_bytes,
        engine.required_bytes(&assignment),
        offer.reserve_bytes,
    );
    if let (Some(energy_j), 0) = (seen.energy_j, sweeps) {
        let whole: Duration = fill_times.iter().sum();
        println!(
            "       all fills: {:.1} Tops over {:.2} s, {:.0} W, {:.3} Tops/W",
            operations * f64::from(fills) / whole.as_secs_f64() * 1e-12,
            whole.as_secs_f64(),
            energy_j / seen.elapsed_ns as f64 * 1e9,
            operations * f64::from(fills) / energy_j * 1e-12,
        );
    }
    let labels: Vec<String> = seen
        .labels()
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    println!("       {}", labels.join(", "));
    Ok(())
}
