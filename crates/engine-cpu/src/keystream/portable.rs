//! Keystream rows from the protocol's own definition, dealt out to lanes.

use protocol::derive::keystream;

use super::Stream;
use crate::packing::{PANEL_ROWS, Quad};

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
