//! Files that only their owner can read, written completely or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The file could not be read or created.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The path is not a regular file.
    #[error("{path} is {found}; expected a file")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// The kind of object.
        found: &'static str,
    },
    /// The file's folder does not exist.
    #[error("{path}: no folder {folder}")]
    NoFolder {
        /// The file.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// Others than the owner can read the file: anyone who reads a key can sign with it.
    #[error("{path} has mode {mode:04o}; expected 0600: run chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl PrivateFileError {
    /// The system's error, if there is one.
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

/// Writes a file of mode 0600 completely or not at all and creates its folder if necessary; replaces a file only if
/// allowed.
///
/// # Errors
///
/// [`PrivateFileError::Io`] of kind [`io::ErrorKind::AlreadyExists`] for an existing file that must not be replaced.
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

/// The kind of an object that cannot be read like a file; a pipe, as created by a shell, is accepted.
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
