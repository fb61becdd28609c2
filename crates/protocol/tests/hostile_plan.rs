//! Checking evidence of a few kilobytes must not cost gigabytes, whatever plan it states.

use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
use protocol::bytes::{DeviceOrdinal, Fresh, Identity, Root};
use protocol::cbor::Canonical;
use protocol::frame::{Frame, MessageType};
use protocol::message::{DeviceOffer, Filled, Hello, OpeningsBody, Ready, Swept};
use protocol::openings::OpeningsError;
use protocol::plan::{Deadlines, DevicePlan, Iteration, Plan, PlanFields};
use protocol::record::EndCause;
use protocol::verdict::{Failure, Verdict};
use protocol::verifier::{Mode, Outgoing, SIGNATURE_BYTES, Step, VerifierConfig, VerifierSession};

/// One device with the largest dataset, as many groups as there are k, the maximum number of samples: 67,108,864 in all, 20
/// GiB of sites if they were drawn.
fn plan() -> Plan {
    let deadlines = Deadlines {
        ready_ms: 1,
        fill_ms: 1,
        sweep_ms: 1,
        openings_ms: 1,
    };
    Plan::new(PlanFields {
        session_id: [0; 16],
        verifier: Identity([0; 32]),
        verifier_name: String::new(),
        audience: String::new(),
        matrix_dim: 32_768,
        devices: vec![DevicePlan {
            ordinal: DeviceOrdinal(0),
            matrix_offset: 0,
            num_matrices: 262_143,
        }],
        iterations: (1..=1024).map(|i| Iteration::new(64 * i, 1)).collect(),
        samples: 65_536,
        deadlines,
    })
    .expect("within the bounds")
}

fn hello() -> Hello {
    Hello {
        versions: vec![1],
        suites: vec![1],
        identity: Identity(SigningKey::from_bytes(&[0x0A; 32]).verifying_key().to_bytes()),
        software: String::new(),
        labels: Vec::new(),
        devices: vec![DeviceOffer {
            ordinal: DeviceOrdinal(0),
            engine: String::new(),
            model: String::new(),
            memory_bytes: 0,
            available_bytes: 0,
            reserve_bytes: 0,
            operand_copies: 0,
            operand_rows: 0,
            labels: Vec::new(),
        }],
    }
}

/// A session whose commitments are made up, after SAMPLE.
fn sampled() -> VerifierSession {
    let mut session = VerifierSession::new(VerifierConfig {
        mode: Mode::Offline,
        hello_deadline_ms: 0,
        tls_exporter: None,
    });
    let receive = |session: &mut VerifierSession, kind, payload| {
        session
            .received(0, Frame::new(kind, payload))
            .expect("a message is due");
    };
    receive(&mut session, MessageType::Hello, hello().to_bytes());
    let (device, root) = (DeviceOrdinal(0), Root([7; 32]));
    let mut iteration = 0;
    loop {
        match session.step() {
            Step::Send(Outgoing::Plan) => {
                let frame = Frame::new(MessageType::Plan, plan().to_bytes());
                session.sent(0, frame).expect("PLAN is due");
                receive(&mut session, MessageType::Ready, Ready.to_bytes());
            }
            Step::Send(outgoing) => {
                let frame = session.due_frame(Fresh([3; 32])).expect("a frame is due");
                session.sent(0, frame).expect("it is due");
                if outgoing == Outgoing::Sample {
                    return session;
                }
            }
            Step::Receive { phase, .. } => {
                if phase == protocol::verdict::Phase::Fill {
                    let filled = Filled {
                        iteration,
                        device,
                        root,
                    };
                    receive(&mut session, MessageType::Filled, filled.to_bytes());
                } else {
                    let roots = vec![root];
                    let swept = Swept {
                        iteration,
                        device,
                        roots,
                    };
                    receive(&mut session, MessageType::Swept, swept.to_bytes());
                    iteration += 1;
                }
            }
            Step::Check | Step::Done => panic!("over before SAMPLE: {:?}", session.verdict()),
        }
    }
}

#[test]
fn samples_are_drawn_only_for_who_opens_as_many() {
    assert_eq!(plan().total_samples(), 1 << 26);
    let since = Instant::now();
    let session = sampled();

    let mut silent = session.clone();
    silent.ended(0, EndCause::Closed(String::new())).expect("an end");
    assert!(matches!(
        silent.verdict(),
        Some(Verdict::Contraindicated(Failure::Unopened(_)))
    ));

    let mut short = session;
    let body = OpeningsBody {
        openings: Vec::new(),
        labels: Vec::new(),
        attestation: None,
    };
    let payload = [body.to_bytes(), vec![0; SIGNATURE_BYTES]].concat();
    short
        .received(0, Frame::new(MessageType::Openings, payload))
        .expect("OPENINGS are due");
    let count = OpeningsError::Count {
        expected: 1 << 26,
        actual: 0,
    };
    assert_eq!(
        short.verdict(),
        Some(&Verdict::Contraindicated(Failure::Openings(count)))
    );

    assert!(silent.sites().next().is_none() && short.sites().next().is_none());
    assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
}
