//! Rounds of two GPUs, and what their link gives:
//! `rounds [--gib N] [--inner-dim K] [--devices G,H] [--rounds R] [--sweep bulk|load]`
//!
//! First compares roots at a small size with the CPU. Then fills N GiB on each GPU, reads the other's dataset in address order,
//! one way and both ways at once, and computes R rounds with a quarter of the tiles crossing, on both at once.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use engine_cpu::{CpuEngine, CpuEngineConfig};
use engine_cuda::bench::{LinkReads, link_reads};
use engine_cuda::{CudaEngine, CudaEngineConfig, SweepPath};
use protocol::bytes::{OperandKey, Root, Salt};
use protocol::derive::derive;
use protocol::engine::{Assignment, AssignmentFields, CrossTask, Dataset, Engine, EngineError, FillTask, Unobserved};
use protocol::limits::TILE_BYTES;

const MATRIX_DIM: u32 = 8192;
const MATRICES_PER_GIB: u32 = 16;
/// Of each kernel that reads over the link.
const READ_DURATION: Duration = Duration::from_secs(1);

struct Options {
    gib: u32,
    inner_dim: u32,
    devices: [u32; 2],
    rounds: u32,
    sweep_path: Option<SweepPath>,
}

fn main() {
    let mut options = Options {
        gib: 16,
        inner_dim: 1024,
        devices: [0, 1],
        rounds: 5,
        sweep_path: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().expect("each option takes a value");
        let number = || value.parse().expect("a number");
        match argument.as_str() {
            "--gib" => options.gib = number(),
            "--inner-dim" => options.inner_dim = number(),
            "--rounds" => options.rounds = number(),
            "--devices" => {
                let devices: Vec<u32> = value
                    .split(',')
                    .map(|device| device.parse().expect("an index"))
                    .collect();
                options.devices = devices.try_into().expect("--devices takes two indices");
            }
            "--sweep" => {
                let path = SweepPath::ALL.into_iter().find(|path| path.to_string() == value);
                options.sweep_path = Some(path.expect("--sweep takes bulk or load"));
            }
            _ => panic!("no option {argument}"),
        }
    }
    if let Err(error) = compare(&options).and_then(|()| measure(&options)) {
        println!("{error}");
        std::process::exit(1);
    }
}

fn engines(options: &Options) -> Result<[CudaEngine; 2], EngineError> {
    let [first, second] = options.devices.map(|device_index| {
        CudaEngine::new(CudaEngineConfig {
            sweep_path: options.sweep_path,
            ..CudaEngineConfig::new(device_index)
        })
    });
    Ok([first?, second?])
}

/// Two devices of as many matrices, one after the other.
fn assignments(matrix_dim: u32, num_matrices: u32, max_inner_dim: u32) -> Result<[Assignment; 2], EngineError> {
    let assignment = |place: u32| {
        Assignment::new(AssignmentFields {
            matrix_dim,
            matrix_offset: u64::from(place * num_matrices),
            num_matrices,
            max_inner_dim,
        })
    };
    Ok([assignment(0)?, assignment(1)?])
}

fn fill_task(inner_dim: u32) -> FillTask {
    FillTask {
        inner_dim,
        operand_key: OperandKey(derive("example operands", &[])),
        fill_salt: Salt(derive("example fill", &[])),
        sweeps: 0,
    }
}

fn cross_task(place: usize, round: u32, crossings: u32) -> CrossTask {
    let salt = |place: usize| {
        Salt(derive(
            "example round",
            &[&(place as u32).to_le_bytes(), &round.to_le_bytes()],
        ))
    };
    CrossTask {
        round,
        crossings,
        salt: salt(place),
        other: 1 - place,
        other_salt: salt(1 - place),
    }
}

fn prepare<E: Engine>(engines: &mut [E; 2], assignments: &[Assignment; 2]) -> Result<(), EngineError> {
    for (engine, assignment) in engines.iter_mut().zip(assignments) {
        engine.prepare(assignment)?;
    }
    let datasets: Vec<Arc<dyn Dataset>> = engines.iter().map(Engine::dataset).collect::<Result<_, _>>()?;
    for engine in engines {
        engine.connect(&datasets)?;
    }
    Ok(())
}

/// Runs work on both engines, each on its own thread, started together; returns results and durations.
fn both<E: Send, T: Send>(
    engines: &mut [E; 2],
    work: impl Fn(usize, &mut E) -> Result<T, EngineError> + Sync,
) -> Result<[(T, Duration); 2], EngineError> {
    let start = Barrier::new(2);
    let timed = |place: usize, engine: &mut E| -> Result<(T, Duration), EngineError> {
        start.wait();
        let began = Instant::now();
        let result = work(place, engine)?;
        Ok((result, began.elapsed()))
    };
    let [first, second] = engines;
    thread::scope(|scope| {
        let timed = &timed;
        let second = scope.spawn(move || timed(1, second));
        let first = timed(0, first);
        Ok([first?, second.join().expect("no panic")?])
    })
}

/// Compares roots with those of the CPU.
fn compare(options: &Options) -> Result<(), EngineError> {
    let assignments = assignments(1024, 5, 256)?;
    let crossings = assignments[0].tiles() / 4;
    let cpu = || CpuEngine::new(CpuEngineConfig::default()).expect("the best path is available");
    let gpus = roots(&mut engines(options)?, &assignments, crossings)?;
    let cpus = roots(&mut [cpu(), cpu()], &assignments, crossings)?;
    assert_eq!(gpus, cpus, "the GPUs' roots, the CPU's");
    println!(
        "{crossings} crossings of {} tiles: the roots are the CPU's",
        assignments[0].tiles()
    );
    Ok(())
}

fn roots<E: Engine>(
    engines: &mut [E; 2],
    assignments: &[Assignment; 2],
    crossings: u32,
) -> Result<[Root; 2], EngineError> {
    prepare(engines, assignments)?;
    both(engines, |_, engine| engine.fill(&fill_task(256), &Unobserved))?;
    let rounds = both(engines, |place, engine| {
        engine.cross(&cross_task(place, 0, crossings), &Unobserved)
    })?;
    Ok(rounds.map(|(root, _)| root))
}

fn measure(options: &Options) -> Result<(), EngineError> {
    let assignments = assignments(MATRIX_DIM, options.gib * MATRICES_PER_GIB, options.inner_dim)?;
    let mut engines = engines(options)?;
    let start = Instant::now();
    prepare(&mut engines, &assignments)?;
    let tiles = assignments[0].tiles();
    let crossings = tiles / 4;
    println!(
        "devices {:?}, {} GiB each, {tiles} tiles, {} / {}, prepared and connected in {:.0} ms",
        options.devices,
        options.gib,
        engines[0].fill_path(),
        engines[0].sweep_path(),
        start.elapsed().as_secs_f64() * 1e3
    );
    for (device, engine) in options.devices.iter().zip(&engines) {
        let paths: Vec<String> = engine.link_paths().iter().map(ToString::to_string).collect();
        println!("device {device} reads by {}", paths.join(", "));
    }
    let filled = both(&mut engines, |_, engine| {
        engine.fill(&fill_task(options.inner_dim), &Unobserved)
    })?;
    for (device, (_, time)) in options.devices.iter().zip(&filled) {
        println!("device {device} filled in {:.1} ms", time.as_secs_f64() * 1e3);
    }
    println!("{:24} {:>6} {:>10} {:>10}  kernel", "", "device", "GB/s", "best");
    for (place, engine) in engines.iter().enumerate() {
        show(
            "reads, one way",
            options.devices[place],
            link_reads(engine, 1 - place, READ_DURATION),
        );
    }
    let at_once = both(&mut engines, |place, engine| {
        Ok(link_reads(engine, 1 - place, READ_DURATION))
    })?;
    for (device, (reads, _)) in options.devices.into_iter().zip(at_once) {
        show("reads, both ways at once", device, reads);
    }

    let bytes = |tiles: u32| f64::from(tiles) * TILE_BYTES as f64;
    println!(
        "{:24} {:>6} {:>10} {:>10} {:>10}",
        "", "device", "ms", "over link", "all bytes"
    );
    let row = |what: &str, device: u32, time: Duration, over_link: u32, all: u32| {
        let rate = |tiles: u32| bytes(tiles) / time.as_secs_f64() * 1e-9;
        let ms = time.as_secs_f64() * 1e3;
        println!(
            "{what:24} {device:6} {ms:10.3} {:10.1} {:10.1}",
            rate(over_link),
            rate(all)
        );
    };
    for round in 0..options.rounds {
        let task = |place| cross_task(place, round, crossings);
        let done = both(&mut engines, |place, engine| engine.cross(&task(place), &Unobserved))?;
        for (device, (_, time)) in options.devices.into_iter().zip(done) {
            row(
                &format!("round {round}, both at once"),
                device,
                time,
                crossings,
                4 * crossings,
            );
        }
    }
    for (place, engine) in engines.iter_mut().enumerate() {
        let start = Instant::now();
        engine.cross(&cross_task(place, options.rounds, crossings), &Unobserved)?;
        row(
            "round of one alone",
            options.devices[place],
            start.elapsed(),
            crossings,
            4 * crossings,
        );
    }
    for round in 0..2 {
        let salt = Salt(derive("example sweep", &[&[round]]));
        let swept = both(&mut engines, |_, engine| engine.sweep(&salt, &Unobserved))?;
        for (device, (_, time)) in options.devices.into_iter().zip(swept) {
            row("sweep, both at once", device, time, 0, tiles);
        }
    }
    Ok(())
}

fn show(what: &str, device: u32, reads: Result<Vec<LinkReads>, EngineError>) {
    match reads {
        Ok(reads) => {
            for LinkReads { name, rate, .. } in reads {
                println!("{what:24} {device:6} {:10.1} {:10.1}  {name}", rate.median, rate.most);
            }
        }
        Err(error) => println!("{what:24} {device:6} {error}"),
    }
}
