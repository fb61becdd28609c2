//! One example of every verdict reason, so that tests can ask for all of them.

use protocol::bytes::{DeviceOrdinal, Root};
use protocol::commitment::OpeningError;
use protocol::engine::Pass;
use protocol::frame::MessageType;
use protocol::message::{Abort, AbortCode, Stage};
use protocol::openings::{Digest, OpeningsError, TileMismatch};
use protocol::sampling::Sample;
use protocol::trace::Misplaced;
use protocol::verdict::{Failure, Obstacle, Phase};

const SAMPLE: Sample = Sample {
    device: DeviceOrdinal(0),
    iteration: 0,
    pass: Pass::Sweep(1),
    leaf: 0,
};

/// An example of every [`Failure`], and of every kind of commitment and opening that fails.
#[must_use]
pub fn failures() -> Vec<Failure> {
    let device = DeviceOrdinal(0);
    let misplaced = [
        Misplaced::Iteration { expected: 0, actual: 1 },
        Misplaced::UnknownDevice(device),
        Misplaced::Duplicate { iteration: 0, device },
        Misplaced::RootCount {
            device,
            expected: 1,
            actual: 2,
        },
        Misplaced::Round { expected: 0, actual: 1 },
        Misplaced::Rests { round: 0, device },
        Misplaced::Stage {
            expected: Stage::V,
            actual: Stage::W,
        },
    ];
    let opening = [
        OpeningError::ChunkLength { expected: 8, actual: 0 },
        OpeningError::SiblingCount { expected: 1, actual: 0 },
        OpeningError::Root {
            expected: Root([0; 32]),
            actual: Root([1; 32]),
        },
    ];
    let openings = opening.map(|error| OpeningsError::Opening {
        sample: SAMPLE,
        digest: Digest::Pair,
        error,
    });
    let mut failures = vec![
        Failure::Late {
            phase: Phase::Fill,
            limit_ms: 1,
        },
        Failure::Premature { phase: Phase::Sweep },
        Failure::UnexpectedMessage {
            expected: MessageType::Filled,
            actual: 7,
        },
        Failure::MalformedMessage {
            message_type: MessageType::Filled,
            problem: String::new(),
        },
        Failure::OversizedMessage {
            type_number: 5,
            length_bytes: 2,
            limit_bytes: 1,
        },
        Failure::Flood,
        Failure::Openings(OpeningsError::Count { expected: 1, actual: 0 }),
        Failure::Signature,
        Failure::Tile(TileMismatch {
            sample: SAMPLE,
            digest: Digest::FillA,
            expected: 0,
            actual: 1,
        }),
        Failure::Unopened(String::new()),
    ];
    failures.extend(misplaced.map(Failure::Misplaced));
    failures.extend(openings.map(Failure::Openings));
    failures
}

/// An example of every [`Obstacle`], and of every [`AbortCode`].
#[must_use]
pub fn obstacles() -> Vec<Obstacle> {
    let mut obstacles = vec![
        Obstacle::Late {
            phase: Phase::Hello,
            limit_ms: 1,
        },
        Obstacle::NoCommonVersion {
            ours: 1,
            suite: 1,
            versions: Vec::new(),
            suites: Vec::new(),
        },
        Obstacle::NoPlan(String::new()),
        Obstacle::Disconnected {
            phase: Phase::Hello,
            detail: None,
            after_nonce: false,
        },
        Obstacle::NotThisProtocol(Box::new(Failure::Flood)),
        Obstacle::Stopped,
    ];
    obstacles.extend(AbortCode::ALL.map(|code| Obstacle::Aborted {
        abort: Abort {
            code,
            device: None,
            message: String::new(),
        },
        after_nonce: false,
    }));
    obstacles
}

/// Every reason's code, each once, failures first.
#[must_use]
pub fn codes() -> Vec<&'static str> {
    let failures = failures();
    let obstacles = obstacles();
    let mut codes = Vec::new();
    for code in failures
        .iter()
        .inspect(|failure| known_failure(failure))
        .map(Failure::code)
        .chain(
            obstacles
                .iter()
                .inspect(|obstacle| known_obstacle(obstacle))
                .map(Obstacle::code),
        )
    {
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
}

/// Does not compile once there is a variant that [`failures`] may lack.
fn known_failure(failure: &Failure) {
    match failure {
        Failure::Late { .. }
        | Failure::Premature { .. }
        | Failure::UnexpectedMessage { .. }
        | Failure::MalformedMessage { .. }
        | Failure::OversizedMessage { .. }
        | Failure::Flood
        | Failure::Signature
        | Failure::Tile(_)
        | Failure::Unopened(_) => {}
        Failure::Misplaced(misplaced) => match misplaced {
            Misplaced::Iteration { .. }
            | Misplaced::UnknownDevice(_)
            | Misplaced::Duplicate { .. }
            | Misplaced::RootCount { .. }
            | Misplaced::Round { .. }
            | Misplaced::Rests { .. }
            | Misplaced::Stage { .. } => {}
        },
        Failure::Openings(openings) => match openings {
            OpeningsError::Count { .. } => {}
            OpeningsError::Opening { error, .. } => match error {
                OpeningError::ChunkLength { .. } | OpeningError::SiblingCount { .. } | OpeningError::Root { .. } => {}
            },
        },
    }
}

/// Does not compile once there is a variant that [`obstacles`] may lack.
fn known_obstacle(obstacle: &Obstacle) {
    match obstacle {
        Obstacle::Late { .. }
        | Obstacle::NoCommonVersion { .. }
        | Obstacle::NoPlan(_)
        | Obstacle::Aborted { .. }
        | Obstacle::Disconnected { .. }
        | Obstacle::NotThisProtocol(_)
        | Obstacle::Stopped => {}
    }
}
