//! Messages that are malformed, out of order, intended for another recipient, or from another session.

use protocol::bytes::{DeviceOrdinal, Root};
use protocol::cbor::{Canonical, Label};
use protocol::frame::{Frame, MessageType};
use protocol::message::{Filled, Hello, Swept};
use protocol::trace::Misplaced;
use protocol::verdict::{Failure, Obstacle, Phase, Verdict};
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Misled, Peer, Tampered};
use testkit::rehearsal::Rehearsal;

use crate::attacks;
use crate::stage::{before, change, change_value, cut, honest, judge, play, rehearsal, tamper};

use Verdict::{Contraindicated, CouldNotRun};

fn frame(message_type: MessageType, payload: Vec<u8>) -> Action {
    Action::Frame(Frame::new(message_type, payload))
}

fn filled(iteration: u32, device: u32) -> Action {
    let filled = Filled {
        iteration,
        device: DeviceOrdinal(device),
        root: Root([7; 32]),
    };
    frame(MessageType::Filled, filled.to_bytes())
}

fn swept(iteration: u32, device: u32, roots: usize) -> Action {
    let swept = Swept {
        iteration,
        device: DeviceOrdinal(device),
        roots: vec![Root([7; 32]); roots],
    };
    frame(MessageType::Swept, swept.to_bytes())
}

fn say_hello(change: impl FnOnce(&mut Hello)) -> Verdict {
    change_value(MessageType::Hello, change)
}

/// The verdict on an Attester that sends its first frame of this type twice.
fn twice(message_type: MessageType) -> Verdict {
    tamper(|turn| {
        if let Some(position) = turn.position(message_type) {
            turn.actions.insert(position, turn.actions[position].clone());
        }
    })
}

/// The verdict on an honest Attester that offers these matrices, whether or not it has them.
fn offering(matrices: &[u64], device_bytes: Option<u64>) -> Verdict {
    let mut request = cast::request(&[(64, 1)], 3);
    request.device_bytes = device_bytes;
    let mut hello = cast::hello(matrices);
    for offer in &mut hello.devices {
        offer.available_bytes = offer.available_bytes.max(offer.memory_bytes);
    }
    judge(
        &Rehearsal::new(request),
        &mut HonestPeer::new(hello, |_| cast::engine()),
    )
}

/// The verdict on an Attester that states the maximum amount of memory.
fn boasting(device_bytes: Option<u64>) -> Verdict {
    let mut request = cast::request(&[(64, 1)], 3);
    request.device_bytes = device_bytes;
    let mut hello = cast::hello(&[1; 64]);
    for offer in &mut hello.devices {
        (offer.memory_bytes, offer.available_bytes) = (u64::MAX, u64::MAX);
    }
    judge(
        &Rehearsal::new(request),
        &mut HonestPeer::new(hello, |_| cast::engine()),
    )
}

/// The verdict on an Attester that receives other messages than those that the Verifier sends.
fn misled(message_type: MessageType, mut mislead: impl FnMut(&mut Vec<u8>)) -> Verdict {
    play(Misled::new(honest(), |frame: &mut Frame| {
        if frame.message_type() == Some(message_type) {
            mislead(&mut frame.payload);
        }
    }))
}

/// The verdict on an Attester that repeats in a new session every message that it sent in another one.
fn replayed(message_types: &'static [MessageType]) -> Verdict {
    let mut turns = Vec::new();
    let mut recorded = Tampered::new(honest(), |turn: &mut testkit::peer::Turn<'_>| {
        turns.push(turn.actions.clone())
    });
    let first = rehearsal().run(&mut recorded);
    assert_eq!(first.verdict(), &Verdict::Affirmed);
    drop(recorded);

    let mut turns = turns.into_iter();
    let peer = Tampered::new(honest(), |turn: &mut testkit::peer::Turn<'_>| {
        let old = turns.next().unwrap_or_default();
        if message_types.iter().any(|&kind| turn.position(kind).is_some()) {
            turn.actions = old;
        }
    });
    let mut second = rehearsal();
    second.seed = 1;
    judge(&second, &mut { peer })
}

fn not_ours(verdict: &Verdict) -> Option<&Failure> {
    match verdict {
        CouldNotRun(Obstacle::NotThisProtocol(failure)) => Some(failure),
        _ => None,
    }
}

fn is_malformed(verdict: &Verdict, expected: MessageType) -> bool {
    matches!(not_ours(verdict), Some(Failure::MalformedMessage { message_type, .. }) if *message_type == expected)
}

fn is_unexpected(verdict: &Verdict, expected: MessageType, actual: u32) -> bool {
    not_ours(verdict) == Some(&Failure::UnexpectedMessage { expected, actual })
}

attacks! {
    fn hello_of_another_version(): "no-common-version", CouldNotRun(Obstacle::NoCommonVersion { .. }) => say_hello(|h| h.versions = vec![2, 3]);
    fn hello_of_another_suite(): "no-common-version", CouldNotRun(Obstacle::NoCommonVersion { .. }) => say_hello(|h| h.suites = vec![9]);
    fn hello_without_versions(): "not-this-protocol", v if is_malformed(v, MessageType::Hello) => say_hello(|h| h.versions.clear());
    fn hello_without_devices(): "not-this-protocol", v if is_malformed(v, MessageType::Hello) => say_hello(|h| h.devices.clear());
    fn hello_with_65_devices(): "not-this-protocol", v if is_malformed(v, MessageType::Hello) => say_hello(|h| {
        let offer = h.devices[0].clone();
        h.devices = (0..65).map(|g| { let mut offer = offer.clone(); offer.ordinal = DeviceOrdinal(g); offer }).collect();
    });
    fn hello_with_one_device_twice(): "not-this-protocol", v if is_malformed(v, MessageType::Hello)
        => say_hello(|h| h.devices[1].ordinal = h.devices[0].ordinal);
    fn hello_with_devices_out_of_order(): "not-this-protocol", v if is_malformed(v, MessageType::Hello) => say_hello(|h| h.devices.swap(0, 1));
    fn hello_with_a_control_character(): "not-this-protocol", v if is_malformed(v, MessageType::Hello)
        => say_hello(|h| h.labels = vec![Label { name: "a".to_owned(), value: "\u{1b}[2J".to_owned() }]);
    fn hello_with_a_long_text(): "not-this-protocol", v if is_malformed(v, MessageType::Hello) => say_hello(|h| h.software = "a".repeat(257));
    fn hello_not_canonical(): "not-this-protocol", v if is_malformed(v, MessageType::Hello) => change(MessageType::Hello, |frame| {
        // The array of six items, with its length in a separate byte.
        frame.payload.splice(0..1, [0x98, 6]);
    });
    fn hello_with_a_byte_behind(): "not-this-protocol", v if is_malformed(v, MessageType::Hello) => change(MessageType::Hello, |f| f.payload.push(0));
    fn hello_cut(): "not-this-protocol", v if is_malformed(v, MessageType::Hello) => change(MessageType::Hello, |f| cut(&mut f.payload));
    fn hello_empty(): "not-this-protocol", v if is_malformed(v, MessageType::Hello) => change(MessageType::Hello, |f| f.payload.clear());
    fn hello_twice(): "not-this-protocol", v if is_unexpected(v, MessageType::Ready, 1) => twice(MessageType::Hello);
    fn an_unknown_type_first(): "not-this-protocol", v if is_unexpected(v, MessageType::Hello, 12) => change(MessageType::Hello, |f| f.type_number = 12);
    fn a_plan_of_the_attesters(): "not-this-protocol", v if is_unexpected(v, MessageType::Hello, 2) => change(MessageType::Hello, |f| f.type_number = 2);
    fn hello_whose_identity_is_no_point(): "signature", Contraindicated(Failure::Signature) => say_hello(|h| h.identity.0 = [2; 32]);
    fn hello_of_anothers_identity(): "signature", Contraindicated(Failure::Signature)
        => say_hello(|h| h.identity = cast::identity(&cast::strangers_key()));
    fn hello_changed_on_the_way(): "signature", Contraindicated(Failure::Signature) => say_hello(|h| h.devices[0].model.push('!'));

    fn hello_offers_nothing(): "no-plan", CouldNotRun(Obstacle::NoPlan(_)) => offering(&[1, 0], None);
    fn hello_offers_more_than_there_is(): "out-of-memory", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. }) => offering(&[3, 1 << 20], None);
    fn hello_offers_all_there_can_be(): "out-of-memory", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. }) => boasting(None);
    fn hello_offers_all_there_can_be_and_is_asked_for_little(): "", Verdict::Affirmed => boasting(Some(65_536));
    fn a_plan_for_a_device_that_is_not_there(): "no-plan", CouldNotRun(Obstacle::NoPlan(_)) => {
        let mut request = cast::request(&[(64, 1)], 3);
        request.devices = Some(vec![DeviceOrdinal(7)]);
        judge(&Rehearsal::new(request), &mut honest())
    };

    fn ready_malformed(): "not-this-protocol", v if is_malformed(v, MessageType::Ready) => change(MessageType::Ready, |f| f.payload.push(0));
    fn ready_twice(): "unexpected-message",
        Contraindicated(Failure::UnexpectedMessage { expected: MessageType::Filled, actual: 3 }) => twice(MessageType::Ready);
    fn filled_instead_of_ready(): "not-this-protocol", v if is_unexpected(v, MessageType::Ready, 5)
        => before(MessageType::Ready, vec![filled(0, 0)]);
    fn openings_instead_of_ready(): "not-this-protocol", v if is_unexpected(v, MessageType::Ready, 9)
        => before(MessageType::Ready, vec![frame(MessageType::Openings, vec![0; 100])]);

    fn filled_twice(): "duplicate-commitment",
        Contraindicated(Failure::Misplaced(Misplaced::Duplicate { iteration: 0, device: DeviceOrdinal(0) })) => twice(MessageType::Filled);
    fn filled_twice_with_another_root(): "duplicate-commitment",
        Contraindicated(Failure::Misplaced(Misplaced::Duplicate { iteration: 0, device: DeviceOrdinal(1) }))
        => before(MessageType::Filled, vec![filled(0, 1), filled(0, 1)]);
    fn filled_once_more_after_the_last(): "unexpected-message",
        Contraindicated(Failure::UnexpectedMessage { expected: MessageType::Swept, actual: 5 })
        => before(MessageType::Swept, vec![filled(0, 0)]);
    fn filled_for_an_unknown_device(): "misplaced-commitment",
        Contraindicated(Failure::Misplaced(Misplaced::UnknownDevice(DeviceOrdinal(2)))) => before(MessageType::Filled, vec![filled(0, 2)]);
    fn filled_for_the_next_iteration(): "misplaced-commitment",
        Contraindicated(Failure::Misplaced(Misplaced::Iteration { expected: 0, actual: 1 })) => before(MessageType::Filled, vec![filled(1, 0)]);
    fn filled_for_no_iteration(): "misplaced-commitment",
        Contraindicated(Failure::Misplaced(Misplaced::Iteration { expected: 0, actual: u32::MAX }))
        => before(MessageType::Filled, vec![filled(u32::MAX, 0)]);
    fn filled_malformed(): "malformed-message", Contraindicated(Failure::MalformedMessage { message_type: MessageType::Filled, .. })
        => change(MessageType::Filled, |f| cut(&mut f.payload));
    fn filled_not_canonical(): "malformed-message", Contraindicated(Failure::MalformedMessage { message_type: MessageType::Filled, .. })
        => change(MessageType::Filled, |f| { f.payload.splice(1..2, [0x18, 0]); });
    fn filled_empty(): "malformed-message", Contraindicated(Failure::MalformedMessage { message_type: MessageType::Filled, .. })
        => change(MessageType::Filled, |f| f.payload.clear());
    fn swept_in_the_fill(): "unexpected-message",
        Contraindicated(Failure::UnexpectedMessage { expected: MessageType::Filled, actual: 7 })
        => before(MessageType::Filled, vec![swept(0, 0, 2)]);
    fn an_unknown_type_in_the_fill(): "unexpected-message",
        Contraindicated(Failure::UnexpectedMessage { expected: MessageType::Filled, actual: 0xFFFF_FFFF })
        => change(MessageType::Filled, |f| f.type_number = u32::MAX);
    fn a_result_of_the_attesters(): "unexpected-message",
        Contraindicated(Failure::UnexpectedMessage { expected: MessageType::Filled, actual: 10 })
        => change(MessageType::Filled, |f| f.type_number = 10);
    fn fill_roots_swapped_on_the_way(): "signature", Contraindicated(Failure::Signature) => tamper(|turn| {
        if turn.position(MessageType::Filled) == Some(0) {
            let roots: Vec<Filled> = turn.actions.iter().map(|action| match action {
                Action::Frame(frame) => Filled::from_bytes(&frame.payload).expect("FILLED"),
                other => panic!("{other:?} where FILLED is sent"),
            }).collect();
            for (i, action) in turn.actions.iter_mut().enumerate() {
                let swapped = Filled { root: roots[1 - i].root, ..roots[i] };
                *action = frame(MessageType::Filled, swapped.to_bytes());
            }
        }
    });

    fn swept_twice(): "duplicate-commitment", Contraindicated(Failure::Misplaced(Misplaced::Duplicate { iteration: 0, .. })) => twice(MessageType::Swept);
    fn swept_once_more_after_the_last(): "unexpected-message",
        Contraindicated(Failure::UnexpectedMessage { expected: MessageType::Openings, actual: 7 })
        => before(MessageType::Openings, vec![swept(2, 0, 1)]);
    fn swept_with_a_root_too_few(): "root-count", Contraindicated(Failure::Misplaced(Misplaced::RootCount { expected: 2, actual: 1, .. }))
        => before(MessageType::Swept, vec![swept(0, 0, 1)]);
    fn swept_with_a_root_too_many(): "oversized-message", Contraindicated(Failure::OversizedMessage { type_number: 7, .. })
        => before(MessageType::Swept, vec![swept(0, 0, 3)]);
    fn swept_with_too_many_roots_for_its_iteration(): "root-count",
        Contraindicated(Failure::Misplaced(Misplaced::RootCount { expected: 1, actual: 2, .. })) => tamper(|turn| {
            if let Some(frame) = turn.frame(MessageType::Swept) {
                let mut swept = Swept::from_bytes(&frame.payload).expect("SWEPT");
                if swept.iteration == 2 {
                    swept.roots.push(Root([7; 32]));
                    frame.payload = swept.to_bytes().into();
                }
            }
        });
    fn swept_without_roots(): "malformed-message", Contraindicated(Failure::MalformedMessage { message_type: MessageType::Swept, .. })
        => before(MessageType::Swept, vec![swept(0, 0, 0)]);
    fn swept_for_an_unknown_device(): "misplaced-commitment", Contraindicated(Failure::Misplaced(Misplaced::UnknownDevice(DeviceOrdinal(9))))
        => before(MessageType::Swept, vec![swept(0, 9, 2)]);
    fn swept_for_the_next_iteration(): "misplaced-commitment",
        Contraindicated(Failure::Misplaced(Misplaced::Iteration { expected: 0, actual: 1 })) => before(MessageType::Swept, vec![swept(1, 0, 2)]);
    fn swept_changed_on_the_way(): "signature", Contraindicated(Failure::Signature)
        => change_value::<Swept>(MessageType::Swept, |swept| swept.roots[1].0[0] ^= 1);
    fn filled_in_the_sweeps(): "unexpected-message",
        Contraindicated(Failure::UnexpectedMessage { expected: MessageType::Swept, actual: 5 })
        => before(MessageType::Swept, vec![filled(1, 0)]);

    fn fills_of_another_session(): "signature", Contraindicated(Failure::Signature) => replayed(&[MessageType::Filled]);
    fn sweeps_of_another_session(): "signature", Contraindicated(Failure::Signature) => replayed(&[MessageType::Swept]);
    fn all_of_another_session(): "signature", Contraindicated(Failure::Signature)
        => replayed(&[MessageType::Filled, MessageType::Swept, MessageType::Openings]);
    fn openings_of_another_session(): "signature", Contraindicated(Failure::Signature) => replayed(&[MessageType::Openings]);

    fn another_plan_on_the_way(): "signature", Contraindicated(Failure::Signature) => misled(MessageType::Plan, |payload| {
        let at = payload.windows(7).position(|part| part == b"testkit").expect("the audience");
        payload[at] ^= 1;
    });
    fn another_nonce_on_the_way(): "signature", Contraindicated(Failure::Signature) => misled(MessageType::Nonce, |payload| payload[10] ^= 1);
    fn other_salts_on_the_way(): "signature", Contraindicated(Failure::Signature) => misled(MessageType::Salt, |payload| payload[10] ^= 1);
    fn other_samples_on_the_way(): "signature", Contraindicated(Failure::Signature) => misled(MessageType::Sample, |payload| payload[10] ^= 1);
    fn a_malformed_plan_on_the_way(): "protocol-violation", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. })
        => misled(MessageType::Plan, cut);
    fn a_malformed_nonce_on_the_way(): "protocol-violation", CouldNotRun(Obstacle::Aborted { after_nonce: true, .. })
        => misled(MessageType::Nonce, cut);
    fn a_salt_of_another_iteration_on_the_way(): "protocol-violation", CouldNotRun(Obstacle::Aborted { after_nonce: true, .. })
        => misled(MessageType::Salt, |payload| payload[2] = 1);
    fn a_malformed_sample_on_the_way(): "unopened", Contraindicated(Failure::Unopened(_)) => misled(MessageType::Sample, cut);
    fn abort_malformed(): "malformed-message", Contraindicated(Failure::MalformedMessage { message_type: MessageType::Abort, .. })
        => before(MessageType::Filled, vec![frame(MessageType::Abort, vec![0x83, 9, 0xF6, 0x60])]);
}

#[test]
fn progress_enters_neither_transcript_nor_evidence() {
    let mut tampered = Tampered::new(honest(), |turn: &mut testkit::peer::Turn<'_>| {
        turn.actions.insert(0, frame(MessageType::Progress, vec![0xFF; 9]));
    });
    let rehearsed = rehearsal().run(&mut tampered as &mut dyn Peer);
    assert_eq!(rehearsed.verdict(), &Verdict::Affirmed);
    let kinds = rehearsed
        .evidence
        .records
        .iter()
        .filter_map(|record| match &record.event {
            protocol::record::Event::Received(frame) => frame.message_type(),
            _ => None,
        });
    assert!(!kinds.into_iter().any(|kind| kind == MessageType::Progress));
    assert_eq!(
        crate::stage::instead(Phase::Prepare, vec![Action::Hang]).code(),
        "not-ready"
    );
}
