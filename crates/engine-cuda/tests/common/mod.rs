//! Shared by tests on a GPU: whether there is one, and engines on each path.

#![allow(dead_code, reason = "no test needs all of it")]

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conformance::{Losable, Subject};
use engine_cuda::{CudaEngine, CudaEngineConfig, FillPath, SweepPath};
use protocol::engine::{Assignment, Engine};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Device 0 for the duration of a test. If there is none: `None`, with a visible message, or a failure if
/// `GPU_ATTESTOR_REQUIRE_CUDA=1` requires one. Tests run one after the other: sizes and times assume an otherwise idle
/// device.
pub(crate) fn gpu(test: &str) -> Option<MutexGuard<'static, ()>> {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    bring_back();
    match CudaEngine::new(CudaEngineConfig::new(0)) {
        Ok(_) => Some(turn),
        Err(error) if std::env::var("GPU_ATTESTOR_REQUIRE_CUDA").is_ok_and(|value| value == "1") => {
            panic!("{test}: GPU_ATTESTOR_REQUIRE_CUDA=1, but {error}")
        }
        Err(error) => {
            // Not captured with the test's output: a skipped test must be visible.
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {error}");
            None
        }
    }
}

/// A fill path, a sweep path, and whether the driver compiles the code.
pub(crate) type Paths = (FillPath, SweepPath, bool);

/// Every combination that device 0 supports; each fill and each sweep is in at least one.
pub(crate) fn paths() -> Vec<Paths> {
    let all = [
        (FillPath::Sm90a, SweepPath::Bulk, false),
        (FillPath::Mma, SweepPath::Bulk, false),
        (FillPath::Mma, SweepPath::Load, false),
        (FillPath::Dp4a, SweepPath::Load, false),
        (FillPath::Mma, SweepPath::Load, true),
        (FillPath::Dp4a, SweepPath::Load, true),
    ];
    all.into_iter()
        .filter(|paths| match CudaEngine::new(config(*paths)) {
            Ok(_) => true,
            Err(error) => {
                eprintln!("SKIPPED {paths:?}: {error}");
                false
            }
        })
        .collect()
}

pub(crate) fn config((fill_path, sweep_path, portable_images): Paths) -> CudaEngineConfig {
    CudaEngineConfig {
        fill_path: Some(fill_path),
        sweep_path: Some(sweep_path),
        portable_images,
        ..CudaEngineConfig::new(0)
    }
}

/// An engine on these paths of device 0.
pub(crate) fn engine(paths: Paths) -> CudaEngine {
    CudaEngine::new(config(paths)).expect("the path was available a moment ago")
}

/// Engines on these paths of device 0, for the suite.
pub(crate) struct OnPaths(pub(crate) Paths);

impl fmt::Display for OnPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Subject for OnPaths {
    fn engine(&self, memory_limit_bytes: Option<u64>) -> Box<dyn Engine> {
        let config = CudaEngineConfig {
            memory_limit_bytes,
            ..config(self.0)
        };
        Box::new(CudaEngine::new(config).expect("the path was available a moment ago"))
    }

    fn required_bytes(&self, assignment: &Assignment) -> u64 {
        engine(self.0).required_bytes(assignment)
    }

    fn losable(&self) -> Result<Losable<dyn Engine>, &'static str> {
        losable(|| self.engine(None))
    }
}

/// The file that marks the device as lost while it exists; a real GPU has none.
fn loss() -> Option<PathBuf> {
    std::env::var_os("FC_LOST").map(PathBuf::from)
}

/// Something created on a device that can be marked as lost: an emulated one.
pub(crate) fn losable<E: ?Sized>(make: impl FnOnce() -> Box<E>) -> Result<Losable<E>, &'static str> {
    let file = loss().ok_or("a test cannot take a real GPU away")?;
    bring_back();
    Ok(Losable {
        engine: make(),
        lose: Arc::new(move || fs::write(&file, "").expect("a file")),
        patience: Duration::from_secs(120),
    })
}

/// Restores the device, if it was lost.
fn bring_back() {
    if let Some(file) = loss().filter(|file| file.exists()) {
        fs::remove_file(file).expect("the file goes");
    }
}

/// Runs tests of this binary again in a process with an emulated GPU of that compute capability. `arguments` are the
/// test binary's own: which tests to run.
#[cfg(target_os = "linux")]
pub(crate) fn again_on_a_fake_gpu(compute_capability: &str, arguments: &[&str]) {
    again_on_fake_gpus(&[("FC_CC", compute_capability)], arguments);
}

/// The same with emulated GPUs that this environment describes.
#[cfg(target_os = "linux")]
pub(crate) fn again_on_fake_gpus(environment: &[(&str, &str)], arguments: &[&str]) {
    // On a host with a GPU, its own tests are run instead.
    if std::env::var("GPU_ATTESTOR_REQUIRE_CUDA").is_ok_and(|value| value == "1") {
        let _ = writeln!(std::io::stderr(), "SKIPPED on a fake GPU: a real one is required");
        return;
    }
    let Some(folder) = fake_driver::folder() else {
        return;
    };
    let place = tempfile::tempdir().expect("a folder");
    let output = std::process::Command::new(std::env::current_exe().expect("a test has a binary"))
        .args(["--skip", "on_a_fake"])
        .args(arguments)
        .env("LD_LIBRARY_PATH", fake_driver::library_path(folder))
        .env("GPU_ATTESTOR_REQUIRE_CUDA", "1")
        .envs(environment.iter().copied())
        .env("FC_LOST", place.path().join("lost"))
        .env("FC_MEM", (3_u64 << 30).to_string())
        .output()
        .expect("the test runs");
    let told = String::from_utf8_lossy(&output.stdout);
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{warned}");
    assert!(!told.contains(" 0 passed"), "nothing was run: {told}");
}
