//! Evidence as JSON that another implementation can check: canonical bytes, roots, salts, times, samples, openings.

use protocol::bytes::hex;
use protocol::cbor::{Canonical, Label};
use protocol::commitment::Opening;
use protocol::evidence::Evidence;
use protocol::frame::{Frame, MessageType};
use protocol::limits::LEAVES_PER_CHUNK;
use protocol::message::{DeviceOffer, Hello};
use protocol::plan::Plan;
use protocol::record::{Event, Record};
use protocol::trace::{Site, Trace};
use protocol::verifier::{Mode, Step, VerifierSession};
use serde_json::{Value, json};

use crate::assumptions::Assumed;

/// The whole transcript of `evidence`, whose records `session` has replayed. No tile is recomputed.
#[must_use]
pub fn to_json(evidence: &Evidence, session: &VerifierSession) -> Value {
    let mut assumptions = json!(Assumed::from(&evidence.assumptions));
    assumptions["error_bits"] = evidence.assumptions.error_bits.into();
    let is_online = evidence.config.mode == Mode::Online;
    json!({
        "format": "gpu-attestor transcript",
        "mode": if is_online { "online" } else { "offline" },
        "started_unix_ms": evidence.started_unix_ms,
        "sealer": evidence.sealer.to_string(),
        "tls_exporter": evidence.config.tls_exporter.as_ref().map(|value| hex(value)),
        "hello_deadline_ms": evidence.config.hello_deadline_ms,
        "assumptions": assumptions,
        "challenge": evidence.challenge.as_ref().map(crate::challenge_file::to_json),
        "state": match (session.verdict(), session.step()) {
            (Some(verdict), _) => json!({ "verdict": verdict.name(), "reason": verdict.code(), "message": verdict.message() }),
            (None, Step::Check) => json!("every check passed but the recomputing of tiles, which inspect does not do"),
            (None, step) => json!(format!("{step:?}")),
        },
        "hello": session.hello().map(hello),
        "hello_hex": payload(evidence, MessageType::Hello),
        "plan": session.plan().map(plan),
        "plan_hex": payload(evidence, MessageType::Plan),
        "nonce": session.trace().and(payload(evidence, MessageType::Nonce).map(|hex| hex[hex.len() - 64..].to_owned())),
        "iterations": session.trace().map(|trace| iterations(trace, session)).unwrap_or_default(),
        "checksum": session.checksum().map(|checksum| checksum.to_string()),
        "samples": samples(session),
        "session_labels": session.said().map(|said| labels(&said.labels)),
        "attestation_hex": session.said().and_then(|said| said.attestation.as_deref()).map(hex),
        "records": evidence.records.iter().map(record).collect::<Vec<_>>(),
    })
}

fn hello(hello: &Hello) -> Value {
    json!({
        "versions": hello.versions,
        "suites": hello.suites,
        "identity": hello.identity.to_string(),
        "software": hello.software,
        "labels": labels(&hello.labels),
        "devices": hello.devices.iter().map(offer).collect::<Vec<_>>(),
    })
}

fn offer(offer: &DeviceOffer) -> Value {
    json!({
        "ordinal": offer.ordinal.0,
        "engine": offer.engine,
        "model": offer.model,
        "memory_bytes": offer.memory_bytes,
        "available_bytes": offer.available_bytes,
        "reserve_bytes": offer.reserve_bytes,
        "operand_copies": offer.operand_copies,
        "operand_rows": offer.operand_rows,
        "labels": labels(&offer.labels),
    })
}

fn labels(labels: &[Label]) -> Value {
    labels.iter().map(|label| json!([label.name, label.value])).collect()
}

fn plan(plan: &Plan) -> Value {
    let fields = plan.fields();
    json!({
        "session_id": hex(&fields.session_id),
        "verifier": fields.verifier.to_string(),
        "verifier_name": fields.verifier_name,
        "audience": fields.audience,
        "matrix_dim": fields.matrix_dim,
        "devices": fields.devices.iter().map(|device| json!({
            "ordinal": device.ordinal.0,
            "matrix_offset": device.matrix_offset,
            "num_matrices": device.num_matrices,
        })).collect::<Vec<_>>(),
        "iterations": fields.iterations.iter().map(|iteration| json!({
            "inner_dim": iteration.inner_dim,
            "sweeps": iteration.sweeps,
        })).collect::<Vec<_>>(),
        "samples": fields.samples,
        "deadlines_ms": {
            "ready": fields.deadlines.ready_ms,
            "fill": fields.deadlines.fill_ms,
            "sweep": fields.deadlines.sweep_ms,
            "openings": fields.deadlines.openings_ms,
        },
    })
}

fn iterations(trace: &Trace, session: &VerifierSession) -> Vec<Value> {
    let iterations = trace.iterations().iter().zip(session.windows());
    iterations
        .map(|(iteration, windows)| {
            let after = |arrivals: &[(protocol::bytes::DeviceOrdinal, u64)]| -> Value {
                arrivals
                    .iter()
                    .map(|(device, after_ns)| json!({ "device": device.0, "after_ns": after_ns }))
                    .collect()
            };
            json!({
                "chain": iteration.chain.to_string(),
                "fill_roots": iteration.fill_roots.iter().map(|root| root.map(|root| root.to_string())).collect::<Vec<_>>(),
                "v": iteration.v.map(|v| v.to_string()),
                "sweep_salts": strings(&iteration.sweep_salts),
                "sweep_roots": strings(&iteration.sweep_roots),
                "w": iteration.w.map(|w| w.to_string()),
                "fill_start_ns": windows.fill_start_ns,
                "fill_ns": windows.fill_ns,
                "sweep_ns": windows.sweep_ns,
                "filled": after(&windows.filled_after_ns),
                "swept": after(&windows.swept_after_ns),
            })
        })
        .collect()
}

fn strings<T: ToString>(lists: &[Vec<T>]) -> Vec<Vec<String>> {
    lists
        .iter()
        .map(|list| list.iter().map(ToString::to_string).collect())
        .collect()
}

fn samples(session: &VerifierSession) -> Vec<Value> {
    let openings = session.openings().map(|body| body.openings).unwrap_or_default();
    session
        .sites()
        .enumerate()
        .map(|(i, site)| {
            let opened = openings.get(i).map(|[sweep, a, b]| {
                json!({
                    "sweep": opening(sweep, site.sample.leaf),
                    "fill_a": opening(a, site.pair[0]),
                    "fill_b": opening(b, site.pair[1]),
                })
            });
            sample(site, opened)
        })
        .collect()
}

fn sample(site: &Site, opened: Option<Value>) -> Value {
    json!({
        "device": site.sample.device.0,
        "iteration": site.sample.iteration,
        "sweep": site.sample.sweep,
        "leaf": site.sample.leaf,
        "inner_dim": site.inner_dim,
        "operand_key": hex(&site.operand_key.0),
        "fill_salt": site.fill_salt.to_string(),
        "sweep_salt": site.sweep_salt.to_string(),
        "tiles": site.pair,
        "coordinates": site.tiles.map(|tile| json!({
            "matrix": tile.matrix,
            "row_block": tile.row_block,
            "column_block": tile.column_block,
        })),
        "fill_root": site.fill_root.to_string(),
        "fill_leaves": site.fill_leaves,
        "sweep_root": site.sweep_root.to_string(),
        "sweep_leaves": site.sweep_leaves,
        "openings": opened,
    })
}

fn opening(opening: &Opening, leaf: u32) -> Value {
    let at = (u64::from(leaf) % LEAVES_PER_CHUNK) as usize * 8;
    let digest = opening.chunk.get(at..at + 8).map(|bytes| {
        let digest = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        format!("{digest:016x}")
    });
    json!({
        "leaf": leaf,
        "leaf_digest": digest,
        "chunk": hex(&opening.chunk),
        "siblings": opening.siblings.iter().map(|sibling| hex(sibling)).collect::<Vec<_>>(),
    })
}

/// The payload of the first message of this type, hex.
fn payload(evidence: &Evidence, message_type: MessageType) -> Option<String> {
    evidence.records.iter().find_map(|record| match &record.event {
        Event::Sent(frame) | Event::Received(frame) if frame.message_type() == Some(message_type) => {
            Some(hex(&frame.payload))
        }
        _ => None,
    })
}

fn record(record: &Record) -> Value {
    let frame = |direction: &str, frame: &Frame| {
        json!({
            "at_ns": record.at_ns,
            "direction": direction,
            "type": frame.message_type().map_or_else(|| frame.type_number.to_string(), |kind| kind.name().to_owned()),
            "payload_bytes": frame.payload.len(),
            "payload_blake3": blake3::hash(&frame.payload).to_hex().to_string(),
        })
    };
    match &record.event {
        Event::Sent(sent) => frame("sent", sent),
        Event::Received(received) => frame("received", received),
        Event::Ended(cause) => json!({
            "at_ns": record.at_ns,
            "direction": "ended",
            "cause": format!("{cause:?}"),
            "hex": hex(&cause.to_bytes()),
        }),
    }
}
