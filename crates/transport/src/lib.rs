//! Protocol frames over any pair of byte streams: pipes, sockets, a child's standard input and output (spec §8).
//!
//! A frame is read only up to the limit of its type, and memory grows only with the bytes received.

mod stop;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use protocol::frame::{Frame, HEADER_BYTES, parse_header};

pub use stop::{Stop, Until, Woken, wait_to_read};

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream ended between two frames.
    #[error("the connection was closed")]
    Closed,
    /// The stream ended within a frame.
    #[error("the connection was closed within a frame: {read} of {expected} bytes came")]
    Truncated {
        /// Bytes of the frame that were received.
        read: u64,
        /// Bytes it should have, as far as known.
        expected: u64,
    },
    /// A frame announces a payload longer than its limit.
    #[error("message type {type_number} announces {length_bytes} bytes, at most {limit_bytes} allowed")]
    Oversized {
        /// The number of its type.
        type_number: u32,
        /// The length announced.
        length_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The stream failed.
    #[error("the connection broke: {0}")]
    Io(io::Error),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        FrameError::Io(error)
    }
}

/// Reads one whole frame whose payload is at most `limit_bytes(type)` long.
///
/// # Errors
///
/// [`FrameError`] if no whole frame was read.
pub fn read_frame(from: &mut impl Read, limit_bytes: impl Fn(u32) -> u64) -> Result<Frame, FrameError> {
    let mut header = [0; HEADER_BYTES];
    let read = fill(from, &mut header)?;
    if read == 0 {
        return Err(FrameError::Closed);
    }
    if read < HEADER_BYTES {
        return Err(FrameError::Truncated {
            read: read as u64,
            expected: HEADER_BYTES as u64,
        });
    }
    let (type_number, length_bytes) = parse_header(&header);
    let limit_bytes = limit_bytes(type_number);
    if length_bytes > limit_bytes {
        return Err(FrameError::Oversized {
            type_number,
            length_bytes,
            limit_bytes,
        });
    }
    let mut payload = Vec::new();
    let read = from.take(length_bytes).read_to_end(&mut payload)? as u64;
    if read < length_bytes {
        return Err(FrameError::Truncated {
            read: read + HEADER_BYTES as u64,
            expected: length_bytes.saturating_add(HEADER_BYTES as u64),
        });
    }
    Ok(Frame {
        type_number,
        payload: payload.into(),
    })
}

/// Writes one frame and flushes it.
///
/// # Errors
///
/// Those of the stream.
pub fn write_frame(to: &mut impl Write, frame: &Frame) -> io::Result<()> {
    to.write_all(&frame.header())?;
    to.write_all(&frame.payload)?;
    to.flush()
}

/// Writes one short frame to a stream that nothing is known of, if the other side takes it within `limit`.
///
/// # Errors
///
/// Those of the stream; [`io::ErrorKind::TimedOut`] if it cannot be written to in time, [`io::ErrorKind::InvalidInput`] for a
/// frame that might block.
pub fn write_frame_within(to: &mut (impl Write + AsFd), frame: &Frame, limit: Duration) -> io::Result<()> {
    let bytes = [&frame.header()[..], &frame.payload].concat();
    if bytes.len() > stop::WRITE_BYTES {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    stop::wait_to_write(&to, limit)?;
    to.write_all(&bytes)?;
    to.flush()
}

/// The system's error for a thread that it does not give, with what is to be done about it.
#[must_use]
pub fn no_thread(error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("no thread: {error}; raise the limit of processes (ulimit -u, or pids.max of the container)"),
    )
}

/// Reads into `buffer` until it is full or the stream ends. Returns the number of bytes read.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match from.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::frame::MessageType;

    fn bytes(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, frame).expect("a vector takes every byte");
        bytes
    }

    #[test]
    fn frames_round_trip_and_every_cut_is_told() {
        let frame = Frame::new(MessageType::Swept, (0..200).collect());
        let bytes = bytes(&frame);
        assert_eq!(read_frame(&mut &bytes[..], |_| 200).expect("a whole frame"), frame);
        for end in 0..bytes.len() {
            match read_frame(&mut &bytes[..end], |_| 200) {
                Err(FrameError::Closed) => assert_eq!(end, 0),
                Err(FrameError::Truncated { read, .. }) => assert_eq!(read, end as u64),
                other => panic!("cut at {end}: {other:?}"),
            }
        }
    }

    /// Found by the fuzz target `frames`: the expected length overflowed.
    #[test]
    fn the_longest_length_there_is_can_be_cut() {
        let header = protocol::frame::header(5, u64::MAX);
        match read_frame(&mut &header[..], |_| u64::MAX) {
            Err(FrameError::Truncated {
                read: 12,
                expected: u64::MAX,
            }) => {}
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_length_past_the_cap_is_refused_before_anything_is_read() {
        let mut header = protocol::frame::header(9, u64::MAX).to_vec();
        header.extend([0; 4]);
        let mut stream = &header[..];
        match read_frame(&mut stream, |kind| if kind == 9 { 100 } else { 0 }) {
            Err(FrameError::Oversized {
                type_number: 9,
                length_bytes: u64::MAX,
                limit_bytes: 100,
            }) => assert_eq!(stream.len(), 4),
            other => panic!("{other:?}"),
        }
    }
}
