//! Baselines on a dataset's bytes: reads in address order, writes, and the keystream alone.

use std::time::{Duration, Instant};

use protocol::engine::EngineError;
use protocol::limits::TILE_BYTES;

use crate::engine::CudaEngine;
use crate::kernels::{Function, Module, Shape, parameter};
use crate::layout::{OPERAND_KEY, SALT};
use crate::memory::Pinned;
use crate::stream::{Event, Stream};
use crate::sweep::SweepPath;
use crate::sys;
use crate::workload::Workload;

/// keystream.cu: blocks of 64 bytes that a CTA takes at a time, and the tag of operand A.
const BLOCKS_A_STEP: u32 = 256;
const TAG_A: u32 = 0x41;

/// An engine's memory and kernels, used for other work than a session's.
pub(super) struct Plain<'a> {
    engine: &'a CudaEngine,
    workload: &'a Workload,
    stream: Stream,
    ends: [Event; 2],
}

/// Reads of the same bytes by each available kernel: its name, and seconds per read.
pub(super) type Reads = Vec<(&'static str, Vec<f64>)>;

/// Repeats of a launch.
pub(super) struct Measured {
    /// Seconds per launch, one entry for each batch of launches.
    pub(super) seconds: Vec<f64>,
    /// Total number of launches, and their duration.
    pub(super) launches: u64,
    pub(super) whole: Duration,
}

impl<'a> Plain<'a> {
    /// For a prepared engine.
    pub(super) fn new(engine: &'a CudaEngine) -> Result<Self, EngineError> {
        let workload = engine
            .workload
            .as_ref()
            .ok_or_else(|| EngineError::Unsupported("work before prepare".to_owned()))?;
        engine.context.bind()?;
        Ok(Plain {
            engine,
            workload,
            stream: Stream::new(&engine.context)?,
            ends: [Event::new(&engine.context)?, Event::new(&engine.context)?],
        })
    }

    /// Address of the dataset's first byte.
    pub(super) fn dataset(&self) -> sys::CUdeviceptr {
        self.workload.memory().at(self.workload.layout().dataset)
    }

    /// Address within the small values.
    fn small(&self, offset: u64) -> sys::CUdeviceptr {
        self.workload.memory().at(self.workload.layout().small + offset)
    }

    fn key(&self) -> sys::CUdeviceptr {
        self.workload.memory().at(self.workload.layout().key)
    }

    /// Waits for earlier launches, up to the recorded event.
    fn wait(&self, end: &Event) -> Result<(), EngineError> {
        if end.wait(self.engine.config.launch_limit)? {
            return Ok(());
        }
        self.engine.context.mark_stuck();
        Err(EngineError::DeviceLost("a launch did not end".to_owned()))
    }

    /// Queues work once and waits for it.
    pub(super) fn once(&self, queue: &mut dyn FnMut(&Stream) -> Result<(), EngineError>) -> Result<(), EngineError> {
        queue(&self.stream)?;
        self.ends[0].record(&self.stream)?;
        self.wait(&self.ends[0])
    }

    /// Words of the device's memory, which nothing currently writes.
    pub(super) fn read(&self, address: sys::CUdeviceptr, words: u32) -> Result<Vec<u32>, EngineError> {
        let mut host = Pinned::<u32>::new(&self.engine.context, words as usize)?;
        // SAFETY: the host's memory is as long as stated, the caller's address lies within the dataset; both wait for
        // the copy.
        self.once(&mut |stream| unsafe { stream.copy_to_host(host.as_mut_ptr(), address, words as usize) })?;
        // SAFETY: the copy has just ended.
        Ok(unsafe { host.as_slice() }.to_vec())
    }

    /// Queues launches for about this duration, in batches of about 100 ms, so that the device never waits for the
    /// host.
    pub(super) fn repeat(
        &self,
        duration: Duration,
        queue: &mut dyn FnMut(&Stream) -> Result<(), EngineError>,
    ) -> Result<Measured, EngineError> {
        let mut once = || -> Result<Duration, EngineError> {
            let start = Instant::now();
            self.once(queue)?;
            Ok(start.elapsed())
        };
        // The first one may load code.
        once()?;
        let batch = (0.1 / once()?.as_secs_f64()).clamp(1.0, 4096.0) as u64;
        let mut batch_of_launches = |end: &Event| -> Result<(), EngineError> {
            for _ in 0..batch {
                queue(&self.stream)?;
            }
            end.record(&self.stream)
        };
        let start = Instant::now();
        let (mut before, mut seconds) = (start, Vec::new());
        batch_of_launches(&self.ends[0])?;
        for i in 0.. {
            let is_last = i >= 1 && start.elapsed() >= duration;
            if !is_last {
                batch_of_launches(&self.ends[(i + 1) % 2])?;
            }
            self.wait(&self.ends[i % 2])?;
            let now = Instant::now();
            seconds.push(now.duration_since(before).as_secs_f64() / batch as f64);
            before = now;
            if is_last {
                break;
            }
        }
        Ok(Measured {
            launches: batch * seconds.len() as u64,
            seconds,
            whole: before.duration_since(start),
        })
    }

    /// Reads of the whole dataset in address order, by each available kernel.
    pub(super) fn address_order(&self, num_tiles: u32, duration: Duration) -> Result<Reads, EngineError> {
        // SAFETY: the dataset has these tiles, and nothing writes them.
        unsafe { self.reads(self.dataset(), num_tiles, duration) }
    }

    /// The same of as many tiles of a connected dataset as both devices have; their number too.
    pub(super) fn address_order_of_connected(
        &self,
        device: usize,
        duration: Duration,
    ) -> Result<(u32, Reads), EngineError> {
        let source = self.workload.source(device)?;
        let tiles = source
            .address()
            .ok_or_else(|| EngineError::Unsupported(format!("no access to the memory of device {device}")))?;
        let num_tiles = source.tiles.min(self.workload.assignment().tiles());
        // SAFETY: the source has these tiles, is held until the launches have ended, and this device has access to it.
        let reads = unsafe { self.reads(tiles, num_tiles, duration) };
        // After an error there may still be queued work.
        self.engine.context.synchronize();
        Ok((num_tiles, reads?))
    }

    /// Reads of tiles in address order.
    ///
    /// # Safety
    ///
    /// The device has access to `num_tiles` tiles at this address, which nothing writes, and has as many itself.
    unsafe fn reads(&self, tiles: sys::CUdeviceptr, num_tiles: u32, duration: Duration) -> Result<Reads, EngineError> {
        let sweep = &self.engine.kernels.sweep;
        let module = Module::load(
            &self.engine.context,
            "address_order",
            self.engine.config.portable_images,
        )?;
        let key = self.key();
        let sums = self.workload.memory().at(self.workload.layout().leaves);
        let keyed_sum = module.function("keyed_sum", 0)?;
        let grid = 2 * self.engine.context.multiprocessors()?;
        let by_registers = self.repeat(duration, &mut |stream| {
            let shape = Shape::plain(grid.min(num_tiles), 1024);
            // SAFETY: parameters in the order of the kernel's header; the tiles are the caller's, and one sum per tile fits
            // where the fill's digests were.
            unsafe {
                keyed_sum.launch(
                    stream,
                    shape,
                    [
                        parameter(&tiles),
                        parameter(&num_tiles),
                        parameter(&key),
                        parameter(&sums),
                    ],
                )
            }
        })?;
        let mut all = vec![("address-order keyed sum", by_registers.seconds)];
        if sweep.path() == SweepPath::Bulk {
            let bulk = module.function("sweep_bulk_address_order", sweep.shared_bytes())?;
            let salt = self.small(SALT);
            let through_the_ring = self.repeat(duration, &mut |stream| {
                // SAFETY: the tiles are the caller's; salt, key and leaves are those of the workload, which is idle; a key serves
                // one launch.
                unsafe {
                    sweep.queue_key(stream, salt, key)?;
                    sweep.queue_bulk(bulk, stream, tiles, num_tiles, key, sums)
                }
            })?;
            all.push(("address-order sum by the sweep's own copies", through_the_ring.seconds));
        }
        Ok(all)
    }

    /// The keystream of matrices of `matrix_bytes`, written to the dataset: seconds for all of them.
    pub(super) fn keystream(
        &self,
        matrix_bytes: u64,
        matrices: u32,
        duration: Duration,
    ) -> Result<Vec<f64>, EngineError> {
        let module = Module::load(&self.engine.context, "keystream", self.engine.config.portable_images)?;
        let keystream: Function = module.function("keystream", 0)?;
        let (out, key) = (self.dataset(), self.small(OPERAND_KEY));
        let blocks = (matrix_bytes / 64) as u32;
        let ctas = (4 * self.engine.context.multiprocessors()? / matrices).clamp(1, blocks / BLOCKS_A_STEP);
        let first_index = 0_u64;
        debug_assert!(matrix_bytes.is_multiple_of(TILE_BYTES as u64));
        let measured = self.repeat(duration, &mut |stream| {
            let shape = Shape {
                grid: (ctas, matrices),
                ..Shape::plain(1, 256)
            };
            // SAFETY: parameters in the order of the kernel's header; the caller's matrices fit the dataset.
            unsafe {
                keystream.launch(
                    stream,
                    shape,
                    [
                        parameter(&out),
                        parameter(&key),
                        parameter(&TAG_A),
                        parameter(&first_index),
                        parameter(&blocks),
                    ],
                )
            }
        })?;
        Ok(measured.seconds)
    }

    /// Writes of one value to this much of the dataset: seconds per write of all.
    pub(super) fn writes(&self, size_bytes: u64, duration: Duration) -> Result<Vec<f64>, EngineError> {
        // SAFETY: the range lies within the dataset, which nothing else uses now.
        let measured = self.repeat(duration, &mut |stream| unsafe {
            stream.zero(self.dataset(), size_bytes)
        })?;
        Ok(measured.seconds)
    }
}

impl Drop for Plain<'_> {
    fn drop(&mut self) {
        // After an error there may still be queued work.
        self.engine.context.synchronize();
    }
}
