//! Products by AMX: `tdpbssd` adds 16 x 16 sums over 64 elements of k, both operands signed.
//!
//! A right panel is a B tile without conversion: row j of the tile is quad j. A left panel is transposed first, 16
//! quads at a time, so that row i of the tile is 64 elements of row i. 2 x 2 squares of sums stay in tiles for a block
//! of k.

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use super::sums::{Square, Sums};
use crate::layout::{BLOCK_ELEMENTS, PANELS, QUADS_PER_KEYSTREAM_BLOCK, Quad};

/// Quads of a tile register: 16 rows of 64 bytes.
const TILE_QUADS: usize = QUADS_PER_KEYSTREAM_BLOCK;

/// Bytes from one row of a tile to the next, in all of our layouts.
const ROW_BYTES: usize = 64;

/// Quads of the transposed left block.
pub(super) const SCRATCH_QUADS: usize = PANELS * BLOCK_ELEMENTS / 4;

/// Whether the CPU has AMX for int8, the kernel permits this process to use it, and it multiplies correctly. Checked
/// once; the permission then holds for all threads.
pub(crate) fn is_usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| has_instructions() && is_permitted() && multiplies())
}

/// CPUID and XCR0: the instructions, tiles of the shape used here, and an operating system that saves their state.
fn has_instructions() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const AMX_TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    const TILE_STATE: u32 = 1 << 17 | 1 << 18;
    let max_leaf = __cpuid(0).eax;
    if max_leaf < 0x1D
        || __cpuid(1).ecx & OSXSAVE == 0
        || __cpuid_count(7, 0).edx & AMX_TILE_AND_INT8 != AMX_TILE_AND_INT8
    {
        return false;
    }
    let xcr0: u32;
    // SAFETY: OSXSAVE says that XGETBV may be used; it reads XCR0 and changes nothing else.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") xcr0, out("edx") _, options(nomem, nostack, preserves_flags)) };
    // Palette 1: bytes per tile, bytes per row, tiles, rows.
    let palette = __cpuid_count(0x1D, 1);
    xcr0 & TILE_STATE == TILE_STATE
        && palette.eax >> 16 == 1024
        && palette.ebx & 0xFFFF == 64
        && palette.ebx >> 16 >= 8
        && palette.ecx & 0xFFFF == 16
}

/// Requests tile data from the kernel: Linux grants it to a process only on request.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const SYS_ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: arch_prctl with this request takes two numbers, touches no memory of ours, and clobbers rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") SYS_ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Untested on other systems.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// A small product compared with its definition: a CPU or hypervisor that computes it wrongly counts as one without
/// AMX.
fn multiplies() -> bool {
    if !is_x86_feature_detected!("avx512f") {
        return false;
    }
    let mut state = 1u32;
    let mut block = || -> Vec<Quad> {
        let mut word = || {
            state = state.wrapping_mul(0x9E37_79B1).wrapping_add(0x7F4A_7C15);
            state ^ state >> 15
        };
        (0..PANELS * TILE_QUADS)
            .map(|_| Quad(std::array::from_fn(|_| word())))
            .collect()
    };
    let (left, right) = (block(), block());
    let zero = || vec![[Square([[0; 16]; 16]); PANELS]; PANELS].into_boxed_slice();
    let (mut actual, mut expected) = (zero(), zero());
    let (Some(to_actual), Some(to_expected)) = (actual.first_chunk_mut(), expected.first_chunk_mut()) else {
        return false;
    };
    let mut scratch = vec![Quad::ZERO; SCRATCH_QUADS];
    // SAFETY: CPUID named AMX and AVX-512F, and the kernel permits tiles: the caller asked for both before.
    unsafe {
        accumulate(to_actual, &left, &right, &mut scratch);
        accumulate_by(to_expected, &left, &right, &mut scratch, defined);
    }
    actual
        .iter()
        .flatten()
        .zip(expected.iter().flatten())
        .all(|(a, b)| a.0 == b.0)
}

/// Adds the products of one block of k; elements of both sides are i8.
///
/// # Safety
///
/// [`has_instructions`] and [`is_permitted`] must have returned true.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn accumulate(sums: &mut Sums, left: &[Quad], right: &[Quad], scratch: &mut [Quad]) {
    let config = TileConfig::ALL;
    // SAFETY: the caller says that tiles may be used; the configuration is 64 bytes and valid for palette 1. Until
    // `tilerelease` only `multiply` runs, and nothing but AMX instructions touches tiles.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, preserves_flags, readonly));
        accumulate_by(sums, left, right, scratch, |squares, left, right| {
            multiply(squares, left, right)
        });
        asm!("tilerelease", options(nostack, preserves_flags, nomem));
    }
}

/// The operand of `ldtilecfg`.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

impl TileConfig {
    /// Eight tiles of 16 rows of 64 bytes.
    const ALL: TileConfig = {
        let (mut bytes_per_row, mut rows, mut tile) = ([0; 16], [0; 16], 0);
        while tile < 8 {
            (bytes_per_row[tile], rows[tile]) = (ROW_BYTES as u16, 16);
            tile += 1;
        }
        TileConfig {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes_per_row,
            rows,
        }
    };
}

const _: () = assert!(size_of::<TileConfig>() == 64 && size_of::<Square>() == 1024 && size_of::<Quad>() == ROW_BYTES);

/// The loop over 2 x 2 squares, independent of the multiplication: two right panels stay in L1 while the left block
/// streams through.
#[target_feature(enable = "avx512f")]
fn accumulate_by(
    sums: &mut Sums,
    left: &[Quad],
    right: &[Quad],
    scratch: &mut [Quad],
    multiply: impl Fn([&mut [Square; 2]; 2], [&[Quad]; 2], [&[Quad]; 2]),
) {
    let panel_quads = left.len() / PANELS;
    assert!(
        panel_quads.is_multiple_of(TILE_QUADS) && right.len() == left.len(),
        "a block of {} and {} quads is not whole tiles",
        left.len(),
        right.len()
    );
    let transposed = &mut scratch[..left.len()];
    for (from, to) in left
        .as_chunks::<TILE_QUADS>()
        .0
        .iter()
        .zip(transposed.as_chunks_mut::<TILE_QUADS>().0)
    {
        transpose(from, to);
    }
    for (pair, right) in right.chunks_exact(2 * panel_quads).enumerate() {
        let (right0, right1) = right.split_at(panel_quads);
        let lefts = transposed.chunks_exact(2 * panel_quads);
        for ([upper, lower], left) in sums.as_chunks_mut::<2>().0.iter_mut().zip(lefts) {
            let (left0, left1) = left.split_at(panel_quads);
            let squares = [upper, lower].map(|row| &mut row.as_chunks_mut::<2>().0[pair]);
            multiply(squares, [left0, left1], [right0, right1]);
        }
    }
}

/// Adds two transposed left panels times two right panels to 2 x 2 squares. C is tmm0 to tmm3, A tmm4 and tmm5, B tmm6
/// and tmm7.
///
/// # Safety
///
/// Tiles must be configured as [`TileConfig::ALL`]; all panels must have the same length, whole tiles and not none.
unsafe fn multiply([upper, lower]: [&mut [Square; 2]; 2], left: [&[Quad]; 2], right: [&[Quad]; 2]) {
    let tiles = left[0].len() / TILE_QUADS;
    // SAFETY: each panel has `tiles` times 1024 bytes and the loop reads as many of each, 1024 at a time by rows of 64;
    // a pair of squares is 2048 bytes, read and written whole. Tiles are configured, as the caller says.
    unsafe {
        asm!(
            "tileloadd tmm0, [{upper} + {row}*1]",
            "tileloadd tmm1, [{upper} + {row}*1 + 1024]",
            "tileloadd tmm2, [{lower} + {row}*1]",
            "tileloadd tmm3, [{lower} + {row}*1 + 1024]",
            "2:",
            "tileloadd tmm4, [{left0} + {row}*1]",
            "tileloadd tmm6, [{right0} + {row}*1]",
            "tdpbssd tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{right1} + {row}*1]",
            "tdpbssd tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{left1} + {row}*1]",
            "tdpbssd tmm2, tmm5, tmm6",
            "tdpbssd tmm3, tmm5, tmm7",
            "add {left0}, 1024",
            "add {left1}, 1024",
            "add {right0}, 1024",
            "add {right1}, 1024",
            "dec {tiles}",
            "jnz 2b",
            "tilestored [{upper} + {row}*1], tmm0",
            "tilestored [{upper} + {row}*1 + 1024], tmm1",
            "tilestored [{lower} + {row}*1], tmm2",
            "tilestored [{lower} + {row}*1 + 1024], tmm3",
            upper = in(reg) upper.as_mut_ptr(),
            lower = in(reg) lower.as_mut_ptr(),
            row = in(reg) ROW_BYTES,
            left0 = inout(reg) left[0].as_ptr() => _,
            left1 = inout(reg) left[1].as_ptr() => _,
            right0 = inout(reg) right[0].as_ptr() => _,
            right1 = inout(reg) right[1].as_ptr() => _,
            tiles = inout(reg) tiles => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// `rounds` times four `tdpbssd` on tiles that stay in registers; returns the number of multiply-adds.
///
/// # Safety
///
/// [`has_instructions`] and [`is_permitted`] must have returned true.
pub(crate) unsafe fn spin(rounds: u32) -> u64 {
    let config = TileConfig::ALL;
    let rounds = rounds.max(1);
    // SAFETY: the caller says that tiles may be used; all of them are configured and zeroed before they are multiplied.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
            "2:",
            "tdpbssd tmm0, tmm4, tmm6",
            "tdpbssd tmm1, tmm4, tmm7",
            "tdpbssd tmm2, tmm5, tmm6",
            "tdpbssd tmm3, tmm5, tmm7",
            "dec {rounds:e}",
            "jnz 2b",
            "tilerelease",
            config = in(reg) &raw const config,
            rounds = inout(reg) rounds => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
    }
    u64::from(rounds) * 4 * 16 * 16 * 64
}

/// The function of [`multiply`], as the manual defines `tdpbssd`: for every row m of A, dword k of it and dword n of
/// row k of B, four products are added to dword n of row m of C.
fn defined(squares: [&mut [Square; 2]; 2], left: [&[Quad]; 2], right: [&[Quad]; 2]) {
    for (squares, left) in squares.into_iter().zip(left) {
        for (square, right) in squares.iter_mut().zip(right) {
            for (a, b) in left
                .as_chunks::<TILE_QUADS>()
                .0
                .iter()
                .zip(right.as_chunks::<TILE_QUADS>().0)
            {
                for (c, a) in square.0.iter_mut().zip(a) {
                    for (&a, b) in a.0.iter().zip(b) {
                        for (c, &b) in c.iter_mut().zip(&b.0) {
                            let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
                            let sum: i32 = products.map(|(a, b)| i32::from(a as i8) * i32::from(b as i8)).sum();
                            *c = c.wrapping_add(sum);
                        }
                    }
                }
            }
        }
    }
}

/// Word l of quad w becomes word w of quad l.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(from: &[Quad; TILE_QUADS], to: &mut [Quad; TILE_QUADS]) {
    let mut x = [_mm512_setzero_si512(); TILE_QUADS];
    for (x, quad) in x.iter_mut().zip(from) {
        // SAFETY: a Quad is 64 readable bytes, aligned to 64.
        *x = unsafe { _mm512_load_si512(quad.0.as_ptr().cast()) };
    }
    // Within 128-bit lanes: 4 x 4 words of rows 4i..4i + 4; y[4i + j] has word 4 lane + j of them in each lane.
    let mut y = x;
    for (x, y) in x.as_chunks::<4>().0.iter().zip(y.as_chunks_mut::<4>().0) {
        let low = [_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpacklo_epi32(x[2], x[3])];
        let high = [_mm512_unpackhi_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[2], x[3])];
        *y = [
            _mm512_unpacklo_epi64(low[0], low[1]),
            _mm512_unpackhi_epi64(low[0], low[1]),
            _mm512_unpacklo_epi64(high[0], high[1]),
            _mm512_unpackhi_epi64(high[0], high[1]),
        ];
    }
    // Then the 128-bit lanes themselves, 4 x 4 of them for each j.
    for j in 0..4 {
        let [a, b, c, d] = [y[j], y[4 + j], y[8 + j], y[12 + j]];
        let even = [_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d)];
        let odd = [_mm512_shuffle_i32x4::<0xDD>(a, b), _mm512_shuffle_i32x4::<0xDD>(c, d)];
        let rows = [
            _mm512_shuffle_i32x4::<0x88>(even[0], even[1]),
            _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]),
            _mm512_shuffle_i32x4::<0xDD>(even[0], even[1]),
            _mm512_shuffle_i32x4::<0xDD>(odd[0], odd[1]),
        ];
        for (lane, row) in rows.into_iter().enumerate() {
            // SAFETY: a Quad is 64 writable bytes, aligned to 64.
            unsafe { _mm512_store_si512(to[4 * lane + j].0.as_mut_ptr().cast(), row) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;
    use crate::layout::blocks;
    use crate::packing::PackedRows;
    use crate::path::Path;
    use crate::product::Product;
    use crate::tile::Tile;
    use protocol::bytes::OperandKey;
    use protocol::limits::TILE_SIDE;
    use protocol::operand::{Operand, operand_rows};

    fn rows(operand: Operand, k: u32) -> Vec<i8> {
        let mut rows = vec![0; TILE_SIDE * k as usize];
        operand_rows(&OperandKey([5; 32]), operand, k, 0, &mut rows);
        rows.into_iter().map(|byte| byte as i8).collect()
    }

    /// Layouts and loops without the instructions: the definition of `tdpbssd` results in the correct tile.
    #[test]
    fn tiles_as_the_manual_defines_them_give_the_product() {
        let Ok(kernels) = Path::Avx512Vnni.kernels() else {
            drop(writeln!(io::stderr(), "SKIPPED: AMX layouts need AVX-512 to transpose"));
            return;
        };
        for k in [64, 576] {
            let (a, b) = (rows(Operand::A(1), k), rows(Operand::B, k));
            let (left, right) = (
                PackedRows::from_rows(kernels, k, &a, 0),
                PackedRows::from_rows(kernels, k, &b, 0),
            );
            let mut product = Product::new(kernels);
            let mut scratch = vec![Quad::ZERO; SCRATCH_QUADS];
            product.start(&[0; TILE_SIDE]);
            for (first, count) in blocks(k) {
                let block = PANELS * first / 4..PANELS * (first + count) / 4;
                let sums = product.sums.first_chunk_mut().expect("16 rows of squares");
                let (left, right) = (&left.quads()[block.clone()], &right.quads()[block]);
                // SAFETY: the AVX-512 VNNI path was asked for above and includes AVX-512F.
                unsafe { accumulate_by(sums, left, right, &mut scratch, defined) };
            }
            let mut out = Tile::zeroed();
            product.finish(&mut out);
            assert!(out.0[..] == reference::tile_of_rows(&a, &b, k as usize)[..], "k = {k}");
        }
    }

    /// The tests of all paths include this one where it is supported; elsewhere the test prints that.
    #[test]
    fn this_cpu_multiplies_or_says_that_it_does_not() {
        if Path::AmxInt8.is_available() {
            assert!(multiplies());
            drop(writeln!(io::stderr(), "AMX: usable here, tested with all paths"));
        } else {
            drop(writeln!(
                io::stderr(),
                "SKIPPED: AMX int8 is not usable here; its instructions were not run"
            ));
        }
    }
}
