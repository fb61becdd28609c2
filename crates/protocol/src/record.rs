//! What a Verifier's session received and sent, in order and with times: the body of evidence (spec §10).

use crate::cbor::{Canonical, Malformed, Reader, Writer};
use crate::frame::Frame;

/// One event of a session on the Verifier's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds since the session started: before the write of a sent message, after the last byte of a received
    /// one.
    pub at_ns: u64,
    /// What happened.
    pub event: Event,
}

/// What happened in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The Verifier sent a message.
    Sent(Frame),
    /// A message of the Attester was received.
    Received(Frame),
    /// The Verifier stopped listening.
    Ended(EndCause),
}

/// Why a Verifier stopped listening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The phase's deadline passed.
    Deadline,
    /// The Attester's end of the connection was closed or failed; the transport's error.
    Closed(String),
    /// A frame was announced that is longer than its limit.
    Oversized {
        /// Number of its type.
        type_number: u32,
        /// The length announced.
        length_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// More PROGRESS frames were received than [`crate::limits::MAX_PROGRESS_FRAMES`].
    Flood,
    /// No plan fits the Attester's offer; the reason.
    NoPlan(String),
    /// The Verifier was stopped.
    Stopped,
}

impl Canonical for Record {
    fn write(&self, to: &mut Writer) {
        to.array(3);
        to.uint(self.at_ns);
        match &self.event {
            Event::Sent(frame) | Event::Received(frame) => {
                to.uint(matches!(self.event, Event::Received(_)).into());
                to.array(2);
                to.uint(frame.type_number.into());
                to.bytes(&frame.payload);
            }
            Event::Ended(cause) => {
                to.uint(2);
                cause.write(to);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("record", 3)?;
        let at_ns = from.uint("at_ns")?;
        let kind = from.uint("event")?;
        let event = match kind {
            0 | 1 => {
                from.array("frame", 2)?;
                let frame = Frame {
                    type_number: from.uint32("type")?,
                    payload: from.bytes("payload", usize::MAX)?.to_vec().into(),
                };
                if kind == 0 {
                    Event::Sent(frame)
                } else {
                    Event::Received(frame)
                }
            }
            2 => Event::Ended(EndCause::read(from)?),
            other => return Err(Malformed::value("event", "0 sent, 1 received, 2 ended", other)),
        };
        Ok(Record { at_ns, event })
    }
}

impl Canonical for EndCause {
    fn write(&self, to: &mut Writer) {
        match self {
            EndCause::Deadline => write_cause(to, 0, &[]),
            EndCause::Closed(detail) => write_text(to, 1, detail),
            EndCause::Oversized {
                type_number,
                length_bytes,
                limit_bytes,
            } => write_cause(to, 2, &[u64::from(*type_number), *length_bytes, *limit_bytes]),
            EndCause::Flood => write_cause(to, 3, &[]),
            EndCause::NoPlan(detail) => write_text(to, 4, detail),
            EndCause::Stopped => write_cause(to, 5, &[]),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let items = from.array_within("end", 1..=4)?;
        let number = from.uint("cause")?;
        let cause = match (number, items) {
            (0, 1) => EndCause::Deadline,
            (1, 2) => EndCause::Closed(from.text("detail")?),
            (2, 4) => EndCause::Oversized {
                type_number: from.uint32("type")?,
                length_bytes: from.uint("length")?,
                limit_bytes: from.uint("limit")?,
            },
            (3, 1) => EndCause::Flood,
            (4, 2) => EndCause::NoPlan(from.text("detail")?),
            (5, 1) => EndCause::Stopped,
            _ => return Err(Malformed::value("cause", "a cause of spec §10 and its details", number)),
        };
        Ok(cause)
    }
}

fn write_cause(to: &mut Writer, number: u64, details: &[u64]) {
    to.array(1 + details.len());
    to.uint(number);
    details.iter().for_each(|&detail| to.uint(detail));
}

fn write_text(to: &mut Writer, number: u64, detail: &str) {
    to.array(2);
    to.uint(number);
    to.text(detail);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_the_bytes_of_the_spec() {
        let oversized = EndCause::Oversized {
            type_number: 2,
            length_bytes: 65_537,
            limit_bytes: 65_536,
        };
        for (cause, bytes) in [
            (EndCause::Deadline, &b"\x81\x00"[..]),
            (EndCause::Closed("eof".to_owned()), b"\x82\x01\x63eof"),
            (oversized, b"\x84\x02\x02\x1a\x00\x01\x00\x01\x1a\x00\x01\x00\x00"),
            (EndCause::Flood, b"\x81\x03"),
            (EndCause::NoPlan("why".to_owned()), b"\x82\x04\x63why"),
            (EndCause::Stopped, b"\x81\x05"),
        ] {
            assert_eq!(cause.to_bytes(), bytes, "{cause:?}");
            assert_eq!(EndCause::from_bytes(bytes), Ok(cause.clone()), "{cause:?}");
            let record = Record {
                at_ns: 7,
                event: Event::Ended(cause),
            };
            assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
        }
    }

    #[test]
    fn an_end_with_other_details_is_refused() {
        for bytes in [
            &b"\x82\x00\x00"[..],
            b"\x81\x01",
            b"\x83\x02\x02\x03",
            b"\x82\x03\x00",
            b"\x81\x04",
            b"\x82\x05\x00",
            b"\x81\x06",
        ] {
            let refused = EndCause::from_bytes(bytes);
            assert!(
                matches!(refused, Err(Malformed::Value { field: "cause", .. })),
                "{bytes:?}: {refused:?}"
            );
        }
    }
}
