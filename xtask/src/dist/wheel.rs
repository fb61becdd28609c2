//! The wheel for Python: the module and both commands, for any glibc since 2.17.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::architecture::Architecture;
use super::elf::{self, GLIBC};
use super::shipped::{COMMANDS, Shipped};
use super::{Options, build_flags, compile, notices, sbom, write_sums};
use crate::tools::{self, run};

pub(crate) const USAGE: &str = "usage: cargo xtask wheel [--target ARCH]... [--out FOLDER]

Builds the wheel of the Python package gpu-attestor: its module, and both commands as `cargo xtask dist` builds them, with
their SBOMs. It needs glibc 2.17 and CPython 3.10, or later ones. SHA256SUMS is written again for all files in the folder.

  --target ARCH  x86_64 or aarch64; may be repeated [default: both]
  --out FOLDER   where the files go; those of the same name are replaced [default: target/packages]

Needs what `cargo xtask dist` needs.";

/// The crate of the module.
const MODULE: Shipped = Shipped {
    name: "python",
    summary: "the native part of the Python package",
    units: &[],
};

/// Builds wheels; `None` if the usage was not followed.
pub(crate) fn build(repository: &Path, arguments: &[&str]) -> Option<Result<()>> {
    // A wheel has both commands.
    let options = Options::parse(repository, arguments).filter(|_| !arguments.contains(&"--command"))?;
    Some(build_all(repository, &options))
}

fn build_all(repository: &Path, options: &Options) -> Result<()> {
    fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    for &architecture in &options.architectures {
        let wheel = pack(repository, architecture, &options.out)?;
        let bytes = fs::metadata(&wheel).map_or(0, |metadata| metadata.len());
        println!("{} ({bytes} bytes)", wheel.display());
    }
    write_sums(&options.out)
}

/// Builds the wheel of an architecture and returns its file.
fn pack(repository: &Path, architecture: Architecture, out: &Path) -> Result<PathBuf> {
    // As pip finds commands in a wheel; maturin takes them from here.
    let scripts = repository.join("python/gpu_attestor.data/scripts");
    fs::create_dir_all(&scripts).with_context(|| scripts.display().to_string())?;
    let target = tools::target_folder(repository).join("wheel");
    let sboms = target.join("sbom").join(architecture.name());
    fs::create_dir_all(&sboms).with_context(|| sboms.display().to_string())?;
    let mut included = Vec::new();
    for shipped in &COMMANDS {
        let binary = compile(repository, shipped, architecture)?;
        elf::check(&binary, architecture, GLIBC).with_context(|| binary.display().to_string())?;
        let script = scripts.join(shipped.name);
        fs::copy(&binary, &script).with_context(|| script.display().to_string())?;
        let file = sboms.join(format!("{}.cdx.json", shipped.name));
        sbom::write(repository, shipped, architecture, &binary, &file)?;
        included.push(file);
    }
    // Beside the module, as maturin packs what lies there.
    let notices = notices::of(repository, &[&COMMANDS[0], &COMMANDS[1], &MODULE], architecture)?;
    let file = repository.join("python/src/gpu_attestor").join(notices::FILE);
    fs::write(&file, notices).with_context(|| file.display().to_string())?;
    let maturin = || -> Result<Command> {
        let mut maturin = build_flags(tools::maturin(repository)?, repository)?;
        maturin
            // Of its own: maturin builds otherwise than cargo-zigbuild, and each would make the other start again.
            .env("CARGO_TARGET_DIR", &target)
            .args(["build", "--zig", "--profile", "dist"])
            .args(["--compatibility", "manylinux2014", "--target"])
            .arg(architecture.triple())
            .arg("--out")
            .arg(out);
        Ok(maturin)
    };
    // Twice: the wheel has the SBOM of the module that the first run builds.
    run(&mut maturin()?)?;
    let module = target.join(architecture.triple()).join("dist/lib_native.so");
    elf::check(&module, architecture, GLIBC).with_context(|| module.display().to_string())?;
    let file = sboms.join("gpu_attestor-module.cdx.json");
    sbom::write(repository, &MODULE, architecture, &module, &file)?;
    included.push(file);
    let mut maturin = maturin()?;
    for file in &included {
        maturin.arg("--sbom-include").arg(file);
    }
    run(&mut maturin)?;
    let tag = format!("cp310-abi3-manylinux2014_{0}.manylinux_2_17_{0}", architecture.name());
    let wheel = out.join(format!("gpu_attestor-{}-{tag}.whl", env!("CARGO_PKG_VERSION")));
    ensure!(wheel.exists(), "maturin wrote no {}", wheel.display());
    Ok(wheel)
}
