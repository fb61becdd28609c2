//! A device that commits to made-up leaves: sessions take microseconds, and everything except the tiles is correct.

use protocol::bytes::{Root, Salt};
use protocol::commitment::{Commitment, Opening};
use protocol::engine::{Assignment, CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::matching::Matching;

/// Highest number of tiles that it simulates.
const MAX_TILES: u32 = 4096;

/// Most sweeps of an iteration.
const MAX_SWEEPS: usize = 64;

#[derive(Default)]
/// The device.
pub struct StandIn {
    tiles: u32,
    fills: Vec<Commitment>,
    sweeps: Vec<Vec<Commitment>>,
}

fn made_up(count: u32, from: [u8; 32]) -> Commitment {
    let first = u64::from_le_bytes(from[..8].try_into().expect("eight bytes"));
    let leaf = |i: u32| first.wrapping_add(u64::from(i).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    Commitment::new((0..count).map(leaf).collect())
}

impl Engine for StandIn {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.tiles = assignment.tiles();
        if self.tiles > MAX_TILES {
            return Err(EngineError::OutOfMemory {
                requested_bytes: assignment.dataset_bytes(),
                available_bytes: 0,
            });
        }
        Ok(())
    }

    fn fill(&mut self, task: &FillTask, _: &dyn Progress) -> Result<Root, EngineError> {
        let made = made_up(self.tiles, task.fill_salt.0);
        let root = made.root();
        self.fills.push(made);
        self.sweeps.push(Vec::new());
        Ok(root)
    }

    fn sweep(&mut self, salt: &Salt, _: &dyn Progress) -> Result<Root, EngineError> {
        let sweeps = self.sweeps.last_mut().expect("a fill before");
        if sweeps.len() == MAX_SWEEPS {
            return Err(EngineError::Cancelled);
        }
        let made = made_up(Matching::leaves(self.tiles), salt.0);
        let root = made.root();
        sweeps.push(made);
        Ok(root)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        let made = match commitment {
            CommitmentId::Fill { iteration } => self.fills.get(iteration as usize),
            CommitmentId::Sweep { iteration, sweep } => self
                .sweeps
                .get(iteration as usize)
                .and_then(|sweeps| sweeps.get((sweep as usize).checked_sub(1)?)),
            CommitmentId::Round { .. } => None,
        };
        made.and_then(|made| made.open(leaf))
            .ok_or(EngineError::NoSuchLeaf { commitment, leaf })
    }
}
