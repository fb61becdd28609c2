//! Newtypes for the 32-byte values of the protocol, and hexadecimal text.

use std::fmt;

macro_rules! bytes32 {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 32]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    )*};
}

bytes32! {
    /// The Verifier's single-use challenge, 32 bytes (spec §5).
    Nonce;
    /// The value that all of an iteration is derived from; after the last iteration it is the session's checksum (spec
    /// §4).
    Chain;
    /// Key of the keystream that supplies both operands of an iteration (spec §4).
    OperandKey;
    /// The value that the key and the matching of one fill or sweep are expanded from (spec §4).
    Salt;
    /// BLAKE3 root of one device's leaves (spec §4).
    Root;
    /// An Ed25519 public key that names an Attester or a Verifier (spec §5).
    Identity;
    /// 32 bytes that the Verifier drew: `v`, `w` or the seed of the samples (spec §4, §5).
    Fresh;
    /// BLAKE3 hash over a transcript: the `H` of spec §5.
    TranscriptHash;
}

/// A device's position in the Attester's list; it orders devices in every message and hash (spec §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceOrdinal(pub u32);

impl fmt::Display for DeviceOrdinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `bytes` as lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]])
        .map(char::from)
        .collect()
}

/// The bytes encoded by `text`, hexadecimal in either case; `None` for anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty()
        .then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_what_is_not_hex() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&all)), Some(all));
        assert_eq!(unhex("0G"), None);
        assert_eq!(unhex("012"), None);
        assert_eq!(unhex("é1"), None);
    }
}
