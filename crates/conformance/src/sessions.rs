//! Several sessions, one after another.

use protocol::bytes::{OperandKey, Salt};
use protocol::engine::{FillTask, Unobserved};

use crate::{Subject, assignment, expected_roots, expected_roots_of, session, task};

/// Sessions in sequence have the roots of the reference, whatever the engine did before: other sizes, keys and salts
/// leave no state behind.
pub fn repeated_sessions_give_the_same_roots(subjects: &[&dyn Subject]) {
    let [assignment, other] = [assignment(768, 1, 192), assignment(256, 35, 576)];
    let expected = expected_roots(&assignment, 192);
    let other_task = FillTask {
        operand_key: OperandKey([1; 32]),
        fill_salt: Salt([2; 32]),
        ..task(576)
    };
    let other_salt = Salt([3; 32]);
    let expected_between = expected_roots_of(&other, &other_task, &other_salt);
    for subject in subjects {
        let mut engine = subject.engine(None);
        for i in 0..4 {
            let actual = session(&mut *engine, &assignment, 192);
            assert_eq!(
                actual,
                Ok(expected),
                "{subject}: session {i}, roots of the fill and the sweep"
            );
            engine.prepare(&other).expect("the memory is there");
            let fill = engine.fill(&other_task, &Unobserved).expect("the fill runs");
            let sweep = engine.sweep(&other_salt, &Unobserved).expect("the sweep runs");
            assert_eq!([fill, sweep], expected_between, "{subject}: the session between, {i}");
        }
    }
}
