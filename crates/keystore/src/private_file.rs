//! Files that only their owner can read, written whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The file could not be read or made.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others than the owner can read the file: whoever reads a key can sign with it.
    #[error("{path} has mode {mode:04o}; expected 0600: run chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl PrivateFileError {
    /// What the system said, if it said anything.
    #[must_use]
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            PrivateFileError::Io { error, .. } => Some(error.kind()),
            PrivateFileError::Exposed { .. } => None,
        }
    }
}

/// The text in `path`.
///
/// # Errors
///
/// [`PrivateFileError`] for a missing file, or one that others can read.
pub fn read(path: &Path) -> Result<Zeroizing<String>, PrivateFileError> {
    let io = |error| PrivateFileError::Io {
        path: path.to_owned(),
        error,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(PrivateFileError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(io)
}

/// Writes a file of mode 0600 whole or not at all, its folder made where there is none; over an old one only if it may.
///
/// # Errors
///
/// [`PrivateFileError::Io`], of kind [`io::ErrorKind::AlreadyExists`] for an old file that may not be replaced.
pub fn write(path: &Path, bytes: &[u8], may_replace: bool) -> Result<(), PrivateFileError> {
    let io = |error| PrivateFileError::Io {
        path: path.to_owned(),
        error,
    };
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io)?;
    // Temporary files have mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    match may_replace {
        true => file.persist(path).map_err(|e| io(e.error))?,
        false => file.persist_noclobber(path).map_err(|e| io(e.error))?,
    };
    Ok(())
}
