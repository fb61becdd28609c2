//! ChaCha8 keystreams straight into packed panels, and the sums of packed rows (spec §4).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
mod stream;

pub(crate) use self::stream::Stream;

use crate::layout::{PANEL_ROWS, QUADS_PER_KEYSTREAM_BLOCK, Quad};
use crate::path::{Kernels, Path};

/// Writes a panel: lane l gets keystream blocks from counter `first_counter + l * counter_stride` on, every word xored
/// with `flip`.
pub(crate) fn panel_keystream(
    kernels: Kernels,
    stream: &Stream,
    first_counter: u32,
    counter_stride: u32,
    flip: u32,
    out: &mut [Quad],
) {
    assert!(
        out.len().is_multiple_of(QUADS_PER_KEYSTREAM_BLOCK),
        "a panel of {} quads is not whole blocks",
        out.len()
    );
    match kernels.path() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `kernels` proves that the CPU has AVX2 (both paths ask for it).
        Path::Avx2 | Path::AvxVnni => unsafe {
            avx2::panel_keystream(stream, first_counter, counter_stride, flip, out);
        },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `kernels` proves that the CPU has AVX-512F (both paths ask for it).
        Path::Avx512Vnni | Path::AmxInt8 => unsafe {
            avx512::panel_keystream(stream, first_counter, counter_stride, flip, out);
        },
        #[cfg(target_arch = "aarch64")]
        Path::NeonDotprod => neon::panel_keystream(stream, first_counter, counter_stride, flip, out),
        Path::Portable => portable::panel_keystream(stream, first_counter, counter_stride, flip, out),
        path => unreachable!("no kernels exist for {path} here"),
    }
}

/// Adds each row's elements, read as i8, to its sum.
pub(crate) fn row_sums(kernels: Kernels, panel: &[Quad], sums: &mut [i32; PANEL_ROWS]) {
    match kernels.path() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `kernels` proves that the CPU has AVX2 (both paths ask for it).
        Path::Avx2 | Path::AvxVnni => unsafe { avx2::row_sums(panel, sums) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `kernels` proves that the CPU has AVX-512F and VNNI (both paths ask for them).
        Path::Avx512Vnni | Path::AmxInt8 => unsafe { avx512::row_sums(panel, sums) },
        Path::Portable | Path::NeonDotprod => portable::row_sums(panel, sums),
        #[cfg(not(target_arch = "x86_64"))]
        path => unreachable!("no kernels exist for {path} here"),
    }
}
