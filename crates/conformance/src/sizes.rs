//! Sizes that do not fit tilings, and numbers of leaves around a chunk.

use protocol::bytes::Root;
use protocol::engine::Assignment;

use crate::{
    Counter, FIRST_FILL, FIRST_SWEEP, SWEEP_SALT, Subject, assignment, check_openings, expected_roots, session, task,
};

/// Sizes of a plan for one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// n: a matrix has n x n elements of one byte.
    pub matrix_dim: u32,
    /// Matrices the device holds.
    pub num_matrices: u32,
    /// Largest k that is prepared.
    pub max_inner_dim: u32,
    /// k of the fill.
    pub inner_dim: u32,
}

impl Size {
    /// `num_matrices` matrices of n x n, prepared for `max_inner_dim` and filled with `inner_dim`.
    #[must_use]
    pub const fn new(matrix_dim: u32, num_matrices: u32, max_inner_dim: u32, inner_dim: u32) -> Self {
        Size {
            matrix_dim,
            num_matrices,
            max_inner_dim,
            inner_dim,
        }
    }

    fn assignment(&self) -> Assignment {
        assignment(self.matrix_dim, self.num_matrices, self.max_inner_dim)
    }
}

/// One tile; odd and even numbers of tiles; n of 1, 2 and 3 blocks; k that is not a multiple of a larger step, alone
/// and below the prepared one.
const AWKWARD: [Size; 8] = [
    Size::new(256, 1, 64, 64),
    Size::new(256, 2, 192, 192),
    Size::new(256, 3, 576, 576),
    Size::new(256, 3, 65_536, 576),
    Size::new(512, 1, 64, 64),
    Size::new(512, 1, 192, 64),
    Size::new(768, 1, 128, 128),
    Size::new(768, 2, 320, 192),
];

/// Fill and sweep roots are those of the reference at sizes that do not fit tilings.
pub fn roots_agree_with_the_reference(subjects: &[&dyn Subject]) {
    for size in AWKWARD {
        check_roots(subjects, size, expected_roots(&size.assignment(), size.inner_dim));
    }
}

/// Fill and sweep roots are those of `other` at these sizes: for sizes that take the reference too long.
pub fn roots_agree(subjects: &[&dyn Subject], other: &dyn Subject, sizes: &[Size]) {
    for &size in sizes {
        check_roots(subjects, size, roots_of(other, &size.assignment(), size.inner_dim));
    }
}

/// Commitments of 128, 129, 256, 257 and 513 leaves, of fills and of sweeps: roots are those of the reference, leaves
/// can be opened, and the reported number of tiles is correct. k is the smallest possible.
pub fn leaf_counts_around_a_chunk(subjects: &[&dyn Subject]) {
    for tiles in [128, 129, 256, 257, 513, 1025] {
        check_leaves(subjects, tiles, expected_roots(&assignment(256, tiles, 64), 64));
    }
}

/// The same for these numbers of tiles with the roots of `other`: for numbers that take the reference too long.
pub fn leaf_counts_agree(subjects: &[&dyn Subject], other: &dyn Subject, tile_counts: &[u32]) {
    for &tiles in tile_counts {
        check_leaves(subjects, tiles, roots_of(other, &assignment(256, tiles, 64), 64));
    }
}

fn roots_of(subject: &dyn Subject, assignment: &Assignment, k: u32) -> [Root; 2] {
    session(&mut *subject.engine(None), assignment, k).unwrap_or_else(|error| panic!("{subject}: {error}"))
}

fn check_roots(subjects: &[&dyn Subject], size: Size, expected: [Root; 2]) {
    for subject in subjects {
        let actual = roots_of(*subject, &size.assignment(), size.inner_dim);
        assert_eq!(actual, expected, "{subject}: {size:?}, roots of the fill and the sweep");
    }
}

fn check_leaves(subjects: &[&dyn Subject], tiles: u32, expected: [Root; 2]) {
    for subject in subjects {
        let name = format!("{subject}, {tiles} tiles");
        let mut engine = subject.engine(None);
        engine
            .prepare(&assignment(256, tiles, 64))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let [filled, swept] = [Counter::patient(), Counter::patient()];
        let fill = engine.fill(&task(64), &filled);
        let sweep = engine.sweep(&SWEEP_SALT, &swept);
        assert_eq!(
            [fill, sweep],
            expected.map(Ok),
            "{name}: roots of the fill and the sweep"
        );
        let told = [filled.tiles(), swept.tiles()];
        assert_eq!(
            told,
            [u64::from(tiles); 2],
            "{name}: tiles told of the fill and the sweep"
        );
        check_openings(&name, &mut *engine, FIRST_FILL, &expected[0], tiles);
        check_openings(&name, &mut *engine, FIRST_SWEEP, &expected[1], tiles.div_ceil(2));
    }
}
