//! Stand-ins for NVIDIA's driver libraries, for tests: the real CUDA engine runs whole sessions on a host without a GPU, with
//! faults put in.
//!
//! `c/cuda.c` stands for `libcuda.so.1` and computes the engine's kernels on the CPU, `c/nvml.c` for `libnvidia-ml.so.1`. Both
//! are told by environment variables what to do wrong; the heads of the files list them. Linux only: elsewhere libraries have
//! other names.

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

/// The libraries, and what each is compiled from.
const LIBRARIES: [(&str, &[&str]); 2] = [
    ("libcuda.so.1", &["cuda.c", "kernels.c"]),
    ("libnvidia-ml.so.1", &["nvml.c"]),
];

/// A folder with both stand-ins, to be first in `LD_LIBRARY_PATH` ([`library_path`]). Compiled once, beside the test's binary.
/// `None`, said visibly, where there is no C compiler; a failure where `CI=true`.
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
    // Several test binaries may be at it: each in a folder of its own, and the first to end gives it its name.
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

/// Compiles C sources of a folder to a library there, for this CPU. `None`, said visibly, where there is no C compiler; a failure
/// where `CI=true`, and where the sources do not compile.
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
            // Past the capture of a test's output: a skipped test is no passed test.
            let _ = writeln!(std::io::stderr(), "SKIPPED: no C compiler: {error}");
            None
        }
    }
}

/// `LD_LIBRARY_PATH` with a folder first, before what is there.
#[must_use]
pub fn library_path(folder: &Path) -> std::ffi::OsString {
    let now = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = [folder.to_owned()].into_iter().chain(env::split_paths(&now));
    env::join_paths(folders).expect("folders without a colon")
}
