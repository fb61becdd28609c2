//! Ages, windows, paces and phases.

use appraisal::profiles::Profiles;
use appraisal::reason::Reason;
use protocol::bytes::DeviceOrdinal;
use protocol::cbor::Canonical;
use protocol::frame::MessageType;
use protocol::message::{Filled, Swept};
use protocol::record::Event;
use protocol::verdict::Verdict;
use report::figure::CertifiedFigures;
use report::phases::PhaseSpan;
use testkit::cast;
use testkit::peer::{Action, Peer, Tampered, Turn};
use testkit::rehearsal::{Rehearsal, Rehearsed};
use testkit::together::TRAVEL_NS;

use crate::{appraised_at, found, of_figures, one, peer, request, under};

const MS: u64 = 1_000_000;

#[test]
fn age_counts_in_whole_seconds_and_clocks_may_differ_by_a_minute() {
    let at = |offset_ms: i64, max_age_s: Option<u64>| {
        let mut policy = of_figures();
        policy.session.max_age_s = max_age_s;
        let started = one().evidence.started_unix_ms;
        let now = started.checked_add_signed(offset_ms).expect("a time");
        appraised_at(one(), &policy, &Profiles::embedded(), now).reasons
    };
    assert_eq!(at(10_999, Some(10)), []);
    assert_eq!(at(11_000, Some(10)), [Reason::TooOld { age_s: 11, limit_s: 10 }]);
    assert_eq!(at(1 << 40, None), []);
    assert_eq!(at(-60_000, Some(10)), []);
    assert_eq!(at(-61_000, Some(10)), [Reason::FromTheFuture { ahead_s: 61 }]);
}

/// Delays the first FILLED by the first duration and the second FILLED by the second; the same for SWEPT.
fn paced(matrices: &[u64], fill: [u64; 2], sweep: [u64; 2]) -> Rehearsed {
    let honest = peer(cast::hello(matrices));
    let slow = |turn: &mut Turn<'_>| {
        for (message_type, waits) in [(MessageType::Filled, fill), (MessageType::Swept, sweep)] {
            if let Some(first) = turn.position(message_type) {
                turn.actions.insert(first + 1, Action::Wait(waits[1]));
                turn.actions.insert(first, Action::Wait(waits[0]));
            }
        }
    };
    let rehearsed = Rehearsal::new(request(&[(64, 1), (64, 1)], 4)).run(&mut Tampered::new(honest, slow));
    assert_eq!(rehearsed.verdict(), &Verdict::Affirmed);
    rehearsed
}

#[test]
fn windows_count_in_milliseconds_begun() {
    // From the sending to the next message: a microsecond more than the message takes.
    let rehearsed = paced(&[2, 2], [0, 0], [4 * MS, 0]);
    let windows = rehearsed.session.windows();
    let (fill_ns, sweep_ns) = (2 * TRAVEL_NS + 1_000, 6 * MS);
    assert!(
        windows.iter().all(|w| (w.fill_ns, w.sweep_ns) == (fill_ns, sweep_ns)),
        "{windows:?}"
    );
    // Four samples certify nothing, which is reported first.
    let reasons = |fill_ms, sweep_ms| {
        let mut policy = of_figures();
        (policy.session.max_fill_ms, policy.session.max_sweep_ms) = (fill_ms, sweep_ms);
        let mut reasons = under(&rehearsed, &policy).reasons;
        assert!(matches!(reasons.remove(0), Reason::NothingCertified { .. }));
        reasons
    };
    let slow = |phase: &str, iteration, actual_ms, limit_ms| Reason::TooSlow {
        phase: phase.to_owned(),
        iteration,
        actual_ms,
        limit_ms,
    };
    assert_eq!(reasons(Some(3), Some(6)), []);
    assert_eq!(reasons(Some(2), None), [slow("fill", 0, 3, 2), slow("fill", 1, 3, 2)]);
    assert_eq!(reasons(None, Some(5)), [slow("sweep", 0, 6, 5), slow("sweep", 1, 6, 5)]);
}

#[test]
fn a_device_is_uneven_from_half_as_long_again_and_half_a_second() {
    let uneven = |matrices: &[u64], fill, sweep| found(&under(&paced(matrices, fill, sweep), &of_figures()), "uneven");
    let at = |first: u64, second: u64| [first - TRAVEL_NS, second - first - TRAVEL_NS];
    let quick = [0, 0];
    let said = |phase: &str, times: &str| {
        let detail =
            |iteration| format!("{phase} of iteration {iteration}: {times} times as long a matrix as the fastest");
        vec![(Some(1), detail(0)), (Some(1), detail(1))]
    };
    // Half as long again, and longer.
    assert_eq!(uneven(&[2, 2], at(400 * MS, 600 * MS), quick), []);
    assert_eq!(uneven(&[2, 2], at(400 * MS, 600 * MS + 1), quick), said("fill", "1.5"));
    assert_eq!(uneven(&[2, 2], quick, at(200 * MS, 800 * MS)), said("sweep", "4.0"));
    // Too short for a conclusion.
    assert_eq!(uneven(&[2, 2], at(100 * MS, 500 * MS - 1), quick), []);
    assert_eq!(uneven(&[2, 2], at(100 * MS, 500 * MS), quick), said("fill", "5.0"));
    // The time per matrix is constant, however many there are.
    assert_eq!(uneven(&[1, 3], at(200 * MS, 600 * MS), quick), []);
    assert_eq!(uneven(&[1, 2], at(200 * MS, 800 * MS), quick), said("fill", "2.0"));
}

/// When the first message of this type for which `is_it` holds was received or sent.
fn time_of(rehearsed: &Rehearsed, message_type: MessageType, is_it: impl Fn(&[u8]) -> bool) -> u64 {
    let record = rehearsed.session.records().iter().find(|record| match &record.event {
        Event::Sent(frame) | Event::Received(frame) => {
            frame.message_type() == Some(message_type) && is_it(&frame.payload)
        }
        Event::Ended(_) => false,
    });
    record.expect("the message").at_ns
}

#[test]
fn phases_are_the_records_of_the_device() {
    let rehearsed = paced(&[2, 2], [5 * MS, 7 * MS], [11 * MS, 13 * MS]);
    let devices = under(&rehearsed, &of_figures()).devices;
    let salts: Vec<u64> = {
        let sent = rehearsed.session.records().iter();
        sent.filter(
            |record| matches!(&record.event, Event::Sent(frame) if frame.message_type() == Some(MessageType::Salt)),
        )
        .map(|record| record.at_ns)
        .collect()
    };
    for (g, device) in devices.iter().enumerate() {
        for iteration in 0..2 {
            let filled = |device| {
                time_of(&rehearsed, MessageType::Filled, |payload| {
                    let filled = Filled::from_bytes(payload).expect("FILLED");
                    (filled.device, filled.iteration) == (DeviceOrdinal(device), iteration)
                })
            };
            let swept = |device| {
                time_of(&rehearsed, MessageType::Swept, |payload| {
                    let swept = Swept::from_bytes(payload).expect("SWEPT");
                    (swept.device, swept.iteration) == (DeviceOrdinal(device), iteration)
                })
            };
            let fill_start_ns = match iteration {
                0 => time_of(&rehearsed, MessageType::Nonce, |_| true),
                _ => salts[1],
            };
            let expected = PhaseSpan {
                iteration,
                inner_dim: 64,
                fill_start_ns,
                filled_ns: filled(g as u32),
                sweep_start_ns: salts[2 * iteration as usize],
                swept_ns: swept(g as u32),
                sweep_end_ns: swept(1),
                is_whole: true,
            };
            assert_eq!(device.phases[iteration as usize], expected, "device {g}");
        }
        assert_eq!(device.phases.len(), 2);
    }
}

#[test]
fn phases_that_did_not_end_last_until_the_session_did() {
    // Device 1 never answers; device 0 has.
    let silent = |message_type| {
        let honest = peer(cast::hello(&[2, 2]));
        let drop_second = move |turn: &mut Turn<'_>| {
            if let Some(first) = turn.position(message_type) {
                turn.actions.truncate(first + 1);
                turn.actions.push(Action::Hang);
            }
        };
        Rehearsal::new(request(&[(64, 1), (64, 1)], 4)).run(&mut Tampered::new(honest, drop_second))
    };
    let late = silent(MessageType::Filled);
    let start = time_of(&late, MessageType::Nonce, |_| true);
    let end = start + 60_000 * MS;
    let spans: Vec<PhaseSpan> = under(&late, &of_figures())
        .devices
        .iter()
        .map(|d| d.phases[0])
        .collect();
    let expected = PhaseSpan {
        iteration: 0,
        inner_dim: 64,
        fill_start_ns: start,
        filled_ns: start + TRAVEL_NS,
        sweep_start_ns: end,
        swept_ns: end,
        sweep_end_ns: end,
        is_whole: false,
    };
    let unanswered = PhaseSpan {
        filled_ns: end,
        ..expected
    };
    assert_eq!(spans, [expected, unanswered]);

    let late = silent(MessageType::Swept);
    let salt = time_of(&late, MessageType::Salt, |_| true);
    let end = salt + 60_000 * MS;
    let spans: Vec<PhaseSpan> = under(&late, &of_figures())
        .devices
        .iter()
        .map(|d| d.phases[0])
        .collect();
    let of = |filled_ns, swept_ns| PhaseSpan {
        filled_ns,
        sweep_start_ns: salt,
        swept_ns,
        sweep_end_ns: end,
        ..spans[0]
    };
    assert_eq!(
        spans,
        [of(start + TRAVEL_NS, salt + TRAVEL_NS), of(start + 2 * TRAVEL_NS, end)]
    );
    assert!(spans.iter().all(|span| !span.is_whole && span.fill_start_ns == start));
    // The reason for the end is reported for every device, with the device that caused it.
    let reasons: Vec<Reason> = under(&late, &of_figures())
        .devices
        .into_iter()
        .flat_map(|device| device.reasons)
        .collect();
    match &reasons[..] {
        [Reason::NotJudged { why }, Reason::DeviceFailed { failure, .. }] => {
            assert_eq!(why, "the session failed (late), by device 1");
            assert_eq!(failure, "late");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn several_devices_that_did_not_answer_are_all_named() {
    let whole = |message_type| {
        let honest = peer(cast::hello(&[2, 2, 2]));
        let drop_two = move |turn: &mut Turn<'_>| {
            if let Some(first) = turn.position(message_type) {
                turn.actions.truncate(first + 1);
                turn.actions.push(Action::Hang);
            }
        };
        let rehearsed = Rehearsal::new(request(&[(64, 1)], 4)).run(&mut Tampered::new(honest, drop_two));
        under(&rehearsed, &of_figures())
    };
    for message_type in [MessageType::Filled, MessageType::Swept] {
        let devices = whole(message_type).devices;
        assert_eq!(
            devices[0].reasons,
            [Reason::NotJudged {
                why: "the session failed (late), by devices 1, 2".to_owned()
            }]
        );
        for device in &devices[1..] {
            assert!(matches!(&device.reasons[..], [Reason::DeviceFailed { failure, .. }] if failure == "late"));
        }
    }
    // OPENINGS concern the Attester as a whole.
    let mut silent = Tampered::new(peer(cast::hello(&[2, 2])), |turn: &mut Turn<'_>| {
        if turn.answers(MessageType::Sample) {
            turn.actions = vec![Action::Hang];
        }
    });
    let rehearsed = Rehearsal::new(request(&[(64, 1)], 4)).run(&mut silent as &mut dyn Peer);
    for device in under(&rehearsed, &of_figures()).devices {
        assert_eq!(
            device.reasons,
            [Reason::NotJudged {
                why: "the session failed (late), and no device is named".to_owned()
            }]
        );
        assert_eq!(
            device.certified,
            CertifiedFigures::default(),
            "all windows ended, and nothing was checked"
        );
    }
}
