//! Cheats whose opening is not what was asked for, or not what was committed to (spec §5).

use protocol::commitment::Opening;
use protocol::engine::{CommitmentId, EngineError};

use crate::engine::{Commitments, Strategy};

pub(super) struct Altered;

impl Strategy for Altered {
    fn opening(&mut self, commitment: CommitmentId, leaf: u32, made: &Commitments) -> Result<Opening, EngineError> {
        let mut opening = made.open(commitment, leaf)?;
        opening.chunk[0] ^= 1;
        Ok(opening)
    }
}

pub(super) struct Swapped;

impl Strategy for Swapped {
    fn opening(&mut self, commitment: CommitmentId, leaf: u32, made: &Commitments) -> Result<Opening, EngineError> {
        let other = match commitment {
            CommitmentId::Fill { iteration } => CommitmentId::Sweep { iteration, sweep: 1 },
            CommitmentId::Sweep { iteration, .. } | CommitmentId::Round { iteration, .. } => {
                CommitmentId::Fill { iteration }
            }
        };
        made.open(other, leaf.min(made.leaves(other).saturating_sub(1)))
    }
}

pub(super) struct Empty;

impl Strategy for Empty {
    fn opening(&mut self, _commitment: CommitmentId, _leaf: u32, _made: &Commitments) -> Result<Opening, EngineError> {
        Ok(Opening {
            chunk: Vec::new(),
            siblings: Vec::new(),
        })
    }
}

pub(super) struct Duplicate(pub(super) Option<Opening>);

impl Strategy for Duplicate {
    fn opening(&mut self, commitment: CommitmentId, leaf: u32, made: &Commitments) -> Result<Opening, EngineError> {
        if self.0.is_none() {
            self.0 = Some(made.open(commitment, leaf)?);
        }
        Ok(self.0.clone().expect("opened above"))
    }
}

pub(super) struct Elsewhere;

impl Strategy for Elsewhere {
    fn opening(&mut self, commitment: CommitmentId, leaf: u32, made: &Commitments) -> Result<Opening, EngineError> {
        let is_fill = |id| matches!(id, CommitmentId::Fill { .. });
        // Of the same kind, so that all sizes are right; a plan of one iteration has no other fill.
        let other = made
            .ids()
            .find(|&id| id != commitment && is_fill(id) == is_fill(commitment));
        made.open(other.unwrap_or(commitment), leaf)
    }
}

pub(super) struct Abort;

impl Strategy for Abort {
    fn opening(&mut self, _commitment: CommitmentId, _leaf: u32, _made: &Commitments) -> Result<Opening, EngineError> {
        Err(EngineError::DeviceLost("as played".to_owned()))
    }
}
