//! Evidence: one session's records, sealed by their recorder; anyone can replay them (spec §10).

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::bounds::Assumptions;
use crate::bytes::Identity;
use crate::cbor::{Canonical, Malformed, Reader, Writer};
use crate::challenge::{Challenge, ChallengeError};
use crate::derive::derive;
use crate::frame::MessageType;
use crate::limits::{DEADLINE_RANGE_MS, HELPER_GPUS_RANGE, MAX_RECORDS};
use crate::message::NonceMessage;
use crate::record::{Event, Record};
use crate::verifier::{Inconsistent, Mode, SIGNATURE_BYTES, Step, VerifierConfig, VerifierSession};

/// What the file begins with, inside the CBOR.
const MAGIC: &str = "gpu-attestor evidence";

/// Version of the evidence format.
pub const EVIDENCE_VERSION: u64 = 1;

/// What errors call the field of that version.
const VERSION_FIELD: &str = "evidence version";

/// Items of this version's array.
const ITEMS: usize = 10;

/// A session's evidence, before it is sealed or after its seal was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The session's configuration from its start.
    pub config: VerifierConfig,
    /// When it began, ms since the Unix epoch by its recorder's clock: information, not evidence of time.
    pub started_unix_ms: u64,
    /// What its bounds take for granted.
    pub assumptions: Assumptions,
    /// The challenge it answers; offline evidence only.
    pub challenge: Option<Challenge>,
    /// Who recorded it: the Verifier online, the Attester offline.
    pub sealer: Identity,
    /// All events.
    pub records: Vec<Record>,
}

/// Why bytes are not valid evidence of a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Not evidence, or incomplete.
    #[error("malformed evidence: {0}")]
    Malformed(Malformed),
    /// Too short to hold a seal.
    #[error("evidence of {0} bytes is too short to hold a seal: it was cut short, or is none")]
    TooShort(usize),
    /// The seal is not the sealer's over these bytes.
    #[error("the evidence was changed or damaged, or was not sealed by {0}")]
    Seal(Identity),
    /// The sealer is not the party that must record the session.
    #[error("the evidence is sealed by {actual}; its session is recorded by {expected}")]
    Sealer {
        /// The Verifier of PLAN online, the identity of HELLO offline.
        expected: Identity,
        /// Who sealed it.
        actual: Identity,
    },
    /// The records contradict each other.
    #[error("record {index}: {problem}")]
    Inconsistent {
        /// Position of the record, from 0.
        index: usize,
        /// What is wrong with it.
        problem: Inconsistent,
    },
    /// The records end where something is due.
    #[error("the records stop where {0:?} is due")]
    Incomplete(Step),
    /// Offline evidence whose challenge is missing, not its Verifier's, or another's.
    #[error("the challenge does not belong to this evidence: {0}")]
    Challenge(String),
}

impl EvidenceError {
    /// Whether the bytes may have been damaged in transit, or may never have been evidence: this cannot be told from a
    /// forgery, and does not count against anyone (spec §10.2). Any other error concerns evidence that was sealed as it
    /// is.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            EvidenceError::Malformed(_) | EvidenceError::TooShort(_) | EvidenceError::Seal(_) => true,
            EvidenceError::Sealer { .. }
            | EvidenceError::Inconsistent { .. }
            | EvidenceError::Incomplete(_)
            | EvidenceError::Challenge(_) => false,
        }
    }

    /// Whether the bytes state that they are evidence of another version than [`EVIDENCE_VERSION`].
    #[must_use]
    pub fn is_other_version(&self) -> bool {
        matches!(self, EvidenceError::Malformed(Malformed::Value { field, .. }) if *field == VERSION_FIELD)
    }
}

impl From<Malformed> for EvidenceError {
    fn from(error: Malformed) -> Self {
        EvidenceError::Malformed(error)
    }
}

impl From<ChallengeError> for EvidenceError {
    fn from(error: ChallengeError) -> Self {
        EvidenceError::Challenge(error.to_string())
    }
}

impl Evidence {
    /// The evidence's bytes, sealed with `key`: canonical CBOR and an Ed25519 signature over derive("evidence", CBOR).
    ///
    /// # Panics
    ///
    /// If `key` is not the sealer's.
    #[must_use]
    pub fn seal(&self, key: &SigningKey) -> Vec<u8> {
        assert_eq!(key.verifying_key().to_bytes(), self.sealer.0, "the sealer's key");
        let mut bytes = self.to_bytes();
        let signature = key.sign(&derive("evidence", &[&bytes])).to_bytes();
        bytes.extend_from_slice(&signature);
        bytes
    }

    /// Whether a file that starts with `bytes` can be evidence, of any version: if not, the rest need not be read.
    #[must_use]
    pub fn may_begin_with(bytes: &[u8]) -> bool {
        let mut reader = Reader::new(bytes);
        let head = reader.array_within("evidence", 2..=usize::MAX);
        head.and_then(|_| reader.text("magic"))
            .is_ok_and(|magic| magic == MAGIC)
    }

    /// The evidence in `bytes`, its seal checked.
    ///
    /// # Errors
    ///
    /// [`EvidenceError`] for anything but sealed evidence.
    pub fn open(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let (body, signature) = bytes
            .split_last_chunk::<SIGNATURE_BYTES>()
            .ok_or(EvidenceError::TooShort(bytes.len()))?;
        let evidence = Evidence::from_bytes(body)?;
        VerifyingKey::from_bytes(&evidence.sealer.0)
            .and_then(|key| key.verify_strict(&derive("evidence", &[body]), &Signature::from_bytes(signature)))
            .map_err(|_| EvidenceError::Seal(evidence.sealer))?;
        Ok(evidence)
    }

    /// Replays the records through a session. It ends with a verdict, or where tiles are to be recomputed.
    ///
    /// # Errors
    ///
    /// [`EvidenceError`] for records that no session of this code produces.
    pub fn replay(&self) -> Result<VerifierSession, EvidenceError> {
        let mut session = VerifierSession::new(self.config);
        for (index, Record { at_ns, event }) in self.records.iter().enumerate() {
            match event.clone() {
                Event::Sent(frame) => session.sent(*at_ns, frame),
                Event::Received(frame) => session.received(*at_ns, frame),
                Event::Ended(cause) => session.ended(*at_ns, cause),
            }
            .map_err(|problem| EvidenceError::Inconsistent { index, problem })?;
        }
        if let step @ (Step::Send(_) | Step::Receive { .. }) = session.step() {
            return Err(EvidenceError::Incomplete(step));
        }
        self.check_sealer(&session)?;
        self.check_challenge(&session)?;
        Ok(session)
    }

    fn check_sealer(&self, session: &VerifierSession) -> Result<(), EvidenceError> {
        let expected = match self.config.mode {
            Mode::Online => session.verifier().copied(),
            Mode::Offline => session.hello().map(|hello| hello.identity),
        };
        match expected {
            Some(expected) if expected != self.sealer => Err(EvidenceError::Sealer {
                expected,
                actual: self.sealer,
            }),
            _ => Ok(()),
        }
    }

    /// Offline, plan and nonce must be those of a challenge that the plan's Verifier signed.
    fn check_challenge(&self, session: &VerifierSession) -> Result<(), EvidenceError> {
        let refused = |why: &str| Err(EvidenceError::Challenge(why.to_owned()));
        match (self.config.mode, &self.challenge) {
            (Mode::Online, None) => Ok(()),
            (Mode::Online, Some(_)) => refused("a session with a clock has none"),
            (Mode::Offline, None) => refused("it is missing"),
            (Mode::Offline, Some(challenge)) => {
                challenge.check_signature()?;
                if session.plan().is_some_and(|plan| *plan != challenge.plan) {
                    return refused("another plan");
                }
                let is_nonce = |record: &Record| match &record.event {
                    Event::Sent(frame) if frame.message_type() == Some(MessageType::Nonce) => {
                        NonceMessage::from_bytes(&frame.payload).is_ok_and(|sent| sent.0 == challenge.nonce)
                    }
                    _ => false,
                };
                if session.trace().is_some() && !self.records.iter().any(is_nonce) {
                    return refused("another nonce");
                }
                Ok(())
            }
        }
    }
}

impl Canonical for Evidence {
    fn write(&self, to: &mut Writer) {
        to.array(ITEMS);
        to.text(MAGIC);
        to.uint(EVIDENCE_VERSION);
        to.uint((self.config.mode == Mode::Offline).into());
        to.uint(self.started_unix_ms);
        to.uint(self.config.hello_deadline_ms);
        match &self.config.tls_exporter {
            Some(value) => to.bytes(value),
            None => to.null(),
        }
        self.assumptions.write(to);
        match &self.challenge {
            Some(challenge) => challenge.write(to),
            None => to.null(),
        }
        to.bytes(&self.sealer.0);
        to.list(&self.records);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        // Another version may have another number of items: it is to be told as what it is.
        let items = from.array_within("evidence", 2..=usize::MAX)?;
        let magic = from.text("magic")?;
        if magic != MAGIC {
            return Err(Malformed::value("magic", MAGIC, magic));
        }
        let version = from.uint(VERSION_FIELD)?;
        if version != EVIDENCE_VERSION {
            return Err(Malformed::value(VERSION_FIELD, EVIDENCE_VERSION, version));
        }
        if items != ITEMS {
            return Err(Malformed::value("evidence", format!("{ITEMS} items"), items));
        }
        let mode = match from.uint("mode")? {
            0 => Mode::Online,
            1 => Mode::Offline,
            other => return Err(Malformed::value("mode", "0 (online) or 1 (offline)", other)),
        };
        let started_unix_ms = from.uint("started")?;
        let config = VerifierConfig {
            mode,
            hello_deadline_ms: from.uint("hello deadline")?,
            tls_exporter: from.optional(|from| from.array_of_bytes("TLS exporter"))?,
        };
        // Offline there is neither a clock nor a connection.
        let (deadlines_ms, expected) = match mode {
            Mode::Online => (DEADLINE_RANGE_MS, "1 ms to 366 days"),
            Mode::Offline => (0..=0, "0 without a clock"),
        };
        if !deadlines_ms.contains(&config.hello_deadline_ms) {
            return Err(Malformed::value("hello deadline", expected, config.hello_deadline_ms));
        }
        if mode == Mode::Offline && config.tls_exporter.is_some() {
            return Err(Malformed::value("TLS exporter", "null without a connection", "bytes"));
        }
        Ok(Evidence {
            config,
            started_unix_ms,
            assumptions: Assumptions::read(from)?,
            challenge: from.optional(Challenge::read)?,
            sealer: Identity(from.array_of_bytes("sealer")?),
            records: from.list("records", 0..=MAX_RECORDS)?,
        })
    }
}

impl Canonical for Assumptions {
    fn write(&self, to: &mut Writer) {
        to.array(7);
        to.uint(self.best_rate_ops_per_s);
        to.uint(self.helper_gpus);
        to.uint(self.link_in_bytes_per_s);
        to.uint(self.link_out_bytes_per_s);
        to.uint(self.helper_bytes_per_s);
        to.uint(self.on_chip_bytes);
        to.uint(self.error_bits.into());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("assumptions", 7)?;
        let assumptions = Assumptions {
            best_rate_ops_per_s: from.uint("best rate")?,
            helper_gpus: from.uint("helper GPUs")?,
            link_in_bytes_per_s: from.uint("link in")?,
            link_out_bytes_per_s: from.uint("link out")?,
            helper_bytes_per_s: from.uint("helper rate")?,
            on_chip_bytes: from.uint("on-chip memory")?,
            error_bits: from.uint32("error bits")?,
        };
        // Keeps sums and products of the bounds far within a u128.
        let largest = [
            assumptions.best_rate_ops_per_s,
            assumptions.link_in_bytes_per_s,
            assumptions.link_out_bytes_per_s,
            assumptions.helper_bytes_per_s,
            assumptions.on_chip_bytes,
        ]
        .into_iter()
        .max()
        .unwrap_or(0);
        if largest >> 62 != 0 {
            return Err(Malformed::value("assumption", "below 2^62", largest));
        }
        if !HELPER_GPUS_RANGE.contains(&assumptions.helper_gpus) {
            return Err(Malformed::value("helper GPUs", "1..=65536", assumptions.helper_gpus));
        }
        if !(1..=256).contains(&assumptions.error_bits) {
            return Err(Malformed::value("error bits", "1..=256", assumptions.error_bits));
        }
        Ok(assumptions)
    }
}
