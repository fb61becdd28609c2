//! Evidence of others, read and opened within a budget, or refused.

use std::io;
use std::path::Path;

use verifier::budget::Budget;
use verifier::evidence_file::{ReadError, read};
use verifier::{Opened, open_within};

use crate::refusal::Refusal;

/// The evidence in a file, completely checked except for the tiles, with its sealed bytes; the inner error says why it is
/// refused.
///
/// # Errors
///
/// Why the file cannot be read.
pub fn open_file(path: &Path, budget: &Budget) -> io::Result<Result<(Opened, Vec<u8>), Refusal>> {
    let sealed = match read(path, budget) {
        Ok(sealed) => sealed,
        Err(ReadError::Folder) => return Ok(Err(Refusal::folder())),
        Err(ReadError::TooCostly(error)) => return Ok(Err(error.into())),
        Err(ReadError::Io(error)) => return Err(error),
    };
    Ok(open(&sealed, budget).map(|opened| (opened, sealed)))
}

/// Sealed evidence, completely checked except for the tiles.
///
/// # Errors
///
/// Why it is refused.
pub fn open(sealed: &[u8], budget: &Budget) -> Result<Opened, Refusal> {
    // Nothing is recomputed, so no error is about this machine.
    open_within(sealed, budget)
        .map_err(|error| Refusal::of(error).unwrap_or_else(|error| Refusal::refused(error.to_string())))
}
