//! `spec/vectors/verdicts`: sealed evidence of one session for every reason, named by its code. `UPDATE_VECTORS=1` rewrites
//! the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::bytes::{hex, unhex};
use protocol::evidence::Evidence;
use serde_json::{Value, json};
use testkit::cast;
use verifier::outcome::Judge;
use verifier::{Unobserved, verify};

use crate::REHEARSED;
use crate::stage::JUDGED;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/verdicts")
}

/// The first attack that results in each reason, and its evidence.
fn made() -> BTreeMap<String, Value> {
    let attacks = REHEARSED.iter().copied().flatten();
    testkit::reasons::codes()
        .into_iter()
        .map(|code| {
            let attack = attacks.clone().find(|attack| attack.code == code);
            let attack = attack.unwrap_or_else(|| panic!("no attack ends in {code}"));
            let verdict = (attack.play)();
            assert_eq!(verdict.code(), code, "{}", attack.name);
            let name = attack.name.rsplit("::").next().unwrap_or(attack.name);
            let sealed = JUDGED.take();
            let file = json!({
                "about": name.replace('_', " "),
                "type": "EVIDENCE",
                "hex": hex(&sealed),
                "status": verdict.status(),
                "reason": code,
                "checksum": checksum(&sealed),
            });
            (format!("{code}.json"), file)
        })
        .collect()
}

/// The checksum of the session in `sealed`, if the session reached it.
fn checksum(sealed: &[u8]) -> Option<String> {
    let evidence = Evidence::open(sealed).expect("evidence");
    let session = evidence.replay().expect("a session");
    session.checksum().map(|checksum| checksum.to_string())
}

/// The existing files.
fn there() -> BTreeMap<String, Value> {
    fs::read_dir(folder())
        .expect("spec/vectors/verdicts is there")
        .map(|entry| {
            let path = entry.expect("a readable folder").path();
            let text = fs::read_to_string(&path).expect("a text file");
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, serde_json::from_str(&text).expect("JSON"))
        })
        .collect()
}

#[test]
fn the_files_are_what_is_played_here() {
    let made = made();
    if std::env::var_os("UPDATE_VECTORS").is_some_and(|value| value == "1") {
        fs::create_dir_all(folder()).expect("the folder can be made");
        for (name, file) in &made {
            let text = serde_json::to_string_pretty(file).expect("a value is JSON");
            fs::write(folder().join(name), text + "\n").expect("the file can be written");
        }
    }
    let there = there();
    assert!(
        there.keys().eq(made.keys()),
        "{:?} against {:?}",
        there.keys(),
        made.keys()
    );
    for (name, file) in &made {
        assert_eq!(&there[name], file, "verdicts/{name}; UPDATE_VECTORS=1 rewrites it");
    }

    for (name, file) in there {
        let sealed = unhex(file["hex"].as_str().expect("text")).expect("hexadecimal");
        let verified = verify(&sealed, &cast::recompute(), &Judge::of_nobody(), &Unobserved)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let verdict = verified.session.verdict().expect("a verdict");
        assert_eq!(file["reason"], verdict.code(), "{name}");
        assert_eq!(file["status"], verdict.status(), "{name}");
        assert_eq!(file["checksum"], json!(checksum(&sealed)), "{name}");
        assert_eq!(name, format!("{}.json", verdict.code()));
    }
}
