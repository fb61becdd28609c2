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

/// How often a waiting session asks whether it is still wanted.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;

/// Reads that may wait for the session.
const READS_AHEAD: usize = 16;

/// How long RESULT may take to leave before the connection is dropped.
const RESULT_WITHIN: Duration = Duration::from_secs(2);

/// What a Verifier wants of a session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The work.
    pub request: PlanRequest,
    /// What claims take for granted.
    pub assumptions: Assumptions,
    /// The policy that narrows the hardware table for them, if one does.
    pub narrowed_by: Option<String>,
    /// How long HELLO may take.
    pub hello_deadline: Duration,
    /// How sampled tiles are recomputed.
    pub recompute: Recompute,
    /// The Verifier's key: PLAN names it, and it seals the evidence.
    pub key: SigningKey,
}

/// Hears how a session goes, and may stop it.
pub trait Observer: Sync {
    /// The session has moved on; [`VerifierSession::step`] says where it stands.
    fn moved(&self, session: &VerifierSession) {
        let _ = session;
    }

    /// What the Attester says of its progress; a claim.
    fn progressed(&self, progress: &ProgressMessage) {
        let _ = progress;
    }

    /// Of `total` samples `done` have been recomputed and agree.
    fn recomputed(&self, done: usize, total: usize) {
        let _ = (done, total);
    }

    /// One more sample agrees; `claims` makes what those so far certify, which is not for free.
    fn certified_so_far(&self, claims: &dyn Fn() -> Option<Claims>) {
        let _ = claims;
    }

    /// Whether the session, or the checking of evidence, is no longer wanted.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// An [`Observer`] that lets everything pass.
pub struct Unobserved;

impl Observer for Unobserved {}

/// A session that is over.
pub struct Attestation {
    /// Its evidence.
    pub evidence: Evidence,
    /// The evidence's sealed bytes, to be kept.
    pub sealed: Vec<u8>,
    /// The session, with its verdict unless it was stopped while tiles were recomputed.
    pub session: VerifierSession,
    /// How far that came then: the evidence is whole, and can be verified later.
    pub stopped: Option<SoFar>,
    /// The policy that narrowed its assumptions, if one did.
    pub narrowed_by: Option<String>,
}

impl Attestation {
    /// Who ran the session as its judge, with the assumptions it was recorded with; offline it is nobody's Verifier.
    #[must_use]
    pub fn judge(&self) -> Judge {
        Judge {
            trusted: vec![self.evidence.sealer],
            assumptions: self.evidence.assumptions,
            narrowed_by: self.narrowed_by.clone(),
        }
    }

    /// What a session that was stopped while tiles were recomputed came to: it has no verdict.
    #[must_use]
    pub fn partial(&self) -> Option<PartialReport> {
        let so_far = self.stopped.as_ref()?;
        Some(PartialReport::new(&self.evidence, &self.session, &self.judge(), so_far))
    }
}

/// Why a session has no verdict at all, for reasons on this side.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The system gave no randomness.
    #[error("no randomness: {0}")]
    Randomness(getrandom::Error),
    /// Tiles cannot be recomputed here.
    #[error("tiles cannot be recomputed here: {0}")]
    Recompute(RecomputeError),
    /// The session's code contradicts itself: a defect of this software.
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

/// Attests whoever is at the other end of the streams: HELLO to RESULT, evidence sealed.
///
/// Whatever the Attester does ends in a verdict.
///
/// # Errors
///
/// [`SessionError`] for reasons on this side alone.
pub fn attest(
    from: impl Read + Send + 'static,
    to: impl Write + Send + 'static,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Attestation, SessionError> {
    // What fails on this side fails before the Attester has worked for it.
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

/// Answers a challenge without a Verifier: what it would draw derives from the transcript, and no clock runs (spec §5).
///
/// The Attester at the other end of the streams does all the work; `key` must be its own, and seals the evidence.
/// The session ends in a verdict or where tiles are to be recomputed, which is left to whoever verifies.
///
/// # Errors
///
/// [`SessionError`] for reasons on this side alone.
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

/// Talks until tiles are to be recomputed or there is a verdict.
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

/// What a session waited for.
enum Incoming {
    /// Bytes, stamped when the last of them had been read.
    Bytes(u64, Vec<u8>),
    /// The end of the connection, and what the transport said of it.
    Closed(u64, Option<String>),
    /// The session is no longer wanted.
    Stopped,
    /// Nothing until this time (ns).
    Nothing(u64),
}

/// The connection: a thread that reads and stamps, one that writes, so that a peer which does neither hangs nobody.
///
/// Both threads end with their streams; a peer that holds its end open holds only them.
struct Link {
    clock: Clock,
    incoming: Receiver<Incoming>,
    outgoing: Sender<(Frame, Option<Sender<()>>)>,
}

impl Link {
    fn start(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) -> Self {
        let clock = Clock::start();
        // Bounded: an Attester that floods waits, and its own times suffer.
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
                // A peer that reads no more ends the session by silence or by its closed end.
                if write_frame(&mut to, &frame).is_err() {
                    return;
                }
                if let Some(written) = written {
                    // Nobody may wait any more.
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
        // A writer that is gone has left a closed stream, which the reader tells.
        let _ = self.outgoing.send((frame, None));
    }

    /// Sends the last frame and gives it a moment to leave.
    fn finish(&self, frame: Frame) {
        let (written, wait) = channel();
        if self.outgoing.send((frame, Some(written))).is_ok() {
            // Whether it left in time changes nothing here.
            let _ = wait.recv_timeout(RESULT_WITHIN);
        }
    }

    /// What comes next, if anything does until the deadline or for a moment.
    fn receive(&self, until_ns: Option<u64>, observer: &dyn Observer) -> Incoming {
        // Asked first: a peer that never pauses could not be left otherwise.
        if observer.is_stopped() {
            return Incoming::Stopped;
        }
        // What has come is taken before any deadline is looked at: its own stamp counts.
        let now_ns = self.now_ns();
        if let Ok(incoming) = self.incoming.try_recv() {
            return incoming;
        }
        let left = until_ns.map(|until_ns| Duration::from_nanos(until_ns.saturating_sub(now_ns)));
        match self.incoming.recv_timeout(left.unwrap_or(ASK_EVERY).min(ASK_EVERY)) {
            // Ctrl-C at a terminal ends the command of an Attester too: that it is gone is no fault of its own.
            Ok(Incoming::Closed(..)) if observer.is_stopped() => Incoming::Stopped,
            Ok(incoming) => incoming,
            Err(RecvTimeoutError::Timeout) => Incoming::Nothing(now_ns),
            Err(RecvTimeoutError::Disconnected) => Incoming::Closed(self.now_ns(), None),
        }
    }
}
