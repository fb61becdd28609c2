//! Which commitment of a device: names of fills, sweeps and rounds.

use std::fmt;

/// What computes leaves of pairs of tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// A sweep, from 1.
    Sweep(u32),
    /// A round of the tournament, from 0.
    Round(u32),
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pass::Sweep(sweep) => write!(f, "sweep {sweep}"),
            Pass::Round(round) => write!(f, "round {round}"),
        }
    }
}

/// Identifies one commitment of a device: the fill of iteration t, its sweep s, or its round r.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CommitmentId {
    /// The fill of an iteration (from 0).
    Fill {
        /// Iteration, from 0.
        iteration: u32,
    },
    /// A sweep (from 1) of an iteration (from 0).
    Sweep {
        /// Iteration, from 0.
        iteration: u32,
        /// Sweep within the iteration, from 1.
        sweep: u32,
    },
    /// A round of the tournament (from 0) of an iteration (from 0).
    Round {
        /// Iteration, from 0.
        iteration: u32,
        /// Round within the iteration, from 0.
        round: u32,
    },
}

impl CommitmentId {
    /// The commitment of a sweep or round.
    #[must_use]
    pub fn of_pass(iteration: u32, pass: Pass) -> Self {
        match pass {
            Pass::Sweep(sweep) => CommitmentId::Sweep { iteration, sweep },
            Pass::Round(round) => CommitmentId::Round { iteration, round },
        }
    }
}

impl fmt::Display for CommitmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitmentId::Fill { iteration } => write!(f, "fill of iteration {iteration}"),
            CommitmentId::Sweep { iteration, sweep } => write!(f, "sweep {sweep} of iteration {iteration}"),
            CommitmentId::Round { iteration, round } => write!(f, "round {round} of iteration {iteration}"),
        }
    }
}
