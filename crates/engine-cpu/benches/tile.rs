//! A tile at k = 16384 on every path: whole, with B cached, and its parts; and the register-only ceiling of
//! its multiply-add, so that a product's share of it is a ratio within one run.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use engine_cpu::bench::products_in_registers;
use engine_cpu::{OperandCache, PackedRows, Path, Product, Tile, TileComputer};
use protocol::bytes::{OperandKey, Salt};
use protocol::digest::DigestKey;
use protocol::tile::TileCoordinate;

const K: u32 = 16_384;
const TILE_MACS: u64 = 256 * 256 * K as u64;
const KEY: OperandKey = OperandKey([7; 32]);

fn tiles(c: &mut Criterion, path: Path) {
    let kernels = path.kernels().expect("the path is available");
    let mut group = c.benchmark_group(path.name());
    let mut tile = Tile::zeroed();
    let digest_key = DigestKey::expand(&Salt([1; 32]));

    let mut tile_bench = |name, capacity_bytes, column_blocks| {
        let mut computer =
            TileComputer::new(path, Arc::new(OperandCache::new(capacity_bytes))).expect("the path works");
        let mut at = TileCoordinate {
            matrix: 0,
            row_block: 0,
            column_block: 0,
        };
        group.throughput(Throughput::Elements(TILE_MACS));
        group.bench_function(name, |b| {
            b.iter(|| {
                at.matrix += 1;
                at.column_block = (at.column_block + 1) % column_blocks;
                computer.compute(&KEY, K, at, &mut tile);
                kernels.fill_digest(&digest_key, &tile)
            });
        });
    };
    tile_bench("tile, A and B generated", 0, 64);
    tile_bench("tile, one B block cached", 1 << 30, 1);
    tile_bench("tile, 64 B blocks cached", 1 << 30, 64);

    let (left, right) = (
        PackedRows::generate(kernels, &KEY, K, 1),
        PackedRows::generate(kernels, &KEY, K, 0),
    );
    let mut product = Product::new(kernels);
    group.bench_function("product", |b| b.iter(|| product.bench_tile(&left, &right, &mut tile)));

    group.throughput(Throughput::Bytes(256 * u64::from(K)));
    let mut out = PackedRows::generate(kernels, &KEY, K, 0);
    group.bench_function("keystream, packed, with row sums", |b| {
        b.iter(|| out.regenerate(kernels, &KEY, 3))
    });

    group.throughput(Throughput::Bytes(65_536));
    group.bench_function("fill digest", |b| b.iter(|| kernels.fill_digest(&digest_key, &tile)));
    let other = Tile::zeroed();
    group.throughput(Throughput::Bytes(131_072));
    group.bench_function("pair digest", |b| {
        b.iter(|| kernels.pair_digest(&digest_key, 9, &tile, &other))
    });
    group.finish();
}

/// The path's multiply-add alone, in registers.
fn ceiling(c: &mut Criterion, path: Path) {
    let kernels = path.kernels().expect("the path is available");
    let Some(products) = products_in_registers(kernels) else {
        return;
    };
    let mut group = c.benchmark_group(path.name());
    group.throughput(Throughput::Elements(products));
    group.bench_function("ceiling: products in registers", |b| {
        b.iter(|| products_in_registers(black_box(kernels)));
    });
    group.finish();
}

fn main() {
    let mut c = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    for path in Path::available() {
        ceiling(&mut c, path);
        tiles(&mut c, path);
    }
    c.final_summary();
}
