//! The Attester's limits: a Verifier that falls silent, does not read, or requests too much holds no device, and labels
//! that never arrive delay nothing.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use attester::{Attester, Device, LimitPassed, Limits, ServeError, Telemetry, serve};
use ed25519_dalek::SigningKey;
use engine_cpu::{CpuEngineConfig, cpu_devices};
use protocol::bytes::{DeviceOrdinal, Fresh, Identity, Nonce, Root, Salt};
use protocol::cbor::Canonical;
use protocol::commitment::Opening;
use protocol::engine::{Assignment, CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::frame::{Frame, MessageType};
use protocol::message::{Abort, AbortCode, NonceMessage, ResultMessage, SaltMessage, SampleMessage, Stage};
use protocol::openings::max_payload_bytes;
use protocol::plan::{Deadlines, DevicePlan, Iteration, Plan, PlanFields};
use transport::{Stop, Until, read_frame};

/// Long enough for everything that must happen.
const SOON: Duration = Duration::from_secs(30);

/// An idle time that exceeds the limit of these tests.
const IDLE: Duration = Duration::from_millis(400);

/// A CPU device that reports when it is dropped and, if requested, fills until it is cancelled.
struct Watched {
    engine: Box<dyn Engine>,
    fills_for_ever: bool,
    events: Sender<&'static str>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // The test may already have failed.
        let _ = self.events.send("dropped");
    }
}

impl Engine for Watched {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        let _ = self.events.send("prepared");
        self.engine.prepare(assignment)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        if self.fills_for_ever {
            while !progress.is_cancelled() {
                thread::sleep(Duration::from_millis(1));
            }
            return Err(EngineError::Cancelled);
        }
        self.engine.fill(task, progress)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.engine.sweep(salt, progress)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.engine.open(commitment, leaf)
    }
}

/// An Attester with one device, and what happens to its engine.
fn attester(limits: Limits, fills_for_ever: bool) -> (Attester, Receiver<&'static str>) {
    let (events, incoming) = channel();
    let device = |device: Device| Device {
        engine: Box::new(Watched {
            engine: device.engine,
            fills_for_ever,
            events: events.clone(),
        }),
        ..device
    };
    let devices = cpu_devices(NonZeroUsize::MIN, 0, 1 << 20, CpuEngineConfig::default()).expect("a CPU");
    let attester = Attester {
        software: "limits".into(),
        labels: Vec::new(),
        devices: devices.into_iter().map(device).collect(),
        key: SigningKey::from_bytes(&[1; 32]),
        attestation: None,
        limits,
    };
    (attester, incoming)
}

fn plan(openings_ms: u64) -> Plan {
    Plan::new(PlanFields {
        session_id: [0; 16],
        verifier: Identity([0; 32]),
        verifier_name: String::new(),
        audience: String::new(),
        matrix_dim: 256,
        devices: vec![DevicePlan {
            ordinal: DeviceOrdinal(0),
            matrix_offset: 0,
            num_matrices: 2,
        }],
        iterations: vec![Iteration::new(64, 1)],
        samples: 1,
        // The Verifier's deadlines do not limit the Attester.
        deadlines: Deadlines {
            ready_ms: 31_622_400_000,
            fill_ms: 31_622_400_000,
            sweep_ms: 31_622_400_000,
            openings_ms,
        },
    })
    .expect("within the bounds")
}

/// A running session, seen from the Verifier's end.
struct Session {
    from: PipeReader,
    to: PipeWriter,
    served: Receiver<Result<ResultMessage, ServeError>>,
    plan: Plan,
}

impl Session {
    fn start(attester: Attester, plan: Plan) -> Self {
        let (from_verifier, to) = io::pipe().expect("a pipe");
        let (from, to_verifier) = io::pipe().expect("a pipe");
        let (sender, served) = channel();
        thread::spawn(move || {
            // The test may already have failed.
            let _ = sender.send(serve(attester, from_verifier, to_verifier));
        });
        Session { from, to, served, plan }
    }

    /// Answers messages up to and including this one, and then no more.
    fn answer_until(&mut self, last: MessageType) {
        loop {
            let frame = self.next();
            let answers = match frame.message_type() {
                Some(kind) if kind == last => return,
                Some(MessageType::Hello) => vec![Frame::new(MessageType::Plan, self.plan.to_bytes())],
                Some(MessageType::Ready) => {
                    vec![Frame::new(MessageType::Nonce, NonceMessage(Nonce([3; 32])).to_bytes())]
                }
                Some(MessageType::Filled) => vec![salt(Stage::V)],
                Some(MessageType::Swept) => vec![salt(Stage::W), sample()],
                other => panic!("{other:?}"),
            };
            for answer in answers {
                self.send(&answer);
            }
        }
    }

    fn send(&mut self, frame: &Frame) {
        self.to.write_all(&frame.header()).expect("it reads");
        self.to.write_all(&frame.payload).expect("it reads");
    }

    /// The next frame other than PROGRESS.
    fn next(&mut self) -> Frame {
        let cap = max_payload_bytes(&self.plan, MessageType::Openings).max(1 << 20);
        loop {
            let frame = read_frame(&mut self.from, |_| cap).expect("a frame");
            if frame.message_type() != Some(MessageType::Progress) {
                return frame;
            }
        }
    }

    /// The limit that ended the session, and how it was reported to the Verifier.
    fn end(mut self) -> (LimitPassed, Abort) {
        let frame = self.next();
        assert_eq!(frame.message_type(), Some(MessageType::Abort));
        let abort = Abort::from_bytes(&frame.payload).expect("ABORT");
        match self.served.recv_timeout(SOON).expect("the session ends") {
            Err(ServeError::Limit(limit)) => (limit, abort),
            other => panic!("{other:?}"),
        }
    }
}

fn salt(stage: Stage) -> Frame {
    let salt = SaltMessage {
        stage,
        iteration: 0,
        fresh: Fresh([7; 32]),
    };
    Frame::new(MessageType::Salt, salt.to_bytes())
}

fn sample() -> Frame {
    Frame::new(MessageType::Sample, SampleMessage(Fresh([7; 32])).to_bytes())
}

fn idle() -> Limits {
    Limits {
        idle: IDLE,
        ..Limits::NONE
    }
}

/// A Verifier that stops answering, at every point of a session where it has to send.
#[test]
fn a_verifier_that_falls_silent_holds_no_device() {
    for (last, due) in [
        (MessageType::Hello, MessageType::Plan),
        (MessageType::Ready, MessageType::Nonce),
        (MessageType::Filled, MessageType::Salt),
        (MessageType::Swept, MessageType::Salt),
        (MessageType::Openings, MessageType::Result),
    ] {
        let (attester, events) = attester(idle(), false);
        let mut session = Session::start(attester, plan(60_000));
        session.answer_until(last);
        let since = Instant::now();
        if last == MessageType::Openings {
            // The device has no more tasks: it does not wait for the verdict.
            let seen: Vec<_> = std::iter::from_fn(|| events.recv_timeout(IDLE / 2).ok()).collect();
            assert_eq!(seen, ["prepared", "dropped"]);
        }
        let (limit, abort) = session.end();
        assert!(since.elapsed() >= IDLE / 2 && since.elapsed() < SOON, "{due}");
        assert_eq!(limit, LimitPassed::Idle { due, limit: IDLE }, "after {last}");
        assert_eq!((abort.code, abort.device), (AbortCode::Cancelled, None));
        let text = format!("the Attester's limit of idle time is 0.4 s, and no {due} came from the Verifier");
        assert_eq!(abort.message, text);
        if last != MessageType::Openings {
            let dropped = events.iter().any(|event| event == "dropped");
            assert!(dropped, "after {last} the device is free");
        }
    }
}

/// SAMPLE follows SALT w at once; here it does not.
#[test]
fn a_verifier_that_draws_no_sample_holds_no_device() {
    let (attester, events) = attester(idle(), false);
    let mut session = Session::start(attester, plan(60_000));
    session.answer_until(MessageType::Swept);
    session.send(&salt(Stage::W));
    let (limit, _) = session.end();
    let due = MessageType::Sample;
    assert_eq!(limit, LimitPassed::Idle { due, limit: IDLE });
    assert_eq!(events.iter().collect::<Vec<_>>(), ["prepared", "dropped"]);
}

/// A byte of a frame now and then does not count as a frame.
#[test]
fn a_verifier_that_sends_crumbs_is_silent() {
    let (attester, _events) = attester(idle(), false);
    let mut session = Session::start(attester, plan(60_000));
    let mut to = session.to.try_clone().expect("a pipe");
    session.answer_until(MessageType::Hello);
    let header = Frame::new(MessageType::Plan, vec![0; 100]).header();
    thread::spawn(move || {
        for byte in header {
            thread::sleep(IDLE / 4);
            if to.write_all(&[byte]).is_err() {
                return;
            }
        }
    });
    let (limit, _) = session.end();
    let due = MessageType::Plan;
    assert_eq!(limit, LimitPassed::Idle { due, limit: IDLE });
}

/// Writes until the pipe takes no more.
fn fill_up(pipe: &mut PipeWriter) {
    let stop = Stop::new().expect("a pipe");
    let mut until = Until::new(pipe.try_clone().expect("a pipe"), stop.clone());
    let fills = thread::spawn(move || until.write_all(&vec![0; 16 << 20]));
    thread::sleep(Duration::from_millis(200));
    stop.ask();
    let filled = fills.join().expect("no panic").map_err(|error| error.kind());
    assert_eq!(filled, Err(io::ErrorKind::ConnectionAborted));
}

/// A write that blocks: the pipe stays open, and its reader does not read.
#[test]
fn a_verifier_that_does_not_read_holds_no_device() {
    let (attester, events) = attester(idle(), false);
    let (from_verifier, mut to) = io::pipe().expect("a pipe");
    let frame = Frame::new(MessageType::Plan, plan(60_000).to_bytes());
    to.write_all(&frame.header()).expect("a pipe takes it");
    to.write_all(&frame.payload).expect("a pipe takes it");
    let (_unread, mut full) = io::pipe().expect("a pipe");
    // The capacity of a pipe: from here on every write blocks.
    let filled = full.try_clone().expect("a pipe");
    fill_up(&mut full);
    let (sender, served) = channel();
    thread::spawn(move || sender.send(serve(attester, from_verifier, filled)));
    match served.recv_timeout(SOON).expect("the session ends") {
        Err(ServeError::Limit(LimitPassed::Idle {
            due: MessageType::Nonce,
            ..
        })) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(events.iter().collect::<Vec<_>>(), ["prepared", "dropped"]);
}

#[cfg(target_os = "linux")]
/// HELLO goes to a full disk, and there is no Verifier: whichever is detected first, the error about the disk is reported.
#[test]
fn a_write_that_fails_is_told_though_nothing_can_be_read() {
    let nothing = File::open("/dev/null").expect("Linux has it");
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let (attester, _events) = attester(idle(), false);
    match serve(attester, nothing, full) {
        Err(ServeError::Send(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
    }
}

/// Work that does not end, whatever the Verifier's deadlines.
#[test]
fn a_session_without_end_is_given_up() {
    let limits = Limits {
        session: IDLE,
        ..Limits::NONE
    };
    let (attester, events) = attester(limits, true);
    let mut session = Session::start(attester, plan(60_000));
    session.answer_until(MessageType::Ready);
    session.send(&Frame::new(MessageType::Nonce, NonceMessage(Nonce([3; 32])).to_bytes()));
    let (limit, abort) = session.end();
    assert_eq!(limit, LimitPassed::Session { limit: IDLE });
    assert_eq!((abort.code, abort.device), (AbortCode::Cancelled, None));
    let text = "the Attester's limit of a session's time is 0.4 s, and it is not over";
    assert_eq!(abort.message, text);
    assert_eq!(events.iter().collect::<Vec<_>>(), ["prepared", "dropped"]);
}

#[test]
fn a_plan_of_too_much_work_is_refused_before_memory_is_taken() {
    // Two operations per multiplication and 256 per byte swept.
    let asked = 2 * 65_536 * (2 * 64 + 256);
    for limit in [asked, asked - 1] {
        let limits = Limits { work: limit, ..idle() };
        let (attester, events) = attester(limits, false);
        let mut session = Session::start(attester, plan(60_000));
        if limit == asked {
            session.answer_until(MessageType::Ready);
            continue;
        }
        session.answer_until(MessageType::Hello);
        let plan = Frame::new(MessageType::Plan, session.plan.to_bytes());
        session.send(&plan);
        let (passed, abort) = session.end();
        let device = DeviceOrdinal(0);
        assert_eq!(passed, LimitPassed::Work { device, asked, limit });
        assert_eq!((abort.code, abort.device), (AbortCode::Unsupported, Some(device)));
        let text =
            "the Attester's limit of work is 50331647 operations a device, and the plan asks 50331648 of device 0";
        assert_eq!(abort.message, text);
        assert_eq!(events.iter().collect::<Vec<_>>(), ["dropped"], "never prepared");
    }
}

/// NVML that never returns, at the start or the end of the telemetry: the session continues without labels.
#[test]
fn labels_that_never_come_hold_nothing_up() {
    struct Hangs {
        at_start: bool,
    }
    fn hang() {
        thread::sleep(Duration::from_secs(3600));
    }
    impl Telemetry for Hangs {
        fn start(&mut self) -> Result<(), String> {
            if self.at_start {
                hang();
            }
            Ok(())
        }

        fn finish(&mut self) -> Result<Vec<(String, String)>, String> {
            hang();
            Ok(Vec::new())
        }
    }
    for at_start in [true, false] {
        let (mut attester, _events) = attester(Limits::default(), false);
        attester.devices[0].telemetry = Some(Box::new(Hangs { at_start }));
        let mut session = Session::start(attester, plan(2000));
        session.answer_until(MessageType::Swept);
        session.send(&salt(Stage::W));
        let since = Instant::now();
        session.send(&sample());
        let openings = session.next();
        assert_eq!(openings.message_type(), Some(MessageType::Openings));
        assert!(
            since.elapsed() < Duration::from_secs(2),
            "in time: {:?}",
            since.elapsed()
        );
        let text = String::from_utf8_lossy(&openings.payload);
        assert!(text.contains("device 0 telemetry"), "{text}");
        assert!(text.contains("no answer within 0.5 s"), "{text}");
    }
}
