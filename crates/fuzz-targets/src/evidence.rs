//! Evidence: any bytes, and sessions whose records were changed and sealed again by the recording Verifier (spec §10).

use std::sync::LazyLock;

use protocol::bytes::Nonce;
use protocol::cbor::{Canonical, sendable_text};
use protocol::challenge::Challenge;
use protocol::evidence::Evidence;
use protocol::frame::{Frame, MessageType};
use protocol::openings::TileCheck;
use protocol::plan::Plan;
use protocol::record::{EndCause, Event, Record};
use protocol::verifier::{Mode, Step, VerifierSession};
use report::Report;
use testkit::cast;
use testkit::peer::HonestPeer;
use testkit::rehearsal::{Opener, Rehearsal, seal};
use verifier::inspect::Transcript;

use crate::input::Input;
use crate::vectors;
use testkit::stand_in::StandIn;

/// Parses bytes as sealed evidence, and as the body of evidence whose seal does not matter.
///
/// # Panics
///
/// If accepted evidence has other bytes, or a session contradicts itself.
pub fn run_bytes(data: &[u8]) {
    if let Ok(evidence) = Evidence::open(data) {
        assert_eq!(
            evidence.to_bytes(),
            data[..data.len() - 64],
            "one evidence has one encoding"
        );
    }
    for body in [data, &data[..data.len().saturating_sub(64)]] {
        if let Ok(evidence) = Evidence::from_bytes(body) {
            assert_eq!(evidence.to_bytes(), body, "one evidence has one encoding");
            replay(&evidence);
        }
    }
}

/// The vectors of evidence, and messages that are not evidence.
#[must_use]
pub fn seeds_of_bytes() -> Vec<Vec<u8>> {
    let vectors = vectors::load(&["evidence"]);
    vectors.into_iter().map(|(_, bytes)| bytes).collect()
}

/// An honest session, and its tiles that were to be recomputed.
struct Base {
    evidence: Evidence,
    checks: Vec<TileCheck>,
}

static BASES: LazyLock<[Base; 3]> = LazyLock::new(|| {
    let base = |matrices: &[u64], opener| {
        let mut peer = HonestPeer::new(cast::hello(matrices), |_| Box::new(StandIn::default()));
        let rehearsed = Rehearsal::opened(opener).run_to_check(&mut peer);
        Base {
            evidence: rehearsed.evidence,
            checks: rehearsed.session.tile_checks().to_vec(),
        }
    };
    let larger = cast::request(&[(4096, 2), (128, 1)], 5);
    let plan = larger.plan(&cast::hello(&[300, 2])).expect("a plan");
    [
        base(&[1], Opener::Request(cast::request(&[(64, 1)], 1))),
        base(&[300, 2], Opener::Request(larger)),
        base(&[300, 2], Opener::Challenge(challenge(plan))),
    ]
});

pub(crate) fn challenge(plan: Plan) -> Challenge {
    Challenge::sign(plan, Nonce([0xC4; 32]), 1_000, 2_000, &cast::verifier_key())
}

/// Changes an honest session's records and seals them again. Whatever they contain, tiles are recomputed only if the
/// Attester's signature covers them, and then they are those of the honest session.
///
/// # Panics
///
/// If that does not hold.
pub fn run_records(data: &[u8]) {
    let mut input = Input::new(data);
    let base = &BASES[input.below(BASES.len())];
    let mut evidence = base.evidence.clone();
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        change(&mut evidence, &mut input);
    }
    evidence.sealer = cast::identity(&match evidence.config.mode {
        Mode::Online => cast::verifier_key(),
        Mode::Offline => cast::attester_key(),
    });
    let Ok(opened) = Evidence::open(&seal(&evidence)) else {
        // Outside the limits of the format.
        return assert!(Evidence::from_bytes(&evidence.to_bytes()).is_err());
    };
    assert_eq!(opened, evidence);
    if let Some(session) = replay(&evidence)
        && session.step() == Step::Check
    {
        assert_eq!(session.tile_checks(), base.checks, "signed were other tiles");
    }
}

/// Replays the records, and produces all reports about them.
fn replay(evidence: &Evidence) -> Option<VerifierSession> {
    let session = evidence.replay().ok()?;
    assert_eq!(session.records(), evidence.records);
    assert!(!Transcript::new(evidence, &session).to_json().is_empty());
    let mut done = session.clone();
    match session.step() {
        Step::Check => done.checked(Ok(())).expect("tiles are due"),
        Step::Done => assert_ne!(
            session.verdict().map(protocol::verdict::Verdict::status),
            Some(0),
            "affirmed without a tile recomputed"
        ),
        step => panic!("the records stop where {step:?} is due"),
    }
    let report = Report::new(evidence, &done, b"", &cast::judge());
    assert!(!report.to_json().is_empty() && !report.text(report::Detail::All).is_empty());
    Some(session)
}

fn change(evidence: &mut Evidence, input: &mut Input<'_>) {
    let operation = input.u8() % 20;
    let records = &mut evidence.records;
    let index = input.below(records.len());
    match operation {
        11 => {
            let value = input.u64() >> (input.u8() % 64);
            let assumptions = &mut evidence.assumptions;
            match input.u8() % 7 {
                0 => assumptions.best_rate_ops_per_s = value,
                6 => assumptions.helper_gpus = value,
                1 => assumptions.link_in_bytes_per_s = value,
                2 => assumptions.link_out_bytes_per_s = value,
                3 => assumptions.helper_bytes_per_s = value,
                4 => assumptions.on_chip_bytes = value,
                _ => assumptions.error_bits = value as u32,
            }
            return;
        }
        12 => {
            match input.u8() % 4 {
                0 => evidence.config.mode = Mode::Online,
                1 => evidence.config.mode = Mode::Offline,
                2 => evidence.config.hello_deadline_ms = input.u64(),
                _ => evidence.config.tls_exporter = (input.u8() % 2 == 1).then(|| [input.u8(); 32]),
            }
            return;
        }
        13 => {
            evidence.challenge = match input.u8() % 3 {
                0 => None,
                1 => BASES[2].evidence.challenge.clone(),
                _ => records.iter().find_map(|record| match &record.event {
                    Event::Sent(frame) => Plan::from_bytes(&frame.payload).ok().map(challenge),
                    _ => None,
                }),
            };
            return;
        }
        14 => return evidence.started_unix_ms = input.u64(),
        10 => {
            let record = Record {
                at_ns: input.u64() >> (input.u8() % 64),
                event: Event::Ended(cause(input)),
            };
            return records.insert(index, record);
        }
        _ => {}
    }
    let Some(record) = records.get_mut(index) else { return };
    match operation {
        0 => record.at_ns = input.u64() >> (input.u8() % 64),
        1 => record.at_ns = record.at_ns.saturating_add_signed(i64::from(input.u32() as i32)),
        2 => drop(records.remove(index)),
        3 => {
            let copy = record.clone();
            let at = input.below(records.len() + 1);
            records.insert(at, copy);
        }
        4 => {
            let other = input.below(records.len());
            records.swap(index, other);
        }
        15 => records.truncate(index),
        16 => {
            // Times of everything from here on.
            let later = i64::from(input.u32() as i32) << (input.u8() % 24);
            for record in &mut records[index..] {
                record.at_ns = record.at_ns.saturating_add_signed(later);
            }
        }
        _ => {
            let (Event::Sent(frame) | Event::Received(frame)) = &mut record.event else {
                return;
            };
            change_frame(operation, frame, input);
            if operation == 9 {
                let frame = frame.clone();
                record.event = match &record.event {
                    Event::Sent(_) => Event::Received(frame),
                    _ => Event::Sent(frame),
                };
            }
        }
    }
}

pub(crate) fn change_frame(operation: u8, frame: &mut Frame, input: &mut Input<'_>) {
    match operation {
        5 => {
            let at = input.below(frame.payload.len());
            if let Some(byte) = frame.payload.get_mut(at) {
                *byte ^= input.u8();
            }
        }
        6 => frame.payload = input.sized().to_vec().into(),
        7 => {
            let length = input.below(frame.payload.len());
            frame.payload.truncate(length);
        }
        8 => frame.type_number = u32::from(input.u8()),
        17 => {
            let at = input.below(frame.payload.len() + 1);
            let bytes = input.sized().to_vec();
            frame.payload.splice(at..at, bytes);
        }
        18 => {
            if let Ok(mut fields) = Plan::from_bytes(&frame.payload).map(|plan| plan.fields().clone()) {
                let at = input.below(fields.iterations.len());
                match input.u8() % 7 {
                    0 => fields.samples = u32::from(input.u16()),
                    1 => fields.iterations[at].sweeps = u32::from(input.u16()),
                    2 => fields.iterations[at].inner_dim = 64 * u32::from(input.u8()),
                    3 => fields.deadlines.fill_ms = input.u64() >> 20,
                    4 => fields.deadlines.openings_ms = input.u64() >> 20,
                    5 => drop(fields.devices.pop()),
                    _ => fields.matrix_dim = 256 * u32::from(input.u8()),
                }
                if let Ok(plan) = Plan::new(fields) {
                    *frame = Frame::new(MessageType::Plan, plan.to_bytes());
                }
            }
        }
        _ => {}
    }
}

pub(crate) fn cause(input: &mut Input<'_>) -> EndCause {
    let text = |input: &mut Input<'_>| sendable_text(&String::from_utf8_lossy(input.sized()));
    match input.u8() % 6 {
        0 => EndCause::Deadline,
        1 => EndCause::Closed(text(input)),
        2 => EndCause::Oversized {
            type_number: input.u32(),
            length_bytes: input.u64(),
            limit_bytes: input.u64(),
        },
        3 => EndCause::Flood,
        4 => EndCause::NoPlan(text(input)),
        _ => EndCause::Stopped,
    }
}

/// Every session unchanged, and with one change of every kind.
#[must_use]
pub fn seeds_of_records() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for base in 0..BASES.len() as u8 {
        seeds.push(vec![base, 0]);
        for operation in 0..20 {
            for record in [1, 4, 6] {
                seeds.push(vec![base, 0, operation, record, 0, 1, 0, 2, 0, 1, 1, 0, 0, 0]);
            }
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sessions_that_are_changed_have_tiles_to_recompute() {
        for base in BASES.iter() {
            assert!(!base.checks.is_empty());
            let session = replay(&base.evidence).expect("honest evidence");
            assert_eq!(session.step(), Step::Check);
        }
    }
}
