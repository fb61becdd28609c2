//! The transcript: every message of a session in order, hashed (spec §5).
//!
//! The FILLED of an iteration are added together and in ordinal order once the last was received, and so are its SWEPT:
//! the order in which devices finish changes no value derived from the transcript.

use crate::bytes::TranscriptHash;
use crate::derive::derive;
use crate::frame::{Frame, header};

/// A running hash over the messages of a session in both directions.
#[derive(Clone, Default)]
pub struct Transcript(blake3::Hasher);

impl Transcript {
    /// Appends a whole message: u32 type | u64 length | payload.
    pub fn append(&mut self, frame: &Frame) {
        self.append_parts(frame.type_number, &frame.payload);
    }

    /// Appends `payload` as a message of this type; OPENINGS are appended without their signature.
    pub fn append_parts(&mut self, type_number: u32, payload: &[u8]) {
        self.0.update(&header(type_number, payload.len() as u64));
        self.0.update(payload);
    }

    /// H: the hash of all messages so far.
    #[must_use]
    pub fn hash(&self) -> TranscriptHash {
        TranscriptHash(*self.0.finalize().as_bytes())
    }
}

/// What the Attester signs: derive("transcript", H | TLS exporter value or nothing) (spec §5).
#[must_use]
pub fn signed_message(hash: &TranscriptHash, tls_exporter: Option<&[u8; 32]>) -> [u8; 32] {
    derive("transcript", &[&hash.0, tls_exporter.map_or(&[][..], |value| value)])
}
