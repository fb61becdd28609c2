//! Checksums of what is released.

use sha2::{Digest, Sha256};

/// SHA-256, hex.
pub(super) fn hex_of_sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
