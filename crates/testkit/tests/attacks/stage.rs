//! The setting of the tables: small sessions, and ways to change one thing in them.

use std::cell::RefCell;

use protocol::cbor::Canonical;
use protocol::commitment::Opening;
use protocol::frame::{Frame, MessageType};
use protocol::message::{Hello, SaltMessage, SampleMessage, Stage};
use protocol::record::{EndCause, Event};
use protocol::verdict::{Failure, Phase, Verdict};
use protocol::verifier::{Inconsistent, VerifierSession};
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Peer, Tampered, Turn};
use testkit::rehearsal::Rehearsal;
use verifier::outcome::Judge;
use verifier::{Unobserved, verify};

thread_local! {
    /// The sealed evidence of this thread's last session.
    pub(crate) static JUDGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Two devices of 3 and 2 tiles.
pub(crate) fn hello() -> Hello {
    cast::hello(&[3, 2])
}

/// Three iterations, two distinct k, three samples per device and k.
pub(crate) fn rehearsal() -> Rehearsal {
    Rehearsal::new(cast::request(&[(64, 2), (128, 2), (64, 1)], 3))
}

/// The Attester of [`hello`].
pub(crate) fn honest() -> HonestPeer {
    HonestPeer::new(hello(), |_| cast::engine())
}

/// The verdict on `peer`; its evidence must give the same verdict.
pub(crate) fn play(mut peer: impl Peer) -> Verdict {
    judge(&rehearsal(), &mut peer)
}

/// The verdict of `rehearsal` on `peer`; the evidence must give the same verdict.
pub(crate) fn judge(rehearsal: &Rehearsal, peer: &mut dyn Peer) -> Verdict {
    let rehearsed = rehearsal.run(peer);
    let sealed = rehearsed.sealed();
    let verified =
        verify(&sealed, &cast::recompute(), &Judge::of_nobody(), &Unobserved).expect("evidence of a session");
    assert_eq!(
        verified.session.verdict(),
        Some(rehearsed.verdict()),
        "what its evidence says"
    );
    JUDGED.set(sealed);
    rehearsed.verdict().clone()
}

/// The verdict on the honest Attester whose turns `tamper` changes.
pub(crate) fn tamper(tamper: impl FnMut(&mut Turn<'_>)) -> Verdict {
    play(Tampered::new(honest(), tamper))
}

/// The verdict on an Attester that changes its first frame of this type.
pub(crate) fn change(message_type: MessageType, change: impl FnOnce(&mut Frame)) -> Verdict {
    let mut change = Some(change);
    tamper(|turn| {
        if let Some(frame) = turn.frame(message_type)
            && let Some(change) = change.take()
        {
            change(frame);
        }
    })
}

/// The verdict on an Attester that changes the value of its first message of this type.
pub(crate) fn change_value<T: Canonical>(message_type: MessageType, change_value: impl FnOnce(&mut T)) -> Verdict {
    change(message_type, |frame| {
        let mut value = T::from_bytes(&frame.payload).expect("an honest message");
        change_value(&mut value);
        frame.payload = value.to_bytes().into();
    })
}

/// The verdict on an Attester that does these things before its first frame of this type.
pub(crate) fn before(message_type: MessageType, actions: Vec<Action>) -> Verdict {
    let mut actions = Some(actions);
    tamper(|turn| {
        if let Some(position) = turn.position(message_type)
            && let Some(actions) = actions.take()
        {
            turn.actions.splice(position..position, actions);
        }
    })
}

/// The verdict on an Attester that does these things from the start of the phase on.
pub(crate) fn instead(phase: Phase, actions: Vec<Action>) -> Verdict {
    tamper(|turn| {
        if opens(turn, phase) {
            turn.actions = actions.clone();
        }
    })
}

/// Whether this turn is the first of the phase.
pub(crate) fn opens(turn: &Turn<'_>, phase: Phase) -> bool {
    let Some(frame) = turn.to else {
        return phase == Phase::Hello;
    };
    let salts = |stage| {
        turn.answers(MessageType::Salt)
            && SaltMessage::from_bytes(&frame.payload).is_ok_and(|salt| (salt.stage, salt.iteration) == (stage, 0))
    };
    match phase {
        Phase::Hello => false,
        Phase::Prepare => turn.answers(MessageType::Plan),
        Phase::Fill => turn.answers(MessageType::Nonce),
        Phase::Sweep => salts(Stage::V),
        Phase::Cross => salts(Stage::Round(0)),
        Phase::Open => turn.answers(MessageType::Sample),
    }
}

/// The verdict on an Attester that changes its openings and signs them.
pub(crate) fn change_openings(change: impl FnMut(&mut Vec<[Opening; 3]>) + Send + 'static) -> Verdict {
    let mut peer = honest();
    peer.openings_hook = Some(Box::new(change));
    play(peer)
}

/// Removes the last element.
pub(crate) fn cut<T>(list: &mut Vec<T>) {
    list.truncate(list.len() - 1);
}

/// A frame as bytes.
pub(crate) fn bytes(frame: &Frame) -> Vec<u8> {
    [&frame.header()[..], &frame.payload].concat()
}

#[test]
fn the_honest_attester_is_affirmed() {
    assert_eq!(play(honest()), Verdict::Affirmed);
}

#[test]
fn devices_that_finish_in_another_order_change_nothing() {
    let first = rehearsal().run(&mut honest());
    let mut reversed = Tampered::new(honest(), |turn: &mut Turn<'_>| turn.actions.reverse());
    let second = rehearsal().run(&mut reversed);
    assert_eq!(second.verdict(), &Verdict::Affirmed);
    assert_eq!(second.session.checksum(), first.session.checksum());
    assert_ne!(second.evidence.records, first.evidence.records);
}

#[test]
fn the_same_session_gives_the_same_evidence() {
    let first = rehearsal().run(&mut honest()).sealed();
    assert_eq!(first, rehearsal().run(&mut honest()).sealed());
    let mut other = rehearsal();
    other.seed = 1;
    assert_ne!(first, other.run(&mut honest()).sealed());
}

#[test]
fn a_session_tells_what_was_sampled_and_opened() {
    let session = rehearsal().run(&mut honest()).session;
    let plan = session.plan().expect("a plan");
    let seed = session
        .records()
        .iter()
        .find_map(|record| match &record.event {
            Event::Sent(frame) if frame.message_type() == Some(MessageType::Sample) => {
                SampleMessage::from_bytes(&frame.payload).ok()
            }
            _ => None,
        })
        .expect("SAMPLE");
    let drawn = protocol::sampling::samples(plan, &seed.0);
    assert!(!drawn.is_empty());
    assert_eq!(session.samples().collect::<Vec<_>>(), drawn);
    assert_eq!(session.sites().map(|site| site.sample).collect::<Vec<_>>(), drawn);
    assert_eq!(session.openings().expect("OPENINGS").openings.len(), drawn.len());
}

#[test]
fn an_end_that_is_not_due_is_refused() {
    let config = rehearsal().run(&mut honest()).evidence.config;
    let mut session = VerifierSession::new(config);
    let before = session.clone();
    let refused = session.ended(1, EndCause::NoPlan("why".to_owned()));
    assert_eq!(refused, Err(Inconsistent::Event("no plan", before.step())));
    // A deadline does not fire early either.
    let refused = session.ended(999_999_999, EndCause::Deadline);
    assert_eq!(refused, Err(Inconsistent::Event("a deadline", before.step())));
    assert_eq!(session.records(), before.records());
    assert_eq!(session.verdict(), None);
}

#[test]
fn a_fill_begins_when_nonce_or_w_is_sent() {
    let session = rehearsal().run(&mut honest()).session;
    let begins = |frame: &Frame| match frame.message_type() {
        Some(MessageType::Nonce) => true,
        Some(MessageType::Salt) => {
            SaltMessage::from_bytes(&frame.payload).is_ok_and(|salt| salt.stage == Stage::W && salt.iteration < 2)
        }
        _ => false,
    };
    let sent: Vec<u64> = session
        .records()
        .iter()
        .filter(|record| matches!(&record.event, Event::Sent(frame) if begins(frame)))
        .map(|record| record.at_ns)
        .collect();
    assert_eq!(sent.len(), 3);
    assert_eq!(
        session
            .windows()
            .iter()
            .map(|window| window.fill_start_ns)
            .collect::<Vec<_>>(),
        sent
    );
}

#[test]
fn what_is_known_of_a_connections_end_is_told() {
    let told = |actions| match instead(Phase::Open, actions) {
        Verdict::Contraindicated(Failure::Unopened(told)) => told,
        other => panic!("{other:?}"),
    };
    assert_eq!(told(vec![Action::Close]), "the connection ended");
    let cut = told(vec![Action::Bytes(vec![9]), Action::Close]);
    assert!(cut.starts_with("the connection ended: "), "{cut}");
}
