//! A judge of uploads states the maximum cost: evidence that costs more is refused before any work on it starts.

mod common;

use std::time::{Duration, Instant};

use common::{Place, code, json, text};
use protocol::bytes::DeviceOrdinal;
use protocol::cbor::Canonical;
use protocol::evidence::Evidence;
use protocol::frame::{Frame, MessageType};
use protocol::plan::{DevicePlan, Iteration, Plan};
use protocol::record::Event;
use testkit::cast;
use testkit::peer::HonestPeer;
use testkit::rehearsal::{Rehearsal, seal};
use verifier::budget::{Budget, TooCostly, Work};
use verifier::outcome::Judge;
use verifier::recompute::Recompute;
use verifier::{Unobserved, VerifyError, open, verify};

/// Evidence of a small session: 8 samples of one device at k = 4096, 16 tiles.
fn session() -> Vec<u8> {
    let mut peer = HonestPeer::new(cast::hello(&[16]), |_: DeviceOrdinal| cast::engine());
    Rehearsal::new(cast::request(&[(4096, 2)], 8)).run(&mut peer).sealed()
}

/// The exact cost of that evidence.
const MULTIPLY_ADDS: u128 = 16 * 65_536 * 4_096;

/// The same evidence with another plan in it: the most that a plan can ask for, in a few kilobytes, under a valid seal.
fn greedy() -> Vec<u8> {
    let mut evidence = Evidence::open(&session()).expect("evidence");
    for record in &mut evidence.records {
        let Event::Sent(frame) = &mut record.event else {
            continue;
        };
        if frame.message_type() != Some(MessageType::Plan) {
            continue;
        }
        let mut fields = Plan::from_bytes(&frame.payload).expect("a plan").fields().clone();
        fields.matrix_dim = 32_768;
        fields.samples = 65_536;
        fields.devices = (0..64)
            .map(|g| DevicePlan {
                ordinal: DeviceOrdinal(g),
                matrix_offset: 200_000 * u64::from(g),
                num_matrices: 200_000,
            })
            .collect();
        fields.iterations = (1..=1_024).map(|i| Iteration::new(64 * i, 64)).collect();
        *frame = Frame::new(
            MessageType::Plan,
            Plan::new(fields).expect("within all bounds").to_bytes(),
        );
    }
    seal(&evidence)
}

#[test]
fn evidence_past_the_budget_costs_nothing() {
    let place = Place::new();
    place.put("e.cbor", session());
    place.put("greedy.cbor", greedy());
    let keys = place.validator(&["result", "keys", "keys", "--new"]);
    place.put("jwks.json", &keys.stdout);
    place.validator(&["result", "issue", "e.cbor", "--keys", "keys", "-o", "r.jwt"]);
    for (file, options, [costs, allowed]) in [
        (
            "e.cbor",
            &["--max-cost", "0.004"][..],
            [
                "costs 0.005 Tmac (16 tiles, about 1 core-seconds)",
                "allowed are 0.004 Tmac",
            ],
        ),
        ("greedy.cbor", &[], ["costs 18464", "allowed are 500.000 Tmac"]),
        (
            "e.cbor",
            &["--max-memory", "10KiB"],
            ["of memory; ", "allowed are 10.00 KiB"],
        ),
    ] {
        for command in [
            &["verify", file][..],
            &["report", file],
            &["result", "issue", file, "--keys", "keys"],
            &["result", "verify", "r.jwt", "--jwks", "jwks.json", "--evidence", file],
            &["calibrate", "--class", "h200", file],
        ] {
            let since = Instant::now();
            let refused = place.validator(&[command, options].concat());
            let said = text(&refused.stderr);
            assert_eq!(code(&refused), 2, "{command:?}: {said}");
            for part in ["(too-costly)", costs, allowed, "--max-"] {
                assert!(said.contains(part), "{command:?}: expected {part:?} in {said}");
            }
            assert!(!said.contains("recomputing 8 samples"), "{command:?}: {said}");
            assert!(since.elapsed() < Duration::from_secs(20), "{command:?}");
        }
    }
    // The stated cost is enough.
    let said = json(&place.validator(&["verify", "e.cbor", "--max-cost", "0.004", "--json"]));
    assert_eq!(
        (&said["verdict"], &said["reason"]),
        (&"none".into(), &"too-costly".into())
    );
    let message = said["message"].as_str().expect("a message");
    let (_, wanted) = message.split_once("--max-cost ").expect("a remedy");
    let wanted = wanted.split_once(' ').expect("a figure").0;
    let sealer = Evidence::open(&session()).expect("evidence").sealer.to_string();
    let verified = place.validator(&["verify", "e.cbor", "--max-cost", wanted, "--verifier", &sealer]);
    assert!(
        text(&verified.stderr).contains("recomputing 8 samples"),
        "{}",
        text(&verified.stderr)
    );
    assert!(!text(&verified.stdout).contains("too-costly"));

    // Commands that recompute nothing have no such limit, only one on memory.
    let inspected = place.validator(&["inspect", "e.cbor"]);
    assert_eq!(code(&inspected), 0);
    let inspected = place.validator(&["inspect", "e.cbor", "--max-memory", "20KiB", "--json"]);
    assert_eq!(
        (code(&inspected), &json(&inspected)["reason"]),
        (2, &"too-costly".into())
    );
    for wrong in [["--max-cost", "much"], ["--max-cost", "-1"], ["--max-memory", "lots"]] {
        assert_eq!(code(&place.validator(&[&["verify", "e.cbor"][..], &wrong].concat())), 2);
    }
}

/// Users of the library have the limit too, including when they open evidence themselves.
#[test]
fn a_library_user_is_told_before_any_tile() {
    let sealed = session();
    let within = |multiply_adds, memory_bytes| Recompute {
        budget: Budget {
            multiply_adds,
            memory_bytes,
        },
        ..cast::recompute()
    };
    let opened = open(&sealed).expect("evidence");
    let work = Work::of_samples(opened.session.plan().expect("a plan"));
    assert_eq!((work.tiles, work.multiply_adds), (16, MULTIPLY_ADDS));
    let tight = within(MULTIPLY_ADDS - 1, 1 << 30);
    let expected = TooCostly::Work {
        work,
        allowed: MULTIPLY_ADDS - 1,
    };
    for refused in [
        opened.recompute(&tight, &mut [], &Judge::of_nobody(), &Unobserved),
        verify(&sealed, &tight, &Judge::of_nobody(), &Unobserved),
    ] {
        match refused.map(drop) {
            Err(VerifyError::TooCostly(actual)) => assert_eq!(actual, expected),
            other => panic!("{other:?}"),
        }
    }
    assert!(
        verify(
            &sealed,
            &within(MULTIPLY_ADDS, 1 << 30),
            &Judge::of_nobody(),
            &Unobserved
        )
        .is_ok()
    );
    let memory = verify(
        &sealed,
        &within(MULTIPLY_ADDS, 10 << 10),
        &Judge::of_nobody(),
        &Unobserved,
    );
    assert!(matches!(memory, Err(VerifyError::TooCostly(TooCostly::Memory { .. }))));
}
