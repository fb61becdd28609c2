//! The engine on every path that this CPU supports: the tests of every engine, and those specific to the CPU.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use conformance::{Losable, Size, Subject};
use engine_cpu::{CpuEngine, CpuEngineConfig, Path};
use protocol::bytes::{OperandKey, Salt};
use protocol::engine::{Assignment, AssignmentFields, Engine, EngineError, FillTask, Progress};

/// The engine with a path, threads, and bytes of packed operands.
#[derive(Clone, Copy)]
struct OnPath(Path, usize, usize);

impl OnPath {
    fn cpu_engine(&self, memory_limit_bytes: Option<u64>) -> CpuEngine {
        let OnPath(path, threads, operand_budget_bytes) = *self;
        CpuEngine::new(CpuEngineConfig {
            path,
            threads: NonZeroUsize::new(threads).expect("not zero"),
            operand_budget_bytes,
            memory_limit_bytes,
            link_bytes_per_s: None,
        })
        .expect("the path is available")
    }
}

impl fmt::Display for OnPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OnPath(path, threads, operand_budget_bytes) = self;
        write!(f, "{path}, {threads} threads, {operand_budget_bytes} bytes of operands")
    }
}

impl Subject for OnPath {
    fn engine(&self, memory_limit_bytes: Option<u64>) -> Box<dyn Engine> {
        Box::new(self.cpu_engine(memory_limit_bytes))
    }

    fn required_bytes(&self, assignment: &Assignment) -> u64 {
        self.cpu_engine(None).required_bytes(assignment)
    }

    fn losable(&self) -> Result<Losable<dyn Engine>, &'static str> {
        Err("its device is this host")
    }
}

/// Runs a function of the suite on every path, with each of these threads and bytes of operands.
fn on_every_path(configs: &[(usize, usize)], conforms: impl Fn(&[&dyn Subject])) {
    let of_path = |path| {
        configs
            .iter()
            .map(move |(threads, budget)| OnPath(path, *threads, *budget))
    };
    let subjects: Vec<OnPath> = Path::available().into_iter().flat_map(of_path).collect();
    let subjects: Vec<&dyn Subject> = subjects.iter().map(|subject| subject as _).collect();
    conforms(&subjects);
}

/// Column blocks one by one; all at once, with more threads than rows; and in groups of two, at k = 128, that leave one over.
const CONFIGS: [(usize, usize); 3] = [(1, 0), (3, 1 << 20), (2, 2 * 256 * 128)];

#[test]
fn every_run_of_the_vectors_is_reproduced() {
    on_every_path(
        &[(2, 256 << 20), (2, 0)],
        conformance::every_run_of_the_vectors_is_reproduced,
    );
}

#[test]
fn rounds_agree_with_the_reference() {
    on_every_path(&CONFIGS, conformance::rounds_agree_with_the_reference);
    on_every_path(&[(2, 0)], conformance::refused_rounds_do_no_harm);
}

#[test]
fn roots_agree_with_the_reference() {
    on_every_path(&CONFIGS, conformance::roots_agree_with_the_reference);
}

#[test]
fn leaf_counts_around_a_chunk() {
    on_every_path(&[(2, 0)], conformance::leaf_counts_around_a_chunk);
}

#[test]
fn iterations_and_sweeps_count_as_the_trait_says() {
    on_every_path(&CONFIGS, conformance::iterations_and_sweeps_count_as_the_trait_says);
}

#[test]
fn refusals_do_no_harm() {
    on_every_path(&CONFIGS, conformance::refusals_do_no_harm);
}

#[test]
fn hostile_openings_are_refused() {
    on_every_path(&[(2, 0)], conformance::hostile_openings_are_refused);
}

#[test]
fn cancelled_work_leaves_nothing_behind() {
    on_every_path(&CONFIGS, conformance::cancelled_work_leaves_nothing_behind);
}

#[test]
fn there_is_no_device_that_can_be_lost() {
    on_every_path(&[(1, 0)], |subjects| {
        assert!(subjects.iter().all(|subject| subject.losable().is_err()));
        // Printed, so that skipped checks are visible.
        conformance::a_lost_device_is_an_error_from_then_on(subjects);
    });
}

#[test]
fn memory_that_is_not_there_is_refused_with_figures() {
    on_every_path(&CONFIGS, conformance::memory_that_is_not_there_is_refused_with_figures);
}

#[test]
fn repeated_sessions_give_the_same_roots() {
    on_every_path(&CONFIGS, conformance::repeated_sessions_give_the_same_roots);
}

#[test]
fn large_inner_dims_agree_between_paths() {
    let sizes = [4096, 16_384, 65_536].map(|k| Size::new(512, 1, k, k));
    on_every_path(&[(2, 1 << 25)], |subjects| {
        let (portable, others) = subjects.split_first().expect("the portable path is always there");
        conformance::roots_agree(others, *portable, &sizes);
    });
}

/// Counts tiles and cancels after nine.
struct NineTiles(AtomicU64);

impl Progress for NineTiles {
    fn advance(&self, tiles: u64) {
        self.0.fetch_add(tiles, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 9
    }
}

#[test]
fn a_cancelled_fill_stops_within_a_tile_a_thread() {
    let assignment = Assignment::new(AssignmentFields {
        matrix_dim: 1024,
        matrix_offset: 5,
        num_matrices: 4,
        max_inner_dim: 64,
    })
    .expect("sizes that a plan can have");
    let task = FillTask {
        inner_dim: 64,
        operand_key: OperandKey([0x42; 32]),
        fill_salt: Salt([0x17; 32]),
        sweeps: 0,
    };
    for threads in [1, 3] {
        let mut engine = OnPath(Path::best(), threads, 1 << 20).cpu_engine(None);
        engine.prepare(&assignment).expect("the memory is there");
        let nine = NineTiles(AtomicU64::new(0));
        assert_eq!(engine.fill(&task, &nine), Err(EngineError::Cancelled));
        let tiles = nine.0.into_inner();
        assert!(tiles < 20, "{threads} threads: {tiles} of 64 tiles");
    }
}
