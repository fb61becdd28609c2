//! The Attester's driver: bytes in pieces of any size, devices in any order, limits and the vendor's attestation, on a
//! clock that the test sets (spec §5.7).

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::attester::{Task, Violation};
use protocol::bytes::{DeviceOrdinal, Fresh, Nonce};
use protocol::cbor::{Canonical, Label};
use protocol::derive::{advance_sweep_salts, derive};
use protocol::driver::{Action, AttesterDriver, Done, Ended, LimitPassed, Limits, Need, Opener, VerifierDriver};
use protocol::engine::{Engine, EngineError, Unobserved};
use protocol::frame::{Frame, MessageType};
use protocol::message::{Abort, AbortCode, NonceMessage, ResultMessage};
use protocol::plan::Plan;
use protocol::verdict::Verdict;
use protocol::verifier::{Outgoing, Step};
use testkit::cast;
use testkit::stand_in::StandIn;

const MS: u64 = 1_000_000;

/// Both drivers, and the data in transit between them.
struct Stage {
    verifier: VerifierDriver,
    attester: AttesterDriver,
    engines: BTreeMap<DeviceOrdinal, Box<dyn Engine>>,
    to_verifier: Vec<u8>,
    to_attester: Vec<u8>,
    /// Work that devices have finished and that has not been reported yet.
    done: Vec<(DeviceOrdinal, Done)>,
    other: Vec<Action>,
    now_ns: u64,
}

fn limits() -> Limits {
    Limits {
        idle: Duration::from_millis(500),
        session: Duration::from_secs(10),
        ..Limits::NONE
    }
}

impl Stage {
    fn new(limits: Limits, attests: bool, engine: fn() -> Box<dyn Engine>) -> Self {
        let hello = cast::hello(&[3, 2]);
        let engines = hello.devices.iter().map(|offer| (offer.ordinal, engine())).collect();
        let mut request = cast::request(&[(128, 2), (64, 1)], 40);
        request.deadlines.openings_ms = 4_000;
        Stage {
            verifier: VerifierDriver::new(Opener::Request(request), 1_000, None),
            attester: AttesterDriver::new(hello, cast::attester_key(), limits, attests, None),
            engines,
            to_verifier: Vec::new(),
            to_attester: Vec::new(),
            done: Vec::new(),
            other: Vec::new(),
            now_ns: 0,
        }
    }

    /// Does what the Attester's driver requests; the devices' work is done but not reported.
    fn obey(&mut self) {
        while let Some(action) = self.attester.next_action() {
            match action {
                Action::Send(frame) => self.to_verifier.extend(wire(&frame)),
                Action::Start(task) => self.work(task),
                other => self.other.push(other),
            }
        }
    }

    fn work(&mut self, task: Task) {
        match task {
            Task::Prepare(assignments) => {
                for (g, assignment) in assignments {
                    self.engine(g).prepare(&assignment).expect("a small plan");
                    self.done.push((g, Done::Prepared));
                }
            }
            Task::Fill(task) => {
                for (g, engine) in &mut self.engines {
                    let root = engine.fill(&task, &Unobserved).expect("it fills");
                    self.done.push((*g, Done::Filled(root)));
                }
            }
            Task::Sweep {
                first_salts: mut salts,
                sweeps,
            } => {
                let mut all = BTreeMap::new();
                for _ in 0..sweeps {
                    let mut roots = Vec::new();
                    for (g, salt) in &salts {
                        let root = self.engine(*g).sweep(salt, &Unobserved).expect("it sweeps");
                        all.entry(*g).or_insert_with(Vec::new).push(root);
                        roots.push(root);
                    }
                    advance_sweep_salts(&mut salts, &roots);
                }
                self.done
                    .extend(all.into_iter().map(|(g, roots)| (g, Done::Swept(roots))));
            }
            Task::Cross(_) => panic!("a round, where the plan has none"),
            Task::Open(sites) => {
                for (&g, engine) in &mut self.engines {
                    let all = sites.iter().enumerate().flat_map(|(sample, site)| {
                        let openings = site.openings().into_iter().enumerate();
                        openings
                            .map(move |(which, (holder, commitment, leaf))| (holder, sample, which, commitment, leaf))
                    });
                    let own = all.filter(|(holder, ..)| *holder == g);
                    let openings = own
                        .map(|(_, sample, which, commitment, leaf)| {
                            (sample, which, engine.open(commitment, leaf).expect("it opens"))
                        })
                        .collect();
                    let labels = vec![Label::new(&format!("device {g}"), "seen")];
                    self.done.push((g, Done::Opened(openings, labels)));
                }
            }
            Task::Wait | Task::Finish(_) => {}
        }
    }

    fn engine(&mut self, g: DeviceOrdinal) -> &mut dyn Engine {
        self.engines.get_mut(&g).expect("plans name devices of HELLO").as_mut()
    }

    /// Reports the devices' finished work, the last first.
    fn tell(&mut self) {
        while let Some((g, done)) = self.done.pop() {
            self.now_ns += MS;
            self.attester.done(self.now_ns, g, done);
            self.obey();
        }
    }

    /// Delivers everything in transit, `size` bytes at a time.
    fn exchange(&mut self, size: usize) {
        self.now_ns += MS;
        for piece in std::mem::take(&mut self.to_attester).chunks(size) {
            self.attester.received(self.now_ns, piece.to_vec());
        }
        self.obey();
        for piece in std::mem::take(&mut self.to_verifier).chunks(size) {
            self.verifier.received(self.now_ns, piece.to_vec());
        }
    }

    fn release(&mut self) {
        let fresh = Fresh(derive("test", &[&self.now_ns.to_le_bytes()]));
        let frame = self.verifier.release(self.now_ns, fresh).expect("a message is due");
        self.to_attester.extend(wire(&frame));
    }

    /// Continues until this message is ready to be sent, and sends it.
    fn go_through(&mut self, outgoing: Outgoing, size: usize) {
        self.obey();
        loop {
            self.exchange(size);
            self.tell();
            if let Need::Release(due) = self.verifier.need() {
                self.release();
                if due == outgoing {
                    self.exchange(size);
                    return;
                }
            }
        }
    }

    fn ended(&self) -> &Ended {
        let outcome = self.attester.outcome().expect("the session is over");
        outcome.as_ref().expect_err("no RESULT came")
    }

    /// The ABORT that the Verifier receives.
    fn abort(&mut self) -> Abort {
        self.obey();
        let payload = self.to_verifier.split_off(12);
        assert_eq!(self.to_verifier[0], MessageType::Abort as u8);
        Abort::from_bytes(&payload).expect("an ABORT alone")
    }
}

fn wire(frame: &Frame) -> Vec<u8> {
    [&frame.header()[..], &frame.payload].concat()
}

fn stand_in() -> Box<dyn Engine> {
    Box::new(StandIn::default())
}

#[test]
fn two_drivers_make_a_session_however_its_bytes_are_cut() {
    for size in [1, 7, usize::MAX] {
        let mut stage = Stage::new(limits(), false, cast::engine);
        stage.go_through(Outgoing::Sample, size);
        assert!(matches!(stage.other[..], []), "{:?}", stage.other);
        stage.tell();
        assert!(matches!(stage.other[..], [Action::Release]), "{:?}", stage.other);
        stage.exchange(size);
        assert_eq!(stage.verifier.need(), Need::Check);
        let checks = stage.verifier.session().tile_checks();
        assert_eq!(checks.len(), 9, "every leaf: there are fewer than samples");
        let recomputed = cast::recompute()
            .run(checks, &verifier::recompute::Unwatched)
            .expect("a CPU");
        assert_eq!(recomputed, verifier::recompute::Recomputed::Agrees);
        stage.verifier.checked(Ok(())).expect("tiles are due");
        let verdict = stage.verifier.session().verdict().expect("a verdict");
        assert_eq!(verdict, &Verdict::Affirmed);
        let result: ResultMessage = verdict.to_message();
        let frame = Frame::new(MessageType::Result, result.to_bytes());
        stage.to_attester.extend(wire(&frame));
        stage.exchange(size);
        assert_eq!(stage.attester.outcome(), Some(&Ok(result)));
        assert_eq!(stage.verifier.session().step(), Step::Done);
    }
}

#[test]
fn a_silent_verifier_is_given_up_at_the_limit_and_not_before() {
    let mut stage = Stage::new(limits(), false, stand_in);
    stage.go_through(Outgoing::Nonce, usize::MAX);
    // The devices are working: nothing is due from the Verifier, and the Attester sends only their PROGRESS.
    let until_ns = stage.attester.until_ns(stage.now_ns);
    assert_eq!(until_ns, stage.now_ns + 250 * MS);
    stage.now_ns += 2_000 * MS;
    stage.attester.time(stage.now_ns);
    stage.obey();
    assert!(matches!(stage.other[..], [Action::Progress]), "{:?}", stage.other);
    let done = [(DeviceOrdinal(0), 1), (DeviceOrdinal(1), 0)];
    let progress = stage.attester.progress(done).expect("PLAN has come");
    assert_eq!(progress.message_type(), Some(MessageType::Progress));
    stage.tell();
    stage.to_verifier.clear();
    let since_ns = stage.now_ns;
    let until_ns = stage.attester.until_ns(since_ns);
    assert_eq!(until_ns, since_ns + 500 * MS);
    // Single bytes of a frame do not count as a frame.
    stage.attester.received(since_ns + 400 * MS, vec![6, 0, 0]);
    stage.attester.time(until_ns - 1);
    assert_eq!(stage.attester.outcome(), None);
    stage.attester.time(until_ns);
    let limit = LimitPassed::Idle {
        due: MessageType::Salt,
        limit: Duration::from_millis(500),
    };
    assert_eq!(stage.ended(), &Ended::Limit(limit.clone()));
    let abort = stage.abort();
    assert_eq!((abort.code, abort.message), (AbortCode::Cancelled, limit.to_string()));
}

#[test]
fn openings_wait_for_the_makers_attestation_and_no_longer_than_half_their_time() {
    for comes in [true, false] {
        let mut stage = Stage::new(Limits::NONE, true, stand_in);
        stage.go_through(Outgoing::Sample, usize::MAX);
        let nonces: Vec<&Nonce> = (stage.other.iter())
            .filter_map(|action| match action {
                Action::Attest(nonce) => Some(nonce),
                _ => None,
            })
            .collect();
        let nonce = NonceMessage(*nonces[0]).to_bytes();
        assert_eq!(nonces.len(), 1, "asked for once");
        let sent = stage
            .verifier
            .session()
            .records()
            .iter()
            .find_map(|record| match &record.event {
                protocol::record::Event::Sent(frame) if frame.message_type() == Some(MessageType::Nonce) => {
                    Some(frame.payload.to_vec())
                }
                _ => None,
            });
        assert_eq!(sent, Some(nonce));
        let since_ns = stage.now_ns;
        stage.other.clear();
        stage.tell();
        assert!(stage.to_verifier.is_empty(), "OPENINGS wait");
        let until_ns = stage.attester.until_ns(stage.now_ns);
        assert_eq!(until_ns, since_ns + 2_000 * MS, "half of 4 s from SAMPLE on");
        stage.attester.time(until_ns - 1);
        stage.obey();
        assert!(stage.to_verifier.is_empty() && stage.other.is_empty());
        if comes {
            stage.attester.attested(until_ns - 1, Some(b"the maker's".to_vec()));
            stage.obey();
            assert!(matches!(stage.other[..], [Action::Release]), "{:?}", stage.other);
        } else {
            stage.attester.time(until_ns);
            stage.obey();
            assert!(
                matches!(stage.other[..], [Action::AbandonAttestation, Action::Release]),
                "{:?}",
                stage.other
            );
            // Too late: nothing is signed any more.
            stage.attester.attested(until_ns + 1, Some(b"the maker's".to_vec()));
            stage.obey();
        }
        let openings = &stage.to_verifier;
        assert_eq!(openings[0], MessageType::Openings as u8);
        assert_eq!(openings.windows(11).any(|bytes| bytes == b"the maker's"), comes);
    }
}

#[test]
fn what_ends_a_session_is_told_once() {
    // A device fails: its UUID identifies the card.
    let mut stage = Stage::new(limits(), false, stand_in);
    stage.go_through(Outgoing::Nonce, usize::MAX);
    let error = EngineError::DeviceLost("Xid 79".to_owned());
    stage.attester.failed(DeviceOrdinal(1), Some("GPU-7"), &error);
    stage.attester.failed(DeviceOrdinal(0), None, &error);
    stage.attester.time(u64::MAX);
    let abort = stage.abort();
    assert_eq!(
        (abort.code, abort.device),
        (AbortCode::DeviceLost, Some(DeviceOrdinal(1)))
    );
    assert!(abort.message.ends_with("(GPU-7)"), "{}", abort.message);
    assert_eq!(stage.ended(), &Ended::Aborted(abort));
    // A device's work afterwards has no effect.
    stage.tell();
    assert!(stage.to_verifier.len() == 12, "nothing more is sent");

    // The Verifier sends a message that is not expected.
    let mut stage = Stage::new(limits(), false, stand_in);
    stage.obey();
    stage.to_verifier.clear();
    let frame = Frame::new(MessageType::Nonce, NonceMessage(Nonce([0; 32])).to_bytes());
    stage.attester.received(0, wire(&frame));
    assert_eq!(stage.abort().code, AbortCode::ProtocolViolation);
    let violation = Violation::Unexpected {
        expected: MessageType::Plan,
        actual: MessageType::Nonce as u32,
    };
    assert_eq!(stage.ended(), &Ended::Violation(violation));

    // A frame that is too long, and one that is truncated.
    for (length, bytes, expected) in [
        (
            u64::MAX,
            12,
            Ended::Oversized {
                type_number: 4,
                length_bytes: u64::MAX,
                limit_bytes: protocol::limits::MAX_SMALL_BYTES,
            },
        ),
        (20, 12, Ended::Closed(Some((12, 32)))),
        (20, 0, Ended::Closed(None)),
    ] {
        let mut stage = Stage::new(limits(), false, stand_in);
        stage
            .attester
            .received(0, protocol::frame::header(4, length)[..bytes].to_vec());
        stage.attester.closed(0);
        assert_eq!(stage.ended(), &expected);
    }
}

#[test]
fn a_plan_of_too_much_work_starts_nothing() {
    let mut stage = Stage::new(Limits { work: 1, ..limits() }, false, stand_in);
    stage.go_through(Outgoing::Plan, usize::MAX);
    assert!(stage.done.is_empty(), "no device was told to prepare");
    let plan: &Plan = stage.attester.plan().expect("PLAN has come");
    let asked = protocol::driver::work(plan).map(|(_, asked)| asked).max();
    match stage.ended() {
        Ended::Limit(LimitPassed::Work {
            asked: told, limit: 1, ..
        }) => assert_eq!(Some(*told), asked),
        other => panic!("{other:?}"),
    }
}
