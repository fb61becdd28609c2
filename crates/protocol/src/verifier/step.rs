//! What is due in a Verifier's session, what it measures, and what no session does.

use crate::bytes::DeviceOrdinal;
use crate::cbor::Label;
use crate::message::Stage;
use crate::verdict::Phase;

/// Where fresh bytes come from, and whether time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The Verifier draws them; its clock bounds every phase.
    Online,
    /// They derive from the transcript; there is no clock (spec §5, offline form).
    Offline,
}

/// What holds for a session from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierConfig {
    /// Online or offline.
    pub mode: Mode,
    /// How long HELLO may take (ms); 0 offline.
    pub hello_deadline_ms: u64,
    /// The TLS exporter value of the connection, where there is one; signed with OPENINGS.
    pub tls_exporter: Option<[u8; 32]>,
}

/// What is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this message.
    Send(Outgoing),
    /// Wait for a message until `deadline_ns`; offline there is none.
    Receive {
        /// The phase.
        phase: Phase,
        /// When it ends, in ns since the session began.
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
    /// SALT v or w of an iteration.
    Salt(Stage, u32),
    /// SAMPLE.
    Sample,
}

/// Windows and arrivals of one iteration, ns (spec §6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// When the fill began: the sending of NONCE or SALT w.
    pub fill_start_ns: u64,
    /// From there to the sending of SALT v.
    pub fill_ns: u64,
    /// From the sending of SALT v to the last SWEPT.
    pub sweep_ns: u64,
    /// Arrivals of FILLED since the fill began: diagnostics.
    pub filled_after_ns: Vec<(DeviceOrdinal, u64)>,
    /// Arrivals of SWEPT since SALT v: diagnostics.
    pub swept_after_ns: Vec<(DeviceOrdinal, u64)>,
}

/// What OPENINGS carry beside the openings: the Attester's word, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Labels of the session.
    pub labels: Vec<Label>,
    /// What the hardware's maker attests.
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
    /// What was sent is not what the session derives or can be parsed.
    #[error("{0}")]
    Content(String),
    /// Something happens after the end, or before it is due.
    #[error("{0} where {1:?} is due")]
    Event(&'static str, Step),
    /// The clock went back.
    #[error("the clock went from {before_ns} ns to {after_ns} ns")]
    Clock {
        /// An earlier record's time.
        before_ns: u64,
        /// This record's.
        after_ns: u64,
    },
}
