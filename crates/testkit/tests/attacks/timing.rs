//! Answers that arrive too late, too early, or never; and the effect of one common clock for all devices.

use protocol::bounds::Assumptions;
use protocol::cbor::Label;
use protocol::certified::{Certified, measured, system_bounds};
use protocol::frame::{Frame, MessageType};
use protocol::message::Hello;
use protocol::verdict::{Failure, Obstacle, Phase, Verdict};
use protocol::verifier::{Mode, Step, VerifierConfig, VerifierSession};
use testkit::adversary::Adversary;
use testkit::cast;
use testkit::model::delayed;
use testkit::peer::{Action, HonestPeer, Peer, Tampered};
use testkit::rehearsal::Rehearsal;
use testkit::together::TRAVEL_NS;

use crate::attacks;
use crate::stage::{bytes, hello, honest, instead, judge, opens, play, rehearsal, tamper};

use Verdict::{Contraindicated, CouldNotRun};

/// A second, the deadline of every phase (ns).
const SECOND: u64 = 1_000_000_000;

/// The verdict on an Attester that waits for `wait_ns`, transit included, before it answers in `phase`.
fn slow(phase: Phase, wait_ns: u64) -> Verdict {
    tamper(|turn| {
        if opens(turn, phase) {
            turn.actions.insert(0, Action::Wait(wait_ns - TRAVEL_NS));
        }
    })
}

/// The verdict on an Attester that sends the answer of `phase` together with that of the previous phase.
fn early(trigger: MessageType, nth: usize, answer: impl Fn(&Frame) -> bool) -> Verdict {
    // The fresh bytes are fixed, so a first session shows what the second one will be asked for.
    let first = rehearsal().run(&mut honest());
    let answer = first
        .evidence
        .records
        .iter()
        .find_map(|record| match &record.event {
            protocol::record::Event::Received(frame) if answer(frame) => Some(frame.clone()),
            _ => None,
        })
        .expect("the first session has the answer");
    let mut seen = 0;
    tamper(move |turn| {
        if turn.position(trigger).is_some() {
            seen += 1;
            if seen == nth {
                let Some(Action::Frame(last)) = turn.actions.pop() else {
                    panic!("turns that answer end in a frame");
                };
                turn.actions
                    .push(Action::Bytes([bytes(&last), bytes(&answer)].concat()));
            }
        }
    })
}

fn is(message_type: MessageType) -> impl Fn(&Frame) -> bool {
    move |frame| frame.message_type() == Some(message_type)
}

attacks! {
    fn hello_late(): "not-ready", CouldNotRun(Obstacle::Late { phase: Phase::Hello, limit_ms: 1_000 }) => slow(Phase::Hello, SECOND + 1);
    fn ready_late(): "not-ready", CouldNotRun(Obstacle::Late { phase: Phase::Prepare, limit_ms: 1_000 }) => slow(Phase::Prepare, SECOND + 1);
    fn filled_late(): "late", Contraindicated(Failure::Late { phase: Phase::Fill, limit_ms: 1_000 }) => slow(Phase::Fill, SECOND + 1);
    fn swept_late(): "late", Contraindicated(Failure::Late { phase: Phase::Sweep, limit_ms: 1_000 }) => slow(Phase::Sweep, SECOND + 1);
    fn openings_late(): "late", Contraindicated(Failure::Late { phase: Phase::Open, limit_ms: 1_000 }) => slow(Phase::Open, SECOND + 1);
    fn one_device_late(): "late", Contraindicated(Failure::Late { phase: Phase::Fill, .. }) => tamper(|turn| {
        if opens(turn, Phase::Fill) {
            turn.actions.insert(1, Action::Wait(SECOND));
        }
    });
    fn an_abort_that_comes_late(): "late", Contraindicated(Failure::Late { phase: Phase::Sweep, .. })
        => instead(Phase::Sweep, vec![Action::Wait(SECOND), crate::breaks::abort_action(1)]);
    fn progress_moves_no_deadline(): "late", Contraindicated(Failure::Late { phase: Phase::Fill, .. }) => tamper(|turn| {
        if opens(turn, Phase::Fill) {
            let progress = Action::Frame(Frame::new(MessageType::Progress, vec![0x81, 0x80]));
            let waits = std::iter::repeat_n([Action::Wait(SECOND / 4), progress], 5).flatten();
            turn.actions.splice(0..0, waits);
        }
    });
    fn a_part_of_a_frame_moves_no_deadline(): "late", Contraindicated(Failure::Late { phase: Phase::Fill, .. }) => tamper(|turn| {
        if opens(turn, Phase::Fill) {
            let Action::Frame(frame) = turn.actions.remove(0) else { panic!("FILLED") };
            let drip = bytes(&frame).into_iter().flat_map(|byte| [Action::Bytes(vec![byte]), Action::Wait(SECOND / 20)]);
            turn.actions.splice(0..0, drip);
        }
    });

    fn hangs_before_hello(): "not-ready", CouldNotRun(Obstacle::Late { phase: Phase::Hello, .. }) => instead(Phase::Hello, vec![Action::Hang]);
    fn hangs_before_ready(): "not-ready", CouldNotRun(Obstacle::Late { phase: Phase::Prepare, .. }) => instead(Phase::Prepare, vec![Action::Hang]);
    fn hangs_in_the_fill(): "late", Contraindicated(Failure::Late { phase: Phase::Fill, .. }) => instead(Phase::Fill, vec![Action::Hang]);
    fn hangs_in_the_sweeps(): "late", Contraindicated(Failure::Late { phase: Phase::Sweep, .. }) => instead(Phase::Sweep, vec![Action::Hang]);
    fn hangs_before_openings(): "late", Contraindicated(Failure::Late { phase: Phase::Open, .. }) => instead(Phase::Open, vec![Action::Hang]);
    fn hangs_with_one_device_filled(): "late", Contraindicated(Failure::Late { phase: Phase::Fill, .. }) => tamper(|turn| {
        if opens(turn, Phase::Fill) {
            turn.actions.insert(1, Action::Hang);
        }
    });

    fn ready_before_plan(): "not-this-protocol",
        CouldNotRun(Obstacle::NotThisProtocol(failure)) if **failure == Failure::Premature { phase: Phase::Prepare }
        => early(MessageType::Hello, 1, is(MessageType::Ready));
    fn filled_before_nonce(): "premature", Contraindicated(Failure::Premature { phase: Phase::Fill })
        => early(MessageType::Ready, 1, is(MessageType::Filled));
    fn swept_before_salt_v(): "premature", Contraindicated(Failure::Premature { phase: Phase::Sweep })
        => early(MessageType::Filled, 1, is(MessageType::Swept));
    fn filled_before_salt_w(): "premature", Contraindicated(Failure::Premature { phase: Phase::Fill })
        => early(MessageType::Swept, 1, |frame| {
            frame.message_type() == Some(MessageType::Filled) && frame.payload[1] == 1
        });
    fn openings_before_sample(): "premature", Contraindicated(Failure::Premature { phase: Phase::Open })
        => early(MessageType::Swept, 3, is(MessageType::Openings));
}

#[test]
fn an_answer_on_the_deadline_is_in_time() {
    for phase in [Phase::Hello, Phase::Prepare, Phase::Open] {
        assert_eq!(slow(phase, SECOND), Verdict::Affirmed, "{phase:?}");
    }
    // The second device's answer is sent after the first one's.
    for phase in [Phase::Fill, Phase::Sweep] {
        assert_eq!(slow(phase, SECOND - TRAVEL_NS), Verdict::Affirmed, "{phase:?}");
    }
}

#[test]
fn one_gpu_in_turn_for_two_devices_gains_nothing() {
    // Each device's work takes 100 ms; one GPU does both, one after the other.
    let (at_once, in_turn) = (windows(0), windows(100_000_000));
    for (alone, turned) in at_once.iter().zip(&in_turn) {
        assert!(
            turned.fill_ns >= 200_000_000 && alone.fill_ns < 110_000_000,
            "{turned:?}"
        );
        assert!(
            turned.sweep_ns >= 200_000_000 && alone.sweep_ns < 110_000_000,
            "{turned:?}"
        );
    }
    let request = cast::request(&[(4_096, 300)], 1_000);
    let plan = request.plan(&cast::hello(&[2, 2])).expect("a plan");
    let measured = measured(&plan, &in_turn, |_, _| u32::MAX);
    let (host, shares) = system_bounds(&measured, &cast::assumptions());
    let operations = 2 * 4_096 * 2 * 65_536;
    for share in &shares {
        let bound = share.tensor_ops_per_s.expect("enough samples").value;
        assert!(bound <= operations * 5, "{bound} op/s");
    }
    // Both together did the work that one GPU did in 200 ms.
    let host = host.tensor_ops_per_s.expect("enough samples").value;
    assert!(host <= u128::from(2 * operations * 5), "{host} op/s");
}

/// The figures certified for one GPU, behind any number of ordinals, that takes 50 ms per tile of a fill and of all sweeps,
/// if `lie` changes its true statements about itself.
fn certified(matrices: &[u64], device_bytes: Option<u64>, lie: fn(&mut Hello)) -> Certified {
    let mut request = cast::request(&[(4_096, 256)], 1_000);
    request.device_bytes = device_bytes;
    let mut hello = cast::hello(matrices);
    lie(&mut hello);
    let peer = HonestPeer::new(hello, |_| cast::engine());
    let mut peer = delayed(peer, |_, device| 50_000_000 * matrices[device]);
    let rehearsed = Rehearsal::new(request).run(&mut peer);
    // Links and regenerating are slow compared with the work of this GPU, so that all four bounds exist.
    let assumptions = Assumptions {
        best_rate_ops_per_s: 700_000_000,
        link_in_bytes_per_s: 100_000,
        link_out_bytes_per_s: 100_000,
        on_chip_bytes: 0,
        ..cast::assumptions()
    };
    rehearsed.session.certified(&assumptions).expect("an affirmed session")
}

fn figures(certified: &Certified) -> [u128; 4] {
    let host = certified.host;
    let certified = [
        host.memory_bytes,
        host.bandwidth_bytes_per_s,
        host.tensor_ops_per_s,
        host.local_tensor_ops_per_s,
    ];
    certified.map(|bound| bound.expect("a bound to compare").value)
}

#[test]
fn lies_about_itself_change_no_bound() {
    let honest = certified(&[8], None, |_| ());
    let [memory, bandwidth, rate, local] = figures(&honest);
    let dataset = 8 * 65_536;
    assert!(memory <= dataset && bandwidth <= dataset * 256 * 10 / 4, "{honest:?}");
    assert!(rate <= 2 * 4_096 * dataset * 10 / 4 && local < rate, "{honest:?}");

    // Its class, its memory, its version.
    let lied = certified(&[8], Some(8 << 16), |hello| {
        let boaster = Adversary::named("boaster").expect("an adversary");
        hello.software = "gpu-attestor 99".to_owned();
        hello.devices.iter_mut().for_each(|offer| boaster.boast(offer));
        assert_eq!(hello.devices[0].available_bytes, u64::MAX);
    });
    assert_eq!(lied, honest);
    let same_uuid = certified(&[4, 4], None, |hello| {
        let uuid = Label::new("uuid", "GPU-0");
        hello
            .devices
            .iter_mut()
            .for_each(|offer| offer.labels = vec![uuid.clone(); 3]);
    });
    // Their number: the same GPU as four, each with a separate UUID.
    let four = certified(&[2; 4], None, |hello| {
        for offer in &mut hello.devices {
            offer.model = "NVIDIA B300".to_owned();
            offer.labels = vec![Label::new("uuid", &format!("GPU-{}", offer.ordinal))];
        }
    });
    assert_eq!((four.devices.len(), same_uuid.devices.len()), (4, 2));
    for more in [figures(&four), figures(&same_uuid)] {
        for (more, one) in more.into_iter().zip([memory, bandwidth, rate, local]) {
            assert!(more <= one, "{more} as several, {one} as one");
        }
    }
}

/// Windows of a session in which the second device begins `lag_ns` after the first.
fn windows(lag_ns: u64) -> Vec<protocol::verifier::Windows> {
    let rehearsal = Rehearsal::new(cast::request(&[(64, 2)], 3));
    let peer = HonestPeer::new(hello(), |_| cast::engine());
    let mut peer = Tampered::new(peer, |turn| {
        if turn.actions.len() == 2 {
            turn.actions.insert(1, Action::Wait(lag_ns));
            turn.actions.insert(0, Action::Wait(100_000_000));
        }
    });
    let rehearsed = rehearsal.run(&mut peer);
    assert_eq!(rehearsed.verdict(), &Verdict::Affirmed);
    rehearsed.session.windows().to_vec()
}

#[test]
fn no_clock_runs_offline() {
    let session = VerifierSession::new(VerifierConfig {
        mode: Mode::Offline,
        hello_deadline_ms: 1,
        tls_exporter: None,
    });
    let expected = Step::Receive {
        phase: Phase::Hello,
        deadline_ns: None,
    };
    assert_eq!(session.step(), expected);
}

#[test]
fn the_verifier_stops_at_the_first_failure() {
    struct Silent;
    impl Peer for Silent {
        fn greet(&mut self) -> Vec<Action> {
            vec![Action::Hang]
        }
        fn answer(&mut self, frame: &Frame) -> Vec<Action> {
            panic!("message type {} after the verdict", frame.type_number)
        }
    }
    assert_eq!(judge(&rehearsal(), &mut Silent).code(), "not-ready");
    assert_eq!(play(Silent).status(), 2);
}
