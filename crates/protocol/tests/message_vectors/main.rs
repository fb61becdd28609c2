//! The message vectors of `spec/vectors/accept` and `spec/vectors/reject`: generated here by a separate CBOR encoder,
//! compared with the files byte for byte, and given to this crate's decoders. `UPDATE_VECTORS=1` rewrites the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use protocol::attester::AttesterSession;
use protocol::bytes::hex;
use protocol::cbor::{Canonical, Label};
use protocol::commitment::Opening;
use protocol::frame::{HEADER_BYTES, MessageType, parse_header};
use protocol::message::{
    Abort, Crossed, DeviceProgress, Filled, Hello, NonceMessage, OpeningsBody, ProgressMessage, Ready, ResultMessage,
    SaltMessage, SampleMessage, Stage, Swept,
};
use protocol::plan::Plan;
use protocol::verifier::{Mode, SIGNATURE_BYTES, VerifierConfig, VerifierSession};

mod accept;
mod encoding;
mod reject;

use accept::accepts;
use reject::rejects;

/// The decoded value of `bytes`, if the value's canonical bytes are `bytes` again.
fn decode(kind: &str, bytes: &[u8]) -> Result<Value, String> {
    match kind {
        "HELLO" => read(bytes, hello_json),
        "PLAN" => read(bytes, plan_json),
        "READY" => read(bytes, |Ready| json!({})),
        "NONCE" => read(bytes, |NonceMessage(nonce)| json!({"nonce": nonce.to_string()})),
        "FILLED" => read(
            bytes,
            |m: Filled| json!({"iteration": m.iteration, "ordinal": m.device.0, "root": m.root.to_string()}),
        ),
        "SALT" => read(bytes, |m: SaltMessage| {
            let stage = match m.stage {
                Stage::V => "v".to_owned(),
                Stage::W => "w".to_owned(),
                Stage::Round(round) => format!("round {round}"),
            };
            json!({"stage": stage, "iteration": m.iteration, "fresh": m.fresh.to_string()})
        }),
        "SWEPT" => read(bytes, |m: Swept| {
            let roots: Vec<String> = m.roots.iter().map(ToString::to_string).collect();
            json!({"iteration": m.iteration, "ordinal": m.device.0, "roots": roots})
        }),
        "CROSSED" => read(
            bytes,
            |m: Crossed| json!({"iteration": m.iteration, "round": m.round, "ordinal": m.device.0, "root": m.root.to_string()}),
        ),
        "SAMPLE" => read(bytes, |SampleMessage(seed)| json!({"seed": seed.to_string()})),
        "OPENINGS" => {
            let Some((body, signature)) = bytes.split_last_chunk::<SIGNATURE_BYTES>() else {
                return Err(format!("{} bytes, shorter than a signature", bytes.len()));
            };
            let mut body = read(body, openings_json)?;
            body["signature"] = hex(signature).into();
            Ok(body)
        }
        "RESULT" => read(
            bytes,
            |m: ResultMessage| json!({"status": m.status, "reason": m.reason, "message": m.message}),
        ),
        "ABORT" => read(
            bytes,
            |m: Abort| json!({"code": m.code.name(), "ordinal": m.device.map(|g| g.0), "message": m.message}),
        ),
        "PROGRESS" => read(bytes, |m: ProgressMessage| {
            let device = |d: &DeviceProgress| {
                let (done, total) = (d.done_tiles, d.total_tiles);
                json!({"ordinal": d.device.0, "done_tiles": done, "total_tiles": total})
            };
            json!({"devices": m.devices.iter().map(device).collect::<Vec<_>>()})
        }),
        "FRAME" => decode_frame(bytes),
        other => panic!("no message type {other}"),
    }
}

fn read<T: Canonical>(bytes: &[u8], describe: impl FnOnce(T) -> Value) -> Result<Value, String> {
    let value = T::from_bytes(bytes).map_err(|e| e.to_string())?;
    assert_eq!(hex(&value.to_bytes()), hex(bytes), "one value, one encoding");
    Ok(describe(value))
}

fn hello_json(hello: Hello) -> Value {
    let device = |d: &protocol::message::DeviceOffer| {
        json!({
            "ordinal": d.ordinal.0, "engine": d.engine, "model": d.model, "memory_bytes": d.memory_bytes,
            "available_bytes": d.available_bytes, "reserve_bytes": d.reserve_bytes,
            "operand_copies": d.operand_copies, "operand_rows": d.operand_rows, "labels": labels_json(&d.labels),
        })
    };
    json!({
        "versions": hello.versions, "suites": hello.suites, "identity": hello.identity.to_string(),
        "software": hello.software, "labels": labels_json(&hello.labels),
        "devices": hello.devices.iter().map(device).collect::<Vec<_>>(),
    })
}

fn labels_json(labels: &[Label]) -> Value {
    let label = |label: &Label| json!({"name": label.name, "value": label.value});
    labels.iter().map(label).collect()
}

fn plan_json(plan: Plan) -> Value {
    let p = plan.fields();
    let devices: Vec<Value> = (p.devices.iter())
        .map(|d| json!({"ordinal": d.ordinal.0, "matrix_offset": d.matrix_offset, "num_matrices": d.num_matrices}))
        .collect();
    let iterations: Vec<Value> = (p.iterations.iter())
        .map(|i| match i.crossings {
            0 => json!({"inner_dim": i.inner_dim, "sweeps": i.sweeps}),
            crossings => json!({"inner_dim": i.inner_dim, "sweeps": i.sweeps, "crossings": crossings}),
        })
        .collect();
    json!({
        "version": 1, "suite": 1, "session_id": hex(&p.session_id), "verifier": p.verifier.to_string(),
        "verifier_name": p.verifier_name, "audience": p.audience, "matrix_dim": p.matrix_dim, "devices": devices,
        "iterations": iterations, "samples": p.samples,
        "deadlines": {
            "ready_ms": p.deadlines.ready_ms, "fill_ms": p.deadlines.fill_ms, "sweep_ms": p.deadlines.sweep_ms,
            "openings_ms": p.deadlines.openings_ms,
        },
    })
}

fn openings_json(body: OpeningsBody) -> Value {
    let opening = |o: &Opening| {
        let siblings: Vec<String> = o.siblings.iter().map(|s| hex(s)).collect();
        json!({"chunk": hex(&o.chunk), "siblings": siblings})
    };
    let samples: Vec<Vec<Value>> = (body.openings.iter())
        .map(|sample| sample.iter().map(opening).collect())
        .collect();
    let mut value = json!({"openings": samples, "labels": labels_json(&body.labels)});
    if let Some(attestation) = &body.attestation {
        value["attestation"] = hex(attestation).into();
    }
    value
}

/// A whole frame under the caps that apply before PLAN: the Attester's for a Verifier's messages, and the other way round.
fn decode_frame(bytes: &[u8]) -> Result<Value, String> {
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err(format!("header of {} bytes", bytes.len()));
    };
    let (number, length) = parse_header(header);
    let message_type = MessageType::from_number(number);
    let name = message_type.map_or_else(|| format!("type {number}"), |known| known.name().to_owned());
    let verifier = VerifierSession::new(VerifierConfig {
        mode: Mode::Online,
        hello_deadline_ms: 1,
        tls_exporter: None,
    });
    let cap = verifier
        .max_payload_bytes(number)
        .max(AttesterSession::max_payload_bytes(number));
    if length > cap {
        return Err(format!("length {length} of {name}, at most {cap}"));
    }
    if payload.len() as u64 != length {
        return Err(format!("payload of {} bytes, announced {length}", payload.len()));
    }
    if message_type.is_none() {
        return Err(name);
    }
    Ok(json!({"type": name, "payload": hex(payload)}))
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../spec/vectors")
        .join(name)
}

/// Every file that should be in `folder`, by name.
fn files(folder: &str) -> BTreeMap<String, String> {
    let entries: Vec<(String, Value)> = match folder {
        "accept" => (accepts().into_iter())
            .map(|v| {
                let hex = hex(&v.bytes);
                (
                    v.name.to_owned(),
                    json!({"about": v.about, "type": v.kind, "hex": hex, "decoded": v.decoded}),
                )
            })
            .collect(),
        _ => (rejects().into_iter())
            .map(|v| {
                let about = v.name.replace('-', " ");
                (
                    v.name,
                    json!({"about": about, "type": v.kind, "hex": hex(&v.bytes), "error": v.rule}),
                )
            })
            .collect(),
    };
    let count = entries.len();
    let files: BTreeMap<String, String> = (entries.into_iter())
        .map(|(name, value)| {
            let text = serde_json::to_string_pretty(&value).expect("a value is JSON");
            (format!("{name}.json"), text + "\n")
        })
        .collect();
    assert_eq!(files.len(), count, "names of {folder} vectors are distinct");
    files
}

#[test]
fn the_files_are_what_is_made_here() {
    for name in ["accept", "reject"] {
        let (folder, made) = (folder(name), files(name));
        if std::env::var_os("UPDATE_VECTORS").is_some_and(|value| value == "1") {
            fs::create_dir_all(&folder).expect("the folder can be made");
            for (file, text) in &made {
                fs::write(folder.join(file), text).expect("the file can be written");
            }
        }
        let mut there = BTreeMap::new();
        for entry in fs::read_dir(&folder).expect("spec/vectors has the folder") {
            let path = entry.expect("a readable folder").path();
            let file = path.file_name().expect("a file").to_string_lossy().into_owned();
            there.insert(file, fs::read_to_string(&path).expect("a text file"));
        }
        let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            names(&there),
            names(&made),
            "files of {name}; UPDATE_VECTORS=1 writes, never deletes"
        );
        for (file, text) in &made {
            assert_eq!(&there[file], text, "{name}/{file}; UPDATE_VECTORS=1 rewrites it");
        }
    }
}

#[test]
fn every_accept_decodes_to_its_value_and_back_to_its_bytes() {
    for v in accepts() {
        assert_eq!(decode(v.kind, &v.bytes), Ok(v.decoded), "{}", v.name);
    }
}

#[test]
fn every_reject_is_refused_for_its_own_defect() {
    let mut wrong = Vec::new();
    for v in rejects() {
        assert!(v.rule.starts_with('§'), "{}: names a rule of the spec", v.name);
        match decode(v.kind, &v.bytes) {
            Err(error) if error.starts_with(v.error) => {}
            other => wrong.push(format!("{}: {other:?}, expected {:?}", v.name, v.error)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_message_type_has_vectors_of_both_kinds() {
    for kind in MessageType::ALL {
        assert!(accepts().iter().any(|v| v.kind == kind.name()), "{kind}");
        assert!(rejects().iter().any(|v| v.kind == kind.name()), "{kind}");
    }
}

#[test]
fn every_cut_of_an_accepted_message_is_refused() {
    for v in accepts().into_iter().filter(|v| v.bytes.len() < 4096) {
        for end in 0..v.bytes.len() {
            assert!(decode(v.kind, &v.bytes[..end]).is_err(), "{} cut at {end}", v.name);
        }
    }
}

#[test]
fn no_changed_bit_decodes_to_the_same_value() {
    for v in accepts().into_iter().filter(|v| v.bytes.len() < 4096) {
        for bit in 0..v.bytes.len() * 8 {
            let mut changed = v.bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode(v.kind, &changed), Ok(v.decoded.clone()), "{}, bit {bit}", v.name);
        }
    }
}
