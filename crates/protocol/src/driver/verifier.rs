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

/// How many bytes may wait for a message's release before reading stops.
const MAX_WAITING_BYTES: usize = 64 << 10;

/// How many PROGRESS messages are kept for a caller that does not take them.
const MAX_WAITING_PROGRESS: usize = 64;

/// The source of PLAN and NONCE.
#[derive(Clone, Debug)]
pub enum Opener {
    /// A request, adapted to HELLO; the nonce is random.
    Request(PlanRequest),
    /// A challenge: the session is offline.
    Challenge(Challenge),
}

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The release of this message: [`VerifierDriver::release`].
    Release(Outgoing),
    /// Bytes or, from `until_ns` on, [`VerifierDriver::time`]; there is no deadline offline.
    Bytes {
        /// The deadline, ns since the session started.
        until_ns: Option<u64>,
    },
    /// The outcome of recomputing the session's tiles.
    Check,
    /// Nothing: there is a verdict.
    Nothing,
}

/// One session of a Verifier, driven by its caller.
///
/// Times are ns since the session began, on the Verifier's clock (spec §5.3). A time before an earlier one counts as that, but for
/// bytes: they may be given later than they came, and count as of then, if not before those that were given before them.
#[derive(Clone)]
pub struct VerifierDriver {
    session: VerifierSession,
    opener: Opener,
    decoder: FrameDecoder,
    /// The transport's error when the connection ended.
    closed: Option<String>,
    progress_frames: u64,
    progress: VecDeque<ProgressMessage>,
    now_ns: u64,
    /// When the last bytes were received.
    came_ns: u64,
}

impl VerifierDriver {
    /// A session that waits for HELLO, for at most `hello_deadline_ms`; offline there is no limit.
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
            decoder: FrameDecoder::after_greeting(),
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

    /// Whether more bytes can be used now. While a message waits for its release, a limited number is kept, so that
    /// they are timestamped.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        self.is_under_way() && self.closed.is_none() && self.decoder.waiting_bytes() < MAX_WAITING_BYTES
    }

    /// Handles bytes of the Attester received at `at_ns`: the timestamp taken when the last of them was read.
    pub fn received(&mut self, at_ns: u64, bytes: Vec<u8>) {
        self.advance(at_ns);
        if self.session.config().mode == Mode::Online {
            self.came_ns = self.came_ns.max(at_ns);
        }
        if self.is_under_way() {
            // With their own time, not the current one: an answer received before its question is premature.
            self.decoder.push(self.came_ns, bytes);
            self.take_frames();
        }
    }

    /// Handles the end of the connection at `at_ns`: closed, or failed with the error `why`.
    pub fn closed(&mut self, at_ns: u64, why: Option<&str>) {
        self.advance(at_ns);
        self.decoder.close();
        self.closed = Some(why.map_or_else(String::new, |why| {
            sendable_text(&format!("the connection broke: {why}"))
        }));
        self.take_frames();
    }

    /// Handles a stop by the session's operator at `at_ns`.
    pub fn stop(&mut self, at_ns: u64) {
        self.advance(at_ns);
        self.end(EndCause::Stopped);
    }

    /// Handles the time `now_ns`, after all bytes received by then were passed to [`Self::received`].
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

    /// Creates the message that is due from `fresh` bytes, timestamped `at_ns`; it must be written at once. `None` if
    /// none is due, or if PLAN is due and no plan fits: the session is then over.
    ///
    /// Each call must have its own unpredictable `fresh` bytes.
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

    /// Handles the outcome of recomputing every tile of the session.
    ///
    /// # Errors
    ///
    /// [`Inconsistent`] if no tiles are due.
    pub fn checked(&mut self, outcome: Result<(), TileMismatch>) -> Result<(), Inconsistent> {
        self.session.checked(outcome)
    }

    /// What the Attester says of its progress, in order; stated, and no evidence. Of many that nobody takes the last are kept.
    pub fn take_progress(&mut self) -> impl Iterator<Item = ProgressMessage> {
        self.progress.drain(..)
    }

    /// Text that came before the first frame, as far as it was not taken before: the greeting of a login shell, say. It is part of no
    /// transcript and no evidence, and whoever is there chooses it: show it as the host's words only.
    pub fn take_greeting(&mut self) -> Vec<u8> {
        self.decoder.take_greeting()
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &VerifierSession {
        &self.session
    }

    /// The session, without its driver.
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

    /// Consumes received frames as far as the session's state allows.
    fn take_frames(&mut self) {
        loop {
            let is_due = match self.need() {
                Need::Bytes { .. } => true,
                // Only frames that end the session or are kept aside are consumed; any other is premature, and waits
                // (spec §9.3).
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
            // Frames are in the order of their timestamps: later frames are later still.
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

    /// Ends a running session; a finished one is unchanged.
    fn end(&mut self, cause: EndCause) {
        if self.is_under_way() {
            self.session.ended(self.now_ns, cause).expect("a session under way");
        }
    }
}
