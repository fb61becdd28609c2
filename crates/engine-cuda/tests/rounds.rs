//! Rounds between two GPUs, and between a GPU and a CPU, on every path that tiles take.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_cpu::{CpuEngine, CpuEngineConfig};
use engine_cuda::{CudaEngine, CudaEngineConfig, LinkPath, device_count};
use protocol::bytes::{OperandKey, Root, Salt};
use protocol::engine::{
    Assignment, AssignmentFields, CommitmentId, CrossTask, Dataset, Engine, EngineError, FillTask, Progress, Unobserved,
};
use protocol::limits::TILE_BYTES;

const SALTS: [Salt; 3] = [Salt([0x31; 32]), Salt([0x32; 32]), Salt([0x33; 32])];
const SWEEP_SALT: Salt = Salt([0x99; 32]);
/// A quarter of the fewest tiles: fetched tiles take several launches.
const CROSSINGS: u32 = 30;

/// Names the path that the emulated GPUs are to have to each other.
const EXPECTED_LINK: &str = "GPU_ATTESTOR_TEST_LINK";

/// Devices of 120, 128 and 132 tiles.
fn assignments() -> [Assignment; 3] {
    [(0, 30), (30, 32), (62, 33)].map(|(matrix_offset, num_matrices)| {
        Assignment::new(AssignmentFields {
            matrix_dim: 512,
            matrix_offset,
            num_matrices,
            max_inner_dim: 64,
        })
        .expect("sizes that a plan can have")
    })
}

fn fill_task(iteration: u8) -> FillTask {
    FillTask {
        inner_dim: 64,
        operand_key: OperandKey([0x42 + iteration; 32]),
        fill_salt: Salt([0x17; 32]),
        sweeps: 0,
    }
}

fn cross_task(own: usize, other: usize, round: u32) -> CrossTask {
    CrossTask {
        round,
        crossings: CROSSINGS,
        salt: SALTS[own],
        other,
        other_salt: SALTS[other],
    }
}

fn cpu() -> CpuEngine {
    CpuEngine::new(CpuEngineConfig::default()).expect("the best path is available")
}

fn gpu(device_index: u32) -> CudaEngine {
    CudaEngine::new(CudaEngineConfig::new(device_index)).expect("there is a GPU")
}

/// The GPU of the second engine: another one if there is one.
fn second() -> u32 {
    (device_count().expect("there is a GPU") as u32 - 1).min(1)
}

fn connect(engines: &mut [&mut dyn Engine]) {
    for (engine, assignment) in engines.iter_mut().zip(assignments()) {
        engine.prepare(&assignment).expect("the memory is there");
    }
    let datasets: Vec<Arc<dyn Dataset>> = engines
        .iter()
        .map(|engine| engine.dataset().expect("it is prepared"))
        .collect();
    for engine in engines {
        engine.connect(&datasets).expect("there is a path to every dataset");
    }
}

/// The root of a device's leaves with each of the others.
fn rounds(engines: &mut [&mut dyn Engine], iteration: u8) -> Vec<Root> {
    for engine in engines.iter_mut() {
        engine.fill(&fill_task(iteration), &Unobserved).expect("the fill runs");
    }
    let mut roots = Vec::new();
    for (round, (own, other)) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)].into_iter().enumerate() {
        let root = engines[own].cross(&cross_task(own, other, round as u32), &Unobserved);
        roots.push(root.unwrap_or_else(|error| panic!("{own} with {other}: {error}")));
    }
    roots
}

#[test]
fn gpus_and_a_cpu_read_each_others_tiles() {
    let Some(_turn) = common::gpu("gpus_and_a_cpu_read_each_others_tiles") else {
        return;
    };
    let (mut first, mut other, mut on_cpu) = (gpu(0), gpu(second()), cpu());
    let mut engines: [&mut dyn Engine; 3] = [&mut first, &mut other, &mut on_cpu];
    let mut cpus = [cpu(), cpu(), cpu()];
    let mut cpus = cpus.each_mut().map(|engine| engine as &mut dyn Engine);
    connect(&mut engines);
    connect(&mut cpus);
    // Datasets stay connected from fill to fill.
    for iteration in 0..2 {
        assert_eq!(
            rounds(&mut engines, iteration),
            rounds(&mut cpus, iteration),
            "iteration {iteration}"
        );
        for (round, leaf) in [(0, 0), (0, 59), (2, 31)] {
            let id = CommitmentId::Round {
                iteration: iteration.into(),
                round,
            };
            assert_eq!(engines[0].open(id, leaf), cpus[0].open(id, leaf), "{id}, leaf {leaf}");
        }
    }
    let between = other.link_paths()[0];
    assert_eq!(first.link_paths(), [LinkPath::Same, between, LinkPath::Staged]);
    assert_eq!(other.link_paths(), [between, LinkPath::Same, LinkPath::Staged]);
    match std::env::var(EXPECTED_LINK) {
        Ok(expected) => assert_eq!(between.to_string(), expected),
        Err(_) => eprintln!("the path from GPU 0 to GPU {} is {between}", second()),
    }
}

#[test]
fn tiles_are_read_as_they_are() {
    let Some(_turn) = common::gpu("tiles_are_read_as_they_are") else {
        return;
    };
    let (mut on_gpu, mut on_cpu) = (gpu(0), cpu());
    connect(&mut [&mut on_gpu, &mut on_cpu]);
    on_cpu.prepare(&assignments()[0]).expect("the memory is there");
    for engine in [&mut on_gpu as &mut dyn Engine, &mut on_cpu] {
        engine.fill(&fill_task(0), &Unobserved).expect("the fill runs");
    }
    let datasets = [&on_gpu as &dyn Engine, &on_cpu].map(|engine| engine.dataset().expect("it is prepared"));
    for tile in [0, 1, 57, 119] {
        let [actual, expected] = datasets.each_ref().map(|dataset| {
            let mut bytes = Box::new([0; TILE_BYTES]);
            dataset.read(tile, &mut bytes).expect("it has the tile");
            bytes
        });
        assert!(actual == expected, "tile {tile}");
    }
    let beyond = datasets[0].read(120, &mut [0; TILE_BYTES]);
    assert!(matches!(beyond, Err(EngineError::Unsupported(_))), "{beyond:?}");
}

/// Cancels once tiles are reported.
#[derive(Default)]
struct OnceBegun(AtomicU64);

impl Progress for OnceBegun {
    fn advance(&self, tiles: u64) {
        self.0.fetch_add(tiles, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

#[test]
fn a_cancelled_round_leaves_the_datasets() {
    let Some(_turn) = common::gpu("a_cancelled_round_leaves_the_datasets") else {
        return;
    };
    let (mut first, mut other, mut on_cpu) = (gpu(0), gpu(second()), cpu());
    let mut engines: [&mut dyn Engine; 3] = [&mut first, &mut other, &mut on_cpu];
    connect(&mut engines);
    let expected = rounds(&mut engines, 0);
    for engine in &mut engines {
        engine.fill(&fill_task(0), &Unobserved).expect("the fill runs");
    }
    let swept = engines[0].sweep(&SWEEP_SALT, &Unobserved);
    for (other, root) in [(1, expected[0]), (2, expected[2])] {
        let cancelled = engines[0].cross(&cross_task(0, other, 7), &OnceBegun::default());
        assert_eq!(cancelled, Err(EngineError::Cancelled));
        let no_round = CommitmentId::Round { iteration: 1, round: 7 };
        assert!(engines[0].open(no_round, 0).is_err());
        assert_eq!(
            engines[0].cross(&cross_task(0, other, other as u32), &Unobserved),
            Ok(root)
        );
        assert_eq!(engines[0].sweep(&SWEEP_SALT, &Unobserved), swept);
    }
}

#[test]
fn a_dataset_ends_when_its_device_is_prepared_again() {
    let Some(_turn) = common::gpu("a_dataset_ends_when_its_device_is_prepared_again") else {
        return;
    };
    let (mut first, mut other) = (gpu(0), gpu(second()));
    connect(&mut [&mut first, &mut other]);
    let dataset = other.dataset().expect("it is prepared");
    assert_eq!(dataset.tiles(), assignments()[1].tiles());
    for engine in [&mut first, &mut other] {
        engine.fill(&fill_task(0), &Unobserved).expect("the fill runs");
    }
    let task = cross_task(0, 1, 0);
    first.cross(&task, &Unobserved).expect("the round runs");
    let before = other.offer().expect("the driver answers").available_bytes;
    other.prepare(&assignments()[1]).expect("the memory is there");
    // The old dataset, to which there are still handles, is no longer in memory.
    let after = other.offer().expect("the driver answers").available_bytes;
    assert!(
        before.abs_diff(after) < assignments()[1].dataset_bytes(),
        "{before} and {after}"
    );
    assert_eq!(dataset.tiles(), 0);
    for refused in [
        dataset.read(0, &mut [0; TILE_BYTES]).err(),
        first.cross(&task, &Unobserved).err(),
    ] {
        assert!(matches!(refused, Some(EngineError::Unsupported(_))), "{refused:?}");
    }
    first.sweep(&SWEEP_SALT, &Unobserved).expect("the device itself works");
}

/// Two emulated GPUs, with and without access to each other's memory, and one.
#[cfg(target_os = "linux")]
#[test]
fn on_a_fake_pair() {
    for (devices, peer, link) in [("2", "1", "peer"), ("2", "0", "staged"), ("1", "1", "same")] {
        for compute_capability in ["75", "90"] {
            let environment = [
                ("FC_CC", compute_capability),
                ("FC_DEVICES", devices),
                ("FC_PEER", peer),
                (EXPECTED_LINK, link),
            ];
            common::again_on_fake_gpus(&environment, &[]);
        }
    }
    // Refused only when it is asked for.
    let environment = [
        ("FC_DEVICES", "2"),
        ("FC_BAD", "cuCtxEnablePeerAccess:1:711,cuCtxEnablePeerAccess:0:217"),
        (EXPECTED_LINK, "staged"),
    ];
    common::again_on_fake_gpus(&environment, &["gpus_and_a_cpu"]);
}
