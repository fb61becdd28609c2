//! Frames: the encoding of a message on a byte stream and in the transcript; both are the same bytes (spec §8).

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Bytes of a frame's header: u32 type, u64 payload length, both little-endian.
pub const HEADER_BYTES: usize = 12;

/// What a frame carries (spec §5, §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum MessageType {
    /// Attester: who it is, what it speaks, what each device offers.
    Hello = 1,
    /// Verifier: the work.
    Plan = 2,
    /// Attester: memory taken, code loaded, self-tests passed.
    Ready = 3,
    /// Verifier: the challenge; the clock starts.
    Nonce = 4,
    /// Attester: root of one device's fill digests.
    Filled = 5,
    /// Verifier: fresh bytes v or w.
    Salt = 6,
    /// Attester: roots of one device's sweeps.
    Swept = 7,
    /// Verifier: the seed of the samples.
    Sample = 8,
    /// Attester: the sampled leaves, signed.
    Openings = 9,
    /// Verifier: the verdict, for the Attester's information.
    Result = 10,
    /// Attester: it cannot continue, and why.
    Abort = 11,
    /// Attester: root of one device's leaves in a round of the tournament.
    Crossed = 12,
    /// Attester: its progress. Outside the transcript; never moves a deadline.
    Progress = 0x80,
}

impl MessageType {
    /// Every type, in numeric order.
    pub const ALL: [MessageType; 13] = [
        MessageType::Hello,
        MessageType::Plan,
        MessageType::Ready,
        MessageType::Nonce,
        MessageType::Filled,
        MessageType::Salt,
        MessageType::Swept,
        MessageType::Sample,
        MessageType::Openings,
        MessageType::Result,
        MessageType::Abort,
        MessageType::Crossed,
        MessageType::Progress,
    ];

    /// The type with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        MessageType::ALL.into_iter().find(|&kind| kind as u32 == number)
    }

    /// The name used in spec and messages, for example `HELLO`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MessageType::Hello => "HELLO",
            MessageType::Plan => "PLAN",
            MessageType::Ready => "READY",
            MessageType::Nonce => "NONCE",
            MessageType::Filled => "FILLED",
            MessageType::Salt => "SALT",
            MessageType::Swept => "SWEPT",
            MessageType::Sample => "SAMPLE",
            MessageType::Openings => "OPENINGS",
            MessageType::Result => "RESULT",
            MessageType::Abort => "ABORT",
            MessageType::Crossed => "CROSSED",
            MessageType::Progress => "PROGRESS",
        }
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Bytes of a message. Copies share them until one is changed: OPENINGS of a large host are tens of MB, and belong to the session,
/// its records and its evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload(Arc<Vec<u8>>);

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Payload(Arc::new(bytes))
    }
}

impl Deref for Payload {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Payload {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        Arc::make_mut(&mut self.0)
    }
}

/// One message as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Number of the message type; a received one may be unknown.
    pub type_number: u32,
    /// The payload's canonical bytes.
    pub payload: Payload,
}

impl Frame {
    /// A frame of a known type.
    #[must_use]
    pub fn new(message_type: MessageType, payload: Vec<u8>) -> Self {
        Frame {
            type_number: message_type as u32,
            payload: payload.into(),
        }
    }

    /// The type, if it is known.
    #[must_use]
    pub fn message_type(&self) -> Option<MessageType> {
        MessageType::from_number(self.type_number)
    }

    /// The header before the payload: u32 type | u64 length.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        header(self.type_number, self.payload.len() as u64)
    }
}

/// The header of a frame: u32 type | u64 length.
#[must_use]
pub fn header(type_number: u32, length: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&type_number.to_le_bytes());
    header[4..].copy_from_slice(&length.to_le_bytes());
    header
}

/// Type number and payload length of a received header.
#[must_use]
pub fn parse_header(header: &[u8; HEADER_BYTES]) -> (u32, u64) {
    let [t0, t1, t2, t3, length @ ..] = *header;
    (u32::from_le_bytes([t0, t1, t2, t3]), u64::from_le_bytes(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip() {
        let frame = Frame::new(MessageType::Openings, vec![0; 300]);
        assert_eq!(frame.header(), [9, 0, 0, 0, 44, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(parse_header(&frame.header()), (9, 300));
        assert_eq!(MessageType::from_number(13), None);
        for kind in MessageType::ALL {
            assert_eq!(MessageType::from_number(kind as u32), Some(kind));
        }
    }
}
