//! The Attester's session: takes the Verifier's messages and the engines' results, and returns what to do (spec §5).

use ed25519_dalek::{Signer, SigningKey};

use crate::bytes::{DeviceOrdinal, Root, Salt};
use crate::cbor::{Canonical, Label, Malformed};
use crate::commitment::Opening;
use crate::engine::{Assignment, CrossTask, FillTask};
use crate::frame::{Frame, MessageType, Payload};
use crate::limits::{MAX_ATTESTATION_BYTES, MAX_PLAN_BYTES, MAX_SMALL_BYTES};
use crate::message::{
    Abort, AbortCode, Crossed, Filled, Hello, NonceMessage, OpeningsBody, Ready, ResultMessage, SaltMessage,
    SampleMessage, Stage, Swept,
};
use crate::plan::Plan;
use crate::sampling::samples;
use crate::trace::{Misplaced, Site, Trace};
use crate::transcript::{Transcript, signed_message};

/// What the Attester has to do after a message.
#[derive(Clone, Debug)]
pub enum Task {
    /// Prepare these devices, then send [`AttesterSession::ready`].
    Prepare(Vec<(DeviceOrdinal, Assignment)>),
    /// Fill every device and send [`AttesterSession::filled`] as each ends.
    Fill(FillTask),
    /// Sweep every device from its first salt and send [`AttesterSession::swept`] as each ends.
    Sweep {
        /// Salt of each device's first sweep.
        first_salts: Vec<(DeviceOrdinal, Salt)>,
        /// Sweeps to do.
        sweeps: u32,
    },
    /// Compute the leaves of a round on these devices, and send [`AttesterSession::crossed`] as each ends.
    Cross(Vec<(DeviceOrdinal, CrossTask)>),
    /// Open these leaves, three openings each, and send [`AttesterSession::openings`].
    Open(Vec<Site>),
    /// Wait for the next message.
    Wait,
    /// The Verifier has decided.
    Finish(ResultMessage),
}

/// The Verifier violated the protocol, or requested something that this Attester does not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A message of another type than is due.
    #[error("expected {expected}, got message type {actual}")]
    Unexpected {
        /// The type that is due.
        expected: MessageType,
        /// Number of the received type.
        actual: u32,
    },
    /// A payload that is invalid for its type.
    #[error("malformed {message_type}: {problem}")]
    Malformed {
        /// The type.
        message_type: MessageType,
        /// What is wrong.
        problem: Malformed,
    },
    /// A salt that is not due.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// PLAN names a device that HELLO does not.
    #[error("the plan names device {0}, which was not offered")]
    UnknownDevice(DeviceOrdinal),
}

impl Violation {
    /// The ABORT that reports this to the Verifier.
    #[must_use]
    pub fn to_abort(&self) -> Abort {
        let code = match self {
            Violation::UnknownDevice(_) => AbortCode::Unsupported,
            _ => AbortCode::ProtocolViolation,
        };
        Abort {
            code,
            device: None,
            message: crate::cbor::sendable_text(&self.to_string()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    AwaitPlan,
    Prepare,
    AwaitNonce,
    Fill,
    AwaitV,
    Sweep,
    /// Waits for w, or for the next round.
    AwaitW,
    Cross,
    AwaitSample,
    Open,
    AwaitResult,
    Over,
}

/// The Attester's side of one session.
pub struct AttesterSession {
    hello: Hello,
    hello_bytes: Payload,
    state: State,
    transcript: Transcript,
    plan: Option<(Plan, Payload)>,
    trace: Option<Trace>,
    /// The manufacturer's attestation that OPENINGS will carry.
    attestation: Option<Vec<u8>>,
}

impl AttesterSession {
    /// A session that starts with the returned HELLO.
    #[must_use]
    pub fn new(hello: Hello) -> (Self, Frame) {
        let frame = Frame::new(MessageType::Hello, hello.to_bytes());
        let mut transcript = Transcript::default();
        transcript.append(&frame);
        let session = AttesterSession {
            hello,
            hello_bytes: frame.payload.clone(),
            state: State::AwaitPlan,
            transcript,
            plan: None,
            trace: None,
            attestation: None,
        };
        (session, frame)
    }

    /// Handles a message of the Verifier and returns what to do.
    ///
    /// # Errors
    ///
    /// [`Violation`]: report it to the Verifier with [`Violation::to_abort`] and stop.
    pub fn received(&mut self, frame: &Frame) -> Result<Task, Violation> {
        let Some(message_type) = frame.message_type() else {
            return Err(self.unexpected(frame.type_number));
        };
        // A verdict may be received at any time: a Verifier stops at the first failure.
        if message_type == MessageType::Result {
            let result = parse(message_type, &frame.payload)?;
            self.state = State::Over;
            return Ok(Task::Finish(result));
        }
        let task = match (self.state, message_type) {
            (State::AwaitPlan, MessageType::Plan) => {
                let plan: Plan = parse(message_type, &frame.payload)?;
                let offered = |g| self.hello.devices.iter().any(|offer| offer.ordinal == g);
                if let Some(missing) = plan.devices().iter().find(|device| !offered(device.ordinal)) {
                    return Err(Violation::UnknownDevice(missing.ordinal));
                }
                let assignments = plan
                    .devices()
                    .iter()
                    .map(|device| (device.ordinal, plan.assignment(device)))
                    .collect();
                self.plan = Some((plan, frame.payload.clone()));
                self.state = State::Prepare;
                Task::Prepare(assignments)
            }
            (State::AwaitNonce, MessageType::Nonce) => {
                let NonceMessage(nonce) = parse(message_type, &frame.payload)?;
                let (plan, plan_bytes) = self.plan.as_ref().expect("NONCE follows PLAN");
                let trace = Trace::begin(plan, &nonce, &self.hello_bytes, plan_bytes);
                self.state = State::Fill;
                Task::Fill(self.trace.insert(trace).fill_task())
            }
            (State::AwaitV | State::AwaitW, MessageType::Salt) => {
                let salt: SaltMessage = parse(message_type, &frame.payload)?;
                let plan = &self.plan.as_ref().expect("SALT follows PLAN").0;
                let trace = self.trace.as_mut().expect("SALT follows NONCE");
                trace.salted(&salt)?;
                match salt.stage {
                    Stage::V => {
                        self.state = State::Sweep;
                        Task::Sweep {
                            first_salts: trace.first_sweep_salts(),
                            sweeps: plan.iterations()[salt.iteration as usize].sweeps,
                        }
                    }
                    Stage::Round(_) => {
                        self.state = State::Cross;
                        Task::Cross(trace.cross_tasks())
                    }
                    Stage::W if trace.checksum().is_some() => {
                        self.state = State::AwaitSample;
                        Task::Wait
                    }
                    Stage::W => {
                        self.state = State::Fill;
                        Task::Fill(trace.fill_task())
                    }
                }
            }
            (State::AwaitSample, MessageType::Sample) => {
                let SampleMessage(seed) = parse(message_type, &frame.payload)?;
                let plan = &self.plan.as_ref().expect("SAMPLE follows PLAN").0;
                let trace = self.trace.as_ref().expect("SAMPLE follows NONCE");
                self.state = State::Open;
                Task::Open(samples(plan, &seed).into_iter().map(|s| trace.site(s)).collect())
            }
            _ => return Err(self.unexpected(frame.type_number)),
        };
        self.transcript.append(frame);
        Ok(task)
    }

    /// READY: all devices are prepared.
    ///
    /// # Panics
    ///
    /// If it is not due.
    pub fn ready(&mut self) -> Frame {
        assert_eq!(self.state, State::Prepare, "READY answers PLAN");
        self.state = State::AwaitNonce;
        let frame = Frame::new(MessageType::Ready, Ready.to_bytes());
        self.transcript.append(&frame);
        frame
    }

    /// FILLED of one device.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if the device has filled or is not in the plan.
    ///
    /// # Panics
    ///
    /// If no fill is due.
    pub fn filled(&mut self, device: DeviceOrdinal, root: Root) -> Result<Frame, Misplaced> {
        assert_eq!(self.state, State::Fill, "FILLED answers NONCE or SALT w");
        let trace = self.trace.as_mut().expect("a fill follows NONCE");
        let filled = Filled {
            iteration: trace.current(),
            device,
            root,
        };
        if trace.filled(&filled)? {
            // In ordinal order, whichever device finished first.
            trace
                .filled_frames()
                .iter()
                .for_each(|frame| self.transcript.append(frame));
            self.state = State::AwaitV;
        }
        Ok(Frame::new(MessageType::Filled, filled.to_bytes()))
    }

    /// SWEPT of one device.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if the device has swept, is not in the plan, or has another number of roots.
    ///
    /// # Panics
    ///
    /// If no sweep is due.
    pub fn swept(&mut self, device: DeviceOrdinal, roots: Vec<Root>) -> Result<Frame, Misplaced> {
        assert_eq!(self.state, State::Sweep, "SWEPT answers SALT v");
        let trace = self.trace.as_mut().expect("a sweep follows NONCE");
        let swept = Swept {
            iteration: trace.current(),
            device,
            roots,
        };
        if trace.swept(&swept)? {
            trace
                .swept_frames()
                .iter()
                .for_each(|frame| self.transcript.append(frame));
            self.state = State::AwaitW;
        }
        Ok(Frame::new(MessageType::Swept, swept.to_bytes()))
    }

    /// CROSSED of one device.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if the device has crossed, rests in this round or is not in the plan.
    ///
    /// # Panics
    ///
    /// If no round is under way.
    pub fn crossed(&mut self, device: DeviceOrdinal, root: Root) -> Result<Frame, Misplaced> {
        assert_eq!(self.state, State::Cross, "CROSSED answers the SALT of a round");
        let trace = self.trace.as_mut().expect("a round follows NONCE");
        let crossed = Crossed {
            iteration: trace.current(),
            round: trace.round(),
            device,
            root,
        };
        if trace.crossed(&crossed)? {
            trace
                .crossed_frames()
                .iter()
                .for_each(|frame| self.transcript.append(frame));
            self.state = State::AwaitW;
        }
        Ok(Frame::new(MessageType::Crossed, crossed.to_bytes()))
    }

    /// Makes OPENINGS carry the hardware manufacturer's attestation over this session's nonce; carries none if it is
    /// empty or longer than [`MAX_ATTESTATION_BYTES`].
    pub fn carry_attestation(&mut self, attestation: Vec<u8>) {
        self.attestation = Some(attestation).filter(|bytes| (1..=MAX_ATTESTATION_BYTES).contains(&bytes.len()));
    }

    /// OPENINGS, signed over the transcript and, where there is one, the connection's TLS exporter value.
    ///
    /// # Panics
    ///
    /// If no opening is due.
    pub fn openings(
        &mut self,
        openings: Vec<[Opening; 3]>,
        labels: Vec<Label>,
        key: &SigningKey,
        tls_exporter: Option<&[u8; 32]>,
    ) -> Frame {
        assert_eq!(self.state, State::Open, "OPENINGS answer SAMPLE");
        self.state = State::AwaitResult;
        let body = OpeningsBody {
            openings,
            labels,
            attestation: self.attestation.take(),
        };
        let mut payload = body.to_bytes();
        self.transcript.append_parts(MessageType::Openings as u32, &payload);
        let message = signed_message(&self.transcript.hash(), tls_exporter);
        payload.extend_from_slice(&key.sign(&message).to_bytes());
        Frame::new(MessageType::Openings, payload)
    }

    /// ABORT: the session is over.
    pub fn abort(&mut self, abort: &Abort) -> Frame {
        self.state = State::Over;
        Frame::new(MessageType::Abort, abort.to_bytes())
    }

    /// Longest payload of a frame of this type that the Verifier may send (bytes).
    #[must_use]
    pub fn max_payload_bytes(type_number: u32) -> u64 {
        match MessageType::from_number(type_number) {
            Some(MessageType::Plan) => MAX_PLAN_BYTES,
            _ => MAX_SMALL_BYTES,
        }
    }

    /// The message that the Verifier has to send now; `None` while the Attester has something to do, and when the
    /// session is over.
    #[must_use]
    pub fn due(&self) -> Option<MessageType> {
        match self.state {
            State::AwaitPlan => Some(MessageType::Plan),
            State::AwaitNonce => Some(MessageType::Nonce),
            State::AwaitV | State::AwaitW => Some(MessageType::Salt),
            State::AwaitSample => Some(MessageType::Sample),
            State::AwaitResult => Some(MessageType::Result),
            State::Prepare | State::Fill | State::Sweep | State::Cross | State::Open | State::Over => None,
        }
    }

    /// PLAN, once it has been received.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref().map(|(plan, _)| plan)
    }

    /// The session's checksum, once every iteration is done.
    #[must_use]
    pub fn checksum(&self) -> Option<crate::bytes::Chain> {
        self.trace.as_ref().and_then(Trace::checksum)
    }

    fn unexpected(&self, actual: u32) -> Violation {
        let expected = match self.state {
            State::AwaitPlan | State::Prepare => MessageType::Plan,
            State::AwaitNonce => MessageType::Nonce,
            State::Fill | State::AwaitV | State::Sweep | State::Cross | State::AwaitW => MessageType::Salt,
            State::AwaitSample => MessageType::Sample,
            State::Open | State::AwaitResult | State::Over => MessageType::Result,
        };
        Violation::Unexpected { expected, actual }
    }
}

fn parse<T: Canonical>(message_type: MessageType, payload: &[u8]) -> Result<T, Violation> {
    T::from_bytes(payload).map_err(|problem| Violation::Malformed { message_type, problem })
}
