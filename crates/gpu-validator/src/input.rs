//! Files that a user names, read up to a limit: no more is read, whatever kind of file it is.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;

/// Longest policy, profile, key set or result that is read, bytes: all are far smaller.
const MAX_INPUT_BYTES: u64 = 1 << 20;

/// The bytes of a file of at most [`MAX_INPUT_BYTES`].
pub(crate) fn read_bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    read_limited(file, MAX_INPUT_BYTES)
}

/// The text of a file of at most [`MAX_INPUT_BYTES`].
pub(crate) fn read_text(file: &Path) -> anyhow::Result<String> {
    read_limited_text(file, MAX_INPUT_BYTES)
}

/// The text of a file of at most this many bytes.
pub(crate) fn read_limited_text(file: &Path, limit_bytes: u64) -> anyhow::Result<String> {
    let bytes = read_limited(file, limit_bytes)?;
    String::from_utf8(bytes).with_context(|| format!("{} is no text in UTF-8", file.display()))
}

fn read_limited(file: &Path, limit_bytes: u64) -> anyhow::Result<Vec<u8>> {
    let context = || file.display().to_string();
    let mut bytes = Vec::new();
    let opened = File::open(file).with_context(context)?;
    opened
        .take(limit_bytes + 1)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    anyhow::ensure!(
        bytes.len() as u64 <= limit_bytes,
        "{} is longer than {limit_bytes} bytes",
        file.display()
    );
    Ok(bytes)
}
