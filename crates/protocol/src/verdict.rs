//! How a session ends: affirmed, contraindicated or could not run, with a typed reason (spec §5, §9).

use crate::bytes::DeviceOrdinal;
use crate::cbor::sendable_text;
use crate::frame::MessageType;
use crate::message::{Abort, AbortCode, ResultMessage};
use crate::openings::{OpeningsError, TileMismatch};
use crate::trace::Misplaced;

/// The part of a session that a deadline or an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Until HELLO has been received.
    Hello,
    /// From PLAN to READY.
    Prepare,
    /// From NONCE or SALT w to the last FILLED of an iteration.
    Fill,
    /// From SALT v to the last SWEPT of an iteration.
    Sweep,
    /// From the SALT that begins a round to its last CROSSED.
    Cross,
    /// From SAMPLE to OPENINGS.
    Open,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every check passed: the bounds hold.
    Affirmed,
    /// A check failed.
    Contraindicated(Failure),
    /// No result: neither a pass nor a failure.
    CouldNotRun(Obstacle),
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A message was late, or missing at its deadline.
    #[error("{phase:?} took longer than its {limit_ms} ms")]
    Late {
        /// The phase.
        phase: Phase,
        /// Its deadline.
        limit_ms: u64,
    },
    /// An answer was received before the message that requests it was sent.
    #[error("the answer of {phase:?} came before it was asked for")]
    Premature {
        /// The phase.
        phase: Phase,
    },
    /// A message of another type than the session waits for.
    #[error("expected {expected}, got {}", type_text(*actual))]
    UnexpectedMessage {
        /// What the session waits for.
        expected: MessageType,
        /// Number of the received type.
        actual: u32,
    },
    /// A payload that is invalid for its type.
    #[error("malformed {message_type}: {problem}")]
    MalformedMessage {
        /// The type.
        message_type: MessageType,
        /// What is wrong.
        problem: String,
    },
    /// A payload longer than the plan allows.
    #[error("{}", oversized_text(*type_number, *length_bytes, *limit_bytes))]
    OversizedMessage {
        /// Number of the type.
        type_number: u32,
        /// Its stated length.
        length_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// More frames outside the transcript than necessary.
    #[error("flooded with PROGRESS")]
    Flood,
    /// A commitment that does not fit the state of the session.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// Openings that do not match the samples.
    #[error(transparent)]
    Openings(#[from] OpeningsError),
    /// OPENINGS not signed by the identity of HELLO over this transcript.
    #[error("OPENINGS are not signed by the identity in HELLO over this transcript")]
    Signature,
    /// A committed digest is wrong.
    #[error(transparent)]
    Tile(#[from] TileMismatch),
    /// The samples were drawn, and the Attester did not open them.
    #[error("the samples were not opened: {0}")]
    Unopened(String),
}

/// A message type for people. Text that was decoded as one, the output of a program that is no Attester, is shown as text.
fn type_text(type_number: u32) -> String {
    match header_text(&type_number.to_le_bytes()) {
        Some(text) => format!("text: {text:?}"),
        None => format!("message type {type_number}"),
    }
}

fn oversized_text(type_number: u32, length_bytes: u64, limit_bytes: u64) -> String {
    let header = [&type_number.to_le_bytes()[..], &length_bytes.to_le_bytes()].concat();
    match header_text(&header) {
        Some(text) => format!("expected a message, got text: {text:?}"),
        None => format!("message type {type_number} of {length_bytes} bytes, at most {limit_bytes} allowed"),
    }
}

/// Bytes of a header that are printable ASCII or white space.
fn header_text(bytes: &[u8]) -> Option<&str> {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    let text = std::str::from_utf8(bytes).ok()?;
    bytes.iter().all(is_text).then_some(text)
}

/// Why a session has no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// Nothing was received in time, before the clock ran.
    #[error("{phase:?} took longer than its {limit_ms} ms")]
    Late {
        /// The phase.
        phase: Phase,
        /// Its deadline.
        limit_ms: u64,
    },
    /// HELLO names no version and suite that this Verifier supports.
    #[error(
        "no common version: this Verifier speaks version {ours} suite {suite}, the Attester versions {versions:?} suites {suites:?}"
    )]
    NoCommonVersion {
        /// This Verifier's version.
        ours: u32,
        /// Its suite.
        suite: u32,
        /// The Attester's versions.
        versions: Vec<u32>,
        /// Its suites.
        suites: Vec<u32>,
    },
    /// No plan fits the Attester's offer.
    #[error("no plan: {0}")]
    NoPlan(String),
    /// The Attester reported that it cannot continue.
    #[error("the Attester gave up{}: {}: {}", on_device(&.abort.device), .abort.code.name(), .abort.message)]
    Aborted {
        /// Its report.
        abort: Abort,
        /// Whether the clock had started: recorded then (spec §5).
        after_nonce: bool,
    },
    /// The connection ended.
    #[error("the connection ended in phase {phase:?}{}", .detail.as_deref().map(|d| format!(": {d}")).unwrap_or_default())]
    Disconnected {
        /// When.
        phase: Phase,
        /// The transport's error, if any.
        detail: Option<String>,
        /// Whether the clock had started: recorded then (spec §5).
        after_nonce: bool,
    },
    /// A message that violates the protocol, before the clock ran.
    #[error("not a session of this protocol: {0}")]
    NotThisProtocol(Box<Failure>),
    /// The Verifier was stopped.
    #[error("the Verifier was stopped")]
    Stopped,
}

fn on_device(device: &Option<DeviceOrdinal>) -> String {
    device.map(|g| format!(" on device {g}")).unwrap_or_default()
}

impl Verdict {
    /// 0 affirmed, 1 contraindicated, 2 could not run: the commands' exit codes too.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Verdict::Affirmed => 0,
            Verdict::Contraindicated(_) => 1,
            Verdict::CouldNotRun(_) => 2,
        }
    }

    /// The status as a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Affirmed => "affirmed",
            Verdict::Contraindicated(_) => "contraindicated",
            Verdict::CouldNotRun(_) => "could not run",
        }
    }

    /// The reason's code, for example `tile-mismatch`; empty when affirmed.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Verdict::Affirmed => "",
            Verdict::Contraindicated(failure) => failure.code(),
            Verdict::CouldNotRun(obstacle) => obstacle.code(),
        }
    }

    /// The reason as readable text; empty when affirmed.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Verdict::Affirmed => String::new(),
            Verdict::Contraindicated(failure) => failure.to_string(),
            Verdict::CouldNotRun(obstacle) => obstacle.to_string(),
        }
    }

    /// RESULT, as sent to the Attester.
    #[must_use]
    pub fn to_message(&self) -> ResultMessage {
        ResultMessage {
            status: self.status().into(),
            reason: self.code().to_owned(),
            message: sendable_text(&self.message()),
        }
    }
}

impl Failure {
    /// The reason's code (spec §9).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Failure::Late { .. } => "late",
            Failure::Premature { .. } => "premature",
            Failure::UnexpectedMessage { .. } => "unexpected-message",
            Failure::MalformedMessage { .. } => "malformed-message",
            Failure::OversizedMessage { .. } => "oversized-message",
            Failure::Flood => "flood",
            Failure::Misplaced(Misplaced::Duplicate { .. }) => "duplicate-commitment",
            Failure::Misplaced(Misplaced::RootCount { .. }) => "root-count",
            Failure::Misplaced(_) => "misplaced-commitment",
            Failure::Openings(OpeningsError::Count { .. }) => "opening-count",
            Failure::Openings(OpeningsError::Opening { error, .. }) => match error {
                crate::commitment::OpeningError::Root { .. } => "opening-path",
                _ => "opening-size",
            },
            Failure::Signature => "signature",
            Failure::Tile(_) => "tile-mismatch",
            Failure::Unopened(_) => "unopened",
        }
    }
}

impl Obstacle {
    /// The reason's code (spec §9).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Obstacle::Late { .. } => "not-ready",
            Obstacle::NoCommonVersion { .. } => "no-common-version",
            Obstacle::NoPlan(_) => "no-plan",
            Obstacle::Aborted { abort, .. } => match abort.code {
                AbortCode::OutOfMemory => "out-of-memory",
                AbortCode::DeviceLost => "device-lost",
                AbortCode::DriverError => "driver-error",
                AbortCode::SelfTestFailed => "self-test-failed",
                AbortCode::Unsupported => "unsupported",
                AbortCode::Cancelled => "cancelled",
                AbortCode::ProtocolViolation => "protocol-violation",
                AbortCode::Internal => "internal",
            },
            Obstacle::Disconnected { .. } => "disconnected",
            Obstacle::NotThisProtocol(_) => "not-this-protocol",
            Obstacle::Stopped => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_have_names_statuses_and_reasons() {
        let all = [
            Verdict::Affirmed,
            Verdict::Contraindicated(Failure::Flood),
            Verdict::CouldNotRun(Obstacle::Stopped),
        ];
        assert_eq!(
            all.each_ref()
                .map(|verdict| (verdict.status(), verdict.name(), verdict.code())),
            [
                (0, "affirmed", ""),
                (1, "contraindicated", "flood"),
                (2, "could not run", "stopped")
            ]
        );
        assert_eq!(all[0].message(), "");
        assert_eq!(all[1].to_message().message, "flooded with PROGRESS");
    }
}
