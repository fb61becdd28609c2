//! The Verifier's session: fed with messages, times and fresh bytes, it says what is due next (spec §5, §9).
//!
//! Live sessions and evidence run through the same code: a driver feeds what happens, a re-check feeds the records.

use ed25519_dalek::{Signature, VerifyingKey};

use crate::bytes::{Chain, DeviceOrdinal, Fresh, Identity, Nonce};
use crate::cbor::Canonical;
use crate::derive::derive;
use crate::frame::{Frame, MessageType};
use crate::limits::{MAX_HELLO_BYTES, MAX_SMALL_BYTES, SUITE, VERSION};
use crate::message::{
    Abort, Filled, Hello, NonceMessage, OpeningsBody, Ready, SaltMessage, SampleMessage, Stage, Swept,
};
use crate::openings::{OpeningsError, TileCheck, TileMismatch, check_paths, check_sizes, max_payload_bytes};
use crate::plan::Plan;
use crate::record::{EndCause, Event, Record};
use crate::sampling::{Sample, samples};
use crate::trace::{Misplaced, Site, Trace};
use crate::transcript::{Transcript, signed_message};
use crate::verdict::{Failure, Obstacle, Phase, Verdict};

/// Bytes of the Ed25519 signature that ends OPENINGS.
pub const SIGNATURE_BYTES: usize = 64;

/// Where fresh bytes come from, and whether time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The Verifier draws them; its clock bounds every phase.
    Online,
    /// They derive from the transcript; there is no clock (spec §5, offline form).
    Offline,
}

/// What holds for a session from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierConfig {
    /// Online or offline.
    pub mode: Mode,
    /// How long HELLO may take (ms).
    pub hello_deadline_ms: u64,
    /// The TLS exporter value of the connection, where there is one; signed with OPENINGS.
    pub tls_exporter: Option<[u8; 32]>,
}

/// What is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this message.
    Send(Outgoing),
    /// Wait for a message until `deadline_ns`; offline there is none.
    Receive {
        /// The phase.
        phase: Phase,
        /// When it ends, in ns since the session began.
        deadline_ns: Option<u64>,
    },
    /// Recompute the tiles of [`VerifierSession::tile_checks`].
    Check,
    /// There is a verdict.
    Done,
}

/// A message that the Verifier sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// PLAN.
    Plan,
    /// NONCE.
    Nonce,
    /// SALT v or w of an iteration.
    Salt(Stage, u32),
    /// SAMPLE.
    Sample,
}

/// Windows and arrivals of one iteration, ns (spec §6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// When the fill began: the sending of NONCE or SALT w.
    pub fill_start_ns: u64,
    /// From there to the sending of SALT v.
    pub fill_ns: u64,
    /// From the sending of SALT v to the last SWEPT.
    pub sweep_ns: u64,
    /// Arrivals of FILLED since the fill began: diagnostics.
    pub filled_after_ns: Vec<(DeviceOrdinal, u64)>,
    /// Arrivals of SWEPT since SALT v: diagnostics.
    pub swept_after_ns: Vec<(DeviceOrdinal, u64)>,
}

/// A record that contradicts the session: no session of this code produces it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// A message was sent that was not due.
    #[error("{actual} sent where {expected:?} is due")]
    Sent {
        /// What is due.
        expected: Step,
        /// What was sent.
        actual: String,
    },
    /// What was sent is not what the session derives or can be parsed.
    #[error("{0}")]
    Content(String),
    /// Something happens after the end, or before it is due.
    #[error("{0} where {1:?} is due")]
    Event(&'static str, Step),
    /// The clock went back.
    #[error("the clock went from {before_ns} ns to {after_ns} ns")]
    Clock {
        /// An earlier record's time.
        before_ns: u64,
        /// This record's.
        after_ns: u64,
    },
}

#[derive(Clone, Debug)]
enum State {
    AwaitHello,
    SendPlan,
    AwaitReady,
    SendNonce,
    Fill,
    SendV,
    Sweep,
    SendW,
    SendSample,
    AwaitOpenings,
    Check,
    Done(Verdict),
}

/// The Verifier's side of one session.
#[derive(Clone)]
pub struct VerifierSession {
    config: VerifierConfig,
    state: State,
    records: Vec<Record>,
    transcript: Transcript,
    /// When the current phase began.
    phase_start_ns: u64,
    hello: Option<Message<Hello>>,
    plan: Option<Message<Plan>>,
    trace: Option<Trace>,
    windows: Vec<Windows>,
    /// The seed of SAMPLE, once it is sent.
    seed: Option<Fresh>,
    sites: Vec<Site>,
    tile_checks: Vec<TileCheck>,
    openings: Option<OpeningsBody>,
}

#[derive(Clone)]
struct Message<T> {
    value: T,
    bytes: Vec<u8>,
}

impl VerifierSession {
    /// A session that waits for HELLO, its clock at 0.
    #[must_use]
    pub fn new(config: VerifierConfig) -> Self {
        VerifierSession {
            config,
            state: State::AwaitHello,
            records: Vec::new(),
            transcript: Transcript::default(),
            phase_start_ns: 0,
            hello: None,
            plan: None,
            trace: None,
            windows: Vec::new(),
            seed: None,
            sites: Vec::new(),
            tile_checks: Vec::new(),
            openings: None,
        }
    }

    /// What is due next.
    #[must_use]
    pub fn step(&self) -> Step {
        let receive = |phase| Step::Receive {
            phase,
            deadline_ns: self.deadline_ns(phase),
        };
        let iteration = self.trace.as_ref().map_or(0, Trace::current);
        match &self.state {
            State::AwaitHello => receive(Phase::Hello),
            State::SendPlan => Step::Send(Outgoing::Plan),
            State::AwaitReady => receive(Phase::Prepare),
            State::SendNonce => Step::Send(Outgoing::Nonce),
            State::Fill => receive(Phase::Fill),
            State::SendV => Step::Send(Outgoing::Salt(Stage::V, iteration)),
            State::Sweep => receive(Phase::Sweep),
            State::SendW => Step::Send(Outgoing::Salt(Stage::W, iteration)),
            State::SendSample => Step::Send(Outgoing::Sample),
            State::AwaitOpenings => receive(Phase::Open),
            State::Check => Step::Check,
            State::Done(_) => Step::Done,
        }
    }

    /// The frame that is due, made with `fresh` bytes; `None` where none or PLAN is due. Offline, only NONCE takes them.
    #[must_use]
    pub fn due_frame(&self, fresh: Fresh) -> Option<Frame> {
        let Step::Send(outgoing) = self.step() else { return None };
        Some(match outgoing {
            Outgoing::Plan => return None,
            Outgoing::Nonce => Frame::new(MessageType::Nonce, NonceMessage(Nonce(fresh.0)).to_bytes()),
            Outgoing::Salt(stage, iteration) => {
                let purpose = match stage {
                    Stage::V => "offline v",
                    Stage::W => "offline w",
                };
                let fresh = self.fresh(fresh, purpose);
                let salt = SaltMessage {
                    stage,
                    iteration,
                    fresh,
                };
                Frame::new(MessageType::Salt, salt.to_bytes())
            }
            Outgoing::Sample => Frame::new(
                MessageType::Sample,
                SampleMessage(self.fresh(fresh, "offline samples")).to_bytes(),
            ),
        })
    }

    /// Drawn bytes online, derived ones offline.
    fn fresh(&self, drawn: Fresh, purpose: &str) -> Fresh {
        match self.config.mode {
            Mode::Online => drawn,
            Mode::Offline => Fresh(derive(purpose, &[&self.transcript.hash().0])),
        }
    }

    /// Takes note that `frame` is being sent; `at_ns` is stamped before the write.
    ///
    /// # Errors
    ///
    /// [`Inconsistent`] if it is not what is due: the session does not change then.
    pub fn sent(&mut self, at_ns: u64, frame: Frame) -> Result<(), Inconsistent> {
        let step = self.step();
        let Step::Send(outgoing) = step else {
            return Err(Inconsistent::Sent {
                expected: step,
                actual: describe(&frame),
            });
        };
        if let Some(last) = self.records.last()
            && at_ns < last.at_ns
        {
            return Err(Inconsistent::Clock {
                before_ns: last.at_ns,
                after_ns: at_ns,
            });
        }
        let content = |error: &dyn std::fmt::Display| Inconsistent::Content(format!("{}: {error}", describe(&frame)));
        let not_due = || Inconsistent::Sent {
            expected: step,
            actual: describe(&frame),
        };
        match (outgoing, frame.message_type()) {
            (Outgoing::Plan, Some(MessageType::Plan)) => {
                let plan = Plan::from_bytes(&frame.payload).map_err(|e| content(&e))?;
                let hello = &self.hello.as_ref().expect("PLAN follows HELLO").value;
                let offered = |g| hello.devices.iter().any(|offer| offer.ordinal == g);
                if let Some(missing) = plan.devices().iter().find(|device| !offered(device.ordinal)) {
                    return Err(content(&format!("device {} is not in HELLO", missing.ordinal)));
                }
                self.plan = Some(Message {
                    value: plan,
                    bytes: frame.payload.clone(),
                });
                self.state = State::AwaitReady;
            }
            (Outgoing::Nonce, Some(MessageType::Nonce)) => {
                let NonceMessage(nonce) = NonceMessage::from_bytes(&frame.payload).map_err(|e| content(&e))?;
                let hello = self.hello.as_ref().expect("NONCE follows HELLO");
                let plan = self.plan.as_ref().expect("NONCE follows PLAN");
                self.trace = Some(Trace::begin(&plan.value, &nonce, &hello.bytes, &plan.bytes));
                self.begin_fill(at_ns);
            }
            (Outgoing::Salt(stage, iteration), Some(MessageType::Salt)) => {
                let salt = SaltMessage::from_bytes(&frame.payload).map_err(|e| content(&e))?;
                if (salt.stage, salt.iteration) != (stage, iteration) {
                    return Err(not_due());
                }
                self.check_derived(&frame, salt.fresh)?;
                let trace = self.trace.as_mut().expect("SALT follows NONCE");
                trace.salted(&salt).map_err(|e| content(&e))?;
                match stage {
                    Stage::V => {
                        let windows = self.windows.last_mut().expect("a fill began");
                        windows.fill_ns = at_ns - windows.fill_start_ns;
                        self.state = State::Sweep;
                    }
                    Stage::W if trace.checksum().is_some() => self.state = State::SendSample,
                    Stage::W => self.begin_fill(at_ns),
                }
            }
            (Outgoing::Sample, Some(MessageType::Sample)) => {
                let SampleMessage(seed) = SampleMessage::from_bytes(&frame.payload).map_err(|e| content(&e))?;
                self.check_derived(&frame, seed)?;
                self.seed = Some(seed);
                self.state = State::AwaitOpenings;
            }
            _ => return Err(not_due()),
        }
        self.phase_start_ns = at_ns;
        self.transcript.append(&frame);
        self.records.push(Record {
            at_ns,
            event: Event::Sent(frame),
        });
        Ok(())
    }

    /// Takes a message that came whole at `at_ns`; whatever is wrong with it becomes the verdict. PROGRESS is no part of the
    /// session: whoever drives it keeps it.
    ///
    /// # Errors
    ///
    /// [`Inconsistent`] where no message is waited for, and for PROGRESS.
    pub fn received(&mut self, at_ns: u64, frame: Frame) -> Result<(), Inconsistent> {
        let step = self.step();
        let Step::Receive { phase, .. } = step else {
            return Err(Inconsistent::Event("a message", step));
        };
        if let Some(Record {
            at_ns: before_ns,
            event: Event::Received(_),
        }) = self.records.last()
            && at_ns < *before_ns
        {
            return Err(Inconsistent::Clock {
                before_ns: *before_ns,
                after_ns: at_ns,
            });
        }
        if frame.message_type() == Some(MessageType::Progress) {
            return Err(Inconsistent::Event("PROGRESS, which is put aside,", step));
        }
        let outcome = self.take(phase, at_ns, &frame);
        self.records.push(Record {
            at_ns,
            event: Event::Received(frame),
        });
        if let Err(verdict) = outcome {
            self.state = State::Done(verdict);
        }
        Ok(())
    }

    /// Takes note that the Verifier stopped listening.
    ///
    /// # Errors
    ///
    /// [`Inconsistent`] for a deadline that has not passed, for an oversized frame within its cap, or after the end.
    pub fn ended(&mut self, at_ns: u64, cause: EndCause) -> Result<(), Inconsistent> {
        let step = self.step();
        if matches!(step, Step::Done | Step::Check) {
            return Err(Inconsistent::Event("an end", step));
        }
        let before_ns = self.records.last().map_or(0, |last| last.at_ns);
        if at_ns < before_ns {
            return Err(Inconsistent::Clock {
                before_ns,
                after_ns: at_ns,
            });
        }
        let phase = self.phase();
        let verdict = match &cause {
            EndCause::Deadline => match step {
                Step::Receive {
                    deadline_ns: Some(deadline_ns),
                    ..
                } if at_ns >= deadline_ns => self.late(phase),
                _ => return Err(Inconsistent::Event("a deadline", step)),
            },
            EndCause::Closed(detail) if self.is_after_sample() => {
                Verdict::Contraindicated(Failure::Unopened(closed(detail)))
            }
            EndCause::Closed(detail) => Verdict::CouldNotRun(Obstacle::Disconnected {
                phase,
                detail: (!detail.is_empty()).then(|| detail.clone()),
                after_nonce: self.is_after_nonce(),
            }),
            EndCause::Oversized {
                length_bytes,
                limit_bytes,
                ..
            } if length_bytes <= limit_bytes => {
                return Err(Inconsistent::Event("an oversized frame within its cap", step));
            }
            &EndCause::Oversized {
                type_number,
                length_bytes,
                limit_bytes,
            } => self.failed(Failure::OversizedMessage {
                type_number,
                length_bytes,
                limit_bytes,
            }),
            EndCause::Flood => self.failed(Failure::Flood),
            EndCause::NoPlan(why) if step == Step::Send(Outgoing::Plan) => {
                Verdict::CouldNotRun(Obstacle::NoPlan(why.clone()))
            }
            EndCause::NoPlan(_) => return Err(Inconsistent::Event("no plan", step)),
            EndCause::Stopped => Verdict::CouldNotRun(Obstacle::Stopped),
        };
        self.records.push(Record {
            at_ns,
            event: Event::Ended(cause),
        });
        self.state = State::Done(verdict);
        Ok(())
    }

    /// Takes the outcome of recomputing every tile of [`Self::tile_checks`].
    ///
    /// # Errors
    ///
    /// [`Inconsistent`] where no tiles are due.
    pub fn checked(&mut self, outcome: Result<(), TileMismatch>) -> Result<(), Inconsistent> {
        let State::Check = self.state else {
            return Err(Inconsistent::Event("recomputed tiles", self.step()));
        };
        self.state = State::Done(match outcome {
            Ok(()) => Verdict::Affirmed,
            Err(mismatch) => Verdict::Contraindicated(Failure::Tile(mismatch)),
        });
        Ok(())
    }

    /// Longest payload of a frame of this type that can be of use now (bytes): what a transport may allocate.
    #[must_use]
    pub fn max_payload_bytes(&self, type_number: u32) -> u64 {
        match (&self.plan, MessageType::from_number(type_number)) {
            (None, Some(MessageType::Hello)) => MAX_HELLO_BYTES,
            (Some(plan), Some(message_type)) => max_payload_bytes(&plan.value, message_type),
            _ => MAX_SMALL_BYTES,
        }
    }

    /// What holds for the session from its start.
    #[must_use]
    pub fn config(&self) -> &VerifierConfig {
        &self.config
    }

    /// HELLO, once it has come.
    #[must_use]
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref().map(|hello| &hello.value)
    }

    /// PLAN, once it is sent.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref().map(|plan| &plan.value)
    }

    /// The commitments, from NONCE on.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// The session's checksum, once every iteration is done.
    #[must_use]
    pub fn checksum(&self) -> Option<Chain> {
        self.trace.as_ref().and_then(Trace::checksum)
    }

    /// Windows of every iteration begun.
    #[must_use]
    pub fn windows(&self) -> &[Windows] {
        &self.windows
    }

    /// Sites of the samples, once as many have been opened: none are drawn for who opens nothing.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The samples, once as many have been opened.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        self.sites.iter().map(|site| site.sample)
    }

    /// What was opened, once OPENINGS has come and been parsed.
    #[must_use]
    pub fn openings(&self) -> Option<&OpeningsBody> {
        self.openings.as_ref()
    }

    /// The tiles to recompute, once OPENINGS passed every cheaper check.
    #[must_use]
    pub fn tile_checks(&self) -> &[TileCheck] {
        &self.tile_checks
    }

    /// The verdict, once there is one.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        match &self.state {
            State::Done(verdict) => Some(verdict),
            _ => None,
        }
    }

    /// All that happened so far.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The Verifier that PLAN names, once it is sent.
    #[must_use]
    pub fn verifier(&self) -> Option<&Identity> {
        self.plan().map(|plan| &plan.fields().verifier)
    }

    fn take(&mut self, phase: Phase, at_ns: u64, frame: &Frame) -> Result<(), Verdict> {
        let Some(message_type) = frame.message_type() else {
            return Err(self.unexpected(phase, frame.type_number));
        };
        // Giving up answers nothing, so it cannot come before its question: it counts from its own stamp.
        let is_abort = message_type == MessageType::Abort;
        let is_early = is_abort && at_ns < self.phase_start_ns;
        // OPENINGS have their timing checked after sizes and signature (spec §5).
        if message_type != MessageType::Openings && !is_early {
            self.check_time(phase, at_ns)?;
        }
        if is_abort {
            let abort: Abort = self.parse(message_type, &frame.payload)?;
            return Err(if self.is_after_sample() && !is_early {
                Verdict::Contraindicated(Failure::Unopened(format!("{}: {}", abort.code.name(), abort.message)))
            } else {
                let began_ns = self.windows.first().map(|first| first.fill_start_ns);
                Verdict::CouldNotRun(Obstacle::Aborted {
                    abort,
                    after_nonce: began_ns.is_some_and(|began_ns| at_ns >= began_ns),
                })
            });
        }
        match (phase, message_type) {
            (Phase::Hello, MessageType::Hello) => {
                let hello: Hello = self.parse(message_type, &frame.payload)?;
                if !hello.speaks_ours() {
                    return Err(Verdict::CouldNotRun(Obstacle::NoCommonVersion {
                        ours: VERSION,
                        suite: SUITE,
                        versions: hello.versions,
                        suites: hello.suites,
                    }));
                }
                self.hello = Some(Message {
                    value: hello,
                    bytes: frame.payload.clone(),
                });
                self.state = State::SendPlan;
            }
            (Phase::Prepare, MessageType::Ready) => {
                self.parse::<Ready>(message_type, &frame.payload)?;
                self.state = State::SendNonce;
            }
            (Phase::Fill, MessageType::Filled) => {
                let filled: Filled = self.parse(message_type, &frame.payload)?;
                let is_last = self.commit(|trace| trace.filled(&filled))?;
                let windows = self.windows.last_mut().expect("a fill began");
                let after_ns = at_ns - windows.fill_start_ns;
                windows.filled_after_ns.push((filled.device, after_ns));
                if is_last {
                    self.append_all(Trace::filled_frames);
                    self.state = State::SendV;
                }
                return Ok(());
            }
            (Phase::Sweep, MessageType::Swept) => {
                let swept: Swept = self.parse(message_type, &frame.payload)?;
                let is_last = self.commit(|trace| trace.swept(&swept))?;
                let after_ns = at_ns - self.phase_start_ns;
                let windows = self.windows.last_mut().expect("a fill began");
                windows.swept_after_ns.push((swept.device, after_ns));
                if is_last {
                    windows.sweep_ns = after_ns;
                    self.append_all(Trace::swept_frames);
                    self.state = State::SendW;
                }
                return Ok(());
            }
            (Phase::Open, MessageType::Openings) => {
                self.take_openings(at_ns, &frame.payload)?;
                self.state = State::Check;
                return Ok(());
            }
            _ => return Err(self.unexpected(phase, frame.type_number)),
        }
        self.transcript.append(frame);
        Ok(())
    }

    /// Sizes, signature, timing, paths, in this order (spec §5).
    fn take_openings(&mut self, at_ns: u64, payload: &[u8]) -> Result<(), Verdict> {
        let malformed = |problem: String| {
            Verdict::Contraindicated(Failure::MalformedMessage {
                message_type: MessageType::Openings,
                problem,
            })
        };
        let Some((body_bytes, signature)) = payload.split_last_chunk::<SIGNATURE_BYTES>() else {
            return Err(malformed(format!("{} bytes, shorter than a signature", payload.len())));
        };
        let plan = &self.plan.as_ref().expect("OPENINGS follow PLAN").value;
        let expected = plan.total_samples();
        let (body, actual) = OpeningsBody::first_samples(body_bytes, expected).map_err(|e| malformed(e.to_string()))?;
        let body = self.openings.insert(body);
        let failed = |failure: Failure| Verdict::Contraindicated(failure);
        if actual as u64 != expected {
            return Err(failed(Failure::Openings(OpeningsError::Count {
                expected: usize::try_from(expected).unwrap_or(usize::MAX),
                actual,
            })));
        }
        // Only now: a plan of a few kilobytes may ask for billions, and this many have really come.
        let trace = self.trace.as_ref().expect("OPENINGS follow NONCE");
        let seed = self.seed.as_ref().expect("OPENINGS follow SAMPLE");
        self.sites = samples(plan, seed).into_iter().map(|s| trace.site(s)).collect();
        check_sizes(&self.sites, body).map_err(|e| failed(e.into()))?;

        self.transcript.append_parts(MessageType::Openings as u32, body_bytes);
        let message = signed_message(&self.transcript.hash(), self.config.tls_exporter.as_ref());
        let identity = self.hello.as_ref().expect("OPENINGS follow HELLO").value.identity;
        VerifyingKey::from_bytes(&identity.0)
            .and_then(|key| key.verify_strict(&message, &Signature::from_bytes(signature)))
            .map_err(|_| failed(Failure::Signature))?;

        self.check_time(Phase::Open, at_ns)?;
        let body = self.openings.as_ref().expect("just set");
        self.tile_checks = check_paths(&self.sites, body).map_err(|e| failed(e.into()))?;
        Ok(())
    }

    /// Commitments enter the transcript in ordinal order, whichever device was first.
    fn append_all(&mut self, frames: impl FnOnce(&Trace) -> Vec<Frame>) {
        let frames = frames(self.trace.as_ref().expect("commitments follow NONCE"));
        frames.iter().for_each(|frame| self.transcript.append(frame));
    }

    fn begin_fill(&mut self, at_ns: u64) {
        self.windows.push(Windows {
            fill_start_ns: at_ns,
            ..Windows::default()
        });
        self.state = State::Fill;
    }

    /// Offline, what is sent must be what derives from the transcript.
    fn check_derived(&self, frame: &Frame, fresh: Fresh) -> Result<(), Inconsistent> {
        match (self.config.mode, self.due_frame(fresh)) {
            (Mode::Offline, Some(due)) if due != *frame => Err(Inconsistent::Content(format!(
                "{} does not derive from the transcript",
                describe(frame)
            ))),
            _ => Ok(()),
        }
    }

    fn check_time(&self, phase: Phase, at_ns: u64) -> Result<(), Verdict> {
        // What came before it was asked for answers something else.
        if at_ns < self.phase_start_ns {
            return Err(self.failed(Failure::Premature { phase }));
        }
        match self.deadline_ns(phase) {
            Some(deadline_ns) if at_ns > deadline_ns => Err(self.late(phase)),
            _ => Ok(()),
        }
    }

    fn deadline_ns(&self, phase: Phase) -> Option<u64> {
        (self.config.mode == Mode::Online).then(|| {
            self.phase_start_ns
                .saturating_add(self.limit_ms(phase).saturating_mul(1_000_000))
        })
    }

    fn limit_ms(&self, phase: Phase) -> u64 {
        let deadlines = self.plan().map(|plan| plan.fields().deadlines);
        match (phase, deadlines) {
            (Phase::Hello, _) | (_, None) => self.config.hello_deadline_ms,
            (Phase::Prepare, Some(deadlines)) => deadlines.ready_ms,
            (Phase::Fill, Some(deadlines)) => deadlines.fill_ms,
            (Phase::Sweep, Some(deadlines)) => deadlines.sweep_ms,
            (Phase::Open, Some(deadlines)) => deadlines.openings_ms,
        }
    }

    fn phase(&self) -> Phase {
        match self.state {
            State::AwaitHello | State::SendPlan => Phase::Hello,
            State::AwaitReady | State::SendNonce => Phase::Prepare,
            State::Fill | State::SendV => Phase::Fill,
            State::Sweep | State::SendW | State::SendSample => Phase::Sweep,
            State::AwaitOpenings | State::Check | State::Done(_) => Phase::Open,
        }
    }

    fn is_after_nonce(&self) -> bool {
        self.trace.is_some()
    }

    fn is_after_sample(&self) -> bool {
        self.seed.is_some()
    }

    fn late(&self, phase: Phase) -> Verdict {
        let limit_ms = self.limit_ms(phase);
        if self.is_after_nonce() {
            Verdict::Contraindicated(Failure::Late { phase, limit_ms })
        } else {
            Verdict::CouldNotRun(Obstacle::Late { phase, limit_ms })
        }
    }

    /// A failed check; before the clock runs nothing has been claimed that could be false.
    fn failed(&self, failure: Failure) -> Verdict {
        if self.is_after_nonce() {
            Verdict::Contraindicated(failure)
        } else {
            Verdict::CouldNotRun(Obstacle::NotThisProtocol(Box::new(failure)))
        }
    }

    fn unexpected(&self, phase: Phase, actual: u32) -> Verdict {
        let expected = match phase {
            Phase::Hello => MessageType::Hello,
            Phase::Prepare => MessageType::Ready,
            Phase::Fill => MessageType::Filled,
            Phase::Sweep => MessageType::Swept,
            Phase::Open => MessageType::Openings,
        };
        self.failed(Failure::UnexpectedMessage { expected, actual })
    }

    fn parse<T: Canonical>(&self, message_type: MessageType, payload: &[u8]) -> Result<T, Verdict> {
        T::from_bytes(payload).map_err(|e| {
            self.failed(Failure::MalformedMessage {
                message_type,
                problem: e.to_string(),
            })
        })
    }

    fn commit(&mut self, commit: impl FnOnce(&mut Trace) -> Result<bool, Misplaced>) -> Result<bool, Verdict> {
        let trace = self.trace.as_mut().expect("commitments follow NONCE");
        commit(trace).map_err(|misplaced| Verdict::Contraindicated(misplaced.into()))
    }
}

fn describe(frame: &Frame) -> String {
    match frame.message_type() {
        Some(message_type) => message_type.name().to_owned(),
        None => format!("message type {}", frame.type_number),
    }
}

fn closed(detail: &str) -> String {
    if detail.is_empty() {
        "the connection ended".to_owned()
    } else {
        format!("the connection ended: {detail}")
    }
}
