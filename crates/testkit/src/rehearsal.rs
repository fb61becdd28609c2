//! A session in memory: the Verifier's state machine against a peer, with made-up times and fixed fresh bytes.
//!
//! Nothing sleeps and nothing is drawn, so the same peer gives the same evidence byte for byte.

use std::collections::VecDeque;

use protocol::bytes::Fresh;
use protocol::cbor::{Canonical, sendable_text};
use protocol::challenge::Challenge;
use protocol::derive::derive;
use protocol::evidence::Evidence;
use protocol::frame::{Frame, MessageType};
use protocol::limits::MAX_PROGRESS_FRAMES;
use protocol::message::Hello;
use protocol::plan::Plan;
use protocol::record::EndCause;
use protocol::request::PlanRequest;
use protocol::verdict::Verdict;
use protocol::verifier::{Mode, Outgoing, Step, VerifierConfig, VerifierSession};
use transport::{FrameError, read_frame};
use verifier::recompute::{Recompute, Recomputed, Unwatched};

use crate::cast;
use crate::peer::{Action, Peer};

/// How long a message is on its way (ns).
pub const TRAVEL_NS: u64 = 1_000_000;

/// Where PLAN comes from.
#[derive(Clone, Debug)]
pub enum Opener {
    /// A request that is fitted to HELLO.
    Request(PlanRequest),
    /// This plan, whatever HELLO says.
    Plan(Plan),
    /// A challenge; the session is offline then.
    Challenge(Challenge),
}

/// The Verifier's side of a session to come.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// Where PLAN comes from.
    pub opener: Opener,
    /// What the fresh bytes are made of.
    pub seed: u64,
    /// The connection's TLS exporter value.
    pub tls_exporter: Option<[u8; 32]>,
    /// How long HELLO may take (ms).
    pub hello_deadline_ms: u64,
    /// The Verifier is stopped before it sends this.
    pub stop_before: Option<Outgoing>,
    /// How sampled tiles are recomputed.
    pub recompute: Recompute,
}

/// A session that is over.
#[derive(Clone)]
pub struct Rehearsed {
    /// The session, with its verdict.
    pub session: VerifierSession,
    /// Its evidence; offline evidence is the Attester's.
    pub evidence: Evidence,
}

impl Rehearsal {
    /// A session with this request.
    #[must_use]
    pub fn new(request: PlanRequest) -> Self {
        Rehearsal::opened(Opener::Request(request))
    }

    /// A session that opens so.
    #[must_use]
    pub fn opened(opener: Opener) -> Self {
        Rehearsal {
            opener,
            seed: 0,
            tls_exporter: None,
            hello_deadline_ms: 1_000,
            stop_before: None,
            recompute: cast::recompute(),
        }
    }

    /// The session's `index`-th fresh bytes: they depend on the seed alone.
    #[must_use]
    pub fn fresh(&self, index: u64) -> Fresh {
        Fresh(derive("testkit", &[&self.seed.to_le_bytes(), &index.to_le_bytes()]))
    }

    /// Runs the session to its verdict.
    ///
    /// # Panics
    ///
    /// If the state machine contradicts itself, which is what tests are to find.
    #[must_use]
    pub fn run(&self, peer: &mut dyn Peer) -> Rehearsed {
        let mut rehearsed = self.run_to_check(peer);
        rehearsed.check(&self.recompute);
        rehearsed
    }

    /// Runs the session until tiles are to be recomputed or there is a verdict.
    ///
    /// # Panics
    ///
    /// If the state machine contradicts itself.
    #[must_use]
    pub fn run_to_check(&self, peer: &mut dyn Peer) -> Rehearsed {
        let config = self.config();
        let mut session = VerifierSession::new(config);
        let mut wire = Wire::new(config.mode);
        let (mut drawn, mut progress_frames) = (0, 0);
        wire.act(peer.greet());
        loop {
            match session.step() {
                Step::Check | Step::Done => break,
                Step::Send(outgoing) if self.stop_before == Some(outgoing) => {
                    session
                        .ended(wire.now_ns(), EndCause::Stopped)
                        .expect("a session under way");
                }
                Step::Send(outgoing) => {
                    let frame = match outgoing {
                        Outgoing::Plan => self.plan(session.hello().expect("PLAN follows HELLO")),
                        Outgoing::Nonce if let Opener::Challenge(challenge) = &self.opener => {
                            Ok(session.due_frame(Fresh(challenge.nonce.0)).expect("NONCE is due"))
                        }
                        _ => {
                            drawn += 1;
                            Ok(session.due_frame(self.fresh(drawn)).expect("a frame is due"))
                        }
                    };
                    match frame {
                        Ok(frame) => {
                            session.sent(wire.tick(), frame.clone()).expect("the frame is due");
                            wire.act(peer.answer(&frame));
                        }
                        Err(why) => session
                            .ended(wire.now_ns(), EndCause::NoPlan(sendable_text(&why)))
                            .expect("PLAN is due"),
                    }
                }
                Step::Receive { deadline_ns, .. } => match wire.receive(&session) {
                    Some((at_ns, Ok(frame))) if frame.message_type() == Some(MessageType::Progress) => {
                        progress_frames += 1;
                        if deadline_ns.is_some_and(|deadline_ns| at_ns > deadline_ns) {
                            session
                                .ended(at_ns, EndCause::Deadline)
                                .expect("the deadline has passed");
                        } else if progress_frames > MAX_PROGRESS_FRAMES {
                            session.ended(at_ns, EndCause::Flood).expect("a session under way");
                        }
                    }
                    Some((at_ns, Ok(frame))) => session.received(at_ns, frame).expect("a message is waited for"),
                    Some((at_ns, Err(cause))) => session.ended(at_ns, cause).expect("a session under way"),
                    None => {
                        let at_ns = deadline_ns.expect("offline peers do not hang");
                        session
                            .ended(at_ns, EndCause::Deadline)
                            .expect("the deadline has passed");
                    }
                },
            }
        }
        let challenge = match &self.opener {
            Opener::Challenge(challenge) => Some(challenge.clone()),
            _ => None,
        };
        let sealer = match config.mode {
            Mode::Online => cast::verifier_key(),
            Mode::Offline => cast::attester_key(),
        };
        let evidence = Evidence {
            config,
            started_unix_ms: 1_795_000_000_000,
            assumptions: cast::assumptions(),
            challenge,
            sealer: cast::identity(&sealer),
            records: session.records().to_vec(),
        };
        Rehearsed { session, evidence }
    }

    fn config(&self) -> VerifierConfig {
        let (mode, hello_deadline_ms) = match self.opener {
            Opener::Challenge(_) => (Mode::Offline, 0),
            _ => (Mode::Online, self.hello_deadline_ms),
        };
        VerifierConfig {
            mode,
            hello_deadline_ms,
            tls_exporter: self.tls_exporter,
        }
    }

    fn plan(&self, hello: &Hello) -> Result<Frame, String> {
        let plan = match &self.opener {
            Opener::Request(request) => request.plan(hello).map_err(|e| e.to_string())?,
            Opener::Plan(plan) => plan.clone(),
            Opener::Challenge(challenge) => challenge.plan.clone(),
        };
        Ok(Frame::new(MessageType::Plan, plan.to_bytes()))
    }
}

impl Rehearsed {
    /// The verdict.
    ///
    /// # Panics
    ///
    /// If tiles are still to be recomputed.
    #[must_use]
    pub fn verdict(&self) -> &Verdict {
        self.session.verdict().expect("the session is over")
    }

    /// Recomputes the tiles that are due, if any are.
    fn check(&mut self, recompute: &Recompute) {
        if self.session.step() == Step::Check {
            let recomputed = recompute.run(self.session.tile_checks(), &Unwatched);
            let outcome = match recomputed.expect("the best path runs here") {
                Recomputed::Agrees => Ok(()),
                Recomputed::Differs(mismatch) => Err(mismatch),
                Recomputed::Stopped(_) => unreachable!("nobody stops it"),
            };
            self.session.checked(outcome).expect("tiles are due");
        }
    }

    /// The evidence, sealed by who records it.
    #[must_use]
    pub fn sealed(&self) -> Vec<u8> {
        seal(&self.evidence)
    }
}

/// `evidence` sealed with whichever key of the [`cast`] its sealer has.
///
/// # Panics
///
/// If the sealer is none of the cast.
#[must_use]
pub fn seal(evidence: &Evidence) -> Vec<u8> {
    let key = [cast::verifier_key(), cast::attester_key(), cast::strangers_key()]
        .into_iter()
        .find(|key| cast::identity(key) == evidence.sealer)
        .expect("the sealer is one of the cast");
    evidence.seal(&key)
}

/// What is on its way to the Verifier, and the Verifier's clock.
struct Wire {
    mode: Mode,
    /// The Verifier's time (ns).
    now_ns: u64,
    /// When the peer does what it does next (ns).
    peer_ns: u64,
    /// Whether the peer has hung: it does nothing any more.
    has_hung: bool,
    arriving: VecDeque<(u64, Arrival)>,
}

enum Arrival {
    /// Bytes, and how many of them have been read.
    Bytes(Vec<u8>, usize),
    Close,
}

impl Wire {
    fn new(mode: Mode) -> Self {
        Wire {
            mode,
            now_ns: 0,
            peer_ns: 0,
            has_hung: false,
            arriving: VecDeque::new(),
        }
    }

    /// The Verifier's time; offline there is none.
    fn now_ns(&self) -> u64 {
        if self.mode == Mode::Online { self.now_ns } else { 0 }
    }

    /// The time of a sending, later than all before.
    fn tick(&mut self) -> u64 {
        self.now_ns += 1_000;
        self.peer_ns = self.peer_ns.max(self.now_ns);
        self.now_ns()
    }

    /// Puts on its way what the peer does.
    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            if self.has_hung {
                return;
            }
            let arrival = match action {
                Action::Frame(frame) => Arrival::Bytes([&frame.header()[..], &frame.payload].concat(), 0),
                Action::Bytes(bytes) => Arrival::Bytes(bytes, 0),
                Action::Close => {
                    self.has_hung = true;
                    Arrival::Close
                }
                Action::Wait(ns) => {
                    self.peer_ns = self.peer_ns.saturating_add(ns);
                    continue;
                }
                Action::Hang => {
                    self.has_hung = true;
                    return;
                }
            };
            self.peer_ns = self.peer_ns.saturating_add(TRAVEL_NS);
            self.arriving.push_back((self.peer_ns, arrival));
        }
    }

    /// The next frame or end with the time of its last byte; `None` if nothing more comes.
    ///
    /// Bytes pass through the transport's own reader under the session's caps.
    fn receive(&mut self, session: &VerifierSession) -> Option<(u64, Result<Frame, EndCause>)> {
        let limit_bytes = |type_number| session.max_payload_bytes(type_number);
        // The part of a frame that has come.
        let mut part = Vec::new();
        while let Some((at_ns, arrival)) = self.arriving.front_mut() {
            self.now_ns = self.now_ns.max(*at_ns);
            let at_ns = if self.mode == Mode::Online { *at_ns } else { 0 };
            let is_closed = matches!(arrival, Arrival::Close);
            let outcome = match arrival {
                Arrival::Bytes(bytes, read) if part.is_empty() => {
                    let mut unread = &bytes[*read..];
                    let outcome = read_frame(&mut unread, limit_bytes);
                    let more = bytes.len() - unread.len();
                    if outcome.is_ok() && !unread.is_empty() {
                        *read = more;
                        return outcome.ok().map(|frame| (at_ns, Ok(frame)));
                    }
                    part.extend_from_slice(&bytes[*read..]);
                    outcome
                }
                Arrival::Bytes(bytes, read) => {
                    // What begins within a frame ends with it: no peer here sends half of one and more behind it.
                    part.extend_from_slice(&bytes[*read..]);
                    read_frame(&mut &part[..], limit_bytes)
                }
                Arrival::Close => read_frame(&mut &part[..], limit_bytes),
            };
            self.arriving.pop_front();
            let cause = match outcome {
                Ok(frame) => return Some((at_ns, Ok(frame))),
                Err(FrameError::Oversized {
                    type_number,
                    length_bytes,
                    limit_bytes,
                }) => EndCause::Oversized {
                    type_number,
                    length_bytes,
                    limit_bytes,
                },
                Err(FrameError::Closed) if is_closed => EndCause::Closed(String::new()),
                Err(error) if is_closed => EndCause::Closed(sendable_text(&error.to_string())),
                // The rest may still come.
                Err(_) => continue,
            };
            return Some((at_ns, Err(cause)));
        }
        None
    }
}
