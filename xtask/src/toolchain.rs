//! The pinned kernel compiler, from PyPI into `.kern`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

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
    if let Some(folder) = installed(&environment) {
        return Ok(folder);
    }
    eprintln!("installing NVRTC {NVRTC_VERSION} into {}", environment.display());
    run(Command::new("python3").arg("-m").arg("venv").arg(&environment))?;
    run(Command::new(environment.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary=:all:", "--require-hashes", "-r"])
        .arg(repository.join("xtask/kernel-compiler.txt")))?;
    installed(&environment).with_context(|| format!("no {LIBRARY_FOLDER} in {}", environment.display()))
}

/// The library folder of an environment whose wheel has the pinned version.
fn installed(environment: &Path) -> Option<PathBuf> {
    let pythons = environment.join("lib").read_dir().ok()?;
    pythons
        .filter_map(|python| Some(python.ok()?.path().join("site-packages")))
        .find(|packages| {
            let wheel = format!("nvidia_cuda_nvrtc_cu12-{NVRTC_VERSION}.dist-info/RECORD");
            packages.join(wheel).exists() && packages.join(LIBRARY_FOLDER).exists()
        })
        .map(|packages| packages.join(LIBRARY_FOLDER))
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
