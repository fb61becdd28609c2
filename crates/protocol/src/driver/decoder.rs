//! Decodes frames from the bytes of a stream; memory grows only with the bytes received (spec §8.1).

use std::collections::VecDeque;

use crate::frame::{Frame, HEADER_BYTES, parse_header};

/// Takes bytes with their times and returns frames with theirs.
///
/// A frame's limit is determined when its header is decoded, so bytes stay undecoded until a frame is requested.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameDecoder {
    chunks: VecDeque<Chunk>,
    waiting_bytes: usize,
    header: Vec<u8>,
    body: Option<Body>,
}

#[derive(Clone, Debug)]
struct Chunk {
    at_ns: u64,
    bytes: Vec<u8>,
    /// The number of bytes consumed.
    taken: usize,
}

#[derive(Clone, Debug)]
struct Body {
    type_number: u32,
    length: usize,
    payload: Vec<u8>,
    /// When the last consumed byte was received.
    at_ns: u64,
}

/// The result of decoding the bytes so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A whole frame, and when its last byte was received (ns).
    Frame(u64, Frame),
    /// The announced frame is longer than its limit; nothing after it is decoded.
    Oversized {
        type_number: u32,
        length_bytes: u64,
        limit_bytes: u64,
    },
    /// No whole frame is available.
    Partial,
}

impl FrameDecoder {
    /// Adds bytes received at `at_ns`.
    pub(crate) fn push(&mut self, at_ns: u64, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.waiting_bytes += bytes.len();
            self.chunks.push_back(Chunk { at_ns, bytes, taken: 0 });
        }
    }

    /// The number of undecoded bytes.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// The type of the next frame, once its header is complete.
    pub(crate) fn next_type(&self) -> Option<u32> {
        if let Some(body) = &self.body {
            return Some(body.type_number);
        }
        let waiting = self.chunks.iter().flat_map(|chunk| &chunk.bytes[chunk.taken..]);
        let header: Vec<u8> = self.header.iter().chain(waiting).take(HEADER_BYTES).copied().collect();
        header.first_chunk().map(|header| parse_header(header).0)
    }

    /// The next frame, whose payload is at most `limit_bytes(type)` long.
    pub(crate) fn next(&mut self, limit_bytes: impl Fn(u32) -> u64) -> Decoded {
        if self.body.is_none() {
            let mut at_ns = 0;
            while self.header.len() < HEADER_BYTES {
                let missing = HEADER_BYTES - self.header.len();
                let Some(came_ns) = take(&mut self.chunks, missing, &mut self.header) else {
                    return Decoded::Partial;
                };
                at_ns = came_ns;
            }
            let header = self.header.first_chunk().expect("a whole header");
            let (type_number, length_bytes) = parse_header(header);
            let limit_bytes = limit_bytes(type_number);
            let (true, Ok(length)) = (length_bytes <= limit_bytes, usize::try_from(length_bytes)) else {
                return Decoded::Oversized {
                    type_number,
                    length_bytes,
                    limit_bytes,
                };
            };
            self.header.clear();
            self.waiting_bytes -= HEADER_BYTES;
            self.body = Some(Body {
                type_number,
                length,
                payload: Vec::new(),
                at_ns,
            });
        }
        let body = self.body.as_mut().expect("just set");
        while body.payload.len() < body.length {
            let before = body.payload.len();
            let Some(at_ns) = take(&mut self.chunks, body.length - before, &mut body.payload) else {
                return Decoded::Partial;
            };
            self.waiting_bytes -= body.payload.len() - before;
            body.at_ns = at_ns;
        }
        let Body {
            type_number,
            payload,
            at_ns,
            ..
        } = self.body.take().expect("just filled");
        let payload = payload.into();
        Decoded::Frame(at_ns, Frame { type_number, payload })
    }

    /// For an incomplete frame: bytes received, and bytes expected as far as known.
    pub(crate) fn begun(&self) -> Option<(u64, u64)> {
        let waiting = self.waiting_bytes as u64;
        match &self.body {
            Some(body) => Some((
                (HEADER_BYTES + body.payload.len()) as u64 + waiting,
                (body.length as u64).saturating_add(HEADER_BYTES as u64),
            )),
            None => (waiting > 0).then_some((waiting, HEADER_BYTES as u64)),
        }
    }
}

/// Moves at most `count` bytes of the first chunk; returns when they were received.
fn take(chunks: &mut VecDeque<Chunk>, count: usize, to: &mut Vec<u8>) -> Option<u64> {
    let chunk = chunks.front_mut()?;
    let end = chunk.bytes.len().min(chunk.taken + count);
    to.extend_from_slice(&chunk.bytes[chunk.taken..end]);
    chunk.taken = end;
    let at_ns = chunk.at_ns;
    if end == chunk.bytes.len() {
        chunks.pop_front();
    }
    Some(at_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{MessageType, header};

    fn bytes(frame: &Frame) -> Vec<u8> {
        [&frame.header()[..], &frame.payload].concat()
    }

    /// However a stream is split, the frames are the same, each timestamped when its last byte was received.
    #[test]
    fn frames_do_not_depend_on_how_a_stream_is_cut() {
        let frames = [
            Frame::new(MessageType::Swept, (0..200).collect()),
            Frame::new(MessageType::Ready, Vec::new()),
            Frame::new(MessageType::Filled, vec![7; 3]),
        ];
        let stream: Vec<u8> = frames.iter().flat_map(bytes).collect();
        let ends: Vec<usize> = frames
            .iter()
            .scan(0, |end, frame| {
                *end += bytes(frame).len();
                Some(*end)
            })
            .collect();
        for size in 1..=stream.len() {
            let mut decoder = FrameDecoder::default();
            let mut out = Vec::new();
            for (at_ns, chunk) in stream.chunks(size).enumerate() {
                decoder.push(at_ns as u64, chunk.to_vec());
                while let Decoded::Frame(at_ns, frame) = decoder.next(|_| 200) {
                    out.push((at_ns, frame));
                }
            }
            let expected: Vec<(u64, Frame)> = frames
                .iter()
                .zip(&ends)
                .map(|(frame, end)| (((end - 1) / size) as u64, frame.clone()))
                .collect();
            assert_eq!(out, expected, "{size} bytes at a time");
            assert_eq!((decoder.waiting_bytes(), decoder.begun()), (0, None));
        }
    }

    #[test]
    fn a_length_past_the_cap_is_told_before_its_payload_is_looked_at() {
        let mut decoder = FrameDecoder::default();
        decoder.push(1, header(9, u64::MAX)[..5].to_vec());
        assert_eq!((decoder.next(|_| 0), decoder.next_type()), (Decoded::Partial, None));
        decoder.push(2, header(9, u64::MAX)[5..].to_vec());
        assert_eq!(decoder.next_type(), Some(9));
        for _ in 0..2 {
            let oversized = decoder.next(|kind| if kind == 9 { 100 } else { 0 });
            assert_eq!(
                oversized,
                Decoded::Oversized {
                    type_number: 9,
                    length_bytes: u64::MAX,
                    limit_bytes: 100
                }
            );
        }
    }

    #[test]
    fn a_stream_that_ends_within_a_frame_is_told_how_far_it_came() {
        let frame = Frame::new(MessageType::Swept, vec![0; 20]);
        for end in 1..32 {
            let mut decoder = FrameDecoder::default();
            decoder.push(0, bytes(&frame)[..end].to_vec());
            assert_eq!(decoder.next(|_| 20), Decoded::Partial);
            let expected = if end < 12 { 12 } else { 32 };
            assert_eq!(decoder.begun(), Some((end as u64, expected)), "{end}");
        }
    }
}
