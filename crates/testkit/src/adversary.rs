//! Adversaries by name: engines that answer without doing, storing or reading what they should (spec §5, rationale).

use std::collections::{HashMap, HashSet};

use protocol::bytes::{OperandKey, Root, Salt};
use protocol::derive::{derive, keystream};
use protocol::digest::matching;
use protocol::engine::{Assignment, CommitmentId, Engine, FillTask};
use protocol::limits::TILE_SIDE;
use protocol::matching::Matching;
use protocol::operand::Operand;

use crate::engine::{CheatingEngine, Shortcut, ShortcutEngine, Strategy};
use crate::odds::Draws;

/// An engine that cheats.
#[derive(Clone, Copy)]
pub struct Adversary {
    /// Its name, say `junk-fill`.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    make: fn(Box<dyn Engine>, f64) -> Box<dyn Engine>,
}

impl Adversary {
    /// The adversary over an honest engine; `fraction` is how much of the work it leaves out, where that can be chosen.
    #[must_use]
    pub fn engine(&self, inner: Box<dyn Engine>, fraction: f64) -> Box<dyn Engine> {
        (self.make)(inner, fraction)
    }

    /// The adversary with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Adversary> {
        ADVERSARIES.iter().find(|adversary| adversary.name == name).copied()
    }
}

macro_rules! adversaries {
    ($($name:literal: $summary:literal, $make:expr;)*) => {
        /// Every adversary.
        pub const ADVERSARIES: &[Adversary] = &[$(Adversary { name: $name, summary: $summary, make: $make }),*];
    };
}

fn over<S: Strategy + 'static>(inner: Box<dyn Engine>, strategy: S) -> Box<dyn Engine> {
    Box::new(CheatingEngine::new(inner, strategy))
}

fn taking(shortcut: Shortcut) -> Box<dyn Engine> {
    Box::new(ShortcutEngine::new(shortcut))
}

adversaries! {
    "junk-fill": "commits to junk for a fraction of the fill leaves",
        |inner, fraction| over(inner, JunkFill(fraction, Draws::new(1)));
    "junk-sweep": "commits to junk for a fraction of the sweep leaves",
        |inner, fraction| over(inner, JunkSweep(fraction, Draws::new(2)));
    "missing-memory": "digests all tiles in the epilogue, keeps only a part, answers junk for pairs that need the rest",
        |inner, fraction| over(inner, MissingMemory::new(fraction));
    "sweeps-in-one-pass": "does all sweeps of an iteration in one pass, under the first one's salt",
        |inner, _| over(inner, OnePass(None));
    "sweeps-repeated": "sweeps once an iteration and sends that root for every sweep",
        |inner, _| over(inner, RepeatedSweep);
    "roots-invented": "sends sweep roots of its own making",
        |inner, _| over(inner, InventedRoots);
    "fill-skipped": "leaves the first iteration's dataset and digests for all later ones",
        |inner, _| over(inner, SkippedFills);
    "twin": "holds the matrices from 0 on, whichever its own are",
        |inner, _| over(inner, Twin);
    "other-nonce": "fills as another nonce would have it",
        |inner, _| over(inner, OtherNonce);
    "short-products": "multiplies with half of k",
        |inner, _| over(inner, ShortProducts);
    "hankel-operands": "takes operands with structure, whose product costs O(n^2 log n)",
        |_, _| taking(Shortcut { operand: hankel, ..Shortcut::default() });
    "low-rank-operands": "takes left operands whose rows repeat",
        |_, _| taking(Shortcut { operand: low_rank, ..Shortcut::default() });
    "linear-fold": "keeps the top byte of each sum, which algebra could answer for",
        |_, _| taking(Shortcut { fold: |acc| (acc >> 24) as u8, ..Shortcut::default() });
    "neighbours": "pairs neighbouring tiles instead of the matching's",
        |_, _| taking(Shortcut { pair: neighbours, ..Shortcut::default() });
    "unshifted": "pairs words at equal positions",
        |_, _| taking(Shortcut { shift: |_, _| 0, ..Shortcut::default() });
}

struct JunkFill(f64, Draws);

impl Strategy for JunkFill {
    fn fill_leaves(&mut self, _iteration: u32, leaves: &mut [u64]) {
        junk(leaves, self.0, &mut self.1);
    }
}

struct JunkSweep(f64, Draws);

impl Strategy for JunkSweep {
    fn sweep_leaves(&mut self, _iteration: u32, _sweep: u32, _salt: &Salt, leaves: &mut [u64]) {
        junk(leaves, self.0, &mut self.1);
    }
}

/// Puts junk into that fraction of the leaves, rounded, wherever the draws say.
fn junk(leaves: &mut [u64], fraction: f64, draws: &mut Draws) {
    let count = (leaves.len() as f64 * fraction).round() as u64;
    // In order, so that the same draws give the same junk.
    let mut places: Vec<u64> = draws.distinct(count, leaves.len() as u64).into_iter().collect();
    places.sort_unstable();
    for at in places {
        leaves[at as usize] ^= draws.draw() | 1;
    }
}

struct MissingMemory {
    fraction: f64,
    draws: Draws,
    tiles: u32,
    missing: HashSet<u64>,
}

impl MissingMemory {
    fn new(fraction: f64) -> Self {
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

struct OnePass(Option<Salt>);

impl Strategy for OnePass {
    fn salt(&mut self, _iteration: u32, sweep: u32, salt: Salt) -> Option<Salt> {
        if sweep == 1 {
            self.0 = Some(salt);
        }
        self.0
    }
}

struct RepeatedSweep;

impl Strategy for RepeatedSweep {
    fn salt(&mut self, _iteration: u32, sweep: u32, salt: Salt) -> Option<Salt> {
        (sweep == 1).then_some(salt)
    }
}

struct InventedRoots;

impl Strategy for InventedRoots {
    fn root(&mut self, commitment: CommitmentId, root: Root) -> Root {
        match commitment {
            CommitmentId::Fill { .. } => root,
            CommitmentId::Sweep { .. } => Root(derive("testkit invented", &[&root.0])),
        }
    }
}

struct SkippedFills;

impl Strategy for SkippedFills {
    fn task(&mut self, iteration: u32, task: FillTask) -> Option<FillTask> {
        (iteration == 0).then_some(task)
    }
}

struct Twin;

impl Strategy for Twin {
    fn assignment(&mut self, assignment: Assignment) -> Assignment {
        Assignment {
            matrix_offset: 0,
            ..assignment
        }
    }
}

struct OtherNonce;

impl Strategy for OtherNonce {
    fn task(&mut self, _iteration: u32, task: FillTask) -> Option<FillTask> {
        Some(FillTask {
            operand_key: OperandKey(derive("testkit other", &[&task.operand_key.0])),
            ..task
        })
    }
}

struct ShortProducts;

impl Strategy for ShortProducts {
    fn task(&mut self, _iteration: u32, task: FillTask) -> Option<FillTask> {
        Some(FillTask {
            inner_dim: (task.inner_dim / 128 * 64).max(64),
            ..task
        })
    }
}

/// Row r is the keystream from byte r on: constant along its antidiagonals.
fn hankel(task: &FillTask, operand: Operand, block: u32) -> Vec<u8> {
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
fn low_rank(task: &FillTask, operand: Operand, block: u32) -> Vec<u8> {
    let honest = (Shortcut::default().operand)(task, operand, block);
    match operand {
        Operand::A(_) => honest[..task.inner_dim as usize].repeat(TILE_SIDE),
        Operand::B => honest,
    }
}

fn neighbours(matching: &Matching, leaf: u32) -> (u32, u32) {
    let (a, b) = matching.pair(leaf);
    if a == b { (a, b) } else { (2 * leaf, 2 * leaf + 1) }
}

/// Engines of one adversary for the devices that have one, honest ones for the others.
///
/// # Panics
///
/// The engine maker, on a name that no adversary has.
pub fn engines(
    adversaries: HashMap<u32, (&'static str, f64)>,
    honest: fn() -> Box<dyn Engine>,
) -> impl FnMut(protocol::bytes::DeviceOrdinal) -> Box<dyn Engine> {
    move |g| match adversaries.get(&g.0) {
        Some((name, fraction)) => Adversary::named(name)
            .unwrap_or_else(|| panic!("no adversary is named {name}"))
            .engine(honest(), *fraction),
        None => honest(),
    }
}
