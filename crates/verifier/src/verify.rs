//! Evidence checked again by anyone: seal, order, times, signature, paths, every sampled tile (spec §10).

use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::evidence::{Evidence, EvidenceError};
use protocol::verifier::{Step, VerifierSession};

use crate::recompute::{Recompute, RecomputeError};
use crate::session::Observer;

/// Evidence that was checked from end to end.
pub struct Verified {
    /// The evidence.
    pub evidence: Evidence,
    /// Its session, with its verdict.
    pub session: VerifierSession,
}

/// Why evidence has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is no evidence: changed, cut, or made up.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// Tiles cannot be recomputed here; says nothing about the evidence.
    #[error("tiles cannot be recomputed here: {0}")]
    Recompute(#[from] RecomputeError),
}

/// Checks sealed evidence: everything but the Verifier's clock and randomness is recomputed.
///
/// # Errors
///
/// [`VerifyError`] for what is no evidence; a session that failed is no error but a verdict.
pub fn verify(sealed: &[u8], recompute: &Recompute, observer: &dyn Observer) -> Result<Verified, VerifyError> {
    let evidence = Evidence::open(sealed)?;
    let mut session = evidence.replay()?;
    if session.step() == Step::Check {
        let checks = session.tile_checks();
        let done = AtomicUsize::new(0);
        let advance = || {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            observer.recomputed(done, checks.len());
        };
        let outcome = recompute.run(checks, &advance)?;
        session.checked(outcome).expect("tiles are due");
    }
    Ok(Verified { evidence, session })
}
