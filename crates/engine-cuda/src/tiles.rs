//! Single tiles on a GPU, for a Verifier that has one: recomputes samples (spec §5).
//!
//! A single tile is a matrix with n = 256: the fill's kernels treat tiles that share a column block as matrices that
//! share B. Only their operands differ, so these come from a separate kernel, `keystream_rows`.

use std::ops::Range;
use std::sync::Arc;

use protocol::bytes::{OperandKey, hex};
use protocol::derive::hash;
use protocol::engine::{EngineError, TileEngine, check_tiles};
use protocol::limits::{INNER_DIM_RANGE, TILE_BYTES, TILE_SIDE};
use protocol::tile::TileCoordinate;

use crate::context::Context;
use crate::driver;
use crate::engine::CudaEngineConfig;
use crate::fill::MMA_SHARED_BYTES;
use crate::fill_path::FillPath;
use crate::kernels::{Function, Module, Shape, parameter};
use crate::memory::{DeviceMemory, Pinned};
use crate::stream::{Event, Stream};

/// Most tiles per launch, whose rows of A and of B are in memory at once.
const TILES_AT_ONCE: usize = 128;

/// Rows of operands in memory (bytes): 256 panels at k = 16384.
const OPERAND_BYTES: u64 = 1 << 30;

/// A digest key as the fill's kernels read it. They compute digests of the tiles, which are not used here: the caller
/// computes its own.
const KEY_BYTES: u64 = 131_072;

/// Minimum number of keystream blocks that a CTA generates.
const BLOCKS_A_CTA: u32 = 4096;

const _: () = assert!(
    OPERAND_BYTES >= 2 * TILE_SIDE as u64 * *INNER_DIM_RANGE.end() as u64,
    "one tile fits at any k"
);

/// Computes single tiles on one NVIDIA GPU, in 1.1 GiB of its memory.
pub struct CudaTiles {
    keystream: Function,
    fill: Function,
    path: FillPath,
    limit: std::time::Duration,
    /// Why the device is lost, if it is.
    lost: Option<EngineError>,
    end: Event,
    stream: Stream,
    operand_key: Pinned<[u8; 32]>,
    places: Pinned<[u32; 4]>,
    tiles: Pinned<[u8; TILE_BYTES]>,
    _modules: [Module; 2],
    // Declared after everything that may still use it.
    memory: DeviceMemory,
    context: Arc<Context>,
}

/// Offsets in the allocation: operands first.
const TILES: u64 = OPERAND_BYTES;
const DIGESTS: u64 = TILES + (TILES_AT_ONCE * TILE_BYTES) as u64;
const KEY: u64 = DIGESTS + 8 * TILES_AT_ONCE as u64;
const PLACES: u64 = KEY + KEY_BYTES;
const OPERAND_KEY: u64 = PLACES + 16 * 2 * TILES_AT_ONCE as u64;
const TOTAL_BYTES: u64 = OPERAND_KEY + 32;

/// Tiles of one launch: panels of A in order, then a panel of B for each run of tiles that share a column block.
struct Batch {
    tiles: Range<usize>,
    runs: Vec<Range<usize>>,
}

impl CudaTiles {
    /// Opens the device, loads code, allocates memory, and checks known answers.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unsupported`] without CUDA, such a device, or a path for single tiles; [`EngineError::SelfTest`]
    /// if the device computes wrong tiles; otherwise the driver's error.
    pub fn new(config: CudaEngineConfig) -> Result<Self, EngineError> {
        driver::start().map_err(|error| EngineError::Unsupported(error.to_string()))?;
        let context = Arc::new(Context::new(config.device_index)?);
        // The Hopper kernel has its own operand layout and needs many panels: single tiles use the next best path.
        let best = match FillPath::best(context.compute_capability()?, config.portable_images) {
            FillPath::Sm90a => FillPath::Mma,
            path => path,
        };
        let path = config.fill_path.unwrap_or(best);
        let (name, shared_bytes) = match path {
            FillPath::Sm90a => {
                return Err(EngineError::Unsupported(
                    "single tiles on the sm90a path; mma and dp4a have them".to_owned(),
                ));
            }
            FillPath::Mma => ("fill_mma", MMA_SHARED_BYTES),
            FillPath::Dp4a => ("fill_dp4a", 0),
        };
        let keystream = Module::load(&context, "keystream", config.portable_images)?;
        let fill = Module::load(&context, name, config.portable_images)?;
        let memory = DeviceMemory::new(&context, TOTAL_BYTES)?;
        let stream = Stream::new(&context)?;
        // SAFETY: digests and key lie within the allocation, which nothing uses yet.
        unsafe { stream.zero(memory.at(DIGESTS), PLACES - DIGESTS)? };
        let mut tiles = CudaTiles {
            keystream: keystream.function("keystream_rows", 0)?,
            fill: fill.function(name, shared_bytes)?,
            path,
            limit: config.launch_limit,
            lost: None,
            end: Event::new(&context)?,
            stream,
            operand_key: Pinned::new(&context, 1)?,
            places: Pinned::new(&context, 2 * TILES_AT_ONCE)?,
            tiles: Pinned::new(&context, TILES_AT_ONCE)?,
            _modules: [keystream, fill],
            memory,
            context,
        };
        tiles.self_check()?;
        Ok(tiles)
    }

    /// The fill's kernels that compute the tiles.
    #[must_use]
    pub fn path(&self) -> FillPath {
        self.path
    }

    fn self_check(&mut self) -> Result<(), EngineError> {
        let mut bytes = Vec::new();
        self.tiles(&KNOWN_KEY, KNOWN_INNER_DIM, &KNOWN_TILES, &mut |_, tile| {
            bytes.extend_from_slice(tile);
        })?;
        let actual = hex(&hash(&[&bytes]));
        if actual == KNOWN_BLAKE3 {
            Ok(())
        } else {
            Err(EngineError::SelfTest(format!(
                "single tiles on the {} path hash to {actual}, expected {KNOWN_BLAKE3}",
                self.path
            )))
        }
    }

    /// Computes the tiles of a batch and waits for their bytes.
    fn compute(&mut self, key: &OperandKey, k: u32, at: &[TileCoordinate], batch: &Batch) -> Result<(), EngineError> {
        let blocks = TILE_SIDE as u32 * k / 64;
        let tiles = &at[batch.tiles.clone()];
        let rows_of_a = tiles.iter().map(|at| {
            let index = at.matrix.to_le_bytes();
            let (low, high) = index.split_at(4);
            let word = |half: &[u8]| u32::from_le_bytes(half.try_into().expect("four bytes"));
            [u32::from(b'A'), word(low), word(high), at.row_block * blocks]
        });
        let rows_of_b = batch
            .runs
            .iter()
            .map(|run| [u32::from(b'B'), 0, 0, at[run.start].column_block * blocks]);
        let places: Vec<[u32; 4]> = rows_of_a.chain(rows_of_b).collect();
        let panels = places.len() as u32;
        let panel_bytes = u64::from(TILE_SIDE as u32) * u64::from(k);
        let operands = self.memory.at(0);
        let [on_device_key, on_device_places] = [OPERAND_KEY, PLACES].map(|offset| self.memory.at(offset));
        // SAFETY: nothing is in flight, since every batch is waited for; `places` has room for two panels a tile, and all
        // addresses lie within the allocation. Parameters are in the order of the kernel's header.
        unsafe {
            self.operand_key.as_mut_ptr().write(key.0);
            self.places
                .as_mut_ptr()
                .copy_from_nonoverlapping(places.as_ptr(), places.len());
            self.stream
                .copy_to_device(on_device_key, self.operand_key.as_mut_ptr(), 1)?;
            self.stream
                .copy_to_device(on_device_places, self.places.as_mut_ptr(), places.len())?;
            self.keystream.launch(
                &self.stream,
                Shape {
                    grid: ((blocks / BLOCKS_A_CTA).max(1), panels),
                    ..Shape::plain(1, 256)
                },
                [
                    parameter(&operands),
                    parameter(&on_device_key),
                    parameter(&on_device_places),
                    parameter(&blocks),
                ],
            )?;
        }
        for (i, run) in batch.runs.iter().enumerate() {
            let first = (run.start - batch.tiles.start) as u64;
            let a = self.memory.at(first * panel_bytes);
            let b = self.memory.at((tiles.len() + i) as u64 * panel_bytes);
            let key = self.memory.at(KEY);
            let out = self.memory.at(TILES + first * TILE_BYTES as u64);
            let digests = self.memory.at(DIGESTS + first * 8);
            let n = TILE_SIDE as u32;
            let (ctas_per_tile, shared_bytes) = match self.path {
                FillPath::Mma => (2, MMA_SHARED_BYTES),
                _ => (4, 0),
            };
            let shape = Shape {
                shared_bytes,
                ..Shape::plain(run.len() as u32 * ctas_per_tile, 256)
            };
            // SAFETY: parameters in the order of the kernels' headers, with n = 256 and a matrix a tile; operands were just
            // queued, tiles and digests of the run lie within the allocation.
            unsafe {
                self.fill.launch(
                    &self.stream,
                    shape,
                    [
                        parameter(&a),
                        parameter(&b),
                        parameter(&key),
                        parameter(&out),
                        parameter(&digests),
                        parameter(&n),
                        parameter(&k),
                    ],
                )?;
            }
        }
        let source = self.memory.at(TILES);
        // SAFETY: the host has room for a batch, and reads it after the wait.
        unsafe {
            self.stream.copy_to_host(self.tiles.as_mut_ptr(), source, tiles.len())?;
        }
        self.end.record(&self.stream)?;
        if self.end.wait(self.limit)? {
            return Ok(());
        }
        self.context.mark_stuck();
        Err(EngineError::DeviceLost(format!(
            "{} tiles were not done within {} s",
            tiles.len(),
            self.limit.as_secs()
        )))
    }
}

impl TileEngine for CudaTiles {
    fn tiles(
        &mut self,
        operand_key: &OperandKey,
        inner_dim: u32,
        at: &[TileCoordinate],
        take: &mut dyn FnMut(usize, &[u8; TILE_BYTES]),
    ) -> Result<(), EngineError> {
        check_tiles(inner_dim, at)?;
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let done = self.compute_all(operand_key, inner_dim, at, take);
        if let Err(error) = &done
            && error.is_lost()
        {
            self.lost = Some(error.clone());
        }
        done
    }
}

impl CudaTiles {
    fn compute_all(
        &mut self,
        operand_key: &OperandKey,
        inner_dim: u32,
        at: &[TileCoordinate],
        take: &mut dyn FnMut(usize, &[u8; TILE_BYTES]),
    ) -> Result<(), EngineError> {
        self.context.bind()?;
        let panels = (OPERAND_BYTES / (u64::from(TILE_SIDE as u32) * u64::from(inner_dim))) as usize;
        for batch in batches(at, panels) {
            self.compute(operand_key, inner_dim, at, &batch)?;
            // SAFETY: the copy was waited for, and the next one comes after this.
            let tiles = unsafe { self.tiles.as_slice() };
            for (i, tile) in batch.tiles.zip(tiles) {
                take(i, tile);
            }
        }
        Ok(())
    }
}

impl Drop for CudaTiles {
    fn drop(&mut self) {
        // After an error, a launch whose end was not waited for may still write.
        self.context.synchronize();
    }
}

/// Splits tiles, in order, into batches whose operands take at most this many panels.
fn batches(at: &[TileCoordinate], panels: usize) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for (i, tile) in at.iter().enumerate() {
        let one = i..i + 1;
        if let Some(batch) = batches.last_mut() {
            let is_of_run = at[i - 1].column_block == tile.column_block;
            let needed = batch.tiles.len() + 1 + batch.runs.len() + usize::from(!is_of_run);
            if batch.tiles.len() < TILES_AT_ONCE && needed <= panels {
                batch.tiles.end = one.end;
                match batch.runs.last_mut() {
                    Some(run) if is_of_run => run.end = one.end,
                    _ => batch.runs.push(one),
                }
                continue;
            }
        }
        batches.push(Batch {
            tiles: one.clone(),
            runs: Vec::from([one]),
        });
    }
    batches
}

/// Tiles of three column blocks, a matrix index past 2^32, the last row and column blocks, k that ends within a stage.
const KNOWN_TILES: [TileCoordinate; 5] = [
    tile(7, 0, 0),
    tile(0x1_0000_0002, 127, 0),
    tile(0, 3, 2),
    tile(u64::MAX, 0, 127),
    tile(1, 126, 127),
];
const KNOWN_KEY: OperandKey = OperandKey([0x6B; 32]);
const KNOWN_INNER_DIM: u32 = 576;
/// BLAKE3 of the concatenated bytes of the tiles, computed by the `reference` crate.
const KNOWN_BLAKE3: &str = "83b59cd90c7408e95e698b0f6ae7b7da544dd442f7fe9dafd7fc2e976612fe56";

const fn tile(matrix: u64, row_block: u32, column_block: u32) -> TileCoordinate {
    TileCoordinate {
        matrix,
        row_block,
        column_block,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_tiles_are_those_of_the_reference() {
        let mut bytes = Vec::new();
        for at in KNOWN_TILES {
            let (row_block, column_block) = (at.row_block as usize, at.column_block as usize);
            let k = KNOWN_INNER_DIM as usize;
            bytes.extend_from_slice(&reference::tile(&KNOWN_KEY.0, k, at.matrix, row_block, column_block)[..]);
        }
        assert_eq!(hex(&hash(&[&bytes])), KNOWN_BLAKE3);
    }

    #[test]
    fn batches_cover_all_tiles_in_order_and_fit() {
        // Runs of 1, 2, 3, … tiles.
        let mixed: Vec<TileCoordinate> = (0..40_u32)
            .flat_map(|run| (0..=u64::from(run)).map(move |matrix| tile(matrix, 0, run)))
            .collect();
        let alike = vec![tile(0, 0, 5); 300];
        let different: Vec<_> = (0..300).map(|i| tile(i, 0, i as u32 % 2)).collect();
        for at in [&mixed, &alike, &different, &mixed[..1].to_vec(), &Vec::new()] {
            for panels in [2, 3, 64, 256, 100_000] {
                let mut next = 0;
                for batch in batches(at, panels) {
                    assert_eq!(batch.tiles.start, next);
                    assert!(!batch.tiles.is_empty() && batch.tiles.len() <= TILES_AT_ONCE);
                    assert!(batch.tiles.len() + batch.runs.len() <= panels);
                    for run in &batch.runs {
                        assert_eq!(run.start, next);
                        assert!(
                            at[run.clone()]
                                .iter()
                                .all(|tile| tile.column_block == at[run.start].column_block)
                        );
                        next = run.end;
                    }
                    assert_eq!(batch.tiles.end, next);
                }
                assert_eq!(next, at.len());
            }
        }
        assert_eq!(batches(&alike, 256).len(), 3);
    }
}
