//! The engine at sizes that break tilings, when cancelled, and when asked for what it can't do.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_cpu::{CpuEngine, CpuEngineConfig, Path};
use protocol::bytes::{OperandKey, Salt};
use protocol::commitment::Commitment;
use protocol::digest::DigestKey;
use protocol::engine::{
    Assignment, AssignmentFields, CommitmentId, Engine, EngineError, FillTask, Progress, Unobserved,
};

const KEY: OperandKey = OperandKey([0x42; 32]);
const FILL_SALT: Salt = Salt([0x17; 32]);
const SWEEP_SALT: Salt = Salt([0x99; 32]);

fn engine(path: Path, threads: usize, operand_budget_bytes: usize) -> CpuEngine {
    let threads = NonZeroUsize::new(threads).expect("not zero");
    CpuEngine::new(CpuEngineConfig {
        path,
        threads,
        operand_budget_bytes,
        memory_limit_bytes: None,
    })
    .expect("the path is available")
}

fn assignment(matrix_dim: u32, num_matrices: u32, max_inner_dim: u32) -> Assignment {
    Assignment::new(AssignmentFields {
        matrix_dim,
        matrix_offset: 5,
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
        sweeps: 0,
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

/// Roots as the definitions give them, tile by tile.
fn expected_roots(assignment: &Assignment, k: u32) -> [[u8; 32]; 2] {
    let device = reference::Device {
        matrix_offset: assignment.matrix_offset(),
        num_matrices: assignment.num_matrices().into(),
    };
    let tiles = reference::device_tiles(&KEY.0, assignment.matrix_dim() as usize, k as usize, &device);
    let fill_key = reference::key(&FILL_SALT.0);
    let fill: Vec<u64> = tiles
        .iter()
        .map(|tile| reference::fill_digest(&fill_key, tile))
        .collect();
    [
        reference::root(&fill),
        reference::root(&reference::sweep(&SWEEP_SALT.0, &tiles)),
    ]
}

#[test]
fn roots_agree_with_the_reference_at_awkward_sizes() {
    for (n, matrices, k) in [(256, 1, 64), (256, 2, 192), (256, 3, 576), (512, 1, 64), (768, 1, 128)] {
        let assignment = assignment(n, matrices, k);
        let expected = expected_roots(&assignment, k);
        for path in Path::available() {
            for (threads, budget) in [(1, 0), (3, 1 << 20), (2, 2 * 256 * k as usize)] {
                let mut engine = engine(path, threads, budget);
                engine.prepare(&assignment).expect("the memory is there");
                let fill = engine.fill(&task(k), &Unobserved).expect("the fill runs");
                let sweep = engine.sweep(&SWEEP_SALT, &Unobserved).expect("the sweep runs");
                assert_eq!(
                    [fill.0, sweep.0],
                    expected,
                    "{path}, n = {n}, {matrices} matrices, k = {k}"
                );
            }
        }
    }
}

#[test]
fn leaf_counts_around_a_chunk_agree_between_paths_and_with_the_definitions() {
    // Fill leaves 128, 129, 257 and sweep leaves 128, 129, 257: k is as small as it gets.
    for tiles in [128, 129, 256, 257, 513] {
        let assignment = assignment(256, tiles, 64);
        let counter = Counter::new(u64::MAX);
        let roots: Vec<_> = Path::available()
            .into_iter()
            .map(|path| {
                let mut engine = engine(path, 2, 0);
                engine.prepare(&assignment).expect("the memory is there");
                counter.tiles.store(0, Ordering::Relaxed);
                let fill = engine.fill(&task(64), &counter).expect("the fill runs");
                assert_eq!(
                    counter.tiles.load(Ordering::Relaxed),
                    u64::from(tiles),
                    "{path}: tiles filled"
                );
                let sweep = engine.sweep(&SWEEP_SALT, &counter).expect("the sweep runs");
                assert_eq!(
                    counter.tiles.load(Ordering::Relaxed),
                    2 * u64::from(tiles),
                    "{path}: tiles swept"
                );
                for (id, root, leaves) in [
                    (CommitmentId::Fill { iteration: 0 }, fill, tiles),
                    (CommitmentId::Sweep { iteration: 0, sweep: 1 }, sweep, tiles.div_ceil(2)),
                ] {
                    for leaf in [0, leaves / 2, leaves - 1] {
                        let opening = engine.open(id, leaf).expect("the leaf exists");
                        assert!(
                            opening.verify(&root, leaf, leaves.into()).is_ok(),
                            "{path}: leaf {leaf} of {id}"
                        );
                    }
                }
                (fill, sweep)
            })
            .collect();
        assert!(
            roots.iter().all(|pair| *pair == roots[0]),
            "paths disagree at {tiles} tiles: {roots:?}"
        );

        let tile = |index: u64| reference::tile(&KEY.0, 64, 5 + index, 0, 0);
        let key = DigestKey::expand(&FILL_SALT);
        let leaves = (0..u64::from(tiles))
            .map(|i| key.fill_digest(tile(i)[..].try_into().expect("a tile")))
            .collect();
        assert_eq!(Commitment::new(leaves).root(), roots[0].0, "fill root of {tiles} tiles");
    }
}

#[test]
fn large_inner_dims_agree_between_paths() {
    for k in [4096, 16_384, 65_536] {
        let roots: Vec<_> = Path::available()
            .into_iter()
            .map(|path| {
                let mut engine = engine(path, 2, 1 << 25);
                engine.prepare(&assignment(512, 1, k)).expect("the memory is there");
                let fill = engine.fill(&task(k), &Unobserved).expect("the fill runs");
                (fill, engine.sweep(&SWEEP_SALT, &Unobserved).expect("the sweep runs"))
            })
            .collect();
        assert!(
            roots.iter().all(|pair| *pair == roots[0]),
            "paths disagree at k = {k}: {roots:?}"
        );
    }
}

#[test]
fn iterations_and_sweeps_count_as_the_trait_says() {
    let mut engine = engine(Path::best(), 2, 0);
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
    assert_eq!(
        engine.open(id, 0),
        Err(EngineError::NoSuchLeaf {
            commitment: id,
            leaf: 0
        })
    );

    for (iteration, sweeps) in [(0, 2), (1, 1)] {
        engine
            .fill(&task(192 - 64 * iteration), &Unobserved)
            .expect("the fill runs");
        for sweep in 1..=sweeps {
            let salt = Salt([sweep as u8; 32]);
            let root = engine.sweep(&salt, &Unobserved).expect("the sweep runs");
            let opening = engine
                .open(CommitmentId::Sweep { iteration, sweep }, 1)
                .expect("the leaf exists");
            assert!(opening.verify(&root, 1, 2).is_ok());
        }
        let absent = CommitmentId::Sweep {
            iteration,
            sweep: sweeps + 1,
        };
        assert!(
            engine.open(absent, 0).is_err() && engine.open(CommitmentId::Sweep { iteration, sweep: 0 }, 0).is_err()
        );
    }
    assert!(engine.open(CommitmentId::Sweep { iteration: 0, sweep: 2 }, 1).is_ok());
    engine.prepare(&assignment(256, 3, 192)).expect("the memory is there");
    assert!(engine.open(id, 0).is_err(), "a new preparation forgets");
}

#[test]
fn cancelled_work_stops_and_leaves_nothing_behind() {
    for threads in [1, 3] {
        let mut engine = engine(Path::best(), threads, 1 << 20);
        engine.prepare(&assignment(1024, 4, 64)).expect("the memory is there");
        assert_eq!(engine.fill(&task(64), &Counter::new(0)), Err(EngineError::Cancelled));
        let counter = Counter::new(9);
        assert_eq!(engine.fill(&task(64), &counter), Err(EngineError::Cancelled));
        assert!(counter.tiles.load(Ordering::Relaxed) < 20);
        assert!(engine.open(CommitmentId::Fill { iteration: 0 }, 0).is_err());
        assert!(matches!(
            engine.sweep(&SWEEP_SALT, &Unobserved),
            Err(EngineError::Unsupported(_))
        ));

        engine.fill(&task(64), &Unobserved).expect("the fill runs");
        assert_eq!(engine.sweep(&SWEEP_SALT, &Counter::new(0)), Err(EngineError::Cancelled));
        assert!(engine.open(CommitmentId::Sweep { iteration: 0, sweep: 1 }, 0).is_err());
        assert!(engine.sweep(&SWEEP_SALT, &Unobserved).is_ok());
    }
}

#[test]
fn too_little_memory_is_a_typed_reason_with_figures() {
    let assignment = assignment(32_768, 60_000, 16_384);
    let mut engine = engine(Path::best(), 1, 0);
    let requested = engine.required_bytes(&assignment);
    match engine.prepare(&assignment) {
        Err(EngineError::OutOfMemory {
            requested_bytes,
            available_bytes,
        }) => {
            assert_eq!(requested_bytes, requested);
            assert!(available_bytes < requested_bytes);
        }
        other => panic!("64 TiB were given: {other:?}"),
    }

    let small = Assignment::new(AssignmentFields {
        num_matrices: 1,
        matrix_dim: 256,
        ..assignment.fields()
    })
    .expect("sizes that a plan can have");
    let config = CpuEngineConfig {
        memory_limit_bytes: Some(1000),
        ..CpuEngineConfig::default()
    };
    let mut engine = CpuEngine::new(config).expect("the path is available");
    let requested_bytes = engine.required_bytes(&small);
    let expected = EngineError::OutOfMemory {
        requested_bytes,
        available_bytes: 1000,
    };
    assert_eq!(engine.prepare(&small), Err(expected));
}
