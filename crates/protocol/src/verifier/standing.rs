//! Where a Verifier's session stands: what its messages have led to, and until when the next one may come.

use super::step::{Mode, Outgoing, Said, Step, VerifierConfig, Windows};
use crate::bytes::Fresh;
use crate::frame::{MessageType, Payload};
use crate::limits::{MAX_HELLO_BYTES, MAX_SMALL_BYTES};
use crate::message::{Hello, Stage};
use crate::openings::{TileCheck, max_payload_bytes};
use crate::plan::Plan;
use crate::trace::{Site, Trace};
use crate::transcript::Transcript;
use crate::verdict::{Failure, Obstacle, Phase, Verdict};

#[derive(Clone, Debug)]
pub(super) enum State {
    AwaitHello,
    SendPlan,
    AwaitReady,
    SendNonce,
    Fill,
    SendV,
    Sweep,
    SendRound,
    Cross,
    SendW,
    SendSample,
    AwaitOpenings,
    Check,
    Done(Verdict),
}

/// A session without its records: what the events recorded so far have led to.
#[derive(Clone)]
pub(super) struct Standing {
    pub(super) config: VerifierConfig,
    pub(super) state: State,
    pub(super) transcript: Transcript,
    /// When the current phase started.
    pub(super) phase_start_ns: u64,
    pub(super) hello: Option<Message<Hello>>,
    pub(super) plan: Option<Message<Plan>>,
    pub(super) trace: Option<Trace>,
    pub(super) windows: Vec<Windows>,
    /// The seed of SAMPLE, once it is sent.
    pub(super) seed: Option<Fresh>,
    /// Sites of the samples until their paths are checked; `tile_checks` have them from then on.
    pub(super) sites: Vec<Site>,
    pub(super) tile_checks: Vec<TileCheck>,
    pub(super) said: Option<Said>,
}

#[derive(Clone)]
pub(super) struct Message<T> {
    pub(super) value: T,
    pub(super) bytes: Payload,
}

impl Standing {
    /// A session that waits for HELLO, its clock at 0.
    pub(super) fn new(config: VerifierConfig) -> Self {
        Standing {
            config,
            state: State::AwaitHello,
            transcript: Transcript::default(),
            phase_start_ns: 0,
            hello: None,
            plan: None,
            trace: None,
            windows: Vec::new(),
            seed: None,
            sites: Vec::new(),
            tile_checks: Vec::new(),
            said: None,
        }
    }

    /// What is due next.
    pub(super) fn step(&self) -> Step {
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
            State::SendRound => Step::Send(Outgoing::Salt(Stage::Round(self.rounds_begun()), iteration)),
            State::Cross => receive(Phase::Cross),
            State::SendW => Step::Send(Outgoing::Salt(Stage::W, iteration)),
            State::SendSample => Step::Send(Outgoing::Sample),
            State::AwaitOpenings => receive(Phase::Open),
            State::Check => Step::Check,
            State::Done(_) => Step::Done,
        }
    }

    /// Longest payload of a frame of this type that can be used now (bytes).
    pub(super) fn max_payload_bytes(&self, type_number: u32) -> u64 {
        match (&self.plan, MessageType::from_number(type_number)) {
            (None, Some(MessageType::Hello)) if self.hello.is_none() => MAX_HELLO_BYTES,
            (Some(plan), Some(message_type)) => max_payload_bytes(&plan.value, message_type),
            _ => MAX_SMALL_BYTES,
        }
    }

    /// The limits that the reader may have applied to a frame of this type that is handled now: the present one and,
    /// between PLAN and NONCE, the one before PLAN, as its header may have been read then.
    pub(super) fn caps_bytes(&self, type_number: u32) -> [u64; 2] {
        let now_bytes = self.max_payload_bytes(type_number);
        let was_read_before_plan = self.plan.is_some() && !self.is_after_nonce();
        [
            now_bytes,
            if was_read_before_plan {
                MAX_SMALL_BYTES
            } else {
                now_bytes
            },
        ]
    }

    pub(super) fn begin_fill(&mut self, at_ns: u64) {
        self.windows.push(Windows {
            fill_start_ns: at_ns,
            ..Windows::default()
        });
        self.state = State::Fill;
    }

    pub(super) fn check_time(&self, phase: Phase, at_ns: u64) -> Result<(), Verdict> {
        // A message received before it was requested answers something else.
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
        let deadlines = self.plan.as_ref().map(|plan| plan.value.fields().deadlines);
        match (phase, deadlines) {
            (Phase::Hello, _) | (_, None) => self.config.hello_deadline_ms,
            (Phase::Prepare, Some(deadlines)) => deadlines.ready_ms,
            (Phase::Fill, Some(deadlines)) => deadlines.fill_ms,
            // A round reads no more than a sweep.
            (Phase::Sweep | Phase::Cross, Some(deadlines)) => deadlines.sweep_ms,
            (Phase::Open, Some(deadlines)) => deadlines.openings_ms,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::AwaitHello | State::SendPlan => Phase::Hello,
            State::AwaitReady | State::SendNonce => Phase::Prepare,
            State::Fill | State::SendV => Phase::Fill,
            State::Sweep => Phase::Sweep,
            State::Cross => Phase::Cross,
            // The phase whose answers have all come.
            State::SendRound | State::SendW | State::SendSample => match self.rounds_begun() {
                0 => Phase::Sweep,
                _ => Phase::Cross,
            },
            State::AwaitOpenings | State::Check | State::Done(_) => Phase::Open,
        }
    }

    /// Rounds begun in the iteration under way, or in the last one.
    fn rounds_begun(&self) -> u32 {
        let last = self.trace.as_ref().and_then(|trace| trace.iterations().last());
        last.map_or(0, |iteration| iteration.rounds.len() as u32)
    }

    /// After the last SWEPT, or the last CROSSED of a round: the next round, or w.
    pub(super) fn begin_round_or_end(&mut self) {
        let trace = self.trace.as_ref().expect("commitments follow NONCE");
        let plan = &self.plan.as_ref().expect("commitments follow PLAN").value;
        self.state = if self.rounds_begun() < plan.rounds(trace.current()) {
            State::SendRound
        } else {
            State::SendW
        };
    }

    pub(super) fn is_after_nonce(&self) -> bool {
        self.trace.is_some()
    }

    pub(super) fn is_after_sample(&self) -> bool {
        self.seed.is_some()
    }

    pub(super) fn late(&self, phase: Phase) -> Verdict {
        let limit_ms = self.limit_ms(phase);
        if self.is_after_nonce() {
            Verdict::Contraindicated(Failure::Late { phase, limit_ms })
        } else {
            Verdict::CouldNotRun(Obstacle::Late { phase, limit_ms })
        }
    }

    /// A failed check; before the clock runs nothing has been answered that could be false.
    pub(super) fn failed(&self, failure: Failure) -> Verdict {
        if self.is_after_nonce() {
            Verdict::Contraindicated(failure)
        } else {
            Verdict::CouldNotRun(Obstacle::NotThisProtocol(Box::new(failure)))
        }
    }
}
