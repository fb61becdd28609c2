//! The schemas in `docs/schemas` say what the commands print: every output of these and all other tests is checked against
//! them by `common`, and here each schema is used.

mod common;

use std::collections::BTreeSet;
use std::fs;

use common::schema::{closed, faults, folder, published, schema_of};
use common::{CPU_POLICY, Place, RECORDED, SMALL, VOUCHED, code, json, text};
use serde_json::{Value, json};

/// A folder with evidence of a session here, online and offline, a result and its keys.
fn place() -> Place {
    let place = Place::new();
    place.put("cpu.toml", CPU_POLICY);
    for arguments in [
        &[&["attest", "--evidence", "e.cbor"], &SMALL[..]].concat()[..],
        &[
            "attest",
            "--evidence",
            "alone.cbor",
            "--engine",
            "cpu",
            "--few-samples",
            "--samples",
            "1",
            "--cpu-memory",
            "1MiB",
        ],
    ] {
        let output = place.attester(arguments);
        assert!(place.path(arguments[2]).exists(), "{}", text(&output.stderr));
    }
    let challenge = place.validator(&["challenge", "--device-memory", "4MiB"]);
    place.put("c.json", &challenge.stdout);
    let keys = place.validator(&["result", "keys", "keys", "--new"]);
    place.put("jwks.json", &keys.stdout);
    let issued = place.validator(&[
        "result", "issue", "e.cbor", "--keys", "keys", "--policy", "cpu.toml", "-o", "r.jwt",
    ]);
    assert_eq!(code(&issued), 0, "{}", text(&issued.stderr));
    place
}

/// Runs commands of which each prints a result; the names of the schemas that say how it looks.
#[test]
fn every_schema_is_that_of_a_command() {
    let place = place();
    let vouched = |command: &[&'static str]| [command, &[RECORDED], &VOUCHED].concat();
    let of_validator: Vec<(&str, Vec<&str>)> = vec![
        (
            "bench",
            vec![
                "bench",
                "--time",
                "1ms",
                "--inner-dim",
                "2048",
                "--path",
                "portable",
                "--json",
            ],
        ),
        ("challenge", vec!["challenge"]),
        ("classes", vec!["classes", "--json"]),
        ("identity", vec!["identity", "--json"]),
        ("inspect", vec!["inspect", "e.cbor", "--json"]),
        ("plan", vec!["plan", "--threads", "2", "--tile-ms", "2.2", "--json"]),
        ("policy-check", vec!["policy", "check", "cpu.toml", "--json"]),
        (
            "report",
            vec!["report", "e.cbor", "--policy", "cpu.toml", "--format", "json"],
        ),
        ("report", vouched(&["report", "--format", "json"])),
        (
            "result-verify",
            vec!["result", "verify", "r.jwt", "--jwks", "jwks.json", "--json"],
        ),
        (
            "result-verify",
            vec![
                "result",
                "verify",
                "r.jwt",
                "--jwks",
                "jwks.json",
                "--json",
                "--evidence",
                "e.cbor",
                "--policy",
                "cpu.toml",
            ],
        ),
        ("verify", vec!["verify", "e.cbor", "--full", "--json"]),
        ("verify", vouched(&["verify", "--json"])),
    ];
    let of_attester: Vec<(&str, Vec<&str>)> = vec![
        ("attest", [&["attest", "--json"], &SMALL[..]].concat()),
        ("bench", vec!["bench", "--engine", "cpu", "--seconds", "0.1", "--json"]),
        ("devices", vec!["devices", "--engine", "cpu", "--json"]),
        ("identity", vec!["identity", "--json"]),
        (
            "prove",
            vec![
                "prove",
                "--engine",
                "cpu",
                "--challenge",
                "c.json",
                "--evidence",
                "o.cbor",
                "--json",
            ],
        ),
    ];
    // The Attester of a session between the two commands.
    let attester = common::attester().to_str().expect("a path");
    let agent = [
        &[
            "attest",
            "--json",
            "--device-memory",
            "4MiB",
            "--",
            attester,
            "agent",
            "--stdio",
        ][..],
        &["--engine", "cpu"],
    ];
    let of_validator = of_validator.into_iter().chain([("attest", agent.concat())]);

    let mut used: BTreeSet<String> = BTreeSet::new();
    for (name, arguments) in of_validator {
        let output = place.validator(&arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", text(&output.stderr));
        used.extend(json(&output).is_object().then(|| format!("gpu-validator-{name}.json")));
    }
    for (name, arguments) in of_attester {
        let output = place.attester(&arguments);
        assert_eq!(code(&output), 0, "{arguments:?}: {}", text(&output.stderr));
        used.extend(json(&output).is_object().then(|| format!("gpu-attestor-{name}.json")));
    }
    // Those of an offline session, too few samples and a joint record that is none.
    for (arguments, expected) in [
        (&["verify", "o.cbor", "--challenge", "c.json", "--json"][..], 0),
        (&["verify", "alone.cbor", "--json"], 2),
        (&["verify", "--joint", "cpu.toml", "e.cbor", "--json"], 2),
        (&["verify", "cpu.toml", "--json"], 2),
        (&["inspect", "cpu.toml", "--json"], 2),
        (
            &[
                "result",
                "verify",
                "r.jwt",
                "--jwks",
                "jwks.json",
                "--evidence",
                "cpu.toml",
                "--json",
            ],
            2,
        ),
    ] {
        let output = place.validator(arguments);
        assert_eq!(code(&output), expected, "{arguments:?}: {}", text(&output.stderr));
        assert!(json(&output)["verdict"].is_string(), "{arguments:?}");
    }
    // `joint.rs` has a record.
    used.extend(["gpu-validator-verify-joint.json", "error.json"].map(str::to_owned));
    let kept = fs::read_dir(folder())
        .expect("a folder")
        .map(|file| file.expect("a file").file_name());
    let kept: BTreeSet<String> = kept.map(|name| name.into_string().expect("a name")).collect();
    assert_eq!(used, kept);
    let page = fs::read_to_string(folder().join("../guide/json.md")).expect("the page");
    for name in kept {
        assert!(
            page.contains(&format!("(../schemas/{name})")),
            "docs/guide/json.md names {name}"
        );
    }
}

/// Whatever fails prints the same object, and exit codes and standard error are those without `--json`.
#[test]
fn every_failure_has_one_shape() {
    let place = place();
    place.put("wrong.toml", "[device]\nclasss = \"h100\"\n");
    place.put("text", "no token");
    for (arguments, expected, error_code, says) in [
        (&["verify", "missing.cbor"][..], 2, "failed", "missing.cbor"),
        (&["verify"], 2, "usage", "<EVIDENCE>..."),
        (
            &["verify", "e.cbor", "--threads", "0"],
            2,
            "usage",
            "invalid value '0' for '--threads <N>'",
        ),
        (&["colour"], 2, "usage", "unrecognized subcommand 'colour'"),
        (&["verify", "e.cbor", "e.cbor"], 2, "failed", "need --joint RECORD"),
        (
            &["policy", "check", "wrong.toml"],
            2,
            "invalid-input",
            "wrong.toml:2:1: device.classs: ",
        ),
        (
            &["verify", "e.cbor", "--policy", "wrong.toml"],
            2,
            "invalid-input",
            "wrong.toml:2:1: device.classs: ",
        ),
        (&["plan", "--class", "h2000"], 2, "failed", "no class \"h2000\""),
        (&["inspect", "missing.cbor"], 2, "failed", "missing.cbor"),
        (
            &["identity", "--verifier-key", "missing/k.pem"],
            2,
            "failed",
            "missing/k.pem",
        ),
        (
            &["result", "verify", "r.jwt", "--jwks", "missing.json"],
            2,
            "failed",
            "missing.json",
        ),
        (
            &["result", "verify", "text", "--jwks", "jwks.json"],
            1,
            "result-refused",
            "",
        ),
    ] {
        let plain = place.validator(arguments);
        let printed = place.validator(&[arguments, &["--json"]].concat());
        let said = text(&printed.stderr);
        assert_eq!(
            (code(&plain), code(&printed)),
            (expected, expected),
            "{arguments:?}: {said}"
        );
        // An error of usage also shows which options were given.
        let first = |bytes: &[u8]| text(bytes).lines().next().map(str::to_owned);
        assert!(plain.stdout.is_empty(), "{arguments:?}");
        assert_eq!(first(&plain.stderr), first(&printed.stderr), "{arguments:?}");
        let error = &json(&printed)["error"];
        let message = error["message"].as_str().expect("a message");
        assert_eq!(error["code"], error_code, "{arguments:?}: {message}");
        assert!(
            message.contains(says) && said.contains(says),
            "{arguments:?}: {message}"
        );
        let has_place = error.get("line").is_some();
        assert_eq!(has_place, error_code == "invalid-input", "{error}");
        if has_place {
            assert_eq!((&error["line"], &error["key"]), (&json!(2), &json!("device.classs")));
        }
    }
    for (arguments, error_code) in [
        (&["devices", "--cpu-devices", "65", "--json"][..], "usage"),
        (&["devices", "--engine", "cpu", "--devices", "7", "--json"], "failed"),
        (&["attest", "--key", "missing/k.pem", "--json"], "failed"),
    ] {
        let printed = place.attester(arguments);
        assert_eq!(
            (code(&printed), &json(&printed)["error"]["code"]),
            (2, &json!(error_code)),
            "{arguments:?}"
        );
    }
    // An option of the command that is started asks for nothing.
    let started = place.validator(&["attest", "--", "false", "--json"]);
    assert_eq!(code(&started), 2);
    assert!(
        text(&started.stdout).starts_with("verdict      could not run"),
        "text, not JSON"
    );
}

/// Every object in a value, by its path.
fn objects(path: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.push(path.to_owned());
            members
                .iter()
                .for_each(|(name, member)| objects(&format!("{path}/{name}"), member, found));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, item)| objects(&format!("{path}/{at}"), item, found));
        }
        _ => {}
    }
}

/// The check finds a member of another type, one that is missing and one that is new, wherever it is; the published schema
/// accepts what is new.
#[test]
fn the_check_finds_what_is_wrong_in_every_object() {
    let place = Place::new();
    let vouched = |command: &[&'static str]| [command, &[RECORDED], &VOUCHED].concat();
    for (command, arguments) in [
        ("gpu-validator-verify", vouched(&["verify", "--json"])),
        ("gpu-validator-report", vouched(&["report", "--format", "json"])),
        (
            "gpu-validator-plan",
            vec!["plan", "--threads", "2", "--tile-ms", "2.2", "--json"],
        ),
        ("error", vec!["verify", "missing", "--json"]),
    ] {
        let printed = json(&place.validator(&arguments));
        assert_eq!(schema_of(command, &printed), command);
        let schemas = [published(command), closed(published(command))];
        for schema in &schemas {
            assert!(faults(schema, &printed).is_empty(), "{command}");
        }
        let mut paths = Vec::new();
        objects("", &printed, &mut paths);
        for path in paths {
            let name = {
                let members = printed.pointer(&path).and_then(Value::as_object).expect("an object");
                members.keys().next().expect("a member").clone()
            };
            let are_found = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
                let mut changed = printed.clone();
                change(
                    changed
                        .pointer_mut(&path)
                        .and_then(Value::as_object_mut)
                        .expect("an object"),
                );
                schemas.each_ref().map(|schema| !faults(schema, &changed).is_empty())
            };
            let other_type = are_found(&|members| {
                // No member is of both types.
                let other = if members[&name].is_object() {
                    json!(true)
                } else {
                    json!({ "a": 1 })
                };
                members[&name] = other;
            });
            assert_eq!(other_type, [true, true], "{command}: {path}/{name} of another type");
            let missing = are_found(&|members| _ = members.remove(&name));
            assert_eq!(missing, [true, true], "{command}: {path}/{name} is missing");
            let renamed = are_found(&|members| {
                let member = members.remove(&name).expect("the member");
                members.insert(format!("{name}_"), member);
            });
            assert_eq!(renamed, [true, true], "{command}: {path}/{name} has another name");
            let new = are_found(&|members| _ = members.insert("new".to_owned(), json!(1)));
            assert_eq!(new, [false, true], "{command}: {path}/new");
        }
    }
}
