//! What is due in a Verifier's session, what it measures, and what contradicts it.

use crate::bytes::DeviceOrdinal;
use crate::cbor::Label;
use crate::message::Stage;
use crate::verdict::Phase;

/// Where fresh bytes come from, and whether time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The Verifier draws them at random; its clock limits every phase.
    Online,
    /// They are derived from the transcript; there is no clock (spec §5, offline form).
    Offline,
}

/// A session's configuration from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierConfig {
    /// Online or offline.
    pub mode: Mode,
    /// How long HELLO may take (ms); 0 offline.
    pub hello_deadline_ms: u64,
    /// The TLS exporter value of the connection, if there is one; signed with OPENINGS.
    pub tls_exporter: Option<[u8; 32]>,
}

/// What is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this message.
    Send(Outgoing),
    /// Wait for a message until `deadline_ns`; there is no deadline offline.
    Receive {
        /// The phase.
        phase: Phase,
        /// When it ends, in ns since the session started.
        deadline_ns: Option<u64>,
    },
    /// Recompute the tiles of [`super::VerifierSession::tile_checks`].
    Check,
    /// There is a verdict.
    Done,
}

/// A message that the Verifier sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// PLAN.
    Plan,
    /// NONCE.
    Nonce,
    /// SALT v, w or that of a round, of an iteration.
    Salt(Stage, u32),
    /// SAMPLE.
    Sample,
}

/// Windows and arrival times of one iteration, ns (spec §6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// When the fill started: the sending of NONCE or SALT w.
    pub fill_start_ns: u64,
    /// From there to the sending of SALT v.
    pub fill_ns: u64,
    /// From the sending of SALT v to the last SWEPT.
    pub sweep_ns: u64,
    /// Of each round, from the sending of its SALT to the last CROSSED.
    pub round_ns: Vec<u64>,
    /// Arrivals of FILLED since the fill began: diagnostics.
    pub filled_after_ns: Vec<(DeviceOrdinal, u64)>,
    /// Arrivals of SWEPT since SALT v: diagnostics.
    pub swept_after_ns: Vec<(DeviceOrdinal, u64)>,
    /// Arrivals of CROSSED since the SALT of their round, which is the first value: diagnostics.
    pub crossed_after_ns: Vec<(u32, DeviceOrdinal, u64)>,
}

/// The contents of OPENINGS in addition to the openings: the Attester's signed statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Labels of the session.
    pub labels: Vec<Label>,
    /// The hardware manufacturer's attestation.
    pub attestation: Option<Vec<u8>>,
}

/// A record that contradicts the session: no session of this code produces it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// A message was sent that was not due.
    #[error("{actual} sent where {expected:?} is due")]
    Sent {
        /// What is due.
        expected: Step,
        /// What was sent.
        actual: String,
    },
    /// The sent message differs from the one derived by the session, or cannot be parsed.
    #[error("{0}")]
    Content(String),
    /// An event after the end, or before it is due.
    #[error("{0} where {1:?} is due")]
    Event(&'static str, Step),
    /// The time is earlier than that of a previous record.
    #[error("the clock went from {before_ns} ns to {after_ns} ns")]
    Clock {
        /// An earlier record's time.
        before_ns: u64,
        /// This record's.
        after_ns: u64,
    },
}
