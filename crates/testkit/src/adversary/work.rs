//! Cheats that omit work, do not hold tiles, or do the work for other input.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use protocol::bytes::{OperandKey, Root, Salt};
use protocol::commitment::Opening;
use protocol::derive::{derive, keystream};
use protocol::digest::matching;
use protocol::engine::{Assignment, AssignmentFields, CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::limits::TILE_SIDE;
use protocol::matching::Matching;
use protocol::operand::Operand;

use crate::engine::{Shortcut, Strategy};
use crate::odds::Draws;

pub(super) struct JunkFill(pub(super) f64, pub(super) Draws);

impl Strategy for JunkFill {
    fn fill_leaves(&mut self, _iteration: u32, leaves: &mut [u64]) {
        junk(leaves, self.0, &mut self.1);
    }
}

pub(super) struct JunkSweep(pub(super) f64, pub(super) Draws);

impl Strategy for JunkSweep {
    fn sweep_leaves(&mut self, _iteration: u32, _sweep: u32, _salt: &Salt, leaves: &mut [u64]) {
        junk(leaves, self.0, &mut self.1);
    }
}

/// Puts junk into this fraction of the leaves, rounded, at drawn positions.
fn junk(leaves: &mut [u64], fraction: f64, draws: &mut Draws) {
    let count = (leaves.len() as f64 * fraction).round() as u64;
    // In order, so that the same draws give the same junk.
    let mut places: Vec<u64> = draws.distinct(count, leaves.len() as u64).into_iter().collect();
    places.sort_unstable();
    for at in places {
        leaves[at as usize] ^= draws.draw() | 1;
    }
}

pub(super) struct MissingMemory {
    fraction: f64,
    draws: Draws,
    tiles: u32,
    missing: HashSet<u64>,
}

impl MissingMemory {
    pub(super) fn new(fraction: f64) -> Self {
        MissingMemory {
            fraction,
            draws: Draws::new(3),
            tiles: 0,
            missing: HashSet::new(),
        }
    }
}

impl Strategy for MissingMemory {
    fn fill_leaves(&mut self, _iteration: u32, leaves: &mut [u64]) {
        self.tiles = leaves.len() as u32;
        let count = (leaves.len() as f64 * self.fraction).round() as u64;
        self.missing = self.draws.distinct(count, leaves.len() as u64);
    }

    fn sweep_leaves(&mut self, _iteration: u32, _sweep: u32, salt: &Salt, leaves: &mut [u64]) {
        let matching = matching(salt, self.tiles);
        for (leaf, digest) in leaves.iter_mut().enumerate() {
            let (a, b) = matching.pair(leaf as u32);
            if [a, b].iter().any(|&tile| self.missing.contains(&u64::from(tile))) {
                *digest ^= self.draws.draw() | 1;
            }
        }
    }
}

/// Tiles below the middle are on one GPU, the others on its partner: pairs of tiles on different GPUs have to pass their link.
pub(super) struct JoinedGpus {
    fraction: f64,
    draws: Draws,
    tiles: u32,
}

impl JoinedGpus {
    /// Two GPUs whose link is too slow for this fraction of the pairs between them.
    pub(super) fn new(fraction: f64) -> Self {
        JoinedGpus {
            fraction,
            draws: Draws::new(5),
            tiles: 0,
        }
    }
}

impl Strategy for JoinedGpus {
    fn fill_leaves(&mut self, _iteration: u32, leaves: &mut [u64]) {
        self.tiles = leaves.len() as u32;
    }

    fn sweep_leaves(&mut self, _iteration: u32, _sweep: u32, salt: &Salt, leaves: &mut [u64]) {
        let matching = matching(salt, self.tiles);
        let is_across = |&leaf: &u32| {
            let (a, b) = matching.pair(leaf);
            (a < self.tiles / 2) != (b < self.tiles / 2)
        };
        let across: Vec<u32> = (0..Matching::leaves(self.tiles)).filter(is_across).collect();
        let junk = (across.len() as f64 * self.fraction).round() as usize;
        // The link transfers the first pairs; for the others there is no time.
        for &leaf in &across[across.len() - junk..] {
            leaves[leaf as usize] ^= self.draws.draw() | 1;
        }
    }
}

pub(super) struct OnePass(pub(super) Option<Salt>);

impl Strategy for OnePass {
    fn salt(&mut self, _iteration: u32, sweep: u32, salt: Salt) -> Option<Salt> {
        if sweep == 1 {
            self.0 = Some(salt);
        }
        self.0
    }
}

pub(super) struct RepeatedSweep;

impl Strategy for RepeatedSweep {
    fn salt(&mut self, _iteration: u32, sweep: u32, salt: Salt) -> Option<Salt> {
        (sweep == 1).then_some(salt)
    }
}

pub(super) struct InventedRoots;

impl Strategy for InventedRoots {
    fn root(&mut self, commitment: CommitmentId, root: Root) -> Root {
        match commitment {
            CommitmentId::Fill { .. } => root,
            CommitmentId::Sweep { .. } | CommitmentId::Round { .. } => Root(derive("testkit invented", &[&root.0])),
        }
    }
}

pub(super) struct SkippedFills;

impl Strategy for SkippedFills {
    fn task(&mut self, iteration: u32, task: FillTask) -> Option<FillTask> {
        (iteration == 0).then_some(task)
    }
}

pub(super) struct Twin;

impl Strategy for Twin {
    fn assignment(&mut self, assignment: Assignment) -> Assignment {
        let fields = AssignmentFields {
            matrix_offset: 0,
            ..assignment.fields()
        };
        Assignment::new(fields).expect("a lower offset is no less valid")
    }
}

pub(super) struct OtherNonce;

impl Strategy for OtherNonce {
    fn task(&mut self, _iteration: u32, task: FillTask) -> Option<FillTask> {
        Some(FillTask {
            operand_key: OperandKey(derive("testkit other", &[&task.operand_key.0])),
            ..task
        })
    }
}

/// All work belongs to another session, whose input was known before the NONCE of this one.
pub(super) struct OtherSession;

impl Strategy for OtherSession {
    fn task(&mut self, iteration: u32, task: FillTask) -> Option<FillTask> {
        let name = |part| derive(part, &[&iteration.to_le_bytes()]);
        Some(FillTask {
            inner_dim: task.inner_dim,
            operand_key: OperandKey(name("testkit other session's operands")),
            fill_salt: Salt(name("testkit other session's fill")),
            ..task
        })
    }

    fn salt(&mut self, iteration: u32, sweep: u32, _salt: Salt) -> Option<Salt> {
        let parts = [iteration.to_le_bytes(), sweep.to_le_bytes()];
        Some(Salt(derive("testkit other session's sweep", &[&parts[0], &parts[1]])))
    }
}

pub(super) struct ShortProducts;

impl Strategy for ShortProducts {
    fn task(&mut self, _iteration: u32, task: FillTask) -> Option<FillTask> {
        Some(FillTask {
            inner_dim: (task.inner_dim / 128 * 64).max(64),
            ..task
        })
    }
}

/// Row r is the keystream from byte r on: constant along its antidiagonals.
pub(super) fn hankel(task: &FillTask, operand: Operand, block: u32) -> Vec<u8> {
    let k = task.inner_dim as usize;
    let mut stream = vec![0; TILE_SIDE + k];
    keystream(
        &task.operand_key.0,
        &operand.nonce(),
        u64::from(block) * TILE_SIDE as u64,
        &mut stream,
    );
    (0..TILE_SIDE).flat_map(|row| stream[row..row + k].to_vec()).collect()
}

/// All rows are the first of their block.
pub(super) fn low_rank(task: &FillTask, operand: Operand, block: u32) -> Vec<u8> {
    let honest = (Shortcut::default().operand)(task, operand, block);
    match operand {
        Operand::A(_) => honest[..task.inner_dim as usize].repeat(TILE_SIDE),
        Operand::B => honest,
    }
}

pub(super) fn neighbours(matching: &Matching, leaf: u32) -> (u32, u32) {
    let (a, b) = matching.pair(leaf);
    if a == b { (a, b) } else { (2 * leaf, 2 * leaf + 1) }
}

/// Works until it is no longer wanted.
pub(super) struct Late(pub(super) Box<dyn Engine>);

impl Engine for Late {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.0.prepare(assignment)
    }

    fn fill(&mut self, _task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        while !progress.is_cancelled() {
            thread::sleep(Duration::from_millis(10));
        }
        Err(EngineError::Cancelled)
    }

    fn sweep(&mut self, _salt: &Salt, _progress: &dyn Progress) -> Result<Root, EngineError> {
        Err(EngineError::Cancelled)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        Err(EngineError::NoSuchLeaf { commitment, leaf })
    }
}
