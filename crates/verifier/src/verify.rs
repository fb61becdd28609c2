//! Evidence checked again by anyone: seal, order, times, signature, paths, every sampled tile (spec §10).

use std::fmt;

use protocol::bounds::Assumptions;
use protocol::engine::TileEngine;
use protocol::evidence::{Evidence, EvidenceError};
use protocol::verifier::{Step, VerifierSession};

use crate::budget::{Budget, TooCostly};
use crate::outcome::Judge;
use crate::recompute::{Recompute, RecomputeError, Recomputed, SoFar, Watch};
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
    /// Checking it costs more than it may; says nothing about the evidence.
    #[error(transparent)]
    TooCostly(#[from] TooCostly),
    /// Tiles cannot be recomputed here; says nothing about the evidence.
    #[error("tiles cannot be recomputed here: {0}")]
    Recompute(RecomputeError),
    /// The observer stopped it: all that was checked agrees.
    #[error("stopped after {} of {} samples", .0.so_far.done, .0.so_far.total)]
    Stopped(Box<Stopped>),
}

impl From<RecomputeError> for VerifyError {
    fn from(error: RecomputeError) -> Self {
        VerifyError::Recompute(error)
    }
}

/// A check that was stopped while tiles were recomputed: no verdict, but what was checked says something.
pub struct Stopped {
    /// The evidence.
    pub evidence: Evidence,
    /// Its session, whose tiles are still due.
    pub session: VerifierSession,
    /// How far it came.
    pub so_far: SoFar,
}

impl fmt::Debug for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopped")
            .field("so_far", &self.so_far)
            .finish_non_exhaustive()
    }
}

/// Evidence whose seal and order were checked, and of whose session everything but the tiles was.
pub struct Opened {
    /// The evidence.
    pub evidence: Evidence,
    /// Its session: with a verdict, or with tiles to be recomputed.
    pub session: VerifierSession,
}

/// Opens sealed evidence and runs its records again: all that costs little.
///
/// # Errors
///
/// [`EvidenceError`] for what is no evidence.
pub fn open(sealed: &[u8]) -> Result<Opened, EvidenceError> {
    let evidence = Evidence::open(sealed)?;
    let session = evidence.replay()?;
    Ok(Opened { evidence, session })
}

/// The same for evidence that a stranger sent: what it costs to check is worked out and held against `budget` before its
/// records are run again.
///
/// # Errors
///
/// [`VerifyError`] for what is no evidence, and for what costs too much.
pub fn open_within(sealed: &[u8], budget: &Budget) -> Result<Opened, VerifyError> {
    let bytes = sealed.len() as u64;
    budget.check_length(bytes)?;
    let evidence = Evidence::open(sealed)?;
    budget.check_evidence(&evidence, bytes)?;
    let session = evidence.replay()?;
    Ok(Opened { evidence, session })
}

impl Opened {
    /// Recomputes the tiles that are due, with `engines` beside the CPU: the rest of the check, and nearly all of its cost. Of
    /// bounds so far only what counts for `judge` is told.
    ///
    /// # Errors
    ///
    /// [`VerifyError`] where they cost more than the budget of `recompute`, before any is computed, where tiles cannot be
    /// recomputed, and where the observer stops it.
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
            let watch = Observed {
                session: &session,
                assumptions: judge.trusts(&evidence, &session).then_some(&judge.assumptions),
                observer,
            };
            let outcome = match recompute.run_with(session.tile_checks(), engines, &watch)? {
                Recomputed::Agrees => Ok(()),
                Recomputed::Differs(mismatch) => Err(mismatch),
                Recomputed::Stopped(so_far) => {
                    return Err(VerifyError::Stopped(Box::new(Stopped {
                        evidence,
                        session,
                        so_far,
                    })));
                }
            };
            session.checked(outcome).expect("tiles are due");
        }
        Ok(Verified { evidence, session })
    }
}

/// Checks sealed evidence: everything but the Verifier's clock and randomness is recomputed.
///
/// # Errors
///
/// [`VerifyError`] for what is no evidence, for what costs more than the budget of `recompute`, and where the observer stops it;
/// a session that failed is no error but a verdict.
pub fn verify(
    sealed: &[u8],
    recompute: &Recompute,
    judge: &Judge,
    observer: &dyn Observer,
) -> Result<Verified, VerifyError> {
    open_within(sealed, &recompute.budget)?.recompute(recompute, &mut [], judge, observer)
}

/// Tells an observer of what is recomputed.
pub(crate) struct Observed<'a> {
    pub(crate) session: &'a VerifierSession,
    /// What bounds so far take for granted; `None` where they are for nobody.
    pub(crate) assumptions: Option<&'a Assumptions>,
    pub(crate) observer: &'a dyn Observer,
}

impl Watch for Observed<'_> {
    fn agreed(&self, so_far: &SoFar) {
        self.observer.recomputed(so_far.done, so_far.total);
        let claims = || so_far.claims(self.session, self.assumptions?);
        self.observer.certified_so_far(&claims);
    }

    fn is_stopped(&self) -> bool {
        self.observer.is_stopped()
    }
}
