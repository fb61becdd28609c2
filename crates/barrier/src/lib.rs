//! Sessions whose phases start together (spec §5.2): which message may be released, and to whom.
//!
//! No IO and no clock: the caller drives each session and reports to [`Barrier`] what it needs. A session that is over
//! has left, so a member that misses a phase's deadline, which its own driver detects, delays the others no longer than
//! that.

use std::collections::{BTreeMap, BTreeSet};

use protocol::driver::Need;
use protocol::message::Stage;
use protocol::verifier::Outgoing;

/// Sessions that wait for each other, each identified by the caller. An update costs the logarithm of their number.
#[derive(Clone, Debug)]
pub struct Barrier<Member> {
    members: BTreeSet<Member>,
    /// Sessions that wait for PLAN, which waits for no other session.
    to_plan: BTreeSet<Member>,
    /// Sessions that wait for another message.
    ready: BTreeMap<Member, Outgoing>,
}

/// A message, and the members to which it is to be released, all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release<Member> {
    /// The message.
    pub outgoing: Outgoing,
    /// The recipients, in order.
    pub members: Vec<Member>,
}

impl<Member: Ord + Copy> Barrier<Member> {
    /// A barrier of these sessions, none of which has started.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        Barrier {
            members: members.into_iter().collect(),
            to_plan: BTreeSet::new(),
            ready: BTreeMap::new(),
        }
    }

    /// Records what a session needs. A session that is over, or whose tiles are to be recomputed, leaves permanently:
    /// it sends nothing more that the others wait for.
    pub fn update(&mut self, member: Member, need: Need) {
        self.to_plan.remove(&member);
        self.ready.remove(&member);
        if matches!(need, Need::Check | Need::Nothing) {
            self.members.remove(&member);
        }
        if let Need::Release(outgoing) = need
            && self.members.contains(&member)
        {
            if outgoing == Outgoing::Plan {
                self.to_plan.insert(member);
            } else {
                self.ready.insert(member, outgoing);
            }
        }
    }

    /// The remaining sessions.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.members.iter().copied()
    }

    /// What may be released now. PLAN is released to each session as soon as it is due; anything else waits until all
    /// remaining sessions wait too. Sessions with different plans are released in the order of their phases.
    #[must_use]
    pub fn release(&self) -> Option<Release<Member>> {
        if !self.to_plan.is_empty() {
            return Some(Release {
                outgoing: Outgoing::Plan,
                members: self.to_plan.iter().copied().collect(),
            });
        }
        if self.ready.len() < self.members.len() {
            return None;
        }
        let outgoing = self.ready.values().copied().min_by_key(|due| order(*due))?;
        let due = self.ready.iter().filter(|(_, due)| **due == outgoing);
        Some(Release {
            outgoing,
            members: due.map(|(member, _)| *member).collect(),
        })
    }
}

/// The rank of a message in a session.
fn order(outgoing: Outgoing) -> (u8, u32, u32) {
    match outgoing {
        Outgoing::Plan => (0, 0, 0),
        Outgoing::Nonce => (1, 0, 0),
        Outgoing::Salt(Stage::V, iteration) => (2, iteration, 0),
        Outgoing::Salt(Stage::Round(round), iteration) => (2, iteration, 1 + round),
        Outgoing::Salt(Stage::W, iteration) => (2, iteration, u32::MAX),
        Outgoing::Sample => (3, 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: Need = Need::Bytes { until_ns: Some(7) };
    const V: Outgoing = Outgoing::Salt(Stage::V, 0);
    const W: Outgoing = Outgoing::Salt(Stage::W, 0);

    fn release(outgoing: Outgoing, members: &[u32]) -> Option<Release<u32>> {
        Some(Release {
            outgoing,
            members: members.to_vec(),
        })
    }

    #[test]
    fn a_message_waits_for_all_that_remain() {
        let mut barrier = Barrier::new([1, 2, 3]);
        assert_eq!(barrier.release(), None);
        barrier.update(1, Need::Release(Outgoing::Plan));
        assert_eq!(
            barrier.release(),
            release(Outgoing::Plan, &[1]),
            "PLAN waits for nobody"
        );
        barrier.update(1, Need::Release(V));
        barrier.update(2, Need::Release(V));
        assert_eq!(barrier.release(), None);
        barrier.update(3, Need::Release(V));
        assert_eq!(barrier.release(), release(V, &[1, 2, 3]));
        barrier.update(2, BYTES);
        assert_eq!(barrier.release(), None, "released to one of them, it is not due again");
    }

    #[test]
    fn a_session_that_is_over_holds_nobody_up() {
        let mut barrier = Barrier::new([1, 2, 3]);
        barrier.update(1, Need::Release(W));
        barrier.update(3, Need::Release(W));
        barrier.update(2, Need::Nothing);
        assert_eq!(barrier.release(), release(W, &[1, 3]));
        // It does not return.
        barrier.update(2, BYTES);
        assert_eq!(barrier.release(), release(W, &[1, 3]));
        assert_eq!(barrier.members().collect::<Vec<_>>(), [1, 3]);
        barrier.update(1, Need::Check);
        barrier.update(3, Need::Check);
        assert_eq!((barrier.release(), barrier.members().count()), (None, 0));
    }

    /// Hosts of one device have no rounds, and wait until the others have had theirs.
    #[test]
    fn who_has_no_round_waits_for_those_that_have() {
        let round = |round| Outgoing::Salt(Stage::Round(round), 0);
        let mut barrier = Barrier::new([1, 2, 3]);
        barrier.update(1, Need::Release(W));
        barrier.update(2, Need::Release(round(1)));
        barrier.update(3, Need::Release(round(0)));
        assert_eq!(barrier.release(), release(round(0), &[3]));
        barrier.update(3, Need::Release(round(1)));
        assert_eq!(barrier.release(), release(round(1), &[2, 3]));
        barrier.update(2, Need::Release(W));
        barrier.update(3, Need::Release(W));
        assert_eq!(barrier.release(), release(W, &[1, 2, 3]));
    }

    /// Sessions with different plans cannot certify anything together, but none waits forever.
    #[test]
    fn sessions_of_other_plans_go_on_in_order() {
        let mut barrier = Barrier::new([1, 2]);
        barrier.update(1, Need::Release(Outgoing::Sample));
        barrier.update(2, Need::Release(Outgoing::Salt(Stage::V, 1)));
        assert_eq!(barrier.release(), release(Outgoing::Salt(Stage::V, 1), &[2]));
        barrier.update(2, Need::Release(Outgoing::Salt(Stage::W, 1)));
        assert_eq!(barrier.release(), release(Outgoing::Salt(Stage::W, 1), &[2]));
        barrier.update(2, Need::Release(Outgoing::Sample));
        assert_eq!(barrier.release(), release(Outgoing::Sample, &[1, 2]));
    }
}
