//! Keystream rows from the protocol's own definition, distributed to lanes.

use protocol::derive::keystream;

use super::stream::Stream;
use crate::layout::{PANEL_ROWS, Quad};

pub(super) fn panel_keystream(stream: &Stream, first_counter: u32, counter_stride: u32, flip: u32, out: &mut [Quad]) {
    let mut row = vec![0; out.len() * 4];
    for lane in 0..PANEL_ROWS {
        let counter = u64::from(first_counter) + lane as u64 * u64::from(counter_stride);
        keystream(&stream.key, &stream.nonce, counter * 64, &mut row);
        for (quad, word) in out.iter_mut().zip(row.as_chunks::<4>().0) {
            quad.0[lane] = u32::from_le_bytes(*word) ^ flip;
        }
    }
}

#[inline(always)]
pub(super) fn row_sums(panel: &[Quad], sums: &mut [i32; PANEL_ROWS]) {
    for quad in panel {
        for (sum, &word) in sums.iter_mut().zip(&quad.0) {
            let word = word as i32;
            let elements = (word << 24 >> 24) + (word << 16 >> 24) + (word << 8 >> 24) + (word >> 24);
            *sum = sum.wrapping_add(elements);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::bytes::OperandKey;
    use protocol::operand::Operand;

    use super::*;
    use crate::layout::QUADS_PER_KEYSTREAM_BLOCK;

    /// Small enough for Miri: two ChaCha blocks per lane.
    #[test]
    fn small_panels_are_the_references_keystream() {
        let (key, operand) = (OperandKey([3; 32]), Operand::A(7));
        let mut out = [Quad::ZERO; 2 * QUADS_PER_KEYSTREAM_BLOCK];
        panel_keystream(&Stream::new(&key, operand), 5, 3, 0x8080_8080, &mut out);
        let mut sums = [1; PANEL_ROWS];
        row_sums(&out, &mut sums);
        for (lane, actual_sum) in sums.into_iter().enumerate() {
            let offset = (5 + 3 * lane as u64) * 64;
            let expected: Vec<u8> = reference::keystream(&key.0, &operand.nonce(), offset, 4 * out.len())
                .into_iter()
                .map(|byte| byte ^ 0x80)
                .collect();
            let actual: Vec<u8> = out.iter().flat_map(|quad| quad.0[lane].to_le_bytes()).collect();
            assert_eq!(actual, expected, "lane {lane}");
            let sum: i32 = expected.iter().map(|&byte| i32::from(byte as i8)).sum();
            assert_eq!(actual_sum, 1 + sum, "lane {lane}");
        }
    }
}
