//! The multiply-add of each path alone: what a product could reach if its operands cost nothing.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
#[cfg(target_arch = "x86_64")]
use std::hint::black_box;

use crate::path::{Kernels, Path};

/// Rounds over all accumulators.
#[cfg(target_arch = "x86_64")]
const ROUNDS: u64 = 1 << 16;

/// Some million int8 multiply-adds in registers by the path's own instruction, as many as it returns; `None` on the portable
/// path, whose instructions the compiler chooses.
#[must_use]
pub fn products_in_registers(kernels: Kernels) -> Option<u64> {
    match kernels.path() {
        #[cfg(target_arch = "x86_64")]
        Path::Avx512Vnni => {
            // SAFETY: `kernels` proves that the CPU has AVX-512F and VNNI.
            black_box(unsafe { avx512_vnni(black_box(3)) });
            Some(ROUNDS * 16 * 64)
        }
        #[cfg(target_arch = "x86_64")]
        Path::AvxVnni => {
            // SAFETY: `kernels` proves that the CPU has AVX2 and AVX-VNNI.
            black_box(unsafe { avx_vnni(black_box(3)) });
            Some(ROUNDS * 12 * 32)
        }
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => {
            // SAFETY: `kernels` proves that the CPU has AVX2.
            black_box(unsafe { avx2(black_box(3)) });
            Some(ROUNDS * 12 * 16)
        }
        _ => None,
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn avx512_vnni(seed: i32) -> i32 {
    let (a, b) = (_mm512_set1_epi32(seed), _mm512_set1_epi32(seed ^ 0x0102_0304));
    let mut sums: [_; 16] = std::array::from_fn(|i| _mm512_set1_epi32(i as i32));
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
    }
    sums.into_iter()
        .fold(0, |total, sum| total ^ _mm512_reduce_add_epi32(sum))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avxvnni")]
fn avx_vnni(seed: i32) -> i32 {
    let (a, b) = (_mm256_set1_epi32(seed), _mm256_set1_epi32(seed ^ 0x0102_0304));
    let mut sums: [_; 12] = std::array::from_fn(|i| _mm256_set1_epi32(i as i32));
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm256_dpbusd_avx_epi32(*sum, a, b);
        }
    }
    let total = sums
        .into_iter()
        .fold(_mm256_setzero_si256(), |total, sum| _mm256_xor_si256(total, sum));
    _mm256_extract_epi32::<0>(total)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(seed: i32) -> i32 {
    let (mut a, b) = (_mm256_set1_epi32(seed), _mm256_set1_epi32(seed ^ 0x0102_0304));
    let mut sums: [_; 12] = std::array::from_fn(|i| _mm256_set1_epi32(i as i32));
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(a, b));
            // Otherwise every product would be the same, and made once. A register unchanged as far as anyone can tell.
            // SAFETY: no instruction, no memory, no flags.
            unsafe { std::arch::asm!("/* {0} */", inout(ymm_reg) a, options(pure, nomem, nostack, preserves_flags)) };
        }
    }
    let total = sums
        .into_iter()
        .fold(_mm256_setzero_si256(), |total, sum| _mm256_xor_si256(total, sum));
    _mm256_extract_epi32::<0>(total)
}
