//! An engine that delegates its work to another engine, and commits to something else.

use std::sync::Arc;

use protocol::bytes::{Root, Salt};
use protocol::commitment::Opening;
use protocol::engine::{
    Assignment, CommitmentId, CrossTask, Dataset, Engine, EngineError, FillTask, LinkPath, Progress,
};
use protocol::limits::LEAVES_PER_CHUNK;
use protocol::matching::Matching;

use super::Commitments;

/// One way to cheat; methods that are not overridden are honest.
pub trait Strategy: Send {
    /// What is prepared instead of `assignment`.
    fn assignment(&mut self, assignment: Assignment) -> Assignment {
        assignment
    }

    /// What is filled instead of `task` in an iteration (from 0); `None` leaves the dataset and the fill digests of the
    /// iteration before.
    fn task(&mut self, iteration: u32, task: FillTask) -> Option<FillTask> {
        let _ = iteration;
        Some(task)
    }

    /// What is swept with instead of `salt` in a sweep (from 1); `None` commits to the previous sweep again.
    fn salt(&mut self, iteration: u32, sweep: u32, salt: Salt) -> Option<Salt> {
        let _ = (iteration, sweep);
        Some(salt)
    }

    /// Changes the leaves of a fill before they are committed to.
    fn fill_leaves(&mut self, iteration: u32, leaves: &mut [u64]) {
        let _ = (iteration, leaves);
    }

    /// Changes the leaves of a sweep under `salt` before they are committed to.
    fn sweep_leaves(&mut self, iteration: u32, sweep: u32, salt: &Salt, leaves: &mut [u64]) {
        let _ = (iteration, sweep, salt, leaves);
    }

    /// What is sent instead of `root`.
    fn root(&mut self, commitment: CommitmentId, root: Root) -> Root {
        let _ = commitment;
        root
    }

    /// What is opened if this leaf is asked for; `made` has everything that was committed to.
    ///
    /// # Errors
    ///
    /// Any error with which the strategy ends the session; the honest strategy returns only [`EngineError::NoSuchLeaf`].
    fn opening(&mut self, commitment: CommitmentId, leaf: u32, made: &Commitments) -> Result<Opening, EngineError> {
        made.open(commitment, leaf)
    }
}

/// An [`Engine`] that follows a [`Strategy`] with the work of an honest one.
pub struct CheatingEngine<S> {
    inner: Box<dyn Engine>,
    strategy: S,
    tiles: u32,
    /// Fills that the inner engine has done, and its sweeps since the last.
    inner_fills: u32,
    inner_sweeps: u32,
    made: Commitments,
}

impl<S: Strategy> CheatingEngine<S> {
    /// A cheat on top of `inner`.
    #[must_use]
    pub fn new(inner: Box<dyn Engine>, strategy: S) -> Self {
        CheatingEngine {
            inner,
            strategy,
            tiles: 0,
            inner_fills: 0,
            inner_sweeps: 0,
            made: Commitments::default(),
        }
    }

    /// All leaves of one of the inner engine's commitments.
    fn leaves(&mut self, commitment: CommitmentId, count: u32) -> Result<Vec<u64>, EngineError> {
        let mut leaves = Vec::new();
        for first in (0..count).step_by(LEAVES_PER_CHUNK as usize) {
            let chunk = self.inner.open(commitment, first)?.chunk;
            leaves.extend(chunk.as_chunks::<8>().0.iter().map(|leaf| u64::from_le_bytes(*leaf)));
        }
        Ok(leaves)
    }
}

impl<S: Strategy> Engine for CheatingEngine<S> {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.tiles = assignment.tiles();
        let assignment = self.strategy.assignment(*assignment);
        self.inner.prepare(&assignment)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        let iteration = self.made.iterations();
        let mut leaves = match self.strategy.task(iteration, *task) {
            Some(task) => {
                self.inner.fill(&task, progress)?;
                self.inner_fills += 1;
                self.inner_sweeps = 0;
                let commitment = CommitmentId::Fill {
                    iteration: self.inner_fills - 1,
                };
                self.leaves(commitment, self.tiles)?
            }
            None => self.made.last_fill().expect("an iteration before").to_vec(),
        };
        self.strategy.fill_leaves(iteration, &mut leaves);
        let root = self.made.fill(leaves);
        Ok(self.strategy.root(CommitmentId::Fill { iteration }, root))
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        let iteration = self.made.iterations() - 1;
        let sweep = self.made.sweeps() + 1;
        let mut leaves = match self.strategy.salt(iteration, sweep, *salt) {
            Some(salt) => {
                self.inner.sweep(&salt, progress)?;
                self.inner_sweeps += 1;
                let commitment = CommitmentId::Sweep {
                    iteration: self.inner_fills - 1,
                    sweep: self.inner_sweeps,
                };
                self.leaves(commitment, Matching::leaves(self.tiles))?
            }
            None => self.made.last_sweep().expect("a sweep before").to_vec(),
        };
        self.strategy.sweep_leaves(iteration, sweep, salt, &mut leaves);
        let root = self.made.sweep(leaves);
        Ok(self.strategy.root(CommitmentId::Sweep { iteration, sweep }, root))
    }

    fn dataset(&self) -> Result<Arc<dyn Dataset>, EngineError> {
        self.inner.dataset()
    }

    fn connect(&mut self, datasets: &[Arc<dyn Dataset>]) -> Result<Vec<LinkPath>, EngineError> {
        self.inner.connect(datasets)
    }

    fn cross(&mut self, task: &CrossTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.inner.cross(task, progress)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        if let CommitmentId::Round { round, .. } = commitment {
            let iteration = self.inner_fills - 1;
            return self.inner.open(CommitmentId::Round { iteration, round }, leaf);
        }
        self.strategy.opening(commitment, leaf, &self.made)
    }
}
