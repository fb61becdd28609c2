//! The same attacks over real byte streams and the real clock, on the Verifier that the commands run.

use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use protocol::cbor::{Canonical, Label};
use protocol::frame::{Frame, MessageType, header};
use protocol::limits::{MAX_LABELS, MAX_SMALL_BYTES};
use protocol::message::ProgressMessage;
use protocol::verdict::{Failure, Obstacle, Phase, Verdict};
use protocol::verifier::VerifierSession;
use testkit::adversary::Adversary;
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Peer, Tampered, Turn};
use testkit::wire::attest_peer;
use verifier::outcome::Judge;
use verifier::{Observer, Settings, Stop, Unobserved, record, verify};

use crate::attacks;
use crate::stage::{bytes, hello, honest, opens};

use Verdict::{Contraindicated, CouldNotRun};

/// The Verifier's request; every phase may take this long.
fn settings(limit_ms: u64) -> Settings {
    let mut request = cast::request(&[(64, 2), (128, 2), (64, 1)], 1_000);
    request.deadlines = protocol::plan::Deadlines {
        ready_ms: limit_ms,
        fill_ms: limit_ms,
        sweep_ms: limit_ms,
        openings_ms: limit_ms,
    };
    Settings {
        request,
        assumptions: cast::assumptions(),
        narrowed_by: None,
        hello_deadline: Duration::from_millis(limit_ms),
        recompute: cast::recompute(),
        key: cast::verifier_key(),
    }
}

/// The real Verifier's verdict; the evidence must give the same verdict.
fn attest(peer: impl Peer + Send + 'static, limit_ms: u64) -> Verdict {
    let attestation = attest_peer(peer, &settings(limit_ms), &Unobserved);
    let verified = verify(
        &attestation.sealed,
        &cast::recompute(),
        &Judge::of_nobody(),
        &Unobserved,
    )
    .expect("evidence of a session");
    assert_eq!(
        verified.session.verdict(),
        attestation.session.verdict(),
        "what its evidence says"
    );
    attestation.session.verdict().expect("a verdict").clone()
}

fn tampered(limit_ms: u64, tamper: impl FnMut(&mut Turn<'_>) + Send + 'static) -> Verdict {
    attest(Tampered::new(honest(), tamper), limit_ms)
}

/// The verdict on a peer that does this from the start of the phase on.
fn instead(phase: Phase, actions: Vec<Action>) -> Verdict {
    tampered(20_000, move |turn| {
        if opens(turn, phase) {
            turn.actions = actions.clone();
        }
    })
}

fn cut(phase: Phase) -> Verdict {
    let frame = bytes(&Frame::new(MessageType::Filled, vec![0; 100]));
    instead(phase, vec![Action::Bytes(frame[..50].to_vec()), Action::Close])
}

fn announce(phase: Phase, type_number: u32) -> Verdict {
    instead(
        phase,
        vec![Action::Bytes(header(type_number, 1 << 40).to_vec()), Action::Hang],
    )
}

/// Stops the session before any data has arrived.
struct Stops(Stop);

impl Stops {
    fn new() -> Self {
        let stop = Stop::new().expect("a pipe");
        stop.ask();
        Stops(stop)
    }
}

impl Observer for Stops {
    fn moved(&self, session: &VerifierSession) {
        assert!(session.verdict().is_none() || session.verdict() == Some(&CouldNotRun(Obstacle::Stopped)));
    }

    fn stop(&self) -> Option<&Stop> {
        Some(&self.0)
    }
}

/// Delays every PROGRESS.
#[derive(Default)]
struct SlowToHear {
    /// Requested with the first one.
    stop: Option<Stop>,
}

impl Observer for SlowToHear {
    fn progressed(&self, _progress: &ProgressMessage) {
        if let Some(stop) = &self.stop {
            stop.ask();
        }
        thread::sleep(Duration::from_millis(1));
    }

    fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }
}

/// An Attester that sends 64,000 PROGRESS instead of FILLED.
fn flooding() -> impl Peer + Send {
    let progress = bytes(&Frame::new(MessageType::Progress, vec![0x81, 0x80])).repeat(64);
    Tampered::new(honest(), move |turn: &mut Turn<'_>| {
        if opens(turn, Phase::Fill) {
            turn.actions = vec![Action::Bytes(progress.clone()); 1_000];
        }
    })
}

attacks! {
    fn dies_before_hello(): "disconnected", CouldNotRun(Obstacle::Disconnected { phase: Phase::Hello, after_nonce: false, .. })
        => instead(Phase::Hello, vec![Action::Close]);
    fn dies_before_ready(): "disconnected", CouldNotRun(Obstacle::Disconnected { phase: Phase::Prepare, after_nonce: false, .. })
        => instead(Phase::Prepare, vec![Action::Close]);
    fn dies_in_the_fill(): "disconnected", CouldNotRun(Obstacle::Disconnected { phase: Phase::Fill, after_nonce: true, .. })
        => instead(Phase::Fill, vec![Action::Close]);
    fn dies_in_the_sweeps(): "disconnected", CouldNotRun(Obstacle::Disconnected { phase: Phase::Sweep, after_nonce: true, .. })
        => instead(Phase::Sweep, vec![Action::Close]);
    fn dies_on_an_unlucky_sample(): "unopened", Contraindicated(Failure::Unopened(_)) => instead(Phase::Open, vec![Action::Close]);
    fn a_frame_cut_before_hello(): "disconnected", CouldNotRun(Obstacle::Disconnected { detail: Some(_), .. }) => cut(Phase::Hello);
    fn a_frame_cut_in_the_fill(): "disconnected", CouldNotRun(Obstacle::Disconnected { detail: Some(_), .. }) => cut(Phase::Fill);
    fn a_frame_cut_in_the_openings(): "unopened", Contraindicated(Failure::Unopened(_)) => cut(Phase::Open);
    fn an_oversized_hello(): "not-this-protocol", CouldNotRun(Obstacle::NotThisProtocol(_)) => announce(Phase::Hello, 1);
    fn an_oversized_ready(): "not-this-protocol", CouldNotRun(Obstacle::NotThisProtocol(_)) => announce(Phase::Prepare, 3);
    fn an_oversized_filled(): "oversized-message", Contraindicated(Failure::OversizedMessage { .. }) => announce(Phase::Fill, 5);
    fn an_oversized_swept(): "oversized-message", Contraindicated(Failure::OversizedMessage { .. }) => announce(Phase::Sweep, 7);
    fn oversized_openings(): "oversized-message", Contraindicated(Failure::OversizedMessage { .. }) => announce(Phase::Open, 9);
    fn floods_past_the_deadline(): "late", Contraindicated(Failure::Late { phase: Phase::Fill, limit_ms: 300 }) => {
        let begun = Instant::now();
        let attestation = attest_peer(flooding(), &settings(300), &SlowToHear::default());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        attestation.session.verdict().expect("a verdict").clone()
    };
    fn stopped_while_it_floods(): "stopped", CouldNotRun(Obstacle::Stopped) => {
        let begun = Instant::now();
        let attestation = attest_peer(flooding(), &settings(20_000), &SlowToHear { stop: Some(Stop::new().expect("a pipe")) });
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        attestation.session.verdict().expect("a verdict").clone()
    };
    fn a_second_long_hello(): "not-this-protocol", CouldNotRun(Obstacle::NotThisProtocol(failure))
        if matches!(**failure, Failure::OversizedMessage { type_number: 1, limit_bytes: MAX_SMALL_BYTES, .. }) => {
        let mut hello = hello();
        let label = Label::new(&"n".repeat(256), &"v".repeat(256));
        hello.labels = vec![label.clone(); MAX_LABELS];
        hello.devices.iter_mut().for_each(|offer| offer.labels = vec![label.clone(); MAX_LABELS]);
        let hello = bytes(&Frame::new(MessageType::Hello, hello.to_bytes()));
        assert!(hello.len() as u64 > MAX_SMALL_BYTES);
        tampered(20_000, move |turn| turn.actions = vec![Action::Bytes(hello.repeat(2)), Action::Hang])
    };
    fn hangs_in_the_fill(): "late", Contraindicated(Failure::Late { phase: Phase::Fill, limit_ms: 300 }) => tampered(300, |turn| {
        if opens(turn, Phase::Fill) {
            turn.actions = vec![Action::Hang];
        }
    });
    fn drips_a_hello(): "not-ready", CouldNotRun(Obstacle::Late { phase: Phase::Hello, limit_ms: 300 }) => {
        let hello = [1u8, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0];
        let drip = hello.into_iter().flat_map(|byte| [Action::Bytes(vec![byte]), Action::Wait(40_000_000)]).collect::<Vec<_>>();
        tampered(300, move |turn| turn.actions = drip.clone())
    };
    fn junk_leaves(): "tile-mismatch", Contraindicated(Failure::Tile(_)) => {
        let junk = Adversary::named("junk-fill").expect("an adversary");
        attest(HonestPeer::new(hello(), move |_| junk.engine(cast::engine(), 0.4)), 20_000)
    };
    fn stopped(): "stopped", CouldNotRun(Obstacle::Stopped) => {
        let attestation = attest_peer(Tampered::new(honest(), |turn: &mut Turn<'_>| turn.actions = vec![Action::Hang]), &settings(20_000), &Stops::new());
        attestation.session.verdict().expect("a verdict").clone()
    };
}

#[test]
fn the_honest_attester_is_affirmed() {
    assert_eq!(attest(honest(), 20_000), Verdict::Affirmed);
}

#[test]
fn a_silent_peer_holds_nobody_past_the_deadline() {
    let begun = Instant::now();
    let verdict = tampered(200, |turn| turn.actions = vec![Action::Hang]);
    assert!(
        matches!(
            verdict,
            CouldNotRun(Obstacle::Late {
                phase: Phase::Hello,
                ..
            })
        ),
        "{verdict:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// An Attester whose ends stay open and that reads nothing after HELLO keeps neither thread running: the threads own the
/// streams, which are closed.
#[test]
fn nobody_is_left_in_a_stream_whose_other_end_does_nothing() {
    let mut settings = settings(300);
    // PLAN is longer than a pipe's capacity.
    settings.request.iterations = vec![settings.request.iterations[0]; 32_768];
    let (mut from_verifier, to_attester) = io::pipe().expect("a pipe");
    let (from_attester, mut to_verifier) = io::pipe().expect("a pipe");
    let hello = Frame::new(MessageType::Hello, hello().to_bytes());
    to_verifier.write_all(&bytes(&hello)).expect("there is room");
    let recorded = record(from_attester, to_attester, &settings, &Unobserved).expect("a session");
    assert!(
        matches!(
            recorded.opened.session.verdict(),
            Some(CouldNotRun(Obstacle::Late {
                phase: Phase::Prepare,
                ..
            }))
        ),
        "{:?}",
        recorded.opened.session.verdict()
    );
    let written = to_verifier.write_all(&[0]).map_err(|error| error.kind());
    assert_eq!(written, Err(io::ErrorKind::BrokenPipe));
    let mut plan = Vec::new();
    from_verifier.read_to_end(&mut plan).expect("the other end is closed");
    assert!((4_096..1 << 20).contains(&plan.len()), "{}", plan.len());
}

#[test]
fn who_stops_a_session_need_not_wait_for_a_silent_attester() {
    let stop = Stop::new().expect("a pipe");
    let observer = SlowToHear {
        stop: Some(stop.clone()),
    };
    let (_unread, to_attester) = io::pipe().expect("a pipe");
    let (from_attester, _silent) = io::pipe().expect("a pipe");
    let asked = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        stop.ask();
    });
    // Longer than any test may take.
    let recorded = record(from_attester, to_attester, &settings(1_000_000), &observer).expect("a session");
    asked.join().expect("no panic");
    assert_eq!(recorded.opened.session.verdict(), Some(&CouldNotRun(Obstacle::Stopped)));
}

#[test]
fn what_is_recorded_can_be_verified_later() {
    let (from_verifier, to_attester) = io::pipe().expect("a pipe");
    let (from_attester, to_verifier) = io::pipe().expect("a pipe");
    let played = thread::spawn(move || testkit::wire::play(honest(), from_verifier, to_verifier));
    let recorded = record(from_attester, to_attester, &settings(20_000), &Unobserved).expect("a session");
    played.join().expect("peers do not panic");
    assert_eq!(recorded.opened.session.verdict(), None);
    let verified = verify(&recorded.sealed, &cast::recompute(), &Judge::of_nobody(), &Unobserved).expect("evidence");
    assert_eq!(verified.session.verdict(), Some(&Verdict::Affirmed));
}
