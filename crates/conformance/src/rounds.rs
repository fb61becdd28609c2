//! Rounds: devices that compute leaves of their own tiles with those of another (spec §4.8).

use std::sync::Arc;

use protocol::bytes::{Root, Salt};
use protocol::engine::{
    Assignment, AssignmentFields, CommitmentId, CrossTask, Dataset, Engine, EngineError, FillTask, Unobserved,
};

use crate::{Subject, check_openings, task};

const SALTS: [Salt; 2] = [Salt([0x61; 32]), Salt([0x62; 32])];

/// Two devices of different sizes, each of which starts where the other ends.
fn assignments() -> [Assignment; 2] {
    [(0, 5), (5, 9)].map(|(matrix_offset, num_matrices)| {
        let fields = AssignmentFields {
            matrix_dim: 512,
            matrix_offset,
            num_matrices,
            max_inner_dim: 192,
        };
        Assignment::new(fields).expect("sizes that a plan can have")
    })
}

/// The task of the device at `place`.
fn cross_task(place: usize, round: u32, crossings: u32) -> CrossTask {
    CrossTask {
        round,
        crossings,
        salt: SALTS[place],
        other: 1 - place,
        other_salt: SALTS[1 - place],
    }
}

fn expected(task: &FillTask, crossings: u32) -> [Root; 2] {
    let tiles = assignments().map(|assignment| {
        let device = reference::Device {
            matrix_offset: assignment.matrix_offset(),
            num_matrices: assignment.num_matrices().into(),
        };
        reference::device_tiles(&task.operand_key.0, 512, task.inner_dim as usize, &device)
    });
    [0, 1].map(|place| {
        let (own, other) = (SALTS[place].0, SALTS[1 - place].0);
        let leaves = reference::cross(&own, &other, &tiles[place], &tiles[1 - place], crossings.into());
        Root(reference::root(&leaves))
    })
}

/// Two prepared engines that can read each other's tiles.
fn connected(subject: &dyn Subject) -> Result<[Box<dyn Engine>; 2], EngineError> {
    let mut engines = [subject.engine(None), subject.engine(None)];
    for (engine, assignment) in engines.iter_mut().zip(assignments()) {
        engine.prepare(&assignment)?;
    }
    let datasets: Vec<Arc<dyn Dataset>> = engines
        .iter()
        .map(|engine| engine.dataset())
        .collect::<Result<_, _>>()?;
    for engine in &mut engines {
        engine.connect(&datasets)?;
    }
    Ok(engines)
}

/// The roots of rounds are those of the reference, in every iteration and for every number of crossings, and their leaves can be
/// opened. Both devices compute at once, as in a session.
pub fn rounds_agree_with_the_reference(subjects: &[&dyn Subject]) {
    for subject in subjects {
        let mut engines = connected(*subject).unwrap_or_else(|error| panic!("{subject}: {error}"));
        for (iteration, inner_dim, crossings) in [(0, 192, 5), (1, 64, 1), (2, 128, 4)] {
            let fill = task(inner_dim);
            for engine in &mut engines {
                engine.fill(&fill, &Unobserved).expect("the fill runs");
            }
            let expected = expected(&fill, crossings);
            // Numbers of rounds have gaps where a device rests.
            for round in [0, 2] {
                let roots = std::thread::scope(|scope| {
                    let [first, second] = &mut engines;
                    let second = scope.spawn(move || second.cross(&cross_task(1, round, crossings), &Unobserved));
                    let first = first.cross(&cross_task(0, round, crossings), &Unobserved);
                    [first, second.join().expect("no panic")]
                });
                assert_eq!(
                    roots,
                    expected.map(Ok),
                    "{subject}: iteration {iteration}, round {round}"
                );
                for (engine, root) in engines.iter_mut().zip(&expected) {
                    let id = CommitmentId::Round { iteration, round };
                    check_openings(&subject.to_string(), &mut **engine, id, root, 2 * crossings);
                }
            }
        }
    }
}

/// What no plan asks for is refused and changes nothing.
pub fn refused_rounds_do_no_harm(subjects: &[&dyn Subject]) {
    for subject in subjects {
        let mut engines = connected(*subject).unwrap_or_else(|error| panic!("{subject}: {error}"));
        let refused = |done: Result<Root, EngineError>, what: &str| {
            assert!(
                matches!(done, Err(EngineError::Unsupported(_))),
                "{subject}: {what}: {done:?}"
            );
        };
        refused(engines[0].cross(&cross_task(0, 0, 1), &Unobserved), "before a fill");
        for engine in &mut engines {
            engine.fill(&task(64), &Unobserved).expect("the fill runs");
        }
        // 20 and 36 tiles.
        refused(
            engines[0].cross(&cross_task(0, 0, 6), &Unobserved),
            "more than a quarter of its own tiles",
        );
        refused(
            engines[1].cross(&cross_task(1, 0, 6), &Unobserved),
            "more than a quarter of the other's",
        );
        refused(engines[0].cross(&cross_task(0, 0, 0), &Unobserved), "no crossings");
        let stranger = CrossTask {
            other: 2,
            ..cross_task(0, 0, 1)
        };
        refused(
            engines[0].cross(&stranger, &Unobserved),
            "a device that is not connected",
        );
        let no_round = CommitmentId::Round { iteration: 0, round: 0 };
        assert!(matches!(
            engines[0].open(no_round, 0),
            Err(EngineError::NoSuchLeaf { .. })
        ));
        let right = engines[0].cross(&cross_task(0, 0, 5), &Unobserved);
        assert_eq!(right, Ok(expected(&task(64), 5)[0]), "{subject}: after refusals");
    }
}
