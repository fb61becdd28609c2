//! The Verifier's session: takes messages, times and fresh bytes, and returns what is due next (spec §5, §9).
//!
//! Live sessions and evidence run through the same code: a driver supplies live events, replay supplies the records.

mod standing;
mod step;
mod take;

pub use self::step::{Inconsistent, Mode, Outgoing, Said, Step, VerifierConfig, Windows};
pub use self::take::SIGNATURE_BYTES;

use self::standing::{Message, Standing, State};
use crate::bytes::{Chain, Fresh, Identity, Nonce};
use crate::cbor::Canonical;
use crate::derive::derive;
use crate::frame::{Frame, MessageType};
use crate::message::{Hello, NonceMessage, OpeningsBody, SaltMessage, SampleMessage, Stage};
use crate::openings::{TileCheck, TileMismatch};
use crate::plan::Plan;
use crate::record::{EndCause, Event, Record};
use crate::sampling::Sample;
use crate::trace::{Site, Trace};
use crate::verdict::{Failure, Obstacle, Verdict};

/// The Verifier's side of one session.
#[derive(Clone)]
pub struct VerifierSession {
    standing: Standing,
    records: Vec<Record>,
}

impl VerifierSession {
    /// A session that waits for HELLO, its clock at 0.
    #[must_use]
    pub fn new(config: VerifierConfig) -> Self {
        VerifierSession {
            standing: Standing::new(config),
            records: Vec::new(),
        }
    }

    /// What is due next.
    #[must_use]
    pub fn step(&self) -> Step {
        self.standing.step()
    }

    /// Creates the frame that is due from `fresh` bytes; `None` if none or PLAN is due. Offline, only NONCE uses them.
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
                    Stage::Round(_) => "offline round",
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

    /// Random bytes online, derived ones offline.
    fn fresh(&self, drawn: Fresh, purpose: &str) -> Fresh {
        match self.standing.config.mode {
            Mode::Online => drawn,
            Mode::Offline => Fresh(derive(purpose, &[&self.standing.transcript.hash().0])),
        }
    }

    /// Records that `frame` is being sent; `at_ns` was taken before the write.
    ///
    /// # Errors
    ///
    /// [`Inconsistent`] if it is not what is due: the session is then unchanged.
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
                let hello = &self.standing.hello.as_ref().expect("PLAN follows HELLO").value;
                let offered = |g| hello.devices.iter().any(|offer| offer.ordinal == g);
                if let Some(missing) = plan.devices().iter().find(|device| !offered(device.ordinal)) {
                    return Err(content(&format!("device {} is not in HELLO", missing.ordinal)));
                }
                self.standing.plan = Some(Message {
                    value: plan,
                    bytes: frame.payload.clone(),
                });
                self.standing.state = State::AwaitReady;
            }
            (Outgoing::Nonce, Some(MessageType::Nonce)) => {
                let NonceMessage(nonce) = NonceMessage::from_bytes(&frame.payload).map_err(|e| content(&e))?;
                let hello = self.standing.hello.as_ref().expect("NONCE follows HELLO");
                let plan = self.standing.plan.as_ref().expect("NONCE follows PLAN");
                self.standing.trace = Some(Trace::begin(&plan.value, &nonce, &hello.bytes, &plan.bytes));
                self.standing.begin_fill(at_ns);
            }
            (Outgoing::Salt(stage, iteration), Some(MessageType::Salt)) => {
                let salt = SaltMessage::from_bytes(&frame.payload).map_err(|e| content(&e))?;
                if (salt.stage, salt.iteration) != (stage, iteration) {
                    return Err(not_due());
                }
                self.check_derived(&frame, salt.fresh)?;
                let trace = self.standing.trace.as_mut().expect("SALT follows NONCE");
                trace.salted(&salt).map_err(|e| content(&e))?;
                match stage {
                    Stage::V => {
                        let windows = self.standing.windows.last_mut().expect("a fill began");
                        windows.fill_ns = at_ns - windows.fill_start_ns;
                        self.standing.state = State::Sweep;
                    }
                    Stage::Round(_) => self.standing.state = State::Cross,
                    Stage::W if trace.checksum().is_some() => self.standing.state = State::SendSample,
                    Stage::W => self.standing.begin_fill(at_ns),
                }
            }
            (Outgoing::Sample, Some(MessageType::Sample)) => {
                let SampleMessage(seed) = SampleMessage::from_bytes(&frame.payload).map_err(|e| content(&e))?;
                self.check_derived(&frame, seed)?;
                self.standing.seed = Some(seed);
                self.standing.state = State::AwaitOpenings;
            }
            _ => return Err(not_due()),
        }
        self.standing.phase_start_ns = at_ns;
        self.standing.transcript.append(&frame);
        self.records.push(Record {
            at_ns,
            event: Event::Sent(frame),
        });
        Ok(())
    }

    /// Handles a message whose last byte was received at `at_ns`; any fault in it becomes the verdict. PROGRESS is not
    /// part of the session: the driver keeps it.
    ///
    /// # Errors
    ///
    /// [`Inconsistent`] if no message is expected, and for PROGRESS. ABORT is expected until the session is over.
    pub fn received(&mut self, at_ns: u64, frame: Frame) -> Result<(), Inconsistent> {
        let step = self.step();
        match step {
            Step::Receive { .. } => {}
            Step::Send(_) if frame.message_type() == Some(MessageType::Abort) => {}
            Step::Send(_) | Step::Check | Step::Done => return Err(Inconsistent::Event("a message", step)),
        }
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
        if frame.payload.len() as u64
            > self
                .standing
                .caps_bytes(frame.type_number)
                .into_iter()
                .max()
                .unwrap_or(0)
        {
            return Err(Inconsistent::Event("a message longer than its cap", step));
        }
        let outcome = self.standing.take(self.standing.phase(), at_ns, &frame);
        self.records.push(Record {
            at_ns,
            event: Event::Received(frame),
        });
        if let Err(verdict) = outcome {
            self.standing.state = State::Done(verdict);
        }
        Ok(())
    }

    /// Records that the Verifier stopped listening.
    ///
    /// # Errors
    ///
    /// [`Inconsistent`] for a deadline that has not passed, for an oversized frame within its limit, or after the end.
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
        let phase = self.standing.phase();
        let verdict = match &cause {
            EndCause::Deadline => match step {
                Step::Receive {
                    deadline_ns: Some(deadline_ns),
                    ..
                } if at_ns >= deadline_ns => self.standing.late(phase),
                _ => return Err(Inconsistent::Event("a deadline", step)),
            },
            EndCause::Closed(detail) if self.standing.is_after_sample() => {
                Verdict::Contraindicated(Failure::Unopened(closed(detail)))
            }
            EndCause::Closed(detail) => Verdict::CouldNotRun(Obstacle::Disconnected {
                phase,
                detail: (!detail.is_empty()).then(|| detail.clone()),
                after_nonce: self.standing.is_after_nonce(),
            }),
            EndCause::Oversized {
                length_bytes,
                limit_bytes,
                ..
            } if length_bytes <= limit_bytes => {
                return Err(Inconsistent::Event("an oversized frame within its cap", step));
            }
            // The recorder cannot choose the limit: a small one would invent a failed check (the vector
            // `oversized-by-a-cap-of-its-own`).
            EndCause::Oversized {
                type_number,
                limit_bytes,
                ..
            } if !self.standing.caps_bytes(*type_number).contains(limit_bytes) => {
                return Err(Inconsistent::Event("an oversized frame by another cap", step));
            }
            &EndCause::Oversized {
                type_number,
                length_bytes,
                limit_bytes,
            } => self.standing.failed(Failure::OversizedMessage {
                type_number,
                length_bytes,
                limit_bytes,
            }),
            EndCause::Flood => self.standing.failed(Failure::Flood),
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
        self.standing.state = State::Done(verdict);
        Ok(())
    }

    /// Handles the outcome of recomputing every tile of [`Self::tile_checks`].
    ///
    /// # Errors
    ///
    /// [`Inconsistent`] if no tiles are due.
    pub fn checked(&mut self, outcome: Result<(), TileMismatch>) -> Result<(), Inconsistent> {
        let State::Check = self.standing.state else {
            return Err(Inconsistent::Event("recomputed tiles", self.step()));
        };
        self.standing.state = State::Done(match outcome {
            Ok(()) => Verdict::Affirmed,
            Err(mismatch) => Verdict::Contraindicated(Failure::Tile(mismatch)),
        });
        Ok(())
    }

    /// Longest payload of a frame of this type that can be used now (bytes): what a transport may allocate (spec §9.2).
    #[must_use]
    pub fn max_payload_bytes(&self, type_number: u32) -> u64 {
        self.standing.max_payload_bytes(type_number)
    }

    /// The session's configuration from its start.
    #[must_use]
    pub fn config(&self) -> &VerifierConfig {
        &self.standing.config
    }

    /// HELLO, once it has been received.
    #[must_use]
    pub fn hello(&self) -> Option<&Hello> {
        self.standing.hello.as_ref().map(|hello| &hello.value)
    }

    /// PLAN, once it is sent.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.standing.plan.as_ref().map(|plan| &plan.value)
    }

    /// The commitments, from NONCE on.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        self.standing.trace.as_ref()
    }

    /// The session's checksum, once every iteration is done.
    #[must_use]
    pub fn checksum(&self) -> Option<Chain> {
        self.standing.trace.as_ref().and_then(Trace::checksum)
    }

    /// Windows of every iteration started so far.
    #[must_use]
    pub fn windows(&self) -> &[Windows] {
        &self.standing.windows
    }

    /// Sites of the samples, once as many have been opened: none are drawn for an Attester that opens nothing.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.standing
            .sites
            .iter()
            .chain(self.standing.tile_checks.iter().map(|check| &check.site))
    }

    /// The samples, once as many have been opened.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        self.sites().map(|site| site.sample)
    }

    /// The contents of OPENINGS in addition to the openings, once they have been received and parsed.
    #[must_use]
    pub fn said(&self) -> Option<&Said> {
        self.standing.said.as_ref()
    }

    /// The openings, parsed again from the records: a session keeps only their bytes.
    #[must_use]
    pub fn openings(&self) -> Option<OpeningsBody> {
        self.standing.said.as_ref()?;
        let expected = self.plan()?.total_samples();
        let opened = self.records.iter().rev().find_map(|record| match &record.event {
            Event::Received(frame) if frame.message_type() == Some(MessageType::Openings) => Some(&frame.payload),
            _ => None,
        })?;
        let (body, _) = opened.split_last_chunk::<SIGNATURE_BYTES>()?;
        OpeningsBody::first_samples(body, expected).ok().map(|(body, _)| body)
    }

    /// The tiles to recompute, once OPENINGS passed every cheaper check.
    #[must_use]
    pub fn tile_checks(&self) -> &[TileCheck] {
        &self.standing.tile_checks
    }

    /// The verdict, once there is one.
    #[must_use]
    pub fn verdict(&self) -> Option<&Verdict> {
        match &self.standing.state {
            State::Done(verdict) => Some(verdict),
            _ => None,
        }
    }

    /// All events so far.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The Verifier that PLAN names, once it is sent.
    #[must_use]
    pub fn verifier(&self) -> Option<&Identity> {
        self.plan().map(|plan| &plan.fields().verifier)
    }

    /// Offline, a sent message must be the one derived from the transcript.
    fn check_derived(&self, frame: &Frame, fresh: Fresh) -> Result<(), Inconsistent> {
        match (self.standing.config.mode, self.due_frame(fresh)) {
            (Mode::Offline, Some(due)) if due != *frame => Err(Inconsistent::Content(format!(
                "{} does not derive from the transcript",
                describe(frame)
            ))),
            _ => Ok(()),
        }
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
