//! A command for one architecture as an archive and as a Debian package, the same bytes from the same files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::architecture::Architecture;
use super::elf::GLIBC;
use super::shipped::Shipped;
use super::tree::{self, Tree};
use crate::tools::run;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is packed, and where to.
pub(super) struct Release<'a> {
    pub(super) shipped: &'a Shipped,
    pub(super) architecture: Architecture,
    /// The time of all files, in seconds since 1970.
    pub(super) epoch: u64,
    pub(super) out: &'a Path,
    /// A folder for the files before they are packed.
    pub(super) scratch: &'a Path,
}

impl Release<'_> {
    /// The name of its files without their extension.
    pub(super) fn base_name(&self) -> String {
        format!("{}-{VERSION}-{}-linux", self.shipped.name, self.architecture.name())
    }

    /// Packs a `.tar.gz` with one folder, whose content can also be unpacked below `/usr/local`.
    ///
    /// Not `.tar.xz`, which would be a quarter smaller: a bare Debian has gzip but no xz.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written, or tar or gzip fails.
    pub(super) fn archive(&self, tree: &Tree) -> Result<PathBuf> {
        let name = self.base_name();
        tree.lay_out(&self.scratch.join(&name), "share/zsh/site-functions")?;
        let archive = self.out.join(format!("{name}.tar.gz"));
        run(Command::new("tar")
            .args([
                "--create",
                "--format=gnu",
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
            ])
            .arg(format!("--mtime=@{}", self.epoch))
            .args(["--use-compress-program", "gzip -9n", "--file"])
            .arg(&archive)
            .arg("--directory")
            .arg(self.scratch)
            .arg(&name))?;
        Ok(archive)
    }

    /// Packs a `.deb`.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written, or gzip or dpkg-deb fails.
    pub(super) fn deb(&self, tree: &Tree) -> Result<PathBuf> {
        let Shipped { name, units, .. } = self.shipped;
        let architecture = self.architecture.of_debian();
        let full_name = format!("{name}_{VERSION}_{architecture}");
        let root = self.scratch.join(&full_name);
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
        }
        let usr = root.join("usr");
        tree.lay_out(&usr, "share/zsh/vendor-completions")?;
        run(Command::new("gzip")
            .args(["-9n", "--recursive"])
            .arg(usr.join("share/man")))?;
        let copyright = tree.repository.join("packaging/debian/copyright");
        tree::copy(&copyright, &usr.join("share/doc").join(name).join("copyright"))?;

        let control = root.join("DEBIAN");
        tree::write(&control.join("control"), self.control(&usr)?.as_bytes())?;
        if !units.is_empty() {
            for script in ["postinst", "prerm", "postrm"] {
                tree::copy(
                    &tree.repository.join("packaging/debian").join(script),
                    &control.join(script),
                )?;
            }
        }
        tree::set_modes(&root)?;
        let deb = self.out.join(format!("{full_name}.deb"));
        run(Command::new("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string())
            .args(["--build", "--root-owner-group", "-Zxz", "-z9"])
            .arg(&root)
            .arg(&deb))?;
        Ok(deb)
    }

    fn control(&self, usr: &Path) -> Result<String> {
        let mut size = 0;
        for file in tree::files(usr)? {
            size += fs::metadata(&file)?.len().div_ceil(1024);
        }
        Ok(format!(
            "Package: {name}\n\
             Version: {VERSION}\n\
             Architecture: {architecture}\n\
             Maintainer: The gpu-attestor authors\n\
             Installed-Size: {size}\n\
             Depends: libc6 (>= {GLIBC})\n\
             Section: utils\n\
             Priority: optional\n\
             Homepage: {homepage}\n\
             Bugs: {homepage}/issues\n\
             Description: {summary}\n \
             A Verifier without a GPU establishes, over any byte stream and in seconds, how\n \
             much memory, memory bandwidth and int8 tensor throughput an untrusted host has\n \
             behind the GPUs it says it has.\n",
            name = self.shipped.name,
            architecture = self.architecture.of_debian(),
            homepage = env!("CARGO_PKG_REPOSITORY"),
            summary = self.shipped.summary,
        ))
    }
}
