//! Sessions in memory on one made-up clock, whose phases begin together: one session alone is the simplest case.

use std::collections::VecDeque;

use barrier::Barrier;
use protocol::driver::{Need, VerifierDriver};
use protocol::joint::{EvidenceHash, JointMember, JointRecord};
use protocol::verifier::{Outgoing, VerifierSession};

use crate::cast;
use crate::peer::{Action, Peer};
use crate::rehearsal::{Rehearsal, Rehearsed};

/// How long a message is on its way (ns).
pub const TRAVEL_NS: u64 = 1_000_000;

/// How long the Verifier takes to send a message (ns).
const SENDING_NS: u64 = 1_000;

/// A planned session: the Verifier's side, the Attester's side, and when it begins.
pub struct Party<'a> {
    /// The Verifier's side.
    pub rehearsal: &'a Rehearsal,
    /// The Attester's.
    pub peer: &'a mut dyn Peer,
    /// When the session begins, ns on the common clock.
    pub began_ns: u64,
}

/// Sessions that ran at once.
pub struct Together {
    /// Each with its verdict, in the order of the parties.
    pub sessions: Vec<Rehearsed>,
    /// The record of the affirmed sessions; `None` if no session is affirmed.
    pub record: Option<JointRecord>,
}

/// Runs sessions at once, each to its verdict.
///
/// # Panics
///
/// If the protocol's code contradicts itself, which tests must detect.
#[must_use]
pub fn run(parties: &mut [Party<'_>]) -> Together {
    let sessions = run_to_check(parties);
    let mut members = Vec::new();
    let mut sampled = 0;
    let checked = sessions.into_iter().zip(&*parties).map(|(session, party)| {
        let mut rehearsed = party.rehearsal.recorded(session);
        rehearsed.check(&party.rehearsal.recompute);
        let session = &rehearsed.session;
        let sent_sample = |record: &protocol::record::Record| match &record.event {
            protocol::record::Event::Sent(frame) => frame.message_type() == Some(protocol::frame::MessageType::Sample),
            _ => false,
        };
        sampled += u32::from(session.records().iter().any(sent_sample));
        if rehearsed.verdict().status() == 0 {
            members.push(JointMember {
                evidence: EvidenceHash::of(&rehearsed.sealed()),
                began_ns: party.began_ns,
            });
        }
        rehearsed
    });
    let sessions = checked.collect();
    Together {
        sessions,
        record: JointRecord::new(cast::identity(&cast::verifier_key()), sampled, members).ok(),
    }
}

/// Runs sessions at once, each until its tiles are to be recomputed or there is a verdict.
///
/// # Panics
///
/// If the protocol's code contradicts itself.
#[must_use]
pub fn run_to_check(parties: &mut [Party<'_>]) -> Vec<VerifierSession> {
    let mut ends: Vec<End<'_, '_>> = parties.iter_mut().map(End::new).collect();
    let mut barrier = Barrier::new(0..ends.len());
    let mut now_ns = 0;
    loop {
        for (at, end) in ends.iter().enumerate() {
            barrier.update(at, end.driver.need());
        }
        if let Some(release) = barrier.release() {
            for at in release.members {
                ends[at].release(release.outgoing, &mut now_ns);
            }
            continue;
        }
        let Some((at_ns, at)) = barrier.members().map(|at| (ends[at].next_ns(), at)).min() else {
            return ends.into_iter().map(|end| end.driver.into_session()).collect();
        };
        now_ns = now_ns.max(at_ns);
        ends[at].happen(at_ns);
    }
}

/// The Verifier's end of one session, and what is on its way to it.
struct End<'a, 'p> {
    party: &'a mut Party<'p>,
    driver: VerifierDriver,
    drawn: u64,
    /// When the peer does its next action (ns).
    peer_ns: u64,
    /// Whether the peer has hung: it does nothing more.
    has_hung: bool,
    /// Bytes and when they arrive (ns); `None` for the end of the connection.
    arriving: VecDeque<(u64, Option<Vec<u8>>)>,
}

impl<'a, 'p> End<'a, 'p> {
    fn new(party: &'a mut Party<'p>) -> Self {
        let Rehearsal {
            opener,
            hello_deadline_ms,
            tls_exporter,
            ..
        } = party.rehearsal;
        let mut end = End {
            driver: VerifierDriver::new(opener.clone(), *hello_deadline_ms, *tls_exporter),
            drawn: 0,
            peer_ns: party.began_ns,
            has_hung: false,
            arriving: VecDeque::new(),
            party,
        };
        let greeting = end.party.peer.greet();
        end.act(greeting);
        end
    }

    /// Converts a time of the common clock to that of the session.
    fn local(&self, at_ns: u64) -> u64 {
        at_ns - self.party.began_ns
    }

    /// Sends what is due, or stops the session instead if the rehearsal requires it.
    fn release(&mut self, outgoing: Outgoing, now_ns: &mut u64) {
        if self.party.rehearsal.stop_before == Some(outgoing) {
            self.driver.stop(self.local(*now_ns));
            return;
        }
        self.drawn += u64::from(outgoing != Outgoing::Plan);
        *now_ns += SENDING_NS;
        self.peer_ns = self.peer_ns.max(*now_ns);
        let fresh = self.party.rehearsal.fresh(self.drawn);
        if let Some(frame) = self.driver.release(self.local(*now_ns), fresh) {
            let answer = self.party.peer.answer(&frame);
            self.act(answer);
        }
    }

    /// When something happens next: bytes arrive or, if none are on their way, a deadline passes (ns). A message that waits for
    /// the other sessions has no such time.
    fn next_ns(&self) -> u64 {
        match (self.arriving.front(), self.driver.need()) {
            (Some((at_ns, _)), _) => *at_ns,
            (None, Need::Bytes { until_ns }) => self.party.began_ns + until_ns.expect("offline peers do not hang"),
            (None, _) => u64::MAX,
        }
    }

    fn happen(&mut self, at_ns: u64) {
        let local_ns = self.local(at_ns);
        match self.arriving.pop_front() {
            Some((_, Some(bytes))) => self.driver.received(local_ns, bytes),
            Some((_, None)) => self.driver.closed(local_ns, None),
            None => self.driver.time(local_ns),
        }
    }

    /// Schedules the actions of the peer.
    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            if self.has_hung {
                return;
            }
            let arrival = match action {
                Action::Frame(frame) => Some([&frame.header()[..], &frame.payload].concat()),
                Action::Bytes(bytes) => Some(bytes),
                Action::Close => {
                    self.has_hung = true;
                    None
                }
                Action::Wait(ns) => {
                    self.peer_ns = self.peer_ns.saturating_add(ns);
                    continue;
                }
                Action::Hang => {
                    self.has_hung = true;
                    return;
                }
            };
            self.peer_ns = self.peer_ns.saturating_add(TRAVEL_NS);
            self.arriving.push_back((self.peer_ns, arrival));
        }
    }
}
