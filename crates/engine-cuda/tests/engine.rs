//! Tests specific to GPUs: launches that are cancelled, abandoned or serialised, memory, and devices that do not exist.

mod common;

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{engine, paths};
use engine_cuda::{CudaEngine, CudaEngineConfig, FillPath, SweepPath};
use protocol::bytes::{OperandKey, Root, Salt};
use protocol::engine::{Assignment, AssignmentFields, Engine, EngineError, FillTask, Progress, Unobserved};

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

/// Counts tiles and cancels after this many.
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

fn roots(engine: &mut dyn Engine, assignment: &Assignment, k: u32) -> [Root; 2] {
    engine.prepare(assignment).expect("the memory is there");
    let fill = engine.fill(&task(k), &Unobserved).expect("the fill runs");
    [fill, engine.sweep(&SWEEP_SALT, &Unobserved).expect("the sweep runs")]
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
