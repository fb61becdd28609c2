//! The vectors: evidence, and the result of each.

use ed25519_dalek::SigningKey;

use protocol::bytes::{DeviceOrdinal, Identity, Nonce};
use protocol::cbor::Canonical;
use protocol::challenge::Challenge;
use protocol::evidence::Evidence;
use protocol::frame::{Frame, MessageType};
use protocol::message::{Abort, AbortCode, Hello};
use protocol::record::{EndCause, Event, Record};
use protocol::verifier::Mode;

use crate::session::{
    MS, NONCE, attester_key, evidence, evidence_of, hello, plan, plan_with_rounds, seal, session, session_of,
    verifier_key,
};

/// Sets a byte of the payload of the first message of this type that was taken; what is recorded after a message that decides is left
/// out.
fn change_first(evidence: &mut Evidence, message_type: MessageType, at: usize, value: u8) {
    let found = evidence.records.iter().position(
        |record| matches!(&record.event, Event::Received(frame) if frame.message_type() == Some(message_type)),
    );
    let found = found.expect("it was taken");
    if let Event::Received(frame) = &mut evidence.records[found].event {
        frame.payload[at] = value;
    }
    if value != 0xFF {
        evidence.records.truncate(found + 1);
    }
}

/// Makes the SALT that begins the first round w.
fn change_first_round(evidence: &mut Evidence) {
    let mut salts = evidence
        .records
        .iter_mut()
        .filter_map(|record| match &mut record.event {
            Event::Sent(frame) if frame.message_type() == Some(MessageType::Salt) => Some(frame),
            _ => None,
        });
    let salt = salts.nth(1).expect("a round begins");
    salt.payload[1] = 1;
}

pub(crate) enum Expected {
    /// The verdict's code; empty when affirmed.
    Verdict(&'static str),
    /// The beginning of this crate's error.
    Refused(&'static str),
}

pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) expected: Expected,
}

pub(crate) fn vectors() -> Vec<Vector> {
    let online = session(Mode::Online, false);
    let offline = session(Mode::Offline, false);
    let whole = evidence(Mode::Online, online.records().to_vec());
    let affirmed = seal(&whole);
    let changed = |mode, change: &dyn Fn(&mut Evidence)| {
        let records = if mode == Mode::Online { &online } else { &offline }.records();
        let mut evidence = evidence(mode, records.to_vec());
        change(&mut evidence);
        seal(&evidence)
    };
    let with_rounds = |mode, change: &dyn Fn(&mut Evidence)| {
        let plan = plan_with_rounds();
        let session = session_of(plan.clone(), mode, false, NONCE);
        let mut evidence = evidence_of(&plan, mode, session.records().to_vec());
        change(&mut evidence);
        seal(&evidence)
    };
    let cut_at = |count: usize, record: Record| {
        changed(Mode::Online, &|e| {
            e.records.truncate(count);
            e.records.push(record.clone());
        })
    };
    let end = |at_ms, cause| Record {
        at_ns: at_ms * MS,
        event: Event::Ended(cause),
    };
    let abort = || {
        let abort = Abort {
            code: AbortCode::OutOfMemory,
            device: Some(DeviceOrdinal(2)),
            message: "out of memory: 2 bytes asked for, 1 available".into(),
        };
        let frame = Frame::new(MessageType::Abort, abort.to_bytes());
        Event::Received(frame)
    };
    let hello_of_version_2 = Record {
        at_ns: MS,
        event: Event::Received(Frame::new(
            MessageType::Hello,
            Hello {
                versions: vec![2],
                ..hello()
            }
            .to_bytes(),
        )),
    };
    let no_common_version = evidence(Mode::Offline, vec![hello_of_version_2]);
    let sealed_by = |evidence: &Evidence, key: SigningKey| {
        let mut evidence = evidence.clone();
        evidence.sealer = Identity(key.verifying_key().to_bytes());
        evidence.seal(&key)
    };
    let oversized = |type_number, limit_bytes| EndCause::Oversized {
        type_number,
        length_bytes: limit_bytes + 1,
        limit_bytes,
    };
    let taken = |at_ns, message_type, payload| Record {
        at_ns,
        event: Event::Received(Frame::new(message_type, payload)),
    };
    let mut flipped = affirmed.clone();
    flipped[200] ^= 1;
    let mut last = affirmed.clone();
    *last.last_mut().expect("a seal") ^= 1;
    let foreign = sealed_by(&whole, attester_key());
    let long_challenge = Challenge::sign(plan(), Nonce([0; 32]), 1000, 2000, &verifier_key());
    let forged_challenge = Challenge::sign(plan(), Nonce(NONCE), 1000, 2000, &attester_key());

    use Expected::{Refused, Verdict};
    let vector = |name, about, bytes, expected| Vector {
        name,
        about,
        bytes,
        expected,
    };
    vec![
        vector(
            "affirmed-rounds-online",
            "a whole session with rounds: three devices, one of which rests in each",
            with_rounds(Mode::Online, &|_| ()),
            Verdict(""),
        ),
        vector(
            "affirmed-rounds-offline",
            "the same without a connection: the bytes of each round derive from the transcript",
            with_rounds(Mode::Offline, &|_| ()),
            Verdict(""),
        ),
        vector(
            "round-of-a-device-that-rests",
            "CROSSED of the device that rests in round 0, in place of one that meets another",
            with_rounds(Mode::Online, &|e| change_first(e, MessageType::Crossed, 3, 0)),
            Verdict("misplaced-commitment"),
        ),
        vector(
            "round-that-has-not-begun",
            "CROSSED of round 1 in round 0",
            with_rounds(Mode::Online, &|e| change_first(e, MessageType::Crossed, 2, 1)),
            Verdict("misplaced-commitment"),
        ),
        vector(
            "round-skipped",
            "SALT w where a round is due",
            with_rounds(Mode::Online, &change_first_round),
            Refused("record"),
        ),
        vector(
            "round-with-another-root",
            "another root in CROSSED of round 0: openings are not signed over it",
            with_rounds(Mode::Online, &|e| change_first(e, MessageType::Crossed, 10, 0xFF)),
            Verdict("signature"),
        ),
        vector(
            "affirmed-online",
            "a whole session: two devices, two iterations in two groups",
            affirmed.clone(),
            Verdict(""),
        ),
        vector(
            "affirmed-offline",
            "the same plan and nonce as a challenge; v, w and seed derive from the transcript",
            changed(Mode::Offline, &|_| {}),
            Verdict(""),
        ),
        vector(
            "invented-sweep",
            "every pair digest of the second iteration is wrong by one bit; signed and well-formed",
            seal(&evidence(Mode::Online, session(Mode::Online, true).records().to_vec())),
            Verdict("tile-mismatch"),
        ),
        vector(
            "late-openings",
            "OPENINGS come 1 ns after their deadline",
            changed(Mode::Online, &|e| {
                let sent_ns = e.records[e.records.len() - 2].at_ns;
                e.records.last_mut().expect("OPENINGS").at_ns = sent_ns + 1000 * MS + 1;
            }),
            Verdict("late"),
        ),
        vector(
            "openings-at-the-deadline",
            "OPENINGS come at the last nanosecond that is in time",
            changed(Mode::Online, &|e| {
                let sent_ns = e.records[e.records.len() - 2].at_ns;
                e.records.last_mut().expect("OPENINGS").at_ns = sent_ns + 1000 * MS;
            }),
            Verdict(""),
        ),
        vector(
            "premature-openings",
            "OPENINGS came before SAMPLE was sent",
            changed(Mode::Online, &|e| {
                let sent_ns = e.records[e.records.len() - 2].at_ns;
                e.records.last_mut().expect("OPENINGS").at_ns = sent_ns - 1;
            }),
            Verdict("premature"),
        ),
        vector(
            "forged-signature",
            "the last byte of the signature in OPENINGS is another",
            changed(Mode::Online, &|e| {
                if let Event::Received(frame) = &mut e.records.last_mut().expect("OPENINGS").event {
                    *frame.payload.last_mut().expect("a signature") ^= 1;
                }
            }),
            Verdict("signature"),
        ),
        vector(
            "second-filled",
            "the same FILLED twice",
            cut_at(
                5,
                Record {
                    at_ns: 6 * MS,
                    event: online.records()[4].event.clone(),
                },
            ),
            Verdict("duplicate-commitment"),
        ),
        vector(
            "unopened",
            "the connection ends after SAMPLE",
            changed(Mode::Online, &|e| {
                *e.records.last_mut().expect("OPENINGS") = end(100, EndCause::Closed(String::new()));
            }),
            Verdict("unopened"),
        ),
        vector(
            "abort-before-nonce",
            "ABORT instead of READY",
            cut_at(
                2,
                Record {
                    at_ns: 3 * MS,
                    event: abort(),
                },
            ),
            Verdict("out-of-memory"),
        ),
        vector(
            "abort-before-salt-was-sent",
            "ABORT came after the last FILLED and before SALT v was sent: it answers nothing, so it is not premature",
            cut_at(
                7,
                Record {
                    at_ns: 7 * MS - 1,
                    event: abort(),
                },
            ),
            Verdict("out-of-memory"),
        ),
        vector(
            "abort-before-sample-was-sent",
            "ABORT came before SAMPLE was sent: the samples were not known",
            changed(Mode::Online, &|e| {
                let sent_ns = e.records[e.records.len() - 2].at_ns;
                *e.records.last_mut().expect("OPENINGS") = Record {
                    at_ns: sent_ns - 1,
                    event: abort(),
                };
            }),
            Verdict("out-of-memory"),
        ),
        vector(
            "abort-when-sample-was-sent",
            "ABORT came in the nanosecond in which SAMPLE was sent",
            changed(Mode::Online, &|e| {
                let sent_ns = e.records[e.records.len() - 2].at_ns;
                *e.records.last_mut().expect("OPENINGS") = Record {
                    at_ns: sent_ns,
                    event: abort(),
                };
            }),
            Verdict("unopened"),
        ),
        vector(
            "abort-where-salt-is-due",
            "ABORT came after the last FILLED, long after its deadline, and SALT v was not sent",
            cut_at(
                6,
                Record {
                    at_ns: 5000 * MS,
                    event: abort(),
                },
            ),
            Verdict("out-of-memory"),
        ),
        vector(
            "malformed-abort-where-salt-is-due",
            "the same, malformed",
            cut_at(6, taken(5000 * MS, MessageType::Abort, vec![0x80])),
            Verdict("malformed-message"),
        ),
        vector(
            "message-where-salt-is-due",
            "FILLED is recorded as taken where SALT v is due",
            cut_at(
                6,
                Record {
                    at_ns: 7 * MS,
                    event: online.records()[4].event.clone(),
                },
            ),
            Refused("record 6: a message where"),
        ),
        vector(
            "no-ready",
            "READY does not come in time",
            cut_at(2, end(1002, EndCause::Deadline)),
            Verdict("not-ready"),
        ),
        vector(
            "byte-changed",
            "a byte of a record is another than was sealed",
            flipped,
            Refused("the evidence was changed"),
        ),
        vector(
            "seal-changed",
            "the last byte of the seal is another",
            last,
            Refused("the evidence was changed"),
        ),
        vector(
            "cut",
            "the last byte is missing",
            affirmed[..affirmed.len() - 1].to_vec(),
            Refused("malformed evidence"),
        ),
        vector(
            "shorter-than-a-seal",
            "63 bytes",
            affirmed[..63].to_vec(),
            Refused("evidence of 63 bytes is too short"),
        ),
        vector(
            "foreign-sealer",
            "sealed by the Attester, where PLAN names another Verifier",
            foreign,
            Refused("the evidence is sealed by"),
        ),
        vector(
            "foreign-sealer-of-a-failed-session",
            "the same of a session that failed: what is refused has no verdict",
            {
                let mut failed = whole.clone();
                failed.records.truncate(4);
                failed.records.push(end(5, EndCause::Flood));
                sealed_by(&failed, attester_key())
            },
            Refused("the evidence is sealed by"),
        ),
        vector(
            "offline-no-common-version",
            "offline, HELLO lacks version 1; sealed by its identity",
            seal(&no_common_version),
            Verdict("no-common-version"),
        ),
        vector(
            "offline-foreign-sealer-without-version",
            "the same, sealed by the Verifier: HELLO came, so its identity seals",
            sealed_by(&no_common_version, verifier_key()),
            Refused("the evidence is sealed by"),
        ),
        vector(
            "incomplete",
            "the records stop where OPENINGS are due",
            changed(Mode::Online, &|e| {
                e.records.pop();
            }),
            Refused("the records stop where"),
        ),
        vector(
            "clock-goes-back",
            "NONCE is sent before READY came",
            changed(Mode::Online, &|e| e.records[3].at_ns = 0),
            Refused("record 3: the clock went from"),
        ),
        vector(
            "deadline-that-had-not-passed",
            "a deadline is recorded 1 ns before it passes",
            changed(Mode::Online, &|e| {
                e.records.truncate(2);
                let mut early = end(1002, EndCause::Deadline);
                early.at_ns -= 1;
                e.records.push(early);
            }),
            Refused("record 2: a deadline where"),
        ),
        vector(
            "record-after-the-end",
            "a message after OPENINGS",
            changed(Mode::Online, &|e| e.records.push(e.records[0].clone())),
            Refused("record 18: a message where"),
        ),
        vector(
            "progress-recorded",
            "PROGRESS is recorded as taken",
            cut_at(
                4,
                Record {
                    at_ns: 5 * MS,
                    event: Event::Received(Frame::new(MessageType::Progress, vec![0x81, 0x80])),
                },
            ),
            Refused("record 4: PROGRESS, which is put aside, where"),
        ),
        vector(
            "oversized-within-its-cap",
            "an oversized frame is recorded whose length is its cap",
            cut_at(
                4,
                end(
                    5,
                    EndCause::Oversized {
                        type_number: 5,
                        length_bytes: 65_536,
                        limit_bytes: 65_536,
                    },
                ),
            ),
            Refused("record 4: an oversized frame within its cap where"),
        ),
        vector(
            "oversized-by-a-cap-of-its-own",
            "an oversized READY is recorded in Fill with a cap of 100 bytes, where §9.2 gives 65536",
            cut_at(4, end(5, oversized(3, 100))),
            Refused("record 4: an oversized frame by another cap where"),
        ),
        vector(
            "oversized-by-a-larger-cap",
            "the same with a cap of 80000 bytes",
            cut_at(4, end(5, oversized(3, 80_000))),
            Refused("record 4: an oversized frame by another cap where"),
        ),
        vector(
            "oversized-by-the-cap-before-plan",
            "while READY is due: OPENINGS whose header was read before PLAN was sent",
            cut_at(2, end(3, oversized(9, 65_536))),
            Verdict("not-this-protocol"),
        ),
        vector(
            "oversized-by-the-cap-of-the-plan",
            "while READY is due: OPENINGS whose header was read after PLAN was sent",
            cut_at(2, end(3, oversized(9, 153_423))),
            Verdict("not-this-protocol"),
        ),
        vector(
            "oversized-by-the-cap-before-plan-in-fill",
            "in Fill the cap of OPENINGS is the plan's",
            cut_at(4, end(5, oversized(9, 65_536))),
            Refused("record 4: an oversized frame by another cap where"),
        ),
        vector(
            "second-hello-oversized",
            "where READY is due: a second HELLO has the small cap",
            cut_at(2, end(3, oversized(1, 65_536))),
            Verdict("not-this-protocol"),
        ),
        vector(
            "second-hello-by-the-cap-of-the-first",
            "the same with the cap of a first HELLO",
            cut_at(2, end(3, oversized(1, 4_194_304))),
            Refused("record 2: an oversized frame by another cap where"),
        ),
        vector(
            "taken-longer-than-its-cap",
            "SWEPT of 101 bytes is recorded as taken in Fill, where §9.2 gives 100",
            cut_at(4, taken(5 * MS, MessageType::Swept, vec![0; 101])),
            Refused("record 4: a message longer than its cap where"),
        ),
        vector(
            "taken-as-long-as-its-cap",
            "the same of 100 bytes",
            cut_at(4, taken(5 * MS, MessageType::Swept, vec![0; 100])),
            Verdict("unexpected-message"),
        ),
        vector(
            "taken-longer-than-the-cap-of-the-plan",
            "while READY is due: SWEPT of 101 bytes, whose header was read before PLAN was sent",
            cut_at(2, taken(3 * MS, MessageType::Swept, vec![0; 101])),
            Verdict("not-this-protocol"),
        ),
        vector(
            "late-openings-in-fill",
            "OPENINGS in Fill 1 ns after its deadline: late, as any other message there",
            cut_at(4, taken(1004 * MS + 1, MessageType::Openings, vec![0])),
            Verdict("late"),
        ),
        vector(
            "openings-in-fill",
            "the same at the deadline",
            cut_at(4, taken(1004 * MS, MessageType::Openings, vec![0])),
            Verdict("unexpected-message"),
        ),
        vector(
            "late-openings-instead-of-ready",
            "OPENINGS 1 ns after READY's deadline",
            cut_at(2, taken(1002 * MS + 1, MessageType::Openings, vec![0])),
            Verdict("not-ready"),
        ),
        vector(
            "late-abort",
            "ABORT in Fill 1 ns after its deadline",
            cut_at(
                4,
                Record {
                    at_ns: 1004 * MS + 1,
                    event: abort(),
                },
            ),
            Verdict("late"),
        ),
        vector(
            "malformed-abort-before-nonce-was-sent",
            "a malformed ABORT, stamped before NONCE was sent and taken in Fill: the state that takes it decides",
            cut_at(4, taken(4 * MS - 1, MessageType::Abort, vec![0x80])),
            Verdict("malformed-message"),
        ),
        vector(
            "fill-deadline",
            "Fill's deadline is recorded as passed exactly when it ends",
            cut_at(4, end(1004, EndCause::Deadline)),
            Verdict("late"),
        ),
        vector(
            "hello-deadline-of-0-ms",
            "online, the limit of phase Hello is 0 ms",
            changed(Mode::Online, &|e| e.config.hello_deadline_ms = 0),
            Refused("malformed evidence: hello deadline: expected 1 ms to 366 days, got 0"),
        ),
        vector(
            "hello-deadline-of-366-days",
            "the longest limit of phase Hello",
            changed(Mode::Online, &|e| e.config.hello_deadline_ms = 31_622_400_000),
            Verdict(""),
        ),
        vector(
            "hello-deadline-too-long",
            "1 ms longer",
            changed(Mode::Online, &|e| e.config.hello_deadline_ms = 31_622_400_001),
            Refused("malformed evidence: hello deadline: expected 1 ms to 366 days, got 31622400001"),
        ),
        vector(
            "offline-hello-deadline",
            "offline, phase Hello has a limit",
            changed(Mode::Offline, &|e| e.config.hello_deadline_ms = 1),
            Refused("malformed evidence: hello deadline: expected 0 without a clock, got 1"),
        ),
        vector(
            "offline-exporter",
            "offline, with the exporter value of a connection",
            changed(Mode::Offline, &|e| e.config.tls_exporter = Some([7; 32])),
            Refused("malformed evidence: TLS exporter: expected null without a connection"),
        ),
        vector(
            "salt-skipped",
            "SALT w is sent where SALT v is due",
            changed(Mode::Online, &|e| e.records[6].event = e.records[9].event.clone()),
            Refused("record 6: SALT sent where"),
        ),
        vector(
            "offline-salt-drawn",
            "offline, SALT v carries bytes that do not derive from the transcript",
            changed(Mode::Offline, &|e| {
                e.records[6].event = online.records()[6].event.clone()
            }),
            Refused("record 6: SALT does not derive from the transcript"),
        ),
        vector(
            "offline-another-nonce",
            "the challenge has another nonce than the session",
            changed(Mode::Offline, &|e| e.challenge = Some(long_challenge.clone())),
            Refused("the challenge does not belong to this evidence: another nonce"),
        ),
        vector(
            "offline-forged-challenge",
            "the challenge is not signed by the Verifier that its plan names",
            changed(Mode::Offline, &|e| e.challenge = Some(forged_challenge.clone())),
            Refused("the challenge does not belong to this evidence: the challenge is not signed"),
        ),
        vector(
            "offline-forged-challenge-before-plan",
            "the same where the session ended before PLAN",
            changed(Mode::Offline, &|e| {
                e.challenge = Some(forged_challenge.clone());
                e.records.truncate(1);
                e.records.push(end(2, EndCause::Stopped));
            }),
            Refused("the challenge does not belong to this evidence: the challenge is not signed"),
        ),
        vector(
            "offline-without-challenge",
            "offline evidence with null for its challenge",
            changed(Mode::Offline, &|e| e.challenge = None),
            Refused("the challenge does not belong to this evidence: it is missing"),
        ),
        vector(
            "online-with-challenge",
            "online evidence with a challenge",
            changed(Mode::Online, &|e| e.challenge = Some(long_challenge.clone())),
            Refused("the challenge does not belong to this evidence: a session with a clock has none"),
        ),
    ]
}
