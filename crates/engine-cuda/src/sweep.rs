//! Keys, sweeps, rounds and roots: the kernels and their launch (spec §4).

use std::fmt;
use std::sync::Arc;

use protocol::engine::EngineError;

use crate::context::Context;
use crate::kernels::{Function, Module, Shape, parameter};
use crate::layout::LEAVES_A_COMMIT_CTA;
use crate::stream::Stream;
use crate::sys;

/// Which kernel sweeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SweepPath {
    /// By the bulk copy engine through shared memory. Compute capability 9.0 and later, machine code only.
    Bulk,
    /// By loads to registers, on any chip.
    Load,
}

impl SweepPath {
    /// All paths, the fastest first.
    pub const ALL: [SweepPath; 2] = [SweepPath::Bulk, SweepPath::Load];

    /// The fastest path of a device; `portable` excludes paths that exist only as machine code.
    pub(crate) fn best(capability: (u32, u32), portable: bool) -> Self {
        // There is no machine code between these two: 11.0 gets portable code.
        match capability {
            (9, 0) | (10 | 12, _) if !portable => SweepPath::Bulk,
            _ => SweepPath::Load,
        }
    }
}

impl fmt::Display for SweepPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SweepPath::Bulk => "bulk",
            SweepPath::Load => "load",
        })
    }
}

/// sweep.cu: bytes of a stage of the ring, and the maximum number of stages.
const STAGE_BYTES: u32 = 32_768;
const STAGES: std::ops::RangeInclusive<u32> = 2..=16;
/// Shared memory reserved for barriers and partial sums.
const CONTROL_BYTES: u32 = 1024;
/// key.cu: offset of the ticket counter, a u32.
const TICKETS: u64 = 131_092;

/// A part of a round, as in cross.cu.
#[derive(Clone, Copy)]
pub(crate) struct CrossPart {
    /// The device's own tiles.
    pub(crate) tiles: sys::CUdeviceptr,
    pub(crate) num_tiles: u32,
    /// The other device's tiles.
    pub(crate) other: sys::CUdeviceptr,
    /// Their number, or 0 if `other` has only those of this part, in order.
    pub(crate) other_num_tiles: u32,
    /// Feistel keys of the other device's salt.
    pub(crate) other_keys: FeistelKeys,
    /// Crossings of the whole round.
    pub(crate) crossings: u32,
    /// Those of this part.
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) key: sys::CUdeviceptr,
    /// The leaves of the whole round.
    pub(crate) leaves: sys::CUdeviceptr,
}

/// Four Feistel keys, as the kernel takes them.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(crate) struct FeistelKeys(pub(crate) [u32; 4]);

/// The loaded kernels of keys, sweeps, rounds and roots.
pub(crate) struct SweepKernels {
    key: Function,
    sweep: Function,
    cross: Function,
    commit: Function,
    path: SweepPath,
    /// Stages of the ring, if there is one.
    stages: u32,
    multiprocessors: u32,
    _modules: [Module; 4],
}

impl SweepKernels {
    pub(crate) fn load(context: &Arc<Context>, path: SweepPath, portable: bool) -> Result<Self, EngineError> {
        let key = Module::load(context, "key", portable)?;
        let sweep = Module::load(context, "sweep", portable)?;
        let cross = Module::load(context, "cross", portable)?;
        let commit = Module::load(context, "commit", portable)?;
        let (names, stages) = match path {
            SweepPath::Bulk => {
                let room = context.shared_bytes_per_block()?.saturating_sub(CONTROL_BYTES);
                (["sweep_bulk", "cross_bulk"], (room / STAGE_BYTES).min(*STAGES.end()))
            }
            SweepPath::Load => (["sweep_load", "cross_load"], 0),
        };
        if path == SweepPath::Bulk && !STAGES.contains(&stages) {
            return Err(EngineError::Unsupported(format!(
                "{stages} stages of shared memory, expected {STAGES:?}"
            )));
        }
        Ok(SweepKernels {
            key: key.function("key", 0)?,
            sweep: sweep.function(names[0], stages * STAGE_BYTES)?,
            cross: cross.function(names[1], stages * STAGE_BYTES)?,
            commit: commit.function("commit", 0)?,
            path,
            stages,
            multiprocessors: context.multiprocessors()?,
            _modules: [key, sweep, cross, commit],
        })
    }

    pub(crate) fn path(&self) -> SweepPath {
        self.path
    }

    /// Sweeps with only this many multiprocessors.
    #[cfg(feature = "attack")]
    pub(crate) fn limit_multiprocessors(&mut self, multiprocessors: u32) {
        self.multiprocessors = multiprocessors.max(1);
    }

    /// Queues the expansion of a salt (32 bytes) to a key (131,104 bytes).
    ///
    /// # Safety
    ///
    /// Both addresses are device memory of these sizes, used by nothing else until the launch has finished.
    pub(crate) unsafe fn queue_key(
        &self,
        stream: &Stream,
        salt: sys::CUdeviceptr,
        key: sys::CUdeviceptr,
    ) -> Result<(), EngineError> {
        // SAFETY: parameters in the order of the kernel's header; the caller guarantees the memory.
        unsafe {
            self.key
                .launch(stream, Shape::plain(33, 64), [parameter(&salt), parameter(&key)])
        }
    }

    /// Queues one sweep with a fresh key: a key contains the sweep's ticket counter.
    ///
    /// # Safety
    ///
    /// `tiles` has `num_tiles` tiles, `leaves` room for half as many u64s, rounded up; nothing else uses these or the
    /// key until the launch has finished.
    pub(crate) unsafe fn queue_sweep(
        &self,
        stream: &Stream,
        tiles: sys::CUdeviceptr,
        num_tiles: u32,
        key: sys::CUdeviceptr,
        leaves: sys::CUdeviceptr,
    ) -> Result<(), EngineError> {
        let grid = self.multiprocessors.min(num_tiles.div_ceil(2));
        let first = [
            parameter(&tiles),
            parameter(&num_tiles),
            parameter(&key),
            parameter(&leaves),
        ];
        // SAFETY: parameters in the order of the kernels' headers; the caller guarantees the memory.
        unsafe {
            match self.path {
                SweepPath::Bulk => self.queue_bulk(self.sweep, stream, tiles, num_tiles, key, leaves),
                SweepPath::Load => self.sweep.launch(stream, Shape::plain(grid, 512), first),
            }
        }
    }

    /// Queues a part of a round.
    ///
    /// # Safety
    ///
    /// The device has access to all tiles that the part pairs; `leaves` has room for those of the whole round, the key is that
    /// of the device's salt; nothing else uses leaves or key, and nothing writes tiles, until the launch has finished.
    pub(crate) unsafe fn queue_cross(&self, stream: &Stream, part: &CrossPart) -> Result<(), EngineError> {
        let parameters = [
            parameter(&part.tiles),
            parameter(&part.num_tiles),
            parameter(&part.other),
            parameter(&part.other_num_tiles),
            parameter(&part.other_keys),
            parameter(&part.crossings),
            parameter(&part.first),
            parameter(&part.count),
            parameter(&part.key),
            parameter(&part.leaves),
        ];
        let grid = self.multiprocessors.min(2 * part.count);
        // SAFETY: parameters in the order of the kernels' headers; the caller guarantees the memory.
        unsafe {
            match self.path {
                SweepPath::Bulk => {
                    stream.zero(part.key + TICKETS, 4)?;
                    let shape = Shape {
                        shared_bytes: self.shared_bytes(),
                        ..Shape::plain(grid, 544)
                    };
                    let [a, b, c, d, e, f, g, h, i, j] = parameters;
                    let with_stages = [a, b, c, d, e, f, g, h, i, j, parameter(&self.stages)];
                    self.cross.launch(stream, shape, with_stages)
                }
                SweepPath::Load => self.cross.launch(stream, Shape::plain(grid, 512), parameters),
            }
        }
    }

    /// Dynamic shared memory of the sweep (bytes).
    pub(crate) fn shared_bytes(&self) -> u32 {
        self.stages * STAGE_BYTES
    }

    /// Queues a kernel with the parameters of sweep_bulk.
    ///
    /// # Safety
    ///
    /// As [`SweepKernels::queue_sweep`], on a device with that path.
    pub(crate) unsafe fn queue_bulk(
        &self,
        kernel: Function,
        stream: &Stream,
        tiles: sys::CUdeviceptr,
        num_tiles: u32,
        key: sys::CUdeviceptr,
        leaves: sys::CUdeviceptr,
    ) -> Result<(), EngineError> {
        let shape = Shape {
            shared_bytes: self.shared_bytes(),
            ..Shape::plain(self.multiprocessors.min(num_tiles.div_ceil(2)), 544)
        };
        // SAFETY: parameters in the order of the kernels' headers; the caller guarantees the memory.
        unsafe {
            kernel.launch(
                stream,
                shape,
                [
                    parameter(&tiles),
                    parameter(&num_tiles),
                    parameter(&key),
                    parameter(&leaves),
                    parameter(&self.stages),
                ],
            )
        }
    }

    /// Queues the root of `num_leaves` leaves.
    ///
    /// # Safety
    ///
    /// `leaves` are that many u64s, 16-byte aligned; `subtrees` has 32 bytes for each 8192 of them, `finished` a u32
    /// that was 0 before the first launch, `root` 32 bytes; nothing else uses them until the launch has finished.
    pub(crate) unsafe fn queue_commit(
        &self,
        stream: &Stream,
        leaves: sys::CUdeviceptr,
        num_leaves: u32,
        subtrees: sys::CUdeviceptr,
        finished: sys::CUdeviceptr,
        root: sys::CUdeviceptr,
    ) -> Result<(), EngineError> {
        // The host derives the next salt: no context key, salt, ordinal or output address for it.
        let (context_key, salt, ordinal, next_salt) = ([0_u32; 8], 0_u64, 0_u32, 0_u64);
        let shape = Shape::plain(num_leaves.div_ceil(LEAVES_A_COMMIT_CTA), 64);
        // SAFETY: parameters in the order of the kernel's header; the caller guarantees the memory. Without an address
        // for the next salt the kernel does not read the last ones.
        unsafe {
            self.commit.launch(
                stream,
                shape,
                [
                    parameter(&leaves),
                    parameter(&num_leaves),
                    parameter(&subtrees),
                    parameter(&finished),
                    parameter(&root),
                    parameter(&context_key),
                    parameter(&salt),
                    parameter(&ordinal),
                    parameter(&next_salt),
                ],
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_get_their_path() {
        assert_eq!(SweepPath::best((8, 9), false), SweepPath::Load);
        assert_eq!(SweepPath::best((9, 0), false), SweepPath::Bulk);
        assert_eq!(SweepPath::best((10, 3), false), SweepPath::Bulk);
        assert_eq!(SweepPath::best((11, 0), false), SweepPath::Load);
        assert_eq!(SweepPath::best((12, 0), true), SweepPath::Load);
    }
}
