//! Insufficient memory.

use protocol::engine::{EngineError, Unobserved};

use crate::{
    FIRST_FILL, SWEEP_SALT, Subject, assignment, check_no_leaf, check_unsupported, expected_roots, roots, session, task,
};

/// Preparations that exceed the limit by one byte, or the memory of any device, are rejected with the required and the
/// available memory. The engine then has nothing prepared, and accepts a preparation that fits.
pub fn memory_that_is_not_there_is_refused_with_figures(subjects: &[&dyn Subject]) {
    let fitting = assignment(512, 1, 64);
    let expected = expected_roots(&fitting, 64);
    // 60 TiB.
    let huge = assignment(32_768, 60_000, 16_384);
    for subject in subjects {
        let name = subject.to_string();
        let requested_bytes = subject.required_bytes(&fitting);
        assert!(
            requested_bytes >= fitting.dataset_bytes(),
            "{name}: {requested_bytes} bytes"
        );
        let available_bytes = requested_bytes - 1;
        let mut limited = subject.engine(Some(available_bytes));
        let refused = EngineError::OutOfMemory {
            requested_bytes,
            available_bytes,
        };
        assert_eq!(limited.prepare(&fitting), Err(refused), "{name}: a byte too little");
        check_unsupported(
            &name,
            "a fill of what was refused",
            limited.fill(&task(64), &Unobserved),
        );

        let mut exact = subject.engine(Some(requested_bytes));
        let actual = session(&mut *exact, &fitting, 64);
        assert_eq!(actual, Ok(expected), "{name}: exactly as much as needed");

        let mut engine = subject.engine(None);
        assert_eq!(
            session(&mut *engine, &fitting, 64),
            Ok(expected),
            "{name}: all there is"
        );
        let required_bytes = subject.required_bytes(&huge);
        match engine.prepare(&huge) {
            Err(EngineError::OutOfMemory {
                requested_bytes,
                available_bytes,
            }) => {
                assert_eq!(requested_bytes, required_bytes, "{name}: bytes asked for");
                assert!(
                    available_bytes < requested_bytes,
                    "{name}: {available_bytes} bytes available"
                );
            }
            other => panic!("{name}: {required_bytes} bytes were asked for: {other:?}"),
        }
        // The previous preparation is gone, as the trait specifies.
        check_no_leaf(&name, &mut *engine, FIRST_FILL, 0);
        check_unsupported(
            &name,
            "a sweep of what was refused",
            engine.sweep(&SWEEP_SALT, &Unobserved),
        );
        engine.prepare(&fitting).expect("the memory is there again");
        assert_eq!(roots(&mut *engine, 64), Ok(expected), "{name}: after what was refused");
    }
}
