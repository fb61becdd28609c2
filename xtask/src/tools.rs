//! Pinned tools, installed where they are missing: packages of PyPI by hash, commands of crates.io by version, Rust's targets.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Links against the symbols of any glibc since 2.17, for any architecture, without that architecture's own compiler.
const ZIGBUILD: (&str, &str) = ("cargo-zigbuild", "0.24.1");

/// Cargo's target folder.
pub(crate) fn target_folder(repository: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), |folder| repository.join(folder))
}

/// A Python environment with the packages of a requirements file and no others. Installed again if the file changes.
///
/// # Errors
///
/// If python3, venv, pip or PyPI fail, or a package does not have its hash.
pub(crate) fn python_packages(environment: &Path, requirements: &Path) -> Result<()> {
    let wanted = fs::read(requirements).with_context(|| requirements.display().to_string())?;
    // Written last: an installation that was cut off has none.
    let installed = environment.join("installed.txt");
    if fs::read(&installed).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    eprintln!("installing {} into {}", requirements.display(), environment.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(environment))?;
    run(Command::new(environment.join("bin/python3"))
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary=:all:", "--require-hashes", "-r"])
        .arg(requirements))?;
    fs::write(&installed, wanted).with_context(|| installed.display().to_string())
}

/// The file of a command of crates.io, in exactly this version.
///
/// # Errors
///
/// If crates.io cannot be reached or the command does not compile.
pub(crate) fn cargo_command(repository: &Path, (name, version): (&str, &str)) -> Result<PathBuf> {
    let tools = target_folder(repository).join("tools");
    let command = tools.join("bin").join(name);
    // Cargo's own list: to ask cargo itself would need a network.
    let installed = fs::read_to_string(tools.join(".crates.toml")).unwrap_or_default();
    if !(installed.contains(&format!("\"{name} {version} (")) && command.exists()) {
        run(Command::new("cargo")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS")
            .args(["install", "--quiet", "--locked", "--root"])
            .arg(&tools)
            .arg(format!("{name}@{version}")))?;
    }
    Ok(command)
}

/// The Python that has zig as its package `ziglang`.
///
/// # Errors
///
/// As [`python_packages`].
pub(crate) fn zig(repository: &Path) -> Result<PathBuf> {
    let environment = target_folder(repository).join("tools/zig");
    python_packages(&environment, &repository.join("xtask/zig.txt"))?;
    Ok(environment.join("bin/python3"))
}

/// `cargo zigbuild`: takes the arguments of `cargo build`, and after a target the glibc to link against.
///
/// # Errors
///
/// If a tool cannot be installed.
pub(crate) fn zigbuild(repository: &Path) -> Result<Command> {
    let mut command = Command::new(cargo_command(repository, ZIGBUILD)?);
    command.current_dir(repository).arg("zigbuild");
    with_zig(repository, &mut command)?;
    Ok(command)
}

/// maturin, which packs wheels: it links with zig where it is asked to.
///
/// # Errors
///
/// If a tool cannot be installed.
pub(crate) fn maturin(repository: &Path) -> Result<Command> {
    let environment = target_folder(repository).join("tools/maturin");
    python_packages(&environment, &repository.join("xtask/maturin.txt"))?;
    let mut command = Command::new(environment.join("bin/maturin"));
    command.current_dir(repository.join("python"));
    with_zig(repository, &mut command)?;
    Ok(command)
}

/// Where cargo-zigbuild, as a command or as a part of maturin, finds zig.
fn with_zig(repository: &Path, command: &mut Command) -> Result<()> {
    // Below the target folder too, instead of the home folder.
    let cache = target_folder(repository).join("tools/cache");
    command
        .env("CARGO_ZIGBUILD_PYTHON_PATH", zig(repository)?)
        .env("CARGO_ZIGBUILD_CACHE_DIR", cache.join("zigbuild"))
        .env("ZIG_GLOBAL_CACHE_DIR", cache.join("zig"));
    Ok(())
}

/// Rust's standard library for a target.
///
/// # Errors
///
/// If rustup does not have it and cannot fetch it.
pub(crate) fn rust_target(repository: &Path, triple: &str) -> Result<()> {
    run(Command::new("rustup")
        .current_dir(repository)
        .args(["--quiet", "target", "add", triple]))
}

/// Runs a command, which must succeed.
///
/// # Errors
///
/// The command and how it ended.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
