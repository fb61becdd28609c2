//! One session over a pair of byte streams, from HELLO to sealed evidence.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;

use protocol::bounds::Assumptions;
use protocol::bytes::{Fresh, Identity};
use protocol::cbor::Canonical;
use protocol::challenge::Challenge;
use protocol::driver::{Need, Opener, VerifierDriver};
use protocol::evidence::Evidence;
use protocol::frame::{Frame, MessageType};
use protocol::limits::DEADLINE_RANGE_MS;
use protocol::message::ResultMessage;
use protocol::request::PlanRequest;
use protocol::trace::Trace;
use protocol::verdict::{Phase, Verdict};
use protocol::verifier::{Step, VerifierSession};
use tracing::span::EnteredSpan;
use tracing::{debug, debug_span};

use crate::link::{Incoming, Link, over};
use crate::observer::Observer;
use crate::outcome::{Judge, Narrowing};
use crate::partial::PartialReport;
use crate::recompute::{Recompute, RecomputeError, SoFar};
use crate::verify::{Opened, check_tiles};

/// The Verifier's request for a session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The work.
    pub request: PlanRequest,
    /// The assumptions of bounds.
    pub assumptions: Assumptions,
    /// What narrows the hardware table for them, if anything does.
    pub narrowed_by: Option<Narrowing>,
    /// How long HELLO may take.
    pub hello_deadline: Duration,
    /// How sampled tiles are recomputed.
    pub recompute: Recompute,
    /// The Verifier's key: PLAN names it, and it seals the evidence.
    pub key: SigningKey,
}

/// A session that is recorded: its tiles are still to be recomputed, unless there is a verdict.
pub struct Recorded {
    /// Its evidence and the session.
    pub opened: Opened,
    /// The evidence's sealed bytes, to be kept.
    pub sealed: Vec<u8>,
}

/// A session that is over.
pub struct Attestation {
    /// Its evidence.
    pub evidence: Evidence,
    /// The evidence's sealed bytes, to be stored.
    pub sealed: Vec<u8>,
    /// The session, with its verdict unless it was stopped while tiles were recomputed.
    pub session: VerifierSession,
    /// The progress at that point: the evidence is complete, and can be verified later.
    pub stopped: Option<SoFar>,
    /// What narrowed its assumptions, if anything did.
    pub narrowed_by: Option<Narrowing>,
}

impl Recorded {
    /// Recomputes the tiles of a session of one's own, for its verdict. Its cost is not limited: this side chose its plan.
    ///
    /// # Errors
    ///
    /// [`SessionError::Recompute`].
    pub fn check(self, settings: &Settings, observer: &dyn Observer) -> Result<Attestation, SessionError> {
        let Recorded { opened, sealed } = self;
        let Opened { evidence, mut session } = opened;
        let stopped = check_tiles(
            &mut session,
            &settings.recompute,
            &mut [],
            Some(&settings.assumptions),
            observer,
        )?;
        observer.moved(&session);
        Ok(Attestation {
            evidence,
            sealed,
            session,
            stopped,
            narrowed_by: settings.narrowed_by.clone(),
        })
    }
}

impl Attestation {
    /// What RESULT says of it.
    #[must_use]
    pub fn result_message(&self) -> ResultMessage {
        match self.stopped {
            None => result_message(self.session.verdict()),
            Some(_) => ResultMessage {
                status: 2,
                reason: "stopped".to_owned(),
                message: "stopped while tiles were recomputed; the evidence can be verified".to_owned(),
            },
        }
    }

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
    /// The system gives no pipe or thread for the connection.
    #[error("no resources for a session: {0}")]
    Resources(io::Error),
}

impl From<RecomputeError> for SessionError {
    fn from(error: RecomputeError) -> Self {
        SessionError::Recompute(error)
    }
}

/// Records a session with whoever is at the other end of the streams, HELLO to sealed evidence. Nothing is recomputed, and RESULT
/// says so: [`Opened::recompute`] gives the verdict at any later time.
///
/// Whatever the Attester does ends in a verdict or in tiles to be recomputed.
///
/// # Errors
///
/// [`SessionError`] for reasons on this side alone.
pub fn record(
    from: impl Read + AsFd + Send,
    to: impl Write + AsFd + Send,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Recorded, SessionError> {
    let _span = debug_span!("session").entered();
    over(from, to, observer.stop(), |link| {
        let recorded = converse(settings.driver(), link, &settings.sealer(), observer)?;
        link.finish(result_frame(&result_message(recorded.opened.session.verdict())));
        Ok(recorded)
    })
    .map_err(SessionError::Resources)?
}

/// Attests whoever is at the other end of the streams: the session is recorded, its tiles are recomputed while the Attester waits, and
/// RESULT tells it the verdict.
///
/// Whatever the Attester does results in a verdict.
///
/// # Errors
///
/// [`SessionError`] for local errors only.
pub fn attest(
    from: impl Read + AsFd + Send,
    to: impl Write + AsFd + Send,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Attestation, SessionError> {
    // Local errors must occur before the Attester has worked for the session.
    settings.recompute.check()?;
    let _span = debug_span!("session").entered();
    over(from, to, observer.stop(), |link| {
        let attestation = converse(settings.driver(), link, &settings.sealer(), observer)?.check(settings, observer)?;
        link.finish(result_frame(&attestation.result_message()));
        Ok(attestation)
    })
    .map_err(SessionError::Resources)?
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
    from: impl Read + AsFd + Send,
    to: impl Write + AsFd + Send,
    challenge: &Challenge,
    assumptions: &Assumptions,
    key: &SigningKey,
    observer: &dyn Observer,
) -> Result<Recorded, SessionError> {
    let sealer = Sealer {
        key,
        assumptions: *assumptions,
        challenge: Some(challenge),
    };
    let _span = debug_span!("session").entered();
    over(from, to, observer.stop(), |link| {
        let driver = VerifierDriver::new(Opener::Challenge(challenge.clone()), 0, None);
        let recorded = converse(driver, link, &sealer, observer)?;
        link.finish(result_frame(&result_message(recorded.opened.session.verdict())));
        Ok(recorded)
    })
    .map_err(SessionError::Resources)?
}

/// What RESULT says of a session that is recorded: its verdict, if it has one before tiles are recomputed. Otherwise it is not
/// affirmed, and says so.
#[must_use]
pub fn result_message(verdict: Option<&Verdict>) -> ResultMessage {
    verdict.map_or_else(
        || ResultMessage {
            status: 2,
            reason: "recorded".to_owned(),
            message: "recorded; to be verified".to_owned(),
        },
        Verdict::to_message,
    )
}

/// The frame of RESULT.
#[must_use]
pub fn result_frame(message: &ResultMessage) -> Frame {
    Frame::new(MessageType::Result, message.to_bytes())
}

/// Who seals a session's evidence, and what goes into it beside the records.
struct Sealer<'a> {
    key: &'a SigningKey,
    assumptions: Assumptions,
    challenge: Option<&'a Challenge>,
}

impl Settings {
    /// The driver of a session with these settings: for callers that do their own IO.
    #[must_use]
    pub fn driver(&self) -> VerifierDriver {
        let hello_deadline_ms = u64::try_from(self.hello_deadline.as_millis())
            .unwrap_or(u64::MAX)
            .clamp(*DEADLINE_RANGE_MS.start(), *DEADLINE_RANGE_MS.end());
        VerifierDriver::new(Opener::Request(self.request.clone()), hello_deadline_ms, None)
    }

    /// Seals a session that ran with these settings, and has a verdict or tiles to be recomputed.
    #[must_use]
    pub fn seal(&self, session: VerifierSession, started: SystemTime) -> Recorded {
        self.sealer().seal(session, unix_ms(started))
    }

    fn sealer(&self) -> Sealer<'_> {
        Sealer {
            key: &self.key,
            assumptions: self.assumptions,
            challenge: None,
        }
    }
}

/// The span of the phase that a session is in.
#[derive(Default)]
struct PhaseSpan(Option<(Phase, u32, EnteredSpan)>);

impl PhaseSpan {
    fn moved(&mut self, session: &VerifierSession) {
        let Step::Receive { phase, .. } = session.step() else {
            return;
        };
        let iteration = session.trace().map_or(0, Trace::current);
        if self
            .0
            .as_ref()
            .is_some_and(|(before, at, _)| (*before, *at) == (phase, iteration))
        {
            return;
        }
        // The span before ends first.
        self.0 = None;
        self.0 = Some((phase, iteration, debug_span!("phase", ?phase, iteration).entered()));
    }
}

/// Talks until tiles are to be recomputed or there is a verdict, and seals what was said.
fn converse(
    mut driver: VerifierDriver,
    link: &Link<'_>,
    sealer: &Sealer<'_>,
    observer: &dyn Observer,
) -> Result<Recorded, SessionError> {
    let started_unix_ms = unix_ms(SystemTime::now());
    let mut phase = PhaseSpan::default();
    loop {
        observer.moved(driver.session());
        phase.moved(driver.session());
        driver
            .take_progress()
            .for_each(|progress| observer.progressed(&progress));
        let greeting = driver.take_greeting();
        if !greeting.is_empty() {
            observer.greeted(&greeting);
        }
        match driver.need() {
            Need::Check | Need::Nothing => break,
            Need::Release(_) => {
                let mut fresh = [0; 32];
                fill_random(&mut fresh)?;
                // Stamped before the write (spec §5).
                if let Some(frame) = driver.release(link.now_ns(), Fresh(fresh)) {
                    link.send(frame);
                }
            }
            Need::Bytes { until_ns } => match link.receive(until_ns) {
                Incoming::Bytes(at_ns, bytes) => driver.received(at_ns, bytes),
                Incoming::Closed(at_ns, why) => driver.closed(at_ns, why.as_deref()),
                Incoming::Stopped => driver.stop(link.now_ns()),
                Incoming::Nothing(now_ns) => driver.time(now_ns),
            },
        }
    }
    drop(phase);
    let session = driver.into_session();
    debug!(
        verdict = session.verdict().map_or("none yet", |verdict| verdict.code()),
        records = session.records().len(),
        "recorded"
    );
    Ok(sealer.seal(session, started_unix_ms))
}

impl Sealer<'_> {
    fn seal(&self, session: VerifierSession, started_unix_ms: u64) -> Recorded {
        let evidence = Evidence {
            config: *session.config(),
            started_unix_ms,
            assumptions: self.assumptions,
            challenge: self.challenge.cloned(),
            sealer: Identity(self.key.verifying_key().to_bytes()),
            records: session.records().to_vec(),
        };
        Recorded {
            sealed: evidence.seal(self.key),
            opened: Opened { evidence, session },
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

fn unix_ms(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
