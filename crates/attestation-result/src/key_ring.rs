//! The folder of an issuer's keys: one private key that signs, and the public halves of its predecessors.

use std::env::VarError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keystore::private_file::{self, PrivateFileError};
use zeroize::Zeroizing;

use crate::key::{Algorithm, JwkSet, KeyError, SigningKey};

const CURRENT: &str = "signing.pem";
const RETIRED: &str = "retired.jwks.json";

/// Why a folder is not a key ring.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A file holds no keys.
    #[error("{path}: {error}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// The environment variable is not set.
    #[error("environment variable {0} is not set; expected a PKCS #8 PEM of a private key")]
    Unset(String),
    /// The environment variable holds no key.
    #[error("environment variable {variable}: {error}")]
    Variable {
        /// The variable.
        variable: String,
        /// Why.
        error: KeyError,
    },
    /// The key to be dropped is not a retired key.
    #[error("no retired key has kid {kid:?}; retired are {}", list(.retired))]
    NotRetired {
        /// The kid.
        kid: String,
        /// The kids of the retired keys.
        retired: Vec<String>,
    },
    /// The key to be dropped is the one that signs.
    #[error("kid {0:?} is the key that signs: rotate first")]
    Current(String),
}

fn list(kids: &[String]) -> String {
    match kids.is_empty() {
        true => "none".to_owned(),
        false => kids.join(", "),
    }
}

/// The key that signs, and all public keys that may still be needed.
#[derive(Clone, Debug)]
pub struct KeyRing {
    signing: SigningKey,
    /// The public half of the key that signs.
    own: JwkSet,
    retired: JwkSet,
}

impl KeyRing {
    /// Whether there is a ring in `folder`, valid or not.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        fs::symlink_metadata(folder.join(CURRENT)).is_ok()
    }

    /// The ring in `folder`.
    ///
    /// # Errors
    ///
    /// [`KeyRingError`]; a private key that others can read is refused.
    pub fn load(folder: &Path) -> Result<Self, KeyRingError> {
        let mut ring = KeyRing::from_file(&folder.join(CURRENT))?;
        let path = folder.join(RETIRED);
        ring.retired = match fs::read_to_string(&path) {
            Ok(json) => JwkSet::parse(&json).map_err(|error| KeyRingError::Key { path, error })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => JwkSet::default(),
            Err(error) => return Err(PrivateFileError::Io { path, error }.into()),
        };
        Ok(ring)
    }

    /// The ring of one key, PKCS #8 PEM in an environment variable.
    ///
    /// # Errors
    ///
    /// [`KeyRingError::Unset`] or [`KeyRingError::Variable`].
    pub fn from_env(variable: &str) -> Result<Self, KeyRingError> {
        let wrong = |error| KeyRingError::Variable {
            variable: variable.to_owned(),
            error,
        };
        let pem = match std::env::var(variable) {
            Ok(pem) => Zeroizing::new(pem),
            Err(VarError::NotPresent) => return Err(KeyRingError::Unset(variable.to_owned())),
            Err(VarError::NotUnicode(_)) => return Err(wrong(KeyError::NoPrivateKey)),
        };
        SigningKey::from_pem(&pem).and_then(KeyRing::of).map_err(wrong)
    }

    /// The ring of one key, PKCS #8 PEM in a file.
    ///
    /// # Errors
    ///
    /// [`KeyRingError`]; a private key that others can read is refused.
    pub fn from_file(path: &Path) -> Result<Self, KeyRingError> {
        let pem = private_file::read(path)?;
        let ring = SigningKey::from_pem(&pem).and_then(KeyRing::of);
        ring.map_err(|error| KeyRingError::Key {
            path: path.to_owned(),
            error,
        })
    }

    fn of(signing: SigningKey) -> Result<Self, KeyError> {
        Ok(KeyRing {
            own: JwkSet::of_signer(&signing)?,
            signing,
            retired: JwkSet::default(),
        })
    }

    /// Creates a ring in `folder`, with a private key file of mode 0600; an existing ring is never overwritten.
    ///
    /// # Errors
    ///
    /// [`KeyRingError`], of kind [`io::ErrorKind::AlreadyExists`] if there is a key.
    pub fn create(folder: &Path, algorithm: Algorithm) -> Result<Self, KeyRingError> {
        let path = folder.join(CURRENT);
        let pem = new_key(&path, algorithm)?;
        private_file::write(&path, pem.as_bytes(), false)?;
        KeyRing::load(folder)
    }

    /// Replaces the private key by a new one; the old public key stays in the set, the old private key is gone.
    ///
    /// # Errors
    ///
    /// [`KeyRingError`]; a ring that can't be written is left as it is.
    pub fn rotate(folder: &Path, algorithm: Algorithm) -> Result<Self, KeyRingError> {
        let mut ring = KeyRing::load(folder)?;
        let path = folder.join(CURRENT);
        let pem = new_key(&path, algorithm)?;
        // This order ensures that the public key of every signature is always available.
        ring.retired.extend(&ring.own);
        private_file::write(&folder.join(RETIRED), ring.retired.to_json().as_bytes(), true)?;
        private_file::write(&path, pem.as_bytes(), true)?;
        KeyRing::load(folder)
    }

    /// Drops a retired key from the set: signatures of this key are no longer accepted.
    ///
    /// # Errors
    ///
    /// [`KeyRingError::Current`] and [`KeyRingError::NotRetired`]; a ring that can't be written is left as it is.
    pub fn drop_retired(folder: &Path, kid: &str) -> Result<Self, KeyRingError> {
        let mut ring = KeyRing::load(folder)?;
        if ring.signing.public().kid() == kid {
            return Err(KeyRingError::Current(kid.to_owned()));
        }
        if !ring.retired.remove(kid) {
            return Err(KeyRingError::NotRetired {
                kid: kid.to_owned(),
                retired: ring.retired.kids().map(str::to_owned).collect(),
            });
        }
        private_file::write(&folder.join(RETIRED), ring.retired.to_json().as_bytes(), true)?;
        KeyRing::load(folder)
    }

    /// The key that signs.
    #[must_use]
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The public keys, the current one first: the set for Relying Parties.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        let mut set = self.own.clone();
        set.extend(&self.retired);
        set
    }
}

/// A new key for this file, as PEM.
fn new_key(path: &Path, algorithm: Algorithm) -> Result<Zeroizing<String>, KeyRingError> {
    let pem = SigningKey::generate(algorithm).and_then(|key| key.to_pem());
    pem.map_err(|error| KeyRingError::Key {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn rotation_keeps_what_was_signed_checkable() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = KeyRing::create(folder.path(), Algorithm::EdDsa).expect("a ring");
        assert!(
            KeyRing::create(folder.path(), Algorithm::EdDsa).is_err(),
            "never over an old key"
        );
        let second = KeyRing::rotate(folder.path(), Algorithm::Es384).expect("a new key");
        let third = KeyRing::rotate(folder.path(), Algorithm::EdDsa).expect("a new key");
        let expected = [&third, &second, &first].map(|ring| ring.signing().public().kid());
        let mut kids: Vec<String> = third.jwks().kids().map(str::to_owned).collect();
        assert_eq!(kids[0], expected[0], "the current key comes first");
        kids.sort();
        let mut expected = expected.to_vec();
        expected.sort();
        assert_eq!(kids, expected);
        let kid = second.signing().public().kid();
        let certificates = |ring: &KeyRing| ring.jwks().chain(&kid).to_vec();
        assert_eq!(certificates(&second).len(), 1);
        assert_eq!(
            certificates(&third),
            certificates(&second),
            "a retired key keeps its certificate"
        );

        let path = folder.path().join(CURRENT);
        assert_eq!(
            fs::metadata(&path).expect("the key").permissions().mode() & 0o7777,
            0o600
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(
            KeyRing::load(folder.path()),
            Err(KeyRingError::File(PrivateFileError::Exposed { mode: 0o640, .. }))
        ));
    }
}
