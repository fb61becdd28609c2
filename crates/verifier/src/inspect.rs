//! Evidence as JSON that another implementation can check: canonical bytes, roots, salts, times, samples, openings.

use protocol::bytes::{DeviceOrdinal, hex};
use protocol::cbor::{Canonical, Label};
use protocol::commitment::Opening;
use protocol::engine::Pass;
use protocol::evidence::Evidence;
use protocol::frame::{Frame, MessageType};
use protocol::limits::LEAVES_PER_CHUNK;
use protocol::message::{DeviceOffer, Hello};
use protocol::plan::{DevicePlan, Plan};
use protocol::record::{Event, Record};
use protocol::trace::{RoundTrace, Site, Trace};
use protocol::verifier::{Mode, Step, VerifierSession, Windows};
use serde::Serialize;

use crate::assumptions::Assumed;
use crate::challenge_file::{ChallengeFile, IterationReport};

/// The transcript in evidence. Bytes are in hexadecimal.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Transcript {
    /// Always `gpu-attestor transcript`.
    pub format: &'static str,
    /// `online` or `offline`.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["online", "offline"])))]
    pub mode: &'static str,
    /// Start by the recorder's clock, ms since the Unix epoch; information, not evidence of time.
    pub started_unix_ms: u64,
    /// The key that sealed the evidence.
    pub sealer: String,
    /// The TLS exporter that the session is bound to; null without one.
    pub tls_exporter: Option<String>,
    /// How long HELLO could take, ms.
    pub hello_deadline_ms: u64,
    /// The assumptions that the evidence states.
    pub assumptions: StatedAssumptions,
    /// The challenge of offline evidence; else null.
    pub challenge: Option<ChallengeFile>,
    /// How the session ended.
    pub state: State,
    /// HELLO; null if none came.
    pub hello: Option<HelloReport>,
    /// HELLO's canonical bytes.
    pub hello_hex: Option<String>,
    /// PLAN; null if none was sent.
    pub plan: Option<PlanMessage>,
    /// PLAN's canonical bytes.
    pub plan_hex: Option<String>,
    /// The nonce; null if none was sent.
    pub nonce: Option<String>,
    /// Iterations that began, in order.
    pub iterations: Vec<IterationTrace>,
    /// The chain after the last iteration; null if the session did not get that far.
    pub checksum: Option<String>,
    /// The samples, in the order in which they were drawn.
    pub samples: Vec<SampleReport>,
    /// What the Attester says of the session, name and value; not evidence. Null without OPENINGS.
    pub session_labels: Option<Vec<[String; 2]>>,
    /// The attestation of the hardware's manufacturer, as received; null without one.
    pub attestation_hex: Option<String>,
    /// Messages and the session's end, in order.
    pub records: Vec<RecordReport>,
}

/// The assumptions that evidence states.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StatedAssumptions {
    /// The figures.
    #[serde(flatten)]
    pub assumed: Assumed,
    /// The soundness error of a device and distinct k is 2^-this.
    pub error_bits: u32,
}

/// How a session ended.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum State {
    /// With a verdict.
    Ended {
        /// `affirmed`, `contraindicated` or `could not run`.
        verdict: &'static str,
        /// The reason's code; empty when affirmed.
        reason: &'static str,
        /// The reason for people; empty when affirmed.
        message: String,
    },
    /// Without a verdict: what is left to do. `inspect` recomputes no tile.
    Open(String),
}

/// HELLO.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HelloReport {
    /// Protocol versions that the Attester supports.
    pub versions: Vec<u32>,
    /// Suites that it supports.
    pub suites: Vec<u32>,
    /// The Attester's key.
    pub identity: String,
    /// The software that it states.
    pub software: String,
    /// What it states about the host: name and value, in order.
    pub labels: Vec<[String; 2]>,
    /// Its devices.
    pub devices: Vec<OfferReport>,
}

/// A device of HELLO; all of it is what the Attester states.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OfferReport {
    /// Its ordinal.
    pub ordinal: u32,
    /// The engine that drives it.
    pub engine: String,
    /// Its model.
    pub model: String,
    /// Its memory, bytes.
    pub memory_bytes: u64,
    /// Memory that can be allocated now, bytes.
    pub available_bytes: u64,
    /// The part of it that the engine needs for any plan, bytes.
    pub reserve_bytes: u64,
    /// Operands of n x k bytes held in addition to the dataset.
    pub operand_copies: u32,
    /// Operand rows of k bytes held in addition to these.
    pub operand_rows: u32,
    /// What else is stated: name and value, in order.
    pub labels: Vec<[String; 2]>,
}

/// PLAN.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanMessage {
    /// Session id.
    pub session_id: String,
    /// The Verifier's key.
    pub verifier: String,
    /// The Verifier's name for people.
    pub verifier_name: String,
    /// The party that the evidence is for; empty for none.
    pub audience: String,
    /// n: rows and columns of a matrix.
    pub matrix_dim: u32,
    /// Devices, in the order of their ordinals.
    pub devices: Vec<PlannedDevice>,
    /// Iterations, in order.
    pub iterations: Vec<IterationReport>,
    /// Samples per device and distinct k.
    pub samples: u32,
    /// The most that each phase may take.
    pub deadlines_ms: DeadlinesReport,
}

/// A device of PLAN.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlannedDevice {
    /// Its ordinal.
    pub ordinal: u32,
    /// Global index of its first matrix.
    pub matrix_offset: u64,
    /// Matrices that it holds.
    pub num_matrices: u32,
}

/// The most that each phase may take, ms.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeadlinesReport {
    /// From PLAN to READY.
    pub ready: u64,
    /// From NONCE or SALT w to the last FILLED of an iteration.
    pub fill: u64,
    /// From SALT v to the last SWEPT of an iteration.
    pub sweep: u64,
    /// From SAMPLE to OPENINGS.
    pub openings: u64,
}

/// What an iteration derived and committed to. Lists with one entry per device are in the plan's order.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IterationTrace {
    /// The chain at its start.
    pub chain: String,
    /// Per device: root of the fill digests; null until FILLED.
    pub fill_roots: Vec<Option<String>>,
    /// SALT v; null if none was sent.
    pub v: Option<String>,
    /// Per device and sweep: the salt.
    pub sweep_salts: Vec<Vec<String>>,
    /// Per device and sweep: the root.
    pub sweep_roots: Vec<Vec<String>>,
    /// SALT w; null if none was sent.
    pub w: Option<String>,
    /// The fill window's start, ns since the session began.
    pub fill_start_ns: u64,
    /// The fill window's length, ns; 0 if it did not end.
    pub fill_ns: u64,
    /// The sweep window's length, ns; 0 if it did not end.
    pub sweep_ns: u64,
    /// When FILLED arrived.
    pub filled: Vec<Arrival>,
    /// When the last SWEPT arrived.
    pub swept: Vec<Arrival>,
    /// The rounds begun, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<RoundReport>,
}

/// A round of the tournament.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RoundReport {
    /// The Verifier's fresh bytes.
    pub fresh: String,
    /// Salt of each device's leaves.
    pub salts: Vec<String>,
    /// Root of each device's leaves; null if it rests or has not answered.
    pub roots: Vec<Option<String>>,
    /// The window's length, ns; 0 if it did not end.
    pub round_ns: u64,
    /// When CROSSED arrived.
    pub crossed: Vec<Arrival>,
}

/// When a device's message arrived.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Arrival {
    /// The device's ordinal.
    pub device: u32,
    /// Since the window's start, ns.
    pub after_ns: u64,
}

/// A sample: a leaf of a sweep or round with the two tiles that it pairs.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SampleReport {
    /// The device's ordinal.
    pub device: u32,
    /// Iteration, from 0.
    pub iteration: u32,
    /// Sweep within the iteration, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<u32>,
    /// Round within the iteration, from 0, if the leaf is of no sweep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    /// Leaf within the sweep or round, from 0.
    pub leaf: u32,
    /// k of the iteration.
    pub inner_dim: u32,
    /// Key of the iteration's operands.
    pub operand_key: String,
    /// Salt of the iteration's fill digests.
    pub fill_salt: String,
    /// Salt of the sweep or round.
    pub sweep_salt: String,
    /// Indices of the two tiles; equal for an odd last tile.
    pub tiles: [u32; 2],
    /// Coordinates of the two tiles.
    pub coordinates: [CoordinatesReport; 2],
    /// Root of the device's fill digests.
    pub fill_root: String,
    /// Leaves under that root.
    pub fill_leaves: u64,
    /// The device of the second tile, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<OtherReport>,
    /// Root of the sweep or round.
    pub sweep_root: String,
    /// Leaves under that root.
    pub sweep_leaves: u64,
    /// What the Attester opened; null without OPENINGS.
    pub openings: Option<OpeningsReport>,
}

/// The device of a leaf's second tile.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OtherReport {
    /// The device's ordinal.
    pub device: u32,
    /// Root of its fill digests.
    pub fill_root: String,
    /// Leaves under that root.
    pub fill_leaves: u64,
}

/// Where a tile is.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CoordinatesReport {
    /// Global index of the matrix.
    pub matrix: u64,
    /// The tile's first row is 256 times this.
    pub row_block: u32,
    /// The tile's first column is 256 times this.
    pub column_block: u32,
}

/// The openings of a sample.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OpeningsReport {
    /// The leaf of the sweep.
    pub sweep: OpeningReport,
    /// The fill leaf of the first tile.
    pub fill_a: OpeningReport,
    /// The fill leaf of the second tile.
    pub fill_b: OpeningReport,
}

/// An opening of a leaf.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OpeningReport {
    /// The leaf's index.
    pub leaf: u32,
    /// Its digest, 16 hexadecimal digits of a 64-bit number; null if the chunk is too short.
    pub leaf_digest: Option<String>,
    /// The chunk of leaves that it is in.
    pub chunk: String,
    /// The hashes from the chunk to the root.
    pub siblings: Vec<String>,
}

/// A message, or the session's end.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "direction", rename_all = "snake_case")]
pub enum RecordReport {
    /// Sent by the Verifier.
    Sent(FrameReport),
    /// Received from the Attester.
    Received(FrameReport),
    /// The session's end.
    Ended {
        /// Since the session began, ns.
        at_ns: u64,
        /// What ended it, for people.
        cause: String,
        /// Its canonical bytes.
        hex: String,
    },
}

/// A message.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FrameReport {
    /// When it was sent, or its last byte arrived, since the session began, ns.
    pub at_ns: u64,
    /// Its name; the number of an unknown type.
    #[serde(rename = "type")]
    pub name: String,
    /// The length of its payload, bytes.
    pub payload_bytes: usize,
    /// BLAKE3 of its payload.
    pub payload_blake3: String,
}

impl Transcript {
    /// The whole transcript of `evidence`, whose records `session` has replayed. No tile is recomputed.
    #[must_use]
    pub fn new(evidence: &Evidence, session: &VerifierSession) -> Self {
        let is_online = evidence.config.mode == Mode::Online;
        Transcript {
            format: "gpu-attestor transcript",
            mode: if is_online { "online" } else { "offline" },
            started_unix_ms: evidence.started_unix_ms,
            sealer: evidence.sealer.to_string(),
            tls_exporter: evidence.config.tls_exporter.as_ref().map(|value| hex(value)),
            hello_deadline_ms: evidence.config.hello_deadline_ms,
            assumptions: StatedAssumptions {
                assumed: Assumed::from(&evidence.assumptions),
                error_bits: evidence.assumptions.error_bits,
            },
            challenge: evidence.challenge.as_ref().map(ChallengeFile::from),
            state: match (session.verdict(), session.step()) {
                (Some(verdict), _) => State::Ended {
                    verdict: verdict.name(),
                    reason: verdict.code(),
                    message: verdict.message(),
                },
                (None, Step::Check) => {
                    State::Open("every check passed but the recomputing of tiles, which inspect does not do".to_owned())
                }
                (None, step) => State::Open(format!("{step:?}")),
            },
            hello: session.hello().map(hello),
            hello_hex: payload(evidence, MessageType::Hello),
            plan: session.plan().map(plan),
            plan_hex: payload(evidence, MessageType::Plan),
            nonce: session
                .trace()
                .and(payload(evidence, MessageType::Nonce).map(|hex| hex[hex.len() - 64..].to_owned())),
            iterations: session
                .trace()
                .map(|trace| iterations(trace, session))
                .unwrap_or_default(),
            checksum: session.checksum().map(|checksum| checksum.to_string()),
            samples: samples(session),
            session_labels: session.said().map(|said| labels(&said.labels)),
            attestation_hex: session.said().and_then(|said| said.attestation.as_deref()).map(hex),
            records: evidence.records.iter().map(record).collect(),
        }
    }

    /// The transcript as JSON, indented.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a transcript has only strings, numbers and lists")
    }
}

fn hello(hello: &Hello) -> HelloReport {
    HelloReport {
        versions: hello.versions.clone(),
        suites: hello.suites.clone(),
        identity: hello.identity.to_string(),
        software: hello.software.clone(),
        labels: labels(&hello.labels),
        devices: hello.devices.iter().map(offer).collect(),
    }
}

fn offer(offer: &DeviceOffer) -> OfferReport {
    OfferReport {
        ordinal: offer.ordinal.0,
        engine: offer.engine.clone(),
        model: offer.model.clone(),
        memory_bytes: offer.memory_bytes,
        available_bytes: offer.available_bytes,
        reserve_bytes: offer.reserve_bytes,
        operand_copies: offer.operand_copies,
        operand_rows: offer.operand_rows,
        labels: labels(&offer.labels),
    }
}

fn labels(labels: &[Label]) -> Vec<[String; 2]> {
    let pair = |label: &Label| [label.name.clone(), label.value.clone()];
    labels.iter().map(pair).collect()
}

fn plan(plan: &Plan) -> PlanMessage {
    let fields = plan.fields();
    let device = |device: &DevicePlan| PlannedDevice {
        ordinal: device.ordinal.0,
        matrix_offset: device.matrix_offset,
        num_matrices: device.num_matrices,
    };
    PlanMessage {
        session_id: hex(&fields.session_id),
        verifier: fields.verifier.to_string(),
        verifier_name: fields.verifier_name.clone(),
        audience: fields.audience.clone(),
        matrix_dim: fields.matrix_dim,
        devices: fields.devices.iter().map(device).collect(),
        iterations: fields.iterations.iter().map(IterationReport::from).collect(),
        samples: fields.samples,
        deadlines_ms: DeadlinesReport {
            ready: fields.deadlines.ready_ms,
            fill: fields.deadlines.fill_ms,
            sweep: fields.deadlines.sweep_ms,
            openings: fields.deadlines.openings_ms,
        },
    }
}

fn rounds(iteration: &protocol::trace::IterationTrace, windows: &Windows) -> Vec<RoundReport> {
    let of = |(number, round): (u32, &RoundTrace)| RoundReport {
        fresh: round.fresh.to_string(),
        salts: round.salts.iter().map(ToString::to_string).collect(),
        roots: round
            .roots
            .iter()
            .map(|root| root.map(|root| root.to_string()))
            .collect(),
        round_ns: windows.round_ns.get(number as usize).copied().unwrap_or(0),
        crossed: windows
            .crossed_after_ns
            .iter()
            .filter(|(of, ..)| *of == number)
            .map(|&(_, device, after_ns)| Arrival {
                device: device.0,
                after_ns,
            })
            .collect(),
    };
    (0..).zip(&iteration.rounds).map(of).collect()
}

fn iterations(trace: &Trace, session: &VerifierSession) -> Vec<IterationTrace> {
    let after = |arrivals: &[(DeviceOrdinal, u64)]| -> Vec<Arrival> {
        let arrival = |&(device, after_ns): &(DeviceOrdinal, u64)| Arrival {
            device: device.0,
            after_ns,
        };
        arrivals.iter().map(arrival).collect()
    };
    let of = |(iteration, windows): (&protocol::trace::IterationTrace, &Windows)| IterationTrace {
        chain: iteration.chain.to_string(),
        fill_roots: iteration
            .fill_roots
            .iter()
            .map(|root| root.map(|root| root.to_string()))
            .collect(),
        v: iteration.v.map(|v| v.to_string()),
        sweep_salts: strings(&iteration.sweep_salts),
        sweep_roots: strings(&iteration.sweep_roots),
        w: iteration.w.map(|w| w.to_string()),
        fill_start_ns: windows.fill_start_ns,
        fill_ns: windows.fill_ns,
        sweep_ns: windows.sweep_ns,
        filled: after(&windows.filled_after_ns),
        swept: after(&windows.swept_after_ns),
        rounds: rounds(iteration, windows),
    };
    trace.iterations().iter().zip(session.windows()).map(of).collect()
}

fn strings<T: ToString>(lists: &[Vec<T>]) -> Vec<Vec<String>> {
    lists
        .iter()
        .map(|list| list.iter().map(ToString::to_string).collect())
        .collect()
}

fn samples(session: &VerifierSession) -> Vec<SampleReport> {
    let openings = session.openings().map(|body| body.openings).unwrap_or_default();
    session
        .sites()
        .enumerate()
        .map(|(i, site)| {
            let opened = openings.get(i).map(|[sweep, a, b]| OpeningsReport {
                sweep: opening(sweep, site.sample.leaf),
                fill_a: opening(a, site.pair[0]),
                fill_b: opening(b, site.pair[1]),
            });
            sample(site, opened)
        })
        .collect()
}

fn sample(site: &Site, openings: Option<OpeningsReport>) -> SampleReport {
    let (sweep, round) = match site.sample.pass {
        Pass::Sweep(sweep) => (Some(sweep), None),
        Pass::Round(round) => (None, Some(round)),
    };
    let other = (site.holders[0] != site.holders[1]).then(|| OtherReport {
        device: site.holders[1].0,
        fill_root: site.fill_roots[1].to_string(),
        fill_leaves: site.fill_leaves[1],
    });
    SampleReport {
        device: site.sample.device.0,
        iteration: site.sample.iteration,
        sweep,
        round,
        leaf: site.sample.leaf,
        inner_dim: site.inner_dim,
        operand_key: hex(&site.operand_key.0),
        fill_salt: site.fill_salt.to_string(),
        sweep_salt: site.pair_salt.to_string(),
        tiles: site.pair,
        coordinates: site.tiles.map(|tile| CoordinatesReport {
            matrix: tile.matrix,
            row_block: tile.row_block,
            column_block: tile.column_block,
        }),
        fill_root: site.fill_roots[0].to_string(),
        fill_leaves: site.fill_leaves[0],
        other,
        sweep_root: site.pair_root.to_string(),
        sweep_leaves: site.pair_leaves,
        openings,
    }
}

fn opening(opening: &Opening, leaf: u32) -> OpeningReport {
    let at = (u64::from(leaf) % LEAVES_PER_CHUNK) as usize * 8;
    let digest = opening.chunk.get(at..at + 8).map(|bytes| {
        let digest = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        format!("{digest:016x}")
    });
    OpeningReport {
        leaf,
        leaf_digest: digest,
        chunk: hex(&opening.chunk),
        siblings: opening.siblings.iter().map(|sibling| hex(sibling)).collect(),
    }
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

fn record(record: &Record) -> RecordReport {
    let frame = |frame: &Frame| FrameReport {
        at_ns: record.at_ns,
        name: frame
            .message_type()
            .map_or_else(|| frame.type_number.to_string(), |kind| kind.name().to_owned()),
        payload_bytes: frame.payload.len(),
        payload_blake3: blake3::hash(&frame.payload).to_hex().to_string(),
    };
    match &record.event {
        Event::Sent(sent) => RecordReport::Sent(frame(sent)),
        Event::Received(received) => RecordReport::Received(frame(received)),
        Event::Ended(cause) => RecordReport::Ended {
            at_ns: record.at_ns,
            cause: format!("{cause:?}"),
            hex: hex(&cause.to_bytes()),
        },
    }
}
