//! The `gpu-attestor` that goes to a host: found by the architecture that it is built for.

use std::env;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// An architecture that `gpu-attestor` is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64,
    Aarch64,
}

impl Architecture {
    /// That of a host, from what `uname -sm` prints there; `None` if there is no `gpu-attestor` for it.
    ///
    /// The host can print anything. It then gets a program that it cannot run, or runs another: nothing depends on it, the
    /// session shows what the host can do.
    pub(super) fn of_host(uname: &str) -> Option<Self> {
        match uname {
            "Linux x86_64" | "Linux amd64" => Some(Architecture::X86_64),
            "Linux aarch64" | "Linux arm64" => Some(Architecture::Aarch64),
            _ => None,
        }
    }

    /// That of a program, from the header of its file (ELF, 64 bits, little endian); `None` if it is another kind of file.
    fn of_program(bytes: &[u8]) -> Option<Self> {
        let (identification, rest) = bytes.split_at_checked(18)?;
        if !identification.starts_with(b"\x7FELF\x02\x01") {
            return None;
        }
        match u16::from_le_bytes(*rest.first_chunk()?) {
            62 => Some(Architecture::X86_64),
            183 => Some(Architecture::Aarch64),
            _ => None,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Aarch64 => "aarch64",
        })
    }
}

/// The files that the user names, at most one for each architecture; without any, those next to this program count.
pub(super) struct AttesterFiles(Vec<(Architecture, PathBuf, Vec<u8>)>);

impl AttesterFiles {
    /// Reads the files that the user names.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is not a program for such a host, or two are for the same architecture.
    pub(super) fn read(named: &[PathBuf]) -> anyhow::Result<Self> {
        let mut files: Vec<(Architecture, PathBuf, Vec<u8>)> = Vec::new();
        for path in named {
            let bytes = fs::read(path).with_context(|| format!("--attester-file {}", path.display()))?;
            let Some(architecture) = Architecture::of_program(&bytes) else {
                bail!(
                    "--attester-file {}: no program for 64-bit Linux; expected gpu-attestor for x86_64 or aarch64",
                    path.display()
                );
            };
            if let Some((_, other, _)) = files.iter().find(|(other, ..)| *other == architecture) {
                bail!(
                    "--attester-file: {} and {} are both for {architecture}; expected one for each architecture",
                    other.display(),
                    path.display()
                );
            }
            files.push((architecture, path.clone(), bytes));
        }
        Ok(AttesterFiles(files))
    }

    /// The `gpu-attestor` for this architecture.
    ///
    /// # Errors
    ///
    /// If there is none; says where it was looked for, and how to get one.
    pub(super) fn find(self, architecture: Architecture) -> anyhow::Result<Vec<u8>> {
        let mut looked = String::new();
        if self.0.is_empty() {
            let own = env::current_exe().context("this program's own path")?;
            let folder = own.parent().context("this program's folder")?;
            for path in places(folder, architecture) {
                match fs::read(&path) {
                    Ok(bytes) if Architecture::of_program(&bytes) == Some(architecture) => return Ok(bytes),
                    // That of this machine, next to a Verifier that looks for another.
                    Ok(_) => write!(looked, " {} (not for {architecture}),", path.display())?,
                    Err(_) => write!(looked, " {},", path.display())?,
                }
            }
        }
        for (own, path, bytes) in self.0 {
            if own == architecture {
                return Ok(bytes);
            }
            write!(looked, " {} (for {own}),", path.display())?;
        }
        bail!(
            "the host is {architecture}, and there is no gpu-attestor for it here: looked at{looked} expected --attester-file \
             FILE; `cargo xtask dist --target {architecture} --command gpu-attestor` builds one"
        )
    }
}

/// Where a `gpu-attestor` for this architecture may be, if this program is in `folder`.
fn places(folder: &Path, architecture: Architecture) -> [PathBuf; 3] {
    let own_name = format!("gpu-attestor-{architecture}");
    [
        folder.join(&own_name),
        folder.join("gpu-attestor"),
        folder.join("../lib/gpu-attestor").join(own_name),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(machine: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7FELF\x02\x01");
        bytes[18] = machine;
        bytes
    }

    #[test]
    fn an_architecture_is_read_from_the_file() {
        assert_eq!(Architecture::of_program(&program(62)), Some(Architecture::X86_64));
        assert_eq!(Architecture::of_program(&program(183)), Some(Architecture::Aarch64));
        // RISC-V, 32 bits, big endian, a script, and files cut in the header.
        let mut other = [
            program(243),
            program(62),
            program(62),
            b"#!/bin/sh".to_vec(),
            Vec::new(),
        ];
        other[1][4] = 1;
        other[2][5] = 2;
        for bytes in other.iter().map(|bytes| &bytes[..]).chain([&program(62)[..19]]) {
            assert_eq!(Architecture::of_program(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_host_is_of_the_architecture_that_it_says() {
        assert_eq!(Architecture::of_host("Linux x86_64"), Some(Architecture::X86_64));
        assert_eq!(Architecture::of_host("Linux aarch64"), Some(Architecture::Aarch64));
        for other in ["", "Linux", "Linux riscv64", "Darwin arm64", "Linux x86_64 x"] {
            assert_eq!(Architecture::of_host(other), None, "{other}");
        }
    }

    #[test]
    fn files_are_one_for_each_architecture() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).expect("a write");
            path
        };
        let (x86, arm) = (put("x86", &program(62)), put("arm", &program(183)));
        let (same, text) = (put("same", &program(62)), put("text", b"no program"));
        let files = AttesterFiles::read(&[x86.clone(), arm.clone()]).expect("two files");
        assert_eq!(files.find(Architecture::Aarch64).expect("there"), program(183));
        let refused = |named: &[PathBuf]| match AttesterFiles::read(named) {
            Ok(_) => panic!("{named:?} are taken"),
            Err(error) => format!("{error:#}"),
        };
        assert!(refused(&[x86.clone(), arm, same]).contains("both for x86_64"));
        assert!(refused(&[text]).contains("expected gpu-attestor for x86_64 or aarch64"));
        assert!(refused(&[folder.path().join("missing")]).contains("missing: "));
        // Named files are all there is: no other is taken silently.
        let files = AttesterFiles::read(&[x86]).expect("a file");
        let error = files.find(Architecture::Aarch64).expect_err("not there").to_string();
        assert!(
            error.contains("x86 (for x86_64)") && error.contains("--target aarch64"),
            "{error}"
        );
    }
}
