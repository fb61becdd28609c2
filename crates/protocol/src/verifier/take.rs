//! The result of the Attester's messages: the next state, or a verdict (spec §5).

use ed25519_dalek::{Signature, VerifyingKey};

use super::standing::{Message, Standing, State};
use super::step::{Said, Step};
use crate::cbor::Canonical;
use crate::frame::{Frame, MessageType};
use crate::limits::{SUITE, VERSION};
use crate::message::{Abort, Crossed, Filled, Hello, OpeningsBody, Ready, Swept};
use crate::openings::{OpeningsError, TileCheck, check_paths, check_sizes};
use crate::sampling::samples;
use crate::trace::{Misplaced, Trace};
use crate::transcript::signed_message;
use crate::verdict::{Failure, Obstacle, Phase, Verdict};

/// Bytes of the Ed25519 signature that ends OPENINGS.
pub const SIGNATURE_BYTES: usize = 64;

impl Standing {
    /// Handles a message received at `at_ns`; the error is the verdict that a fault in it gives.
    pub(super) fn take(&mut self, phase: Phase, at_ns: u64, frame: &Frame) -> Result<(), Verdict> {
        let Some(message_type) = frame.message_type() else {
            return Err(self.unexpected(phase, frame.type_number));
        };
        // ABORT answers nothing, so it cannot precede its question: its own timestamp counts.
        let is_abort = message_type == MessageType::Abort;
        let is_early = is_abort && at_ns < self.phase_start_ns;
        // Where OPENINGS are due, their timing is checked after sizes and signature (spec §5.5).
        let is_due_openings = phase == Phase::Open && message_type == MessageType::Openings;
        // Once a phase has its last answer, its deadline no longer applies.
        let is_answered = matches!(self.step(), Step::Send(_));
        if !is_due_openings && !is_early && !is_answered {
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
                // Kept whatever it speaks: its identity is who must seal the evidence of an offline session (the vector
                // `offline-foreign-sealer-without-version`).
                let Message { value: hello, .. } = self.hello.insert(Message {
                    value: hello,
                    bytes: frame.payload.clone(),
                });
                if !hello.speaks_ours() {
                    return Err(Verdict::CouldNotRun(Obstacle::NoCommonVersion {
                        ours: VERSION,
                        suite: SUITE,
                        versions: hello.versions.clone(),
                        suites: hello.suites.clone(),
                    }));
                }
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
                    self.begin_round_or_end();
                }
                return Ok(());
            }
            (Phase::Cross, MessageType::Crossed) => {
                let crossed: Crossed = self.parse(message_type, &frame.payload)?;
                let is_last = self.commit(|trace| trace.crossed(&crossed))?;
                let after_ns = at_ns - self.phase_start_ns;
                let windows = self.windows.last_mut().expect("a fill began");
                windows.crossed_after_ns.push((crossed.round, crossed.device, after_ns));
                if is_last {
                    windows.round_ns.push(after_ns);
                    self.append_all(Trace::crossed_frames);
                    self.begin_round_or_end();
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
        self.said = Some(Said {
            labels: body.labels.clone(),
            attestation: body.attestation.clone(),
        });
        let failed = |failure: Failure| Verdict::Contraindicated(failure);
        if actual as u64 != expected {
            return Err(failed(Failure::Openings(OpeningsError::Count {
                expected: usize::try_from(expected).unwrap_or(usize::MAX),
                actual,
            })));
        }
        // Only now: a plan of a few kilobytes may require billions of samples, and this many have really been received.
        let trace = self.trace.as_ref().expect("OPENINGS follow NONCE");
        let seed = self.seed.as_ref().expect("OPENINGS follow SAMPLE");
        self.sites = samples(plan, seed).into_iter().map(|s| trace.site(s)).collect();
        check_sizes(&self.sites, &body).map_err(|e| failed(e.into()))?;

        self.transcript.append_parts(MessageType::Openings as u32, body_bytes);
        let message = signed_message(&self.transcript.hash(), self.config.tls_exporter.as_ref());
        let identity = self.hello.as_ref().expect("OPENINGS follow HELLO").value.identity;
        VerifyingKey::from_bytes(&identity.0)
            .and_then(|key| key.verify_strict(&message, &Signature::from_bytes(signature)))
            .map_err(|_| failed(Failure::Signature))?;

        self.check_time(Phase::Open, at_ns)?;
        let digests = check_paths(&self.sites, &body).map_err(|e| failed(e.into()))?;
        let sites = std::mem::take(&mut self.sites).into_iter();
        self.tile_checks = sites
            .zip(digests)
            .map(|(site, digests)| TileCheck::new(site, digests))
            .collect();
        Ok(())
    }

    /// Commitments enter the transcript in ordinal order, whichever device finished first.
    fn append_all(&mut self, frames: impl FnOnce(&Trace) -> Vec<Frame>) {
        let frames = frames(self.trace.as_ref().expect("commitments follow NONCE"));
        frames.iter().for_each(|frame| self.transcript.append(frame));
    }

    fn unexpected(&self, phase: Phase, actual: u32) -> Verdict {
        let expected = match phase {
            Phase::Hello => MessageType::Hello,
            Phase::Prepare => MessageType::Ready,
            Phase::Fill => MessageType::Filled,
            Phase::Sweep => MessageType::Swept,
            Phase::Cross => MessageType::Crossed,
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
