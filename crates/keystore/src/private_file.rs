//! Files that only their owner can read, written completely or not at all.

use std::fs;
use std::io::{self, Read, Write};
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
    #[error("{path} has mode {mode:04o}; expected {}", .remedy.text(path))]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What its owner can do about it.
        remedy: Remedy,
    },
}

/// What can be done about a file that others can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Its mode can be changed.
    Chmod,
    /// Only this user can change its mode.
    Owner(u32),
    /// It is in a file system that is mounted read-only.
    Mount,
}

impl Remedy {
    fn text(self, path: &Path) -> String {
        let path = path.display();
        match self {
            Remedy::Chmod => format!("0600: run chmod 600 {path}"),
            Remedy::Owner(owner) => format!(
                "0600, or 0440 of root's for the reader's group: its owner (uid {owner}) can change that, or hand it over as \
                 a copy of your own or through a pipe (/dev/stdin)"
            ),
            Remedy::Mount => "0400 or 0440, and the file system is read-only: change the mode where it is mounted \
                              (Kubernetes: defaultMode: 0400 of the Secret's volume)"
                .to_owned(),
        }
    }
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
    // What is looked at is what is read, also where a link is put in another file's place meanwhile.
    let mut file = fs::File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if let Some(found) = no_file(&metadata) {
        let path = path.to_owned();
        return Err(PrivateFileError::NotAFile { path, found });
    }
    #[cfg(unix)]
    {
        let protection = Protection::of(&file, &metadata).map_err(io)?;
        if let Some(remedy) = protection.exposure() {
            return Err(PrivateFileError::Exposed {
                path: path.to_owned(),
                mode: protection.mode,
                remedy,
            });
        }
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

/// What keeps a file from being read by others.
#[cfg(unix)]
#[derive(Clone, Copy)]
struct Protection {
    mode: u32,
    owner: u32,
    reader: u32,
    is_read_only: bool,
}

#[cfg(unix)]
impl Protection {
    fn of(file: &fs::File, metadata: &fs::Metadata) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let flags = rustix::fs::fstatvfs(file)?.f_flag;
        Ok(Protection {
            mode: metadata.mode() & 0o7777,
            owner: metadata.uid(),
            reader: rustix::process::geteuid().as_raw(),
            is_read_only: flags.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        })
    }

    /// What is to be done if others can use the file, or change it.
    ///
    /// The group may read root's file where the reader's right rests on that, or where nobody can change it, as in a Kubernetes
    /// Secret with an fsGroup: such files have mode 0440 whatever is asked for.
    fn exposure(self) -> Option<Remedy> {
        let is_foreign = self.owner != self.reader;
        let may_group_read = self.owner == 0 && (is_foreign || self.is_read_only);
        let forbidden = if may_group_read { 0o037 } else { 0o077 };
        if self.mode & forbidden == 0 {
            return None;
        }
        Some(match (self.is_read_only, is_foreign) {
            (true, _) => Remedy::Mount,
            (false, true) => Remedy::Owner(self.owner),
            (false, false) => Remedy::Chmod,
        })
    }
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn exposure(mode: u32, owner: u32, reader: u32, is_read_only: bool) -> Option<Remedy> {
        let protection = Protection {
            mode,
            owner,
            reader,
            is_read_only,
        };
        protection.exposure()
    }

    #[test]
    fn a_secret_of_roots_is_read_by_its_group() {
        const USER: u32 = 1000;
        for (mode, owner, reader, is_read_only, expected) in [
            // One's own file.
            (0o600, USER, USER, false, None),
            (0o400, USER, USER, true, None),
            (0o640, USER, USER, false, Some(Remedy::Chmod)),
            (0o440, USER, USER, true, Some(Remedy::Mount)),
            (0o440, 0, 0, false, Some(Remedy::Chmod)),
            // A Secret with an fsGroup, read by a user of that group, and by root.
            (0o440, 0, USER, true, None),
            (0o440, 0, 0, true, None),
            (0o640, 0, USER, false, None),
            // A Secret with the mode that it has by default.
            (0o644, 0, 0, true, Some(Remedy::Mount)),
            (0o444, 0, USER, true, Some(Remedy::Mount)),
            // What others than root own, and what a group can write.
            (0o440, 1001, USER, false, Some(Remedy::Owner(1001))),
            (0o660, 0, USER, false, Some(Remedy::Owner(0))),
            (0o604, 0, USER, false, Some(Remedy::Owner(0))),
        ] {
            assert_eq!(
                exposure(mode, owner, reader, is_read_only),
                expected,
                "{mode:04o} of {owner}, read by {reader}, read-only: {is_read_only}"
            );
        }
    }

    #[test]
    fn the_remedy_is_one_that_can_be_carried_out() {
        let said = |remedy| {
            let path = PathBuf::from("/keys/tls.pem");
            let error = PrivateFileError::Exposed {
                path,
                mode: 0o644,
                remedy,
            };
            error.to_string()
        };
        let begin = "/keys/tls.pem has mode 0644; expected ";
        assert_eq!(said(Remedy::Chmod), format!("{begin}0600: run chmod 600 /keys/tls.pem"));
        let mount = said(Remedy::Mount);
        assert!(
            mount.contains("defaultMode: 0400") && !mount.contains("chmod"),
            "{mount}"
        );
        let owner = said(Remedy::Owner(7));
        assert!(owner.contains("(uid 7)") && !owner.contains("chmod"), "{owner}");
    }

    /// As Kubernetes puts a Secret there: `key` leads to `..data/key`, and `..data` to a folder with the time in its name.
    #[test]
    fn the_links_of_a_secret_are_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("..2026_11_29")).expect("a folder");
        fs::write(at("..2026_11_29/key"), "secret").expect("a file");
        symlink("..2026_11_29", at("..data")).expect("a link");
        symlink("..data/key", at("key")).expect("a link");
        let chmod = |mode| fs::set_permissions(at("key"), fs::Permissions::from_mode(mode)).expect("chmod");
        chmod(0o400);
        assert_eq!(*read(&at("key")).expect("the key"), "secret");
        chmod(0o644);
        assert!(matches!(
            read(&at("key")),
            Err(PrivateFileError::Exposed { mode: 0o644, .. })
        ));
    }
}
