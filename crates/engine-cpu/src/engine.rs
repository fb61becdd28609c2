//! A device emulated on threads: its dataset is memory of this host.

use std::any::Any;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use protocol::bytes::{Root, Salt};
use protocol::commitment::{Commitment, Opening};
use protocol::digest::{DigestKey, matching};
use protocol::engine::{
    Assignment, CommitmentId, CrossTask, Dataset, Engine, EngineError, FillTask, LinkPath, Progress,
};
use protocol::limits::{TILE_BYTES, TILE_SIDE};
use protocol::matching::{Crossing, Matching};
use protocol::operand::Operand;

use crate::layout::{Quad, packed_quads};
use crate::memory::available_memory_bytes;
use crate::packing::{Right, RowSource, RowSums, generate_left, generate_right};
use crate::path::{Kernels, Path, UnsupportedPath};
use crate::product::Product;
use crate::tile::Tile;

/// Leaves of a sweep that a thread takes at once.
const SWEEP_LEAVES_AT_ONCE: usize = 32;

/// The resources that a [`CpuEngine`] may use of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuEngineConfig {
    /// The code path.
    pub path: Path,
    /// Threads that fill and sweep; fewer if the system provides fewer.
    pub threads: NonZeroUsize,
    /// Bytes of operand B kept packed at a time; at least one column block (256 * k bytes), whatever this value.
    pub operand_budget_bytes: usize,
    /// Most bytes that the engine may allocate; `None` for all that the host has.
    pub memory_limit_bytes: Option<u64>,
    /// Bytes of other devices' tiles that it reads in a second, at most: an emulated link. `None` for what memory gives.
    pub link_bytes_per_s: Option<NonZeroU64>,
}

impl Default for CpuEngineConfig {
    /// The best path, one thread per CPU, 256 MiB of packed operands, and the host's memory.
    fn default() -> Self {
        CpuEngineConfig {
            path: Path::best(),
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            operand_budget_bytes: 256 << 20,
            memory_limit_bytes: None,
            link_bytes_per_s: None,
        }
    }
}

/// An [`Engine`] on the CPU.
pub struct CpuEngine {
    kernels: Kernels,
    config: CpuEngineConfig,
    device: Option<Device>,
}

/// The memory allocated by `prepare`, and the results of fills and sweeps.
struct Device {
    assignment: Assignment,
    dataset: Arc<Tiles>,
    /// The datasets of all devices of the session.
    connected: Vec<Arc<dyn Dataset>>,
    right: Vec<Quad>,
    workers: Vec<Worker>,
    fills: Vec<Commitment>,
    sweeps: Vec<Vec<Commitment>>,
    /// Of each iteration, with their numbers: a device rests in some.
    rounds: Vec<Vec<(u32, Commitment)>>,
    /// Whether the dataset is that of the last fill; false if a fill was interrupted.
    is_filled: bool,
}

/// The tiles of a device, which the others of its host read in rounds.
struct Tiles(RwLock<Vec<Tile>>);

impl Dataset for Tiles {
    fn tiles(&self) -> u32 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u32
    }

    fn read(&self, tile: u32, into: &mut [u8; TILE_BYTES]) -> Result<(), EngineError> {
        let tiles = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = tiles.get(tile as usize).ok_or_else(|| no_tile(tile))?;
        into.copy_from_slice(&found.0);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn no_tile(tile: u32) -> EngineError {
    EngineError::Unsupported(format!("tile {tile}, which the other device does not have"))
}

/// The memory of one thread.
struct Worker {
    left: Vec<Quad>,
    product: Product,
}

impl CpuEngine {
    /// An engine that has not allocated its memory yet.
    ///
    /// # Errors
    ///
    /// [`UnsupportedPath`] if this CPU does not support the path.
    pub fn new(config: CpuEngineConfig) -> Result<Self, UnsupportedPath> {
        Ok(CpuEngine {
            kernels: config.path.kernels()?,
            config,
            device: None,
        })
    }

    /// Bytes that `prepare` allocates for an assignment.
    #[must_use]
    pub fn required_bytes(&self, assignment: &Assignment) -> u64 {
        let threads = self.config.threads.get() as u64;
        let left_bytes = (packed_quads(assignment.max_inner_dim()) * size_of::<Quad>()) as u64;
        let right_bytes = (self.right_quads(assignment) * size_of::<Quad>()) as u64;
        // A product's sums and scratch are below 1 MiB.
        let own = threads
            .saturating_mul(left_bytes + (1 << 20))
            .saturating_add(right_bytes);
        assignment.dataset_bytes().saturating_add(own)
    }

    /// Bytes that `prepare` can allocate: the limit, or less if the host has less; `None` if both are unknown.
    #[must_use]
    pub fn available_bytes(&self) -> Option<u64> {
        let limit = self.config.memory_limit_bytes;
        limit.into_iter().chain(available_memory_bytes()).min()
    }

    /// Quads of packed operand B held at a time: whole column blocks at the largest k.
    fn right_quads(&self, assignment: &Assignment) -> usize {
        let block = packed_quads(assignment.max_inner_dim());
        let blocks = (assignment.matrix_dim() as usize / TILE_SIDE).max(1);
        (self.config.operand_budget_bytes / (block * size_of::<Quad>()).max(1)).clamp(1, blocks) * block
    }

    fn device(&mut self) -> Result<&mut Device, EngineError> {
        self.device.as_mut().ok_or_else(unprepared)
    }
}

impl Engine for CpuEngine {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.device = None;
        self.kernels
            .self_check()
            .map_err(|error| EngineError::SelfTest(error.to_string()))?;

        let requested_bytes = self.required_bytes(assignment);
        let available_bytes = self.available_bytes();
        if available_bytes.is_some_and(|available_bytes| requested_bytes > available_bytes) {
            return Err(EngineError::OutOfMemory {
                requested_bytes,
                available_bytes: available_bytes.unwrap_or(0),
            });
        }
        let out_of_memory = EngineError::OutOfMemory {
            requested_bytes,
            available_bytes: available_bytes.unwrap_or(0),
        };
        let zeroed = |quads| zeroed(quads, Quad::ZERO).ok_or_else(|| out_of_memory.clone());

        let workers = (0..self.config.threads.get())
            .map(|_| {
                let left = zeroed(packed_quads(assignment.max_inner_dim()))?;
                Ok(Worker {
                    left,
                    product: Product::new(self.kernels),
                })
            })
            .collect::<Result<_, EngineError>>()?;
        let right = zeroed(self.right_quads(assignment))?;
        let tiles = self::zeroed(assignment.tiles() as usize, Tile([0; TILE_BYTES])).ok_or(out_of_memory)?;
        self.device = Some(Device {
            assignment: *assignment,
            dataset: Arc::new(Tiles(RwLock::new(tiles))),
            connected: Vec::new(),
            right,
            workers,
            fills: Vec::new(),
            sweeps: Vec::new(),
            rounds: Vec::new(),
            is_filled: false,
        });
        Ok(())
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        let kernels = self.kernels;
        let device = self.device()?;
        device.assignment.check_inner_dim(task.inner_dim)?;
        device.is_filled = false;
        let commitment = Commitment::new(device.fill(kernels, task, progress)?);
        let root = commitment.root();
        device.is_filled = true;
        device.fills.push(commitment);
        device.sweeps.push(Vec::new());
        device.rounds.push(Vec::new());
        Ok(root)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        let kernels = self.kernels;
        let device = self.device()?;
        if !device.is_filled {
            return Err(EngineError::Unsupported("a sweep before a fill".to_owned()));
        }
        let commitment = Commitment::new(device.sweep(kernels, salt, progress)?);
        let root = commitment.root();
        device
            .sweeps
            .last_mut()
            .expect("a fill makes room for its sweeps")
            .push(commitment);
        Ok(root)
    }

    fn dataset(&self) -> Result<Arc<dyn Dataset>, EngineError> {
        let device = self.device.as_ref().ok_or_else(unprepared)?;
        Ok(device.dataset.clone())
    }

    fn connect(&mut self, datasets: &[Arc<dyn Dataset>]) -> Result<Vec<LinkPath>, EngineError> {
        self.device()?.connected = datasets.to_vec();
        Ok(vec![LinkPath::Same; datasets.len()])
    }

    fn cross(&mut self, task: &CrossTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        let kernels = self.kernels;
        let link = self.config.link_bytes_per_s;
        let device = self.device()?;
        if !device.is_filled {
            return Err(EngineError::Unsupported("a round before a fill".to_owned()));
        }
        let commitment = Commitment::new(device.cross(kernels, task, link, progress)?);
        let root = commitment.root();
        let rounds = device.rounds.last_mut().expect("a fill makes room for its rounds");
        rounds.push((task.round, commitment));
        Ok(root)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        let made = self.device.as_ref().and_then(|device| match commitment {
            CommitmentId::Fill { iteration } => device.fills.get(iteration as usize),
            CommitmentId::Sweep { iteration, sweep } => device
                .sweeps
                .get(iteration as usize)?
                .get((sweep as usize).checked_sub(1)?),
            CommitmentId::Round { iteration, round } => {
                let mut rounds = device.rounds.get(iteration as usize)?.iter();
                rounds
                    .find(|(made, _)| *made == round)
                    .map(|(_, commitment)| commitment)
            }
        });
        made.and_then(|made| made.open(leaf))
            .ok_or(EngineError::NoSuchLeaf { commitment, leaf })
    }
}

impl Device {
    /// Fills all tiles, grouped by the column blocks whose operands fit into memory; returns the fill digests.
    ///
    /// A thread takes the tiles of one row block at a time: their left operand is generated once and each tile is
    /// digested while it is in cache.
    fn fill(&mut self, kernels: Kernels, task: &FillTask, progress: &dyn Progress) -> Result<Vec<u64>, EngineError> {
        let Device {
            assignment,
            dataset,
            right,
            workers,
            ..
        } = self;
        let mut tiles = dataset.0.write().unwrap_or_else(PoisonError::into_inner);
        let k = task.inner_dim;
        let blocks = assignment.matrix_dim() as usize / TILE_SIDE;
        let rows = tiles.len() / blocks;
        let (row_quads, group_blocks) = (packed_quads(k), (right.len() / packed_quads(k)).min(blocks));
        // A small number of rows is split into parts, so that no thread is idle for long.
        let parts = (4 * workers.len()).div_ceil(rows).min(group_blocks);
        let digest_key = DigestKey::expand(&task.fill_salt);
        let mut leaves = vec![0; tiles.len()];
        let mut right_sums: Vec<RowSums> = vec![[0; TILE_SIDE]; group_blocks];

        for first in (0..blocks).step_by(group_blocks) {
            let group = first..blocks.min(first + group_blocks);
            let packing = right
                .chunks_exact_mut(row_quads)
                .zip(&mut right_sums)
                .zip(group.clone());
            share(workers, packing, progress, |_, ((quads, sums), column_block)| {
                let source = RowSource::new(&task.operand_key, Operand::B, k, column_block as u32);
                *sums = generate_right(kernels, &source, quads);
            })?;

            let packed = |column: usize| Right {
                inner_dim: k,
                quads: &right[column * row_quads..][..row_quads],
                sums: &right_sums[column],
            };
            let part = group.len().div_ceil(parts);
            let items = tiles
                .chunks_exact_mut(blocks)
                .zip(leaves.chunks_exact_mut(blocks))
                .enumerate()
                .flat_map(|(row, (tiles, leaves))| {
                    let tiles = tiles[group.clone()].chunks_mut(part);
                    let leaves = leaves[group.clone()].chunks_mut(part);
                    tiles
                        .zip(leaves)
                        .enumerate()
                        .map(move |(at, work)| (row, at * part, work))
                });
            share(workers, items, progress, |worker, (row, column, (tiles, leaves))| {
                let matrix = assignment.matrix_offset() + (row / blocks) as u64;
                let source = RowSource::new(&task.operand_key, Operand::A(matrix), k, (row % blocks) as u32);
                let left = &mut worker.left[..row_quads];
                generate_left(kernels, &source, left);
                for (i, (tile, leaf)) in tiles.iter_mut().zip(leaves).enumerate() {
                    if progress.is_cancelled() {
                        return;
                    }
                    worker.product.tile(left, packed(column + i), tile);
                    *leaf = kernels.fill_digest(&digest_key, tile);
                    progress.advance(1);
                }
            })?;
        }
        Ok(leaves)
    }

    /// The pair digests of one sweep.
    fn sweep(&mut self, kernels: Kernels, salt: &Salt, progress: &dyn Progress) -> Result<Vec<u64>, EngineError> {
        let Device { dataset, workers, .. } = self;
        let tiles = dataset.0.read().unwrap_or_else(PoisonError::into_inner);
        let digest_key = DigestKey::expand(salt);
        let tile_count = tiles.len() as u32;
        let matching = digest_key.matching(tile_count);
        let mut leaves = vec![0; Matching::leaves(tile_count) as usize];
        let items = leaves.chunks_mut(SWEEP_LEAVES_AT_ONCE).enumerate();
        share(workers, items, progress, |_, (at, leaves)| {
            let first = (at * SWEEP_LEAVES_AT_ONCE) as u32;
            for (leaf, digest) in (first..).zip(leaves.iter_mut()) {
                let (a, b) = matching.pair(leaf);
                *digest = kernels.pair_digest(&digest_key, leaf, &tiles[a as usize], &tiles[b as usize]);
            }
            progress.advance(2 * leaves.len() as u64 - u64::from((first + leaves.len() as u32) * 2 > tile_count));
        })?;
        Ok(leaves)
    }
}

impl Device {
    /// The leaves of one round: pair digests of own tiles, and of own tiles with those of the other device.
    fn cross(
        &mut self,
        kernels: Kernels,
        task: &CrossTask,
        link: Option<NonZeroU64>,
        progress: &dyn Progress,
    ) -> Result<Vec<u64>, EngineError> {
        let Device {
            dataset,
            connected,
            workers,
            ..
        } = self;
        let unsupported = |what: String| EngineError::Unsupported(what);
        let other = connected.get(task.other);
        let other = other.ok_or_else(|| unsupported(format!("device {} of the plan is not connected", task.other)))?;
        let tiles = dataset.0.read().unwrap_or_else(PoisonError::into_inner);
        let fewest = (tiles.len() as u32).min(other.tiles());
        if task.crossings == 0 || task.crossings > fewest / 4 {
            let most = fewest / 4;
            return Err(unsupported(format!(
                "{} crossings, expected 1..={most}",
                task.crossings
            )));
        }
        let digest_key = DigestKey::expand(&task.salt);
        let crossing = Crossing {
            own: digest_key.matching(tiles.len() as u32),
            other: matching(&task.other_salt, other.tiles()),
            crossings: task.crossings,
        };
        let own = &crossing;
        let link = Link::new(link);
        let failed = Mutex::new(None);
        let mut leaves = vec![0; crossing.leaves() as usize];
        let items = leaves.chunks_mut(SWEEP_LEAVES_AT_ONCE).enumerate();
        share(workers, items, progress, |_, (at, leaves)| {
            let first = (at * SWEEP_LEAVES_AT_ONCE) as u32;
            let mut fetched = Tile([0; TILE_BYTES]);
            for (leaf, digest) in (first..).zip(leaves.iter_mut()) {
                let (a, b) = own.pair(leaf);
                let b = if own.crosses(leaf) {
                    link.wait();
                    // A tile that is not there would be answered wrongly: the device reports it instead.
                    if let Err(error) = other.read(b, &mut fetched.0) {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        return;
                    }
                    &fetched
                } else {
                    &tiles[b as usize]
                };
                *digest = kernels.pair_digest(&digest_key, leaf, &tiles[a as usize], b);
            }
            progress.advance(2 * leaves.len() as u64);
        })?;
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(leaves),
        }
    }
}

/// An emulated link: tiles come over it at its rate.
struct Link {
    /// Between two tiles.
    interval: Option<Duration>,
    next: Mutex<Instant>,
}

impl Link {
    fn new(bytes_per_s: Option<NonZeroU64>) -> Self {
        let interval = |rate: NonZeroU64| Duration::from_secs_f64(TILE_BYTES as f64 / rate.get() as f64);
        Link {
            interval: bytes_per_s.map(interval),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits until the link has carried another tile.
    fn wait(&self) {
        let Some(interval) = self.interval else { return };
        let end = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *next += interval;
            *next
        };
        thread::sleep(end.saturating_duration_since(Instant::now()));
    }
}

fn unprepared() -> EngineError {
    EngineError::Unsupported("work before prepare".to_owned())
}

/// Distributes `items` to the workers, one thread each as far as there are threads, in order, until none are left or
/// the work is cancelled.
fn share<I: Iterator<Item: Send> + Send>(
    workers: &mut [Worker],
    items: I,
    progress: &dyn Progress,
    work: impl Fn(&mut Worker, I::Item) + Sync,
) -> Result<(), EngineError> {
    let items = Mutex::new(items);
    let is_cancelled = AtomicBool::new(false);
    let run = |worker: &mut Worker| {
        loop {
            if is_cancelled.load(Ordering::Relaxed) || progress.is_cancelled() {
                is_cancelled.store(true, Ordering::Relaxed);
                return;
            }
            let item = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = item else { return };
            work(worker, item);
        }
    };
    if let Some((own, others)) = workers.split_first_mut() {
        thread::scope(|scope| {
            let run = &run;
            for worker in others {
                // As many threads as the system provides: fewer threads do the same work, and this thread is one of
                // them.
                if thread::Builder::new().spawn_scoped(scope, || run(worker)).is_err() {
                    break;
                }
            }
            run(own);
        });
    }
    // Checked again: the last item may have been interrupted.
    if is_cancelled.into_inner() || progress.is_cancelled() {
        Err(EngineError::Cancelled)
    } else {
        Ok(())
    }
}

/// `count` elements whose pages have been touched; `None` if memory is exhausted.
fn zeroed<T: Clone>(count: usize, zero: T) -> Option<Vec<T>> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(count).ok()?;
    elements.resize(count, zero);
    Some(elements)
}
