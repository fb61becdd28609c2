//! Accepted messages.

use serde_json::{Value, json};

use protocol::bytes::hex;
use protocol::verifier::SIGNATURE_BYTES;

use crate::encoding::*;

/// A message that is accepted.
pub(crate) struct Accept {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) decoded: Value,
}

/// Every message that is accepted.
#[rustfmt::skip]
pub(crate) fn accepts() -> Vec<Accept> {
    let accept = |name, about, kind, bytes, decoded| Accept { name, about, kind, bytes, decoded };
    let longest = "é".repeat(128);
    let offer_json = |ordinal: u32| {
        json!({
            "ordinal": ordinal, "engine": "cpu", "model": "any", "memory_bytes": 1 << 30, "available_bytes": 1 << 29,
            "reserve_bytes": 1 << 20, "operand_copies": 2, "operand_rows": 512, "labels": [],
        })
    };
    let hello_json = json!({
        "versions": [1], "suites": [1], "identity": hex(&IDENTITY), "software": "example 0.1", "labels": [],
        "devices": [offer_json(0)],
    });
    let changed = |base: &Value, changes: Value| {
        let mut base = base.clone();
        for (name, value) in changes.as_object().expect("changes by name") {
            base[name] = value.clone();
        }
        base
    };
    let plan_json = json!({
        "version": 1, "suite": 1, "session_id": hex(&[0x1D; 16]), "verifier": hex(&[0xB2; 32]),
        "verifier_name": "verifier", "audience": "audience", "matrix_dim": 256,
        "devices": [{"ordinal": 0, "matrix_offset": 0, "num_matrices": 1}],
        "iterations": [{"inner_dim": 64, "sweeps": 1}], "samples": 1,
        "deadlines": {"ready_ms": 1000, "fill_ms": 2000, "sweep_ms": 3000, "openings_ms": 4000},
    });
    let mut many_devices = hello_items();
    many_devices[0] = array(&[uint(1), uint(2), uint(u32::MAX.into())]);
    many_devices[1] = array(&[uint(1), uint(7)]);
    many_devices[4] = array(&[label("os", "Linux"), label("driver", "580.95")]);
    let mut labelled = offer_items(u32::MAX.into());
    labelled[8] = array(&[label("uuid", "GPU-0")]);
    many_devices[5] = array(&[offer(0), offer(5), array(&labelled)]);
    let mut last_offer = offer_json(u32::MAX);
    last_offer["labels"] = json!([{"name": "uuid", "value": "GPU-0"}]);

    let mut real_plan = plan_items();
    real_plan[6] = uint(16_384);
    real_plan[7] = array(&[device_plan(0, 0, 517), device_plan(2, 517, 516), device_plan(5, 1033, 3)]);
    real_plan[8] = array(&[iteration(16_384, 32), iteration(2048, 2), iteration(2048, 2)]);
    real_plan[9] = uint(1024);
    let mut limits = plan_items();
    limits[4] = text("");
    limits[5] = text(&longest);
    limits[6] = uint(32_768);
    // 16,384 tiles per matrix: 2^32 - 16,384 tiles.
    limits[7] = array(&[device_plan(u32::MAX.into(), 0, 262_143)]);
    limits[8] = array(&vec![iteration(65_536, 4096); 16]);
    limits[9] = uint(65_536);
    limits[10] = array(&vec![uint(31_622_400_000); 4]);

    let siblings: Vec<[u8; 32]> = (0..25).map(|i| [i; 32]).collect();
    let chunk: Vec<u8> = (0..=255).cycle().take(1024).collect();
    let opening_json = |chunk: &[u8], siblings: &[[u8; 32]]| {
        let siblings: Vec<String> = siblings.iter().map(|s| hex(s)).collect();
        json!({"chunk": hex(chunk), "siblings": siblings})
    };
    let sample_json: Vec<Value> = (1..=3).map(|fill| opening_json(&[fill; 8], &[])).collect();
    let signature = hex(&[0x5E; SIGNATURE_BYTES]);

    vec![
        accept(
            "hello-one-device",
            "the smallest HELLO that can lead to a session",
            "HELLO",
            array(&hello_items()),
            hello_json.clone(),
        ),
        accept(
            "hello-many-devices",
            "versions and suites of the future beside ours; ordinals with gaps, up to 2^32 - 1; labels",
            "HELLO",
            array(&many_devices),
            changed(
                &hello_json,
                json!({
                    "versions": [1, 2, u32::MAX], "suites": [1, 7],
                    "labels": [{"name": "os", "value": "Linux"}, {"name": "driver", "value": "580.95"}],
                    "devices": [offer_json(0), offer_json(5), last_offer],
                }),
            ),
        ),
        accept(
            "hello-longest-text",
            "a text of 256 bytes, which are 128 characters here: the limit counts bytes",
            "HELLO",
            with(hello_items(), 3, text(&longest)),
            changed(&hello_json, json!({"software": longest})),
        ),
        accept(
            "hello-no-common-version",
            "well-formed, but speaks neither version 1 nor suite 1: the verdict is no-common-version, not malformed",
            "HELLO",
            with(hello_items(), 0, array(&[uint(2)])),
            changed(&hello_json, json!({"versions": [2]})),
        ),
        accept(
            "plan-smallest",
            "one tile, one iteration, one sweep, one sample",
            "PLAN",
            array(&plan_items()),
            plan_json.clone(),
        ),
        accept(
            "plan-unequal-devices",
            "three devices whose ordinals have gaps, matrices contiguous over them; three iterations in two groups",
            "PLAN",
            array(&real_plan),
            changed(
                &plan_json,
                json!({
                    "matrix_dim": 16_384, "samples": 1024,
                    "devices": [
                        {"ordinal": 0, "matrix_offset": 0, "num_matrices": 517},
                        {"ordinal": 2, "matrix_offset": 517, "num_matrices": 516},
                        {"ordinal": 5, "matrix_offset": 1033, "num_matrices": 3},
                    ],
                    "iterations": [
                        {"inner_dim": 16_384, "sweeps": 32}, {"inner_dim": 2048, "sweeps": 2},
                        {"inner_dim": 2048, "sweeps": 2},
                    ],
                }),
            ),
        ),
        accept(
            "plan-at-its-limits",
            "every bounded field at its largest value; an empty text",
            "PLAN",
            array(&limits),
            changed(
                &plan_json,
                json!({
                    "verifier_name": "", "audience": longest, "matrix_dim": 32_768, "samples": 65_536,
                    "devices": [{"ordinal": u32::MAX, "matrix_offset": 0, "num_matrices": 262_143}],
                    "iterations": vec![json!({"inner_dim": 65_536, "sweeps": 4096}); 16],
                    "deadlines": {
                        "ready_ms": 31_622_400_000u64, "fill_ms": 31_622_400_000u64, "sweep_ms": 31_622_400_000u64,
                        "openings_ms": 31_622_400_000u64,
                    },
                }),
            ),
        ),
        accept("ready", "READY is an empty array", "READY", array(&[]), json!({})),
        accept("nonce", "NONCE", "NONCE", array(&[bytes(&FRESH)]), json!({"nonce": hex(&FRESH)})),
        accept(
            "filled",
            "FILLED of device 2 in iteration 1",
            "FILLED",
            array(&[uint(1), uint(2), bytes(&ROOT)]),
            json!({"iteration": 1, "ordinal": 2, "root": hex(&ROOT)}),
        ),
        accept(
            "filled-largest-numbers",
            "well-formed; whether the plan has such an iteration and device is for the session to say",
            "FILLED",
            array(&[uint(u32::MAX.into()), uint(u32::MAX.into()), bytes(&ROOT)]),
            json!({"iteration": u32::MAX, "ordinal": u32::MAX, "root": hex(&ROOT)}),
        ),
        accept(
            "salt-v",
            "SALT v of iteration 0",
            "SALT",
            array(&[uint(0), uint(0), bytes(&FRESH)]),
            json!({"stage": "v", "iteration": 0, "fresh": hex(&FRESH)}),
        ),
        accept(
            "salt-w",
            "SALT w of iteration 24, the first number that takes two bytes",
            "SALT",
            array(&[uint(1), uint(24), bytes(&FRESH)]),
            json!({"stage": "w", "iteration": 24, "fresh": hex(&FRESH)}),
        ),
        accept(
            "salt-round-0",
            "SALT that begins round 0 of iteration 1",
            "SALT",
            array(&[uint(2), uint(1), bytes(&FRESH)]),
            json!({"stage": "round 0", "iteration": 1, "fresh": hex(&FRESH)}),
        ),
        accept(
            "salt-round-62",
            "SALT that begins the last round of 64 devices",
            "SALT",
            array(&[uint(64), uint(0), bytes(&FRESH)]),
            json!({"stage": "round 62", "iteration": 0, "fresh": hex(&FRESH)}),
        ),
        accept(
            "crossed",
            "CROSSED of device 7 in round 2 of iteration 1",
            "CROSSED",
            array(&[uint(1), uint(2), uint(7), bytes(&ROOT)]),
            json!({"iteration": 1, "round": 2, "ordinal": 7, "root": hex(&ROOT)}),
        ),
        accept(
            "plan-rounds",
            "two devices of 4 and 8 tiles, and a round in which one leaf of each crosses",
            "PLAN",
            array(&with_rounds(1)),
            changed(
                &plan_json,
                json!({
                    "devices": [
                        {"ordinal": 0, "matrix_offset": 0, "num_matrices": 4},
                        {"ordinal": 1, "matrix_offset": 4, "num_matrices": 8},
                    ],
                    "iterations": [{"inner_dim": 64, "sweeps": 1, "crossings": 1}],
                }),
            ),
        ),
        accept(
            "swept-one-root",
            "SWEPT of an iteration with one sweep",
            "SWEPT",
            array(&[uint(0), uint(0), array(&[bytes(&ROOT)])]),
            json!({"iteration": 0, "ordinal": 0, "roots": [hex(&ROOT)]}),
        ),
        accept(
            "swept-three-roots",
            "SWEPT of an iteration with three sweeps, in their order",
            "SWEPT",
            array(&[uint(1), uint(7), array(&[bytes(&[1; 32]), bytes(&[2; 32]), bytes(&[3; 32])])]),
            json!({"iteration": 1, "ordinal": 7, "roots": [hex(&[1; 32]), hex(&[2; 32]), hex(&[3; 32])]}),
        ),
        accept(
            "sample",
            "SAMPLE carries a seed that both sides expand",
            "SAMPLE",
            array(&[bytes(&FRESH)]),
            json!({"seed": hex(&FRESH)}),
        ),
        accept(
            "openings-one-sample",
            "one sample of a device with one tile: three chunks of one leaf, no siblings; the signature is filler",
            "OPENINGS",
            openings(&[sample()], &[]),
            json!({"openings": [sample_json.clone()], "labels": [], "signature": signature}),
        ),
        accept(
            "openings-longest-path",
            "full chunks and 25 siblings, the most that 2^32 - 1 leaves have; a label; the signature is filler",
            "OPENINGS",
            openings(
                &[array(&[opening(&chunk, &siblings[..24]), opening(&chunk, &siblings), opening(&chunk, &siblings)])],
                &[label("power", "690 W")],
            ),
            json!({
                "openings": [[
                    opening_json(&chunk, &siblings[..24]), opening_json(&chunk, &siblings),
                    opening_json(&chunk, &siblings),
                ]],
                "labels": [{"name": "power", "value": "690 W"}], "signature": signature,
            }),
        ),
        accept(
            "openings-with-attestation",
            "a third item carries what the hardware's maker attests; the signature is filler",
            "OPENINGS",
            openings_with(bytes(b"token")),
            json!({"openings": [sample_json], "labels": [], "attestation": hex(b"token"), "signature": signature}),
        ),
        accept(
            "openings-none",
            "well-formed; the session refuses it as opening-count, since a plan has at least one sample",
            "OPENINGS",
            openings(&[], &[]),
            json!({"openings": [], "labels": [], "signature": signature}),
        ),
        accept(
            "result-affirmed",
            "RESULT of a session that passed every check",
            "RESULT",
            array(&[uint(0), text(""), text("")]),
            json!({"status": 0, "reason": "", "message": ""}),
        ),
        accept(
            "result-contraindicated",
            "RESULT of a session whose openings were not signed",
            "RESULT",
            array(&[
                uint(1),
                text("signature"),
                text("OPENINGS are not signed by the identity in HELLO over this transcript"),
            ]),
            json!({
                "status": 1, "reason": "signature",
                "message": "OPENINGS are not signed by the identity in HELLO over this transcript",
            }),
        ),
        accept(
            "result-could-not-run",
            "RESULT of a session that the Verifier stopped",
            "RESULT",
            array(&[uint(2), text("stopped"), text("the Verifier was stopped")]),
            json!({"status": 2, "reason": "stopped", "message": "the Verifier was stopped"}),
        ),
        accept(
            "abort-on-a-device",
            "ABORT for want of memory on device 1",
            "ABORT",
            array(&[uint(1), uint(1), text("out of memory: 2 bytes asked for, 1 available")]),
            json!({"code": "out-of-memory", "ordinal": 1, "message": "out of memory: 2 bytes asked for, 1 available"}),
        ),
        accept(
            "abort-on-no-device",
            "ABORT that no device caused: the ordinal is null",
            "ABORT",
            array(&[uint(6), null(), text("interrupted")]),
            json!({"code": "cancelled", "ordinal": null, "message": "interrupted"}),
        ),
        accept(
            "progress-no-devices",
            "PROGRESS while no device is at work: a keep-alive",
            "PROGRESS",
            array(&[array(&[])]),
            json!({"devices": []}),
        ),
        accept(
            "progress-two-devices",
            "PROGRESS of devices 0 and 3",
            "PROGRESS",
            array(&[array(&[array(&[uint(0), uint(1000), uint(4096)]), array(&[uint(3), uint(0), uint(1 << 32)])])]),
            json!({"devices": [
                {"ordinal": 0, "done_tiles": 1000, "total_tiles": 4096},
                {"ordinal": 3, "done_tiles": 0, "total_tiles": 1u64 << 32},
            ]}),
        ),
        accept(
            "frame-ready",
            "a whole frame: type 3, one byte of payload",
            "FRAME",
            frame(3, 1, &array(&[])),
            json!({"type": "READY", "payload": "80"}),
        ),
        accept(
            "frame-nonce",
            "a whole frame: type 4, 35 bytes of payload",
            "FRAME",
            frame(4, 35, &array(&[bytes(&FRESH)])),
            json!({"type": "NONCE", "payload": hex(&array(&[bytes(&FRESH)]))}),
        ),
        accept(
            "frame-progress",
            "a whole frame of the only type outside the transcript",
            "FRAME",
            frame(0x80, 2, &array(&[array(&[])])),
            json!({"type": "PROGRESS", "payload": "8180"}),
        ),
    ]
}
