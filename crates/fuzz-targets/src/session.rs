//! Both sides' state machines under messages, times and ends in any order (spec §5, §9).

use std::collections::VecDeque;

use protocol::attester::AttesterSession;
use protocol::bytes::{DeviceOrdinal, Fresh, Identity, Nonce};
use protocol::cbor::Canonical;
use protocol::challenge::Challenge;
use protocol::derive::derive;
use protocol::engine::Pass;
use protocol::evidence::{Evidence, EvidenceError};
use protocol::frame::{Frame, MessageType};
use protocol::message::{Abort, Crossed, Filled, Hello, OpeningsBody, ProgressMessage, Ready, ResultMessage, Swept};
use protocol::openings::{Digest, TileMismatch};
use protocol::plan::Plan;
use protocol::sampling::Sample;
use protocol::verifier::{Inconsistent, Mode, Outgoing, SIGNATURE_BYTES, Step, VerifierConfig, VerifierSession};
use testkit::cast;
use testkit::peer::{Action, HonestPeer, Peer};

use crate::evidence::{cause, change_frame};
use crate::input::Input;
use testkit::stand_in::StandIn;

/// A session of two honest sides, to be disturbed.
struct Stage {
    config: VerifierConfig,
    hello: Hello,
    plan: Plan,
    verifier: VerifierSession,
    attester: HonestPeer,
    /// Messages that the Attester has sent and the Verifier has not received.
    coming: VecDeque<Frame>,
    now_ns: u64,
    drawn: u64,
}

impl Stage {
    fn new(input: &mut Input<'_>) -> Self {
        let mode = [Mode::Online, Mode::Offline][input.below(2)];
        let sizes = [1, 2, 3, 128, 257, 300];
        let matrices: Vec<u64> = (0..=input.below(3)).map(|_| sizes[input.below(sizes.len())]).collect();
        let iterations: Vec<(u32, u32)> = (0..=input.below(3))
            .map(|_| (64 * (1 + u32::from(input.u8()) % 3), 1 + u32::from(input.u8()) % 3))
            .collect();
        let hello = cast::hello(&matrices);
        let request = cast::request(&iterations, 1 + u32::from(input.u8()));
        let config = VerifierConfig {
            mode,
            hello_deadline_ms: if mode == Mode::Online { 1_000 } else { 0 },
            tls_exporter: None,
        };
        let mut attester = HonestPeer::new(hello.clone(), |_: DeviceOrdinal| Box::new(StandIn::default()));
        let coming = frames(attester.greet());
        Stage {
            config,
            plan: request.plan(&hello).expect("it offers what is asked for"),
            hello,
            verifier: VerifierSession::new(config),
            attester,
            coming,
            now_ns: 0,
            drawn: 0,
        }
    }

    /// The next frame from the Verifier, if one is due.
    fn due(&mut self) -> Option<Frame> {
        match self.verifier.step() {
            Step::Send(Outgoing::Plan) => Some(Frame::new(MessageType::Plan, self.plan.to_bytes())),
            Step::Send(Outgoing::Nonce) => self.verifier.due_frame(Fresh([0xC4; 32])),
            _ => {
                self.drawn += 1;
                self.verifier
                    .due_frame(Fresh(derive("fuzz", &[&self.drawn.to_le_bytes()])))
            }
        }
    }

    fn at_ns(&self) -> u64 {
        match self.config.mode {
            Mode::Online => self.now_ns,
            Mode::Offline => 0,
        }
    }

    fn send(&mut self, frame: Frame) -> Result<(), Inconsistent> {
        let at_ns = self.at_ns();
        self.unless_refused(|session| session.sent(at_ns, frame.clone()))?;
        self.coming.extend(frames(self.attester.answer(&frame)));
        Ok(())
    }

    /// A rejected input does not change the session.
    fn unless_refused(
        &mut self,
        event: impl FnOnce(&mut VerifierSession) -> Result<(), Inconsistent>,
    ) -> Result<(), Inconsistent> {
        let (step, records) = (self.verifier.step(), self.verifier.records().len());
        let outcome = event(&mut self.verifier);
        if outcome.is_err() {
            assert_eq!(self.verifier.step(), step);
            assert_eq!(self.verifier.records().len(), records);
        }
        for number in 0..13 {
            assert!(self.verifier.max_payload_bytes(number) > 0);
        }
        outcome
    }

    /// One step of an undisturbed session.
    fn go_on(&mut self) {
        self.now_ns = self.now_ns.saturating_add(1_000);
        match self.verifier.step() {
            Step::Send(_) => {
                let frame = self.due().expect("a frame is due");
                self.send(frame).expect("a due frame is taken");
            }
            Step::Receive { .. } => {
                if let Some(frame) = self.coming.pop_front()
                    && frame.message_type() != Some(MessageType::Progress)
                {
                    let at_ns = self.at_ns();
                    self.verifier.received(at_ns, frame).expect("a message is waited for");
                }
            }
            Step::Check => self.verifier.checked(Ok(())).expect("tiles are due"),
            Step::Done => {}
        }
    }

    /// The evidence of the session.
    fn evidence(&self) -> Evidence {
        let sealer = match self.config.mode {
            Mode::Online => self.verifier.verifier().copied().unwrap_or(Identity([0; 32])),
            Mode::Offline => self.verifier.hello().unwrap_or(&self.hello).identity,
        };
        let plan = self.verifier.plan().unwrap_or(&self.plan).clone();
        Evidence {
            config: self.config,
            started_unix_ms: 0,
            assumptions: cast::assumptions(),
            challenge: (self.config.mode == Mode::Offline)
                .then(|| Challenge::sign(plan, Nonce([0xC4; 32]), 1, 2, &cast::verifier_key())),
            sealer,
            records: self.verifier.records().to_vec(),
        }
    }
}

fn frames(actions: Vec<Action>) -> VecDeque<Frame> {
    let frame = |action| match action {
        Action::Frame(frame) => Some(frame),
        _ => None,
    };
    actions.into_iter().filter_map(frame).collect()
}

/// Disturbs an honest session as the Verifier sees it. Whatever happens, replaying its records results in the same
/// session.
///
/// # Panics
///
/// If that does not hold, or if a rejected input has changed the session.
pub fn run_verifier(data: &[u8]) {
    let mut input = Input::new(data);
    let mut stage = Stage::new(&mut input);
    let (mut is_disturbed, mut is_foreign, mut outcome) = (false, false, Ok(()));
    for _ in 0..256 {
        if input.is_empty() || stage.verifier.step() == Step::Done {
            break;
        }
        let operation = input.u8() % 24;
        // Continuing, and the order in which devices answer, are not disturbances.
        is_disturbed |= !matches!(operation, 11 | 15 | 16 | 18..);
        // A rejected input is not part of the session, which `unless_refused` has checked.
        match operation {
            0 => stage.now_ns = input.u64() >> (input.u8() % 64),
            1 => stage.now_ns = stage.now_ns.saturating_add(u64::from(input.u32()) << (input.u8() % 16)),
            2 => drop(stage.coming.pop_front()),
            3 => {
                let copy = stage.coming.front().cloned();
                stage.coming.extend(copy);
            }
            4..=8 | 17 => {
                if let Some(frame) = stage.coming.front_mut() {
                    change_frame(operation, frame, &mut input);
                }
            }
            9 => stage.coming.push_front(any_frame(&mut input)),
            10 => {
                is_foreign = true;
                let _ = stage.send(any_frame(&mut input));
            }
            11 => stage.coming.rotate_left(1.min(stage.coming.len())),
            12 => {
                let (at_ns, cause) = (stage.at_ns(), cause(&mut input));
                let _ = stage.unless_refused(|session| session.ended(at_ns, cause));
            }
            13 => {
                if let Some(mut frame) = stage.due() {
                    is_foreign = true;
                    change_frame([5, 6, 7, 8, 17, 18][input.below(6)], &mut frame, &mut input);
                    let _ = stage.send(frame);
                }
            }
            14 => {
                let mismatch = TileMismatch {
                    sample: Sample {
                        device: DeviceOrdinal(0),
                        iteration: 0,
                        pass: Pass::Sweep(1),
                        leaf: 0,
                    },
                    digest: Digest::FillA,
                    expected: input.u64(),
                    actual: 0,
                };
                let is_due = stage.verifier.step() == Step::Check;
                let checked = stage.unless_refused(|session| session.checked(Err(mismatch)));
                assert_eq!(checked.is_ok(), is_due);
                if is_due {
                    outcome = Err(mismatch);
                }
            }
            15 | 16 | 18.. => {
                // Times went backwards: messages that are due are rejected correctly.
                let went_back = stage
                    .verifier
                    .records()
                    .last()
                    .is_some_and(|last| stage.at_ns() < last.at_ns);
                if went_back {
                    stage.now_ns = stage.verifier.records().last().map_or(0, |last| last.at_ns);
                }
                stage.go_on();
            }
        }
    }
    check_again(&stage, outcome, is_foreign);
    if let Some(verdict) = stage.verifier.verdict() {
        let message = verdict.to_message();
        assert_eq!(ResultMessage::from_bytes(&message.to_bytes()), Ok(message));
        if !is_disturbed {
            assert_eq!(verdict.code(), "", "honest and undisturbed: {}", verdict.message());
            assert_eq!(stage.verifier.checksum(), stage.attester.session().checksum());
        }
    }
}

/// Replaying the records results in the same session.
fn check_again(stage: &Stage, outcome: Result<(), TileMismatch>, is_foreign: bool) {
    let evidence = stage.evidence();
    assert_eq!(Evidence::from_bytes(&evidence.to_bytes()).as_ref(), Ok(&evidence));
    let step = stage.verifier.step();
    match evidence.replay() {
        Ok(mut again) => {
            assert_eq!(again.checksum(), stage.verifier.checksum());
            assert_eq!(again.tile_checks(), stage.verifier.tile_checks());
            assert_eq!(again.windows(), stage.verifier.windows());
            if again.step() == Step::Check && step == Step::Done {
                again.checked(outcome).expect("tiles are due");
            }
            assert_eq!(again.step(), step);
            assert_eq!(again.verdict(), stage.verifier.verdict());
        }
        Err(EvidenceError::Incomplete(at)) => assert_eq!(at, step),
        Err(EvidenceError::Challenge(_) | EvidenceError::Sealer { .. }) if is_foreign => {}
        Err(error) => panic!("records of this very session are refused: {error}"),
    }
}

fn any_frame(input: &mut Input<'_>) -> Frame {
    Frame {
        type_number: u32::from(input.u8() % 14),
        payload: input.sized().to_vec().into(),
    }
}

/// Sends an Attester everything that a Verifier might send. Every answer is a message that a Verifier can read.
///
/// # Panics
///
/// If that does not hold.
pub fn run_attester(data: &[u8]) {
    let mut input = Input::new(data);
    let mut stage = Stage::new(&mut input);
    for _ in 0..128 {
        if input.is_empty() {
            break;
        }
        let said = match input.u8() % 16 {
            0 => stage.attester.answer(&any_frame(&mut input)),
            1..=3 => match stage.due() {
                Some(mut frame) => {
                    change_frame([5, 6, 7, 8, 17, 18][input.below(6)], &mut frame, &mut input);
                    stage.attester.answer(&frame)
                }
                None => continue,
            },
            4 => {
                let result = ResultMessage {
                    status: input.u32() % 3,
                    reason: String::new(),
                    message: String::new(),
                };
                stage
                    .attester
                    .answer(&Frame::new(MessageType::Result, result.to_bytes()))
            }
            _ => {
                let before = stage.coming.len();
                stage.go_on();
                stage.coming.iter().skip(before).for_each(check_said);
                continue;
            }
        };
        frames(said).iter().for_each(check_said);
        for number in 0..13 {
            assert!(AttesterSession::max_payload_bytes(number) > 0);
        }
    }
}

/// A Verifier can read the Attester's messages.
fn check_said(frame: &Frame) {
    let payload = &frame.payload[..];
    let read = match frame.message_type() {
        Some(MessageType::Hello) => Hello::from_bytes(payload).map(drop),
        Some(MessageType::Ready) => Ready::from_bytes(payload).map(drop),
        Some(MessageType::Filled) => Filled::from_bytes(payload).map(drop),
        Some(MessageType::Crossed) => Crossed::from_bytes(payload).map(drop),
        Some(MessageType::Swept) => Swept::from_bytes(payload).map(drop),
        Some(MessageType::Openings) => OpeningsBody::from_bytes(&payload[..payload.len() - SIGNATURE_BYTES]).map(drop),
        Some(MessageType::Abort) => Abort::from_bytes(payload).map(drop),
        Some(MessageType::Progress) => ProgressMessage::from_bytes(payload).map(drop),
        other => panic!("an Attester sent {other:?}"),
    };
    assert_eq!(read, Ok(()));
}

/// Undisturbed sessions, and one disturbance of every kind at several places.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let setups = [
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[0, 0, 1, 0, 2, 0, 5, 0, 1, 0, 0, 1, 1, 0, 3],
        &[1, 0, 1, 0, 4, 0, 1, 0, 1, 0, 0, 0, 1, 1, 3],
    ];
    let mut seeds = Vec::new();
    for setup in setups {
        seeds.push([setup, &[23; 40]].concat());
        for operation in (0..15).chain([17]) {
            for steps in [1, 2, 4, 6, 9] {
                let disturbance = [operation, 1, 0, 2, 0, 0, 0, 1, 1, 1];
                seeds.push([setup, &vec![23; steps], &disturbance, &[23; 30]].concat());
            }
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undisturbed_sessions_come_to_their_end() {
        for setup in [&[0, 0, 1, 0, 2, 0, 5, 0, 1, 0, 0, 1, 1, 0, 3][..], &[1, 0], &[]] {
            let mut stage = Stage::new(&mut Input::new(setup));
            (0..100).for_each(|_| stage.go_on());
            assert_eq!(stage.verifier.verdict().map(|verdict| verdict.status()), Some(0));
        }
    }
}
