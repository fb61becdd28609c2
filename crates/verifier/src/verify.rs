//! Independent verification of evidence: seal, order, times, signature, paths, every sampled tile (spec §10).

use std::fmt;

use protocol::bounds::Assumptions;
use protocol::engine::TileEngine;
use protocol::evidence::{Evidence, EvidenceError};
use protocol::verifier::{Step, VerifierSession};
use tracing::debug_span;

use crate::budget::{Budget, TooCostly};
use crate::observer::{Observed, Observer};
use crate::outcome::Judge;
use crate::recompute::{Recompute, RecomputeError, Recomputed, SoFar};

/// Evidence that was checked from start to end.
pub struct Verified {
    /// The evidence.
    pub evidence: Evidence,
    /// Its session, with its verdict.
    pub session: VerifierSession,
}

/// Why there is no verdict on evidence.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not valid evidence: modified, truncated, or made up.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// Checking it would exceed the budget; says nothing about the evidence.
    #[error(transparent)]
    TooCostly(#[from] TooCostly),
    /// Tiles cannot be recomputed here; says nothing about the evidence.
    #[error("tiles cannot be recomputed here: {0}")]
    Recompute(RecomputeError),
    /// The observer stopped it: everything checked so far agrees.
    #[error("stopped after {} of {} samples", .0.so_far.done, .0.so_far.total)]
    Stopped(Box<Stopped>),
}

impl From<RecomputeError> for VerifyError {
    fn from(error: RecomputeError) -> Self {
        VerifyError::Recompute(error)
    }
}

/// A check that was stopped while tiles were recomputed: no verdict, but a partial result.
pub struct Stopped {
    /// The evidence.
    pub evidence: Evidence,
    /// Its session, with tiles still to be recomputed.
    pub session: VerifierSession,
    /// The progress made.
    pub so_far: SoFar,
}

impl fmt::Debug for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopped")
            .field("so_far", &self.so_far)
            .finish_non_exhaustive()
    }
}

/// Evidence whose seal and order were checked, and everything in its session except the tiles.
pub struct Opened {
    /// The evidence.
    pub evidence: Evidence,
    /// Its session: with a verdict, or with tiles to be recomputed.
    pub session: VerifierSession,
}

/// Opens sealed evidence and replays its records: all checks that cost little.
///
/// # Errors
///
/// [`EvidenceError`] for invalid evidence.
pub fn open(sealed: &[u8]) -> Result<Opened, EvidenceError> {
    let evidence = Evidence::open(sealed)?;
    let session = evidence.replay()?;
    Ok(Opened { evidence, session })
}

/// The same for evidence from an untrusted source: the cost of checking it is computed and compared with `budget`
/// before its records are replayed.
///
/// # Errors
///
/// [`VerifyError`] for invalid evidence, and for evidence that costs too much.
pub fn open_within(sealed: &[u8], budget: &Budget) -> Result<Opened, VerifyError> {
    let bytes = sealed.len() as u64;
    budget.check_length(bytes)?;
    let evidence = Evidence::open(sealed)?;
    budget.check_evidence(&evidence, bytes)?;
    let session = evidence.replay()?;
    Ok(Opened { evidence, session })
}

impl Opened {
    /// Recomputes the remaining tiles, with `engines` in addition to the CPU: the rest of the check, and nearly all of
    /// its cost. Partial bounds are reported only if they count for `judge`.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] if the tiles exceed the budget of `recompute` (before any is computed), if tiles cannot be
    /// recomputed, and if the observer stops it.
    pub fn recompute(
        self,
        recompute: &Recompute,
        engines: &mut [Box<dyn TileEngine>],
        judge: &Judge,
        observer: &dyn Observer,
    ) -> Result<Verified, VerifyError> {
        let Opened { evidence, mut session } = self;
        if session.step() == Step::Check {
            if let Some(plan) = session.plan() {
                recompute.budget.check_work(plan)?;
            }
            observer.moved(&session);
            let assumptions = judge.trusts(&evidence, &session).then_some(&judge.assumptions);
            if let Some(so_far) = check_tiles(&mut session, recompute, engines, assumptions, observer)? {
                return Err(VerifyError::Stopped(Box::new(Stopped {
                    evidence,
                    session,
                    so_far,
                })));
            }
        }
        Ok(Verified { evidence, session })
    }
}

/// Checks sealed evidence: everything but the Verifier's clock and randomness is recomputed.
///
/// # Errors
///
/// [`VerifyError`] for invalid evidence, for evidence that exceeds the budget of `recompute`, and if the observer stops
/// it; a failed session is not an error but a verdict.
pub fn verify(
    sealed: &[u8],
    recompute: &Recompute,
    judge: &Judge,
    observer: &dyn Observer,
) -> Result<Verified, VerifyError> {
    open_within(sealed, &recompute.budget)?.recompute(recompute, &mut [], judge, observer)
}

/// Recomputes the tiles of a session whose step is to do so, and gives it the outcome; how far it came where the observer stopped it.
/// `assumptions` are those of bounds so far, if these are for anybody.
pub(crate) fn check_tiles(
    session: &mut VerifierSession,
    recompute: &Recompute,
    engines: &mut [Box<dyn TileEngine>],
    assumptions: Option<&Assumptions>,
    observer: &dyn Observer,
) -> Result<Option<SoFar>, RecomputeError> {
    if session.step() != Step::Check {
        return Ok(None);
    }
    let watch = Observed {
        session,
        assumptions,
        observer,
    };
    let _span = debug_span!("recompute", samples = session.tile_checks().len()).entered();
    let outcome = match recompute.run_with(session.tile_checks(), engines, &watch)? {
        Recomputed::Agrees => Ok(()),
        Recomputed::Differs(mismatch) => Err(mismatch),
        Recomputed::Stopped(so_far) => return Ok(Some(so_far)),
    };
    session.checked(outcome).expect("tiles are due");
    Ok(None)
}
