//! The ceiling of each path's products: multiply-adds on registers alone, no loads, no stores.

use crate::path::{Kernels, Path};

impl Kernels {
    /// Does multiply-adds in registers `rounds` times and returns how many; `None` for the portable path, which has no
    /// dedicated instruction. A product's rate relative to this rate in the same run is its share of the ceiling.
    #[must_use]
    pub fn multiply_in_registers(self, rounds: u32) -> Option<u64> {
        match self.path() {
            Path::Portable => None,
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `self` proves that the CPU has dot products.
            Path::NeonDotprod => Some(unsafe { crate::product::neon::spin(rounds) }),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `self` proves that the CPU has AVX2.
            Path::Avx2 => Some(unsafe { x86::avx2(rounds) }),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `self` proves that the CPU has AVX2 and AVX-VNNI.
            Path::AvxVnni => Some(unsafe { x86::avx_vnni(rounds) }),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `self` proves that the CPU has AVX-512F and VNNI.
            Path::Avx512Vnni => Some(unsafe { x86::avx512_vnni(rounds) }),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `self` proves that the CPU has AMX and that the kernel permits tiles.
            Path::AmxInt8 => Some(unsafe { crate::product::amx::spin(rounds) }),
            path => unreachable!("no kernels exist for {path} here"),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// Independent sums: more than latency times throughput of any CPU so far, and few enough for 16 registers.
    const SUMS: usize = 12;

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn avx512_vnni(rounds: u32) -> u64 {
        let (a, b) = (_mm512_set1_epi32(black_box(3)), _mm512_set1_epi32(black_box(5)));
        // Different initial values, so that no two chains can be merged.
        let mut sums: [__m512i; 2 * SUMS] = std::array::from_fn(|i| _mm512_set1_epi32(black_box(i as i32)));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        let total = sums
            .into_iter()
            .fold(0, |total, sum| total ^ _mm512_reduce_add_epi32(sum));
        black_box(total);
        u64::from(rounds) * 2 * SUMS as u64 * 64
    }

    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) fn avx_vnni(rounds: u32) -> u64 {
        let (a, b) = (_mm256_set1_epi32(black_box(3)), _mm256_set1_epi32(black_box(5)));
        let mut sums: [__m256i; SUMS] = std::array::from_fn(|i| _mm256_set1_epi32(black_box(i as i32)));
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_dpbusd_avx_epi32(*sum, a, b);
            }
        }
        black_box(sums);
        u64::from(rounds) * SUMS as u64 * 32
    }

    /// `vpmaddwd` and the addition of its sums.
    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(rounds: u32) -> u64 {
        let b = _mm256_set1_epi32(black_box(5));
        let mut factors: [__m256i; SUMS] = std::array::from_fn(|i| _mm256_set1_epi32(black_box(i as i32)));
        let mut total = _mm256_setzero_si256();
        for _ in 0..rounds {
            for factor in &mut factors {
                *factor = _mm256_add_epi32(_mm256_madd_epi16(*factor, b), b);
            }
        }
        for factor in factors {
            total = _mm256_xor_si256(total, factor);
        }
        black_box(total);
        u64::from(rounds) * SUMS as u64 * 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_but_the_portable_has_a_ceiling() {
        for path in Path::available() {
            let macs = path.kernels().expect("available").multiply_in_registers(1000);
            assert_eq!(macs.is_none(), path == Path::Portable);
            assert!(macs.is_none_or(|macs| macs >= 1000 * 16));
        }
    }
}
