//! The files of a command, laid out as below `/usr`: an archive's and a package's alike.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::notices;
use super::shipped::Shipped;
use crate::tools::run;

/// Where the files of a command come from.
pub(super) struct Tree<'a> {
    pub(super) repository: &'a Path,
    pub(super) shipped: &'a Shipped,
    /// What is shipped.
    pub(super) binary: &'a Path,
    /// The same command for this host, which generates pages and completions.
    pub(super) generator: &'a Path,
    /// The licences of what is linked into it.
    pub(super) notices: &'a str,
}

impl Tree<'_> {
    /// Lays the files out in a folder, which is emptied first. Modes do not depend on the umask.
    ///
    /// `zsh` is the folder of zsh completions: Debian's zsh reads packages' from another than that below `/usr/local`.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or written, or the command fails to generate its pages.
    pub(super) fn lay_out(&self, root: &Path, zsh: &str) -> Result<()> {
        let name = self.shipped.name;
        if root.exists() {
            fs::remove_dir_all(root).with_context(|| root.display().to_string())?;
        }
        copy(self.binary, &root.join("bin").join(name))?;
        let doc = root.join("share/doc").join(name);
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            copy(&self.repository.join(file), &doc.join(file))?;
        }
        write(&doc.join(notices::FILE), self.notices.as_bytes())?;
        for unit in self.shipped.units {
            let from = self.repository.join("packaging/systemd").join(unit);
            copy(&from, &root.join("lib/systemd/system").join(unit))?;
        }
        let pages = root.join("share/man/man1");
        fs::create_dir_all(&pages).with_context(|| pages.display().to_string())?;
        run(Command::new(self.generator).args(["generate", "man"]).arg(&pages))?;
        for (shell, file) in [
            ("bash", format!("share/bash-completion/completions/{name}")),
            ("zsh", format!("{zsh}/_{name}")),
            ("fish", format!("share/fish/vendor_completions.d/{name}.fish")),
        ] {
            let script = Command::new(self.generator)
                .args(["generate", "completions", shell])
                .output()
                .with_context(|| self.generator.display().to_string())?;
            ensure!(script.status.success(), "completions for {shell}: {}", script.status);
            write(&root.join(file), &script.stdout)?;
        }
        set_modes(root)
    }
}

/// All files below a folder, as paths below it.
pub(super) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Everybody reads everything; folders can be entered, and commands and a package's scripts be run.
pub(super) fn set_modes(root: &Path) -> Result<()> {
    let set = |path: &Path, mode| {
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).with_context(|| path.display().to_string())
    };
    for file in files(root)? {
        let folder = file.parent().context("a file lies in a folder")?;
        let is_run = folder.ends_with("bin") || folder.ends_with("DEBIAN") && !file.ends_with("control");
        set(&file, if is_run { 0o755 } else { 0o644 })?;
        for above in folder.ancestors().take_while(|above| above.starts_with(root)) {
            set(above, 0o755)?;
        }
    }
    Ok(())
}

pub(super) fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let context = || file.display().to_string();
    fs::create_dir_all(file.parent().context("a file lies in a folder")?).with_context(context)?;
    fs::write(file, bytes).with_context(context)
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    write(to, &fs::read(from).with_context(|| from.display().to_string())?)
}
