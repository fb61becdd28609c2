//! One session in memory: the Verifier's state machine against a peer, with made-up times and fixed fresh bytes.
//!
//! Nothing sleeps and nothing is drawn, so the same peer gives the same evidence byte for byte.

use crate::peer::Peer;
use crate::rehearsal::{Rehearsal, Rehearsed};
use crate::together::{Party, run_to_check};

impl Rehearsal {
    /// Runs the session to its verdict.
    ///
    /// # Panics
    ///
    /// If the state machine contradicts itself, which tests must detect.
    #[must_use]
    pub fn run(&self, peer: &mut dyn Peer) -> Rehearsed {
        let mut rehearsed = self.run_to_check(peer);
        rehearsed.check(&self.recompute);
        rehearsed
    }

    /// Runs the session until tiles are to be recomputed or there is a verdict.
    ///
    /// # Panics
    ///
    /// If the state machine contradicts itself.
    #[must_use]
    pub fn run_to_check(&self, peer: &mut dyn Peer) -> Rehearsed {
        let party = Party {
            rehearsal: self,
            peer,
            began_ns: 0,
        };
        let session = run_to_check(&mut [party]).pop().expect("one party, one session");
        self.recorded(session)
    }
}
