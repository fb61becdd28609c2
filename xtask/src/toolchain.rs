//! The pinned kernel compiler, from PyPI into `.kern`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::tools;

/// Version of the wheel and of the compiler in it; images of 12.9 load on drivers of CUDA 12.x too.
pub(crate) const NVRTC_VERSION: &str = "12.9.86";

const LIBRARY_FOLDER: &str = "nvidia/cuda_nvrtc/lib";

/// The folder that contains `libnvrtc.so.12`, installed first if missing.
///
/// # Errors
///
/// If python3, venv, pip or PyPI fail, or the wheel is not the pinned one.
pub(crate) fn nvrtc_folder(repository: &Path) -> Result<PathBuf> {
    let environment = repository.join(".kern");
    tools::python_packages(&environment, &repository.join("xtask/kernel-compiler.txt"))?;
    let wheel = format!("nvidia_cuda_nvrtc_cu12-{NVRTC_VERSION}.dist-info/RECORD");
    let mut pythons = environment.join("lib").read_dir()?;
    pythons
        .find_map(|python| {
            let packages = python.ok()?.path().join("site-packages");
            let folder = packages.join(LIBRARY_FOLDER);
            (packages.join(&wheel).exists() && folder.exists()).then_some(folder)
        })
        .with_context(|| format!("no NVRTC {NVRTC_VERSION} in {}", environment.display()))
}
