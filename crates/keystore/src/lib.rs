//! Ed25519 keys in files: PKCS #8 PEM (RFC 8410), created on first use, readable only by their owner.

pub mod private_file;

use std::io;
use std::path::{Path, PathBuf};

use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, spki::der::pem::LineEnding};
use zeroize::Zeroizing;

use private_file::PrivateFileError;

/// An Ed25519 private key.
pub use ed25519_dalek::SigningKey;

/// Why a key is not available.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Neither XDG_CONFIG_HOME nor HOME is set.
    #[error("no place for keys: set HOME or XDG_CONFIG_HOME, or name a key file")]
    NoHome,
    /// The file cannot be used.
    #[error("key file {0}")]
    File(PrivateFileError),
    /// The file holds no Ed25519 private key.
    #[error("key file {path} is no PKCS #8 PEM of an Ed25519 private key: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        problem: String,
    },
    /// The system returned no randomness.
    #[error("no randomness for a new key: {0}")]
    Randomness(getrandom::Error),
}

impl From<PrivateFileError> for KeyError {
    fn from(error: PrivateFileError) -> Self {
        KeyError::File(error)
    }
}

/// The default path of the key of this name: `$XDG_CONFIG_HOME/gpu-attestor/NAME.pem`.
///
/// # Errors
///
/// [`KeyError::NoHome`].
pub fn default_path(name: &str) -> Result<PathBuf, KeyError> {
    let absolute = |variable| {
        std::env::var_os(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    let config = config.ok_or(KeyError::NoHome)?;
    Ok(config.join("gpu-attestor").join(format!("{name}.pem")))
}

/// The key of this name at its [`default_path`]; folder and key are created on first use.
///
/// # Errors
///
/// As [`default_path`] and [`load_or_create`].
pub fn load_or_create_default(name: &str) -> Result<SigningKey, KeyError> {
    load_or(&default_path(name)?, create)
}

/// The key in `path`; if there is no such file, a new key is created with mode 0600. Its folder must exist.
///
/// # Errors
///
/// [`KeyError`] for a file that cannot be used; the file stays unchanged.
pub fn load_or_create(path: &Path) -> Result<SigningKey, KeyError> {
    load_or(path, |path, key| {
        // A file in a missing folder is probably a typo.
        let folder = private_file::folder_of(path);
        if !folder.is_dir() {
            let (path, folder) = (path.to_owned(), folder.to_owned());
            return Err(PrivateFileError::NoFolder { path, folder }.into());
        }
        create(path, key)
    })
}

fn load_or(
    path: &Path,
    create: impl FnOnce(&Path, &SigningKey) -> Result<(), KeyError>,
) -> Result<SigningKey, KeyError> {
    match load(path) {
        Err(KeyError::File(error)) if error.kind() == Some(io::ErrorKind::NotFound) => {}
        other => return other,
    }
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(KeyError::Randomness)?;
    match create(path, &SigningKey::from_bytes(&seed)) {
        // Another process created the file first: use its key.
        Err(KeyError::File(error)) if error.kind() == Some(io::ErrorKind::AlreadyExists) => load(path),
        other => other.and_then(|()| load(path)),
    }
}

/// The key in `path`.
///
/// # Errors
///
/// [`KeyError`] for a missing file, one that others can read, or one without a key.
pub fn load(path: &Path) -> Result<SigningKey, KeyError> {
    let pem = private_file::read(path)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|e| KeyError::Malformed {
        path: path.to_owned(),
        problem: e.to_string(),
    })
}

/// Writes `key` to a new file and creates its folder if necessary; never overwrites a file.
fn create(path: &Path, key: &SigningKey) -> Result<(), KeyError> {
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| PrivateFileError::Io {
        path: path.to_owned(),
        error: io::Error::other(e.to_string()),
    })?;
    Ok(private_file::write(path, pem.as_bytes(), false)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.pem");
        let key = load_or_create(&path).expect("a new key");
        assert_eq!(load_or_create(&path).expect("the same key").to_bytes(), key.to_bytes());
        let mode = fs::metadata(&path).expect("the file").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn what_holds_no_file_is_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |path: &Path| load_or_create(path).expect_err("no key").to_string();
        assert!(said(folder.path()).contains("is a folder; expected a file"));
        assert!(said(&folder.path().join("missing/key.pem")).contains("missing/key.pem: no folder /"));
        assert!(!folder.path().join("missing").exists());
        assert_eq!(
            said(Path::new("/dev/zero")),
            "key file /dev/zero is a device; expected a file"
        );
    }

    #[test]
    fn exposed_and_malformed_files_are_refused_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key.pem");
        load_or_create(&path).expect("a new key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(
            load_or_create(&path),
            Err(KeyError::File(PrivateFileError::Exposed { mode: 0o644, .. }))
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::write(&path, "no key").expect("a write");
        assert!(matches!(load_or_create(&path), Err(KeyError::Malformed { .. })));
        assert_eq!(fs::read_to_string(&path).expect("a read"), "no key");
    }
}
