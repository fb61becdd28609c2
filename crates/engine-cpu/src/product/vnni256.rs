//! Products by 256-bit `vpdpbusd`: one kernel in both codings, VEX for the AVX-VNNI path, EVEX to test it with.

macro_rules! kernel {
    ($(#[$attribute:meta])* $name:ident, $features:literal, $dpbusd:ident) => {
        $(#[$attribute])*
        pub(super) mod $name {
            use std::arch::x86_64::*;

            use crate::layout::{Quad, PANELS};
            use crate::product::sums::{Square, Sums};

            /// Adds the products of one block of k; left elements are u8, offset by 128.
            #[target_feature(enable = $features)]
            pub(in crate::product) fn accumulate(sums: &mut Sums, left: &[Quad], right: &[Quad]) {
                let panel_quads = left.len() / PANELS;
                for (pb, right) in right.chunks_exact(panel_quads).enumerate() {
                    for (squares, left) in sums.iter_mut().zip(left.chunks_exact(panel_quads)) {
                        add_rows::<0, 6>(&mut squares[pb], left, right);
                        add_rows::<6, 5>(&mut squares[pb], left, right);
                        add_rows::<11, 5>(&mut squares[pb], left, right);
                    }
                }
            }

            /// Rows `FIRST..FIRST + ROWS` of the left panel with all 16 of the right: 2 * ROWS accumulators.
            #[inline]
            #[target_feature(enable = $features)]
            fn add_rows<const FIRST: usize, const ROWS: usize>(square: &mut Square, left: &[Quad], right: &[Quad]) {
                let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
                for (left, right) in left.iter().zip(right) {
                    let right = right.0.as_chunks::<8>().0;
                    // SAFETY: half a Quad is 32 readable bytes, aligned to 32.
                    let right = unsafe {
                        [_mm256_load_si256(right[0].as_ptr().cast()), _mm256_load_si256(right[1].as_ptr().cast())]
                    };
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let left = _mm256_set1_epi32(left.0[FIRST + row] as i32);
                        sums[0] = $dpbusd(sums[0], left, right[0]);
                        sums[1] = $dpbusd(sums[1], left, right[1]);
                    }
                }
                for (row, sums) in sums.iter().enumerate() {
                    let to = square.0[FIRST + row].as_mut_ptr().cast::<__m256i>();
                    // SAFETY: a row of a Square is 64 bytes, aligned to 64: two aligned vectors.
                    unsafe {
                        _mm256_store_si256(to, _mm256_add_epi32(_mm256_load_si256(to), sums[0]));
                        _mm256_store_si256(to.add(1), _mm256_add_epi32(_mm256_load_si256(to.add(1)), sums[1]));
                    }
                }
            }
        }
    };
}

kernel!(vex, "avx2,avxvnni", _mm256_dpbusd_avx_epi32);
kernel!(
    #[cfg(test)]
    evex,
    "avx2,avx512f,avx512vl,avx512vnni",
    _mm256_dpbusd_epi32
);
