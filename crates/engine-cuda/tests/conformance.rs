//! The tests of every engine, on every path that the first GPU supports.

mod common;

use std::fmt;

use common::{OnPaths, paths};
use conformance::{Losable, Size, Subject};
use engine_cpu::{CpuEngine, CpuEngineConfig};
use protocol::engine::{Assignment, Engine};

/// The CPU to compare with, where the reference takes too long.
struct Cpu;

impl Cpu {
    fn cpu_engine(memory_limit_bytes: Option<u64>) -> CpuEngine {
        CpuEngine::new(CpuEngineConfig {
            memory_limit_bytes,
            ..CpuEngineConfig::default()
        })
        .expect("the best path is available")
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the CPU")
    }
}

impl Subject for Cpu {
    fn engine(&self, memory_limit_bytes: Option<u64>) -> Box<dyn Engine> {
        Box::new(Cpu::cpu_engine(memory_limit_bytes))
    }

    fn required_bytes(&self, assignment: &Assignment) -> u64 {
        Cpu::cpu_engine(None).required_bytes(assignment)
    }

    fn losable(&self) -> Result<Losable<dyn Engine>, &'static str> {
        Err("its device is this host")
    }
}

/// Runs a function of the suite on every path of device 0, or says that the test was skipped.
fn on_every_path(test: &str, conforms: impl Fn(&[&dyn Subject])) {
    let Some(_turn) = common::gpu(test) else {
        return;
    };
    let subjects: Vec<OnPaths> = paths().into_iter().map(OnPaths).collect();
    let subjects: Vec<&dyn Subject> = subjects.iter().map(|subject| subject as _).collect();
    assert!(!subjects.is_empty(), "this GPU runs no path");
    conforms(&subjects);
}

#[test]
fn every_run_of_the_vectors_is_reproduced() {
    on_every_path(
        "every_run_of_the_vectors_is_reproduced",
        conformance::every_run_of_the_vectors_is_reproduced,
    );
}

#[test]
fn roots_agree_with_the_reference() {
    on_every_path(
        "roots_agree_with_the_reference",
        conformance::roots_agree_with_the_reference,
    );
}

#[test]
fn larger_awkward_sizes() {
    let sizes = [
        Size::new(512, 3, 4096, 4096),
        Size::new(768, 5, 128, 128),
        Size::new(1024, 3, 16_384, 192),
        Size::new(1024, 1, 16_384, 16_384),
        Size::new(2048, 1, 4096, 4096),
        Size::new(2304, 2, 320, 320),
        Size::new(4352, 1, 192, 192),
        Size::new(8448, 1, 64, 64),
        Size::new(256, 2, 65_536, 65_536),
    ];
    on_every_path("larger_awkward_sizes", |subjects| {
        conformance::roots_agree(subjects, &Cpu, &sizes);
    });
}

#[test]
fn rounds_agree_with_the_reference() {
    on_every_path(
        "rounds_agree_with_the_reference",
        conformance::rounds_agree_with_the_reference,
    );
}

#[test]
fn refused_rounds_do_no_harm() {
    on_every_path("refused_rounds_do_no_harm", conformance::refused_rounds_do_no_harm);
}

#[test]
fn leaf_counts_around_a_chunk() {
    on_every_path("leaf_counts_around_a_chunk", conformance::leaf_counts_around_a_chunk);
}

#[test]
fn leaf_counts_of_many_chunks() {
    on_every_path("leaf_counts_of_many_chunks", |subjects| {
        conformance::leaf_counts_agree(subjects, &Cpu, &[16_384, 16_387, 40_000]);
    });
}

#[test]
fn iterations_and_sweeps_count_as_the_trait_says() {
    on_every_path(
        "iterations_and_sweeps_count_as_the_trait_says",
        conformance::iterations_and_sweeps_count_as_the_trait_says,
    );
}

#[test]
fn refusals_do_no_harm() {
    on_every_path("refusals_do_no_harm", conformance::refusals_do_no_harm);
}

#[test]
fn hostile_openings_are_refused() {
    on_every_path(
        "hostile_openings_are_refused",
        conformance::hostile_openings_are_refused,
    );
}

#[test]
fn cancelled_work_leaves_nothing_behind() {
    on_every_path(
        "cancelled_work_leaves_nothing_behind",
        conformance::cancelled_work_leaves_nothing_behind,
    );
}

#[test]
fn a_lost_device_is_an_error_from_then_on() {
    on_every_path(
        "a_lost_device_is_an_error_from_then_on",
        conformance::a_lost_device_is_an_error_from_then_on,
    );
}

#[test]
fn memory_that_is_not_there_is_refused_with_figures() {
    on_every_path(
        "memory_that_is_not_there_is_refused_with_figures",
        conformance::memory_that_is_not_there_is_refused_with_figures,
    );
}

#[test]
fn repeated_sessions_give_the_same_roots() {
    on_every_path(
        "repeated_sessions_give_the_same_roots",
        conformance::repeated_sessions_give_the_same_roots,
    );
}

/// The suite on an emulated device of compute capability 7.5, except for tests that take minutes there.
#[cfg(target_os = "linux")]
#[test]
fn on_a_fake_gpu() {
    common::again_on_a_fake_gpu("75", &["--skip", "leaf_counts_of_many_chunks"]);
}

/// Host code for Hopper, and for tensor cores: launches of every path.
#[cfg(target_os = "linux")]
#[test]
fn on_a_fake_hopper() {
    let tests = [
        "roots_agree_with_the_reference",
        "rounds_agree_with_the_reference",
        "cancelled_work_leaves_nothing_behind",
        "iterations_and_sweeps_count_as_the_trait_says",
        "a_lost_device_is_an_error_from_then_on",
    ];
    common::again_on_a_fake_gpu("90", &tests);
}
