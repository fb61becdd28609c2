//! Evidence files that somebody sent, read within a budget.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use protocol::evidence::Evidence;

use crate::budget::{Budget, TooCostly};

/// Bytes that tell whether a file can be evidence at all.
const HEAD_BYTES: u64 = 4 << 10;

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system does not give it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is a folder.
    #[error("a folder, not evidence")]
    Folder,
    /// It is longer than evidence may be here.
    #[error(transparent)]
    TooCostly(#[from] TooCostly),
}

/// The bytes of an evidence file; of a file that can be none, its beginning alone.
///
/// # Errors
///
/// [`ReadError`]; of a file that is too long, at most one byte more than may be was read.
pub fn read(path: &Path, budget: &Budget) -> Result<Vec<u8>, ReadError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(ReadError::Folder);
    }
    let mut bytes = Vec::new();
    (&file).take(HEAD_BYTES).read_to_end(&mut bytes)?;
    // Nothing of a foreign file but its beginning, however long it is.
    if !Evidence::may_begin_with(&bytes) {
        return Ok(bytes);
    }
    budget.check_length(metadata.len())?;
    // A pipe says no length, and a file may grow: one byte more than may be tells it.
    let left = budget
        .evidence_bytes()
        .saturating_add(1)
        .saturating_sub(bytes.len() as u64);
    file.take(left).read_to_end(&mut bytes)?;
    budget.check_length(bytes.len() as u64)?;
    Ok(bytes)
}
