//! The required order of calls, and calls that must be rejected.

use protocol::bytes::Salt;
use protocol::engine::{CommitmentId, Engine, Unobserved};

use crate::{
    FIRST_FILL, FIRST_SWEEP, SWEEP_SALT, Subject, assignment, check_no_leaf, check_openings, check_unsupported,
    expected_roots, roots, task,
};

/// Iterations count fills, and sweeps count since the last fill; all commitments of a preparation can be opened until
/// the next.
pub fn iterations_and_sweeps_count_as_the_trait_says(subjects: &[&dyn Subject]) {
    for subject in subjects {
        let name = subject.to_string();
        let mut engine = subject.engine(None);
        check_unsupported(&name, "a fill before prepare", engine.fill(&task(64), &Unobserved));
        check_unsupported(&name, "a sweep before prepare", engine.sweep(&SWEEP_SALT, &Unobserved));
        check_no_leaf(&name, &mut *engine, FIRST_FILL, 0);
        let assignment = assignment(256, 3, 192);
        engine.prepare(&assignment).expect("the memory is there");
        check_unsupported(&name, "a sweep before a fill", engine.sweep(&SWEEP_SALT, &Unobserved));
        check_no_leaf(&name, &mut *engine, FIRST_FILL, 0);

        let mut made = Vec::new();
        for (iteration, sweeps) in [(0, 5), (1, 2)] {
            let fill = engine.fill(&task(192 - 64 * iteration), &Unobserved);
            made.push((CommitmentId::Fill { iteration }, fill.expect("the fill runs"), 3));
            for sweep in 1..=sweeps {
                let id = CommitmentId::Sweep { iteration, sweep };
                check_no_leaf(&name, &mut *engine, id, 0);
                let root = engine.sweep(&Salt([sweep as u8; 32]), &Unobserved);
                made.push((id, root.expect("the sweep runs"), 2));
            }
        }
        for (id, root, leaf_count) in made {
            check_openings(&name, &mut *engine, id, &root, leaf_count);
        }
        engine.prepare(&assignment).expect("the memory is there again");
        // A new preparation discards all commitments and has nothing to sweep.
        check_no_leaf(&name, &mut *engine, FIRST_FILL, 0);
        check_no_leaf(&name, &mut *engine, FIRST_SWEEP, 0);
        check_unsupported(&name, "a sweep before a fill", engine.sweep(&SWEEP_SALT, &Unobserved));
    }
}

/// Openings of commitments that do not exist, and of leaves beyond them, are [`NoSuchLeaf`], up to the largest numbers.
///
/// [`NoSuchLeaf`]: protocol::engine::EngineError::NoSuchLeaf
pub fn hostile_openings_are_refused(subjects: &[&dyn Subject]) {
    let assignment = assignment(256, 129, 64);
    for subject in subjects {
        let name = subject.to_string();
        let mut engine = subject.engine(None);
        engine.prepare(&assignment).expect("the memory is there");
        let [fill, sweep] = roots(&mut *engine, 64).expect("the work runs");
        for (id, leaf_count) in [(FIRST_FILL, 129), (FIRST_SWEEP, 65)] {
            for leaf in [leaf_count, leaf_count + 1, 128 * 128, u32::MAX - 1, u32::MAX] {
                check_no_leaf(&name, &mut *engine, id, leaf);
            }
        }
        let of_sweep = |iteration, sweep| CommitmentId::Sweep { iteration, sweep };
        for id in [
            CommitmentId::Fill { iteration: 1 },
            CommitmentId::Fill { iteration: u32::MAX },
            of_sweep(0, 0),
            of_sweep(0, 2),
            of_sweep(0, u32::MAX),
            of_sweep(1, 1),
            of_sweep(u32::MAX, u32::MAX),
        ] {
            for leaf in [0, u32::MAX] {
                check_no_leaf(&name, &mut *engine, id, leaf);
            }
        }
        check_openings(&name, &mut *engine, FIRST_FILL, &fill, 129);
        check_openings(&name, &mut *engine, FIRST_SWEEP, &sweep, 65);
    }
}

/// A fill with a k that was not prepared is rejected, and all earlier work stays unchanged.
pub fn refusals_do_no_harm(subjects: &[&dyn Subject]) {
    let assignment = assignment(512, 1, 192);
    let expected = expected_roots(&assignment, 192);
    for subject in subjects {
        let name = subject.to_string();
        let mut engine = subject.engine(None);
        engine.prepare(&assignment).expect("the memory is there");
        let refuse = |engine: &mut dyn Engine| {
            for k in [0, 32, 65, 256, 65_536, 65_600, u32::MAX] {
                let what = format!("a fill with k = {k}");
                check_unsupported(&name, &what, engine.fill(&task(k), &Unobserved));
            }
        };
        refuse(&mut *engine);
        let fill = engine.fill(&task(192), &Unobserved).expect("the fill runs");
        refuse(&mut *engine);
        let sweep = engine.sweep(&SWEEP_SALT, &Unobserved).expect("the sweep runs");
        assert_eq!([fill, sweep], expected, "{name}: roots of the fill and the sweep");
        check_no_leaf(&name, &mut *engine, CommitmentId::Fill { iteration: 1 }, 0);
        check_openings(&name, &mut *engine, FIRST_FILL, &fill, 4);
        check_openings(&name, &mut *engine, FIRST_SWEEP, &sweep, 2);
    }
}
