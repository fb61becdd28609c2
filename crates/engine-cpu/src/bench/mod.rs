//! The performance of one thread compared with its own ceilings, all in one run: products, tiles, keystream, pair
//! digests.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::bytes::{OperandKey, Salt};
use protocol::digest::DigestKey;
use protocol::tile::TileCoordinate;

use crate::cache::OperandCache;
use crate::packing::PackedRows;
use crate::path::{Kernels, Path};
use crate::product::Product;
use crate::tile::Tile;
use crate::tile_computer::{TileComputer, TileComputerError};

/// Rounds of multiply-adds in registers at a time: about a millisecond of them.
const REGISTER_ROUNDS: u32 = 1 << 16;

/// k of the products.
pub const INNER_DIM: u32 = 16_384;

/// Multiply-adds of a tile.
const TILE_PRODUCTS: f64 = 65_536.0 * INNER_DIM as f64;

const KEY: OperandKey = OperandKey([7; 32]);

/// Tiles that pair digests cover: 64 MiB, larger than most caches.
const TILES: usize = 1024;

/// Shares of the whole time.
const PARTS: u32 = 9;

/// A rate over repeats of the same work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The median.
    pub median: f64,
    /// The slowest.
    pub least: f64,
    /// The fastest.
    pub most: f64,
    /// The number of repeats.
    pub repeats: usize,
}

/// All figures of one thread on one path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BenchReport {
    /// The code measured.
    pub path: Path,
    /// Products of a tile, operands already packed (10^9 multiply-adds per second).
    pub product: Rate,
    /// The path's multiply-add alone, in registers (10^9 per second); the portable path has no dedicated instruction.
    pub registers: Option<Rate>,
    /// Whole tiles with their fill digests, B cached as in a session with many samples (tiles per second).
    pub tile: Rate,
    /// The same with B generated again for each (tiles per second).
    pub tile_from_keys: Rate,
    /// Keystream of an operand, packed and with row sums (GB/s, 10^9 bytes).
    pub keystream: Rate,
    /// Plain writes of as many bytes to the same size of memory (GB/s).
    pub writes: Rate,
    /// Pair digests over a random matching (GB/s).
    pub pair_digests: Rate,
    /// Pair digests over neighbours in address order (GB/s).
    pub address_order: Rate,
}

/// Measures `path` on this thread for about `duration`; `stage` is called at the start of each stage.
///
/// # Errors
///
/// [`TileComputerError`] if this CPU does not support the path or computes wrong results on it.
pub fn bench(path: Path, duration: Duration, stage: &dyn Fn(&str)) -> Result<BenchReport, TileComputerError> {
    let part = duration / PARTS;
    let kernels = path.kernels()?;
    let tile = |name, capacity_bytes, part| -> Result<Rate, TileComputerError> {
        stage(name);
        let mut computer = TileComputer::new(path, Arc::new(OperandCache::new(capacity_bytes)))?;
        Ok(tiles(kernels, &mut computer, part))
    };
    let cached = tile("tile, B at hand", 1 << 30, 2 * part)?;
    let from_keys = tile("tile, B regenerated", 0, part)?;
    stage("product, and its ceiling");
    // Alternating, so that both run at the same clocks.
    let (mut products, mut registers) = (Vec::new(), Vec::new());
    const TURNS: u32 = 8;
    for _ in 0..TURNS {
        products.extend(product(kernels, part / TURNS));
        registers.extend(ceiling(kernels, part / TURNS));
    }
    stage("keystream");
    let (keystream, writes) = keystream(kernels, part);
    stage("pair digests");
    let (pair_digests, address_order) = pair_digests(kernels, part);
    Ok(BenchReport {
        path,
        product: rate(products),
        registers: (!registers.is_empty()).then(|| rate(registers)),
        tile: cached,
        tile_from_keys: from_keys,
        keystream,
        writes,
        pair_digests,
        address_order,
    })
}

/// `amount` per second of each repeat of `work`, for about this duration; a warm-up run is not counted.
fn repeat(duration: Duration, amount: f64, mut work: impl FnMut()) -> Vec<f64> {
    work();
    let start = Instant::now();
    let mut rates = Vec::new();
    while rates.is_empty() || start.elapsed() < duration {
        let repeat = Instant::now();
        work();
        rates.push(amount / repeat.elapsed().as_secs_f64());
    }
    rates
}

fn rate(mut rates: Vec<f64>) -> Rate {
    rates.sort_by(f64::total_cmp);
    let last = rates.len() - 1;
    Rate {
        median: (rates[last / 2] + rates[last.div_ceil(2)]) / 2.0,
        least: rates[0],
        most: rates[last],
        repeats: rates.len(),
    }
}

fn tiles(kernels: Kernels, computer: &mut TileComputer, duration: Duration) -> Rate {
    let digest_key = DigestKey::expand(&Salt([1; 32]));
    let mut tile = Tile::zeroed();
    let mut at = TileCoordinate {
        matrix: 0,
        row_block: 0,
        column_block: 0,
    };
    rate(repeat(duration, 1.0, || {
        at.matrix += 1;
        computer.compute(&KEY, INNER_DIM, at, &mut tile);
        black_box(kernels.fill_digest(&digest_key, &tile));
    }))
}

fn product(kernels: Kernels, duration: Duration) -> Vec<f64> {
    let left = PackedRows::generate(kernels, &KEY, INNER_DIM, 1);
    let right = PackedRows::generate(kernels, &KEY, INNER_DIM, 0);
    let (mut product, mut tile) = (Product::new(kernels), Tile::zeroed());
    repeat(duration, TILE_PRODUCTS * 1e-9, || {
        product.bench_tile(&left, &right, &mut tile);
        black_box(&tile);
    })
}

fn ceiling(kernels: Kernels, duration: Duration) -> Vec<f64> {
    match kernels.multiply_in_registers(REGISTER_ROUNDS) {
        None => Vec::new(),
        Some(products) => repeat(duration, products as f64 * 1e-9, || {
            black_box(black_box(kernels).multiply_in_registers(REGISTER_ROUNDS));
        }),
    }
}

fn keystream(kernels: Kernels, duration: Duration) -> (Rate, Rate) {
    let mut rows = PackedRows::generate(kernels, &KEY, INNER_DIM, 0);
    let size_bytes = 256 * INNER_DIM as usize;
    let gigabytes = size_bytes as f64 * 1e-9;
    let keystream = repeat(duration, gigabytes, || rows.regenerate(kernels, &KEY, 3));
    let mut bytes = vec![0_u8; size_bytes];
    let mut value = 0_u8;
    let writes = repeat(duration, gigabytes, || {
        value = value.wrapping_add(1);
        bytes.fill(black_box(value));
        black_box(&bytes);
    });
    (rate(keystream), rate(writes))
}

/// Pairs of a random matching, and pairs in address order.
fn pair_digests(kernels: Kernels, duration: Duration) -> (Rate, Rate) {
    let key = DigestKey::expand(&Salt([2; 32]));
    let mut tiles: Vec<Tile> = Vec::with_capacity(TILES);
    for i in 0..TILES {
        let mut tile = Tile([0; 65_536]);
        for (j, bytes) in tile.0.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *bytes = ((i * 8192 + j) as u64)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .to_le_bytes();
        }
        tiles.push(tile);
    }
    let gigabytes = (TILES * 65_536) as f64 * 1e-9;
    let measure = |tile_at: &dyn Fn(usize) -> usize| {
        rate(repeat(duration, gigabytes, || {
            for leaf in 0..TILES / 2 {
                let (a, b) = (&tiles[tile_at(2 * leaf)], &tiles[tile_at(2 * leaf + 1)]);
                black_box(kernels.pair_digest(&key, leaf as u32, a, b));
            }
        }))
    };
    // An odd multiplier permutes a power of two.
    let matching = measure(&|i| i.wrapping_mul(0x2C5) % TILES);
    (matching, measure(&|i| i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_measured_below_its_ceiling() {
        for path in Path::available() {
            let report = bench(path, Duration::ZERO, &|_| {}).expect("the path works");
            assert!(report.tile.median > 0.0 && report.tile_from_keys.median > 0.0, "{path}");
            assert!(
                report.keystream.median > 0.0 && report.pair_digests.median > 0.0,
                "{path}"
            );
            assert_eq!(report.registers.is_some(), path != Path::Portable, "{path}");
        }
    }
}
