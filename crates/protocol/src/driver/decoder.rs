//! Decodes frames from the bytes of a stream; memory grows only with the bytes received (spec §8.1).

use std::collections::VecDeque;

use crate::frame::{Frame, HEADER_BYTES, MessageType, parse_header};
use crate::limits::MAX_GREETING_BYTES;

/// Takes bytes with their times and returns frames with theirs.
///
/// A frame's limit is determined when its header is decoded, so bytes stay undecoded until a frame is requested.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameDecoder {
    chunks: VecDeque<Chunk>,
    waiting_bytes: usize,
    header: Vec<u8>,
    body: Option<Body>,
    /// Text before the first frame; `None` if text is not expected, or no longer.
    greeting: Option<Greeting>,
}

/// Text before the first frame: what a login shell prints (spec §8.1).
#[derive(Clone, Debug, Default)]
struct Greeting {
    /// The first frame has begun.
    is_over: bool,
    /// No more bytes will come.
    is_complete: bool,
    /// The number of bytes skipped.
    skipped: usize,
    /// Those that were not taken yet.
    untaken: Vec<u8>,
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
    /// A decoder that skips text before the first frame.
    pub(crate) fn after_greeting() -> Self {
        FrameDecoder {
            greeting: Some(Greeting::default()),
            ..FrameDecoder::default()
        }
    }

    /// Handles the end of the stream: bytes that could have begun a frame are text, if they can be.
    pub(crate) fn close(&mut self) {
        if let Some(greeting) = &mut self.greeting {
            greeting.is_complete = true;
        }
    }

    /// The text before the first frame, as far as it was not taken before.
    pub(crate) fn take_greeting(&mut self) -> Vec<u8> {
        let greeting = self.greeting.as_mut();
        greeting
            .map(|greeting| std::mem::take(&mut greeting.untaken))
            .unwrap_or_default()
    }

    /// Skips text; whether the first frame begins here. It does at the header of a known type, at a byte that is not
    /// text, and where there is too much text.
    fn skip_greeting(&mut self) -> bool {
        let Some(greeting) = &mut self.greeting else {
            return true;
        };
        if greeting.is_over {
            return true;
        }
        loop {
            let waiting = self.chunks.iter().flat_map(|chunk| &chunk.bytes[chunk.taken..]);
            let start: Vec<u8> = waiting.take(size_of::<u32>()).copied().collect();
            let Some(&first) = start.first() else {
                return false;
            };
            let type_number = start.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
            let is_frame = type_number.is_some_and(|number| MessageType::from_number(number).is_some());
            if is_frame || !is_text(first) || greeting.skipped == MAX_GREETING_BYTES {
                greeting.is_over = true;
                return true;
            }
            let may_be_frame = start[1..].iter().all(|byte| *byte == 0);
            if !greeting.is_complete
                && type_number.is_none()
                && may_be_frame
                && MessageType::from_number(first.into()).is_some()
            {
                return false;
            }
            let skipped = take(&mut self.chunks, 1, &mut greeting.untaken);
            debug_assert!(skipped.is_some(), "a byte is waiting");
            greeting.skipped += 1;
            self.waiting_bytes -= 1;
        }
    }

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
            if self.header.is_empty() && !self.skip_greeting() {
                return Decoded::Partial;
            }
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

/// Whether a terminal's text can have this byte: printable characters in UTF-8, white space, and escape sequences.
fn is_text(byte: u8) -> bool {
    matches!(byte, 0x07..=0x0a | 0x0d | 0x1b | 0x20..=0x7e | 0x80..=0xbf | 0xc2..=0xf4)
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

    /// However it is split, text before the first frame is set aside, and the frame is the same.
    #[test]
    fn a_greeting_is_set_aside() {
        let hello = Frame::new(MessageType::Hello, vec![7; 30]);
        // A line feed is the number of RESULT, a tab that of OPENINGS: alone they are text.
        for text in [
            "",
            "Welcome to Ubuntu 24.04 LTS\r\n\t\u{1b}[1mhällo\u{1b}[0m\n",
            "\n",
            "\t",
            "\n\n\n",
        ] {
            let stream = [text.as_bytes(), &bytes(&hello), &bytes(&hello)].concat();
            for size in 1..=stream.len() {
                let mut decoder = FrameDecoder::after_greeting();
                let (mut greeting, mut frames) = (Vec::new(), Vec::new());
                for chunk in stream.chunks(size) {
                    decoder.push(0, chunk.to_vec());
                    while let Decoded::Frame(_, frame) = decoder.next(|_| 30) {
                        frames.push(frame);
                    }
                    greeting.extend(decoder.take_greeting());
                }
                assert_eq!(String::from_utf8(greeting).as_deref(), Ok(text), "{size}");
                assert_eq!(frames, [hello.clone(), hello.clone()], "{text:?} {size}");
                assert_eq!(decoder.waiting_bytes(), 0);
            }
        }
    }

    #[test]
    fn what_is_no_text_or_too_much_of_it_is_a_frame() {
        let next = |bytes: &[u8]| {
            let mut decoder = FrameDecoder::after_greeting();
            decoder.push(0, bytes.to_vec());
            (decoder.next(|_| 30), decoder.begun())
        };
        // Bytes that no terminal shows, and text between frames.
        let zeros = [0; 12];
        assert!(matches!(next(&zeros).0, Decoded::Frame(_, frame) if frame.type_number == 0));
        let hello = bytes(&Frame::new(MessageType::Hello, vec![]));
        let mut decoder = FrameDecoder::after_greeting();
        decoder.push(0, [&hello[..], b"Welcome to all"].concat());
        assert!(matches!(decoder.next(|_| 30), Decoded::Frame(..)));
        assert!(matches!(decoder.next(|_| 30), Decoded::Oversized { .. }));
        // The longest greeting, and one that is a byte longer.
        let longest = vec![b'x'; MAX_GREETING_BYTES];
        assert!(matches!(next(&[&longest[..], &hello].concat()).0, Decoded::Frame(..)));
        let longer = [&longest[..], b"and 12 more bytes", &hello].concat();
        assert!(matches!(next(&longer).0, Decoded::Oversized { .. }));
        // Text alone has begun no frame.
        let mut decoder = FrameDecoder::after_greeting();
        decoder.push(0, b"no such command\r\n".to_vec());
        decoder.close();
        assert_eq!((decoder.next(|_| 30), decoder.begun()), (Decoded::Partial, None));
        assert_eq!(decoder.take_greeting(), b"no such command\r\n");
        assert_eq!(next(&hello[..3]), (Decoded::Partial, Some((3, 12))));
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
