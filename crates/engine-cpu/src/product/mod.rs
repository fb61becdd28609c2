//! The exact product of 256 packed rows with 256 packed columns, and its fold to a tile (spec §4).

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod portable;
mod sums;
#[cfg(target_arch = "x86_64")]
mod vnni256;

use self::sums::{Pairs, Square};
use crate::layout::{BLOCK_ELEMENTS, PANEL_ROWS, PANELS, Quad, blocks};
use crate::packing::{PackedRows, Right, RowSums};
use crate::path::{Kernels, Path};
use crate::tile::Tile;

/// A tile product in progress: the sums, and scratch memory of the path.
pub struct Product {
    kernels: Kernels,
    sums: Box<[[Square; PANELS]]>,
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "only the AVX2 path widens to pairs")
    )]
    widened: Vec<Pairs>,
    elements: Vec<i16>,
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "only the AMX path transposes")
    )]
    transposed: Vec<Quad>,
}

impl Product {
    /// Memory for one tile's sums, 256 KiB, and for the path's scratch.
    #[must_use]
    pub fn new(kernels: Kernels) -> Self {
        let (pairs, elements) = match kernels.path() {
            Path::Portable => (0, portable::SCRATCH_ELEMENTS),
            Path::Avx2 => (2 * PANELS * BLOCK_ELEMENTS / 2, 0),
            Path::NeonDotprod | Path::AvxVnni | Path::Avx512Vnni | Path::AmxInt8 => (0, 0),
        };
        let transposed = match kernels.path() {
            #[cfg(target_arch = "x86_64")]
            Path::AmxInt8 => amx::SCRATCH_QUADS,
            _ => 0,
        };
        Product {
            kernels,
            sums: vec![[Square([[0; PANEL_ROWS]; PANEL_ROWS]); PANELS]; PANELS].into_boxed_slice(),
            widened: vec![Pairs([[0; 2]; PANEL_ROWS]); pairs],
            elements: vec![0; elements],
            transposed: vec![Quad::ZERO; transposed],
        }
    }

    /// The tile of packed left rows (offset as this path wants them) and right rows.
    pub(crate) fn tile(&mut self, left: &[Quad], right: Right<'_>, out: &mut Tile) {
        self.start(right.sums);
        for (first, count) in blocks(right.inner_dim) {
            let block = PANELS * first / 4..PANELS * (first + count) / 4;
            self.accumulate(&left[block.clone()], &right.quads[block]);
        }
        self.finish(out);
    }

    /// Starts a tile. An offset of 128 on the left adds 128 times a right row's sum to every product with it: the sums
    /// start lower by that amount.
    pub(crate) fn start(&mut self, right_sums: &RowSums) {
        let offset = if self.kernels.left_flip() == 0 { 0 } else { -128 };
        let (right_sums, _) = right_sums.as_chunks::<PANEL_ROWS>();
        for squares in &mut self.sums {
            for (square, sums) in squares.iter_mut().zip(right_sums) {
                square.0 = [sums.map(|sum| sum.wrapping_mul(offset)); PANEL_ROWS];
            }
        }
    }

    /// Adds the products of one block of k.
    pub(crate) fn accumulate(&mut self, left: &[Quad], right: &[Quad]) {
        assert_eq!(left.len(), right.len(), "blocks of different sizes");
        assert!(
            left.len().is_multiple_of(PANELS),
            "a block of {} quads is not 16 panels",
            left.len()
        );
        let sums = self.sums.first_chunk_mut().expect("16 rows of squares");
        match self.kernels.path() {
            Path::Portable => portable::accumulate(sums, left, right, &mut self.elements),
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `kernels` proves that the CPU has dot products.
            Path::NeonDotprod => unsafe { neon::accumulate(sums, left, right) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `kernels` proves that the CPU has AVX2.
            Path::Avx2 => unsafe { avx2::accumulate(sums, left, right, &mut self.widened) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `kernels` proves that the CPU has AVX2 and AVX-VNNI.
            Path::AvxVnni => unsafe { vnni256::vex::accumulate(sums, left, right) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `kernels` proves that the CPU has AVX-512F and VNNI.
            Path::Avx512Vnni => unsafe { avx512::accumulate(sums, left, right) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `kernels` proves that the CPU has AVX-512F and AMX, and that the kernel permits tiles.
            Path::AmxInt8 => unsafe { amx::accumulate(sums, left, right, &mut self.transposed) },
            path => unreachable!("no kernels exist for {path} here"),
        }
    }

    /// Folds the sums into the tile.
    pub(crate) fn finish(&self, out: &mut Tile) {
        let sums = self.sums.first_chunk().expect("16 rows of squares");
        match self.kernels.path() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `kernels` proves that the CPU has AVX2 (both paths ask for it).
            Path::Avx2 | Path::AvxVnni => unsafe { avx2::fold(sums, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `kernels` proves that the CPU has AVX-512F (both paths ask for it).
            Path::Avx512Vnni | Path::AmxInt8 => unsafe { avx512::fold(sums, out) },
            // Every 64-bit ARM has NEON: the portable code is compiled for it.
            Path::Portable | Path::NeonDotprod => portable::fold(sums, out),
            #[cfg(not(target_arch = "x86_64"))]
            path => unreachable!("no kernels exist for {path} here"),
        }
    }

    /// The product alone, for benchmarks: `left` is packed as a right operand, so the result is not a tile of the
    /// protocol.
    #[doc(hidden)]
    pub fn bench_tile(&mut self, left: &PackedRows, right: &PackedRows, out: &mut Tile) {
        self.tile(left.as_right().quads, right.as_right(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::limits::{TILE_BYTES, TILE_SIDE};

    fn tile(path: Path, k: u32, a: &[i8], b: &[i8]) -> Box<Tile> {
        let kernels = path.kernels().expect("available");
        let left = PackedRows::from_rows(kernels, k, a, kernels.left_flip() as u8);
        let right = PackedRows::from_rows(kernels, k, b, 0);
        let mut out = Tile::zeroed();
        Product::new(kernels).tile(left.quads(), right.as_right(), &mut out);
        out
    }

    /// The product of constant operands at the largest k reaches the limits of a sum's range.
    #[test]
    fn extremes_are_exact_on_every_path() {
        for k in [64, 65_536] {
            let size = TILE_SIDE * k as usize;
            for (a, b) in [(-128i8, -128i8), (-128, 127), (127, -128), (127, 127)] {
                let expected = protocol::tile::fold(k as i32 * i32::from(a) * i32::from(b));
                for path in Path::available() {
                    let actual = tile(path, k, &vec![a; size], &vec![b; size]);
                    assert!(actual.0 == [expected; TILE_BYTES], "{path}: {k} x {a} x {b}");
                }
            }
        }
    }

    /// Extreme, sparse and mixed values at every position, at sizes around a block's.
    #[test]
    fn chosen_operands_agree_with_the_definition_on_every_path() {
        for (k, seed) in [(64u32, 1u64), (448, 2), (512, 3), (576, 4), (1088, 5)] {
            let mut state = seed;
            let mut next = || {
                state = state
                    .wrapping_mul(0x5851_F42D_4C95_7F2D)
                    .wrapping_add(0x1405_7B7E_F767_814F);
                match state >> 61 {
                    0 => -128,
                    1 => 127,
                    2 => 0,
                    _ => (state >> 40) as i8,
                }
            };
            let a: Vec<i8> = (0..TILE_SIDE * k as usize).map(|_| next()).collect();
            let b: Vec<i8> = (0..TILE_SIDE * k as usize).map(|_| next()).collect();
            let expected = reference::tile_of_rows(&a, &b, k as usize);
            for path in Path::available() {
                let actual = tile(path, k, &a, &b);
                if let Some(at) = (0..TILE_BYTES).find(|&at| actual.0[at] != expected[at]) {
                    panic!(
                        "{path}, k = {k}, row {}, column {}: expected {}, got {}",
                        at / TILE_SIDE,
                        at % TILE_SIDE,
                        expected[at],
                        actual.0[at]
                    );
                }
            }
        }
    }

    /// No CPU here may have AVX-VNNI; the same kernel in EVEX coding runs wherever the AVX-512 path does.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_256_bit_kernel_is_exact() {
        use std::io::Write;

        let Ok(kernels) = Path::Avx512Vnni.kernels() else {
            // Not captured with the test's output: a skipped check must not look as if it had run.
            let _ = writeln!(std::io::stderr(), "SKIPPED: this CPU has no AVX-512 VNNI");
            return;
        };
        let k = 576;
        let source = |operand| {
            let key = protocol::bytes::OperandKey([9; 32]);
            let mut rows = vec![0; TILE_SIDE * k as usize];
            protocol::operand::operand_rows(&key, operand, k, 0, &mut rows);
            rows.into_iter().map(|byte| byte as i8).collect::<Vec<_>>()
        };
        let (a, b) = (
            source(protocol::operand::Operand::A(3)),
            source(protocol::operand::Operand::B),
        );
        let left = PackedRows::from_rows(kernels, k, &a, 0x80);
        let right = PackedRows::from_rows(kernels, k, &b, 0);
        let mut product = Product::new(kernels);
        product.start(right.as_right().sums);
        for (first, count) in blocks(k) {
            let block = PANELS * first / 4..PANELS * (first + count) / 4;
            let sums = product.sums.first_chunk_mut().expect("16 rows of squares");
            // SAFETY: the AVX-512 VNNI path was asked for above and includes VL.
            unsafe { vnni256::evex::accumulate(sums, &left.quads()[block.clone()], &right.quads()[block]) };
        }
        let mut out = Tile::zeroed();
        product.finish(&mut out);
        assert!(out.0[..] == reference::tile_of_rows(&a, &b, k as usize)[..]);
    }
}
