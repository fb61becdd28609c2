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
    /// There is something else than a file.
    #[error("{path} is {found}; expected a file")]
    NotAFile {
        /// Where.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// The folder that the file would be in is not there.
    #[error("{path}: no folder {folder}")]
    NoFolder {
        /// The file.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
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
            PrivateFileError::NotAFile { .. }
            | PrivateFileError::NoFolder { .. }
            | PrivateFileError::Exposed { .. } => None,
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
    let metadata = fs::metadata(path).map_err(io)?;
    if let Some(found) = no_file(&metadata) {
        let path = path.to_owned();
        return Err(PrivateFileError::NotAFile { path, found });
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = metadata.permissions().mode() & 0o7777;
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
    let folder = folder_of(path);
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

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// What is there instead of a file to read; a pipe, as a shell makes one, will do.
fn no_file(found: &fs::Metadata) -> Option<&'static str> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if found.file_type().is_fifo() {
            return None;
        }
    }
    match (found.is_file(), found.is_dir()) {
        (true, _) => None,
        (_, true) => Some("a folder"),
        _ => Some("a device"),
    }
}
