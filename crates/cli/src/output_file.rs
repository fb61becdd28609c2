//! Results on disk: whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::NamedTempFile;

/// A file that will hold evidence, a report or a result. It is made beside its final name before the work, so that a folder
/// that cannot be written is known at once, and takes its name when all bytes are on disk.
pub struct OutputFile {
    path: PathBuf,
    what: &'static str,
    file: NamedTempFile,
}

impl OutputFile {
    /// Makes room for evidence at `path`; what is there stays until [`Self::write`].
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn evidence(path: &Path) -> anyhow::Result<Self> {
        Self::create(path, "evidence")
    }

    /// Makes room for `what`, as errors call it, at `path`; what is there stays until [`Self::write`].
    ///
    /// # Errors
    ///
    /// If the folder cannot be written.
    pub fn create(path: &Path, what: &'static str) -> anyhow::Result<Self> {
        anyhow::ensure!(!path.is_dir(), "{} is a folder, expected a file name", path.display());
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let file =
            NamedTempFile::new_in(folder).with_context(|| format!("cannot write {what} into {}", folder.display()))?;
        Ok(OutputFile {
            path: path.to_owned(),
            what,
            file,
        })
    }

    /// Writes all of `bytes` and gives the file its name.
    ///
    /// # Errors
    ///
    /// If the disk does not take them: there is no such file then, or the old one.
    pub fn write(mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let (what, path) = (self.what, self.path.clone());
        let context = || format!("cannot write {what} to {}; nothing was kept", path.display());
        self.file.write_all(bytes).with_context(context)?;
        self.file.as_file().sync_all().with_context(context)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Results are for others to read; temporary files are not.
            let readable = std::fs::Permissions::from_mode(0o644);
            self.file.as_file().set_permissions(readable).with_context(context)?;
        }
        self.file.persist(&self.path).map(drop).with_context(context)
    }
}
