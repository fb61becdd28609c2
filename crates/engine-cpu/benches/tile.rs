//! A tile at k = 16384 on every path: whole, with B cached, and its parts; and the register-only ceiling of its products,
//! so that a product's share of it is a ratio within one run. For comparison, the same product by `rten-gemm` with both
//! operands prepacked, if `RAYON_NUM_THREADS=1` limits it to one thread, and the keystream of the `chacha20` crate, which
//! the protocol's definition calls.

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use engine_cpu::{OperandCache, PackedRows, Path, Product, Tile, TileComputer};
use protocol::bytes::{OperandKey, Salt};
use protocol::digest::DigestKey;
use protocol::tile::TileCoordinate;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

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
    if let Some(macs) = kernels.multiply_in_registers(1 << 12) {
        group.throughput(Throughput::Elements(macs));
        group.bench_function("ceiling, in registers", |b| {
            b.iter(|| kernels.multiply_in_registers(1 << 12))
        });
        group.throughput(Throughput::Elements(TILE_MACS));
    }
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

/// u8 x i8, as in `vpdpbusd`: 256 x k by k x 256 to i32, neither folded nor corrected for an offset.
fn rten_gemm(c: &mut Criterion) {
    if std::env::var("RAYON_NUM_THREADS").as_deref() != Ok("1") {
        println!("SKIPPED: rten-gemm takes all cores unless RAYON_NUM_THREADS=1");
        return;
    }
    let k = K as usize;
    let mut bytes = vec![0; 2 * 256 * k];
    protocol::derive::keystream(&KEY.0, &[0; 12], 0, &mut bytes);
    let (a, b) = bytes.split_at(256 * k);
    let a = NdTensor::from_data([256, k], a.to_vec());
    // Rows of B are columns of the right operand.
    let b = NdTensor::from_data([256, k], b.iter().map(|&byte| byte as i8).collect::<Vec<_>>());
    let gemm = GemmExecutor::<u8, i8, i32>::new();
    let (a, b) = (gemm.prepack_a(a.view()), gemm.prepack_b(b.view().transposed()));
    let mut out = vec![0; 256 * 256];
    let mut group = c.benchmark_group("rten-gemm");
    group.throughput(Throughput::Elements(TILE_MACS));
    group.bench_function(format!("product, {}", gemm.kernel_name()), |bench| {
        bench.iter(|| {
            gemm.gemm(
                &mut out,
                GemmInputA::Packed(&a),
                GemmInputB::Packed(&b),
                GemmOptions::default(),
            )
        })
    });
    group.finish();
}

/// As many bytes as an operand's 256 rows, from one stream: not distributed to rows, not packed and not summed.
fn chacha20(c: &mut Criterion) {
    let mut out = vec![0; 256 * K as usize];
    let mut group = c.benchmark_group("chacha20");
    group.throughput(Throughput::Bytes(out.len() as u64));
    group.bench_function("keystream, ChaCha8, as it comes", |b| {
        b.iter(|| protocol::derive::keystream(&KEY.0, &[0; 12], 0, &mut out))
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
    rten_gemm(&mut c);
    chacha20(&mut c);
    for path in Path::available() {
        tiles(&mut c, path);
    }
    c.final_summary();
}
