//! An engine that does not hold all of its tiles, and gets the others again for every sweep: regenerated, or from a file.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine_cpu::{OperandCache, Path, Tile, TileComputer};
use protocol::bytes::{Root, Salt};
use protocol::commitment::Opening;
use protocol::digest::DigestKey;
use protocol::engine::{Assignment, AssignmentFields, CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::limits::TILE_BYTES;
use protocol::matching::Matching;
use protocol::tile::TileCoordinate;

use super::Commitments;
use crate::odds::Draws;

/// Operands that are kept while tiles are made (bytes).
const OPERAND_BYTES: usize = 16 << 20;

/// Location of a tile that the device does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Not stored: it is regenerated whenever it is needed.
    Regenerated,
    /// In a file, from which it is read whenever it is needed.
    File,
    /// Not stored and not regenerated: pairs that need it get junk.
    Junk,
}

/// An [`Engine`] on one thread that holds a part of its tiles; the others are in these places, in turn.
pub struct AbsentEngine {
    fraction: f64,
    places: &'static [Place],
    draws: Draws,
    brought_bytes: Arc<AtomicU64>,
    prepared: Option<Prepared>,
    task: Option<FillTask>,
    /// Where the missing tiles are; drawn again in every fill.
    missing: HashMap<u32, Place>,
    held: HashMap<u32, Box<Tile>>,
    made: Commitments,
}

struct Prepared {
    assignment: Assignment,
    computer: TileComputer,
    file: File,
}

impl AbsentEngine {
    /// An engine that lacks this fraction of its tiles.
    #[must_use]
    pub fn new(fraction: f64, places: &'static [Place]) -> Self {
        AbsentEngine {
            fraction,
            places,
            draws: Draws::new(4),
            brought_bytes: Arc::default(),
            prepared: None,
            task: None,
            missing: HashMap::new(),
            held: HashMap::new(),
            made: Commitments::default(),
        }
    }

    /// Bytes of missing tiles that sweeps have got again so far, from any location.
    #[must_use]
    pub fn brought_bytes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.brought_bytes)
    }

    /// The tile, or `None` if it cannot be got again.
    fn tile(&mut self, index: u32) -> Result<Option<Box<Tile>>, EngineError> {
        let Some(place) = self.missing.get(&index) else {
            return Ok(self.held.get(&index).cloned());
        };
        let prepared = self.prepared.as_mut().expect("prepared before");
        let tile = match place {
            Place::Regenerated => prepared.compute(&self.task.expect("filled before"), index),
            Place::File => prepared.read(index)?,
            Place::Junk => return Ok(None),
        };
        self.brought_bytes.fetch_add(TILE_BYTES as u64, Ordering::Relaxed);
        Ok(Some(tile))
    }
}

impl Prepared {
    fn compute(&mut self, task: &FillTask, index: u32) -> Box<Tile> {
        let AssignmentFields {
            matrix_offset,
            matrix_dim,
            ..
        } = self.assignment.fields();
        let at = TileCoordinate::from_index(index, matrix_offset, matrix_dim);
        let mut tile = Tile::zeroed();
        self.computer.compute(&task.operand_key, task.inner_dim, at, &mut tile);
        tile
    }

    fn read(&self, index: u32) -> Result<Box<Tile>, EngineError> {
        let mut tile = Tile::zeroed();
        let read = self.file.read_exact_at(&mut tile.0, position(index));
        read.map_err(|error| failed("reading the file", &error))?;
        Ok(tile)
    }
}

fn position(index: u32) -> u64 {
    u64::from(index) * TILE_BYTES as u64
}

fn failed(call: &str, error: &io::Error) -> EngineError {
    EngineError::Driver {
        call: call.to_owned(),
        message: error.to_string(),
    }
}

impl Engine for AbsentEngine {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        let computer = TileComputer::new(Path::best(), Arc::new(OperandCache::new(OPERAND_BYTES)))
            .map_err(|error| EngineError::SelfTest(error.to_string()))?;
        self.prepared = Some(Prepared {
            assignment: *assignment,
            computer,
            file: tempfile::tempfile().map_err(|error| failed("creating a file", &error))?,
        });
        Ok(())
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        let prepared = self.prepared.as_mut().expect("prepared before");
        let tiles = prepared.assignment.tiles();
        let count = (f64::from(tiles) * self.fraction).round() as u64;
        // In order, so that the same draws give the same places.
        let mut missing: Vec<u64> = self.draws.distinct(count, tiles.into()).into_iter().collect();
        missing.sort_unstable();
        let places = self.places.iter().cycle();
        self.missing = missing.into_iter().map(|at| at as u32).zip(places.copied()).collect();
        self.held.clear();
        let key = DigestKey::expand(&task.fill_salt);
        let mut leaves = Vec::new();
        for index in 0..tiles {
            if progress.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            let tile = prepared.compute(task, index);
            leaves.push(key.fill_digest(&tile.0));
            match self.missing.get(&index) {
                None => drop(self.held.insert(index, tile)),
                Some(Place::File) => {
                    let written = prepared.file.write_all_at(&tile.0, position(index));
                    written.map_err(|error| failed("writing the file", &error))?;
                }
                Some(Place::Regenerated | Place::Junk) => {}
            }
            progress.advance(1);
        }
        self.task = Some(*task);
        Ok(self.made.fill(leaves))
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        let tiles = self.prepared.as_ref().expect("prepared before").assignment.tiles();
        let key = DigestKey::expand(salt);
        let matching = key.matching(tiles);
        let mut leaves = Vec::new();
        for leaf in 0..Matching::leaves(tiles) {
            if progress.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            let (a, b) = matching.pair(leaf);
            leaves.push(match (self.tile(a)?, self.tile(b)?) {
                (Some(a), Some(b)) => key.pair_digest(leaf, &a.0, &b.0),
                _ => self.draws.draw(),
            });
            progress.advance(2);
        }
        Ok(self.made.sweep(leaves))
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.made.open(commitment, leaf)
    }
}
