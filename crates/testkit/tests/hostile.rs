//! Input that no honest party sends: whatever arrives, nothing panics, and what a session reports stays consistent with its
//! records.

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use protocol::attester::AttesterSession;
use protocol::bytes::Fresh;
use protocol::cbor::Canonical;
use protocol::evidence::Evidence;
use protocol::frame::{Frame, MessageType};
use protocol::record::{EndCause, Event, Record};
use protocol::verdict::Verdict;
use protocol::verifier::{Step, VerifierSession};
use report::Report;
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Peer};
use testkit::rehearsal::{Rehearsal, seal};
use transport::read_frame;

/// An affirmed session of two devices and two iterations.
static HONEST: LazyLock<Evidence> = LazyLock::new(|| {
    let mut peer = HonestPeer::new(cast::hello(&[3, 2]), |_| cast::engine());
    Rehearsal::new(cast::request(&[(64, 2), (128, 1)], 4))
        .run(&mut peer)
        .evidence
});

/// A session in which the first `count` records have happened.
fn after(count: usize) -> VerifierSession {
    let mut session = VerifierSession::new(HONEST.config);
    for Record { at_ns, event } in &HONEST.records[..count] {
        happen(&mut session, *at_ns, event.clone()).expect("an honest record");
    }
    session
}

fn happen(session: &mut VerifierSession, at_ns: u64, event: Event) -> Result<(), protocol::verifier::Inconsistent> {
    match event {
        Event::Sent(frame) => session.sent(at_ns, frame),
        Event::Received(frame) => session.received(at_ns, frame),
        Event::Ended(cause) => session.ended(at_ns, cause),
    }
}

fn honest_frames() -> Vec<Frame> {
    HONEST
        .records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Sent(frame) | Event::Received(frame) => Some(frame.clone()),
            Event::Ended(_) => None,
        })
        .collect()
}

/// One change to some bytes.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(Index, u8),
    Set(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
    Cut(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        // Heads of every major type, and the largest numbers.
        (
            any::<Index>(),
            prop_oneof![any::<u8>(), Just(0x1B), Just(0x5B), Just(0x9B), Just(0xFF), Just(0xF6)]
        )
            .prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (any::<Index>(), 1usize..40).prop_map(|(at, count)| Mutation::Remove(at, count)),
        (any::<Index>(), vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<Index>(), 1usize..80).prop_map(|(at, count)| Mutation::Repeat(at, count)),
        any::<Index>().prop_map(Mutation::Cut),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        match mutation {
            Mutation::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Mutation::Set(at, byte) => bytes[at.index(length)] = *byte,
            Mutation::Remove(at, count) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + count));
            }
            Mutation::Insert(at, more) => {
                let at = at.index(length);
                bytes.splice(at..at, more.clone());
            }
            Mutation::Repeat(at, count) => {
                let at = at.index(length);
                let part = bytes[at..length.min(at + count)].to_vec();
                bytes.splice(at..at, part);
            }
            Mutation::Cut(at) => bytes.truncate(at.index(length)),
        }
    }
}

/// A frame: from the honest session and then changed, or consisting only of noise.
fn frame() -> impl Strategy<Value = Frame> {
    let type_number = prop_oneof![
        4 => (0usize..12).prop_map(|i| MessageType::ALL[i] as u32),
        1 => any::<u32>(),
    ];
    prop_oneof![
        3 => (any::<Index>(), vec(mutation(), 0..3)).prop_map(|(which, mutations)| {
            let frames = honest_frames();
            let mut frame = frames[which.index(frames.len())].clone();
            mutate(&mut frame.payload, &mutations);
            frame
        }),
        1 => (any::<Index>(), type_number.clone()).prop_map(|(which, type_number)| {
            let frames = honest_frames();
            Frame { type_number, ..frames[which.index(frames.len())].clone() }
        }),
        1 => (type_number, vec(any::<u8>(), 0..200)).prop_map(|(type_number, payload)| Frame { type_number, payload: payload.into() }),
    ]
}

fn cause() -> impl Strategy<Value = EndCause> {
    prop_oneof![
        Just(EndCause::Deadline),
        "[a-z]{0,9}".prop_map(EndCause::Closed),
        any::<(u32, u64, u64)>().prop_map(|(type_number, length_bytes, limit_bytes)| EndCause::Oversized {
            type_number,
            length_bytes,
            limit_bytes,
        }),
        Just(EndCause::Flood),
        "[a-z]{0,9}".prop_map(EndCause::NoPlan),
        Just(EndCause::Stopped),
    ]
}

/// An event that may happen: the expected next one, or any other.
#[derive(Clone, Debug)]
enum Happening {
    /// The next honest record, this much later than it originally was.
    Honest(u64),
    Any(u64, Event),
}

fn happening() -> impl Strategy<Value = Happening> {
    let at_ns = prop_oneof![0u64..40_000_000, any::<u64>(), Just(0), Just(u64::MAX)];
    let event = prop_oneof![
        3 => frame().prop_map(Event::Received),
        2 => frame().prop_map(Event::Sent),
        1 => cause().prop_map(Event::Ended),
    ];
    prop_oneof![
        3 => prop_oneof![4 => Just(0u64), 1 => 0u64..2_000_000_000].prop_map(Happening::Honest),
        2 => (at_ns, event).prop_map(|(at_ns, event)| Happening::Any(at_ns, event)),
    ]
}

/// The queries that a session accepts at any time.
fn ask(session: &VerifierSession) -> (Step, Option<Verdict>, usize) {
    for type_number in (0..14).chain([0x80, u32::MAX]) {
        assert!(session.max_payload_bytes(type_number) <= 1 << 22, "type {type_number}");
    }
    let due = session.due_frame(Fresh([7; 32]));
    assert_eq!(
        due.is_some(),
        matches!(session.step(), Step::Send(outgoing) if outgoing != protocol::verifier::Outgoing::Plan)
    );
    (session.step(), session.verdict().cloned(), session.records().len())
}

/// The session of these records, with its tiles assumed correct.
fn replayed(evidence: &Evidence) -> Option<VerifierSession> {
    let mut session = evidence.replay().ok()?;
    if session.step() == Step::Check {
        session.checked(Ok(())).expect("tiles are due");
    }
    Some(session)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(600), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn byte_streams_end_in_frames_or_errors(
        bytes in vec(any::<u8>(), 0..400), mutations in vec(mutation(), 0..6), begins_honestly: bool,
    ) {
        let mut stream = if begins_honestly {
            let mut peer = HonestPeer::new(cast::hello(&[3, 2]), |_| cast::engine());
            let Action::Frame(hello) = &peer.greet()[0] else { panic!("HELLO") };
            [&hello.header()[..], &hello.payload, &bytes].concat()
        } else {
            bytes
        };
        mutate(&mut stream, &mutations);
        let mut session = VerifierSession::new(HONEST.config);
        let mut unread = &stream[..];
        while let Step::Receive { .. } = session.step() {
            match read_frame(&mut unread, |type_number| session.max_payload_bytes(type_number)) {
                Ok(frame) => session.received(0, frame).expect("a message is waited for"),
                Err(_) => session.ended(0, EndCause::Closed(String::new())).expect("a session under way"),
            }
            ask(&session);
        }
        // Before NONCE no violation can be attributed to anyone.
        prop_assert!(session.verdict().is_none_or(|verdict| verdict.status() == 2));
    }

    #[test]
    fn frames_at_any_moment_end_in_a_verdict(moment: Index, frames in vec(frame(), 1..5)) {
        let mut session = after(moment.index(HONEST.records.len()));
        let at_ns = session.records().last().map_or(0, |last| last.at_ns);
        for frame in frames {
            let before = ask(&session);
            let outcome = session.received(at_ns, frame);
            let now = ask(&session);
            match outcome {
                Ok(()) => prop_assert_eq!(now.2, before.2 + 1),
                Err(_) => prop_assert_eq!(now, before),
            }
        }
        // The expected frame may have arrived by chance; then the session continues like the honest one.
        let is_honest = session.records().iter().zip(&HONEST.records).all(|(one, honest)| one.event == honest.event);
        let end = match session.step() {
            Step::Done => Ok(()),
            Step::Check => session.checked(Ok(())),
            Step::Send(_) => session.ended(at_ns, EndCause::Stopped),
            Step::Receive { .. } => session.ended(at_ns, EndCause::Closed(String::new())),
        };
        prop_assert_eq!(end, Ok(()));
        ask(&session);
        let verdict = session.verdict().expect("a verdict at the end of the stream");
        prop_assert!(*verdict != Verdict::Affirmed || is_honest, "affirmed after other frames than the honest ones");
    }

    #[test]
    fn whatever_happens_the_records_tell_it_again(happenings in vec(happening(), 1..40)) {
        let mut session = VerifierSession::new(HONEST.config);
        let mut honest = HONEST.records.iter();
        let mut late_ns = 0;
        for happening in happenings {
            let before = ask(&session);
            let (at_ns, event) = match happening {
                Happening::Honest(more_ns) => {
                    late_ns += more_ns;
                    let Some(record) = honest.next() else { break };
                    (record.at_ns + late_ns, record.event.clone())
                }
                Happening::Any(at_ns, event) => (at_ns, event),
            };
            let outcome = happen(&mut session, at_ns, event);
            let now = ask(&session);
            if outcome.is_err() {
                prop_assert_eq!(now, before, "an inconsistent event changes nothing");
            }
        }
        let evidence = Evidence { records: session.records().to_vec(), ..HONEST.clone() };
        match evidence.replay() {
            Ok(again) => {
                prop_assert_eq!(again.step(), session.step());
                prop_assert_eq!(again.verdict(), session.verdict());
                prop_assert_eq!(again.checksum(), session.checksum());
                prop_assert_eq!(again.windows(), session.windows());
            }
            Err(protocol::evidence::EvidenceError::Incomplete(step)) => prop_assert_eq!(step, session.step()),
            Err(protocol::evidence::EvidenceError::Sealer { .. }) => {}
            Err(other) => return Err(TestCaseError::fail(format!("{other}"))),
        }
    }

    #[test]
    fn attesters_survive_any_verifier(moment: Index, frames in vec(frame(), 1..6)) {
        let mut peer = HonestPeer::new(cast::hello(&[3, 2]), |_| cast::engine());
        let sent: Vec<Frame> = HONEST.records.iter().filter_map(|record| match &record.event {
            Event::Sent(frame) => Some(frame.clone()),
            _ => None,
        }).collect();
        let moment = moment.index(sent.len() + 1);
        for frame in &sent[..moment] {
            peer.answer(frame);
        }
        for frame in &frames {
            let actions = peer.answer(frame);
            prop_assert!(actions.len() <= 2, "{actions:?}");
            if actions.contains(&Action::Close) {
                break;
            }
        }
    }

    #[test]
    fn attester_sessions_survive_frames_after_a_violation(frames in vec(frame(), 1..8)) {
        let (mut session, _) = AttesterSession::new(cast::hello(&[3, 2]));
        for frame in &frames {
            // Whether it is a violation is checked by the other test.
            let _ = session.received(frame);
        }
    }

    #[test]
    fn changed_evidence_never_panics(mutations in vec(mutation(), 1..6)) {
        let mut sealed = seal(&HONEST);
        let honest = sealed.clone();
        mutate(&mut sealed, &mutations);
        prop_assert!(sealed == honest || Evidence::open(&sealed).is_err());
    }

    #[test]
    fn evidence_changed_under_the_seal_is_refused_or_reported(mutations in vec(mutation(), 1..3), moment: Index) {
        // The sealer changes anything: some record's payload, or the body itself where it stays canonical.
        let mut body = HONEST.to_bytes();
        mutate(&mut body, &mutations);
        let mut changed: Vec<Evidence> = Evidence::from_bytes(&body).into_iter().collect();
        let mut evidence = HONEST.clone();
        let at = moment.index(evidence.records.len());
        if let Event::Sent(frame) | Event::Received(frame) = &mut evidence.records[at].event {
            mutate(&mut frame.payload, &mutations);
        }
        changed.push(evidence);
        for evidence in changed {
            if let Some(session) = replayed(&evidence) {
                let report = Report::new(&evidence, &session, &body, &cast::judge());
                prop_assert!(verifier::inspect::Transcript::new(&evidence, &session).to_json().len() > 2);
                prop_assert!(report.to_json().len() > 2);
                prop_assert!(!report.text(report::Detail::All).is_empty());
            }
        }
    }

    #[test]
    fn any_times_can_be_reported(times in vec(any::<u64>(), 40), is_sorted: bool) {
        let mut times = times;
        if is_sorted {
            times.sort_unstable();
        }
        let mut evidence = HONEST.clone();
        let mut fields = None;
        for (record, at_ns) in evidence.records.iter_mut().zip(times) {
            record.at_ns = at_ns;
            if let Event::Sent(frame) = &record.event && frame.message_type() == Some(MessageType::Plan) {
                fields = Some(frame.payload.clone());
            }
        }
        prop_assert!(fields.is_some());
        if let Some(session) = replayed(&evidence) {
            prop_assert!(!Report::new(&evidence, &session, &[], &cast::judge()).text(report::Detail::All).is_empty());
        }
    }
}

/// The longest session that a clock can represent: windows as long as deadlines allow, and pauses of centuries between
/// them.
#[test]
fn the_longest_windows_can_be_reported() {
    let mut request = cast::request(&[(4_096, 2), (4_096, 1)], 1_000);
    let year_ms = 366 * 24 * 3_600_000;
    request.deadlines = protocol::plan::Deadlines {
        ready_ms: year_ms,
        fill_ms: year_ms,
        sweep_ms: year_ms,
        openings_ms: year_ms,
    };
    let mut peer = HonestPeer::new(cast::hello(&[3]), |_| cast::engine());
    let mut evidence = Rehearsal::new(request).run(&mut peer).evidence;
    let count = evidence.records.len() as u64;
    let year_ns = year_ms * 1_000_000;
    let mut at_ns = 0;
    for (i, record) in (1..).zip(&mut evidence.records) {
        at_ns = match record.event {
            Event::Sent(_) => u64::MAX / count * i,
            _ => at_ns + year_ns / 2,
        };
        record.at_ns = at_ns;
    }
    evidence.config.hello_deadline_ms = year_ms;
    let session = replayed(&evidence).expect("a slow session");
    let report = Report::new(&evidence, &session, &[], &cast::judge()).to_json();
    // Three tiles have too few leaves for a bound.
    assert_eq!(session.verdict(), Some(&protocol::verdict::Verdict::Affirmed));
    assert!(report.contains("nothing-certified"), "{report}");
}
