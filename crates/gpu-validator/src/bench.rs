//! `gpu-validator bench`: what recomputing costs on this host, path by path.

use std::fmt;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use cli::{Exit, WorkProgress, parse_duration, parse_threads, print_json, print_text};
use engine_cpu::{Kernels, OperandCache, PackedRows, Path, Product, Tile, TileComputer};
use protocol::bytes::{OperandKey, Salt};
use protocol::commitment::Commitment;
use protocol::digest::DigestKey;
use protocol::tile::TileCoordinate;
use serde::Serialize;
use verifier::calibrate::{Calibration, calibrate};
use verifier::recompute::Recompute;

const KEY: OperandKey = OperandKey([7; 32]);

/// Leaves of the commitment whose openings are checked: those of 128 GiB.
const LEAVES: u64 = 1 << 21;

/// Options of `gpu-validator bench`.
#[derive(Args)]
#[command(
    after_help = "Every figure is the median of repeated runs, with the best one: a large difference shows that the host was busy. The \
        ceiling and the product are measured in turn.\n\n\
    Examples:\n  gpu-validator bench\n  gpu-validator bench --path avx512-vnni --inner-dim 2048 --json"
)]
pub(crate) struct BenchOptions {
    /// Only this path: portable, neon-dotprod, avx2, avx-vnni, avx512-vnni or amx-int8 [default: all that this CPU
    /// supports, except portable]
    #[arg(long, value_name = "PATH")]
    path: Option<Path>,

    /// k of the tiles, a multiple of 64 up to 65536
    #[arg(long, value_name = "K", default_value_t = 16_384, value_parser = inner_dim)]
    inner_dim: u32,

    /// Threads of the whole recomputation, 1 to 1024 [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    threads: Option<NonZeroUsize>,

    /// How long each figure is measured
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "300ms")]
    time: Duration,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn inner_dim(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|k: &u32| protocol::limits::INNER_DIM_RANGE.contains(k) && k.is_multiple_of(64))
        .ok_or_else(|| format!("{text:?} is no multiple of 64 from 64 to 65536"))
}

pub(crate) fn run(options: &BenchOptions) -> anyhow::Result<Exit> {
    let paths = match options.path {
        Some(path) => vec![path],
        None => Path::available()
            .into_iter()
            .filter(|&path| path != Path::Portable)
            .collect(),
    };
    let paths = if paths.is_empty() { vec![Path::Portable] } else { paths };
    let results = paths
        .into_iter()
        .map(|path| bench(path, options))
        .collect::<Result<Vec<_>, _>>()?;
    let stage = WorkProgress::stage("measuring openings", options.json);
    let openings = openings(options.time);
    drop(stage);
    if options.json {
        print_json(&BenchReport {
            inner_dim: options.inner_dim,
            paths: results.iter().map(PathResult::report).collect(),
            opening_us: openings.report(1e6),
        })?;
    } else {
        for result in &results {
            print_text(result)?;
        }
        print_text(format_args!(
            "opening of a leaf of {LEAVES}: {:.2} us\n",
            openings.median * 1e6
        ))?;
    }
    Ok(Exit::Affirmed)
}

/// The cost of recomputing on this host.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct BenchReport {
    /// k of the tiles.
    inner_dim: u32,
    /// Path by path.
    paths: Vec<PathReport>,
    /// Time to check the opening of a leaf, us.
    opening_us: TimedReport,
}

/// A figure that was measured repeatedly, in the unit that its name ends in.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TimedReport {
    /// The median.
    median: f64,
    /// The best.
    best: f64,
    /// How often it was measured.
    runs: usize,
}

/// The figures of one path.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct PathReport {
    /// Its name.
    path: &'static str,
    /// Multiply-adds/s in registers; null if the path has no instruction of its own.
    ceiling_macs_per_s: Option<TimedReport>,
    /// Multiply-adds/s of a tile's product, its operands packed.
    product_macs_per_s: TimedReport,
    /// The product's share of the ceiling, median by median; null without a ceiling.
    product_share_of_ceiling: Option<f64>,
    /// Bytes/s of operands generated from their key.
    keystream_bytes_per_s: TimedReport,
    /// Time of a tile whose operand B is cached, ms.
    tile_ms: TimedReport,
    /// Time of a tile whose operand B is generated again, ms.
    tile_with_b_regenerated_ms: TimedReport,
    /// Bytes/s of fill digests.
    fill_digest_bytes_per_s: TimedReport,
    /// Bytes/s of pair digests.
    pair_digest_bytes_per_s: TimedReport,
    /// A whole recomputation.
    recomputation: RecomputationReport,
}

/// Tiles recomputed on all threads.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct RecomputationReport {
    /// Threads.
    threads: usize,
    /// Tiles that were recomputed.
    tiles: u64,
    /// How long this took, s.
    seconds: f64,
    /// Time of a tile on one thread, ms.
    tile_ms_per_thread: f64,
    /// Multiply-adds/s of all threads.
    macs_per_s: f64,
}

/// Seconds of one run among many.
#[derive(Clone, Copy)]
struct Timed {
    median: f64,
    best: f64,
    runs: usize,
}

impl Timed {
    fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        Timed {
            median: seconds[seconds.len() / 2],
            best: seconds[0],
            runs: seconds.len(),
        }
    }

    /// Seconds times `scale`.
    fn report(self, scale: f64) -> TimedReport {
        TimedReport {
            median: self.median * scale,
            best: self.best * scale,
            runs: self.runs,
        }
    }

    /// `count` a second.
    fn rate(self, count: f64) -> TimedReport {
        TimedReport {
            median: count / self.median,
            best: count / self.best,
            runs: self.runs,
        }
    }
}

/// Runs all of `works` in turns for about `time` each.
fn in_turns<const N: usize>(time: Duration, mut works: [&mut dyn FnMut(); N]) -> [Timed; N] {
    let mut seconds: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    let since = Instant::now();
    while seconds[0].len() < 3 || since.elapsed() < time * N as u32 {
        for (work, seconds) in works.iter_mut().zip(&mut seconds) {
            let since = Instant::now();
            work();
            seconds.push(since.elapsed().as_secs_f64());
        }
    }
    seconds.map(Timed::of)
}

struct PathResult {
    path: Path,
    inner_dim: u32,
    /// Multiply-adds of a run in registers, and its time.
    ceiling: Option<(u64, Timed)>,
    product: Timed,
    keystream: Timed,
    tile: Timed,
    tile_alone: Timed,
    fill_digest: Timed,
    pair_digest: Timed,
    whole: Calibration,
}

fn bench(path: Path, options: &BenchOptions) -> anyhow::Result<PathResult> {
    let (k, time) = (options.inner_dim, options.time);
    let _stage = WorkProgress::stage(&format!("measuring path {path}"), options.json);
    let kernels = path.kernels()?;
    kernels.self_check()?;
    let mut tile = Tile::zeroed();
    let packed = |block| PackedRows::generate(kernels, &KEY, k, block);
    let (left, right, mut made) = (packed(1), packed(0), packed(2));
    let mut product = Product::new(kernels);
    let rounds = rounds(kernels);
    let [ceiling, product] = in_turns(
        time,
        [
            &mut || _ = black_box(kernels.multiply_in_registers(rounds)),
            &mut || product.bench_tile(&left, &right, &mut tile),
        ],
    );
    let [keystream] = in_turns(time, [&mut || made.regenerate(kernels, &KEY, 3)]);
    let mut matrix = 0;
    let mut tiles = |cache_bytes| -> anyhow::Result<Timed> {
        let mut computer = TileComputer::new(path, Arc::new(OperandCache::new(cache_bytes)))?;
        let [timed] = in_turns(
            time,
            [&mut || {
                matrix += 1;
                let at = TileCoordinate {
                    matrix,
                    row_block: 0,
                    column_block: 0,
                };
                computer.compute(&KEY, k, at, &mut tile);
            }],
        );
        Ok(timed)
    };
    let (tile, tile_alone) = (tiles(usize::MAX)?, tiles(0)?);
    let key = DigestKey::expand(&Salt([1; 32]));
    let (a, b) = (Tile::zeroed(), Tile::zeroed());
    let [fill_digest, pair_digest] = in_turns(
        time / 4,
        [&mut || _ = black_box(kernels.fill_digest(&key, &a)), &mut || {
            _ = black_box(kernels.pair_digest(&key, 5, &a, &b))
        }],
    );
    let default = Recompute::default();
    let recompute = Recompute {
        path,
        threads: options.threads.unwrap_or(default.threads),
        ..default
    };
    Ok(PathResult {
        path,
        inner_dim: k,
        ceiling: kernels
            .multiply_in_registers(1)
            .map(|macs| (macs * u64::from(rounds), ceiling)),
        product,
        keystream,
        tile,
        tile_alone,
        fill_digest,
        pair_digest,
        whole: calibrate(&recompute, k, time * 2)?,
    })
}

/// As many rounds in registers as take about a millisecond.
fn rounds(kernels: Kernels) -> u32 {
    let mut rounds = 1 << 8;
    loop {
        let since = Instant::now();
        if kernels.multiply_in_registers(rounds).is_none() || since.elapsed() > Duration::from_micros(500) {
            return rounds;
        }
        rounds *= 2;
    }
}

fn openings(time: Duration) -> Timed {
    let commitment = Commitment::new((0..LEAVES).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect());
    let (root, leaf) = (commitment.root(), 1_234_567);
    let opening = commitment.open(leaf).expect("the leaf exists");
    let [timed] = in_turns(time / 4, [&mut || _ = black_box(opening.verify(&root, leaf, LEAVES))]);
    timed
}

impl PathResult {
    fn tile_macs(&self) -> f64 {
        65_536.0 * f64::from(self.inner_dim)
    }

    fn row_bytes(&self) -> f64 {
        256.0 * f64::from(self.inner_dim)
    }

    /// The product's share of the ceiling, median by median.
    fn share(&self) -> Option<f64> {
        let (macs, ceiling) = self.ceiling?;
        Some(self.tile_macs() / self.product.median / (macs as f64 / ceiling.median))
    }

    fn report(&self) -> PathReport {
        PathReport {
            path: self.path.name(),
            ceiling_macs_per_s: self.ceiling.map(|(macs, timed)| timed.rate(macs as f64)),
            product_macs_per_s: self.product.rate(self.tile_macs()),
            product_share_of_ceiling: self.share(),
            keystream_bytes_per_s: self.keystream.rate(self.row_bytes()),
            tile_ms: self.tile.report(1e3),
            tile_with_b_regenerated_ms: self.tile_alone.report(1e3),
            fill_digest_bytes_per_s: self.fill_digest.rate(65_536.0),
            pair_digest_bytes_per_s: self.pair_digest.rate(131_072.0),
            recomputation: RecomputationReport {
                threads: self.whole.threads,
                tiles: self.whole.tiles,
                seconds: self.whole.elapsed.as_secs_f64(),
                tile_ms_per_thread: self.whole.tile_ms(),
                macs_per_s: self.whole.macs_per_s(),
            },
        }
    }
}

impl fmt::Display for PathResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "{name:<22} {value}");
        line("path", format!("{}, k = {}", self.path, self.inner_dim))?;
        let giga = |count: f64, timed: Timed, unit: &str| {
            format!(
                "{:.1} {unit} (best {:.1})",
                count / timed.median / 1e9,
                count / timed.best / 1e9
            )
        };
        let ms = |timed: Timed| format!("{:.3} ms (best {:.3})", timed.median * 1e3, timed.best * 1e3);
        if let Some((macs, timed)) = self.ceiling {
            line("ceiling, in registers", giga(macs as f64, timed, "GMAC/s"))?;
        }
        let share = self.share().map_or(String::new(), |share| {
            format!(", {:.1} % of the ceiling", 100.0 * share)
        });
        line("product", giga(self.tile_macs(), self.product, "GMAC/s") + &share)?;
        line("keystream", giga(self.row_bytes(), self.keystream, "GB/s"))?;
        line("tile, B at hand", ms(self.tile))?;
        line("tile, B regenerated", ms(self.tile_alone))?;
        line("fill digest", giga(65_536.0, self.fill_digest, "GB/s"))?;
        line("pair digest", giga(131_072.0, self.pair_digest, "GB/s"))?;
        let whole = &self.whole;
        line(
            "recomputation",
            format!(
                "{:.3} ms a tile and thread, {} threads, {:.1} GMAC/s in all\n",
                whole.tile_ms(),
                whole.threads,
                whole.macs_per_s() / 1e9
            ),
        )
    }
}
