//! An Attester and a Verifier in one process, joined by pipes.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use attester::{Attester, Device, Limits, ServeError, serve};
use ed25519_dalek::SigningKey;
use engine_cpu::CpuEngineConfig;
use engines::{CudaError, Wanted, cpu_devices, cuda_devices};
use protocol::bytes::{DeviceOrdinal, Identity};
use protocol::message::ResultMessage;
use protocol::plan::Iteration;
use verifier::preset::{Preset, default_assumptions};
use verifier::recompute::Recompute;
use verifier::{Attestation, Observer, Settings, attest};

/// Bytes of dataset that each device of [`cpu`] offers.
pub const DEVICE_BYTES: u64 = 4 << 20;

/// `count` CPU devices of [`DEVICE_BYTES`] each.
///
/// # Panics
///
/// If `count` is 0.
#[must_use]
pub fn cpu(count: usize) -> Vec<Device> {
    let count = NonZeroUsize::new(count).expect("at least one device");
    cpu_devices(count, 0, DEVICE_BYTES, CpuEngineConfig::default()).expect("the best path runs here")
}

/// `count` devices: GPUs if there are any, reused if there are fewer than `count`, otherwise emulated on the CPU, with a
/// message.
///
/// # Panics
///
/// If `count` is 0, if a GPU is present and fails, or if `GPU_ATTESTOR_REQUIRE_CUDA=1` requires one and there is none.
#[must_use]
pub fn devices(count: usize) -> Vec<Device> {
    let gpu = |index: u32| {
        cuda_devices(&Wanted {
            only: Some(vec![DeviceOrdinal(index)]),
            ..Wanted::default()
        })
    };
    let gpus = match cuda_devices(&Wanted::default()) {
        Ok(gpus) => gpus.len() as u32,
        Err(CudaError::NoCuda(why)) if std::env::var_os("GPU_ATTESTOR_REQUIRE_CUDA").is_none_or(|v| v != "1") => {
            // Not captured with the test's output: it must be visible that this did not run on a GPU.
            let _ = writeln!(io::stderr(), "on the CPU engine: {why}");
            return cpu(count);
        }
        Err(error) => panic!("{error}"),
    };
    (0..count as u32)
        .map(|ordinal| {
            let mut devices = gpu(ordinal % gpus).expect("the GPU was there a moment ago");
            let mut device = devices.remove(0);
            device.offer.ordinal = DeviceOrdinal(ordinal);
            device
        })
        .collect()
}

/// An Attester with these devices and a fixed key.
#[must_use]
pub fn attester(devices: Vec<Device>) -> Attester {
    Attester {
        software: "integration test".to_owned(),
        labels: Vec::new(),
        devices,
        key: SigningKey::from_bytes(&[0xA7; 32]),
        attestation: None,
        limits: Limits::default(),
    }
}

/// The request of a Verifier with a fixed key: a small session that takes about a second.
#[must_use]
pub fn settings() -> Settings {
    let key = SigningKey::from_bytes(&[0x5E; 32]);
    let mut request = Preset::Smoke.request(Identity(key.verifying_key().to_bytes()));
    request.device_bytes = Some(1 << 20);
    request.iterations = vec![
        Iteration::new(4096, 40),
        Iteration::new(192, 3),
        Iteration::new(4096, 2),
    ];
    request.audience = "tests".to_owned();
    Settings {
        request,
        assumptions: default_assumptions(20),
        narrowed_by: None,
        hello_deadline: Duration::from_secs(30),
        recompute: Recompute::default(),
        key,
    }
}

/// Runs one session in this process.
///
/// # Panics
///
/// If pipes or random bytes are unavailable.
pub fn run(
    attester: Attester,
    settings: &Settings,
    observer: &dyn Observer,
) -> (Attestation, Result<ResultMessage, ServeError>) {
    let (from_verifier, to_attester) = io::pipe().expect("a pipe");
    let (from_attester, to_verifier) = io::pipe().expect("a pipe");
    let served = thread::spawn(move || serve(attester, from_verifier, to_verifier));
    let attestation = attest(from_attester, to_attester, settings, observer).expect("a session");
    (attestation, served.join().expect("serving does not panic"))
}
