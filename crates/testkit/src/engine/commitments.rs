//! What an engine has committed to: all fills, and all sweeps of each.

use protocol::bytes::Root;
use protocol::commitment::{Commitment, Opening};
use protocol::engine::{CommitmentId, EngineError};

/// The commitments of a session, in the order in which they were made.
#[derive(Default)]
pub struct Commitments {
    fills: Vec<Commitment>,
    sweeps: Vec<Vec<Commitment>>,
}

impl Commitments {
    /// Commits to the leaves of the next iteration's fill.
    pub(super) fn fill(&mut self, leaves: Vec<u64>) -> Root {
        let commitment = Commitment::new(leaves);
        let root = commitment.root();
        self.fills.push(commitment);
        self.sweeps.push(Vec::new());
        root
    }

    /// Commits to the leaves of the iteration's next sweep.
    pub(super) fn sweep(&mut self, leaves: Vec<u64>) -> Root {
        let commitment = Commitment::new(leaves);
        let root = commitment.root();
        self.sweeps.last_mut().expect("a fill before").push(commitment);
        root
    }

    /// Iterations filled so far.
    pub(super) fn iterations(&self) -> u32 {
        self.fills.len() as u32
    }

    /// Sweeps of the last fill so far.
    pub(super) fn sweeps(&self) -> u32 {
        self.sweeps.last().map_or(0, |sweeps| sweeps.len() as u32)
    }

    /// Leaves of the last fill.
    pub(super) fn last_fill(&self) -> Option<&[u64]> {
        self.fills.last().map(Commitment::leaves)
    }

    /// Leaves of the last sweep since the last fill.
    pub(super) fn last_sweep(&self) -> Option<&[u64]> {
        self.sweeps.last()?.last().map(Commitment::leaves)
    }

    /// All of them: fills, then sweeps.
    pub fn ids(&self) -> impl Iterator<Item = CommitmentId> {
        let fills = (0..self.iterations()).map(|iteration| CommitmentId::Fill { iteration });
        let sweeps = (0..).zip(&self.sweeps).flat_map(|(iteration, sweeps)| {
            (1..=sweeps.len() as u32).map(move |sweep| CommitmentId::Sweep { iteration, sweep })
        });
        fills.chain(sweeps)
    }

    /// How many leaves a commitment has; 0 if it was not made.
    #[must_use]
    pub fn leaves(&self, id: CommitmentId) -> u32 {
        self.made(id).map_or(0, |made| made.leaves().len() as u32)
    }

    /// The honest opening of a leaf.
    ///
    /// # Errors
    ///
    /// [`EngineError::NoSuchLeaf`] for a commitment that was not made or a leaf it does not have.
    pub fn open(&self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        let opening = self.made(commitment).and_then(|made| made.open(leaf));
        opening.ok_or(EngineError::NoSuchLeaf { commitment, leaf })
    }

    fn made(&self, id: CommitmentId) -> Option<&Commitment> {
        match id {
            CommitmentId::Fill { iteration } => self.fills.get(iteration as usize),
            CommitmentId::Sweep { iteration, sweep } => {
                let sweeps = self.sweeps.get(iteration as usize)?;
                sweeps.get((sweep as usize).checked_sub(1)?)
            }
            // The inner engine keeps them.
            CommitmentId::Round { .. } => None,
        }
    }
}
