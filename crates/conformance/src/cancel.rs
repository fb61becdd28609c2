//! Cancelled work.

use protocol::engine::{CommitmentId, EngineError, Unobserved};

use crate::{
    Counter, FIRST_FILL, FIRST_SWEEP, SWEEP_SALT, Subject, assignment, check_no_leaf, check_openings,
    check_unsupported, expected_roots, task,
};

/// Fills and sweeps that are cancelled, before they start or while they run, end as [`EngineError::Cancelled`] and
/// commit to nothing. After such a fill there is no dataset to sweep, after such a sweep there is; earlier commitments
/// can still be opened, and the next work has the roots of the reference.
pub fn cancelled_work_leaves_nothing_behind(subjects: &[&dyn Subject]) {
    let assignment = assignment(1024, 4, 64);
    let tiles = assignment.tiles();
    let expected = expected_roots(&assignment, 64);
    for subject in subjects {
        let name = subject.to_string();
        let mut engine = subject.engine(None);
        engine.prepare(&assignment).expect("the memory is there");
        let second = [
            CommitmentId::Fill { iteration: 1 },
            CommitmentId::Sweep { iteration: 1, sweep: 1 },
        ];
        for [fill_id, sweep_id] in [[FIRST_FILL, FIRST_SWEEP], second] {
            for cancel_after in [0, 1, 9] {
                let fill = engine.fill(&task(64), &Counter::new(cancel_after));
                assert_eq!(
                    fill,
                    Err(EngineError::Cancelled),
                    "{name}: a fill after {cancel_after} tiles"
                );
                check_no_leaf(&name, &mut *engine, fill_id, 0);
                let what = format!("a sweep after a fill that was cancelled after {cancel_after} tiles");
                check_unsupported(&name, &what, engine.sweep(&SWEEP_SALT, &Unobserved));
            }

            let fill = engine.fill(&task(64), &Unobserved).expect("the fill runs");
            assert_eq!(fill, expected[0], "{name}: root of a fill after a cancelled one");
            for cancel_after in [0, 1, 9] {
                let sweep = engine.sweep(&SWEEP_SALT, &Counter::new(cancel_after));
                assert_eq!(
                    sweep,
                    Err(EngineError::Cancelled),
                    "{name}: a sweep after {cancel_after} tiles"
                );
                check_no_leaf(&name, &mut *engine, sweep_id, 0);
            }
            let sweep = engine.sweep(&SWEEP_SALT, &Unobserved).expect("the sweep runs");
            assert_eq!(sweep, expected[1], "{name}: root of a sweep after a cancelled one");
            check_openings(&name, &mut *engine, fill_id, &fill, tiles);
            check_openings(&name, &mut *engine, sweep_id, &sweep, tiles.div_ceil(2));
        }
        check_openings(&name, &mut *engine, FIRST_FILL, &expected[0], tiles);
        check_openings(&name, &mut *engine, FIRST_SWEEP, &expected[1], tiles.div_ceil(2));
    }
}
