//! The keystream of an operand (spec §4).

use protocol::bytes::OperandKey;
use protocol::operand::Operand;

/// Key and nonce of one operand's keystream.
pub(crate) struct Stream {
    pub(super) key: [u8; 32],
    pub(super) nonce: [u8; 12],
}

impl Stream {
    pub(crate) fn new(key: &OperandKey, operand: Operand) -> Self {
        Stream {
            key: key.0,
            nonce: operand.nonce(),
        }
    }

    /// ChaCha's state with block counter 0, as 16 words.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(super) fn state(&self) -> [u32; 16] {
        let mut state = [0; 16];
        state[..4].copy_from_slice(&[0x6170_7865, 0x3320_646E, 0x7962_2D32, 0x6B20_6574]);
        let words = self.key.as_chunks::<4>().0.iter().chain(self.nonce.as_chunks::<4>().0);
        for (word, at) in words.zip((4..12).chain(13..16)) {
            state[at] = u32::from_le_bytes(*word);
        }
        state
    }
}
