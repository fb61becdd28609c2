//! Observers, which watch a session or a check and may stop it.

use protocol::bounds::Assumptions;
use protocol::certified::Certified;
use protocol::message::ProgressMessage;
use protocol::verifier::VerifierSession;
use transport::Stop;

use crate::recompute::{SoFar, Watch};

/// Is notified of the progress of a session or a check, and may stop it.
pub trait Observer: Sync {
    /// The session has made progress; [`VerifierSession::step`] returns its state.
    fn moved(&self, session: &VerifierSession) {
        let _ = session;
    }

    /// Text that came before the session's first message, for example a login shell's greeting. The host chooses it.
    fn greeted(&self, text: &[u8]) {
        let _ = text;
    }

    /// The progress that the Attester reports, which may be untrue.
    fn progressed(&self, progress: &ProgressMessage) {
        let _ = progress;
    }

    /// Of `total` samples `done` have been recomputed and agree.
    fn recomputed(&self, done: usize, total: usize) {
        let _ = (done, total);
    }

    /// One more sample agrees; `certified` computes what the samples so far certify, which takes time.
    fn certified_so_far(&self, certified: &dyn Fn() -> Option<Certified>) {
        let _ = certified;
    }

    /// The request that ends the session or the check early, if there can be one.
    fn stop(&self) -> Option<&Stop> {
        None
    }
}

/// An [`Observer`] that ignores everything.
pub struct Unobserved;

impl Observer for Unobserved {}

/// An [`Observer`] that can stop, and does nothing else.
impl Observer for Stop {
    fn stop(&self) -> Option<&Stop> {
        Some(self)
    }
}

/// Notifies an observer of recomputed samples.
pub(crate) struct Observed<'a> {
    pub(crate) session: &'a VerifierSession,
    /// What the bounds so far assume; `None` if no bounds are computed.
    pub(crate) assumptions: Option<&'a Assumptions>,
    pub(crate) observer: &'a dyn Observer,
}

impl Watch for Observed<'_> {
    fn agreed(&self, so_far: &SoFar) {
        self.observer.recomputed(so_far.done, so_far.total);
        let certified = || so_far.certified(self.session, self.assumptions?);
        self.observer.certified_so_far(&certified);
    }

    fn is_stopped(&self) -> bool {
        self.observer.stop().is_some_and(Stop::is_asked)
    }
}
