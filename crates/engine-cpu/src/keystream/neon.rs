//! Four ChaCha8 blocks in parallel, one per lane: a quarter of a panel at a time. Every 64-bit ARM has NEON.

use std::arch::aarch64::*;

use super::stream::Stream;
use crate::layout::{PANEL_ROWS, QUADS_PER_KEYSTREAM_BLOCK, Quad};

const LANES: usize = 4;

pub(super) fn panel_keystream(stream: &Stream, first_counter: u32, counter_stride: u32, flip: u32, out: &mut [Quad]) {
    // SAFETY: every 64-bit ARM has NEON.
    unsafe { keystream(stream, first_counter, counter_stride, flip, out) }
}

#[target_feature(enable = "neon")]
fn keystream(stream: &Stream, first_counter: u32, counter_stride: u32, flip: u32, out: &mut [Quad]) {
    let initial = stream.state().map(|word| vdupq_n_u32(word));
    let flip = vdupq_n_u32(flip);
    for part in 0..PANEL_ROWS / LANES {
        let counters: [u32; LANES] = std::array::from_fn(|lane| {
            first_counter.wrapping_add(counter_stride.wrapping_mul((part * LANES + lane) as u32))
        });
        // SAFETY: 16 readable bytes.
        let first = unsafe { vld1q_u32(counters.as_ptr()) };
        let blocks = out.as_chunks_mut::<QUADS_PER_KEYSTREAM_BLOCK>().0;
        for (block, out) in blocks.iter_mut().enumerate() {
            let mut initial = initial;
            initial[12] = vaddq_u32(first, vdupq_n_u32(block as u32));
            let mixed = rounds(initial);
            for ((quad, mixed), initial) in out.iter_mut().zip(mixed).zip(initial) {
                let words = veorq_u32(vaddq_u32(mixed, initial), flip);
                let to = &mut quad.0.as_chunks_mut::<LANES>().0[part];
                // SAFETY: 16 writable bytes.
                unsafe { vst1q_u32(to.as_mut_ptr(), words) };
            }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn rounds(mut x: [uint32x4_t; 16]) -> [uint32x4_t; 16] {
    for _ in 0..4 {
        for [a, b, c, d] in [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]] {
            quarter_round(&mut x, a, b, c, d);
        }
        for [a, b, c, d] in [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]] {
            quarter_round(&mut x, a, b, c, d);
        }
    }
    x
}

#[inline]
#[target_feature(enable = "neon")]
fn quarter_round(x: &mut [uint32x4_t; 16], a: usize, b: usize, c: usize, d: usize) {
    x[a] = vaddq_u32(x[a], x[b]);
    x[d] = rotate::<16, 16>(veorq_u32(x[d], x[a]));
    x[c] = vaddq_u32(x[c], x[d]);
    x[b] = rotate::<12, 20>(veorq_u32(x[b], x[c]));
    x[a] = vaddq_u32(x[a], x[b]);
    x[d] = rotate::<8, 24>(veorq_u32(x[d], x[a]));
    x[c] = vaddq_u32(x[c], x[d]);
    x[b] = rotate::<7, 25>(veorq_u32(x[b], x[c]));
}

/// Rotates to the left; `RIGHT` is 32 less `LEFT`.
#[inline]
#[target_feature(enable = "neon")]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: uint32x4_t) -> uint32x4_t {
    const { assert!(LEFT + RIGHT == 32) };
    vsriq_n_u32::<RIGHT>(vshlq_n_u32::<LEFT>(x), x)
}
