//! What sessions that ran together leave behind.

use std::path::PathBuf;

use protocol::bytes::Identity;
use protocol::joint::{EvidenceHash, JointMember, JointRecord};
use protocol::verdict::Verdict;
use protocol::verifier::Outgoing;

use crate::settings::Member;

/// A recorded session.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its connection.
    pub member: Member,
    /// Its evidence.
    pub path: PathBuf,
    /// The evidence's hash.
    pub evidence: EvidenceHash,
    /// When its clock was at 0, ns on the common clock.
    pub began_ns: u64,
    /// Whether SAMPLE was sent to it.
    pub was_sampled: bool,
    /// The verdict; `None` if tiles are still to be recomputed.
    pub verdict: Option<Verdict>,
}

/// Sessions that ran concurrently, in the order in which they ended.
#[derive(Clone, Debug)]
pub struct Ran {
    pub(crate) verifier: Identity,
    /// All of them.
    pub sessions: Vec<Recorded>,
    /// How long each release of a message took, from the first member to the last (ns), in order.
    pub release_skews_ns: Vec<(Outgoing, u64)>,
}

impl Ran {
    /// The record of the affirmed sessions, for which `is_affirmed` returns true after their tiles were recomputed.
    /// `None` if there are none.
    #[must_use]
    pub fn record(&self, is_affirmed: impl Fn(&Recorded) -> bool) -> Option<JointRecord> {
        let affirmed = self
            .sessions
            .iter()
            .filter(|one| one.verdict.is_none() && is_affirmed(one));
        let members = affirmed.map(|one| JointMember {
            evidence: one.evidence,
            began_ns: one.began_ns,
        });
        let sampled = self.sessions.iter().filter(|one| one.was_sampled).count();
        JointRecord::new(self.verifier, u32::try_from(sampled).ok()?, members.collect()).ok()
    }
}
