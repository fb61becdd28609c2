//! A policy by what people write for it: a file, or the name of a class.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::document::InputError;
use crate::policy::Policy;
use crate::profile::Kind;
use crate::profiles::Profiles;

/// Longest policy that is read, bytes: all are far smaller.
const MAX_POLICY_BYTES: u64 = 1 << 20;

/// Why there is no policy of this name.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// The class has no figures that a device could be compared with.
    #[error("class {0} has no figures to compare with: write a policy with minimum figures instead")]
    NoFigures(String),
    /// Neither a file nor a class.
    #[error("policy {name:?} is no file, and no class that is known: {name}: {error}")]
    NeitherFileNorClass {
        /// The name that was given.
        name: String,
        /// Why there is no such file.
        error: io::Error,
    },
    /// The file cannot be read.
    #[error("policy {file}: {file}: {error}", file = .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The file is longer than any policy.
    #[error("policy {} is longer than {MAX_POLICY_BYTES} bytes", .0.display())]
    TooLong(PathBuf),
    /// The file is not text.
    #[error("policy {} is no text in UTF-8", .0.display())]
    NotText(PathBuf),
    /// The policy itself is wrong.
    #[error(transparent)]
    Input(#[from] InputError),
}

impl Policy {
    /// The policy in a file; where there is no such file, the policy for the class of this name.
    ///
    /// # Errors
    ///
    /// [`PolicyFileError`].
    pub fn of_file_or_class(path: &Path, profiles: &Profiles) -> Result<Policy, PolicyFileError> {
        let name = path.to_str().filter(|_| !path.exists());
        match name.and_then(|name| profiles.named(name)) {
            Some(profile) if profile.kind == Kind::Gpu => Ok(Policy::for_class(profile)),
            Some(profile) => Err(PolicyFileError::NoFigures(profile.name.clone())),
            None => {
                let text = read(path).map_err(|error| match (name, error) {
                    (Some(name), PolicyFileError::Io { error, .. }) => PolicyFileError::NeitherFileNorClass {
                        name: name.to_owned(),
                        error,
                    },
                    (_, error) => error,
                })?;
                Ok(Policy::parse(&path.display().to_string(), &text, profiles)?)
            }
        }
    }
}

/// The text of a policy's file; no more is read than a policy has, whatever kind of file it is.
fn read(path: &Path) -> Result<String, PolicyFileError> {
    let failed = |error| PolicyFileError::Io {
        file: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_POLICY_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_POLICY_BYTES {
        return Err(PolicyFileError::TooLong(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|_| PolicyFileError::NotText(path.to_owned()))
}
