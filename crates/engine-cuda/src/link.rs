//! How a device reads the tiles of others in rounds (spec §4.8).

use std::sync::Arc;

use protocol::engine::{Dataset, EngineError, LinkPath};
use protocol::limits::TILE_BYTES;

use crate::context::Context;
use crate::dataset::{CudaDataset, Held};
use crate::driver::check;
use crate::memory::Pinned;
use crate::stream::Stream;
use crate::sys::{self, CUresult};

/// The datasets of all devices of a session.
#[derive(Default)]
pub(crate) struct Links {
    others: Vec<(Arc<dyn Dataset>, LinkPath)>,
    /// Tiles on the way from datasets that are on no GPU, in two parts of this many.
    pinned: Option<(Pinned<[u8; TILE_BYTES]>, u32)>,
}

/// The dataset of another device in a round.
pub(crate) struct Source {
    dataset: Arc<dyn Dataset>,
    path: LinkPath,
    /// M: its tiles.
    pub(crate) tiles: u32,
    /// Its memory, if it is on a GPU.
    held: Option<Held>,
}

impl Links {
    /// Access to these datasets for a device that has room for `staged_tiles` of their tiles.
    ///
    /// # Errors
    ///
    /// The driver's error; the absence of access is none.
    pub(crate) fn new(
        context: &Arc<Context>,
        datasets: &[Arc<dyn Dataset>],
        staged_tiles: u32,
    ) -> Result<Self, EngineError> {
        let mut others = Vec::new();
        let mut needs_host = false;
        for dataset in datasets {
            let path = match on_gpu(dataset) {
                Some(other) => path(context, other.context())?,
                None => LinkPath::Staged,
            };
            needs_host |= on_gpu(dataset).is_none();
            others.push((dataset.clone(), path));
        }
        let pinned = if needs_host {
            Some((Pinned::new(context, 2 * staged_tiles as usize)?, staged_tiles))
        } else {
            None
        };
        Ok(Links { others, pinned })
    }

    /// Devices whose tiles are fetched.
    pub(crate) fn staged(&self) -> Vec<usize> {
        let staged = self.others.iter().enumerate();
        staged
            .filter(|(_, (_, path))| *path == LinkPath::Staged)
            .map(|(device, _)| device)
            .collect()
    }

    /// The path to each device, in the order of the plan.
    pub(crate) fn paths(&self) -> Vec<LinkPath> {
        self.others.iter().map(|(_, path)| *path).collect()
    }

    /// The dataset of a device of the plan, whose memory is kept until the value is dropped.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unsupported`] if it is not connected, or was prepared again.
    pub(crate) fn source(&self, device: usize) -> Result<Source, EngineError> {
        let found = self.others.get(device);
        let (dataset, path) =
            found.ok_or_else(|| EngineError::Unsupported(format!("device {device} of the plan is not connected")))?;
        let held = match on_gpu(dataset) {
            Some(on_gpu) => Some(on_gpu.hold().ok_or_else(|| {
                EngineError::Unsupported(format!("the dataset of device {device} of the plan has ended"))
            })?),
            None => None,
        };
        Ok(Source {
            tiles: held.as_ref().map_or_else(|| dataset.tiles(), |held| held.tiles),
            dataset: dataset.clone(),
            path: *path,
            held,
        })
    }

    /// Queues copies of these tiles to `target`, in their order. `part` alternates from call to call.
    ///
    /// # Safety
    ///
    /// `target` has room for the tiles, at most as many as [`Links::new`] was told, and nothing that is not ordered by the
    /// stream uses it. The work of the call before the last has ended. The source is kept until the copies have ended.
    pub(crate) unsafe fn fetch(
        &mut self,
        context: &Context,
        stream: &Stream,
        source: &Source,
        tiles: impl ExactSizeIterator<Item = u32>,
        part: usize,
        target: sys::CUdeviceptr,
    ) -> Result<(), EngineError> {
        const BYTES: u64 = TILE_BYTES as u64;
        if let (Some(other), Some(held)) = (on_gpu(&source.dataset), &source.held) {
            context.bind()?;
            for (tile, i) in tiles.zip(0_u64..) {
                let from = held.address + u64::from(tile) * BYTES;
                // SAFETY: the tile lies within the other's dataset, which is held, and the target is the caller's.
                unsafe { stream.copy_from_peer(target + i * BYTES, context, from, other.context(), BYTES)? };
            }
            return Ok(());
        }
        let count = tiles.len();
        let Some((pinned, in_part)) = self.pinned.as_mut().filter(|(_, in_part)| count <= *in_part as usize) else {
            return Err(EngineError::Unsupported(format!("{count} tiles at once from a host")));
        };
        // SAFETY: both parts have this many tiles, and no copy from this one is in flight.
        let first = unsafe { pinned.as_mut_ptr().add(part % 2 * *in_part as usize) };
        for (i, tile) in tiles.enumerate() {
            // SAFETY: initialised memory within the part, which nothing else refers to now.
            source.dataset.read(tile, unsafe { &mut *first.add(i) })?;
        }
        // The other dataset may have bound the context of its own device.
        context.bind()?;
        // SAFETY: the part is pinned and not written again before this copy has ended (caller), as is the target.
        unsafe { stream.copy_to_device(target, first.cast_const(), count) }
    }
}

impl Source {
    /// Address at which this device's kernels read its tiles, if they can.
    pub(crate) fn address(&self) -> Option<sys::CUdeviceptr> {
        let held = self.held.as_ref()?;
        (self.path != LinkPath::Staged).then_some(held.address)
    }
}

fn on_gpu(dataset: &Arc<dyn Dataset>) -> Option<&CudaDataset> {
    dataset.as_any().downcast_ref()
}

/// The path between two GPUs; gets access to the other's memory where there is one.
fn path(own: &Context, other: &Context) -> Result<LinkPath, EngineError> {
    if own.device() == other.device() {
        return Ok(LinkPath::Same);
    }
    let mut can = 0;
    // SAFETY: both are devices of this process, `can` a valid output address.
    check("cuDeviceCanAccessPeer", unsafe {
        sys::cuDeviceCanAccessPeer(&raw mut can, own.device(), other.device())
    })?;
    if can == 0 {
        return Ok(LinkPath::Staged);
    }
    own.bind()?;
    // SAFETY: both contexts are retained, and this device's is current; 0 is the only valid flag.
    match unsafe { sys::cuCtxEnablePeerAccess(other.raw(), 0) } {
        CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => Ok(LinkPath::Peer),
        CUresult::CUDA_ERROR_PEER_ACCESS_UNSUPPORTED | CUresult::CUDA_ERROR_TOO_MANY_PEERS => Ok(LinkPath::Staged),
        status => check("cuCtxEnablePeerAccess", status).map(|()| LinkPath::Peer),
    }
}
