//! Result files: written completely or not at all.

use std::fs::{self, File, FileType, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use tempfile::Builder;

use crate::interrupt::Interrupt;

/// A file for evidence, a report or a result. Creating it checks, before the work, that the path can be written. The
/// file gets its name when all bytes are on disk; until then a killed command leaves nothing behind.
pub struct OutputFile {
    /// The file that is created or replaced, with symbolic links resolved.
    target: PathBuf,
    /// The path given by the user.
    path: PathBuf,
    what: &'static str,
    /// The permissions of the file that is replaced.
    old: Option<Permissions>,
}

impl OutputFile {
    /// Prepares a file for evidence at `path`; an existing file stays until [`Self::write`].
    ///
    /// # Errors
    ///
    /// As [`Self::create`].
    pub fn evidence(path: &Path) -> anyhow::Result<Self> {
        Self::create(path, "evidence")
    }

    /// Prepares a file for `what`, as errors call it, at `path`; an existing file stays until [`Self::write`].
    ///
    /// # Errors
    ///
    /// If the folder or the existing file cannot be written, or `path` is not a regular file: a device, a pipe, a
    /// dangling link. If it is a private key: also keys that the command line does not name, at their default path or in
    /// a folder, must not be lost.
    pub fn create(path: &Path, what: &'static str) -> anyhow::Result<Self> {
        let cannot = || format!("cannot write {what} to {}", path.display());
        let (target, old) = match fs::metadata(path) {
            Ok(there) => {
                ensure!(!there.is_dir(), "{} is a folder, expected a file name", path.display());
                ensure!(
                    there.is_file(),
                    "{} is {}; expected a file",
                    path.display(),
                    kind(there.file_type())
                );
                // Root could write it nevertheless; but the missing permission is intentional.
                ensure!(
                    !there.permissions().readonly(),
                    "{} may not be written; expected a file with write permission",
                    path.display()
                );
                OpenOptions::new().write(true).open(path).with_context(cannot)?;
                ensure!(
                    !is_private_key(path).with_context(cannot)?,
                    "{} is a private key, which {what} would replace; expected another file",
                    path.display()
                );
                // Next to the resolved file: a link stays a link.
                (fs::canonicalize(path).with_context(cannot)?, Some(there.permissions()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                ensure!(
                    !path.is_symlink(),
                    "{} is a link to what is not there; expected a file",
                    path.display()
                );
                let is_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
                ensure!(
                    path.file_name().is_some() && !is_folder,
                    "{path:?} is no file name; expected one"
                );
                (path.to_owned(), None)
            }
            Err(error) => return Err(error).with_context(cannot),
        };
        let file = OutputFile {
            target,
            path: path.to_owned(),
            what,
            old,
        };
        let folder = file.folder();
        // The temporary file has no name, so nothing of it is left.
        tempfile::tempfile_in(folder).with_context(|| format!("cannot write {what} into {}", folder.display()))?;
        Ok(file)
    }

    /// Writes all of `bytes` and gives the file its name.
    ///
    /// # Errors
    ///
    /// If the disk does not accept them: the file then does not exist, or is the old one.
    pub fn write(self, bytes: &[u8]) -> anyhow::Result<()> {
        // A first signal is too late now, and must not leave a partial file.
        let _signals = Interrupt::listen()?;
        self.replace(bytes).with_context(|| {
            format!(
                "cannot write {} to {}; nothing was kept",
                self.what,
                self.path.display()
            )
        })
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let mut builder = Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Results get the permissions that the umask allows; temporary files do not.
            builder.permissions(Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(self.folder())?;
        file.write_all(bytes)?;
        if let Some(old) = &self.old {
            file.as_file().set_permissions(old.clone())?;
        }
        file.as_file().sync_all()?;
        file.persist(&self.target)?;
        Ok(())
    }

    fn folder(&self) -> &Path {
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new("."))
    }
}

/// The kind of an object that is not a regular file.
fn kind(found: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if found.is_char_device() {
            return "a character device";
        } else if found.is_block_device() {
            return "a block device";
        } else if found.is_fifo() {
            return "a named pipe";
        } else if found.is_socket() {
            return "a socket";
        }
    }
    // Other kinds on other systems.
    let _ = found;
    "no file"
}

/// Whether the file begins like a private key in PEM, of whatever algorithm.
fn is_private_key(path: &Path) -> io::Result<bool> {
    // The label is on the first line.
    let mut start = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut start)?;
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(line.starts_with(b"-----BEGIN ") && line.windows(11).any(|part| part == b"PRIVATE KEY"))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("a file").permissions().mode() & 0o7777
    }

    fn refused(path: &Path) -> String {
        match OutputFile::evidence(path) {
            Ok(_) => panic!("{} was taken", path.display()),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn what_is_no_file_is_refused_and_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let made = Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo runs");
        assert!(made.success());
        let _listener = UnixListener::bind(at("socket")).expect("a socket");
        fs::create_dir(at("folder")).expect("a folder");
        symlink("/dev/full", at("device")).expect("a link");
        symlink("nothing", at("dangling")).expect("a link");
        symlink("loop", at("loop")).expect("a link");
        fs::write(at("closed"), "old").expect("a write");
        fs::write(at("key"), "-----BEGIN PRIVATE KEY-----\n").expect("a write");
        fs::write(at("other-key"), "-----BEGIN EC PRIVATE KEY-----\n").expect("a write");
        fs::set_permissions(at("closed"), Permissions::from_mode(0o444)).expect("chmod");
        for (name, why) in [
            ("pipe", "a named pipe; expected a file"),
            ("socket", "a socket; expected a file"),
            ("folder", "a folder, expected a file name"),
            ("device", "a character device; expected a file"),
            (
                "key",
                "is a private key, which evidence would replace; expected another file",
            ),
            (
                "other-key",
                "is a private key, which evidence would replace; expected another file",
            ),
            ("dangling", "a link to what is not there"),
            ("loop", "cannot write evidence to"),
            ("closed", "expected a file with write permission"),
            ("missing/e.cbor", "cannot write evidence into"),
            ("closed/e.cbor", "cannot write evidence to"),
            ("missing/", "is no file name"),
            ("folder/..", "a folder, expected a file name"),
        ] {
            let said = refused(&at(name));
            assert!(said.contains(why), "{name}: {said}");
        }
        assert_eq!(fs::read(at("closed")).expect("the old file"), b"old");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 9);
    }

    #[test]
    fn a_link_stays_one_and_an_old_file_keeps_its_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("elsewhere")).expect("a folder");
        fs::write(at("elsewhere/file"), "old").expect("a write");
        fs::set_permissions(at("elsewhere/file"), Permissions::from_mode(0o620)).expect("chmod");
        symlink("elsewhere/file", at("link")).expect("a link");
        let file = OutputFile::evidence(&at("link")).expect("room");
        assert_eq!(fs::read(at("link")).expect("the old file"), b"old");
        file.write(b"new").expect("a write");
        assert!(at("link").is_symlink());
        assert_eq!(fs::read(at("elsewhere/file")).expect("the new file"), b"new");
        assert_eq!(mode(&at("elsewhere/file")), 0o620);
        assert_eq!(fs::read_dir(at("elsewhere")).expect("a folder").count(), 1);
    }

    #[test]
    fn a_new_file_is_as_readable_as_any_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let file = OutputFile::evidence(&at("e.cbor")).expect("room");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
        file.write(b"new").expect("a write");
        fs::write(at("other"), "").expect("a write");
        assert_eq!(mode(&at("e.cbor")), mode(&at("other")));
    }
}
