//! The Verifier's driver: bytes in any pieces, messages that wait for their release, ends while they do (spec §5.3, §9.3).

use protocol::bytes::Fresh;
use protocol::cbor::Canonical;
use protocol::derive::derive;
use protocol::driver::{Need, Opener, VerifierDriver};
use protocol::frame::{Frame, MessageType};
use protocol::message::{Abort, AbortCode};
use protocol::record::{EndCause, Event};
use protocol::verdict::{Failure, Obstacle, Phase, Verdict};
use protocol::verifier::Outgoing;
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Peer};

const MS: u64 = 1_000_000;

struct Stage {
    driver: VerifierDriver,
    peer: HonestPeer,
    coming: Vec<u8>,
    now_ns: u64,
}

impl Stage {
    fn new() -> Self {
        let mut peer = HonestPeer::new(cast::hello(&[3, 2]), |_| cast::engine());
        let coming = bytes(peer.greet());
        let request = cast::request(&[(128, 2), (64, 1)], 4);
        Stage {
            driver: VerifierDriver::new(Opener::Request(request), 1_000, None),
            peer,
            coming,
            now_ns: 0,
        }
    }

    /// Delivers everything in transit, `size` bytes per millisecond.
    fn arrive(&mut self, size: usize) {
        for piece in std::mem::take(&mut self.coming).chunks(size) {
            self.now_ns += MS;
            self.driver.received(self.now_ns, piece.to_vec());
        }
    }

    fn release(&mut self) {
        let fresh = Fresh(derive("test", &[&self.now_ns.to_le_bytes()]));
        let frame = self.driver.release(self.now_ns, fresh).expect("a message is due");
        self.coming.extend(bytes(self.peer.answer(&frame)));
    }

    /// Continues until this message is ready to be sent.
    fn go_to(&mut self, outgoing: Outgoing) {
        loop {
            match self.driver.need() {
                Need::Release(due) if due == outgoing => return,
                Need::Release(_) => self.release(),
                Need::Bytes { .. } => self.arrive(usize::MAX),
                other => panic!("{other:?}"),
            }
        }
    }

    fn say(&mut self, frame: &Frame) {
        self.now_ns += MS;
        self.driver.received(self.now_ns, wire(frame));
    }

    fn verdict(&self) -> &Verdict {
        self.driver.session().verdict().expect("the session is over")
    }
}

fn wire(frame: &Frame) -> Vec<u8> {
    [&frame.header()[..], &frame.payload].concat()
}

fn bytes(actions: Vec<Action>) -> Vec<u8> {
    let frames = actions.iter().filter_map(|action| match action {
        Action::Frame(frame) => Some(wire(frame)),
        _ => None,
    });
    frames.flatten().collect()
}

fn abort() -> Frame {
    let abort = Abort {
        code: AbortCode::DeviceLost,
        device: None,
        message: "gone".to_owned(),
    };
    Frame::new(MessageType::Abort, abort.to_bytes())
}

/// The commitments do not depend on how the stream was split; nor does any other recorded value, except for times.
#[test]
fn a_session_does_not_depend_on_how_its_bytes_are_cut() {
    let recorded = |size: usize| {
        let mut stage = Stage::new();
        stage.now_ns = 0;
        let mut draws = 0u64;
        loop {
            match stage.driver.need() {
                Need::Release(_) => {
                    draws += 1;
                    let fresh = Fresh(derive("test", &[&draws.to_le_bytes()]));
                    let frame = stage.driver.release(stage.now_ns, fresh).expect("due");
                    stage.coming.extend(bytes(stage.peer.answer(&frame)));
                }
                Need::Bytes { .. } => {
                    for piece in std::mem::take(&mut stage.coming).chunks(size) {
                        stage.now_ns += 1;
                        stage.driver.received(stage.now_ns, piece.to_vec());
                    }
                }
                Need::Check => break,
                Need::Nothing => panic!("{}", stage.verdict().message()),
            }
        }
        let events = stage
            .driver
            .session()
            .records()
            .iter()
            .map(|record| record.event.clone());
        events.collect::<Vec<Event>>()
    };
    let whole = recorded(usize::MAX);
    for size in [1, 2, 11, 12, 13, 100, 1024] {
        assert_eq!(recorded(size), whole, "{size} bytes at a time");
    }
}

#[test]
fn an_abort_ends_a_session_whose_message_waits_for_its_release() {
    for outgoing in [Outgoing::Plan, Outgoing::Nonce, Outgoing::Sample] {
        let mut stage = Stage::new();
        stage.go_to(outgoing);
        stage.now_ns += 10_000 * MS;
        stage.say(&abort());
        assert_eq!(stage.driver.need(), Need::Nothing, "{outgoing:?}");
        assert!(
            matches!(stage.verdict(), Verdict::CouldNotRun(Obstacle::Aborted { abort, after_nonce })
                if abort.code == AbortCode::DeviceLost && *after_nonce == (outgoing == Outgoing::Sample)),
            "{:?}",
            stage.verdict()
        );
    }
}

#[test]
fn a_connection_that_ends_before_a_release_ends_the_session_at_once() {
    let mut stage = Stage::new();
    stage.go_to(Outgoing::Sample);
    stage.driver.closed(stage.now_ns + 1, Some("reset by peer"));
    assert!(
        matches!(stage.verdict(), Verdict::CouldNotRun(Obstacle::Disconnected { phase: Phase::Sweep, detail: Some(why), after_nonce: true })
            if why == "the connection broke: reset by peer"),
        "{:?}",
        stage.verdict()
    );
}

/// A message that arrives before its request is kept with its time, and is premature when it is taken.
#[test]
fn a_message_before_its_release_waits_and_is_premature() {
    let mut stage = Stage::new();
    stage.go_to(Outgoing::Nonce);
    stage.say(&Frame::new(MessageType::Filled, vec![0x80]));
    // Even ABORT and the end of the connection wait behind it: frames are taken in order.
    stage.say(&abort());
    stage.driver.closed(stage.now_ns, None);
    assert_eq!(stage.driver.need(), Need::Release(Outgoing::Nonce));
    stage.now_ns += MS;
    stage.release();
    assert_eq!(
        stage.verdict(),
        &Verdict::Contraindicated(Failure::Premature { phase: Phase::Fill })
    );
}

/// A shell may deliver bytes later than they arrived: what arrived before its request stays premature, even if the request
/// was sent in the meantime.
#[test]
fn bytes_count_as_of_when_they_came() {
    let mut stage = Stage::new();
    stage.go_to(Outgoing::Nonce);
    let before_ns = stage.now_ns + MS;
    stage.now_ns += 2 * MS;
    stage.release();
    let early = wire(&Frame::new(MessageType::Filled, vec![0x80]));
    stage.driver.received(before_ns, early);
    assert_eq!(
        stage.verdict(),
        &Verdict::Contraindicated(Failure::Premature { phase: Phase::Fill })
    );

    // Giving up before the samples were requested does not count as a refusal to open them.
    let mut stage = Stage::new();
    stage.go_to(Outgoing::Sample);
    let before_ns = stage.now_ns + MS;
    stage.now_ns += 2 * MS;
    stage.release();
    stage.driver.received(before_ns, wire(&abort()));
    assert!(
        matches!(stage.verdict(), Verdict::CouldNotRun(Obstacle::Aborted { .. })),
        "{:?}",
        stage.verdict()
    );
}

/// While a message waits for its release, a peer that keeps sending is not read forever.
#[test]
fn bytes_before_a_release_are_bounded() {
    let mut stage = Stage::new();
    stage.go_to(Outgoing::Nonce);
    stage.say(&Frame::new(MessageType::Filled, vec![0; 60_000]));
    assert!(stage.driver.wants_bytes());
    stage.say(&Frame::new(MessageType::Filled, vec![0; 6_000]));
    assert!(!stage.driver.wants_bytes());
}

#[test]
fn an_oversized_frame_ends_a_session_whose_message_waits_for_its_release() {
    let mut stage = Stage::new();
    stage.go_to(Outgoing::Sample);
    let header = protocol::frame::header(MessageType::Abort as u32, 65_537);
    stage.driver.received(stage.now_ns, header.to_vec());
    let last = stage.driver.session().records().last().expect("records");
    let expected = EndCause::Oversized {
        type_number: 11,
        length_bytes: 65_537,
        limit_bytes: 65_536,
    };
    assert_eq!(last.event, Event::Ended(expected));
    assert!(matches!(
        stage.verdict(),
        Verdict::Contraindicated(Failure::OversizedMessage { .. })
    ));
}

/// A deadline expires at its exact nanosecond; while the session waits for no bytes, there is none.
#[test]
fn deadlines_pass_when_the_time_is_told() {
    let mut stage = Stage::new();
    assert_eq!(
        stage.driver.need(),
        Need::Bytes {
            until_ns: Some(1_000 * MS)
        }
    );
    stage.driver.time(1_000 * MS - 1);
    assert!(matches!(stage.driver.need(), Need::Bytes { .. }));
    stage.driver.time(1_000 * MS);
    assert!(matches!(
        stage.verdict(),
        Verdict::CouldNotRun(Obstacle::Late {
            phase: Phase::Hello,
            limit_ms: 1_000
        })
    ));

    let mut held = Stage::new();
    held.go_to(Outgoing::Nonce);
    held.driver.time(u64::MAX);
    assert_eq!(held.driver.need(), Need::Release(Outgoing::Nonce));
}

/// A shell whose clock runs backwards, or that continues after the end, changes nothing.
#[test]
fn times_that_go_back_and_events_after_the_end_change_nothing() {
    let mut stage = Stage::new();
    stage.go_to(Outgoing::Nonce);
    let before_ns = stage.now_ns;
    stage.now_ns = 0;
    stage.release();
    let records = stage.driver.session().records();
    assert_eq!(records.last().map(|record| record.at_ns), Some(before_ns));
    stage.driver.stop(0);
    assert_eq!(stage.verdict(), &Verdict::CouldNotRun(Obstacle::Stopped));
    let records = stage.driver.session().records().len();
    stage.driver.closed(u64::MAX, None);
    stage.driver.time(u64::MAX);
    stage.driver.stop(u64::MAX);
    stage.say(&abort());
    assert_eq!(stage.driver.release(u64::MAX, Fresh([0; 32])), None);
    assert_eq!(stage.driver.session().records().len(), records);
    assert_eq!(stage.verdict(), &Verdict::CouldNotRun(Obstacle::Stopped));
}
