//! Hostile Verifiers: one that floods the connection and leaves holds neither the session nor its devices, and a plan
//! of a few bytes does not exhaust the host's memory. Verifiers that fall silent are in `limits.rs`.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use attester::{Attester, Device, Limits, ServeError, serve};
use ed25519_dalek::SigningKey;
use protocol::bytes::{DeviceOrdinal, Identity, Root, Salt};
use protocol::cbor::Canonical;
use protocol::commitment::Opening;
use protocol::engine::{Assignment, CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::frame::{Frame, MessageType};
use protocol::message::{Abort, AbortCode, DeviceOffer};
use protocol::plan::{Deadlines, DevicePlan, Iteration, Plan, PlanFields};

/// Is still preparing when the session ends, and reports when it is dropped.
struct Slow(Sender<DeviceOrdinal>, DeviceOrdinal);

impl Engine for Slow {
    fn prepare(&mut self, _: &Assignment) -> Result<(), EngineError> {
        thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    fn fill(&mut self, _: &FillTask, _: &dyn Progress) -> Result<Root, EngineError> {
        Err(EngineError::Cancelled)
    }

    fn sweep(&mut self, _: &Salt, _: &dyn Progress) -> Result<Root, EngineError> {
        Err(EngineError::Cancelled)
    }

    fn open(&mut self, _: CommitmentId, _: u32) -> Result<Opening, EngineError> {
        Err(EngineError::Cancelled)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        // The test may already have failed.
        let _ = self.0.send(self.1);
    }
}

fn plan(devices: u32) -> Plan {
    let device = |g| DevicePlan {
        ordinal: DeviceOrdinal(g),
        matrix_offset: g.into(),
        num_matrices: 1,
    };
    Plan::new(fields((0..devices).map(device).collect())).expect("within the bounds")
}

fn fields(devices: Vec<DevicePlan>) -> PlanFields {
    PlanFields {
        session_id: [0; 16],
        verifier: Identity([0; 32]),
        verifier_name: String::new(),
        audience: String::new(),
        matrix_dim: 256,
        devices,
        iterations: vec![Iteration::new(64, 1)],
        samples: 1,
        deadlines: Deadlines {
            ready_ms: 1,
            fill_ms: 1,
            sweep_ms: 1,
            openings_ms: 1,
        },
    }
}

fn attester(devices: u32, dropped: &Sender<DeviceOrdinal>) -> Attester {
    let device = |g| Device {
        offer: DeviceOffer {
            ordinal: DeviceOrdinal(g),
            engine: "slow".into(),
            model: "none".into(),
            memory_bytes: 1 << 30,
            available_bytes: 1 << 30,
            reserve_bytes: 0,
            operand_copies: 0,
            operand_rows: 0,
            labels: Vec::new(),
        },
        engine: Box::new(Slow(dropped.clone(), DeviceOrdinal(g))),
        telemetry: None,
    };
    Attester {
        software: "slow".into(),
        labels: Vec::new(),
        devices: (0..devices).map(device).collect(),
        key: SigningKey::from_bytes(&[1; 32]),
        attestation: None,
        limits: Limits::NONE,
    }
}

/// Sends PLAN and this many frames of an unknown type, and disconnects. Returns how the session ended.
fn flooded_with(frames: u32, devices: u32) -> ServeError {
    let (dropped, all_dropped) = channel();
    let attester = attester(devices, &dropped);
    drop(dropped);
    let (from_verifier, mut to_attester) = io::pipe().expect("a pipe");
    let (served, outcome) = channel();
    thread::spawn(move || {
        // The test may have failed already.
        let nowhere = File::options().write(true).open("/dev/null").expect("a Unix has it");
        let _ = served.send(serve(attester, from_verifier, nowhere));
    });
    let mut send = |frame: &Frame| {
        to_attester.write_all(&frame.header()).expect("it reads");
        to_attester.write_all(&frame.payload).expect("it reads");
    };
    send(&Frame::new(MessageType::Plan, plan(devices).to_bytes()));
    for _ in 0..frames {
        send(&Frame {
            type_number: 77,
            payload: Vec::new().into(),
        });
    }
    drop(to_attester);
    let outcome = outcome.recv_timeout(Duration::from_secs(30)).expect("the session ends");
    let mut ended: Vec<_> = (0..devices)
        .map(|_| {
            all_dropped
                .recv_timeout(Duration::from_secs(30))
                .expect("every engine is dropped")
        })
        .collect();
    ended.sort_unstable();
    assert!(ended.into_iter().eq((0..devices).map(DeviceOrdinal)));
    outcome.expect_err("no RESULT came")
}

#[test]
fn a_flood_keeps_no_device() {
    for (frames, devices) in [(1, 1), (10, 3), (500, 1), (500, 64)] {
        let error = flooded_with(frames, devices);
        assert!(matches!(error, ServeError::Violation(_)), "{frames} frames: {error}");
    }
}

/// The largest device and the most sweeps that a plan may have: several terabytes of leaves.
#[test]
fn a_plan_that_fills_the_hosts_memory_is_answered_with_the_figures() {
    let (dropped, _all_dropped) = channel();
    let plan = Plan::new(PlanFields {
        matrix_dim: 32_768,
        iterations: vec![Iteration::new(64, 4096); 16],
        ..fields(vec![DevicePlan {
            ordinal: DeviceOrdinal(0),
            matrix_offset: 0,
            num_matrices: 262_143,
        }])
    });
    let plan = Frame::new(MessageType::Plan, plan.expect("within the bounds").to_bytes());
    let (mut said, to_verifier) = io::pipe().expect("a pipe");
    let (from_verifier, mut to_attester) = io::pipe().expect("a pipe");
    let plan = [&plan.header()[..], &plan.payload].concat();
    to_attester.write_all(&plan).expect("a pipe takes it");
    let error = serve(attester(1, &dropped), from_verifier, to_verifier).expect_err("no host has so much");
    assert!(matches!(error, ServeError::HostMemory(_)), "{error}");
    let mut next = || transport::read_frame(&mut said, |_| 1 << 20).expect("a frame");
    assert_eq!(next().message_type(), Some(MessageType::Hello));
    let abort = Abort::from_bytes(&next().payload).expect("ABORT");
    assert_eq!((abort.code, abort.device), (AbortCode::OutOfMemory, None));
    assert!(
        abort.message.contains("bytes of the host's memory"),
        "{}",
        abort.message
    );
}
