//! Evidence that was changed, truncated, reassembled, or belongs to another party.

use std::sync::LazyLock;

use protocol::bytes::{Fresh, Nonce};
use protocol::cbor::Canonical;
use protocol::challenge::{Challenge, ChallengeError};
use protocol::evidence::{Evidence, EvidenceError};
use protocol::frame::{Frame, MessageType};
use protocol::message::{NonceMessage, SaltMessage, SampleMessage};
use protocol::plan::Plan;
use protocol::record::{EndCause, Event, Record};
use protocol::verdict::{Failure, Phase, Verdict};
use protocol::verifier::{Inconsistent, Mode};
use testkit::cast;
use testkit::odds::Draws;
use testkit::peer::HonestPeer;
use testkit::rehearsal::{Opener, Rehearsal, seal};
use verifier::outcome::Judge;
use verifier::{Unobserved, VerifyError, verify};

/// An affirmed session of one device and one tile: small enough to test every byte of its evidence.
static SMALL: LazyLock<Evidence> = LazyLock::new(|| {
    let mut peer = HonestPeer::new(cast::hello(&[1]), |_| cast::engine());
    Rehearsal::new(cast::request(&[(64, 1)], 1)).run(&mut peer).evidence
});

/// An affirmed session of two devices and two iterations.
static LARGER: LazyLock<Evidence> = LazyLock::new(|| {
    let mut peer = HonestPeer::new(cast::hello(&[3, 2]), |_| cast::engine());
    Rehearsal::new(cast::request(&[(64, 2), (128, 1)], 4))
        .run(&mut peer)
        .evidence
});

fn challenge() -> Challenge {
    let plan = cast::request(&[(64, 2), (128, 1)], 4).plan(&cast::hello(&[3, 2]));
    Challenge::sign(
        plan.expect("a plan"),
        Nonce([0xC4; 32]),
        1_000,
        2_000,
        &cast::verifier_key(),
    )
}

/// The same, as an offline session.
static OFFLINE: LazyLock<Evidence> = LazyLock::new(|| {
    let mut peer = HonestPeer::new(cast::hello(&[3, 2]), |_| cast::engine());
    Rehearsal::opened(Opener::Challenge(challenge()))
        .run(&mut peer)
        .evidence
});

/// The result of sealed bytes: a verdict's code, "affirmed", or an error.
#[derive(Debug, PartialEq)]
enum Outcome {
    Verdict(Verdict),
    Refused(EvidenceError),
}

fn outcome(sealed: &[u8]) -> Outcome {
    match verify(sealed, &cast::recompute(), &Judge::of_nobody(), &Unobserved) {
        Ok(verified) => Outcome::Verdict(verified.session.verdict().expect("a verdict").clone()),
        Err(VerifyError::Evidence(error)) => Outcome::Refused(error),
        Err(error) => panic!("{error}"),
    }
}

/// The result of evidence that its sealer seals again after a change.
fn resealed(evidence: &Evidence, change: impl FnOnce(&mut Evidence)) -> Outcome {
    let mut evidence = evidence.clone();
    change(&mut evidence);
    outcome(&seal(&evidence))
}

fn is_affirmed(outcome: &Outcome) -> bool {
    *outcome == Outcome::Verdict(Verdict::Affirmed)
}

fn frame_of(record: &Record) -> Option<&Frame> {
    match &record.event {
        Event::Sent(frame) | Event::Received(frame) => Some(frame),
        Event::Ended(_) => None,
    }
}

fn position(evidence: &Evidence, message_type: MessageType) -> usize {
    evidence
        .records
        .iter()
        .position(|record| frame_of(record).is_some_and(|frame| frame.message_type() == Some(message_type)))
        .expect("the session has the message")
}

/// The payload of the first message of this type.
fn payload(evidence: &mut Evidence, message_type: MessageType) -> &mut Vec<u8> {
    let at = position(evidence, message_type);
    match &mut evidence.records[at].event {
        Event::Sent(frame) | Event::Received(frame) => &mut frame.payload,
        Event::Ended(_) => unreachable!("an end is no message"),
    }
}

#[test]
fn what_was_affirmed_verifies() {
    for evidence in [&*SMALL, &*LARGER, &*OFFLINE] {
        assert!(is_affirmed(&outcome(&seal(evidence))));
        assert_eq!(Evidence::open(&seal(evidence)).as_ref(), Ok(evidence));
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let sealed = seal(&SMALL);
    assert!(sealed.len() < 2_048, "{} bytes take too long", sealed.len());
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << bit;
            match Evidence::open(&flipped) {
                Err(EvidenceError::Malformed(_) | EvidenceError::Seal(_)) => {}
                other => panic!("byte {at}, bit {bit}: {other:?}"),
            }
        }
    }
}

#[test]
fn every_flipped_byte_of_larger_evidence_is_refused() {
    for evidence in [&*LARGER, &*OFFLINE] {
        let sealed = seal(evidence);
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 0x80 >> (at % 8);
            match outcome(&flipped) {
                Outcome::Refused(EvidenceError::Malformed(_) | EvidenceError::Seal(_)) => {}
                other => panic!("byte {at}: {other:?}"),
            }
        }
    }
}

#[test]
fn evidence_cut_anywhere_is_refused() {
    let sealed = seal(&SMALL);
    for length in 0..sealed.len() {
        match Evidence::open(&sealed[..length]) {
            Err(EvidenceError::TooShort(actual)) => assert!(actual == length && length < 64, "{length}"),
            Err(EvidenceError::Malformed(_)) => assert!(length >= 64, "{length}"),
            other => panic!("cut at {length}: {other:?}"),
        }
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let sealed = seal(&SMALL);
    for trailing in [&[0][..], &[0; 64], &sealed] {
        let longer = [&sealed[..], trailing].concat();
        assert!(matches!(
            outcome(&longer),
            Outcome::Refused(EvidenceError::Malformed(_))
        ));
    }
}

#[test]
fn sealed_by_another_key_is_refused() {
    let stranger = cast::identity(&cast::strangers_key());
    // As itself: the session states who records it.
    for (evidence, expected) in [(&*LARGER, cast::verifier_key()), (&*OFFLINE, cast::attester_key())] {
        let expected = EvidenceError::Sealer {
            expected: cast::identity(&expected),
            actual: stranger,
        };
        assert_eq!(resealed(evidence, |e| e.sealer = stranger), Outcome::Refused(expected));
    }
    // As another party: the seal is not that party's.
    let mut pretender = LARGER.clone();
    pretender.sealer = stranger;
    let mut sealed = seal(&pretender);
    let at = sealed
        .windows(32)
        .position(|part| part == stranger.0)
        .expect("the sealer is named");
    let verifiers = cast::identity(&cast::verifier_key());
    sealed[at..at + 32].copy_from_slice(&verifiers.0);
    assert_eq!(outcome(&sealed), Outcome::Refused(EvidenceError::Seal(verifiers)));
}

#[test]
fn records_taken_out_are_noticed() {
    for evidence in [&*LARGER, &*OFFLINE] {
        for at in 0..evidence.records.len() {
            let outcome = resealed(evidence, |e| drop(e.records.remove(at)));
            assert!(!is_affirmed(&outcome), "without record {at}: {outcome:?}");
        }
        for length in 0..evidence.records.len() {
            let outcome = resealed(evidence, |e| e.records.truncate(length));
            assert!(
                matches!(outcome, Outcome::Refused(EvidenceError::Incomplete(_))),
                "{length} records: {outcome:?}"
            );
        }
    }
}

#[test]
fn records_in_another_order_are_noticed() {
    for evidence in [&*LARGER, &*OFFLINE] {
        for a in 0..evidence.records.len() {
            for b in 0..a {
                let moved = resealed(evidence, |e| e.records.swap(a, b));
                let with_times = resealed(evidence, |e| {
                    let times = [e.records[a].at_ns, e.records[b].at_ns];
                    e.records.swap(a, b);
                    [e.records[a].at_ns, e.records[b].at_ns] = times;
                });
                // Which of an iteration's devices was first depends on the recorder's clock, and changes no derived value.
                let kind = |at: usize| frame_of(&evidence.records[at]).expect("a message").message_type();
                let is_same_turn = b + 1 == a
                    && kind(a) == kind(b)
                    && matches!(kind(a), Some(MessageType::Filled | MessageType::Swept));
                assert_eq!(
                    is_affirmed(&with_times),
                    is_same_turn,
                    "records {b} and {a}: {with_times:?}"
                );
                let has_clock = evidence.config.mode == Mode::Online;
                assert_eq!(
                    is_affirmed(&moved),
                    is_same_turn && !has_clock,
                    "records {b} and {a}: {moved:?}"
                );
            }
        }
    }
}

#[test]
fn records_twice_are_noticed() {
    for evidence in [&*LARGER, &*OFFLINE] {
        for at in 0..evidence.records.len() {
            for to in at..=evidence.records.len() {
                let outcome = resealed(evidence, |e| {
                    let mut again = e.records[at].clone();
                    again.at_ns = e.records[to.min(e.records.len() - 1)].at_ns;
                    e.records.insert(to, again);
                });
                assert!(!is_affirmed(&outcome), "record {at} once more at {to}: {outcome:?}");
            }
        }
    }
}

#[test]
fn payloads_changed_by_the_sealer_are_noticed() {
    // A lying Verifier is believed about its clock, but not about the Attester's messages, nor a lying Attester about the
    // Verifier's.
    for evidence in [&*LARGER, &*OFFLINE] {
        let mut draws = Draws::new(41);
        for at in 0..evidence.records.len() {
            let length = frame_of(&evidence.records[at]).expect("a message").payload.len() as u64;
            let mut places: Vec<usize> = (0..12).map(|_| draws.below(length) as usize).collect();
            places.extend([0, length as usize - 1]);
            for byte in places {
                let outcome = resealed(evidence, |e| match &mut e.records[at].event {
                    Event::Sent(frame) | Event::Received(frame) => frame.payload[byte] ^= 1 << draws.below(8),
                    Event::Ended(_) => unreachable!("an affirmed session has no end"),
                });
                assert!(!is_affirmed(&outcome), "record {at}, byte {byte}: {outcome:?}");
            }
        }
    }
}

#[test]
fn senders_swapped_are_noticed() {
    for evidence in [&*LARGER, &*OFFLINE] {
        for at in 0..evidence.records.len() {
            let outcome = resealed(evidence, |e| {
                let record = &mut e.records[at];
                record.event = match record.event.clone() {
                    Event::Sent(frame) => Event::Received(frame),
                    Event::Received(frame) => Event::Sent(frame),
                    ended => ended,
                };
            });
            assert!(!is_affirmed(&outcome), "record {at}: {outcome:?}");
        }
    }
}

#[test]
fn clocks_that_run_backwards_are_noticed() {
    for at in 1..LARGER.records.len() {
        let outcome = resealed(&LARGER, |e| {
            e.records[at].at_ns = e.records[at - 1].at_ns.saturating_sub(1)
        });
        match &LARGER.records[at].event {
            Event::Sent(_) => assert!(
                matches!(
                    outcome,
                    Outcome::Refused(EvidenceError::Inconsistent {
                        problem: Inconsistent::Clock { .. },
                        ..
                    })
                ),
                "record {at}: {outcome:?}"
            ),
            // An answer that arrived before it was requested, or a clock that ran backwards between two arrivals.
            _ => assert!(
                matches!(
                    outcome,
                    Outcome::Refused(EvidenceError::Inconsistent { .. })
                        | Outcome::Verdict(Verdict::Contraindicated(Failure::Premature { .. }))
                        | Outcome::Verdict(Verdict::CouldNotRun(_))
                ),
                "record {at}: {outcome:?}"
            ),
        }
    }
}

#[test]
fn times_past_a_deadline_are_late() {
    let at = position(&LARGER, MessageType::Filled);
    let outcome = resealed(&LARGER, |e| {
        for record in &mut e.records[at..] {
            record.at_ns += 1_000_000_000;
        }
    });
    assert!(
        matches!(outcome, Outcome::Refused(EvidenceError::Inconsistent { index, .. }) if index == at + 1),
        "a session that goes on after its verdict: {outcome:?}"
    );
    let outcome = resealed(&LARGER, |e| {
        e.records.truncate(at + 1);
        e.records[at].at_ns += 1_000_000_000;
    });
    assert!(
        matches!(
            outcome,
            Outcome::Verdict(Verdict::Contraindicated(Failure::Late { phase: Phase::Fill, .. }))
        ),
        "{outcome:?}"
    );
}

#[test]
fn records_after_the_end_are_refused() {
    let last_ns = LARGER.records.last().expect("records").at_ns;
    for cause in [
        EndCause::Deadline,
        EndCause::Closed(String::new()),
        EndCause::Flood,
        EndCause::Stopped,
        EndCause::NoPlan(String::new()),
    ] {
        let outcome = resealed(&LARGER, |e| {
            e.records.push(Record {
                at_ns: last_ns,
                event: Event::Ended(cause.clone()),
            });
        });
        assert!(
            matches!(outcome, Outcome::Refused(EvidenceError::Inconsistent { .. })),
            "{cause:?}: {outcome:?}"
        );
    }
}

#[test]
fn the_plan_of_another_verifier_is_refused() {
    let stranger = cast::identity(&cast::strangers_key());
    let theirs = |plan: &Plan| {
        let mut fields = plan.fields().clone();
        fields.verifier = stranger;
        Plan::new(fields).expect("as good a plan")
    };
    let outcome = resealed(&LARGER, |e| {
        let payload = payload(e, MessageType::Plan);
        *payload = theirs(&Plan::from_bytes(payload).expect("PLAN")).to_bytes();
    });
    assert!(!is_affirmed(&outcome), "{outcome:?}");

    // A complete session that was made for another Verifier, sealed by ours.
    let mut request = cast::request(&[(64, 1)], 1);
    request.verifier = stranger;
    let mut peer = HonestPeer::new(cast::hello(&[1]), |_| cast::engine());
    let rehearsed = Rehearsal::new(request).run(&mut peer);
    let ours = cast::identity(&cast::verifier_key());
    let expected = EvidenceError::Sealer {
        expected: stranger,
        actual: ours,
    };
    assert_eq!(outcome_of(&rehearsed.evidence), Outcome::Refused(expected));
}

fn outcome_of(evidence: &Evidence) -> Outcome {
    outcome(&seal(evidence))
}

#[test]
fn the_audience_and_assumptions_belong_to_the_seal() {
    let sealed = seal(&LARGER);
    let mut other = LARGER.clone();
    other.assumptions.helper_bytes_per_s += 1;
    let body_bytes = other.to_bytes();
    let forged = [&body_bytes[..], &sealed[sealed.len() - 64..]].concat();
    assert!(matches!(outcome(&forged), Outcome::Refused(EvidenceError::Seal(_))));
    other.started_unix_ms += 1;
    assert_ne!(seal(&other), sealed);
}

#[test]
fn an_exporter_value_put_in_later_fails_the_signature() {
    let outcome = resealed(&LARGER, |e| e.config.tls_exporter = Some([1; 32]));
    assert_eq!(outcome, Outcome::Verdict(Verdict::Contraindicated(Failure::Signature)));
}

#[test]
fn online_relabelled_offline_is_refused() {
    // Unchanged, with a challenge made to match, and sealed by the Attester like offline evidence.
    let relabelled = |change: &dyn Fn(&mut Evidence)| {
        resealed(&LARGER, |e| {
            e.config.mode = Mode::Offline;
            e.config.hello_deadline_ms = 0;
            change(e);
        })
    };
    let not_derived = |outcome: &Outcome| {
        matches!(
            outcome,
            Outcome::Refused(EvidenceError::Inconsistent {
                problem: Inconsistent::Content(_),
                ..
            })
        )
    };
    let outcome = relabelled(&|_| ());
    assert!(not_derived(&outcome), "{outcome:?}");
    let outcome = relabelled(&|e| {
        let plan = Plan::from_bytes(payload(e, MessageType::Plan)).expect("PLAN");
        let nonce = NonceMessage::from_bytes(payload(e, MessageType::Nonce))
            .expect("NONCE")
            .0;
        e.challenge = Some(Challenge::sign(plan, nonce, 1, 2, &cast::verifier_key()));
        e.sealer = cast::identity(&cast::attester_key());
    });
    assert!(not_derived(&outcome), "{outcome:?}");
}

#[test]
fn offline_relabelled_online_is_refused() {
    let relabelled = |change: &dyn Fn(&mut Evidence)| {
        resealed(&OFFLINE, |e| {
            e.config.mode = Mode::Online;
            e.config.hello_deadline_ms = 1;
            change(e);
        })
    };
    let verifiers = cast::identity(&cast::verifier_key());
    let by_attester = EvidenceError::Sealer {
        expected: verifiers,
        actual: cast::identity(&cast::attester_key()),
    };
    let outcome = relabelled(&|_| ());
    // Offline, everything happens at time 0, which is in time.
    assert_eq!(outcome, Outcome::Refused(by_attester.clone()));
    let outcome = relabelled(&|e| e.challenge = None);
    assert_eq!(outcome, Outcome::Refused(by_attester));
    let outcome = relabelled(&|e| e.sealer = verifiers);
    assert!(
        matches!(outcome, Outcome::Refused(EvidenceError::Challenge(_))),
        "{outcome:?}"
    );
}

#[test]
fn offline_evidence_answers_its_own_challenge_only() {
    let refused = |change: &dyn Fn(&mut Evidence)| match resealed(&OFFLINE, |e| change(e)) {
        Outcome::Refused(EvidenceError::Challenge(why)) => why,
        other => panic!("{other:?}"),
    };
    let plan = challenge().plan;
    let sign = |plan: &Plan, nonce, key| Some(Challenge::sign(plan.clone(), nonce, 1_000, 2_000, &key));
    let nonce = challenge().nonce;

    assert_eq!(refused(&|e| e.challenge = None), "it is missing");
    assert_eq!(
        refused(&|e| e.challenge = sign(&plan, Nonce([1; 32]), cast::verifier_key())),
        "another nonce"
    );
    let mut fields = plan.fields().clone();
    fields.samples += 1;
    let other_plan = Plan::new(fields).expect("as good a plan");
    assert_eq!(
        refused(&|e| e.challenge = sign(&other_plan, nonce, cast::verifier_key())),
        "another plan"
    );
    let unsigned = ChallengeError::Signature.to_string();
    assert_eq!(
        refused(&|e| e.challenge = sign(&plan, nonce, cast::strangers_key())),
        unsigned
    );
    assert_eq!(
        refused(&|e| e.challenge = sign(&plan, nonce, cast::attester_key())),
        unsigned
    );
    for field in ["issued", "expires", "nonce"] {
        let why = refused(&|e| {
            let challenge = e.challenge.as_mut().expect("offline evidence has one");
            match field {
                "issued" => challenge.issued_unix_ms -= 1,
                "expires" => challenge.expires_unix_ms += 1,
                _ => challenge.nonce.0[0] ^= 1,
            }
        });
        assert_eq!(why, unsigned, "{field} changed");
    }
}

#[test]
fn offline_fresh_bytes_are_derived_not_chosen() {
    let chosen = Fresh([3; 32]);
    for (message_type, iteration) in [(MessageType::Salt, 0), (MessageType::Sample, 0)] {
        let outcome = resealed(&OFFLINE, |e| {
            let payload = payload(e, message_type);
            *payload = match message_type {
                MessageType::Salt => SaltMessage {
                    fresh: chosen,
                    ..SaltMessage::from_bytes(payload).expect("SALT")
                }
                .to_bytes(),
                _ => SampleMessage(chosen).to_bytes(),
            };
        });
        assert!(
            matches!(
                outcome,
                Outcome::Refused(EvidenceError::Inconsistent {
                    problem: Inconsistent::Content(_),
                    ..
                })
            ),
            "{message_type} of iteration {iteration}: {outcome:?}"
        );
    }
    // A self-chosen nonce: the values after it do not derive from it.
    let outcome = resealed(&OFFLINE, |e| {
        *payload(e, MessageType::Nonce) = NonceMessage(Nonce([1; 32])).to_bytes()
    });
    assert!(
        matches!(outcome, Outcome::Refused(EvidenceError::Inconsistent { .. })),
        "{outcome:?}"
    );
}

#[test]
fn a_challenge_is_read_with_its_signature() {
    let bytes = challenge().to_bytes();
    assert_eq!(Challenge::verify(&bytes), Ok(challenge()));
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(Challenge::verify(&flipped).is_err(), "byte {at}");
    }
    for length in 0..bytes.len() {
        assert!(Challenge::verify(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn evidence_of_sessions_that_failed_says_so() {
    let mut peer = HonestPeer::new(cast::hello(&[3, 2]), |_| cast::engine());
    peer.key = cast::strangers_key();
    let rehearsed = Rehearsal::opened(Opener::Challenge(challenge())).run(&mut peer);
    let expected = Verdict::Contraindicated(Failure::Signature);
    assert_eq!(outcome_of(&rehearsed.evidence), Outcome::Verdict(expected));
}
