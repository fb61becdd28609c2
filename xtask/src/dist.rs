//! What is released: both commands for any Linux host, as archives and Debian packages, with an SBOM each and checksums.

mod architecture;
mod checksum;
mod crates;
mod elf;
mod notices;
mod package;
mod sbom;
mod shipped;
mod tree;
pub(crate) mod wheel;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::architecture::Architecture;
use self::checksum::hex_of_sha256;
use self::elf::GLIBC;
use self::shipped::{COMMANDS, Shipped};
use crate::tools::{self, run};

pub(crate) const USAGE: &str = "usage: cargo xtask dist [--target ARCH]... [--command NAME]... [--out FOLDER]

Builds gpu-attestor and gpu-validator for release, with zig as the linker, and packs each as .tar.gz, .deb, and an SBOM
(CycloneDX), with SHA256SUMS of all files in the folder. The binaries run with glibc 2.17 or later.

  --target ARCH  x86_64 or aarch64; may be repeated [default: both]
  --command NAME gpu-attestor or gpu-validator; may be repeated [default: both]
  --out FOLDER   where the files go; those of the same name are replaced [default: target/packages]

Files have the time SOURCE_DATE_EPOCH, or that of the last commit. Needs git, GNU tar, gzip, dpkg-deb, rustup, python3 with
venv and pip; and once crates.io, PyPI and Rust's targets: the tools go to target/tools (about 500 MB).";

struct Options {
    architectures: Vec<Architecture>,
    commands: Vec<&'static Shipped>,
    out: PathBuf,
}

impl Options {
    /// `None` if the usage was not followed.
    fn parse(repository: &Path, mut arguments: &[&str]) -> Option<Self> {
        let mut architectures = Vec::new();
        let mut commands = Vec::new();
        let mut out = tools::target_folder(repository).join("packages");
        while let [option, value, ref rest @ ..] = *arguments {
            match option {
                "--target" => architectures.push(Architecture::parse(value)?),
                "--command" => commands.push(COMMANDS.iter().find(|shipped| shipped.name == value)?),
                "--out" => out = repository.join(value),
                _ => return None,
            }
            arguments = rest;
        }
        if architectures.is_empty() {
            architectures = Architecture::ALL.to_vec();
        }
        if commands.is_empty() {
            commands = COMMANDS.iter().collect();
        }
        arguments.is_empty().then_some(Options {
            architectures,
            commands,
            out,
        })
    }
}

/// Builds what is released; `None` if the usage was not followed.
pub(crate) fn build(repository: &Path, arguments: &[&str]) -> Option<Result<()>> {
    let options = Options::parse(repository, arguments)?;
    Some(build_all(repository, &options))
}

fn build_all(repository: &Path, options: &Options) -> Result<()> {
    let host = Architecture::parse(env::consts::ARCH)
        .with_context(|| format!("expected a host of x86_64 or aarch64, this is {}", env::consts::ARCH))?;
    let epoch = epoch(repository)?;
    fs::create_dir_all(&options.out).with_context(|| options.out.display().to_string())?;
    let scratch = tools::target_folder(repository).join("dist-trees");

    let mut rows = Vec::new();
    for &shipped in &options.commands {
        // Pages and completions are the same for every architecture. They come from a binary that runs here, which is built for
        // this even if it is not asked for.
        let generator = compile(repository, shipped, host)?;
        for &architecture in &options.architectures {
            let binary = compile(repository, shipped, architecture)?;
            elf::check(&binary, architecture, GLIBC).with_context(|| binary.display().to_string())?;
            let notices = notices::of(repository, &[shipped], architecture)?;
            let tree = tree::Tree {
                repository,
                shipped,
                binary: &binary,
                generator: &generator,
                notices: &notices,
            };
            let release = package::Release {
                shipped,
                architecture,
                epoch,
                out: &options.out,
                scratch: &scratch,
            };
            let archive = release.archive(&tree)?;
            let deb = release.deb(&tree)?;
            let sbom = release.out.join(format!("{}.cdx.json", release.base_name()));
            sbom::write(repository, shipped, architecture, &binary, &sbom)?;
            let sizes = [&binary, &archive, &deb].map(|file| fs::metadata(file).map(|metadata| metadata.len()));
            rows.push((shipped.name, architecture.name(), sizes));
        }
    }
    write_sums(&options.out)?;

    println!(
        "{:<14} {:<8} {:>10} {:>10} {:>10}",
        "bytes of", "", "binary", ".tar.gz", ".deb"
    );
    for (name, architecture, sizes) in rows {
        let [binary, archive, deb] =
            sizes.map(|size| size.map_or_else(|error| error.to_string(), |size| size.to_string()));
        println!("{name:<14} {architecture:<8} {binary:>10} {archive:>10} {deb:>10}");
    }
    println!("files and their SHA256SUMS are in {}", options.out.display());
    Ok(())
}

/// Builds one command and returns its binary.
///
/// Alone: built together, a command would get the features that only the other one asks for.
fn compile(repository: &Path, shipped: &Shipped, architecture: Architecture) -> Result<PathBuf> {
    let triple = architecture.triple();
    tools::rust_target(repository, &triple)?;
    run(build_flags(tools::zigbuild(repository)?, repository)?
        .args(["--profile", "dist", "--locked", "--package", shipped.name, "--target"])
        .arg(format!("{triple}.{GLIBC}")))?;
    let built = tools::target_folder(repository)
        .join(triple)
        .join("dist")
        .join(shipped.name);
    ensure!(built.exists(), "no {} after its build", built.display());
    Ok(built)
}

/// A build whose bytes do not depend on the folders of whoever builds.
fn build_flags(mut command: Command, repository: &Path) -> Result<Command> {
    command
        .env("RUSTFLAGS", remapped(repository)?)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_INCREMENTAL", "0");
    Ok(command)
}

fn remapped(repository: &Path) -> Result<String> {
    let cargo = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
        .context("neither CARGO_HOME nor a home folder is known")?;
    let mut flags = String::new();
    for (from, to) in [(repository, "/src"), (&cargo, "/cargo")] {
        let from = from.to_str().filter(|path| !path.contains(char::is_whitespace));
        let from = from.context("the repository and CARGO_HOME must have paths without spaces, in UTF-8")?;
        write!(flags, "--remap-path-prefix={from}={to} ")?;
    }
    Ok(flags)
}

/// The time of all files: seconds since 1970.
fn epoch(repository: &Path) -> Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => {
            let output = Command::new("git")
                .current_dir(repository)
                .args(["log", "-1", "--format=%ct"])
                .output()
                .context("git")?;
            ensure!(
                output.status.success(),
                "git knows no last commit here; set SOURCE_DATE_EPOCH to the seconds since 1970 that files shall have"
            );
            String::from_utf8(output.stdout)?
        }
    };
    match text.trim().parse() {
        Ok(seconds) => Ok(seconds),
        Err(_) => bail!("SOURCE_DATE_EPOCH: expected seconds since 1970, got {text:?}"),
    }
}

/// Writes SHA256SUMS of all files in a folder.
fn write_sums(folder: &Path) -> Result<()> {
    let sums = folder.join("SHA256SUMS");
    fs::write(&sums, checksums(folder)?).with_context(|| sums.display().to_string())
}

/// Of the files in a folder, as lines that `sha256sum --check` reads, in the order of names.
///
/// Not only of those just made: a release may be built in several runs.
fn checksums(folder: &Path) -> Result<String> {
    let mut lines = Vec::new();
    for file in tree::files(folder)? {
        let name = file.strip_prefix(folder)?.display().to_string();
        if name != "SHA256SUMS" {
            let sum = hex_of_sha256(&fs::read(&file).with_context(|| file.display().to_string())?);
            lines.push(format!("{sum}  {name}\n"));
        }
    }
    Ok(lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed_or_refused() {
        let parse = |arguments: &[&str]| Options::parse(Path::new("/r"), arguments);
        let both = parse(&[]).expect("no option is needed");
        assert!(both.architectures == Architecture::ALL);
        let one = parse(&["--target", "aarch64", "--out", "o"]).expect("both options");
        assert!(one.architectures == [Architecture::Aarch64]);
        assert_eq!(one.out, Path::new("/r/o"));
        assert_eq!(one.commands.len(), COMMANDS.len());
        let command = parse(&["--command", "gpu-validator"]).expect("a command that is released");
        assert!(matches!(command.commands[..], [only] if only.name == "gpu-validator"));
        for wrong in [
            &["--target"][..],
            &["--target", "mips"],
            &["--command", "xtask"],
            &["--help"],
            &["x86_64"],
            &["--out", "o", "x"],
        ] {
            assert!(parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
