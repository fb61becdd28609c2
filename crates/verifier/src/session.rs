//! One session over a pair of byte streams, from HELLO to sealed evidence.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;

use protocol::bounds::Assumptions;
use protocol::bytes::{Fresh, Identity};
use protocol::cbor::{Canonical, sendable_text};
use protocol::challenge::Challenge;
use protocol::claims::Claims;
use protocol::evidence::Evidence;
use protocol::frame::{Frame, MessageType};
use protocol::limits::{DEADLINE_RANGE_MS, MAX_HELLO_BYTES, MAX_PROGRESS_FRAMES, MAX_SMALL_BYTES};
use protocol::message::{ProgressMessage, ResultMessage};
use protocol::openings::max_payload_bytes;
use protocol::plan::Plan;
use protocol::record::EndCause;
use protocol::request::PlanRequest;
use protocol::verifier::{Inconsistent, Mode, Outgoing, Step, VerifierConfig, VerifierSession};
use transport::{FrameError, read_frame, write_frame};

use crate::clock::Clock;
use crate::outcome::Judge;
use crate::partial::PartialReport;
use crate::recompute::{Recompute, RecomputeError, Recomputed, SoFar};
use crate::verify::Observed;

/// How often a waiting session asks whether it is still wanted.
const ASK_EVERY: Duration = Duration::from_millis(100);

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

/// Where PLAN and NONCE come from.
pub enum Opener<'a> {
    /// From what is asked for and the system's randomness.
    Request(&'a PlanRequest),
    /// From a challenge; the session is offline then.
    Challenge(&'a Challenge),
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
    let config = VerifierConfig {
        mode: Mode::Online,
        hello_deadline_ms: u64::try_from(settings.hello_deadline.as_millis())
            .unwrap_or(u64::MAX)
            .clamp(*DEADLINE_RANGE_MS.start(), *DEADLINE_RANGE_MS.end()),
        tls_exporter: None,
    };
    let mut link = Link::start(from, to);
    let mut session = converse(config, &Opener::Request(&settings.request), &mut link, observer)?;
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
        config,
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
    let config = VerifierConfig {
        mode: Mode::Offline,
        hello_deadline_ms: 0,
        tls_exporter: None,
    };
    let mut link = Link::start(from, to);
    let session = converse(config, &Opener::Challenge(challenge), &mut link, observer)?;
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
        config,
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
fn converse(
    config: VerifierConfig,
    opener: &Opener<'_>,
    link: &mut Link,
    observer: &dyn Observer,
) -> Result<VerifierSession, SessionError> {
    let mut session = VerifierSession::new(config);
    let mut progress_frames = 0;
    // Offline there is no clock: every time is 0.
    let time = |at_ns: u64| if config.mode == Mode::Online { at_ns } else { 0 };
    loop {
        observer.moved(&session);
        match session.step() {
            Step::Check | Step::Done => return Ok(session),
            Step::Send(outgoing) => {
                let frame = match outgoing {
                    Outgoing::Plan => plan(opener, &session).map(|plan| {
                        // Before its stamp: what is taken after NONCE was then read under the plan's caps (spec §9.2).
                        link.allow(&plan);
                        Some(Frame::new(MessageType::Plan, plan.to_bytes()))
                    }),
                    Outgoing::Nonce => Ok(session.due_frame(nonce(opener)?)),
                    _ => Ok(session.due_frame(random()?)),
                };
                match frame {
                    Ok(Some(frame)) => {
                        // Stamped before the write (spec §5).
                        session.sent(time(link.now_ns()), frame.clone())?;
                        link.send(frame);
                    }
                    Ok(None) => unreachable!("a frame is due"),
                    Err(why) => session.ended(time(link.now_ns()), EndCause::NoPlan(sendable_text(&why)))?,
                }
            }
            Step::Receive { deadline_ns, .. } => match link.receive(deadline_ns, observer) {
                Incoming::Frame(at_ns, frame) if frame.message_type() == Some(MessageType::Progress) => {
                    progress_frames += 1;
                    if deadline_ns.is_some_and(|deadline_ns| at_ns > deadline_ns) {
                        // Frames come in the order of their stamps: what is still to come is later still.
                        session.ended(time(link.now_ns()), EndCause::Deadline)?;
                    } else if progress_frames > MAX_PROGRESS_FRAMES {
                        session.ended(time(link.now_ns()), EndCause::Flood)?;
                    } else if let Ok(progress) = ProgressMessage::from_bytes(&frame.payload) {
                        observer.progressed(&progress);
                    }
                }
                Incoming::Frame(at_ns, frame) => session.received(time(at_ns), frame)?,
                Incoming::Ended(cause) => session.ended(time(link.now_ns()), cause)?,
            },
        }
    }
}

fn plan(opener: &Opener<'_>, session: &VerifierSession) -> Result<Plan, String> {
    let hello = session.hello().expect("PLAN follows HELLO");
    match opener {
        Opener::Request(request) => request.plan(hello).map_err(|e| e.to_string()),
        Opener::Challenge(challenge) => {
            let is_offered = |ordinal| hello.devices.iter().any(|offer| offer.ordinal == ordinal);
            let devices = challenge.plan.devices();
            match devices.iter().find(|device| !is_offered(device.ordinal)) {
                Some(missing) => Err(format!(
                    "the challenge is for {} devices, device {} of which is not here",
                    devices.len(),
                    missing.ordinal
                )),
                None => Ok(challenge.plan.clone()),
            }
        }
    }
}

fn nonce(opener: &Opener<'_>) -> Result<Fresh, SessionError> {
    match opener {
        Opener::Request(_) => random(),
        Opener::Challenge(challenge) => Ok(Fresh(challenge.nonce.0)),
    }
}

fn random() -> Result<Fresh, SessionError> {
    let mut bytes = [0; 32];
    fill_random(&mut bytes)?;
    Ok(Fresh(bytes))
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

enum Incoming {
    /// A frame, stamped at its last byte.
    Frame(u64, Frame),
    Ended(EndCause),
}

/// The connection: a thread that reads and stamps, one that writes, so that a peer which does neither hangs nobody.
///
/// Both threads end with their streams; a peer that holds its end open holds only them.
struct Link {
    clock: Clock,
    incoming: Receiver<Incoming>,
    outgoing: Sender<(Frame, Option<Sender<()>>)>,
    caps: Arc<Caps>,
}

/// Cap of each message type's payload, in the order of [`MessageType::ALL`].
struct Caps([AtomicU64; MessageType::ALL.len()]);

impl Caps {
    fn limit_bytes(&self, type_number: u32) -> u64 {
        MessageType::ALL
            .into_iter()
            .position(|kind| kind as u32 == type_number)
            .map_or(MAX_SMALL_BYTES, |i| self.0[i].load(Ordering::Acquire))
    }

    /// HELLO and OPENINGS, which alone may be long, come once: a second one is not read ahead of the verdict on the
    /// first, so that what waits to be taken stays small.
    fn spend(&self, frame: &Frame) {
        if let Some(kind @ (MessageType::Hello | MessageType::Openings)) = frame.message_type() {
            let own = self.0.iter().zip(MessageType::ALL).filter(|&(_, other)| other == kind);
            own.for_each(|(cap, _)| {
                cap.fetch_min(MAX_SMALL_BYTES, Ordering::AcqRel);
            });
        }
    }
}

impl Link {
    fn start(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) -> Self {
        let clock = Clock::start();
        let caps = Arc::new(Caps(MessageType::ALL.map(|kind| {
            AtomicU64::new(if kind == MessageType::Hello {
                MAX_HELLO_BYTES
            } else {
                MAX_SMALL_BYTES
            })
        })));
        // Bounded: an Attester that floods waits, and its own times suffer.
        let (received, incoming) = sync_channel(64);
        thread::spawn({
            let caps = Arc::clone(&caps);
            move || {
                loop {
                    let frame = read_frame(&mut from, |type_number| caps.limit_bytes(type_number));
                    let at_ns = clock.now_ns();
                    let (event, is_last) = match frame {
                        Ok(frame) => {
                            caps.spend(&frame);
                            (Incoming::Frame(at_ns, frame), false)
                        }
                        Err(error) => (Incoming::Ended(cause(&error)), true),
                    };
                    if received.send(event).is_err() || is_last {
                        return;
                    }
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
            caps,
        }
    }

    fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// Raises and lowers the caps to those under `plan`.
    fn allow(&self, plan: &Plan) {
        for (cap, kind) in self.caps.0.iter().zip(MessageType::ALL) {
            cap.store(max_payload_bytes(plan, kind), Ordering::Release);
        }
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

    fn receive(&self, deadline_ns: Option<u64>, observer: &dyn Observer) -> Incoming {
        loop {
            // Asked first: a peer that never pauses could not be left otherwise.
            if observer.is_stopped() {
                return Incoming::Ended(EndCause::Stopped);
            }
            // What has come is taken before any deadline is looked at: its own stamp counts.
            if let Ok(incoming) = self.incoming.try_recv() {
                return incoming;
            }
            let left = deadline_ns.map(|deadline_ns| deadline_ns.saturating_sub(self.now_ns()));
            if left == Some(0) {
                return Incoming::Ended(EndCause::Deadline);
            }
            let wait = left.map_or(ASK_EVERY, |ns| Duration::from_nanos(ns).min(ASK_EVERY));
            match self.incoming.recv_timeout(wait) {
                // Ctrl-C at a terminal ends the command of an Attester too: that it is gone is no fault of its own.
                Ok(Incoming::Ended(_)) if observer.is_stopped() => return Incoming::Ended(EndCause::Stopped),
                Ok(incoming) => return incoming,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Incoming::Ended(EndCause::Closed(String::new())),
            }
        }
    }
}

fn cause(error: &FrameError) -> EndCause {
    match error {
        FrameError::Closed => EndCause::Closed(String::new()),
        &FrameError::Oversized {
            type_number,
            length_bytes,
            limit_bytes,
        } => EndCause::Oversized {
            type_number,
            length_bytes,
            limit_bytes,
        },
        other => EndCause::Closed(sendable_text(&other.to_string())),
    }
}
