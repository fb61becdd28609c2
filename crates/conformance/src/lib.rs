//! The requirements for every [`Engine`] and every [`protocol::engine::TileEngine`], whatever it runs on: functions
//! that an engine's tests call and that panic if a requirement is violated.
//!
//! An engine's tests create a [`Subject`] (or a [`TileSubject`]) for each configuration (code path, threads, images)
//! and pass all of them to a function. The expected results are computed once by the `reference` crate, or by another
//! engine where that takes too long, and compared with those of every subject.

mod cancel;
mod lost;
mod memory;
mod order;
mod rounds;
mod sessions;
mod sizes;
mod subject;
mod tiles;
mod vectors;

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::bytes::{OperandKey, Root, Salt};
use protocol::engine::{
    Assignment, AssignmentFields, CommitmentId, Engine, EngineError, FillTask, Progress, Unobserved,
};

pub use cancel::cancelled_work_leaves_nothing_behind;
pub use lost::a_lost_device_is_an_error_from_then_on;
pub use memory::memory_that_is_not_there_is_refused_with_figures;
pub use order::{hostile_openings_are_refused, iterations_and_sweeps_count_as_the_trait_says, refusals_do_no_harm};
pub use rounds::{refused_rounds_do_no_harm, rounds_agree_with_the_reference};
pub use sessions::repeated_sessions_give_the_same_roots;
pub use sizes::{Size, leaf_counts_agree, leaf_counts_around_a_chunk, roots_agree, roots_agree_with_the_reference};
pub use subject::{Losable, Subject};
pub use tiles::{
    TileSubject, a_lost_device_computes_no_more_tiles, many_tiles_agree, refused_tiles_do_no_harm,
    tiles_agree_with_the_reference, tiles_do_not_depend_on_what_was_asked_before,
    tiles_of_the_vectors_have_their_digests,
};
pub use vectors::every_run_of_the_vectors_is_reproduced;

const KEY: OperandKey = OperandKey([0x42; 32]);
const FILL_SALT: Salt = Salt([0x17; 32]);
const SWEEP_SALT: Salt = Salt([0x99; 32]);

/// The first fill of an engine.
const FIRST_FILL: CommitmentId = CommitmentId::Fill { iteration: 0 };
/// The first sweep of an engine.
const FIRST_SWEEP: CommitmentId = CommitmentId::Sweep { iteration: 0, sweep: 1 };

/// Matrices from the last index before 2^32 on: the second one passes it.
fn assignment(matrix_dim: u32, num_matrices: u32, max_inner_dim: u32) -> Assignment {
    Assignment::new(AssignmentFields {
        matrix_dim,
        matrix_offset: 0xFFFF_FFFF,
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

/// Roots of a fill with `k` and a sweep over it, according to the definitions.
fn expected_roots(assignment: &Assignment, k: u32) -> [Root; 2] {
    expected_roots_of(assignment, &task(k), &SWEEP_SALT)
}

/// The same for any keys and salts.
fn expected_roots_of(assignment: &Assignment, task: &FillTask, sweep_salt: &Salt) -> [Root; 2] {
    let device = reference::Device {
        matrix_offset: assignment.matrix_offset(),
        num_matrices: assignment.num_matrices().into(),
    };
    let (n, k) = (assignment.matrix_dim() as usize, task.inner_dim as usize);
    let tiles = reference::device_tiles(&task.operand_key.0, n, k, &device);
    let key = reference::key(&task.fill_salt.0);
    let fill: Vec<u64> = tiles.iter().map(|tile| reference::fill_digest(&key, tile)).collect();
    let sweep = reference::sweep(&sweep_salt.0, &tiles);
    [&fill, &sweep].map(|leaves| Root(reference::root(leaves)))
}

/// Roots of a fill with `k` and a sweep over it, by a prepared engine.
fn roots(engine: &mut dyn Engine, k: u32) -> Result<[Root; 2], EngineError> {
    let fill = engine.fill(&task(k), &Unobserved)?;
    Ok([fill, engine.sweep(&SWEEP_SALT, &Unobserved)?])
}

/// The same, including the preparation.
fn session(engine: &mut dyn Engine, assignment: &Assignment, k: u32) -> Result<[Root; 2], EngineError> {
    engine.prepare(assignment)?;
    roots(engine, k)
}

/// Opens some leaves of a commitment, and the one past its end.
fn check_openings(name: &str, engine: &mut dyn Engine, id: CommitmentId, root: &Root, leaf_count: u32) {
    for leaf in [0, leaf_count / 2, leaf_count - 1, (leaf_count - 1).min(128)] {
        let opening = engine
            .open(id, leaf)
            .unwrap_or_else(|error| panic!("{name}: leaf {leaf} of {id}: {error}"));
        if let Err(error) = opening.verify(root, leaf, leaf_count.into()) {
            panic!("{name}: leaf {leaf} of {id} does not belong to the root: {error}");
        }
    }
    check_no_leaf(name, engine, id, leaf_count);
}

/// Requests a leaf that does not exist.
fn check_no_leaf(name: &str, engine: &mut dyn Engine, commitment: CommitmentId, leaf: u32) {
    assert_eq!(
        engine.open(commitment, leaf),
        Err(EngineError::NoSuchLeaf { commitment, leaf }),
        "{name}: leaf {leaf} of {commitment}"
    );
}

/// Work that must be rejected as unsupported.
fn check_unsupported<T: std::fmt::Debug>(name: &str, what: &str, result: Result<T, EngineError>) {
    assert!(
        matches!(result, Err(EngineError::Unsupported(_))),
        "{name}: {what} gave {result:?}"
    );
}

/// Counts tiles, and cancels after a number of them.
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

    /// A counter that never cancels.
    fn patient() -> Self {
        Counter::new(u64::MAX)
    }

    fn tiles(&self) -> u64 {
        self.tiles.load(Ordering::Relaxed)
    }
}

impl Progress for Counter {
    fn advance(&self, tiles: u64) {
        self.tiles.fetch_add(tiles, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.tiles() >= self.cancel_after
    }
}
