//! The cost of checking the evidence of a session, by part: one opening, everything except the tiles, the tiles,
//! everything. Also the cost of a commitment for the Attester.
//!
//! The session is one of the CPU engine with 32 MiB, two distinct k and 1024 samples each: its tiles are like those of a
//! GPU, but B has fewer column blocks and the paths are shorter.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use integration_tests::{attester, run, settings};
use protocol::commitment::Commitment;
use protocol::evidence::Evidence;
use protocol::plan::Iteration;
use verifier::outcome::Judge;
use verifier::recompute::{Recompute, Unwatched};
use verifier::{Unobserved, verify};

/// Leaves of a fill of 128 GiB.
const LEAVES: u64 = 1 << 21;

/// The work of an Attester's host in parallel with every sweep of 128 GiB.
fn commitment(c: &mut Criterion) {
    let leaves: Vec<u64> = (0..LEAVES / 2).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    c.bench_function("root of 2^20 leaves", |b| {
        b.iter_batched(
            || Commitment::new(leaves.clone()),
            |commitment| commitment.root(),
            BatchSize::LargeInput,
        )
    });
}

fn opening(c: &mut Criterion) {
    let commitment = Commitment::new((0..LEAVES).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect());
    let (root, leaf) = (commitment.root(), 1_234_567);
    let opening = commitment.open(leaf).expect("the leaf exists");
    c.bench_function("opening of a leaf of 2^21", |b| {
        b.iter(|| black_box(&opening).verify(&root, leaf, LEAVES))
    });
}

fn session(c: &mut Criterion) {
    let mut settings = settings();
    settings.request.device_bytes = Some(32 << 20);
    settings.request.samples = 1024;
    settings.request.iterations = [(16_384, 8), (2048, 4)]
        .map(|(inner_dim, sweeps)| Iteration::new(inner_dim, sweeps))
        .to_vec();
    let devices = engines::cpu_devices(
        std::num::NonZeroUsize::MIN,
        0,
        32 << 20,
        engine_cpu::CpuEngineConfig::default(),
    );
    let (attestation, _) = run(
        attester(devices.expect("the best path runs here")),
        &settings,
        &Unobserved,
    );
    let sealed = attestation.sealed;
    let evidence = Evidence::open(&sealed).expect("evidence");
    let session = evidence.replay().expect("evidence");
    let checks = session.tile_checks();
    let recompute = Recompute::default();
    let mut group = c.benchmark_group(format!(
        "evidence of {} samples, {} threads, {}",
        checks.len(),
        recompute.threads,
        recompute.path
    ));
    group.throughput(Throughput::Elements(checks.len() as u64));
    group.bench_function("all but tiles", |b| {
        b.iter(|| Evidence::open(&sealed).map(|evidence| evidence.replay().is_ok()))
    });
    group.bench_function("tiles", |b| b.iter(|| recompute.run(checks, &Unwatched)));
    group.bench_function("everything", |b| {
        b.iter(|| verify(&sealed, &recompute, &Judge::of_nobody(), &Unobserved).is_ok())
    });
    group.finish();
}

fn main() {
    let mut c = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(5))
        .without_plots()
        .configure_from_args();
    commitment(&mut c);
    opening(&mut c);
    session(&mut c);
    c.final_summary();
}
