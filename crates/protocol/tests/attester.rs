//! The Attester's session as seen by its driver: its actions, its refusals, and its values at each point.

use ed25519_dalek::{Signature, SigningKey};
use protocol::attester::{AttesterSession, Task, Violation};
use protocol::bytes::{Chain, DeviceOrdinal, Fresh, Identity, Nonce, Root};
use protocol::cbor::Canonical;
use protocol::derive::{chain_0, next_chain};
use protocol::frame::{Frame, MessageType};
use protocol::limits::MAX_ATTESTATION_BYTES;
use protocol::message::{AbortCode, DeviceOffer, Hello, NonceMessage, OpeningsBody, SaltMessage, SampleMessage, Stage};
use protocol::plan::{Deadlines, DevicePlan, Iteration, Plan, PlanFields};
use protocol::transcript::{Transcript, signed_message};
use protocol::verifier::SIGNATURE_BYTES;

const NONCE: Nonce = Nonce([1; 32]);
const V: Fresh = Fresh([2; 32]);
const W: Fresh = Fresh([3; 32]);
const ROOTS: [Root; 2] = [Root([4; 32]), Root([5; 32])];

fn key() -> SigningKey {
    SigningKey::from_bytes(&[6; 32])
}

fn hello() -> Hello {
    let offer = |ordinal| DeviceOffer {
        ordinal: DeviceOrdinal(ordinal),
        engine: "none".into(),
        model: "none".into(),
        memory_bytes: 1 << 20,
        available_bytes: 1 << 20,
        reserve_bytes: 0,
        operand_copies: 0,
        operand_rows: 0,
        labels: vec![],
    };
    Hello {
        versions: vec![1],
        suites: vec![1],
        identity: Identity(key().verifying_key().to_bytes()),
        software: "test".into(),
        labels: vec![],
        devices: vec![offer(0), offer(2)],
    }
}

fn plan(ordinal: u32) -> Plan {
    Plan::new(PlanFields {
        session_id: [7; 16],
        verifier: Identity([8; 32]),
        verifier_name: String::new(),
        audience: String::new(),
        matrix_dim: 256,
        devices: vec![DevicePlan {
            ordinal: DeviceOrdinal(ordinal),
            matrix_offset: 0,
            num_matrices: 3,
        }],
        iterations: vec![Iteration::new(64, 1)],
        samples: 1,
        deadlines: Deadlines {
            ready_ms: 1,
            fill_ms: 1,
            sweep_ms: 1,
            openings_ms: 1,
        },
    })
    .expect("a valid plan")
}

fn plan_frame(ordinal: u32) -> Frame {
    Frame::new(MessageType::Plan, plan(ordinal).to_bytes())
}

fn salt(stage: Stage, fresh: Fresh) -> Frame {
    let salt = SaltMessage {
        stage,
        iteration: 0,
        fresh,
    };
    Frame::new(MessageType::Salt, salt.to_bytes())
}

/// A session up to where openings are due, its HELLO, and its transcript as a Verifier would record it.
fn sampled() -> (AttesterSession, Frame, Transcript) {
    let (mut session, hello) = AttesterSession::new(hello());
    let mut transcript = Transcript::default();
    transcript.append(&hello);
    let device = DeviceOrdinal(2);
    let mut exchange = |session: &mut AttesterSession, frame: Frame| {
        let task = session.received(&frame).expect("due");
        transcript.append(&frame);
        let answer = match &task {
            Task::Cross(_) => panic!("the plan has no rounds"),
            Task::Prepare(_) => Some(session.ready()),
            Task::Fill(_) => Some(session.filled(device, ROOTS[0]).expect("due")),
            Task::Sweep { .. } => Some(session.swept(device, vec![ROOTS[1]]).expect("due")),
            Task::Open(_) | Task::Wait | Task::Finish(_) => None,
        };
        answer.iter().for_each(|frame| transcript.append(frame));
        task
    };
    assert_eq!((session.plan(), session.checksum()), (None, None));
    let Task::Prepare(assignments) = exchange(&mut session, plan_frame(2)) else {
        panic!("PLAN is prepared for");
    };
    assert_eq!(assignments, [(device, plan(2).assignment(&plan(2).devices()[0]))]);
    assert_eq!(session.plan(), Some(&plan(2)));
    let nonce = Frame::new(MessageType::Nonce, NonceMessage(NONCE).to_bytes());
    assert!(matches!(exchange(&mut session, nonce), Task::Fill(_)));
    assert!(matches!(
        exchange(&mut session, salt(Stage::V, V)),
        Task::Sweep { sweeps: 1, .. }
    ));
    assert_eq!(session.checksum(), None);
    assert!(matches!(exchange(&mut session, salt(Stage::W, W)), Task::Wait));
    let sample = Frame::new(MessageType::Sample, SampleMessage(Fresh([9; 32])).to_bytes());
    assert!(matches!(exchange(&mut session, sample), Task::Open(sites) if sites.len() == 1));
    (session, hello, transcript)
}

#[test]
fn the_checksum_is_there_after_the_last_salt() {
    let (session, hello, _) = sampled();
    let chain = chain_0(&NONCE, &hello.payload, &plan(2).to_bytes());
    let checksum: Chain = next_chain(&chain, &W, &ROOTS[1..]);
    assert_eq!(session.checksum(), Some(checksum));
}

#[test]
fn a_device_that_was_not_offered_is_unsupported_and_all_else_a_violation() {
    let (mut session, _) = AttesterSession::new(hello());
    let refused = session.received(&plan_frame(1)).expect_err("device 1 was not offered");
    assert_eq!(refused, Violation::UnknownDevice(DeviceOrdinal(1)));
    assert_eq!(refused.to_abort().code, AbortCode::Unsupported);
    // Nothing was accepted: a plan is still due.
    assert_eq!(session.plan(), None);
    let early = session.received(&salt(Stage::V, V)).expect_err("PLAN is due");
    assert_eq!(early.to_abort().code, AbortCode::ProtocolViolation);
    assert!(matches!(session.received(&plan_frame(0)), Ok(Task::Prepare(_))));
}

/// The body of OPENINGS of a session that was given these values, with its signature checked.
fn opened(attestation: Option<Vec<u8>>, tls_exporter: Option<[u8; 32]>) -> OpeningsBody {
    let (mut session, _, mut transcript) = sampled();
    if let Some(attestation) = attestation {
        session.carry_attestation(attestation);
    }
    let frame = session.openings(vec![], vec![], &key(), tls_exporter.as_ref());
    let (body, signature) = frame
        .payload
        .split_last_chunk::<SIGNATURE_BYTES>()
        .expect("a signature");
    transcript.append_parts(MessageType::Openings as u32, body);
    let message = signed_message(&transcript.hash(), tls_exporter.as_ref());
    let signature = Signature::from_bytes(signature);
    let verified = key().verifying_key().verify_strict(&message, &signature);
    verified.expect("signed over the transcript");
    OpeningsBody::from_bytes(body).expect("a body")
}

#[test]
fn openings_are_signed_and_carry_the_makers_attestation_within_its_bounds() {
    let carried = |bytes: usize| opened(Some(vec![7; bytes]), Some([8; 32])).attestation;
    assert_eq!(opened(None, None).attestation, None);
    assert_eq!(carried(0), None);
    assert_eq!(carried(1), Some(vec![7]));
    assert_eq!(
        carried(MAX_ATTESTATION_BYTES).map(|bytes| bytes.len()),
        Some(MAX_ATTESTATION_BYTES)
    );
    assert_eq!(carried(MAX_ATTESTATION_BYTES + 1), None);
}
