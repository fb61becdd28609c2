//! Compiles every kernel for every architecture into `crates/engine-cuda/images`, with a manifest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::nvrtc::{Nvrtc, Output};
use crate::toolchain::{NVRTC_VERSION, nvrtc_folder};

/// An architecture: its NVRTC name, the kind of output, and the sources compiled for it.
struct Target {
    architecture: &'static str,
    output: Output,
    kernels: &'static [&'static str],
}

/// The sources for every chip with `mma.sync`.
const TENSOR_CORES: &[&str] = &[
    "keystream",
    "key",
    "sweep",
    "cross",
    "commit",
    "address_order",
    "fill_mma",
    "fill_dp4a",
];

const TARGETS: [Target; 8] = [
    cubin("sm_80", TENSOR_CORES),
    cubin("sm_86", TENSOR_CORES),
    cubin("sm_89", TENSOR_CORES),
    cubin(
        "sm_90a",
        &[
            "keystream",
            "key",
            "sweep",
            "cross",
            "commit",
            "address_order",
            "fill_sm90a",
            "fill_mma",
            "fill_dp4a",
        ],
    ),
    // sm_100, not sm_100a: no kernel uses the features specific to sm_100a, and sm_100 also runs on 10.3.
    cubin("sm_100", TENSOR_CORES),
    cubin("sm_120", TENSOR_CORES),
    // For chips without machine code above; compiled by the driver.
    ptx(
        "compute_75",
        &[
            "keystream",
            "key",
            "sweep",
            "cross",
            "commit",
            "address_order",
            "fill_dp4a",
        ],
    ),
    ptx("compute_80", &["fill_mma"]),
];

const fn cubin(architecture: &'static str, kernels: &'static [&'static str]) -> Target {
    Target {
        architecture,
        output: Output::Cubin,
        kernels,
    }
}

const fn ptx(architecture: &'static str, kernels: &'static [&'static str]) -> Target {
    Target {
        architecture,
        output: Output::Ptx,
        kernels,
    }
}

/// Options of every compilation, in addition to the architecture and the include folders.
const OPTIONS: [&str; 2] = ["--std=c++17", "--ptxas-options=-v"];

/// Bytes that a kernel may spill on sm_120: sweep_bulk has 96 registers a thread there and needs a few more.
const SPILLED_BYTES_SM_120: u32 = 28;

const MANIFEST: &str = "MANIFEST";

/// Images by file name, including the manifest.
type Images = BTreeMap<String, Vec<u8>>;

/// Writes all images and removes obsolete ones.
///
/// # Errors
///
/// If the compiler is not available or rejects a kernel, or a file cannot be written.
pub(crate) fn build(repository: &Path) -> Result<()> {
    let images = compile_all(repository)?;
    let folder = repository.join("crates/engine-cuda/images");
    fs::create_dir_all(&folder)?;
    for (name, bytes) in &images {
        fs::write(folder.join(name), bytes).with_context(|| name.clone())?;
    }
    for name in committed(&folder)?.into_keys() {
        if !images.contains_key(&name) {
            fs::remove_file(folder.join(&name)).with_context(|| name.clone())?;
        }
    }
    println!("{} images in {}", images.len() - 1, folder.display());
    Ok(())
}

/// Compiles all images and compares them with the existing files.
///
/// # Errors
///
/// As [`build`]; and the names of all files that differ, are missing or are left over.
pub(crate) fn check(repository: &Path) -> Result<()> {
    let images = compile_all(repository)?;
    let committed = committed(&repository.join("crates/engine-cuda/images"))?;
    let mut faults = Vec::new();
    for (name, bytes) in &images {
        match committed.get(name) {
            None => faults.push(format!("{name} is missing")),
            Some(there) if there != bytes => faults.push(format!("{name} differs from what its source compiles to")),
            Some(_) => {}
        }
    }
    faults.extend(
        committed
            .keys()
            .filter(|name| !images.contains_key(*name))
            .map(|name| format!("{name} has no source")),
    );
    if !faults.is_empty() {
        bail!("{}; run `cargo xtask kernels`", faults.join(", "));
    }
    println!("{} images are what their sources compile to", images.len() - 1);
    Ok(())
}

fn committed(folder: &Path) -> Result<Images> {
    let entries = folder.read_dir().with_context(|| folder.display().to_string())?;
    entries
        .map(|entry| {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((name, fs::read(entry.path())?))
        })
        .collect()
}

fn compile_all(repository: &Path) -> Result<Images> {
    let nvrtc = Nvrtc::load(&nvrtc_folder(repository)?)?;
    let folder = repository.join("crates/engine-cuda/kernels");
    let mut images = Images::new();
    let mut manifest = format!(
        "# Made by `cargo xtask kernels`: SHA-256, file.\n# NVRTC {NVRTC_VERSION}; options: {} --gpu-architecture=(of the file's name)\n",
        OPTIONS.join(" ")
    );
    for target in &TARGETS {
        for kernel in target.kernels {
            let (name, image) = compile(&nvrtc, &folder, target, kernel)?;
            images.insert(name, image);
        }
    }
    for (name, image) in &images {
        for byte in Sha256::digest(image) {
            write!(manifest, "{byte:02x}")?;
        }
        writeln!(manifest, "  {name}")?;
    }
    images.insert(MANIFEST.to_owned(), manifest.into_bytes());
    Ok(images)
}

fn compile(nvrtc: &Nvrtc, folder: &Path, target: &Target, kernel: &str) -> Result<(String, Vec<u8>)> {
    let Target {
        architecture, output, ..
    } = target;
    let source_name = format!("{kernel}.cu");
    let source = fs::read_to_string(folder.join(&source_name)).with_context(|| source_name.clone())?;
    let mut options = vec![
        format!("--gpu-architecture={architecture}"),
        format!("--include-path={}", folder.display()),
        format!("--include-path={}", folder.join("nvrtc").display()),
    ];
    options.extend(OPTIONS.map(str::to_owned));
    let what = format!("{kernel} for {architecture}");
    let (image, log) = nvrtc
        .compile(&source_name, &source, &options, *output)
        .with_context(|| what.clone())?;
    ensure!(!log.contains("warning") && !log.contains("C7515"), "{what}:\n{log}");
    let most = if *architecture == "sm_120" {
        SPILLED_BYTES_SM_120
    } else {
        0
    };
    let spilled = spilled_bytes(&log);
    ensure!(
        spilled <= most,
        "{what} spills {spilled} bytes, at most {most} accepted:\n{log}"
    );
    let extension = if *output == Output::Cubin { "cubin" } else { "ptx" };
    Ok((format!("{kernel}.{architecture}.{extension}"), image))
}

/// Most bytes that one kernel of a compilation stores to spill registers, as the assembler's log says.
fn spilled_bytes(log: &str) -> u32 {
    log.lines()
        .filter_map(|line| {
            line.split_once(" bytes spill stores")?
                .0
                .rsplit(' ')
                .next()?
                .parse()
                .ok()
        })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spills_are_read_from_the_log() {
        let log = "ptxas . 24 bytes stack frame, 28 bytes spill stores, 30 bytes spill loads\n\
                   ptxas . 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n";
        assert_eq!(spilled_bytes(log), 28);
        assert_eq!(spilled_bytes("nothing"), 0);
    }
}
