//! Derived keys, and the chain that makes every value depend on all earlier values (spec §4).

use chacha20::ChaCha8;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};

use crate::bytes::{Chain, DeviceOrdinal, Fresh, Nonce, OperandKey, Root, Salt};

/// 32 bytes derived from `material` for one `purpose`: BLAKE3 in `derive_key` mode (spec §4).
#[must_use]
pub fn derive(purpose: &str, material: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(&format!("gpu-attestor 2026-11-22 {purpose}"));
    for part in material {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Unkeyed BLAKE3 of the concatenated `parts`, 32 bytes (spec §4).
#[must_use]
pub fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// ChaCha8 keystream bytes `offset ..` of (`key`, `nonce`) written over `out`: IETF layout, block counter from 0 (spec §4).
///
/// # Panics
///
/// Where the 32-bit block counter would pass its end (256 GiB); the largest operand has 2 GiB.
pub fn keystream(key: &[u8; 32], nonce: &[u8; 12], offset: u64, out: &mut [u8]) {
    let mut cipher = ChaCha8::new(key.into(), nonce.into());
    cipher.seek(offset);
    cipher.write_keystream(out);
}

/// The chain before the first iteration: it binds the nonce, HELLO and PLAN (spec §4).
#[must_use]
pub fn chain_0(nonce: &Nonce, hello: &[u8], plan: &[u8]) -> Chain {
    Chain(derive("session", &[&nonce.0, &hash(&[hello]), &hash(&[plan])]))
}

/// Key of both operands of the iteration whose chain is `chain` (spec §4).
#[must_use]
pub fn operand_key(chain: &Chain) -> OperandKey {
    OperandKey(derive("operands", &[&chain.0]))
}

/// Salt of the fill digests of the iteration whose chain is `chain` (spec §4).
#[must_use]
pub fn fill_salt(chain: &Chain) -> Salt {
    Salt(derive("fill salt", &[&chain.0]))
}

/// Salt of device `g`'s first sweep; `fill_roots` are all devices' in ordinal order (spec §4).
#[must_use]
pub fn first_sweep_salt(chain: &Chain, v: &Fresh, fill_roots: &[Root], g: DeviceOrdinal) -> Salt {
    let joint = hash_roots(fill_roots);
    Salt(derive(
        "first sweep salt",
        &[&chain.0, &v.0, &joint, &g.0.to_le_bytes()],
    ))
}

/// Salt of device `g`'s sweep after the one that ran under `salt`; `roots` are all devices' of that sweep in ordinal order, so
/// that devices sweep in step and hold what they hold at the same time (spec §4).
#[must_use]
pub fn next_sweep_salt(salt: &Salt, roots: &[Root], g: DeviceOrdinal) -> Salt {
    let mut material: Vec<&[u8]> = vec![&salt.0];
    material.extend(roots.iter().map(|root| &root.0[..]));
    let g = g.0.to_le_bytes();
    material.push(&g);
    Salt(derive("next sweep salt", &material))
}

/// Makes the salts of a sweep those of the next one; `roots` are the devices' of that sweep, in the same order (spec §4).
pub fn advance_sweep_salts(salts: &mut [(DeviceOrdinal, Salt)], roots: &[Root]) {
    for (g, salt) in salts {
        *salt = next_sweep_salt(salt, roots, *g);
    }
}

/// Salt of device `g`'s leaves in the round that the Verifier's `fresh` bytes begin (spec §4.8).
#[must_use]
pub fn crossing_salt(chain: &Chain, fresh: &Fresh, g: DeviceOrdinal) -> Salt {
    Salt(derive("crossing salt", &[&chain.0, &fresh.0, &g.0.to_le_bytes()]))
}

/// The chain of the next iteration, or the session's checksum. Roots are those of each device's last sweep, and then of the
/// rounds one after the other, each in ordinal order (spec §4).
#[must_use]
pub fn next_chain(chain: &Chain, w: &Fresh, last_roots: &[Root]) -> Chain {
    Chain(derive("chain", &[&chain.0, &w.0, &hash_roots(last_roots)]))
}

fn hash_roots(roots: &[Root]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for root in roots {
        hasher.update(&root.0);
    }
    *hasher.finalize().as_bytes()
}
