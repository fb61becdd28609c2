//! The Verifier's side.

use std::collections::VecDeque;

use super::decoder::{Decoded, FrameDecoder};
use crate::bytes::Fresh;
use crate::cbor::{Canonical, sendable_text};
use crate::challenge::Challenge;
use crate::frame::{Frame, MessageType};
use crate::limits::MAX_PROGRESS_FRAMES;
use crate::message::ProgressMessage;
use crate::openings::TileMismatch;
use crate::plan::Plan;
use crate::record::EndCause;
use crate::request::PlanRequest;
use crate::verifier::{Inconsistent, Mode, Outgoing, Step, VerifierConfig, VerifierSession};

/// How many bytes may wait for a message to be released before no more are read.
const MAX_WAITING_BYTES: usize = 64 << 10;

/// How many messages of progress are kept for a shell that does not take them.
const MAX_WAITING_PROGRESS: usize = 64;

/// Where PLAN and NONCE come from.
#[derive(Clone, Debug)]
pub enum Opener {
    /// From what is asked for, fitted to HELLO; the nonce is drawn.
    Request(PlanRequest),
    /// From a challenge: the session is offline.
    Challenge(Challenge),
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// That this message is released: [`VerifierDriver::release`].
    Release(Outgoing),
    /// Bytes or, from `until_ns` on, that the time is told; offline there is none.
    Bytes {
        /// The deadline, ns since the session began.
        until_ns: Option<u64>,
    },
    /// The outcome of recomputing the session's tiles.
    Check,
    /// Nothing: there is a verdict.
    Nothing,
}

/// One session of a Verifier, driven from outside.
///
/// Times are ns since the session began, on the Verifier's clock (spec §5.3). A time before an earlier one counts as that, but for
/// bytes: they may be given later than they came, and count as of then, if not before those that were given before them.
#[derive(Clone)]
pub struct VerifierDriver {
    session: VerifierSession,
    opener: Opener,
    decoder: FrameDecoder,
    /// What the transport said when the connection ended.
    closed: Option<String>,
    progress_frames: u64,
    progress: VecDeque<ProgressMessage>,
    now_ns: u64,
    /// When the last bytes came.
    came_ns: u64,
}

impl VerifierDriver {
    /// A session that waits for HELLO, for `hello_deadline_ms` at most; offline there is no limit.
    #[must_use]
    pub fn new(opener: Opener, hello_deadline_ms: u64, tls_exporter: Option<[u8; 32]>) -> Self {
        let config = match opener {
            Opener::Request(_) => VerifierConfig {
                mode: Mode::Online,
                hello_deadline_ms,
                tls_exporter,
            },
            Opener::Challenge(_) => VerifierConfig {
                mode: Mode::Offline,
                hello_deadline_ms: 0,
                tls_exporter: None,
            },
        };
        VerifierDriver {
            session: VerifierSession::new(config),
            opener,
            decoder: FrameDecoder::default(),
            closed: None,
            progress_frames: 0,
            progress: VecDeque::new(),
            now_ns: 0,
            came_ns: 0,
        }
    }

    /// What the session waits for.
    #[must_use]
    pub fn need(&self) -> Need {
        match self.session.step() {
            Step::Send(outgoing) => Need::Release(outgoing),
            Step::Receive { deadline_ns, .. } => Need::Bytes { until_ns: deadline_ns },
            Step::Check => Need::Check,
            Step::Done => Need::Nothing,
        }
    }

    /// Whether more bytes are of use now. While a message waits for its release, a few are kept, so that they have their time.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        self.is_under_way() && self.closed.is_none() && self.decoder.waiting_bytes() < MAX_WAITING_BYTES
    }

    /// Takes bytes of the Attester that came at `at_ns`: stamped when the last of them was read.
    pub fn received(&mut self, at_ns: u64, bytes: Vec<u8>) {
        self.advance(at_ns);
        if self.session.config().mode == Mode::Online {
            self.came_ns = self.came_ns.max(at_ns);
        }
        if self.is_under_way() {
            // Not as of now: what came before its question and is taken after it is premature.
            self.decoder.push(self.came_ns, bytes);
            self.take_frames();
        }
    }

    /// Takes note that the connection has ended at `at_ns`: closed, or broken, of which `why` tells.
    pub fn closed(&mut self, at_ns: u64, why: Option<&str>) {
        self.advance(at_ns);
        self.closed = Some(why.map_or_else(String::new, |why| {
            sendable_text(&format!("the connection broke: {why}"))
        }));
        self.take_frames();
    }

    /// Takes note that whoever runs the session stops it, at `at_ns`.
    pub fn stop(&mut self, at_ns: u64) {
        self.advance(at_ns);
        self.end(EndCause::Stopped);
    }

    /// Takes note that it is `now_ns`, when all that came by then has been given to [`Self::received`].
    pub fn time(&mut self, now_ns: u64) {
        self.advance(now_ns);
        if let Need::Bytes {
            until_ns: Some(until_ns),
        } = self.need()
            && self.now_ns >= until_ns
        {
            self.end(EndCause::Deadline);
        }
    }

    /// The message that is due, made with `fresh` bytes and stamped `at_ns`; it must be written from then on. `None` where none is
    /// due, or where PLAN is and no plan fits: the session is over then.
    ///
    /// Each call must have `fresh` bytes of its own that nobody can foresee.
    pub fn release(&mut self, at_ns: u64, fresh: Fresh) -> Option<Frame> {
        let Need::Release(outgoing) = self.need() else {
            return None;
        };
        let at_ns = self.advance(at_ns);
        let frame = match (outgoing, &self.opener) {
            (Outgoing::Plan, _) => match self.plan() {
                Ok(plan) => Frame::new(MessageType::Plan, plan.to_bytes()),
                Err(why) => {
                    self.end(EndCause::NoPlan(sendable_text(&why)));
                    return None;
                }
            },
            (Outgoing::Nonce, Opener::Challenge(challenge)) => self.session.due_frame(Fresh(challenge.nonce.0))?,
            _ => self.session.due_frame(fresh)?,
        };
        self.session.sent(at_ns, frame.clone()).expect("it is what is due");
        self.take_frames();
        Some(frame)
    }

    /// Takes the outcome of recomputing every tile of the session.
    ///
    /// # Errors
    ///
    /// [`Inconsistent`] where no tiles are due.
    pub fn checked(&mut self, outcome: Result<(), TileMismatch>) -> Result<(), Inconsistent> {
        self.session.checked(outcome)
    }

    /// What the Attester says of its progress, in order; stated, and no evidence. Of many that nobody takes the last are kept.
    pub fn take_progress(&mut self) -> impl Iterator<Item = ProgressMessage> {
        self.progress.drain(..)
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &VerifierSession {
        &self.session
    }

    /// The session, to be kept without what drove it.
    #[must_use]
    pub fn into_session(self) -> VerifierSession {
        self.session
    }

    fn plan(&self) -> Result<Plan, String> {
        let hello = self.session.hello().expect("PLAN follows HELLO");
        match &self.opener {
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

    /// Offline there is no clock: every time is 0.
    fn advance(&mut self, at_ns: u64) -> u64 {
        if self.session.config().mode == Mode::Online {
            self.now_ns = self.now_ns.max(at_ns);
        }
        self.now_ns
    }

    fn is_under_way(&self) -> bool {
        matches!(self.need(), Need::Bytes { .. } | Need::Release(_))
    }

    /// Takes what has come, as far as the session's state takes it.
    fn take_frames(&mut self) {
        loop {
            let is_due = match self.need() {
                Need::Bytes { .. } => true,
                // Only what ends the session or is put aside is taken; all else is premature, and waits (spec §9.3).
                Need::Release(_) => {
                    let takes = [MessageType::Abort, MessageType::Progress].map(|kind| kind as u32);
                    self.decoder.next_type().is_none_or(|kind| takes.contains(&kind))
                }
                Need::Check | Need::Nothing => false,
            };
            if !is_due {
                return;
            }
            let session = &self.session;
            match self.decoder.next(|type_number| session.max_payload_bytes(type_number)) {
                Decoded::Frame(at_ns, frame) => self.take(at_ns, frame),
                Decoded::Oversized {
                    type_number,
                    length_bytes,
                    limit_bytes,
                } => self.end(EndCause::Oversized {
                    type_number,
                    length_bytes,
                    limit_bytes,
                }),
                Decoded::Partial => {
                    if let Some(why) = self.closed.clone() {
                        self.end(EndCause::Closed(match self.decoder.begun() {
                            Some((read, expected)) if why.is_empty() => {
                                format!("the connection was closed within a frame: {read} of {expected} bytes came")
                            }
                            _ => why,
                        }));
                    }
                    return;
                }
            }
        }
    }

    fn take(&mut self, at_ns: u64, frame: Frame) {
        if frame.message_type() != Some(MessageType::Progress) {
            self.session.received(at_ns, frame).expect("a message is waited for");
            return;
        }
        self.progress_frames += 1;
        let is_late = match self.need() {
            Need::Bytes {
                until_ns: Some(until_ns),
            } => at_ns > until_ns,
            _ => false,
        };
        if is_late {
            // Frames come in the order of their stamps: what is still to come is later still.
            self.end(EndCause::Deadline);
        } else if self.progress_frames > MAX_PROGRESS_FRAMES {
            self.end(EndCause::Flood);
        } else if let Ok(progress) = ProgressMessage::from_bytes(&frame.payload) {
            if self.progress.len() == MAX_WAITING_PROGRESS {
                self.progress.pop_front();
            }
            self.progress.push_back(progress);
        }
    }

    /// Ends a session that is under way; one that is over stays as it is.
    fn end(&mut self, cause: EndCause) {
        if self.is_under_way() {
            self.session.ended(self.now_ns, cause).expect("a session under way");
        }
    }
}
