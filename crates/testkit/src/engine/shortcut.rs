//! A separate engine, simple and slow, in which single rules of the spec can be broken.

use protocol::bytes::{Root, Salt};
use protocol::commitment::Opening;
use protocol::digest::DigestKey;
use protocol::engine::{Assignment, AssignmentFields, CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::limits::{TILE_BYTES, TILE_SIDE, TILE_WORDS};
use protocol::matching::Matching;
use protocol::operand::{Operand, operand_rows};
use protocol::tile::{TileCoordinate, fold};

use super::Commitments;

/// The rules of spec §4, each of which a cheat may replace by something cheaper.
#[derive(Clone, Copy)]
pub struct Shortcut {
    /// The 256 rows of an operand in one block, k bytes each.
    pub operand: fn(&FillTask, Operand, u32) -> Vec<u8>,
    /// The byte that an exact sum is folded to.
    pub fold: fn(i32) -> u8,
    /// The tiles of a leaf.
    pub pair: fn(&Matching, u32) -> (u32, u32),
    /// The word shift of a leaf.
    pub shift: fn(&DigestKey, u32) -> u32,
}

impl Default for Shortcut {
    /// No shortcut: every rule as in the spec.
    fn default() -> Self {
        Shortcut {
            operand: keystream_operand,
            fold,
            pair: Matching::pair,
            shift: DigestKey::shift,
        }
    }
}

fn keystream_operand(task: &FillTask, operand: Operand, block: u32) -> Vec<u8> {
    let mut rows = vec![0; TILE_SIDE * task.inner_dim as usize];
    let first_row = block * TILE_SIDE as u32;
    operand_rows(&task.operand_key, operand, task.inner_dim, first_row, &mut rows);
    rows
}

/// An [`Engine`] that takes a [`Shortcut`].
pub struct ShortcutEngine {
    shortcut: Shortcut,
    assignment: Option<Assignment>,
    tiles: Vec<Box<[u8; TILE_BYTES]>>,
    made: Commitments,
}

impl ShortcutEngine {
    /// An engine that takes `shortcut`.
    #[must_use]
    pub fn new(shortcut: Shortcut) -> Self {
        ShortcutEngine {
            shortcut,
            assignment: None,
            tiles: Vec::new(),
            made: Commitments::default(),
        }
    }

    fn tile(&self, task: &FillTask, at: TileCoordinate) -> Box<[u8; TILE_BYTES]> {
        let k = task.inner_dim as usize;
        let left = (self.shortcut.operand)(task, Operand::A(at.matrix), at.row_block);
        let right = (self.shortcut.operand)(task, Operand::B, at.column_block);
        let mut tile = Box::new([0; TILE_BYTES]);
        for (row, out) in left.chunks_exact(k).zip(tile.as_chunks_mut::<TILE_SIDE>().0) {
            for (column, byte) in right.chunks_exact(k).zip(out) {
                let products = row
                    .iter()
                    .zip(column)
                    .map(|(&a, &b)| i32::from(a as i8) * i32::from(b as i8));
                *byte = (self.shortcut.fold)(products.sum());
            }
        }
        tile
    }
}

impl Engine for ShortcutEngine {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.assignment = Some(*assignment);
        Ok(())
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        let assignment = self.assignment.expect("prepared before");
        let AssignmentFields {
            matrix_offset,
            matrix_dim,
            ..
        } = assignment.fields();
        let tiles = assignment.tiles();
        self.tiles = (0..tiles)
            .map(|index| {
                progress.advance(1);
                self.tile(task, TileCoordinate::from_index(index, matrix_offset, matrix_dim))
            })
            .collect();
        let key = DigestKey::expand(&task.fill_salt);
        Ok(self
            .made
            .fill(self.tiles.iter().map(|tile| key.fill_digest(tile)).collect()))
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        let key = DigestKey::expand(salt);
        let count = self.tiles.len() as u32;
        let matching = key.matching(count);
        let leaves = (0..Matching::leaves(count))
            .map(|leaf| {
                let (a, b) = (self.shortcut.pair)(&matching, leaf);
                let shift = (self.shortcut.shift)(&key, leaf);
                progress.advance(1);
                pair_digest(&key, shift, &self.tiles[a as usize], &self.tiles[b as usize])
            })
            .collect();
        Ok(self.made.sweep(leaves))
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.made.open(commitment, leaf)
    }
}

fn pair_digest(key: &DigestKey, shift: u32, a: &[u8; TILE_BYTES], b: &[u8; TILE_BYTES]) -> u64 {
    let word = |tile: &[u8; TILE_BYTES], i: usize| u64::from(u32::from_le_bytes(tile.as_chunks::<4>().0[i]));
    (0..TILE_WORDS).fold(0, |sum, i| {
        let product = key.words[i]
            .wrapping_mul(word(a, i))
            .wrapping_mul(word(b, i ^ shift as usize));
        sum.wrapping_add(product)
    })
}
