//! The output of the commands for people and programs, as snapshots: of kept evidence, or without values that depend on the
//! machine and the time.

mod common;

use common::{Place, RECORDED, SMALL, VOUCHED, assert_snapshot, code, json, text, vector};
use serde_json::{Value, json};

/// The Verifier of the vectors.
const VECTORS: [&str; 2] = [
    "--verifier",
    "66be7e332c7a453332bd9d0a7f7db055f5c5ef1a06ada66d98b39fb6810c473a",
];

/// The output of a command, which must end with this exit code.
fn printed(place: &Place, arguments: &[&str], expected: i32) -> String {
    let output = place.validator(arguments);
    assert_eq!(code(&output), expected, "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn the_recorded_h200() {
    let place = Place::new();
    let of = |command: &[&str]| printed(&place, &[command, &[RECORDED], &VOUCHED[..]].concat(), 0);
    assert_snapshot("h200.verify.txt", &of(&["verify"]));
    assert_snapshot("h200.verify.json", &of(&["verify", "--json"]));
    for format in ["html", "md", "junit", "json"] {
        let report = of(&["report", "--format", format]);
        // One element per line: the page is a single long line.
        let report = without_time(&report.replace("><", ">\n<"));
        assert_snapshot(&format!("h200.report.{format}"), &report);
    }
}

/// Removes the time at which a report was made.
fn without_time(report: &str) -> String {
    let mut lines: Vec<&str> = report.lines().collect();
    for i in 0..lines.len() {
        if lines[i].trim_start().starts_with("\"appraised_unix_ms\": ") {
            lines[i] = "  \"appraised_unix_ms\": [time],";
        } else if lines[i] == "<th scope=\"row\">Appraised</th>" {
            lines[i + 1] = "<td>[time]</td>";
        }
    }
    lines.join("\n")
}

#[test]
fn a_whole_transcript() {
    let place = Place::new();
    place.put("online.cbor", vector("affirmed-online"));
    place.put("offline.cbor", vector("affirmed-offline"));
    assert_snapshot("online.inspect.txt", &printed(&place, &["inspect", "online.cbor"], 0));
    assert_snapshot(
        "online.inspect.json",
        &printed(&place, &["inspect", "online.cbor", "--json"], 0),
    );
    let offline = printed(&place, &["inspect", "offline.cbor", "--json"], 0);
    assert_snapshot("offline.inspect.json", &offline);
}

/// Evidence that no trusted Verifier vouches for, and a session in which an Attester was caught.
#[test]
fn what_is_not_affirmed() {
    let place = Place::new();
    place.put("online.cbor", vector("affirmed-online"));
    place.put("caught.cbor", vector("invented-sweep"));
    for (name, options, exit) in [("online", &[][..], 2), ("caught", &VECTORS[..], 1)] {
        let file = format!("{name}.cbor");
        let of = |command: &[&str]| printed(&place, &[command, &[&file], options].concat(), exit);
        assert_snapshot(&format!("{name}.verify.txt"), &of(&["verify"]));
        assert_snapshot(&format!("{name}.verify.json"), &of(&["verify", "--json"]));
        for format in ["md", "junit"] {
            assert_snapshot(&format!("{name}.report.{format}"), &of(&["report", "--format", format]));
        }
    }
}

#[test]
fn a_plan() {
    let plan = ["plan", "--class", "H200", "--threads", "2", "--tile-ms", "2.2"];
    let place = Place::new();
    assert_snapshot("plan.txt", &printed(&place, &plan, 0));
    assert_snapshot("plan.json", &printed(&place, &[&plan[..], &["--json"]].concat(), 0));
}

/// Replaces values that depend on the machine and the time with their names.
fn without_measured(value: &mut Value) {
    const MEASURED: [&str; 17] = [
        "shown",
        "started_unix_ms",
        "evidence_blake3",
        "session_id",
        "verifier",
        "attester",
        "checksum",
        "fill_ns",
        "sweep_ns",
        "at_least",
        "no_bound",
        "fill_ops_per_s",
        "sweep_bytes_per_s",
        "model",
        "available_bytes",
        "reserve_bytes",
        "path",
    ];
    match value {
        Value::Object(fields) => {
            let is_bound = fields.contains_key("at_least");
            for (name, field) in fields {
                // V has the same name as a value that a device states about itself.
                let is_measured = MEASURED.contains(&name.as_str())
                    || name == "memory_bytes" && !field.is_object()
                    || name == "inner_dim" && is_bound;
                if is_measured {
                    *field = format!("[{name}]").into();
                } else {
                    without_measured(field);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(without_measured),
        _ => {}
    }
}

#[test]
fn a_session_on_this_machine() {
    let place = Place::new();
    let attest = ["attest", "--engine", "cpu", "--evidence", "e.cbor", "--json"];
    let attested = place.attester(&[&attest, &SMALL[..]].concat());
    assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
    let mut attested = json(&attested);
    without_measured(&mut attested);
    assert_snapshot("attest.json", &format!("{attested:#}\n"));
}

#[test]
fn the_devices_of_this_machine() {
    let place = Place::new();
    let devices = [
        "devices",
        "--engine",
        "cpu",
        "--cpu-devices",
        "2",
        "--cpu-threads",
        "2",
        "--json",
    ];
    let mut devices = json(&place.attester(&devices));
    without_measured(&mut devices);
    let note = devices["note"].as_str().expect("a note");
    assert!(note.starts_with("path "), "{note}");
    devices["note"] = json!("path [path]");
    assert_snapshot("devices.json", &format!("{devices:#}\n"));
}
