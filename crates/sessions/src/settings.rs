//! What is asked of the sessions, and how they are told apart.

use std::path::PathBuf;

use ed25519_dalek::SigningKey;
use protocol::bounds::Assumptions;
use protocol::request::PlanRequest;

/// The index of a session's connection, from 0.
pub type Member = usize;

/// The requirements that all sessions share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The work: sessions certify something together only if all have iterations of the same k and sweeps.
    pub request: PlanRequest,
    /// How long HELLO may take (ms).
    pub hello_deadline_ms: u64,
    /// The assumptions recorded in the evidence.
    pub assumptions: Assumptions,
    /// The Verifier's key, which seals the evidence.
    pub key: SigningKey,
    /// The folder for evidence: `0.cbor`, `1.cbor` and so on, by connection.
    pub folder: PathBuf,
    /// How many sessions are asked for OPENINGS at a time: these are held in memory until they are written.
    pub opening_at_once: usize,
}
