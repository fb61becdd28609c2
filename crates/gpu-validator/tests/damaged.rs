//! Files that are not evidence, or no longer: no command mistakes them for a cheat, nor a cheat for damage.

mod common;

use std::fs;
use std::path::Path;

use common::{Place, code, json, text};
use protocol::bytes::{DeviceOrdinal, unhex};
use serde_json::Value;
use testkit::cast;
use testkit::peer::HonestPeer;
use testkit::rehearsal::Rehearsal;

/// Evidence of a small session.
fn session() -> Vec<u8> {
    let mut peer = HonestPeer::new(cast::hello(&[4]), |_: DeviceOrdinal| cast::engine());
    Rehearsal::new(cast::request(&[(4096, 2)], 8)).run(&mut peer).sealed()
}

/// A folder with `e.cbor`, and its keys and result.
fn place() -> Place {
    let place = Place::new();
    place.put("e.cbor", session());
    let keys = place.validator(&["result", "keys", "keys", "--new"]);
    place.put("jwks.json", &keys.stdout);
    place.validator(&["result", "issue", "e.cbor", "--keys", "keys", "-o", "r.jwt"]);
    assert!(place.path("r.jwt").exists());
    place
}

/// Each command that reads evidence refuses `file` with this code: by name, in JSON if it supports that, and by exit code.
fn assert_refused(place: &Place, file: &str, expected: &str, exit: i32) {
    let verdict = if exit == 1 { "contraindicated" } else { "none" };
    for command in ["verify", "inspect"] {
        let told = place.validator(&[command, file]);
        let said = text(&told.stdout);
        assert_eq!(code(&told), exit, "{command} {file}: {said}");
        let begins = format!("verdict      {verdict} ({expected}): ");
        assert!(said.starts_with(&begins), "{command} {file}: {said}");
        // Standard error states the cause wherever there is no verdict.
        assert!(exit == 1 || text(&told.stderr).contains(expected), "{command} {file}");

        let told = place.validator(&[command, file, "--json"]);
        let value = json(&told);
        assert_eq!(code(&told), exit, "{command} {file}");
        assert_eq!(
            (&value["verdict"], &value["reason"]),
            (&verdict.into(), &expected.into())
        );
        assert!(value["message"].as_str().is_some_and(|why| !why.is_empty()), "{value}");
    }
    let judged = ["result", "verify", "r.jwt", "--jwks", "jwks.json", "--evidence", file];
    for command in [
        &["report", file][..],
        &["report", file, "--format", "json"],
        &["result", "issue", file, "--keys", "keys"],
        &["calibrate", "--class", "h200", file],
        &judged,
    ] {
        let told = place.validator(command);
        let said = text(&told.stderr);
        assert_eq!((code(&told), &told.stdout[..]), (exit, &b""[..]), "{command:?}: {said}");
        assert!(
            said.starts_with(&format!("refused: evidence {file}: ")),
            "{command:?}: {said}"
        );
        assert!(said.ends_with(&format!(" ({expected})\n")), "{command:?}: {said}");
    }
    let told = place.validator(&[&judged[..], &["--json"]].concat());
    let value = json(&told);
    assert_eq!((code(&told), &value["reason"]), (exit, &expected.into()), "{value}");
}

#[test]
fn cut_and_foreign_files_are_refused() {
    let place = place();
    let sealed = fs::read(place.path("e.cbor")).expect("evidence");
    place.put("cut", &sealed[..sealed.len() * 2 / 3]);
    place.put("longer", [&sealed[..], b"\n"].concat());
    let mut flipped = sealed.clone();
    *flipped.last_mut().expect("a seal") ^= 1;
    place.put("flipped", flipped);
    place.put("empty", b"");
    place.put(
        "upload.html",
        "<!doctype html><title>502 Bad Gateway</title>".repeat(400),
    );
    fs::create_dir(place.path("folder")).expect("a folder");
    for file in [
        "cut",
        "longer",
        "flipped",
        "empty",
        "upload.html",
        "folder",
        "/dev/null",
        "jwks.json",
    ] {
        assert_refused(&place, file, "damaged-evidence", 2);
    }
    // Only the beginning of an endless file is read.
    assert_refused(&place, "/dev/zero", "damaged-evidence", 2);
    let missing = place.validator(&["verify", "missing", "--json"]);
    assert_eq!(
        (code(&missing), &json(&missing)["error"]["code"]),
        (2, &"failed".into())
    );
    assert_eq!(json(&missing).get("verdict"), None);
}

#[test]
fn evidence_of_another_version_is_told_as_such() {
    let place = place();
    let sealed = fs::read(place.path("e.cbor")).expect("evidence");
    // The head of the array, the head of the text, the text, the version.
    let version = 2 + "gpu-attestor evidence".len();
    assert_eq!((sealed[0], sealed[version]), (0x8A, 1));
    let (mut other, mut longer) = (sealed.clone(), sealed);
    other[version] = 2;
    longer[version] = 3;
    longer[0] = 0x8C;
    place.put("other", other);
    place.put("longer", longer);
    for (file, number) in [("other", "got 2"), ("longer", "got 3")] {
        assert_refused(&place, file, "unsupported-version", 2);
        let said = text(&place.validator(&["verify", file]).stdout);
        assert!(said.contains(number) && said.contains("reads version 1"), "{said}");
    }
}

/// The specification's refused evidence: damage if the seal is invalid or the format is broken, a cheat if both are valid.
#[test]
fn what_was_altered_under_a_valid_seal_is_no_damage() {
    let place = place();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/evidence");
    let mut damaged = Vec::new();
    for entry in fs::read_dir(folder).expect("the vectors").flatten() {
        let vector: Value = serde_json::from_slice(&fs::read(entry.path()).expect("a vector")).expect("JSON");
        if vector["refused"] != true {
            continue;
        }
        place.put("vector.cbor", unhex(vector["hex"].as_str().expect("hex")).expect("hex"));
        let told = place.validator(&["inspect", "vector.cbor", "--json"]);
        let reason = json(&told)["reason"].clone();
        let name = entry.file_name().to_string_lossy().into_owned();
        if code(&told) == 2 {
            assert_eq!(reason, "damaged-evidence", "{name}");
            damaged.push(name);
        } else {
            assert_eq!((code(&told), reason), (1, "evidence-refused".into()), "{name}");
        }
    }
    damaged.sort();
    let expected = [
        "byte-changed.json",
        "cut.json",
        "hello-deadline-of-0-ms.json",
        "hello-deadline-too-long.json",
        "offline-exporter.json",
        "offline-hello-deadline.json",
        "seal-changed.json",
        "shorter-than-a-seal.json",
    ];
    assert_eq!(damaged, expected);

    let foreign: Value =
        serde_json::from_str(include_str!("../../../spec/vectors/evidence/foreign-sealer.json")).expect("JSON");
    place.put(
        "foreign.cbor",
        unhex(foreign["hex"].as_str().expect("hex")).expect("hex"),
    );
    assert_refused(&place, "foreign.cbor", "evidence-refused", 1);
}
