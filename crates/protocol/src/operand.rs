//! The int8 operands: rows cut from a keystream, so that no structure shortens their product (spec §4).

use crate::bytes::OperandKey;
use crate::derive::keystream;

/// Which operand of an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// The left operand of the matrix with this global index.
    A(u64),
    /// The right operand, shared by all matrices; its row c is column c of the right operand.
    B,
}

impl Operand {
    /// The keystream nonce of this operand: `u32 'A' | u64 i` or `u32 'B' | u64 0` (spec §4).
    #[must_use]
    pub fn nonce(self) -> [u8; 12] {
        let (letter, index) = match self {
            Operand::A(index) => (b'A', index),
            Operand::B => (b'B', 0),
        };
        let mut nonce = [0; 12];
        nonce[0] = letter;
        nonce[4..].copy_from_slice(&index.to_le_bytes());
        nonce
    }
}

/// Writes consecutive rows of an operand, from `first_row`, over `out`: row-major, `inner_dim` two's-complement i8 a row (spec §4).
///
/// # Panics
///
/// If `out` does not hold whole rows.
pub fn operand_rows(key: &OperandKey, operand: Operand, inner_dim: u32, first_row: u32, out: &mut [u8]) {
    assert!(
        out.len().is_multiple_of(inner_dim as usize),
        "expected whole rows of {inner_dim} bytes, got {}",
        out.len()
    );
    keystream(
        &key.0,
        &operand.nonce(),
        u64::from(first_row) * u64::from(inner_dim),
        out,
    );
}
