//! What the tables play on: small sessions, and ways to change one thing in them.

use protocol::cbor::Canonical;
use protocol::commitment::Opening;
use protocol::frame::{Frame, MessageType};
use protocol::message::{Hello, SaltMessage, Stage};
use protocol::verdict::{Phase, Verdict};
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Peer, Tampered, Turn};
use testkit::rehearsal::Rehearsal;
use verifier::{Unobserved, verify};

/// Two devices of 3 and 2 tiles.
pub(crate) fn hello() -> Hello {
    cast::hello(&[3, 2])
}

/// Three iterations, two distinct k, three samples a device and k.
pub(crate) fn rehearsal() -> Rehearsal {
    Rehearsal::new(cast::request(&[(64, 2), (128, 2), (64, 1)], 3))
}

/// The Attester of [`hello`].
pub(crate) fn honest() -> HonestPeer {
    HonestPeer::new(hello(), |_| cast::engine())
}

/// The verdict on `peer`; its evidence must say the same.
pub(crate) fn play(mut peer: impl Peer) -> Verdict {
    judge(&rehearsal(), &mut peer)
}

/// The verdict of `rehearsal` on `peer`; the evidence must say the same.
pub(crate) fn judge(rehearsal: &Rehearsal, peer: &mut dyn Peer) -> Verdict {
    let rehearsed = rehearsal.run(peer);
    let verified = verify(&rehearsed.sealed(), &cast::recompute(), &Unobserved).expect("evidence of a session");
    assert_eq!(
        verified.session.verdict(),
        Some(rehearsed.verdict()),
        "what its evidence says"
    );
    rehearsed.verdict().clone()
}

/// The verdict on the honest Attester whose turns pass through `tamper`.
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
        frame.payload = value.to_bytes();
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
    match phase {
        Phase::Hello => false,
        Phase::Prepare => turn.answers(MessageType::Plan),
        Phase::Fill => turn.answers(MessageType::Nonce),
        Phase::Sweep => {
            turn.answers(MessageType::Salt)
                && SaltMessage::from_bytes(&frame.payload)
                    .is_ok_and(|salt| (salt.stage, salt.iteration) == (Stage::V, 0))
        }
        Phase::Open => turn.answers(MessageType::Sample),
    }
}

/// The verdict on an Attester that changes its openings and signs them.
pub(crate) fn change_openings(change: impl FnMut(&mut Vec<[Opening; 3]>) + Send + 'static) -> Verdict {
    let mut peer = honest();
    peer.openings_hook = Some(Box::new(change));
    play(peer)
}

/// Takes the last element away.
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
