//! One session over a pair of byte streams, from HELLO to sealed evidence.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;

use protocol::bounds::Assumptions;
use protocol::bytes::{Fresh, Identity};
use protocol::cbor::Canonical;
use protocol::challenge::Challenge;
use protocol::claims::Claims;
use protocol::driver::{Need, Opener, VerifierDriver};
use protocol::evidence::Evidence;
use protocol::frame::{Frame, MessageType};
use protocol::limits::DEADLINE_RANGE_MS;
use protocol::message::{ProgressMessage, ResultMessage};
use protocol::request::PlanRequest;
use protocol::verifier::{Inconsistent, Step, VerifierSession};
use transport::write_frame;

use crate::clock::Clock;
use crate::outcome::Judge;
use crate::partial::PartialReport;
use crate::recompute::{Recompute, RecomputeError, Recomputed, SoFar};
use crate::verify::Observed;

/// How often a waiting session checks whether it was cancelled.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Bytes per read.
const READ_BYTES: usize = 64 << 10;

/// Reads that may be queued for the session.
const READS_AHEAD: usize = 16;

/// How long sending RESULT may take before the connection is dropped.
const RESULT_WITHIN: Duration = Duration::from_secs(2);

/// The Verifier's request for a session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The work.
    pub request: PlanRequest,
    /// The assumptions of claims.
    pub assumptions: Assumptions,
    /// The policy that narrows the hardware table for them, if any.
    pub narrowed_by: Option<String>,
    /// How long HELLO may take.
    pub hello_deadline: Duration,
    /// How sampled tiles are recomputed.
    pub recompute: Recompute,
    /// The Verifier's key: PLAN names it, and it seals the evidence.
    pub key: SigningKey,
}

/// Is notified of a session's progress, and may stop it.
pub trait Observer: Sync {
    /// The session has advanced; [`VerifierSession::step`] returns its state.
    fn moved(&self, session: &VerifierSession) {
        let _ = session;
    }

    /// The progress reported by the Attester; a claim.
    fn progressed(&self, progress: &ProgressMessage) {
        let _ = progress;
    }

    /// `done` of `total` samples have been recomputed and agree.
    fn recomputed(&self, done: usize, total: usize) {
        let _ = (done, total);
    }

    /// One more sample agrees; `claims` computes what the samples so far certify, which has a cost.
    fn certified_so_far(&self, claims: &dyn Fn() -> Option<Claims>) {
        let _ = claims;
    }

    /// Whether the session, or the check of evidence, is cancelled.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// An [`Observer`] that ignores notifications and never stops.
pub struct Unobserved;

impl Observer for Unobserved {}

/// A finished session.
pub struct Attestation {
    /// Its evidence.
    pub evidence: Evidence,
    /// The evidence's sealed bytes, to be stored.
    pub sealed: Vec<u8>,
    /// The session, with its verdict unless it was stopped while tiles were recomputed.
    pub session: VerifierSession,
    /// The progress at that point: the evidence is complete, and can be verified later.
    pub stopped: Option<SoFar>,
    /// The policy that narrowed its assumptions, if any.
    pub narrowed_by: Option<String>,
}

impl Attestation {
    /// The judge for the Verifier that ran the session, with the recorded assumptions; offline it trusts no Verifier.
    #[must_use]
    pub fn judge(&self) -> Judge {
        Judge {
            trusted: vec![self.evidence.sealer],
            assumptions: self.evidence.assumptions,
            narrowed_by: self.narrowed_by.clone(),
        }
    }

    /// The partial result of a session that was stopped while tiles were recomputed: it has no verdict.
    #[must_use]
    pub fn partial(&self) -> Option<PartialReport> {
        let so_far = self.stopped.as_ref()?;
        Some(PartialReport::new(&self.evidence, &self.session, &self.judge(), so_far))
    }
}

/// Why a session has no verdict at all, for local reasons.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The system returned no randomness.
    #[error("no randomness: {0}")]
    Randomness(getrandom::Error),
    /// Tiles cannot be recomputed here.
    #[error("tiles cannot be recomputed here: {0}")]
    Recompute(RecomputeError),
    /// The session's state machine contradicts itself: a defect of this software.
    #[error("defect: {0}")]
    Inconsistent(Inconsistent),
}

impl From<RecomputeError> for SessionError {
    fn from(error: RecomputeError) -> Self {
        SessionError::Recompute(error)
    }
}

impl From<Inconsistent> for SessionError {
    fn from(error: Inconsistent) -> Self {
        SessionError::Inconsistent(error)
    }
}

/// Attests the peer at the other end of the streams: HELLO to RESULT, evidence sealed.
///
/// Whatever the Attester does results in a verdict.
///
/// # Errors
///
/// [`SessionError`] for local errors only.
pub fn attest(
    from: impl Read + Send + 'static,
    to: impl Write + Send + 'static,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Attestation, SessionError> {
    // Local errors must occur before the Attester has worked for the session.
    settings.recompute.check()?;
    let started_unix_ms = unix_ms();
    let hello_deadline_ms = u64::try_from(settings.hello_deadline.as_millis())
        .unwrap_or(u64::MAX)
        .clamp(*DEADLINE_RANGE_MS.start(), *DEADLINE_RANGE_MS.end());
    let opener = Opener::Request(settings.request.clone());
    let mut driver = VerifierDriver::new(opener, hello_deadline_ms, None);
    let mut link = Link::start(from, to);
    converse(&mut driver, &mut link, observer)?;
    let mut session = driver.into_session();
    let mut stopped = None;
    if session.step() == Step::Check {
        let watch = Observed {
            session: &session,
            assumptions: Some(&settings.assumptions),
            observer,
        };
        match settings.recompute.run(session.tile_checks(), &watch)? {
            Recomputed::Differs(mismatch) => session.checked(Err(mismatch))?,
            Recomputed::Agrees => session.checked(Ok(()))?,
            Recomputed::Stopped(so_far) => stopped = Some(so_far),
        }
        observer.moved(&session);
    }
    let result = match session.verdict() {
        Some(verdict) => verdict.to_message(),
        None => ResultMessage {
            status: 2,
            reason: "stopped".to_owned(),
            message: "stopped while tiles were recomputed; the evidence can be verified".to_owned(),
        },
    };
    link.finish(Frame::new(MessageType::Result, result.to_bytes()));
    let evidence = Evidence {
        config: *session.config(),
        started_unix_ms,
        assumptions: settings.assumptions,
        challenge: None,
        sealer: Identity(settings.key.verifying_key().to_bytes()),
        records: session.records().to_vec(),
    };
    Ok(Attestation {
        sealed: evidence.seal(&settings.key),
        evidence,
        session,
        stopped,
        narrowed_by: settings.narrowed_by.clone(),
    })
}

/// Answers a challenge without a Verifier: what a Verifier would draw is derived from the transcript, without timing
/// (spec §5).
///
/// The Attester at the other end of the streams does all the work; `key` must be its own, and seals the evidence. The
/// session ends with a verdict or where tiles are to be recomputed, which is left to verification.
///
/// # Errors
///
/// [`SessionError`] for local errors only.
pub fn prove(
    from: impl Read + Send + 'static,
    to: impl Write + Send + 'static,
    challenge: &Challenge,
    assumptions: &Assumptions,
    key: &SigningKey,
    observer: &dyn Observer,
) -> Result<Attestation, SessionError> {
    let started_unix_ms = unix_ms();
    let mut driver = VerifierDriver::new(Opener::Challenge(challenge.clone()), 0, None);
    let mut link = Link::start(from, to);
    converse(&mut driver, &mut link, observer)?;
    let session = driver.into_session();
    link.finish(Frame::new(
        MessageType::Result,
        ResultMessage {
            status: 0,
            reason: String::new(),
            message: "recorded; to be verified".to_owned(),
        }
        .to_bytes(),
    ));
    let evidence = Evidence {
        config: *session.config(),
        started_unix_ms,
        assumptions: *assumptions,
        challenge: Some(challenge.clone()),
        sealer: Identity(key.verifying_key().to_bytes()),
        records: session.records().to_vec(),
    };
    Ok(Attestation {
        sealed: evidence.seal(key),
        evidence,
        session,
        stopped: None,
        narrowed_by: None,
    })
}

/// Exchanges messages until tiles are to be recomputed or there is a verdict.
fn converse(driver: &mut VerifierDriver, link: &mut Link, observer: &dyn Observer) -> Result<(), SessionError> {
    loop {
        observer.moved(driver.session());
        driver
            .take_progress()
            .for_each(|progress| observer.progressed(&progress));
        match driver.need() {
            Need::Check | Need::Nothing => return Ok(()),
            Need::Release(_) => {
                let mut fresh = [0; 32];
                fill_random(&mut fresh)?;
                // Stamped before the write (spec §5).
                if let Some(frame) = driver.release(link.now_ns(), Fresh(fresh)) {
                    link.send(frame);
                }
            }
            Need::Bytes { until_ns } => match link.receive(until_ns, observer) {
                Incoming::Bytes(at_ns, bytes) => driver.received(at_ns, bytes),
                Incoming::Closed(at_ns, why) => driver.closed(at_ns, why.as_deref()),
                Incoming::Stopped => driver.stop(link.now_ns()),
                Incoming::Nothing(now_ns) => driver.time(now_ns),
            },
        }
    }
}

/// Fills `bytes` from the system's randomness.
///
/// # Errors
///
/// [`SessionError::Randomness`].
pub fn fill_random(bytes: &mut [u8]) -> Result<(), SessionError> {
    getrandom::fill(bytes).map_err(SessionError::Randomness)
}

fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// An event that a session waited for.
enum Incoming {
    /// Bytes, timestamped when the last of them had been read.
    Bytes(u64, Vec<u8>),
    /// The end of the connection, with the transport's error if any.
    Closed(u64, Option<String>),
    /// The session was cancelled.
    Stopped,
    /// Nothing until this time (ns).
    Nothing(u64),
}

/// The connection: one thread reads and timestamps, another writes, so that a peer that does neither blocks nothing.
///
/// Both threads end with their streams; a peer that keeps its end open holds only these threads.
struct Link {
    clock: Clock,
    incoming: Receiver<Incoming>,
    outgoing: Sender<(Frame, Option<Sender<()>>)>,
}

impl Link {
    fn start(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) -> Self {
        let clock = Clock::start();
        // Bounded: an Attester that floods the connection blocks, which delays its own messages.
        let (received, incoming) = sync_channel(READS_AHEAD);
        thread::spawn(move || {
            let mut buffer = vec![0; READ_BYTES];
            loop {
                let read = from.read(&mut buffer);
                let at_ns = clock.now_ns();
                let event = match read {
                    Ok(0) => Incoming::Closed(at_ns, None),
                    Ok(count) => Incoming::Bytes(at_ns, buffer[..count].to_vec()),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) => Incoming::Closed(at_ns, Some(e.to_string())),
                };
                let is_last = matches!(event, Incoming::Closed(..));
                if received.send(event).is_err() || is_last {
                    return;
                }
            }
        });
        let (outgoing, to_send) = channel::<(Frame, Option<Sender<()>>)>();
        thread::spawn(move || {
            for (frame, written) in to_send {
                // If the peer reads no more, the session ends by timeout or because the peer closed the connection.
                if write_frame(&mut to, &frame).is_err() {
                    return;
                }
                if let Some(written) = written {
                    // The receiver may be gone.
                    let _ = written.send(());
                }
            }
        });
        Link {
            clock,
            incoming,
            outgoing,
        }
    }

    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    fn send(&self, frame: Frame) {
        // A writer that has ended left a closed stream, which the reader reports.
        let _ = self.outgoing.send((frame, None));
    }

    /// Sends the last frame and allows a moment for it to be written.
    fn finish(&self, frame: Frame) {
        let (written, wait) = channel();
        if self.outgoing.send((frame, Some(written))).is_ok() {
            // Whether it was written in time does not matter here.
            let _ = wait.recv_timeout(RESULT_WITHIN);
        }
    }

    /// The next event, if there is one before the deadline or within a short wait.
    fn receive(&self, until_ns: Option<u64>, observer: &dyn Observer) -> Incoming {
        // Checked first: a peer that never pauses could otherwise not be cancelled.
        if observer.is_stopped() {
            return Incoming::Stopped;
        }
        // Received data is taken before any deadline is checked: its own timestamp counts.
        let now_ns = self.now_ns();
        if let Ok(incoming) = self.incoming.try_recv() {
            return incoming;
        }
        let left = until_ns.map(|until_ns| Duration::from_nanos(until_ns.saturating_sub(now_ns)));
        match self.incoming.recv_timeout(left.unwrap_or(ASK_EVERY).min(ASK_EVERY)) {
            // Ctrl-C at a terminal also ends an Attester started as a command: its exit is then not a fault of the
            // Attester.
            Ok(Incoming::Closed(..)) if observer.is_stopped() => Incoming::Stopped,
            Ok(incoming) => incoming,
            Err(RecvTimeoutError::Timeout) => Incoming::Nothing(now_ns),
            Err(RecvTimeoutError::Disconnected) => Incoming::Closed(self.now_ns(), None),
        }
    }
}
