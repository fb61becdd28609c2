//! What a binary needs of the host that runs it, read from the file.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use object::Endianness;
use object::elf::{DT_NEEDED, EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::{Dyn, FileHeader};

use super::architecture::Architecture;

/// What the binaries are linked against: the oldest glibc that Rust's standard library supports.
pub(super) const GLIBC: Version = Version(2, 17);

/// Libraries of glibc. Not `libgcc_s`, in whose place zig links its own code.
const LIBRARIES: [&str; 5] = ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1"];

/// A version of glibc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.0, self.1)
    }
}

impl Version {
    /// Of a symbol's version, say `GLIBC_2.2.5`; `None` if it is another library's.
    fn of_symbol(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("GLIBC_")?.split('.').map(str::parse);
        Some(Version(parts.next()?.ok()?, parts.next()?.ok()?))
    }
}

/// What a binary needs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    libraries: Vec<String>,
    /// Versions of symbols, each with the library that must have it.
    symbols: Vec<(String, String)>,
}

/// Checks that a binary is for this architecture and runs wherever this glibc or a later one is.
///
/// # Errors
///
/// Each library and symbol version that such a host may lack.
pub(super) fn check(file: &Path, architecture: Architecture, glibc: Version) -> Result<()> {
    let data = fs::read(file)?;
    let header = FileHeader64::<Endianness>::parse(&*data).context("not a 64-bit ELF file")?;
    let machine = header.e_machine(header.endian()?);
    let expected = match architecture {
        Architecture::X86_64 => EM_X86_64,
        Architecture::Aarch64 => EM_AARCH64,
    };
    ensure!(machine == expected, "expected ELF machine {expected}, got {machine}");
    let faults = faults(&needs(&data)?, glibc);
    ensure!(
        faults.is_empty(),
        "needs what a host with glibc {glibc} may lack: {}",
        faults.join(", ")
    );
    Ok(())
}

fn needs(data: &[u8]) -> Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let mut needs = Needs::default();
    if let Some((entries, strings)) = sections.dynamic(endian, data)? {
        let strings = sections.strings(endian, data, strings)?;
        for entry in entries.iter().filter(|entry| entry.d_tag(endian) == DT_NEEDED) {
            needs.libraries.push(text(entry.string(endian, strings)?));
        }
    }
    if let Some((mut libraries, strings)) = sections.gnu_verneed(endian, data)? {
        let strings = sections.strings(endian, data, strings)?;
        while let Some((library, mut versions)) = libraries.next()? {
            let library = text(library.file(endian, strings)?);
            while let Some(version) = versions.next()? {
                needs
                    .symbols
                    .push((library.clone(), text(version.name(endian, strings)?)));
            }
        }
    }
    Ok(needs)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn faults(needs: &Needs, glibc: Version) -> Vec<String> {
    // The loader's file name differs between architectures; glibc brings it.
    let is_known = |library: &str| LIBRARIES.contains(&library) || library.starts_with("ld-linux-");
    let libraries = needs.libraries.iter().filter(|library| !is_known(library)).cloned();
    let symbols = needs
        .symbols
        .iter()
        // Not glibc's, or GLIBC_PRIVATE: no version promises it.
        .filter(|(_, version)| Version::of_symbol(version).is_none_or(|version| version > glibc));
    libraries
        .chain(symbols.map(|(library, version)| format!("{version} of {library}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_later_versions_and_other_libraries_are_faults() {
        let symbol = |library: &str, version: &str| (library.to_owned(), version.to_owned());
        let needs = Needs {
            libraries: ["libc.so.6", "ld-linux-x86-64.so.2", "libssl.so.3"]
                .map(str::to_owned)
                .to_vec(),
            symbols: vec![
                symbol("libc.so.6", "GLIBC_2.2.5"),
                symbol("libc.so.6", "GLIBC_2.17"),
                symbol("libc.so.6", "GLIBC_2.18"),
                symbol("libm.so.6", "GLIBC_2.29"),
                symbol("libc.so.6", "GLIBC_PRIVATE"),
                symbol("libgcc_s.so.1", "GCC_3.0"),
            ],
        };
        let expected = [
            "libssl.so.3",
            "GLIBC_2.18 of libc.so.6",
            "GLIBC_2.29 of libm.so.6",
            "GLIBC_PRIVATE of libc.so.6",
            "GCC_3.0 of libgcc_s.so.1",
        ];
        assert_eq!(faults(&needs, Version(2, 17)), expected);
    }

    /// This test's own file, which the host's linker made.
    #[test]
    fn a_real_binary_is_read() {
        let data = fs::read(std::env::current_exe().expect("this test is a file")).expect("it can be read");
        let needs = needs(&data).expect("it is an ELF file");
        assert!(
            needs.libraries.iter().any(|library| library == "libc.so.6"),
            "{needs:?}"
        );
        let versions: Vec<_> = needs
            .symbols
            .iter()
            .filter_map(|(_, version)| Version::of_symbol(version))
            .collect();
        assert!(!versions.is_empty(), "{needs:?}");
        assert!(!faults(&needs, Version(2, 0)).is_empty());
        // The host's linker links libgcc_s; all else is glibc's.
        let faults = faults(&needs, Version(u32::MAX, 0));
        assert!(faults.iter().all(|fault| fault.contains("libgcc_s")), "{faults:?}");
    }
}
