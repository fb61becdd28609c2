//! The engine on a GPU at sizes that break tilings, when cancelled, when memory ends, and when asked for what it can't do.

mod common;

use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{engine, paths};
use engine_cpu::{CpuEngine, CpuEngineConfig, Path};
use engine_cuda::{CudaEngine, CudaEngineConfig, FillPath, SweepPath};
use protocol::bytes::{OperandKey, Root, Salt};
use protocol::engine::{
    Assignment, AssignmentFields, CommitmentId, Engine, EngineError, FillTask, Progress, Unobserved,
};

const KEY: OperandKey = OperandKey([0x42; 32]);
const FILL_SALT: Salt = Salt([0x17; 32]);
const SWEEP_SALT: Salt = Salt([0x99; 32]);

fn assignment(matrix_dim: u32, num_matrices: u32, max_inner_dim: u32) -> Assignment {
    Assignment::new(AssignmentFields {
        matrix_dim,
        matrix_offset: 0xFFFF_FFFE,
        num_matrices,
        max_inner_dim,
    })
    .expect("sizes that a plan can have")
}

fn task(inner_dim: u32) -> FillTask {
    FillTask {
        inner_dim,
        operand_key: KEY,
        fill_salt: FILL_SALT,
        sweeps: 2,
    }
}

/// Counts tiles and cancels after so many.
struct Counter {
    tiles: AtomicU64,
    cancel_after: u64,
}

impl Counter {
    fn new(cancel_after: u64) -> Self {
        Counter {
            tiles: AtomicU64::new(0),
            cancel_after,
        }
    }
}

impl Progress for Counter {
    fn advance(&self, tiles: u64) {
        self.tiles.fetch_add(tiles, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.tiles.load(Ordering::Relaxed) >= self.cancel_after
    }
}

/// Roots of a fill and a sweep on the CPU.
fn on_the_cpu(assignment: &Assignment, k: u32) -> [Root; 2] {
    let mut engine = CpuEngine::new(CpuEngineConfig {
        path: Path::best(),
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        operand_budget_bytes: 256 << 20,
        memory_limit_bytes: None,
    })
    .expect("the best path is available");
    roots(&mut engine, assignment, k)
}

fn roots(engine: &mut dyn Engine, assignment: &Assignment, k: u32) -> [Root; 2] {
    engine.prepare(assignment).expect("the memory is there");
    let fill = engine.fill(&task(k), &Unobserved).expect("the fill runs");
    [fill, engine.sweep(&SWEEP_SALT, &Unobserved).expect("the sweep runs")]
}

#[test]
fn roots_agree_with_the_cpu_at_awkward_sizes() {
    let Some(_turn) = common::gpu("roots_agree_with_the_cpu_at_awkward_sizes") else {
        return;
    };
    let paths = paths();
    for (n, matrices, max, k) in [
        (256, 1, 64, 64),
        (256, 2, 192, 192),
        (256, 3, 65_536, 576),
        (512, 1, 192, 64),
        (512, 3, 4096, 4096),
        (768, 5, 128, 128),
        (1024, 3, 16_384, 192),
        (1024, 1, 16_384, 16_384),
        (2048, 1, 4096, 4096),
        (2304, 2, 320, 320),
        (4352, 1, 192, 192),
        (8448, 1, 64, 64),
        (256, 2, 65_536, 65_536),
    ] {
        let assignment = assignment(n, matrices, max);
        let expected = on_the_cpu(&assignment, k);
        for paths in &paths {
            let actual = roots(&mut engine(*paths), &assignment, k);
            assert_eq!(
                actual, expected,
                "{paths:?}, n = {n}, {matrices} matrices, k = {k} of {max}"
            );
        }
    }
}

#[test]
fn leaf_counts_around_a_chunk_agree_with_the_cpu_and_open() {
    let Some(_turn) = common::gpu("leaf_counts_around_a_chunk_agree_with_the_cpu_and_open") else {
        return;
    };
    for tiles in [128, 129, 256, 257, 513, 16_384, 16_387, 40_000] {
        let assignment = assignment(256, tiles, 64);
        let expected = on_the_cpu(&assignment, 64);
        for paths in paths() {
            let mut engine = engine(paths);
            assert_eq!(
                roots(&mut engine, &assignment, 64),
                expected,
                "{paths:?}: {tiles} tiles"
            );
            let sweep_leaves = tiles.div_ceil(2);
            for (id, root, leaves) in [
                (CommitmentId::Fill { iteration: 0 }, expected[0], tiles),
                (
                    CommitmentId::Sweep { iteration: 0, sweep: 1 },
                    expected[1],
                    sweep_leaves,
                ),
            ] {
                for leaf in [0, leaves / 2, leaves - 1] {
                    let opening = engine.open(id, leaf).expect("the leaf exists");
                    assert!(
                        opening.verify(&root, leaf, leaves.into()).is_ok(),
                        "{paths:?}: leaf {leaf} of {id}"
                    );
                }
                assert!(
                    engine.open(id, leaves).is_err(),
                    "{paths:?}: {id} has one leaf too many"
                );
            }
        }
    }
}

#[test]
fn iterations_and_sweeps_count_as_the_trait_says() {
    let Some(_turn) = common::gpu("iterations_and_sweeps_count_as_the_trait_says") else {
        return;
    };
    let mut engine = CudaEngine::new(CudaEngineConfig::new(0)).expect("there is a GPU");
    let id = CommitmentId::Fill { iteration: 0 };
    assert!(matches!(
        engine.fill(&task(64), &Unobserved),
        Err(EngineError::Unsupported(_))
    ));
    engine.prepare(&assignment(256, 3, 192)).expect("the memory is there");
    assert!(matches!(
        engine.sweep(&SWEEP_SALT, &Unobserved),
        Err(EngineError::Unsupported(_))
    ));
    assert!(matches!(
        engine.fill(&task(256), &Unobserved),
        Err(EngineError::Unsupported(_))
    ));
    let no_leaf = EngineError::NoSuchLeaf {
        commitment: id,
        leaf: 0,
    };
    assert_eq!(engine.open(id, 0), Err(no_leaf));

    let mut made = Vec::new();
    for (iteration, sweeps) in [(0, 5), (1, 2)] {
        engine
            .fill(&task(192 - 64 * iteration), &Unobserved)
            .expect("the fill runs");
        for sweep in 1..=sweeps {
            let salt = Salt([sweep as u8; 32]);
            let root = engine.sweep(&salt, &Unobserved).expect("the sweep runs");
            made.push((CommitmentId::Sweep { iteration, sweep }, root));
        }
        let absent = CommitmentId::Sweep {
            iteration,
            sweep: sweeps + 1,
        };
        assert!(engine.open(absent, 0).is_err());
        assert!(engine.open(CommitmentId::Sweep { iteration, sweep: 0 }, 0).is_err());
    }
    for (id, root) in made {
        let opening = engine.open(id, 1).expect("the leaf exists");
        assert!(opening.verify(&root, 1, 2).is_ok(), "{id}");
    }
    engine.prepare(&assignment(256, 3, 192)).expect("the memory is there");
    assert!(engine.open(id, 0).is_err(), "a new preparation forgets");
}

#[test]
fn cancelled_work_stops_and_can_begin_anew() {
    let Some(_turn) = common::gpu("cancelled_work_stops_and_can_begin_anew") else {
        return;
    };
    let assignment = assignment(4096, 64, 16_384);
    let mut engine = CudaEngine::new(CudaEngineConfig {
        fill_path: Some(FillPath::Mma),
        ..CudaEngineConfig::new(0)
    })
    .expect("there is a GPU");
    let expected = roots(&mut engine, &assignment, 64);
    assert_eq!(engine.fill(&task(64), &Counter::new(0)), Err(EngineError::Cancelled));
    assert_eq!(engine.sweep(&SWEEP_SALT, &Counter::new(0)), Err(EngineError::Cancelled));
    let counter = Counter::new(1);
    // 35 Tera-operations in one launch: cancelled at its end.
    assert_eq!(engine.fill(&task(16_384), &counter), Err(EngineError::Cancelled));
    assert!(matches!(
        engine.sweep(&SWEEP_SALT, &Unobserved),
        Err(EngineError::Unsupported(_))
    ));
    assert_eq!(roots(&mut engine, &assignment, 64), expected);
    let counter = Counter::new(u64::MAX);
    engine.fill(&task(64), &counter).expect("the fill runs");
    assert_eq!(counter.tiles.load(Ordering::Relaxed), u64::from(assignment.tiles()));
}

#[test]
fn memory_that_is_not_there_is_a_typed_error() {
    let Some(_turn) = common::gpu("memory_that_is_not_there_is_a_typed_error") else {
        return;
    };
    let mut engine = CudaEngine::new(CudaEngineConfig::new(0)).expect("there is a GPU");
    let offer = engine.offer().expect("the driver answers");
    let too_many = (offer.memory_bytes / (8192 * 8192) + 1) as u32;
    let assignment = assignment(8192, too_many, 64);
    let requested_bytes = engine.required_bytes(&assignment);
    match engine.prepare(&assignment) {
        Err(EngineError::OutOfMemory {
            requested_bytes: requested,
            available_bytes,
        }) => {
            assert_eq!(requested, requested_bytes);
            assert!(available_bytes <= offer.memory_bytes);
        }
        other => panic!("{too_many} matrices: {other:?}"),
    }
    let mut limited = CudaEngine::new(CudaEngineConfig {
        memory_limit_bytes: Some(1 << 20),
        ..CudaEngineConfig::new(0)
    })
    .expect("there is a GPU");
    assert_eq!(limited.offer().expect("the driver answers").available_bytes, 1 << 20);
    assert!(matches!(
        limited.prepare(&self::assignment(1024, 1, 64)),
        Err(EngineError::OutOfMemory { available_bytes, .. }) if available_bytes == 1 << 20
    ));
}

#[test]
fn unknown_devices_and_paths_are_errors() {
    let Some(_turn) = common::gpu("unknown_devices_and_paths_are_errors") else {
        return;
    };
    assert!(CudaEngine::new(CudaEngineConfig::new(4096)).is_err());
    // Hopper's own kernels have no portable image.
    let hopper_portable = CudaEngineConfig {
        fill_path: Some(FillPath::Sm90a),
        portable_images: true,
        ..CudaEngineConfig::new(0)
    };
    assert!(matches!(
        CudaEngine::new(hopper_portable),
        Err(EngineError::Unsupported(_))
    ));
    let bulk_portable = CudaEngineConfig {
        sweep_path: Some(SweepPath::Bulk),
        portable_images: true,
        ..CudaEngineConfig::new(0)
    };
    assert!(matches!(
        CudaEngine::new(bulk_portable),
        Err(EngineError::Unsupported(_))
    ));
}

#[test]
fn a_launch_that_takes_too_long_is_given_up_and_frees_its_memory() {
    let Some(_turn) = common::gpu("a_launch_that_takes_too_long_is_given_up_and_frees_its_memory") else {
        return;
    };
    let observer = CudaEngine::new(CudaEngineConfig::new(0)).expect("there is a GPU");
    // A launch of 0.3 s on an H200.
    let assignment = assignment(16_384, 45, 16_384);
    if observer.fill_path() != FillPath::Sm90a
        || observer.offer().expect("the driver answers").matrices(16_384, 16_384) < 45
    {
        eprintln!("SKIPPED: made for a large Hopper chip");
        return;
    }
    let free = || observer.offer().expect("the driver answers").available_bytes;
    let before = free();
    let mut engine = CudaEngine::new(CudaEngineConfig {
        launch_limit: Duration::from_millis(100),
        ..CudaEngineConfig::new(0)
    })
    .expect("there is a GPU");
    engine.prepare(&assignment).expect("the memory is there");
    match engine.fill(&task(16_384), &Unobserved) {
        Err(EngineError::DeviceLost(what)) => assert!(what.contains("abandoned"), "{what}"),
        other => panic!("{other:?}"),
    }
    drop(engine);
    assert!(before.abs_diff(free()) < 64 << 20);
}

#[test]
fn engines_that_share_a_device_fill_in_turn_and_all_finish() {
    let Some(_turn) = common::gpu("engines_that_share_a_device_fill_in_turn_and_all_finish") else {
        return;
    };
    let assignment = assignment(2048, 12, 4096);
    let limit = 512 << 20;
    for count in [3, 8] {
        let expected = roots(&mut engine(paths()[0]), &assignment, 4096);
        let together = Barrier::new(count);
        thread::scope(|scope| {
            let working: Vec<_> = (0..count)
                .map(|_| {
                    scope.spawn(|| {
                        let mut engine = CudaEngine::new(CudaEngineConfig {
                            memory_limit_bytes: Some(limit),
                            ..CudaEngineConfig::new(0)
                        })
                        .expect("there is a GPU");
                        engine.prepare(&assignment).expect("the memory is there");
                        together.wait();
                        let mut last = None;
                        for _ in 0..5 {
                            let fill = engine.fill(&task(4096), &Unobserved).expect("the fill runs");
                            last = Some([fill, engine.sweep(&SWEEP_SALT, &Unobserved).expect("the sweep runs")]);
                        }
                        last.expect("five times")
                    })
                })
                .collect();
            for thread in working {
                assert_eq!(thread.join().expect("no panic"), expected, "{count} engines");
            }
        });
    }
}
