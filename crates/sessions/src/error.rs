//! Why sessions could not be run.

use std::io;
use std::path::PathBuf;

/// Why sessions could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Evidence could not be written.
    #[error("evidence {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error.
        error: io::Error,
    },
    /// The system returned no randomness.
    #[error("no randomness: {0}")]
    Randomness(verifier::SessionError),
}
