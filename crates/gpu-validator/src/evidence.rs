//! Reading evidence files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;

/// Longest evidence that is read, bytes: more than the largest session of 64 devices with 1024 samples makes.
const MAX_EVIDENCE_BYTES: u64 = 4 << 30;

/// The bytes of an evidence file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let context = || format!("evidence {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(context)?;
    file.take(MAX_EVIDENCE_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_EVIDENCE_BYTES,
        "evidence {} is longer than {MAX_EVIDENCE_BYTES} bytes",
        path.display()
    );
    Ok(bytes)
}
