//! The real Attester with a Verifier that breaks the rules, and the offline form over real streams.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::thread;

use attester::{Attester, Device, Limits, ServeError, serve};
use protocol::attester::Violation;
use protocol::bytes::{DeviceOrdinal, Fresh, Nonce};
use protocol::cbor::{Canonical, Label};
use protocol::certified::Certified;
use protocol::challenge::Challenge;
use protocol::engine::EngineError;
use protocol::frame::{Frame, MessageType, header};
use protocol::limits::MAX_PLAN_BYTES;
use protocol::message::{Abort, AbortCode, NonceMessage, ResultMessage, SaltMessage, SampleMessage, Stage};
use protocol::plan::{Plan, PlanFields};
use protocol::trace::Misplaced;
use protocol::verdict::{Failure, Obstacle, Verdict};
use report::Report;
use testkit::cast;
use testkit::peer::HonestPeer;
use testkit::rehearsal::Rehearsal;
use transport::{FrameError, read_frame, write_frame};
use verifier::recompute::Recompute;
use verifier::{Observer, Recorded, Unobserved, prove, verify};

fn attester() -> Attester {
    let devices = cast::hello(&[3, 2])
        .devices
        .into_iter()
        .map(|mut offer| {
            offer.labels = vec![Label::new("uuid", &format!("GPU-{}", offer.ordinal))];
            offer
        })
        .map(|offer| Device {
            offer,
            engine: cast::engine(),
            telemetry: None,
        })
        .collect();
    Attester {
        software: "testkit".to_owned(),
        labels: Vec::new(),
        devices,
        key: cast::attester_key(),
        attestation: None,
        limits: Limits::default(),
    }
}

fn plan() -> Plan {
    let request = cast::request(&[(64, 1)], 3);
    request.plan(&cast::hello(&[3, 2])).expect("a plan")
}

/// Plays a Verifier that sends these bytes as soon as it may, reads everything that arrives, and then closes.
fn play(script: Vec<Vec<u8>>) -> (Result<ResultMessage, ServeError>, Vec<Frame>) {
    let (from_verifier, mut to_attester) = io::pipe().expect("a pipe");
    let (mut from_attester, to_verifier) = io::pipe().expect("a pipe");
    let served = thread::spawn(move || serve(attester(), from_verifier, to_verifier));
    let heard = thread::spawn(move || {
        let mut heard = Vec::new();
        while let Ok(frame) = read_frame(&mut from_attester, |_| u64::MAX) {
            heard.push(frame);
        }
        heard
    });
    for bytes in script {
        // An Attester that has given up reads no more.
        let _ = to_attester.write_all(&bytes);
    }
    drop(to_attester);
    (
        served.join().expect("serving does not panic"),
        heard.join().expect("frames"),
    )
}

/// A Verifier that sends these frames, each after the Attester has sent `count` frames other than PROGRESS.
fn converse(script: Vec<(usize, Frame)>) -> (Result<ResultMessage, ServeError>, Vec<Frame>) {
    let (from_verifier, mut to_attester) = io::pipe().expect("a pipe");
    let (mut from_attester, to_verifier) = io::pipe().expect("a pipe");
    let served = thread::spawn(move || serve(attester(), from_verifier, to_verifier));
    let mut heard = Vec::new();
    for (count, frame) in script {
        while heard.len() < count {
            match read_frame(&mut from_attester, |_| u64::MAX) {
                Ok(frame) if frame.message_type() == Some(MessageType::Progress) => {}
                Ok(frame) => heard.push(frame),
                Err(error) => panic!("{error} after {} frames", heard.len()),
            }
        }
        // An Attester that has given up reads no more.
        let _ = write_frame(&mut to_attester, &frame);
    }
    while let Ok(frame) = read_frame(&mut from_attester, |_| u64::MAX) {
        heard.push(frame);
    }
    drop(to_attester);
    (served.join().expect("serving does not panic"), heard)
}

fn bytes(frame: &Frame) -> Vec<u8> {
    [&frame.header()[..], &frame.payload].concat()
}

fn plan_frame(plan: &Plan) -> Frame {
    Frame::new(MessageType::Plan, plan.to_bytes())
}

fn nonce_frame() -> Frame {
    Frame::new(MessageType::Nonce, NonceMessage(Nonce([1; 32])).to_bytes())
}

fn salt_frame(stage: Stage, iteration: u32) -> Frame {
    let salt = SaltMessage {
        stage,
        iteration,
        fresh: Fresh([2; 32]),
    };
    Frame::new(MessageType::Salt, salt.to_bytes())
}

/// The code of the last frame, which is ABORT.
fn abort(heard: &[Frame]) -> Abort {
    let last = heard.last().expect("frames");
    assert_eq!(last.message_type(), Some(MessageType::Abort), "{last:?}");
    Abort::from_bytes(&last.payload).expect("ABORT")
}

fn abort_code(heard: &[Frame]) -> AbortCode {
    abort(heard).code
}

#[test]
fn what_is_out_of_order_is_a_violation() {
    let sample = Frame::new(MessageType::Sample, SampleMessage(Fresh([3; 32])).to_bytes());
    let unknown = Frame {
        type_number: 99,
        payload: Vec::new().into(),
    };
    for (frame, actual) in [
        (nonce_frame(), 4),
        (salt_frame(Stage::V, 0), 6),
        (sample, 8),
        (unknown, 99),
        (Frame::new(MessageType::Hello, Vec::new()), 1),
    ] {
        let (outcome, heard) = play(vec![bytes(&frame)]);
        let expected = Violation::Unexpected {
            expected: MessageType::Plan,
            actual,
        };
        assert!(
            matches!(&outcome, Err(ServeError::Violation(violation)) if *violation == expected),
            "{outcome:?}"
        );
        assert_eq!(abort_code(&heard), AbortCode::ProtocolViolation);
    }
}

#[test]
fn a_second_plan_and_a_wrong_salt_are_violations() {
    let (outcome, heard) = converse(vec![(1, plan_frame(&plan())), (2, plan_frame(&plan()))]);
    let expected = Violation::Unexpected {
        expected: MessageType::Nonce,
        actual: 2,
    };
    assert!(
        matches!(&outcome, Err(ServeError::Violation(v)) if *v == expected),
        "{outcome:?}"
    );
    assert_eq!(abort_code(&heard), AbortCode::ProtocolViolation);

    for (salt, expected) in [
        (
            salt_frame(Stage::W, 0),
            Misplaced::Stage {
                expected: Stage::V,
                actual: Stage::W,
            },
        ),
        (salt_frame(Stage::V, 1), Misplaced::Iteration { expected: 0, actual: 1 }),
    ] {
        let (outcome, heard) = converse(vec![(1, plan_frame(&plan())), (2, nonce_frame()), (4, salt)]);
        assert!(
            matches!(&outcome, Err(ServeError::Violation(Violation::Misplaced(m))) if *m == expected),
            "{outcome:?}"
        );
        assert_eq!(abort_code(&heard), AbortCode::ProtocolViolation);
    }
}

#[test]
fn a_verifier_that_will_not_wait_for_fills_is_told() {
    let script = [plan_frame(&plan()), nonce_frame(), salt_frame(Stage::V, 0)];
    let (outcome, _) = play(script.iter().map(bytes).collect());
    assert!(
        matches!(outcome, Err(ServeError::Violation(Violation::Unexpected { .. }))),
        "{outcome:?}"
    );
}

#[test]
fn a_plan_for_a_device_that_was_not_offered_is_refused() {
    let mut fields: PlanFields = plan().fields().clone();
    fields.devices[1].ordinal = DeviceOrdinal(5);
    let (outcome, heard) = play(vec![bytes(&plan_frame(&Plan::new(fields).expect("a plan")))]);
    assert!(
        matches!(
            &outcome,
            Err(ServeError::Violation(Violation::UnknownDevice(DeviceOrdinal(5))))
        ),
        "{outcome:?}"
    );
    assert_eq!(abort_code(&heard), AbortCode::Unsupported);
}

#[test]
fn a_plan_that_asks_for_more_than_there_is_is_could_not_run() {
    let mut fields: PlanFields = plan().fields().clone();
    // 2 TiB, whose leaves (0.4 GB) the host can hold.
    fields.devices[1].num_matrices = 1 << 25;
    let plan = Plan::new(fields).expect("a plan");
    let (outcome, heard) = converse(vec![(1, plan_frame(&plan))]);
    match &outcome {
        Err(ServeError::Engine {
            device: DeviceOrdinal(1),
            uuid: Some(uuid),
            error:
                EngineError::OutOfMemory {
                    requested_bytes,
                    available_bytes,
                },
        }) => {
            assert_eq!(uuid, "GPU-1");
            assert!(
                requested_bytes > available_bytes,
                "{requested_bytes} of {available_bytes}"
            );
        }
        other => panic!("{other:?}"),
    }
    let abort = abort(&heard);
    assert_eq!(
        (abort.code, abort.device),
        (AbortCode::OutOfMemory, Some(DeviceOrdinal(1)))
    );
    assert!(abort.message.ends_with("(GPU-1)"), "{}", abort.message);
}

#[test]
fn an_oversized_plan_is_not_read() {
    let (outcome, _) = play(vec![header(2, MAX_PLAN_BYTES + 1).to_vec()]);
    match outcome {
        Err(ServeError::Connection(FrameError::Oversized {
            type_number: 2,
            length_bytes,
            limit_bytes: MAX_PLAN_BYTES,
        })) => assert_eq!(length_bytes, MAX_PLAN_BYTES + 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_verifier_that_goes_away_is_noticed_at_every_byte() {
    let script: Vec<u8> = [bytes(&plan_frame(&plan())), bytes(&nonce_frame())].concat();
    for end in (0..script.len()).step_by(7).chain([script.len()]) {
        let (outcome, _) = play(vec![script[..end].to_vec()]);
        match outcome {
            Err(ServeError::Connection(FrameError::Closed | FrameError::Truncated { .. })) => {}
            // NONCE before READY if both arrived at the same time.
            Err(ServeError::Violation(_)) => assert_eq!(end, script.len()),
            other => panic!("cut at {end}: {other:?}"),
        }
    }
}

#[test]
fn a_malformed_plan_is_a_violation() {
    let whole = plan_frame(&plan());
    for payload in [
        Vec::new(),
        whole.payload[..whole.payload.len() - 1].to_vec(),
        [&whole.payload[..], &[0]].concat(),
        vec![0xFF; 100],
    ] {
        let (outcome, heard) = play(vec![bytes(&Frame::new(MessageType::Plan, payload))]);
        assert!(
            matches!(outcome, Err(ServeError::Violation(Violation::Malformed { .. }))),
            "{outcome:?}"
        );
        assert_eq!(abort_code(&heard), AbortCode::ProtocolViolation);
    }
}

#[test]
fn an_early_result_ends_the_session() {
    let result = Verdict::CouldNotRun(Obstacle::Stopped).to_message();
    let frame = Frame::new(MessageType::Result, result.to_bytes());
    let (outcome, _) = play(vec![bytes(&frame)]);
    assert_eq!(outcome.expect("a RESULT"), result);
}

fn prove_offline(challenge: &Challenge, attester: Attester) -> Recorded {
    let (from_verifier, to_attester) = io::pipe().expect("a pipe");
    let (from_attester, to_verifier) = io::pipe().expect("a pipe");
    let served = thread::spawn(move || serve(attester, from_verifier, to_verifier));
    let proof = prove(
        from_attester,
        to_attester,
        challenge,
        &cast::assumptions(),
        &cast::attester_key(),
        &Unobserved,
    );
    let proof = proof.expect("a session");
    // The Attester's conclusion is in the evidence.
    let _ = served.join().expect("serving does not panic");
    proof
}

fn challenge(plan: Plan) -> Challenge {
    Challenge::sign(plan, Nonce([0xC4; 32]), 1_000, 2_000, &cast::verifier_key())
}

fn two_threads() -> Recompute {
    Recompute {
        threads: NonZeroUsize::new(2).expect("two"),
        ..cast::recompute()
    }
}

#[test]
fn a_proof_is_affirmed_without_a_bound() {
    let proof = prove_offline(&challenge(plan()), attester());
    let verified = verify(&proof.sealed, &two_threads(), &cast::judge(), &Unobserved).expect("evidence");
    assert_eq!(verified.session.verdict(), Some(&Verdict::Affirmed));
    let report = Report::new(&verified.evidence, &verified.session, &proof.sealed, &cast::judge());
    assert_eq!(report.mode, "offline");
    assert!(
        report
            .devices
            .iter()
            .all(|device| device.share.is_none() && device.measured.is_empty())
    );
    assert!(report.host.is_none() && report.windows.is_empty());
}

/// Receives what is certified while samples are recomputed.
#[derive(Default)]
struct SoFar(Mutex<Vec<bool>>);

impl Observer for SoFar {
    fn certified_so_far(&self, certified: &dyn Fn() -> Option<Certified>) {
        self.0.lock().expect("nobody panics").push(certified().is_some());
    }
}

#[test]
fn bounds_are_told_while_samples_are_recomputed_but_never_offline() {
    let heard = |sealed: &[u8]| {
        let observer = SoFar::default();
        verify(sealed, &two_threads(), &cast::judge(), &observer).expect("evidence");
        observer.0.into_inner().expect("nobody panics")
    };
    let mut peer = HonestPeer::new(cast::hello(&[3, 2]), |_| cast::engine());
    let online = Rehearsal::new(cast::request(&[(64, 1)], 3)).run(&mut peer);
    let (online, offline) = (
        heard(&online.sealed()),
        heard(&prove_offline(&challenge(plan()), attester()).sealed),
    );
    assert!(!online.is_empty() && online.iter().all(|told| *told), "{online:?}");
    assert!(!offline.is_empty() && !offline.contains(&true), "{offline:?}");
}

#[test]
fn times_made_up_in_a_proof_certify_nothing() {
    let proof = prove_offline(&challenge(plan()), attester());
    let mut evidence = proof.opened.evidence;
    for (i, record) in (0..).zip(&mut evidence.records) {
        record.at_ns = i;
    }
    let sealed = evidence.seal(&cast::attester_key());
    let verified = verify(&sealed, &two_threads(), &cast::judge(), &Unobserved).expect("evidence");
    let report = Report::new(&verified.evidence, &verified.session, &sealed, &cast::judge());
    assert!(
        report
            .devices
            .iter()
            .all(|device| device.share.is_none() && device.measured.is_empty())
    );
    assert!(report.host.is_none() && report.windows.is_empty());
}

#[test]
fn a_proof_by_another_key_than_the_attesters_is_refused() {
    let mut other = attester();
    other.key = cast::strangers_key();
    let proof = prove_offline(&challenge(plan()), other);
    assert!(verify(&proof.sealed, &two_threads(), &cast::judge(), &Unobserved).is_err());
}

#[test]
fn a_challenge_for_devices_that_are_not_here_has_no_plan() {
    let mut fields: PlanFields = plan().fields().clone();
    fields.devices[1].ordinal = DeviceOrdinal(5);
    let proof = prove_offline(&challenge(Plan::new(fields).expect("a plan")), attester());
    assert_eq!(proof.opened.session.verdict().expect("a verdict").code(), "no-plan");
}

#[test]
fn a_proof_with_junk_is_contraindicated() {
    let mut cheat = attester();
    let junk = testkit::adversary::Adversary::named("junk-fill").expect("an adversary");
    for device in &mut cheat.devices {
        device.engine = junk.engine(cast::engine(), 1.0);
    }
    let proof = prove_offline(&challenge(plan()), cheat);
    let verified = verify(&proof.sealed, &two_threads(), &cast::judge(), &Unobserved).expect("evidence");
    assert!(
        matches!(
            verified.session.verdict(),
            Some(Verdict::Contraindicated(Failure::Tile(_)))
        ),
        "{:?}",
        verified.session.verdict()
    );
}
