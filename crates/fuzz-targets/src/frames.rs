//! Frames of a byte stream that arrives in pieces (spec §8).

use std::io::{self, ErrorKind, Read};

use protocol::frame::{Frame, HEADER_BYTES, MessageType};
use transport::{FrameError, read_frame, write_frame};

use crate::input::Input;
use crate::vectors;

/// Returns at most `piece_bytes` at a time, and an interruption before every `interrupted`-th piece.
struct Pieces<'a> {
    left: &'a [u8],
    piece_bytes: usize,
    interrupted: usize,
    reads: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads += 1;
        if self.interrupted > 0 && self.reads.is_multiple_of(self.interrupted) {
            return Err(ErrorKind::Interrupted.into());
        }
        let count = self.piece_bytes.min(buffer.len()).min(self.left.len());
        buffer[..count].copy_from_slice(&self.left[..count]);
        self.left = &self.left[count..];
        Ok(count)
    }
}

/// Reads frames until the stream ends: every frame is as on the stream, within its limit, and nothing is read past it.
///
/// # Panics
///
/// If one of these does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (piece_bytes, interrupted, limit_bits) = (usize::from(input.u8()) + 1, input.u8(), input.u8() % 65);
    let bytes = input.rest();
    let limit_bytes = |type_number: u32| match type_number {
        0 => 0,
        _ => 1u64.checked_shl(limit_bits.into()).map_or(u64::MAX, |limit| limit - 1),
    };
    let mut stream = Pieces {
        left: bytes,
        piece_bytes,
        interrupted: match usize::from(interrupted) % 8 {
            1 => 0,
            other => other,
        },
        reads: 0,
    };
    loop {
        let before = stream.left;
        match read_frame(&mut stream, limit_bytes) {
            Ok(frame) => {
                let taken = before.len() - stream.left.len();
                assert!(frame.payload.len() as u64 <= limit_bytes(frame.type_number));
                let mut written = Vec::new();
                write_frame(&mut written, &frame).expect("a vector takes every byte");
                assert_eq!(written, before[..taken], "a frame is the bytes it came as");
            }
            Err(FrameError::Closed) => return assert!(before.is_empty()),
            Err(FrameError::Truncated { read, expected }) => {
                assert_eq!(read, before.len() as u64);
                return assert!(expected > read);
            }
            Err(FrameError::Oversized {
                type_number,
                length_bytes,
                limit_bytes: limit,
            }) => {
                assert!(length_bytes > limit && limit == limit_bytes(type_number));
                return assert_eq!(before.len() - stream.left.len(), HEADER_BYTES);
            }
            Err(FrameError::Io(error)) => panic!("no error was injected: {error}"),
        }
    }
}

/// Streams of the vectors' messages.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut all = vec![3, 5, 16];
    let mut seeds = Vec::new();
    for (name, payload) in vectors::load(&["accept"]) {
        let Some(kind) = MessageType::ALL.into_iter().find(|kind| kind.name() == name) else {
            continue;
        };
        let frame = Frame::new(kind, payload);
        let bytes = [&frame.header()[..], &frame.payload].concat();
        if bytes.len() < 400 {
            all.extend(&bytes);
            seeds.push([&[0, 0, 30][..], &bytes].concat());
        }
    }
    seeds.push(all);
    seeds
}
