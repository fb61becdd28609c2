//! The attacks by name, and what comes of one.

use std::fmt;
use std::time::Duration;

use protocol::engine::{Assignment, EngineError};

/// An attack, by what takes the place of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// None: the measure of the others.
    Honest,
    /// Two ordinals, one GPU behind both.
    OneForTwo,
    /// Some sweeps are not done: their roots are invented, the rest is in time.
    InventedSweeps,
    /// Fill digests in the epilogue, nothing kept: every sweep makes everything anew.
    NothingKept,
    /// A part is made anew in every sweep.
    Regeneration,
    /// A part lies in page-locked host memory; the sweep reads it over the link.
    HostPinned,
    /// The same with memory that the driver manages.
    HostManaged,
    /// The same, moved to the device before every sweep.
    HostPrefetched,
    /// A part lies in page-locked host memory, another is made anew beside the sweep of the rest.
    Mixture,
    /// A part lies in another GPU's memory.
    Peer,
    /// Half lies in another GPU's memory, and both GPUs sweep.
    TwoForOne,
}

impl Attack {
    /// All, in the order in which they are worth running.
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

    /// Its name, say `host-pinned`.
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

    /// Whether it is played with two GPUs.
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
    /// A sweep: the middle one of several.
    pub sweep: Duration,
}

/// What there truly is behind all ordinals of an attack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Truth {
    /// Bytes of the dataset that the device keeps in its memory.
    pub held_bytes: u64,
    /// Bytes of these that it reads a second of the sweeps.
    pub read_bytes_per_s: f64,
    /// Operations a second of the fill.
    pub ops_per_s: f64,
}

/// One attack with one parameter, played.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// What each ordinal says it holds.
    pub assignments: Vec<Assignment>,
    /// Sweeps of the session that it plays.
    pub sweeps: u32,
    /// Share of the session's sweep leaves that are wrong.
    pub wrong_share: f64,
    /// What an honest engine took in the same process.
    pub honest: Times,
    /// What the attack took.
    pub attack: Times,
    /// What it truly had.
    pub truth: Truth,
    /// Whether its fill and sweep gave the honest engine's roots, where that was asked.
    pub same_roots: Option<bool>,
}

/// What became of one attack with one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The parameter, say `5 %`.
    pub parameter: String,
    /// Its figures, or why there are none.
    pub played: Result<Played, EngineError>,
}
