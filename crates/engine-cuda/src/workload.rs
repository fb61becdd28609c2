//! One assignment on one device: its memory, and the order of launches that fills and sweeps it.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use protocol::bytes::{Root, Salt};
use protocol::commitment::Opening;
use protocol::derive::keystream;
use protocol::engine::{Assignment, CommitmentId, CrossTask, Dataset, EngineError, FillTask, LinkPath, Progress};
use protocol::limits::TILE_WORDS;
use protocol::matching::Matching;

use crate::context::Context;
use crate::dataset::CudaDataset;
use crate::fill::{Fill, FillKernels, launches};
use crate::fill_path::FillPath;
use crate::layout::{ABANDON, FINISHED, Layout, OPERAND_KEY, ROOT, SALT, SMALL_BYTES};
use crate::leaves::{Leaves, Place};
use crate::link::{Links, Source};
use crate::memory::{DeviceMemory, Pinned};
use crate::stream::{Event, Stream};
use crate::sweep::{CrossPart, FeistelKeys, SweepKernels};
use crate::turn::Turn;

/// How long an abandoned launch may take to end.
const ABANDON_LIMIT: Duration = Duration::from_secs(20);

/// Most crossings of one launch: 4 GiB over the link, so that a round can be cancelled.
const CROSSINGS_PER_LAUNCH: u32 = 1 << 16;

/// The kernels of an engine.
pub(crate) struct Kernels {
    pub(crate) fill: FillKernels,
    pub(crate) sweep: SweepKernels,
}

/// An assignment's memory and its commitments.
pub(crate) struct Workload {
    assignment: Assignment,
    layout: Layout,
    /// Timeout of one launch.
    limit: Duration,
    is_filled: bool,
    leaves: Leaves,
    links: Links,
    stream: Stream,
    /// Ends of the launches in flight: at most two.
    ends: [Event; 2],
    host: HostValues,
    dataset: Arc<CudaDataset>,
    // Declared last, so that everything that may still use it is dropped first.
    memory: Arc<DeviceMemory>,
    context: Arc<Context>,
}

/// Small values copied to and from the device.
struct HostValues {
    salt: Pinned<[u8; 32]>,
    operand_key: Pinned<[u8; 32]>,
    root: Pinned<[u8; 32]>,
    abandon: Pinned<u32>,
}

impl Workload {
    /// Allocates all memory of an assignment.
    ///
    /// # Errors
    ///
    /// [`EngineError::OutOfMemory`] if it is not available.
    pub(crate) fn new(
        context: &Arc<Context>,
        assignment: &Assignment,
        path: FillPath,
        limit: Duration,
    ) -> Result<Self, EngineError> {
        let layout = Layout::new(assignment, path);
        let memory = DeviceMemory::new(context, layout.total_bytes)?;
        Workload::in_memory(context, assignment, layout, memory, limit)
    }

    /// The same in existing memory of the layout's size.
    pub(crate) fn in_memory(
        context: &Arc<Context>,
        assignment: &Assignment,
        layout: Layout,
        memory: DeviceMemory,
        limit: Duration,
    ) -> Result<Self, EngineError> {
        let mut host = HostValues {
            salt: Pinned::new(context, 1)?,
            operand_key: Pinned::new(context, 1)?,
            root: Pinned::new(context, 1)?,
            abandon: Pinned::new(context, 1)?,
        };
        // SAFETY: one element was just allocated, and no copy reads it yet.
        unsafe { host.abandon.as_mut_ptr().write(1) };
        let stream = Stream::new(context)?;
        // SAFETY: the small values lie within the allocation, which nothing uses yet.
        unsafe { stream.zero(memory.at(layout.small), SMALL_BYTES)? };
        let memory = Arc::new(memory);
        let dataset = CudaDataset::new(context, &memory, layout.dataset, assignment.tiles(), limit)?;
        Ok(Workload {
            assignment: *assignment,
            layout,
            limit,
            is_filled: false,
            leaves: Leaves::new(context, assignment, &layout)?,
            links: Links::default(),
            stream,
            ends: [Event::new(context)?, Event::new(context)?],
            host,
            dataset: Arc::new(dataset),
            memory,
            context: context.clone(),
        })
    }

    pub(crate) fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// The device memory of the assignment.
    pub(crate) fn memory(&self) -> &DeviceMemory {
        &self.memory
    }

    /// The layout of this memory.
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Fills the dataset; see [`protocol::engine::Engine::fill`].
    pub(crate) fn fill(
        &mut self,
        kernels: &Kernels,
        task: &FillTask,
        progress: &dyn Progress,
    ) -> Result<Root, EngineError> {
        self.is_filled = false;
        self.context.bind()?;
        if progress.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let _turn = match kernels.fill.path() {
            FillPath::Sm90a => Some(Turn::take(self.context.device(), progress)?),
            FillPath::Mma | FillPath::Dp4a => None,
        };
        let Layout { small, leaves, .. } = self.layout;
        let tiles = self.assignment.tiles();
        self.leaves.hold_back(&self.stream, Place::Fill)?;
        self.queue_key(&kernels.sweep, &task.fill_salt)?;
        // SAFETY: the host value is not in flight, since every fill and sweep waits for its stream before it returns; the
        // addresses lie within the allocation.
        unsafe {
            self.host.operand_key.as_mut_ptr().write(task.operand_key.0);
            let source = self.host.operand_key.as_mut_ptr();
            self.stream
                .copy_to_device(self.memory.at(small + OPERAND_KEY), source, 1)?;
            self.stream.zero(self.memory.at(leaves), u64::from(tiles) * 8)?;
        }

        let fill = Fill {
            assignment: &self.assignment,
            layout: &self.layout,
            memory: &self.memory,
            task,
        };
        let tiles_per_matrix = u64::from(tiles / self.assignment.num_matrices());
        let launches = launches(&self.assignment, task.inner_dim, kernels.fill.path());
        let mut is_cancelled = false;
        let mut queued = 0;
        for (i, launch) in launches.iter().enumerate() {
            fill.queue(&kernels.fill, &self.stream, launch)?;
            self.ends[i % 2].record(&self.stream)?;
            queued = i + 1;
            // Launches are queued ahead: the host needs only part of a launch's duration for this.
            self.leaves.make_room(task.sweeps, queued, launches.len());
            if i == 0 {
                self.leaves.settle(self.limit)?;
            } else {
                self.wait(&self.ends[(i - 1) % 2], &kernels.fill)?;
                progress.advance(tiles_per_matrix * launches[i - 1].len() as u64);
            }
            is_cancelled = progress.is_cancelled();
            if is_cancelled {
                break;
            }
        }
        if is_cancelled {
            self.wait(&self.ends[(queued - 1) % 2], &kernels.fill)?;
            return Err(EngineError::Cancelled);
        }
        let root = self.commit(kernels, leaves, tiles, queued)?;
        progress.advance(tiles_per_matrix * launches[queued - 1].len() as u64);
        if progress.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        self.leaves.send(Place::Fill, self.memory.at(leaves), tiles, root)?;
        self.is_filled = true;
        Ok(root)
    }

    /// Sweeps the dataset once; see [`protocol::engine::Engine::sweep`].
    pub(crate) fn sweep(
        &mut self,
        kernels: &Kernels,
        salt: &Salt,
        progress: &dyn Progress,
    ) -> Result<Root, EngineError> {
        self.context.bind()?;
        if !self.is_filled {
            return Err(EngineError::Unsupported("a sweep before a fill".to_owned()));
        }
        if progress.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let tiles = self.assignment.tiles();
        let half = self.leaves.next_half();
        let leaves = self.layout.leaves + half as u64 * self.layout.leaves_per_half * 8;
        self.leaves.hold_back(&self.stream, Place::Sweep { half })?;
        self.queue_key(&kernels.sweep, salt)?;
        // SAFETY: the dataset has all tiles, the half has room for the leaves; the key was just queued, and a copy in
        // flight either reads the other half or is waited for.
        unsafe {
            kernels.sweep.queue_sweep(
                &self.stream,
                self.memory.at(self.layout.dataset),
                tiles,
                self.memory.at(self.layout.key),
                self.memory.at(leaves),
            )?;
        }
        let num_leaves = tiles.div_ceil(2);
        let root = self.commit(kernels, leaves, num_leaves, 0)?;
        progress.advance(tiles.into());
        if progress.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        self.leaves
            .send(Place::Sweep { half }, self.memory.at(leaves), num_leaves, root)?;
        Ok(root)
    }

    /// The dataset, for other devices.
    pub(crate) fn dataset(&self) -> Arc<CudaDataset> {
        self.dataset.clone()
    }

    /// Gets access to datasets; see [`protocol::engine::Engine::connect`].
    pub(crate) fn connect(&mut self, datasets: &[Arc<dyn Dataset>]) -> Result<(), EngineError> {
        self.context.bind()?;
        let staged_tiles = self.layout.staged_tiles();
        self.links = Links::new(&self.context, datasets, staged_tiles)?;
        // The first copy of a kind can take long and allocate memory.
        for device in self.links.staged().into_iter().filter(|_| staged_tiles > 0) {
            let source = self.links.source(device)?;
            let target = self.memory.at(self.layout.right);
            // SAFETY: there is room for a tile, nothing else is queued, and the copy is waited for.
            let fetched = unsafe { self.links.fetch(&self.context, &self.stream, &source, 0..1, 0, target) };
            if let Err(error) = fetched.and(self.drain()) {
                mem::forget(source);
                return Err(error);
            }
        }
        Ok(())
    }

    /// A connected dataset, for work other than a round's.
    pub(crate) fn source(&self, device: usize) -> Result<Source, EngineError> {
        self.links.source(device)
    }

    /// The path to each connected dataset.
    pub(crate) fn link_paths(&self) -> Vec<LinkPath> {
        self.links.paths()
    }

    /// Computes the leaves of a round; see [`protocol::engine::Engine::cross`].
    pub(crate) fn cross(
        &mut self,
        kernels: &Kernels,
        task: &CrossTask,
        progress: &dyn Progress,
    ) -> Result<Root, EngineError> {
        self.context.bind()?;
        if !self.is_filled {
            return Err(EngineError::Unsupported("a round before a fill".to_owned()));
        }
        let source = self.links.source(task.other)?;
        let most = self.assignment.tiles().min(source.tiles) / 4;
        if task.crossings == 0 || task.crossings > most {
            return Err(EngineError::Unsupported(format!(
                "{} crossings, expected 1..={most}",
                task.crossings
            )));
        }
        if progress.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let place = Place::Round {
            half: self.leaves.next_half(),
            round: task.round,
        };
        let root = self.round(kernels, task, &source, place, progress);
        // After an error, work may still be queued that reads the other device's memory.
        if root.is_err() && self.drain().is_err() {
            mem::forget(source);
        }
        root
    }

    /// The same with the other's dataset, into this place.
    fn round(
        &mut self,
        kernels: &Kernels,
        task: &CrossTask,
        source: &Source,
        place: Place,
        progress: &dyn Progress,
    ) -> Result<Root, EngineError> {
        let leaves = self.layout.leaves + place.half().unwrap_or(0) as u64 * self.layout.leaves_per_half * 8;
        self.leaves.hold_back(&self.stream, place)?;
        self.queue_key(&kernels.sweep, &task.salt)?;
        let other_keys = feistel_keys(&task.other_salt);
        let matching = Matching::new(other_keys.0, source.tiles);
        let staged = self.memory.at(self.layout.right);
        let (other, other_num_tiles, at_once) = match source.address() {
            Some(address) => (address, source.tiles, CROSSINGS_PER_LAUNCH),
            None => (staged, 0, self.layout.staged_tiles()),
        };
        let mut queued = 0;
        let mut before = 0;
        for first in (0..task.crossings).step_by(at_once as usize) {
            let count = at_once.min(task.crossings - first);
            let tiles = (first..first + count).map(|j| matching.permute(3 * task.crossings + j));
            let part = CrossPart {
                tiles: self.memory.at(self.layout.dataset),
                num_tiles: self.assignment.tiles(),
                other,
                other_num_tiles,
                other_keys,
                crossings: task.crossings,
                first,
                count,
                key: self.memory.at(self.layout.key),
                leaves: self.memory.at(leaves),
            };
            // SAFETY: both datasets have the tiles, as there are at most a quarter as many crossings; the half has room for the
            // leaves; the key was just queued. The operands' memory has room for the fetched tiles, and only this stream uses
            // it. Of earlier launches only the last may not have ended. The caller keeps the source.
            unsafe {
                if source.address().is_none() {
                    self.links
                        .fetch(&self.context, &self.stream, source, tiles, queued, staged)?;
                }
                kernels.sweep.queue_cross(&self.stream, &part)?;
            }
            self.ends[queued % 2].record(&self.stream)?;
            queued += 1;
            if queued > 1 {
                self.wait(&self.ends[queued % 2], &kernels.fill)?;
                progress.advance(4 * u64::from(before));
            }
            before = count;
            if progress.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
        }
        let num_leaves = 2 * task.crossings;
        let root = self.commit(kernels, leaves, num_leaves, queued)?;
        progress.advance(4 * u64::from(before));
        if progress.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        self.leaves.send(place, self.memory.at(leaves), num_leaves, root)?;
        Ok(root)
    }

    /// Waits for everything that is queued.
    fn drain(&self) -> Result<(), EngineError> {
        self.context.bind()?;
        self.ends[0].record(&self.stream)?;
        if self.ends[0].wait(self.limit)? {
            return Ok(());
        }
        self.context.mark_stuck();
        Err(EngineError::DeviceLost(format!(
            "a copy did not end within {} s",
            self.limit.as_secs()
        )))
    }

    /// The opening of a leaf; see [`protocol::engine::Engine::open`].
    pub(crate) fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.context.bind()?;
        self.leaves.settle(self.limit)?;
        self.leaves
            .open(commitment, leaf)
            .ok_or(EngineError::NoSuchLeaf { commitment, leaf })
    }

    fn queue_key(&mut self, kernels: &SweepKernels, salt: &Salt) -> Result<(), EngineError> {
        let on_device = self.memory.at(self.layout.small + SALT);
        // SAFETY: the host value is not in flight, since every fill and sweep waits for its stream before it returns; the
        // addresses lie within the allocation and are used on this stream alone.
        unsafe {
            self.host.salt.as_mut_ptr().write(salt.0);
            let source = self.host.salt.as_mut_ptr();
            self.stream.copy_to_device(on_device, source, 1)?;
            kernels.queue_key(&self.stream, on_device, self.memory.at(self.layout.key))
        }
    }

    /// Queues the root of leaves and waits for it; meanwhile receives the leaves of the previous work.
    fn commit(&mut self, kernels: &Kernels, leaves: u64, count: u32, queued: usize) -> Result<Root, EngineError> {
        let at = |offset| self.memory.at(self.layout.small + offset);
        // SAFETY: leaves, subtrees and small values lie within the allocation; the counter was zeroed once and each launch
        // leaves it 0. The host's root is not in flight.
        unsafe {
            kernels.sweep.queue_commit(
                &self.stream,
                self.memory.at(leaves),
                count,
                self.memory.at(self.layout.subtrees),
                at(FINISHED),
                at(ROOT),
            )?;
            self.stream.copy_to_host(self.host.root.as_mut_ptr(), at(ROOT), 1)?;
        }
        let end = &self.ends[queued % 2];
        end.record(&self.stream)?;
        self.leaves.settle(self.limit)?;
        self.wait(end, &kernels.fill)?;
        // SAFETY: the copy to it has just ended.
        Ok(Root(unsafe { self.host.root.as_slice()[0] }))
    }

    /// Waits for a launch, but not forever.
    ///
    /// The CTAs of fill_sm90a wait for one another. If some never get an SM, because another process holds it, the
    /// launch does not end: the host then writes the abandon word, on the stream of the copies, and the kernel gives
    /// up. A launch that still does not end leaves its context stuck.
    fn wait(&self, end: &Event, fill: &FillKernels) -> Result<(), EngineError> {
        if end.wait(self.limit)? {
            return Ok(());
        }
        let limit_s = self.limit.as_secs();
        if fill.path() == FillPath::Sm90a {
            let abandon = self.memory.at(self.layout.small + ABANDON);
            // SAFETY: the word lies within the allocation; kernels only read it. The host's word lives as long as this.
            unsafe {
                let source: *const u32 = self.host.abandon.as_slice().as_ptr();
                self.leaves.stream().copy_to_device(abandon, source, 1)?;
            }
            if end.wait(ABANDON_LIMIT)? {
                return Err(EngineError::DeviceLost(format!(
                    "a launch did not end within {limit_s} s and was abandoned: does another process hold multiprocessors?"
                )));
            }
        }
        self.context.mark_stuck();
        Err(EngineError::DeviceLost(format!(
            "a launch did not end within {limit_s} s"
        )))
    }
}

/// The Feistel keys of a salt (spec §4.4), without the rest of its key.
fn feistel_keys(salt: &Salt) -> FeistelKeys {
    let mut bytes = [0; 16];
    keystream(&salt.0, &[0; 12], TILE_WORDS as u64 * 8, &mut bytes);
    let (keys, _) = bytes.as_chunks::<4>();
    FeistelKeys(std::array::from_fn(|i| u32::from_le_bytes(keys[i])))
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.dataset.end();
        // Copies may be in flight to memory that is dropped now.
        self.context.synchronize();
    }
}
