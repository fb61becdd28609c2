//! Deterministic CBOR (RFC 8949 §4.2.1), read strictly: one value has one encoding, and nothing else is accepted
//! (spec §8). Only definite arrays, unsigned integers, byte strings, text strings and null occur.

use minicbor::{Decoder, Encoder};

use crate::limits::MAX_TEXT_BYTES;
use crate::printable::{is_printable, printable};

/// A value with exactly one encoding.
pub trait Canonical: Sized {
    /// Appends the value to `to`.
    fn write(&self, to: &mut Writer);

    /// Reads the value from `from`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for anything but a value this type can hold.
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// The value's canonical bytes.
    #[must_use]
    fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.into_bytes()
    }

    /// The value whose canonical bytes are exactly `bytes`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for truncated, trailing, non-canonical or invalid input.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let value = Self::read(&mut reader)?;
        reader.check_whole(bytes, &value.to_bytes())?;
        Ok(value)
    }
}

/// Why bytes are not a valid encoding of the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not the CBOR item that the spec requires at this place.
    #[error("{field}: {problem}")]
    Item {
        /// The field being read.
        field: &'static str,
        /// The decoder's error.
        problem: String,
    },
    /// The value ends before the bytes do.
    #[error("{} bytes after the end of the value, at byte {read}", .total - .read)]
    Trailing {
        /// Bytes the value has.
        read: usize,
        /// Bytes received.
        total: usize,
    },
    /// The correct value in an encoding other than the deterministic one.
    #[error("not in deterministic encoding (RFC 8949 section 4.2.1)")]
    NotCanonical,
    /// A field outside its limits.
    #[error("{field}: expected {expected}, got {actual}")]
    Value {
        /// The field.
        field: &'static str,
        /// The allowed values.
        expected: String,
        /// The received value.
        actual: String,
    },
}

impl Malformed {
    /// A field whose value is outside its bounds.
    pub fn value(field: &'static str, expected: impl ToString, actual: impl ToString) -> Self {
        Malformed::Value {
            field,
            expected: expected.to_string(),
            actual: actual.to_string(),
        }
    }
}

/// Writes canonical items.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An array header for `len` items.
    pub fn array(&mut self, len: usize) {
        self.encode(|e| e.array(len as u64).map(drop));
    }

    /// An unsigned integer.
    pub fn uint(&mut self, value: u64) {
        self.encode(|e| e.u64(value).map(drop));
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) {
        self.encode(|e| e.bytes(value).map(drop));
    }

    /// A text string.
    pub fn text(&mut self, value: &str) {
        self.encode(|e| e.str(value).map(drop));
    }

    /// Null, where an optional value is absent.
    pub fn null(&mut self) {
        self.encode(|e| e.null().map(drop));
    }

    /// An array of values.
    pub fn list<T: Canonical>(&mut self, values: &[T]) {
        self.array(values.len());
        values.iter().for_each(|value| value.write(self));
    }

    /// The bytes written so far.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn encode<E: std::fmt::Debug>(&mut self, item: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), E>) {
        item(&mut Encoder::new(&mut self.0)).expect("a vector takes every byte");
    }
}

/// Reads items, naming the field in every error.
pub struct Reader<'a>(Decoder<'a>);

impl<'a> Reader<'a> {
    /// Reads from the first of `bytes` on.
    #[must_use]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader(Decoder::new(bytes))
    }

    /// Whether all of `bytes` was read, and `again`, its canonical encoding, is the same.
    pub(crate) fn check_whole(&self, bytes: &[u8], again: &[u8]) -> Result<(), Malformed> {
        let read = self.0.position();
        if read != bytes.len() {
            return Err(Malformed::Trailing {
                read,
                total: bytes.len(),
            });
        }
        // Encoding again detects everything that the decoder is lenient about: long integers, indefinite lengths.
        if again != bytes {
            return Err(Malformed::NotCanonical);
        }
        Ok(())
    }

    /// An array header of exactly `len` items.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for another item or length.
    pub fn array(&mut self, field: &'static str, len: usize) -> Result<(), Malformed> {
        self.array_within(field, len..=len).map(drop)
    }

    /// An array header; its length.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for another item or a length outside `allowed`.
    pub fn array_within(
        &mut self,
        field: &'static str,
        allowed: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, Malformed> {
        match self.item(field, Decoder::array)? {
            Some(len) if allowed.contains(&(len as usize)) => Ok(len as usize),
            Some(len) => Err(Malformed::value(field, format!("{allowed:?} items"), len)),
            None => Err(Malformed::NotCanonical),
        }
    }

    /// An array of values whose count lies within `allowed`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for another item, count or value.
    pub fn list<T: Canonical>(
        &mut self,
        field: &'static str,
        allowed: std::ops::RangeInclusive<usize>,
    ) -> Result<Vec<T>, Malformed> {
        let len = self.array_within(field, allowed)?;
        // No reservation: memory grows with bytes that really came, not with a stated length.
        let mut values = Vec::new();
        for _ in 0..len {
            values.push(T::read(self)?);
        }
        Ok(values)
    }

    /// An unsigned integer.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for another item.
    pub fn uint(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.item(field, Decoder::u64)
    }

    /// An unsigned integer below 2^32.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for another item or a larger number.
    pub fn uint32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.item(field, Decoder::u32)
    }

    /// A byte string of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for another item or length.
    pub fn bytes(&mut self, field: &'static str, max: usize) -> Result<&'a [u8], Malformed> {
        let bytes = self.item(field, Decoder::bytes)?;
        if bytes.len() > max {
            return Err(Malformed::value(field, format!("at most {max} bytes"), bytes.len()));
        }
        Ok(bytes)
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for another item or length.
    pub fn array_of_bytes<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        let bytes = self.item(field, Decoder::bytes)?;
        bytes
            .try_into()
            .map_err(|_| Malformed::value(field, format!("{N} bytes"), bytes.len()))
    }

    /// A text string of at most [`MAX_TEXT_BYTES`] bytes of printable characters (spec §8.2).
    ///
    /// # Errors
    ///
    /// [`Malformed`] for another item, a longer text or a character that is not printable.
    pub fn text(&mut self, field: &'static str) -> Result<String, Malformed> {
        let text = self.item(field, Decoder::str)?;
        if text.len() > MAX_TEXT_BYTES {
            return Err(Malformed::value(
                field,
                format!("at most {MAX_TEXT_BYTES} bytes"),
                text.len(),
            ));
        }
        if !text.chars().all(is_printable) {
            return Err(Malformed::value(field, "printable characters", text.escape_debug()));
        }
        Ok(text.to_owned())
    }

    /// Null, or the value that `read` finds.
    ///
    /// # Errors
    ///
    /// Those of `read`.
    pub fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if matches!(self.0.datatype(), Ok(minicbor::data::Type::Null)) {
            self.item("null", Decoder::null)?;
            return Ok(None);
        }
        read(self).map(Some)
    }

    fn item<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Decoder<'a>) -> Result<T, minicbor::decode::Error>,
    ) -> Result<T, Malformed> {
        read(&mut self.0).map_err(|e| Malformed::Item {
            field,
            problem: match e.is_end_of_input() {
                true => "end of input: it was cut short".to_owned(),
                false => e.to_string(),
            },
        })
    }
}

/// Label and value, for what a peer states about itself: recorded, never evidence (spec §1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// What is labelled, say `uuid`.
    pub name: String,
    /// What the peer says it is.
    pub value: String,
}

impl Label {
    /// A label; unprintable characters are replaced and an over-long text is cut, so that it can always be sent.
    pub fn new(name: &str, value: &str) -> Self {
        Label {
            name: sendable_text(name),
            value: sendable_text(value),
        }
    }
}

/// `text` as [`Reader::text`] accepts it: in printable characters, and cut at [`MAX_TEXT_BYTES`].
#[must_use]
pub fn sendable_text(text: &str) -> String {
    let clean = printable(text);
    clean[..clean.floor_char_boundary(MAX_TEXT_BYTES)].to_owned()
}

impl Canonical for Label {
    fn write(&self, to: &mut Writer) {
        to.array(2);
        to.text(&self.name);
        to.text(&self.value);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("label", 2)?;
        Ok(Label {
            name: from.text("label name")?,
            value: from.text("label value")?,
        })
    }
}
