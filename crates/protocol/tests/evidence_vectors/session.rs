//! A session from fixed keys, times and random bytes, with the reference as the device, and its evidence.

use std::collections::{HashMap, VecDeque};

use ed25519_dalek::SigningKey;

use protocol::attester::{AttesterSession, Task};
use protocol::bounds::Assumptions;
use protocol::bytes::{DeviceOrdinal, Fresh, Identity, Nonce};
use protocol::cbor::Canonical;
use protocol::challenge::Challenge;
use protocol::commitment::Commitment;
use protocol::digest::DigestKey;
use protocol::engine::{CommitmentId, CrossTask};
use protocol::evidence::{Evidence, EvidenceError};
use protocol::frame::{Frame, MessageType};
use protocol::limits::TILE_BYTES;
use protocol::message::{DeviceOffer, Hello};
use protocol::openings::{TileCheck, TileMismatch};
use protocol::plan::{Deadlines, DevicePlan, Iteration, Plan, PlanFields};
use protocol::record::Record;
use protocol::verifier::{Mode, Outgoing, Step, VerifierConfig, VerifierSession};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const NONCE: [u8; 32] = [0x4E; 32];
pub(crate) const ASSUMPTIONS: Assumptions = Assumptions {
    best_rate_ops_per_s: 1_360_000_000_000_000,
    helper_gpus: 1,
    link_in_bytes_per_s: 64_000_000_000,
    link_out_bytes_per_s: 64_000_000_000,
    helper_bytes_per_s: 0,
    on_chip_bytes: 128_000_000,
    error_bits: 20,
};

pub(crate) fn verifier_key() -> SigningKey {
    SigningKey::from_bytes(&[0x0B; 32])
}

pub(crate) fn attester_key() -> SigningKey {
    SigningKey::from_bytes(&[0x0A; 32])
}

pub(crate) fn hello() -> Hello {
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
pub(crate) fn plan() -> Plan {
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
        iterations: vec![Iteration::new(128, 2), Iteration::new(64, 1)],
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

pub(crate) fn evidence(mode: Mode, records: Vec<Record>) -> Evidence {
    evidence_of(&plan(), mode, records)
}

/// Evidence of a session with this plan.
pub(crate) fn evidence_of(plan: &Plan, mode: Mode, records: Vec<Record>) -> Evidence {
    let challenge = || Challenge::sign(plan.clone(), Nonce(NONCE), 1000, 2000, &verifier_key());
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
        hello_deadline_ms: if mode == Mode::Online { 1000 } else { 0 },
        tls_exporter: None,
    }
}

pub(crate) fn seal(evidence: &Evidence) -> Vec<u8> {
    match evidence.config.mode {
        Mode::Online => evidence.seal(&verifier_key()),
        Mode::Offline => evidence.seal(&attester_key()),
    }
}

/// Three devices, of which one rests in each round of the first iteration.
pub(crate) fn plan_with_rounds() -> Plan {
    let device = |ordinal, matrix_offset, num_matrices| DevicePlan {
        ordinal: DeviceOrdinal(ordinal),
        matrix_offset,
        num_matrices,
    };
    let first = Iteration {
        crossings: 1,
        ..Iteration::new(128, 1)
    };
    Plan::new(PlanFields {
        devices: vec![device(0, 0, 4), device(1, 4, 5), device(2, 9, 6)],
        iterations: vec![first, Iteration::new(64, 1)],
        ..plan().fields().clone()
    })
    .expect("a valid plan")
}

/// The devices and their commitments.
struct Devices {
    plan: Plan,
    tiles: Vec<Vec<Vec<u8>>>,
    commitments: HashMap<(DeviceOrdinal, CommitmentId), Commitment>,
    iteration: u32,
    /// Whether the devices invent their digests of the second iteration's sweep.
    invents: bool,
}

impl Devices {
    /// The Attester's answer to a message.
    fn answer(&mut self, session: &mut AttesterSession, frame: &Frame) -> Vec<Frame> {
        let plan = self.plan.clone();
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
                    let fill = CommitmentId::Fill {
                        iteration: self.iteration,
                    };
                    self.commitments.insert((device.ordinal, fill), commitment);
                    self.tiles.push(tiles);
                }
                // The last device answers first: the order changes nothing that derives from the transcript.
                frames.reverse();
                frames
            }
            Task::Sweep {
                first_salts: mut salts,
                sweeps,
            } => {
                let mut all = vec![Vec::new(); salts.len()];
                for sweep in 1..=sweeps {
                    let mut roots = Vec::new();
                    for (g, ((device, salt), tiles)) in salts.iter().zip(&self.tiles).enumerate() {
                        let mut leaves = reference::sweep(&salt.0, tiles);
                        if self.invents && self.iteration == 1 {
                            leaves.iter_mut().for_each(|leaf| *leaf ^= 1);
                        }
                        let commitment = Commitment::new(leaves);
                        roots.push(commitment.root());
                        all[g].push(commitment.root());
                        let sweep = CommitmentId::Sweep {
                            iteration: self.iteration,
                            sweep,
                        };
                        self.commitments.insert((*device, sweep), commitment);
                    }
                    protocol::derive::advance_sweep_salts(&mut salts, &roots);
                }
                self.iteration += 1;
                let swept = |((device, _), roots)| session.swept(device, roots).expect("due");
                salts.into_iter().zip(all).map(swept).collect()
            }
            Task::Cross(tasks) => {
                let places: Vec<DeviceOrdinal> = session
                    .plan()
                    .expect("sent")
                    .devices()
                    .iter()
                    .map(|d| d.ordinal)
                    .collect();
                let crossed = |(device, task): (DeviceOrdinal, CrossTask)| {
                    let own = places.iter().position(|place| *place == device).expect("planned");
                    let (own, other) = (&self.tiles[own], &self.tiles[task.other]);
                    let leaves = reference::cross(&task.salt.0, &task.other_salt.0, own, other, task.crossings.into());
                    let commitment = Commitment::new(leaves);
                    let frame = session.crossed(device, commitment.root()).expect("due");
                    let round = CommitmentId::Round {
                        iteration: self.iteration - 1,
                        round: task.round,
                    };
                    self.commitments.insert((device, round), commitment);
                    frame
                };
                tasks.into_iter().map(crossed).collect()
            }
            Task::Open(sites) => {
                let open =
                    |(device, commitment, leaf)| self.commitments[&(device, commitment)].open(leaf).expect("a leaf");
                let openings = sites.iter().map(|site| site.openings().map(open)).collect();
                vec![session.openings(openings, vec![], &attester_key(), None)]
            }
            Task::Wait | Task::Finish(_) => vec![],
        }
    }
}

/// A session from HELLO to the point where tiles are recomputed: every message takes a millisecond. Random bytes count up.
pub(crate) fn session(mode: Mode, invents: bool) -> VerifierSession {
    session_with(mode, invents, NONCE)
}

/// The same with this nonce.
pub(crate) fn session_with(mode: Mode, invents: bool, nonce: [u8; 32]) -> VerifierSession {
    session_of(plan(), mode, invents, nonce)
}

/// The same with this plan.
pub(crate) fn session_of(plan: Plan, mode: Mode, invents: bool, nonce: [u8; 32]) -> VerifierSession {
    let mut verifier = VerifierSession::new(config(mode));
    let (mut attester, hello) = AttesterSession::new(hello());
    let mut devices = Devices {
        plan: plan.clone(),
        tiles: Vec::new(),
        commitments: HashMap::new(),
        iteration: 0,
        invents,
    };
    let mut incoming = VecDeque::from([hello]);
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
                    Outgoing::Plan => Frame::new(MessageType::Plan, plan.to_bytes()),
                    Outgoing::Nonce => verifier.due_frame(Fresh(nonce)).expect("due"),
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
pub(crate) fn verify(sealed: &[u8]) -> Result<VerifierSession, EvidenceError> {
    let mut session = Evidence::open(sealed)?.replay()?;
    if session.step() == Step::Check {
        let outcome = recompute(session.tile_checks());
        session.checked(outcome).expect("tiles are due");
    }
    Ok(session)
}
