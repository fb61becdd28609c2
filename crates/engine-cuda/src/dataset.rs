//! The dataset of a prepared device, for the other devices of its host (spec §4.8).

use std::any::Any;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::engine::{Dataset, EngineError};
use protocol::limits::TILE_BYTES;

use crate::context::Context;
use crate::memory::{DeviceMemory, Pinned};
use crate::stream::{Event, Stream};
use crate::sys;

/// The tiles of a device. The memory is freed when the device is prepared again and no reader is left.
pub(crate) struct CudaDataset {
    tiles: u32,
    /// Offset of the first tile in the memory.
    offset: u64,
    memory: Mutex<Option<Arc<DeviceMemory>>>,
    reader: Mutex<Reader>,
    /// Timeout of a copy.
    limit: Duration,
    context: Arc<Context>,
}

/// Copies single tiles to the host.
struct Reader {
    copied: Event,
    stream: Stream,
    tile: Pinned<[u8; TILE_BYTES]>,
}

/// Tiles whose memory is not freed as long as this exists.
pub(crate) struct Held {
    pub(crate) tiles: u32,
    /// Address of the first tile.
    pub(crate) address: sys::CUdeviceptr,
    _memory: Arc<DeviceMemory>,
}

impl CudaDataset {
    /// `tiles` tiles from `offset` of the memory.
    pub(crate) fn new(
        context: &Arc<Context>,
        memory: &Arc<DeviceMemory>,
        offset: u64,
        tiles: u32,
        limit: Duration,
    ) -> Result<Self, EngineError> {
        let reader = Reader {
            copied: Event::new(context)?,
            stream: Stream::new(context)?,
            tile: Pinned::new(context, 1)?,
        };
        Ok(CudaDataset {
            tiles,
            offset,
            memory: Mutex::new(Some(memory.clone())),
            reader: Mutex::new(reader),
            limit,
            context: context.clone(),
        })
    }

    /// The device's context.
    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The tiles' memory; `None` after [`CudaDataset::end`].
    pub(crate) fn hold(&self) -> Option<Held> {
        let memory = self.memory().clone()?;
        Some(Held {
            tiles: self.tiles,
            address: memory.at(self.offset),
            _memory: memory,
        })
    }

    /// Ends the dataset: from now on it has no tiles.
    pub(crate) fn end(&self) {
        *self.memory() = None;
    }

    fn memory(&self) -> MutexGuard<'_, Option<Arc<DeviceMemory>>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dataset for CudaDataset {
    fn tiles(&self) -> u32 {
        if self.memory().is_some() { self.tiles } else { 0 }
    }

    fn read(&self, tile: u32, into: &mut [u8; TILE_BYTES]) -> Result<(), EngineError> {
        let held = self.hold().filter(|_| tile < self.tiles).ok_or_else(|| {
            let tiles = self.tiles();
            EngineError::Unsupported(format!("tile {tile} of a device that has {tiles}"))
        })?;
        self.context.bind()?;
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let Reader {
            copied,
            stream,
            tile: host,
        } = &mut *reader;
        // SAFETY: the tile lies within the dataset, whose memory is held; the host's is pinned, and no copy to it is in
        // flight, as each is waited for under the lock.
        unsafe {
            stream.copy_to_host(host.as_mut_ptr(), held.address + u64::from(tile) * TILE_BYTES as u64, 1)?;
        }
        copied.record(stream)?;
        if !copied.wait(self.limit)? {
            copied.mark_stuck();
            mem::forget(held);
            return Err(EngineError::DeviceLost(format!(
                "a tile did not arrive within {} s",
                self.limit.as_secs()
            )));
        }
        // SAFETY: the copy has just ended.
        into.copy_from_slice(unsafe { &host.as_slice()[0] });
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
