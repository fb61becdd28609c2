//! A session in memory, before and after it is run: what the Verifier's side of it is, and its evidence.

use protocol::bytes::Fresh;
use protocol::derive::derive;
use protocol::evidence::Evidence;
use protocol::request::PlanRequest;
use protocol::verdict::Verdict;
use protocol::verifier::{Mode, Outgoing, Step, VerifierSession};
use verifier::recompute::{Recompute, Recomputed, Unwatched};

pub use protocol::driver::Opener;

use crate::cast;

/// The Verifier's side of a planned session.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// The source of PLAN.
    pub opener: Opener,
    /// The seed of the fresh bytes.
    pub seed: u64,
    /// The connection's TLS exporter value.
    pub tls_exporter: Option<[u8; 32]>,
    /// How long HELLO may take (ms).
    pub hello_deadline_ms: u64,
    /// The Verifier is stopped before it sends this.
    pub stop_before: Option<Outgoing>,
    /// How sampled tiles are recomputed.
    pub recompute: Recompute,
}

/// A completed session.
#[derive(Clone)]
pub struct Rehearsed {
    /// The session, with its verdict.
    pub session: VerifierSession,
    /// Its evidence; offline evidence is the Attester's.
    pub evidence: Evidence,
}

impl Rehearsal {
    /// A session with this request.
    #[must_use]
    pub fn new(request: PlanRequest) -> Self {
        Rehearsal::opened(Opener::Request(request))
    }

    /// A session with this opening.
    #[must_use]
    pub fn opened(opener: Opener) -> Self {
        Rehearsal {
            opener,
            seed: 0,
            tls_exporter: None,
            hello_deadline_ms: 1_000,
            stop_before: None,
            recompute: cast::recompute(),
        }
    }

    /// The session's `index`-th fresh bytes: they depend on the seed alone.
    #[must_use]
    pub fn fresh(&self, index: u64) -> Fresh {
        Fresh(derive("testkit", &[&self.seed.to_le_bytes(), &index.to_le_bytes()]))
    }

    /// The session and its evidence.
    pub(crate) fn recorded(&self, session: VerifierSession) -> Rehearsed {
        let config = *session.config();
        let challenge = match &self.opener {
            Opener::Challenge(challenge) => Some(challenge.clone()),
            _ => None,
        };
        let sealer = match config.mode {
            Mode::Online => cast::verifier_key(),
            Mode::Offline => cast::attester_key(),
        };
        let evidence = Evidence {
            config,
            started_unix_ms: 1_795_000_000_000,
            assumptions: cast::assumptions(),
            challenge,
            sealer: cast::identity(&sealer),
            records: session.records().to_vec(),
        };
        Rehearsed { session, evidence }
    }
}

impl Rehearsed {
    /// The verdict.
    ///
    /// # Panics
    ///
    /// If tiles are still to be recomputed.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        self.session.verdict().expect("the session is over")
    }

    /// Recomputes the tiles that are due, if any are.
    pub(crate) fn check(&mut self, recompute: &Recompute) {
        if self.session.step() == Step::Check {
            let recomputed = recompute.run(self.session.tile_checks(), &Unwatched);
            let outcome = match recomputed.expect("the best path runs here") {
                Recomputed::Agrees => Ok(()),
                Recomputed::Differs(mismatch) => Err(mismatch),
                Recomputed::Stopped(_) => unreachable!("nobody stops it"),
            };
            self.session.checked(outcome).expect("tiles are due");
        }
    }

    /// The evidence, sealed by its recorder.
    #[must_use]
    pub fn sealed(&self) -> Vec<u8> {
        seal(&self.evidence)
    }
}

/// `evidence` sealed with the key that its sealer has in the [`cast`].
///
/// # Panics
///
/// If the sealer is not in the cast.
#[must_use]
pub fn seal(evidence: &Evidence) -> Vec<u8> {
    let key = [cast::verifier_key(), cast::attester_key(), cast::strangers_key()]
        .into_iter()
        .find(|key| cast::identity(key) == evidence.sealer)
        .expect("the sealer is one of the cast");
    evidence.seal(&key)
}
