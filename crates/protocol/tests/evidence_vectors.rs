//! Whole sessions as evidence: `spec/vectors/evidence`, made here from fixed keys, times and random bytes, with the
//! one-file reference as the device. `UPDATE_VECTORS=1` rewrites the files.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use protocol::attester::{AttesterSession, Task};
use protocol::bounds::Assumptions;
use protocol::bytes::{DeviceOrdinal, Fresh, Identity, Nonce, hex};
use protocol::cbor::Canonical;
use protocol::challenge::Challenge;
use protocol::commitment::Commitment;
use protocol::digest::DigestKey;
use protocol::evidence::{Evidence, EvidenceError};
use protocol::frame::Frame;
use protocol::limits::TILE_BYTES;
use protocol::message::{Abort, AbortCode, DeviceOffer, Hello};
use protocol::openings::{TileCheck, TileMismatch};
use protocol::plan::{Deadlines, DevicePlan, Iteration, Plan, PlanFields};
use protocol::record::{EndCause, Event, Record};
use protocol::verdict::Verdict;
use protocol::verifier::{Mode, Outgoing, Step, VerifierConfig, VerifierSession};

const MS: u64 = 1_000_000;
const NONCE: [u8; 32] = [0x4E; 32];
const ASSUMPTIONS: Assumptions = Assumptions {
    best_rate_ops: 1_360_000_000_000_000,
    link_in_bytes: 64_000_000_000,
    link_out_bytes: 64_000_000_000,
    helper_bytes: 0,
    on_chip_bytes: 128_000_000,
    error_bits: 20,
};

fn verifier_key() -> SigningKey {
    SigningKey::from_bytes(&[0x0B; 32])
}

fn attester_key() -> SigningKey {
    SigningKey::from_bytes(&[0x0A; 32])
}

fn hello() -> Hello {
    let offer = |ordinal| DeviceOffer {
        ordinal: DeviceOrdinal(ordinal),
        engine: "reference".into(),
        model: "none".into(),
        memory_bytes: 1 << 20,
        available_bytes: 1 << 20,
        reserve_bytes: 0,
        operand_copies: 1,
        operand_rows: 0,
        labels: vec![],
    };
    Hello {
        versions: vec![1],
        suites: vec![1],
        identity: Identity(attester_key().verifying_key().to_bytes()),
        software: "vectors".into(),
        labels: vec![],
        devices: vec![offer(0), offer(1), offer(2)],
    }
}

/// Two devices with a gap between their ordinals, an odd and an even number of tiles, two groups.
fn plan() -> Plan {
    let device = |ordinal, matrix_offset, num_matrices| DevicePlan {
        ordinal: DeviceOrdinal(ordinal),
        matrix_offset,
        num_matrices,
    };
    Plan::new(PlanFields {
        session_id: [0x1D; 16],
        verifier: Identity(verifier_key().verifying_key().to_bytes()),
        verifier_name: "verifier".into(),
        audience: "audience".into(),
        matrix_dim: 256,
        devices: vec![device(0, 0, 3), device(2, 3, 2)],
        iterations: vec![
            Iteration {
                inner_dim: 128,
                sweeps: 2,
            },
            Iteration {
                inner_dim: 64,
                sweeps: 1,
            },
        ],
        samples: 2,
        deadlines: Deadlines {
            ready_ms: 1000,
            fill_ms: 1000,
            sweep_ms: 1000,
            openings_ms: 1000,
        },
    })
    .expect("a valid plan")
}

fn evidence(mode: Mode, records: Vec<Record>) -> Evidence {
    let challenge = || Challenge::sign(plan(), Nonce(NONCE), 1000, 2000, &verifier_key());
    let sealer = match mode {
        Mode::Online => verifier_key(),
        Mode::Offline => attester_key(),
    };
    Evidence {
        config: config(mode),
        started_unix_ms: 1_700_000_000_000,
        assumptions: ASSUMPTIONS,
        challenge: (mode == Mode::Offline).then(challenge),
        sealer: Identity(sealer.verifying_key().to_bytes()),
        records,
    }
}

fn config(mode: Mode) -> VerifierConfig {
    VerifierConfig {
        mode,
        hello_deadline_ms: 1000,
        tls_exporter: None,
    }
}

fn seal(evidence: &Evidence) -> Vec<u8> {
    match evidence.config.mode {
        Mode::Online => evidence.seal(&verifier_key()),
        Mode::Offline => evidence.seal(&attester_key()),
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// A session, with the reference as the device

/// The devices' commitments, by device, iteration and sweep; sweep 0 is the fill.
#[derive(Default)]
struct Devices {
    tiles: Vec<Vec<Vec<u8>>>,
    commitments: HashMap<(DeviceOrdinal, u32, u32), Commitment>,
    iteration: u32,
    /// Whether the devices invent their digests of the second iteration's sweep.
    invents: bool,
}

impl Devices {
    /// The Attester's answer to a message.
    fn answer(&mut self, session: &mut AttesterSession, frame: &Frame) -> Vec<Frame> {
        let plan = plan();
        match session.received(frame).expect("no violation") {
            Task::Prepare(_) => vec![session.ready()],
            Task::Fill(task) => {
                self.tiles.clear();
                let key = reference::key(&task.fill_salt.0);
                let mut frames = Vec::new();
                for device in plan.devices() {
                    let theirs = reference::Device {
                        matrix_offset: device.matrix_offset,
                        num_matrices: device.num_matrices.into(),
                    };
                    let tiles = reference::device_tiles(&task.operand_key.0, 256, task.inner_dim as usize, &theirs);
                    let leaves = tiles.iter().map(|tile| reference::fill_digest(&key, tile)).collect();
                    let commitment = Commitment::new(leaves);
                    frames.push(session.filled(device.ordinal, commitment.root()).expect("due"));
                    self.commitments.insert((device.ordinal, self.iteration, 0), commitment);
                    self.tiles.push(tiles);
                }
                // The last device is first: the order changes nothing that derives from the transcript.
                frames.reverse();
                frames
            }
            Task::Sweep { first_salts, sweeps } => {
                let mut frames = Vec::new();
                for ((device, mut salt), tiles) in first_salts.into_iter().zip(&self.tiles) {
                    let mut roots = Vec::new();
                    for sweep in 1..=sweeps {
                        let mut leaves = reference::sweep(&salt.0, tiles);
                        if self.invents && self.iteration == 1 {
                            leaves.iter_mut().for_each(|leaf| *leaf ^= 1);
                        }
                        let commitment = Commitment::new(leaves);
                        roots.push(commitment.root());
                        salt = protocol::derive::next_sweep_salt(&salt, &commitment.root(), device);
                        self.commitments.insert((device, self.iteration, sweep), commitment);
                    }
                    frames.push(session.swept(device, roots).expect("due"));
                }
                self.iteration += 1;
                frames
            }
            Task::Open(sites) => {
                let open = |device, iteration, sweep, leaf| {
                    self.commitments[&(device, iteration, sweep)]
                        .open(leaf)
                        .expect("a leaf")
                };
                let openings = (sites.iter().map(|site| site.sample).zip(&sites))
                    .map(|(s, site)| {
                        [
                            open(s.device, s.iteration, s.sweep, s.leaf),
                            open(s.device, s.iteration, 0, site.pair[0]),
                            open(s.device, s.iteration, 0, site.pair[1]),
                        ]
                    })
                    .collect();
                vec![session.openings(openings, vec![], &attester_key(), None)]
            }
            Task::Wait | Task::Finish(_) => vec![],
        }
    }
}

/// A session from HELLO to where tiles are recomputed: every message takes a millisecond. Random bytes count up.
fn session(mode: Mode, invents: bool) -> VerifierSession {
    let mut verifier = VerifierSession::new(config(mode));
    let (mut attester, hello) = AttesterSession::new(hello());
    let mut devices = Devices {
        invents,
        ..Devices::default()
    };
    let mut incoming = std::collections::VecDeque::from([hello]);
    let mut now_ns = 0;
    let mut draws = 0;
    loop {
        now_ns += MS;
        match verifier.step() {
            Step::Receive { .. } => {
                let frame = incoming.pop_front().expect("the Attester answered");
                verifier.received(now_ns, frame).expect("due");
            }
            Step::Send(outgoing) => {
                draws += 1;
                let frame = match outgoing {
                    Outgoing::Plan => Frame::new(protocol::frame::MessageType::Plan, plan().to_bytes()),
                    Outgoing::Nonce => verifier.due_frame(Fresh(NONCE)).expect("due"),
                    _ => verifier.due_frame(Fresh([draws; 32])).expect("due"),
                };
                verifier.sent(now_ns, frame.clone()).expect("due");
                incoming.extend(devices.answer(&mut attester, &frame));
            }
            Step::Check | Step::Done => return verifier,
        }
    }
}

/// Recomputes every tile.
fn recompute(checks: &[TileCheck]) -> Result<(), TileMismatch> {
    for check in checks {
        let site = &check.site;
        let [fill, sweep] = check.salts().map(|salt| DigestKey::expand(&salt));
        let tiles = site.tiles.map(|at| -> [u8; TILE_BYTES] {
            let (row, column) = (at.row_block as usize, at.column_block as usize);
            let tile = reference::tile(&site.operand_key.0, site.inner_dim as usize, at.matrix, row, column);
            tile.try_into().expect("a tile's bytes")
        });
        let fill_digests = [fill.fill_digest(&tiles[0]), fill.fill_digest(&tiles[1])];
        check.compare(sweep.pair_digest(site.sample.leaf, &tiles[0], &tiles[1]), fill_digests)?;
    }
    Ok(())
}

/// The session of sealed evidence, with its verdict.
fn verify(sealed: &[u8]) -> Result<VerifierSession, EvidenceError> {
    let mut session = Evidence::open(sealed)?.replay()?;
    if session.step() == Step::Check {
        let outcome = recompute(session.tile_checks());
        session.checked(outcome).expect("tiles are due");
    }
    Ok(session)
}

// ---------------------------------------------------------------------------------------------------------------------
// The vectors

enum Expected {
    /// The verdict's code; empty when affirmed.
    Verdict(&'static str),
    /// How this crate's error begins.
    Refused(&'static str),
}

struct Vector {
    name: &'static str,
    about: &'static str,
    bytes: Vec<u8>,
    expected: Expected,
}

fn vectors() -> Vec<Vector> {
    let online = session(Mode::Online, false);
    let offline = session(Mode::Offline, false);
    let whole = evidence(Mode::Online, online.records().to_vec());
    let affirmed = seal(&whole);
    let changed = |mode, change: &dyn Fn(&mut Evidence)| {
        let records = if mode == Mode::Online { &online } else { &offline }.records();
        let mut evidence = evidence(mode, records.to_vec());
        change(&mut evidence);
        seal(&evidence)
    };
    let cut_at = |count: usize, record: Record| {
        changed(Mode::Online, &|e| {
            e.records.truncate(count);
            e.records.push(record.clone());
        })
    };
    let end = |at_ms, cause| Record {
        at_ns: at_ms * MS,
        event: Event::Ended(cause),
    };
    let abort = || {
        let abort = Abort {
            code: AbortCode::OutOfMemory,
            device: Some(DeviceOrdinal(2)),
            message: "out of memory: 2 bytes asked for, 1 available".into(),
        };
        let frame = Frame::new(protocol::frame::MessageType::Abort, abort.to_bytes());
        Event::Received(frame)
    };
    let mut flipped = affirmed.clone();
    flipped[200] ^= 1;
    let mut last = affirmed.clone();
    *last.last_mut().expect("a seal") ^= 1;
    let mut foreign = whole.clone();
    foreign.sealer = Identity(attester_key().verifying_key().to_bytes());
    let foreign = foreign.seal(&attester_key());
    let long_challenge = Challenge::sign(plan(), Nonce([0; 32]), 1000, 2000, &verifier_key());
    let forged_challenge = Challenge::sign(plan(), Nonce(NONCE), 1000, 2000, &attester_key());

    use Expected::{Refused, Verdict};
    let vector = |name, about, bytes, expected| Vector {
        name,
        about,
        bytes,
        expected,
    };
    vec![
        vector(
            "affirmed-online",
            "a whole session: two devices, two iterations in two groups",
            affirmed.clone(),
            Verdict(""),
        ),
        vector(
            "affirmed-offline",
            "the same plan and nonce as a challenge; v, w and seed derive from the transcript",
            changed(Mode::Offline, &|_| {}),
            Verdict(""),
        ),
        vector(
            "invented-sweep",
            "every pair digest of the second iteration is wrong by one bit; signed and well-formed",
            seal(&evidence(Mode::Online, session(Mode::Online, true).records().to_vec())),
            Verdict("tile-mismatch"),
        ),
        vector(
            "late-openings",
            "OPENINGS come 1 ns after their deadline",
            changed(Mode::Online, &|e| {
                let sent_ns = e.records[e.records.len() - 2].at_ns;
                e.records.last_mut().expect("OPENINGS").at_ns = sent_ns + 1000 * MS + 1;
            }),
            Verdict("late"),
        ),
        vector(
            "openings-at-the-deadline",
            "OPENINGS come at the last nanosecond that is in time",
            changed(Mode::Online, &|e| {
                let sent_ns = e.records[e.records.len() - 2].at_ns;
                e.records.last_mut().expect("OPENINGS").at_ns = sent_ns + 1000 * MS;
            }),
            Verdict(""),
        ),
        vector(
            "premature-openings",
            "OPENINGS came before SAMPLE was sent",
            changed(Mode::Online, &|e| {
                let sent_ns = e.records[e.records.len() - 2].at_ns;
                e.records.last_mut().expect("OPENINGS").at_ns = sent_ns - 1;
            }),
            Verdict("premature"),
        ),
        vector(
            "forged-signature",
            "the last byte of the signature in OPENINGS is another",
            changed(Mode::Online, &|e| {
                if let Event::Received(frame) = &mut e.records.last_mut().expect("OPENINGS").event {
                    *frame.payload.last_mut().expect("a signature") ^= 1;
                }
            }),
            Verdict("signature"),
        ),
        vector(
            "second-filled",
            "the same FILLED twice",
            cut_at(
                5,
                Record {
                    at_ns: 6 * MS,
                    event: online.records()[4].event.clone(),
                },
            ),
            Verdict("duplicate-commitment"),
        ),
        vector(
            "unopened",
            "the connection ends after SAMPLE",
            changed(Mode::Online, &|e| {
                *e.records.last_mut().expect("OPENINGS") = end(100, EndCause::Closed(String::new()));
            }),
            Verdict("unopened"),
        ),
        vector(
            "abort-before-nonce",
            "ABORT instead of READY",
            cut_at(
                2,
                Record {
                    at_ns: 3 * MS,
                    event: abort(),
                },
            ),
            Verdict("out-of-memory"),
        ),
        vector(
            "abort-before-salt-was-sent",
            "ABORT came after the last FILLED and before SALT v was sent: it answers nothing, so it is not premature",
            cut_at(
                7,
                Record {
                    at_ns: 7 * MS - 1,
                    event: abort(),
                },
            ),
            Verdict("out-of-memory"),
        ),
        vector(
            "abort-before-sample-was-sent",
            "ABORT came before SAMPLE was sent: the samples were not known",
            changed(Mode::Online, &|e| {
                let sent_ns = e.records[e.records.len() - 2].at_ns;
                *e.records.last_mut().expect("OPENINGS") = Record {
                    at_ns: sent_ns - 1,
                    event: abort(),
                };
            }),
            Verdict("out-of-memory"),
        ),
        vector(
            "abort-when-sample-was-sent",
            "ABORT came in the nanosecond in which SAMPLE was sent",
            changed(Mode::Online, &|e| {
                let sent_ns = e.records[e.records.len() - 2].at_ns;
                *e.records.last_mut().expect("OPENINGS") = Record {
                    at_ns: sent_ns,
                    event: abort(),
                };
            }),
            Verdict("unopened"),
        ),
        vector(
            "no-ready",
            "READY does not come in time",
            cut_at(2, end(1002, EndCause::Deadline)),
            Verdict("not-ready"),
        ),
        vector(
            "byte-changed",
            "a byte of a record is another than was sealed",
            flipped,
            Refused("the evidence was changed"),
        ),
        vector(
            "seal-changed",
            "the last byte of the seal is another",
            last,
            Refused("the evidence was changed"),
        ),
        vector(
            "cut",
            "the last byte is missing",
            affirmed[..affirmed.len() - 1].to_vec(),
            Refused("malformed evidence"),
        ),
        vector(
            "shorter-than-a-seal",
            "63 bytes",
            affirmed[..63].to_vec(),
            Refused("evidence of 63 bytes is too short"),
        ),
        vector(
            "foreign-sealer",
            "sealed by the Attester, where PLAN names another Verifier",
            foreign,
            Refused("the evidence is sealed by"),
        ),
        vector(
            "incomplete",
            "the records stop where OPENINGS are due",
            changed(Mode::Online, &|e| {
                e.records.pop();
            }),
            Refused("the records stop where"),
        ),
        vector(
            "clock-goes-back",
            "NONCE is sent before READY came",
            changed(Mode::Online, &|e| e.records[3].at_ns = 0),
            Refused("record 3: the clock went from"),
        ),
        vector(
            "deadline-that-had-not-passed",
            "a deadline is recorded 1 ns before it passes",
            changed(Mode::Online, &|e| {
                e.records.truncate(2);
                let mut early = end(1002, EndCause::Deadline);
                early.at_ns -= 1;
                e.records.push(early);
            }),
            Refused("record 2: a deadline where"),
        ),
        vector(
            "record-after-the-end",
            "a message after OPENINGS",
            changed(Mode::Online, &|e| e.records.push(e.records[0].clone())),
            Refused("record 18: a message where"),
        ),
        vector(
            "progress-recorded",
            "PROGRESS is recorded as taken",
            cut_at(
                4,
                Record {
                    at_ns: 5 * MS,
                    event: Event::Received(Frame::new(protocol::frame::MessageType::Progress, vec![0x81, 0x80])),
                },
            ),
            Refused("record 4: PROGRESS, which is put aside, where"),
        ),
        vector(
            "oversized-within-its-cap",
            "an oversized frame is recorded whose length is its cap",
            cut_at(
                4,
                end(
                    5,
                    EndCause::Oversized {
                        type_number: 5,
                        length_bytes: 65_536,
                        limit_bytes: 65_536,
                    },
                ),
            ),
            Refused("record 4: an oversized frame within its cap where"),
        ),
        vector(
            "salt-skipped",
            "SALT w is sent where SALT v is due",
            changed(Mode::Online, &|e| e.records[6].event = e.records[9].event.clone()),
            Refused("record 6: SALT sent where"),
        ),
        vector(
            "offline-salt-drawn",
            "offline, SALT v carries bytes that do not derive from the transcript",
            changed(Mode::Offline, &|e| {
                e.records[6].event = online.records()[6].event.clone()
            }),
            Refused("record 6: SALT does not derive from the transcript"),
        ),
        vector(
            "offline-another-nonce",
            "the challenge has another nonce than the session",
            changed(Mode::Offline, &|e| e.challenge = Some(long_challenge.clone())),
            Refused("the challenge does not belong to this evidence: another nonce"),
        ),
        vector(
            "offline-forged-challenge",
            "the challenge is not signed by the Verifier that its plan names",
            changed(Mode::Offline, &|e| e.challenge = Some(forged_challenge.clone())),
            Refused("the challenge does not belong to this evidence: the challenge is not signed"),
        ),
        vector(
            "offline-without-challenge",
            "offline evidence with null for its challenge",
            changed(Mode::Offline, &|e| e.challenge = None),
            Refused("the challenge does not belong to this evidence: it is missing"),
        ),
        vector(
            "online-with-challenge",
            "online evidence with a challenge",
            changed(Mode::Online, &|e| e.challenge = Some(long_challenge.clone())),
            Refused("the challenge does not belong to this evidence: a session with a clock has none"),
        ),
    ]
}

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

#[test]
fn the_files_are_what_is_made_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/evidence");
    let made: BTreeMap<String, String> = (vectors().iter())
        .map(|v| {
            let text = serde_json::to_string_pretty(&file(v)).expect("a value is JSON");
            (format!("{}.json", v.name), text + "\n")
        })
        .collect();
    if std::env::var_os("UPDATE_VECTORS").is_some_and(|value| value == "1") {
        fs::create_dir_all(&folder).expect("the folder can be made");
        for (file, text) in &made {
            fs::write(folder.join(file), text).expect("the file can be written");
        }
    }
    let mut there = BTreeMap::new();
    for entry in fs::read_dir(&folder).expect("spec/vectors/evidence is there") {
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
        assert_eq!(&there[file], text, "evidence/{file}; UPDATE_VECTORS=1 rewrites it");
    }
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
