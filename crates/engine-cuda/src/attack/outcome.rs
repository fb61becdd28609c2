//! The attacks by name, and their results.

use std::fmt;
use std::time::Duration;

use protocol::engine::{Assignment, EngineError};

/// An attack, named by what replaces memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// None: the baseline for the others.
    Honest,
    /// Two ordinals, one GPU behind both.
    OneForTwo,
    /// Some sweeps are not done: their roots are invented, the rest is in time.
    InventedSweeps,
    /// Fill digests in the epilogue, nothing kept: every sweep regenerates everything.
    NothingKept,
    /// A part is regenerated in every sweep.
    Regeneration,
    /// A part is in page-locked host memory; the sweep reads it over the link.
    HostPinned,
    /// The same with memory managed by the driver.
    HostManaged,
    /// The same, moved to the device before every sweep.
    HostPrefetched,
    /// A part is in page-locked host memory, another is regenerated in parallel with the sweep of the rest.
    Mixture,
    /// A part is in another GPU's memory.
    Peer,
    /// Half is in another GPU's memory, and both GPUs sweep.
    TwoForOne,
}

impl Attack {
    /// All attacks, in a sensible order to run.
    pub const ALL: [Attack; 11] = [
        Attack::Honest,
        Attack::OneForTwo,
        Attack::InventedSweeps,
        Attack::NothingKept,
        Attack::Regeneration,
        Attack::HostPinned,
        Attack::Mixture,
        Attack::Peer,
        Attack::TwoForOne,
        Attack::HostManaged,
        Attack::HostPrefetched,
    ];

    /// Its name, for example `host-pinned`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Attack::Honest => "honest",
            Attack::OneForTwo => "one-for-two",
            Attack::InventedSweeps => "invented-sweeps",
            Attack::NothingKept => "nothing-kept",
            Attack::Regeneration => "regeneration",
            Attack::HostPinned => "host-pinned",
            Attack::HostManaged => "host-managed",
            Attack::HostPrefetched => "host-prefetched",
            Attack::Mixture => "mixture",
            Attack::Peer => "peer",
            Attack::TwoForOne => "two-for-one",
        }
    }

    /// Whether it uses two GPUs.
    #[must_use]
    pub fn wants_two_gpus(self) -> bool {
        matches!(self, Attack::Peer | Attack::TwoForOne)
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Times of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// A fill.
    pub fill: Duration,
    /// A sweep: the median of several.
    pub sweep: Duration,
}

/// The real resources behind all ordinals of an attack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Bytes of the dataset that the device keeps in its memory.
    pub held_bytes: u64,
    /// Bytes of these that it reads per second of the sweeps.
    pub read_bytes_per_s: f64,
    /// Operations per second of the fill.
    pub ops_per_s: f64,
}

/// The result of one attack with one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// Bytes that each ordinal states it holds.
    pub assignments: Vec<Assignment>,
    /// Sweeps of the session that it simulates.
    pub sweeps: u32,
    /// Share of the session's sweep leaves that are wrong.
    pub wrong_share: f64,
    /// Times of an honest engine in the same process.
    pub honest: Times,
    /// Times of the attack.
    pub attack: Times,
    /// Its real resources.
    pub truth: Truth,
    /// Whether its fill and sweep resulted in the honest engine's roots, where this was checked.
    pub same_roots: Option<bool>,
}

/// The outcome of one attack with one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The parameter, for example `5 %`.
    pub parameter: String,
    /// Its figures, or why there are none.
    pub played: Result<Played, EngineError>,
}
