//! Whole sessions as evidence: `spec/vectors/evidence` and `spec/vectors/joint`, generated here from fixed keys, times and
//! random bytes, with the one-file reference as the device. `UPDATE_VECTORS=1` rewrites the files.

mod joint;
mod session;
mod vectors;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use protocol::bytes::hex;
use protocol::cbor::Canonical;
use protocol::evidence::{Evidence, EvidenceError};
use protocol::verdict::Verdict;
use protocol::verifier::{Mode, Step};

use session::{NONCE, evidence, hello, plan, seal, session, verify};
use vectors::{Expected, Vector, vectors};

fn file(vector: &Vector) -> Value {
    let mut file = json!({"about": vector.about, "type": "EVIDENCE", "hex": hex(&vector.bytes)});
    match vector.expected {
        Expected::Refused(_) => file["refused"] = true.into(),
        Expected::Verdict(code) => {
            let session = verify(&vector.bytes).expect("evidence");
            let verdict = session.verdict().expect("a verdict");
            assert_eq!(verdict.code(), code, "{}", vector.name);
            file["status"] = verdict.status().into();
            file["reason"] = verdict.code().into();
            file["checksum"] = json!(session.checksum().map(|checksum| checksum.to_string()));
        }
    }
    file
}

/// Compares `spec/vectors/FOLDER` with what is generated here, or writes it.
fn compare(folder: &str, files: impl IntoIterator<Item = (&'static str, Value)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../spec/vectors")
        .join(folder);
    let text = |value: &Value| serde_json::to_string_pretty(value).expect("a value is JSON") + "\n";
    let made: BTreeMap<String, String> = files
        .into_iter()
        .map(|(name, value)| (format!("{name}.json"), text(&value)))
        .collect();
    if std::env::var_os("UPDATE_VECTORS").is_some_and(|value| value == "1") {
        fs::create_dir_all(&path).expect("the folder can be made");
        for (file, text) in &made {
            fs::write(path.join(file), text).expect("the file can be written");
        }
    }
    let mut there = BTreeMap::new();
    for entry in fs::read_dir(&path).expect("the folder is there") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        there.insert(name, fs::read_to_string(&path).expect("a text file"));
    }
    assert!(
        there.keys().eq(made.keys()),
        "{:?} against {:?}",
        there.keys(),
        made.keys()
    );
    for (file, text) in &made {
        assert_eq!(&there[file], text, "{folder}/{file}; UPDATE_VECTORS=1 rewrites it");
    }
}

#[test]
fn the_files_are_what_is_made_here() {
    compare("evidence", vectors().iter().map(|v| (v.name, file(v))));
    compare("joint", joint::vectors().iter().map(|v| (v.name, v.file())));
}

#[test]
fn every_session_ends_as_its_vector_says() {
    for v in vectors() {
        match (verify(&v.bytes), v.expected) {
            (Ok(session), Expected::Verdict(code)) => {
                let verdict = session.verdict().expect("a verdict");
                assert_eq!(verdict.code(), code, "{}: {}", v.name, verdict.message());
            }
            (Err(error), Expected::Refused(begins)) => {
                assert!(error.to_string().starts_with(begins), "{}: {error}", v.name);
            }
            (other, _) => panic!("{}: {:?}", v.name, other.map(|session| session.verdict().cloned())),
        }
    }
}

#[test]
fn no_changed_byte_is_affirmed() {
    let sealed = seal(&evidence(Mode::Online, session(Mode::Online, false).records().to_vec()));
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1 << (at % 8);
        let opened = Evidence::open(&changed);
        assert!(
            matches!(opened, Err(EvidenceError::Malformed(_) | EvidenceError::Seal(_))),
            "byte {at}: {opened:?}"
        );
    }
}

#[test]
fn the_checksum_is_the_references() {
    let session = session(Mode::Online, false);
    let trace = session.trace().expect("a trace");
    let plan = plan();
    let theirs = reference::Plan {
        n: 256,
        devices: (plan.devices().iter())
            .map(|d| reference::Device {
                matrix_offset: d.matrix_offset,
                num_matrices: d.num_matrices.into(),
            })
            .collect(),
        iterations: vec![],
    };
    // The reference counts devices from 0 without gaps; chains of the first iteration do not depend on ordinals.
    let chain_0 = reference::chain_0(&NONCE, &hello().to_bytes(), &plan.to_bytes());
    assert_eq!(trace.iterations()[0].chain.0, chain_0);
    for (device, root) in theirs.devices.iter().zip(&trace.iterations()[0].fill_roots) {
        let tiles = reference::device_tiles(&reference::operand_key(&chain_0), 256, 128, device);
        let key = reference::key(&reference::fill_salt(&chain_0));
        let leaves: Vec<u64> = tiles.iter().map(|tile| reference::fill_digest(&key, tile)).collect();
        assert_eq!(root.map(|root| root.0), Some(reference::root(&leaves)));
    }
    assert!(matches!(session.step(), Step::Check) && session.checksum().is_some());
    assert_eq!(session.verdict(), None::<&Verdict>);
}
