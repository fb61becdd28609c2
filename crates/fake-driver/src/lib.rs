//! Substitutes for NVIDIA's driver libraries, for tests: the real CUDA engine runs whole sessions on a host without a
//! GPU, with injected faults.
//!
//! `c/cuda.c` replaces `libcuda.so.1` and computes the engine's kernels on the CPU, `c/nvml.c` replaces
//! `libnvidia-ml.so.1`. Environment variables select the faults; the heads of the files list them. Linux only:
//! elsewhere libraries have other names.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::OnceLock;

/// File name and text of each source.
const SOURCES: [(&str, &str); 5] = [
    ("fault.h", include_str!("../c/fault.h")),
    ("kernels.h", include_str!("../c/kernels.h")),
    ("kernels.c", include_str!("../c/kernels.c")),
    ("cuda.c", include_str!("../c/cuda.c")),
    ("nvml.c", include_str!("../c/nvml.c")),
];

/// The libraries, and the sources that each is compiled from.
const LIBRARIES: [(&str, &[&str]); 2] = [
    ("libcuda.so.1", &["cuda.c", "kernels.c"]),
    ("libnvidia-ml.so.1", &["nvml.c"]),
];

/// A folder with both substitutes, to be first in `LD_LIBRARY_PATH` ([`library_path`]). Compiled once, next to the
/// test's binary. Without a C compiler: `None` with a visible message, or a failure if `CI=true`.
#[must_use]
pub fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(compiled).as_deref()
}

fn compiled() -> Option<PathBuf> {
    let mut hasher = DefaultHasher::new();
    (SOURCES, LIBRARIES).hash(&mut hasher);
    let test = env::current_exe().expect("a test has a binary");
    let made = test.with_file_name(format!("fake-driver-{:016x}", hasher.finish()));
    if made.is_dir() {
        return Some(made);
    }
    // Several test binaries may do this concurrently: each uses its own folder, and the first to finish renames it.
    let own = made.with_extension(process::id().to_string());
    fs::create_dir_all(&own).expect("a folder beside the test");
    for (name, text) in SOURCES {
        fs::write(own.join(name), text).expect("a source");
    }
    for (library, sources) in LIBRARIES {
        compile(&own, library, sources)?;
    }
    if fs::rename(&own, &made).is_err() {
        assert!(made.is_dir(), "expected {}", made.display());
        fs::remove_dir_all(&own).expect("the folder goes");
    }
    Some(made)
}

/// Compiles C sources of a folder to a library there, for this CPU. Without a C compiler: `None` with a visible
/// message, or a failure if `CI=true`. Sources that do not compile are a failure.
#[must_use]
pub fn compile(folder: &Path, library: &str, sources: &[&str]) -> Option<()> {
    let compiled = Command::new("cc")
        .args(["-O3", "-march=native", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .args(["-shared", "-fPIC", "-o", library])
        .args(sources)
        .current_dir(folder)
        .output();
    match compiled {
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{library}: {told}");
            Some(())
        }
        Err(error) if env::var("CI").is_ok_and(|value| value == "true") => {
            panic!("CI=true, but no C compiler: {error}")
        }
        Err(error) => {
            // Not captured with the test's output: a skipped test must be visible.
            let _ = writeln!(std::io::stderr(), "SKIPPED: no C compiler: {error}");
            None
        }
    }
}

/// `LD_LIBRARY_PATH` with a folder put before its present value.
#[must_use]
pub fn library_path(folder: &Path) -> std::ffi::OsString {
    let now = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = [folder.to_owned()].into_iter().chain(env::split_paths(&now));
    env::join_paths(folders).expect("folders without a colon")
}
