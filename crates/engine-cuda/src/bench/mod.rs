//! The performance of a device compared with its own ceilings, all in one run: fills, sweeps, keystream.
//!
//! A rate alone says little: cards differ, and their clocks change from minute to minute. Each figure here is reported
//! with the ceiling from the same run on the same card: the fill with the tensor cores' arithmetic peak and cuBLASLt's
//! int8 product, the sweep with reads of the same bytes in address order, the keystream with plain writes.

mod cublaslt;
mod peak;
mod plain;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::bytes::{OperandKey, Salt};
use protocol::derive;
use protocol::engine::{
    Assignment, AssignmentFields, Engine, EngineError, FillTask, InvalidAssignment, Progress, Unobserved,
};
use protocol::limits::TILE_BYTES;
use protocol::message::DeviceOffer;

use crate::engine::CudaEngine;
use crate::inventory::DeviceInfo;
use crate::telemetry::NvmlWatch;
use plain::Plain;

/// k of the fill that is compared with cuBLASLt.
const LONG_INNER_DIM: u32 = 16_384;
/// k of short iterations, as used for T_local.
const SHORT_INNER_DIM: u32 = 2048;
/// n: the first value of which this many matrices fit.
const MATRIX_DIMS: [u32; 5] = [16_384, 8192, 4096, 2048, 1024];
const FEWEST_MATRICES: u64 = 16;

/// Shares of the whole time.
const LONG_FILL_SHARE: f64 = 0.36;
const GEMM_SHARE: f64 = 0.36;
const PLAIN_GEMM_SHARE: f64 = 0.05;
const SHORT_FILL_SHARE: f64 = 0.08;
const SWEEP_SHARE: f64 = 0.06;
const PLAIN_SHARE: f64 = 0.03;

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

/// NVML's telemetry during the measurement; values it does not report are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    /// Mean power, from the card's energy counter if it has one (W).
    pub power_w: Option<f64>,
    /// Mean SM clock (MHz).
    pub mean_sm_clock_mhz: Option<f64>,
    /// Highest temperature (degrees Celsius).
    pub max_temperature_c: Option<u32>,
    /// Reasons for throttled clocks.
    pub throttle_reasons: Vec<String>,
}

/// A rate of arithmetic over some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Arithmetic {
    /// k of the products.
    pub inner_dim: u32,
    /// All operations divided by the total time, by the host's clock (Tops, 10^12 operations per second, two per
    /// multiply-add).
    pub tops: f64,
    /// Per launch (Tops).
    pub launches: Rate,
    /// Duration (ns).
    pub elapsed_ns: u64,
    /// Power and clocks during the measurement.
    pub load: Load,
    /// The tensor cores' peak at the device's highest clock (Tops), if known.
    pub peak_tops_at_max_clock: Option<f64>,
    /// The same at the mean clock.
    pub peak_tops_at_mean_clock: Option<f64>,
}

/// A rate of memory, and its ceiling.
#[derive(Clone, Debug, PartialEq)]
pub struct Bandwidth {
    /// The work (GB/s, 10^9 bytes).
    pub rate: Rate,
    /// The baseline on the same bytes (GB/s).
    pub ceiling: Rate,
    /// Description of the baseline.
    pub ceiling_name: &'static str,
    /// Bytes of each repeat.
    pub size_bytes: u64,
    /// Power and clocks while the rate was measured.
    pub load: Load,
}

/// Reads of another device's dataset in address order, without a link's other traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkReads {
    /// The kernel that reads.
    pub name: &'static str,
    /// GB/s, 10^9 bytes.
    pub rate: Rate,
    /// Bytes of each repeat.
    pub size_bytes: u64,
}

/// Reads the dataset of a connected device for this long by each kernel, on a prepared engine that does nothing else.
///
/// # Errors
///
/// [`EngineError::Unsupported`] without access to the other device's memory; otherwise the driver's error.
pub fn link_reads(engine: &CudaEngine, device: usize, duration: Duration) -> Result<Vec<LinkReads>, EngineError> {
    engine.context.synchronize();
    let (num_tiles, reads) = Plain::new(engine)?.address_order_of_connected(device, duration)?;
    let size_bytes = u64::from(num_tiles) * TILE_BYTES as u64;
    let of = |(name, seconds): (&'static str, Vec<f64>)| {
        let rates: Vec<f64> = seconds.iter().map(|seconds| gigabytes(size_bytes, *seconds)).collect();
        LinkReads {
            name,
            rate: rate(&rates),
            size_bytes,
        }
    };
    Ok(reads.into_iter().map(of).collect())
}

/// All figures of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchReport {
    /// The device.
    pub device: DeviceInfo,
    /// The fill's kernels.
    pub fill_path: crate::FillPath,
    /// The sweep's kernel.
    pub sweep_path: crate::SweepPath,
    /// n.
    pub matrix_dim: u32,
    /// Matrices filled and swept.
    pub num_matrices: u32,
    /// Most matrices that a plan could have here, at this n and k = 16384, before cuBLASLt is loaded.
    pub most_matrices: u64,
    /// Fills, including operands, digests and roots: k = 16384, then k = 2048.
    pub fills: [Arithmetic; 2],
    /// cuBLASLt's int8 product with 32-bit sums, n = k, or why it is not available: with the algorithm and workspace it
    /// suggests, and as `torch._int_mm` calls it, without either.
    pub cublaslt: Result<[Arithmetic; 2], String>,
    /// Sweeps, including keys and roots.
    pub sweep: Bandwidth,
    /// The keystream of operands, written to memory.
    pub keystream: Bandwidth,
}

/// Measures a device, on its engine, for about `duration`; `stage` is called at the start of each stage.
///
/// # Errors
///
/// The engine's error; [`EngineError::OutOfMemory`] if not even a few small matrices fit.
pub fn bench(
    mut engine: CudaEngine,
    device: DeviceInfo,
    duration: Duration,
    stage: &dyn Fn(&str),
) -> Result<BenchReport, EngineError> {
    let offer = engine.offer()?;
    let (matrix_dim, most_matrices) = size(&offer)?;
    let share = |share: f64| duration.mul_f64(share);
    let mut run = Run {
        assignment: assignment(matrix_dim, most_matrices.min(FEWEST_MATRICES))?,
        watch: Watch(device.without_nvml.is_none().then(|| device.uuid.clone())),
        device: &device,
        fills: 0,
    };

    // The first fill warms up and determines how many matrices fill the time; its bytes are cuBLASLt's input.
    engine.prepare(&run.assignment)?;
    run.fill(&mut engine, LONG_INNER_DIM, Duration::ZERO)?;
    let calibration = run.fill(&mut engine, LONG_INNER_DIM, Duration::ZERO)?;
    stage("cuBLASLt int8");
    let cublaslt = run.gemm(&engine, [share(GEMM_SHARE), share(PLAIN_GEMM_SHARE)])?;
    // The library's code stays loaded: the measured dataset must fit in addition to it.
    engine.workload = None;
    let matrices_left = engine
        .offer()?
        .matrices(matrix_dim, LONG_INNER_DIM)
        .clamp(1, most_matrices);

    stage("taking memory");
    let seconds_per_matrix =
        run.operations(LONG_INNER_DIM) / f64::from(run.assignment.num_matrices()) * 1e-12 / calibration.tops;
    let wanted = (share(LONG_FILL_SHARE).as_secs_f64() / seconds_per_matrix) as u64;
    run.assignment = assignment(
        matrix_dim,
        wanted.clamp(matrices_left.min(FEWEST_MATRICES), matrices_left),
    )?;
    engine.prepare(&run.assignment)?;
    stage("fill, k = 16384");
    let long = run.fill(&mut engine, LONG_INNER_DIM, share(LONG_FILL_SHARE))?;
    stage("fill, k = 2048");
    let short = run.fill(&mut engine, SHORT_INNER_DIM, share(SHORT_FILL_SHARE))?;
    stage("sweep");
    let sweep = run.sweep(&mut engine, share(SWEEP_SHARE), share(PLAIN_SHARE))?;
    stage("keystream");
    let keystream = run.keystream(&engine, share(PLAIN_SHARE))?;
    Ok(BenchReport {
        fill_path: engine.fill_path(),
        sweep_path: engine.sweep_path(),
        matrix_dim,
        num_matrices: run.assignment.num_matrices(),
        most_matrices,
        fills: [long, short],
        cublaslt,
        sweep,
        keystream,
        device,
    })
}

/// The largest n of which enough matrices fit, and how many do.
fn size(offer: &DeviceOffer) -> Result<(u32, u64), EngineError> {
    let fitting = |n: &u32| (*n, offer.matrices(*n, LONG_INNER_DIM));
    let mut sizes = MATRIX_DIMS.iter().map(fitting);
    sizes.find(|(_, most)| *most >= FEWEST_MATRICES).ok_or_else(|| {
        let smallest = u64::from(MATRIX_DIMS[MATRIX_DIMS.len() - 1]);
        EngineError::OutOfMemory {
            requested_bytes: offer.reserve_bytes + smallest * (FEWEST_MATRICES * smallest + u64::from(LONG_INNER_DIM)),
            available_bytes: offer.available_bytes,
        }
    })
}

fn assignment(matrix_dim: u32, num_matrices: u64) -> Result<Assignment, InvalidAssignment> {
    Assignment::new(AssignmentFields {
        matrix_dim,
        matrix_offset: 0,
        num_matrices: num_matrices as u32,
        max_inner_dim: LONG_INNER_DIM,
    })
}

/// A device under measurement.
struct Run<'a> {
    assignment: Assignment,
    watch: Watch,
    device: &'a DeviceInfo,
    /// Number of fills done: each uses its own keys.
    fills: u32,
}

impl Run<'_> {
    /// Operations of a fill.
    fn operations(&self, inner_dim: u32) -> f64 {
        2.0 * self.assignment.dataset_bytes() as f64 * f64::from(inner_dim)
    }

    /// Whole fills for about this duration, at least one.
    fn fill(&mut self, engine: &mut CudaEngine, inner_dim: u32, duration: Duration) -> Result<Arithmetic, EngineError> {
        let operations_per_tile = self.operations(inner_dim) / f64::from(self.assignment.tiles());
        let watched = self.watch.start();
        let (start, mut times, mut rates) = (Instant::now(), Vec::new(), Vec::new());
        while is_time_for_another(&times, start, duration) {
            self.fills += 1;
            let seed = self.fills.to_le_bytes();
            let task = FillTask {
                inner_dim,
                operand_key: OperandKey(derive::derive("bench operands", &[&seed])),
                fill_salt: Salt(derive::derive("bench fill", &[&seed])),
                sweeps: 0,
            };
            let clock = LaunchClock::start();
            engine.fill(&task, &clock)?;
            times.push(clock.start.elapsed());
            rates.extend(clock.rates(operations_per_tile));
        }
        let whole: Duration = times.iter().sum();
        let operations = self.operations(inner_dim) * times.len() as f64;
        Ok(self.arithmetic(inner_dim, operations, whole, &rates, watched.finish()))
    }

    fn arithmetic(&self, inner_dim: u32, operations: f64, whole: Duration, rates: &[f64], load: Load) -> Arithmetic {
        let peak = |mhz: f64| peak::int8_tops(self.device.compute_capability, self.device.multiprocessors, mhz);
        Arithmetic {
            inner_dim,
            tops: operations / whole.as_secs_f64() * 1e-12,
            launches: rate(rates),
            elapsed_ns: whole.as_nanos() as u64,
            peak_tops_at_max_clock: self.device.max_sm_clock_mhz.and_then(|mhz| peak(mhz.into())),
            peak_tops_at_mean_clock: load.mean_sm_clock_mhz.and_then(peak),
            load,
        }
    }

    /// cuBLASLt's products over the dataset's bytes, part of which are overwritten.
    fn gemm(
        &self,
        engine: &CudaEngine,
        durations: [Duration; 2],
    ) -> Result<Result<[Arithmetic; 2], String>, EngineError> {
        let plain = Plain::new(engine)?;
        let gemm = cublaslt::Gemm::new(&plain, self.assignment.dataset_bytes());
        let mut gemm = match gemm.and_then(|mut gemm| gemm.check(&plain).map(|()| gemm)) {
            Ok(gemm) => gemm,
            Err(why) => return Ok(Err(why)),
        };
        let suggested = self.products(&plain, &mut gemm, durations[0])?;
        gemm.without_workspace();
        let default = self.products(&plain, &mut gemm, durations[1])?;
        Ok(Ok([suggested, default]))
    }

    fn products(
        &self,
        plain: &Plain<'_>,
        gemm: &mut cublaslt::Gemm,
        duration: Duration,
    ) -> Result<Arithmetic, EngineError> {
        let operations = 2.0 * f64::from(gemm.n()).powi(3);
        let watched = self.watch.start();
        let measured = plain.repeat(duration, &mut |stream| {
            gemm.queue(stream.raw()).map_err(|message| EngineError::Driver {
                call: "cublasLtMatmul".to_owned(),
                message,
            })
        })?;
        let rates = measured.seconds.iter().map(|seconds| operations / seconds * 1e-12);
        let rates: Vec<f64> = rates.collect();
        let all = operations * measured.launches as f64;
        Ok(self.arithmetic(gemm.n(), all, measured.whole, &rates, watched.finish()))
    }

    fn sweep(
        &self,
        engine: &mut CudaEngine,
        duration: Duration,
        ceiling_duration: Duration,
    ) -> Result<Bandwidth, EngineError> {
        let size_bytes = self.assignment.dataset_bytes();
        let mut salt = Salt([0x5A; 32]);
        let watched = self.watch.start();
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() < 8 || is_time_for_another(&times, start, duration) {
            let sweep = Instant::now();
            salt = Salt(engine.sweep(&salt, &Unobserved)?.0);
            times.push(sweep.elapsed());
        }
        let load = watched.finish();
        let rates: Vec<f64> = times
            .iter()
            .map(|time| gigabytes(size_bytes, time.as_secs_f64()))
            .collect();
        // Some kernels read faster than others in address order: the fastest one is the ceiling.
        let ceilings = Plain::new(engine)?.address_order(self.assignment.tiles(), ceiling_duration)?;
        let ceiling = ceilings
            .into_iter()
            .map(|(name, seconds)| {
                let rates: Vec<f64> = seconds.iter().map(|seconds| gigabytes(size_bytes, *seconds)).collect();
                (name, rate(&rates))
            })
            .max_by(|a, b| a.1.median.total_cmp(&b.1.median));
        let (ceiling_name, ceiling) = ceiling.expect("there is a way to read in address order on every path");
        Ok(Bandwidth {
            rate: rate(&rates),
            ceiling,
            ceiling_name,
            size_bytes,
            load,
        })
    }

    /// Overwrites the dataset.
    fn keystream(&self, engine: &CudaEngine, duration: Duration) -> Result<Bandwidth, EngineError> {
        let plain = Plain::new(engine)?;
        let n = self.assignment.matrix_dim();
        let matrix_bytes = u64::from(n) * u64::from(LONG_INNER_DIM);
        let matrices = (self.assignment.dataset_bytes() / matrix_bytes).clamp(1, 8) as u32;
        let size_bytes = matrix_bytes * u64::from(matrices);
        let watched = self.watch.start();
        let keystream = plain.keystream(matrix_bytes, matrices, duration)?;
        let load = watched.finish();
        let writes = plain.writes(size_bytes, duration)?;
        let rates = |seconds: &[f64]| -> Vec<f64> { seconds.iter().map(|s| gigabytes(size_bytes, *s)).collect() };
        Ok(Bandwidth {
            rate: rate(&rates(&keystream)),
            ceiling: rate(&rates(&writes)),
            ceiling_name: "memory writes",
            size_bytes,
            load,
        })
    }
}

/// Whether one more repeat is expected to end closer to the end of the time than now. There is always a first repeat.
fn is_time_for_another(times: &[Duration], start: Instant, duration: Duration) -> bool {
    let Some(last) = times.last() else { return true };
    start.elapsed() + *last / 2 < duration
}

fn gigabytes(size_bytes: u64, seconds: f64) -> f64 {
    size_bytes as f64 / seconds * 1e-9
}

/// Median and spread of at least one value.
fn rate(rates: &[f64]) -> Rate {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |i: usize| sorted.get(i).copied().unwrap_or(0.0);
    let last = sorted.len().saturating_sub(1);
    Rate {
        median: (at(last / 2) + at(last.div_ceil(2))) / 2.0,
        least: at(0),
        most: at(last),
        repeats: sorted.len(),
    }
}

/// Records when launches end.
struct LaunchClock {
    start: Instant,
    ends: Mutex<Vec<(Instant, u64)>>,
}

impl LaunchClock {
    fn start() -> Self {
        LaunchClock {
            start: Instant::now(),
            ends: Mutex::new(Vec::new()),
        }
    }

    fn rates(&self, operations_per_tile: f64) -> Vec<f64> {
        let mut before = self.start;
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = |(end, tiles): &(Instant, u64)| {
            let seconds = end.duration_since(before).as_secs_f64();
            before = *end;
            operations_per_tile * *tiles as f64 / seconds * 1e-12
        };
        ends.iter().map(rate).collect()
    }
}

impl Progress for LaunchClock {
    fn advance(&self, tiles: u64) {
        self.ends
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((Instant::now(), tiles));
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// NVML's telemetry of a device, by its UUID; none if NVML did not report the device, as each query may then block.
struct Watch(Option<String>);

/// Telemetry in progress.
struct Watched(Option<NvmlWatch>);

impl Watch {
    fn start(&self) -> Watched {
        Watched(self.0.as_deref().and_then(|uuid| NvmlWatch::start(uuid).ok()))
    }
}

impl Watched {
    fn finish(self) -> Load {
        let Some(seen) = self.0.and_then(|watch| watch.finish().ok()) else {
            return Load::default();
        };
        // The counter has a resolution of about 100 ms: below one second samples are more accurate.
        let counted = seen
            .energy_j
            .filter(|energy| *energy > 0.0 && seen.elapsed_ns > 1_000_000_000)
            .map(|energy| energy / seen.elapsed_ns as f64 * 1e9);
        Load {
            power_w: counted.or(seen.mean_power_w),
            mean_sm_clock_mhz: seen.mean_sm_clock_mhz,
            max_temperature_c: seen.max_temperature_c,
            throttle_reasons: seen.throttle_reasons,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offer::offer;

    #[test]
    fn rates_have_a_median_and_a_spread() {
        let of = |rates: &[f64]| {
            let rate = rate(rates);
            (rate.least, rate.median, rate.most, rate.repeats)
        };
        assert_eq!(of(&[3.0, 1.0, 2.0]), (1.0, 2.0, 3.0, 3));
        assert_eq!(of(&[4.0, 1.0]), (1.0, 2.5, 4.0, 2));
        assert_eq!(of(&[7.0]), (7.0, 7.0, 7.0, 1));
    }

    #[test]
    fn sizes_follow_the_memory() {
        let size = |available| size(&offer(available, available, 1));
        assert_eq!(size(150_000_000_000).map(|(n, _)| n), Ok(16_384));
        assert_eq!(size(1 << 30).map(|(n, _)| n), Ok(4096));
        assert!(matches!(size(64 << 20), Err(EngineError::OutOfMemory { .. })));
    }

    #[test]
    fn another_repeat_begins_only_while_most_of_it_fits() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert!(is_time_for_another(&[], start, Duration::ZERO));
        assert!(is_time_for_another(&[second], start, 2 * second));
        assert!(!is_time_for_another(&[5 * second], start, 2 * second));
    }
}
