//! What `spec/` says of this crate is true of it: reason codes and their messages, limits, the worked examples, and the
//! tests that the rationale names.

use std::fs;
use std::path::{Path, PathBuf};

use protocol::bytes::{DeviceOrdinal, Root};
use protocol::commitment::OpeningError;
use protocol::frame::MessageType;

use protocol::message::{Abort, AbortCode};
use protocol::openings::{Digest, OpeningsError, TileMismatch};
use protocol::sampling::Sample;
use protocol::trace::Misplaced;
use protocol::verdict::{Failure, Obstacle, Phase, Verdict};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn spec(name: &str) -> String {
    fs::read_to_string(repository().join("spec").join(name)).expect("the spec is there")
}

const SAMPLE: Sample = Sample {
    device: DeviceOrdinal(1),
    iteration: 0,
    sweep: 3,
    leaf: 7,
};

/// One verdict of every code.
fn verdicts() -> Vec<Verdict> {
    let opening = |error| {
        Failure::Openings(OpeningsError::Opening {
            sample: SAMPLE,
            digest: Digest::FillA,
            error,
        })
    };
    let oversized = Failure::OversizedMessage {
        type_number: 9,
        length_bytes: 9_000_000,
        limit_bytes: 8_000_000,
    };
    let failures = [
        Failure::Late {
            phase: Phase::Sweep,
            limit_ms: 5000,
        },
        Failure::Premature { phase: Phase::Sweep },
        Failure::UnexpectedMessage {
            expected: MessageType::Filled,
            actual: 7,
        },
        Failure::MalformedMessage {
            message_type: MessageType::Filled,
            problem: "root: expected 32 bytes, got 31".into(),
        },
        oversized.clone(),
        Failure::Flood,
        Failure::Misplaced(Misplaced::Duplicate {
            iteration: 0,
            device: DeviceOrdinal(1),
        }),
        Failure::Misplaced(Misplaced::RootCount {
            device: DeviceOrdinal(1),
            expected: 32,
            actual: 31,
        }),
        Failure::Misplaced(Misplaced::UnknownDevice(DeviceOrdinal(9))),
        Failure::Openings(OpeningsError::Count {
            expected: 1024,
            actual: 1023,
        }),
        opening(OpeningError::ChunkLength {
            expected: 1024,
            actual: 1016,
        }),
        opening(OpeningError::Root {
            expected: Root([0; 32]),
            actual: Root([1; 32]),
        }),
        Failure::Signature,
        Failure::Tile(TileMismatch {
            sample: SAMPLE,
            digest: Digest::Sweep,
            expected: 1,
            actual: 2,
        }),
        Failure::Unopened("the connection ended".into()),
    ];
    let aborted = |code| Obstacle::Aborted {
        abort: Abort {
            code,
            device: Some(DeviceOrdinal(1)),
            message: "text of ABORT".into(),
        },
        after_nonce: false,
    };
    let obstacles = [
        Obstacle::Late {
            phase: Phase::Prepare,
            limit_ms: 60_000,
        },
        Obstacle::NoCommonVersion {
            ours: 1,
            suite: 1,
            versions: vec![2],
            suites: vec![1],
        },
        Obstacle::NoPlan("device 4 was asked for; offered are 0, 1".into()),
        Obstacle::Disconnected {
            phase: Phase::Fill,
            detail: None,
            after_nonce: true,
        },
        Obstacle::NotThisProtocol(Box::new(oversized)),
        Obstacle::Stopped,
    ];
    let aborts = AbortCode::ALL.map(aborted);
    failures
        .map(Verdict::Contraindicated)
        .into_iter()
        .chain(obstacles.into_iter().chain(aborts).map(Verdict::CouldNotRun))
        .chain([Verdict::Affirmed])
        .collect()
}

#[test]
fn every_reason_is_in_the_spec_with_its_message() {
    let text = spec("protocol.md");
    let missing: Vec<String> = (verdicts().iter())
        .filter(|verdict| !verdict.code().is_empty())
        .map(|verdict| {
            format!(
                "| `{}` | {} | {} |",
                verdict.code(),
                verdict.status(),
                verdict.message()
            )
        })
        .filter(|row| !text.contains(row))
        .collect();
    assert!(
        missing.is_empty(),
        "spec/protocol.md lacks the rows\n{}",
        missing.join("\n")
    );
}
