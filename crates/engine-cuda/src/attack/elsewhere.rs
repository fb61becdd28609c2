//! Attacks with a part of the dataset elsewhere: page-locked, in managed memory, on another GPU.

use std::time::Duration;

use protocol::bytes::Root;
use protocol::engine::{Assignment, Engine, EngineError, Unobserved};

use super::managed::Managed;
use super::mapping::{Location, Mapping};
use super::outcome::{Played, Times};
use super::stage::{MATRIX_BYTES, Stage, percent, sweeps, task, timed};
use crate::device::{device, device_attribute};
use crate::engine::CudaEngine;
use crate::layout::Layout;
use crate::memory::DeviceMemory;
use crate::sys::{CUdevice, CUdevice_attribute as Attribute};
use crate::workload::Workload;

/// Thousandths of the dataset that are missing.
const PAGED: [u32; 5] = [10, 20, 50, 100, 250];
const PREFETCHED: [u32; 2] = [10, 50];

impl Stage<'_> {
    /// Page-locked memory of the host on the NUMA node nearest to the device.
    pub(super) fn host(&self) -> Result<Location, EngineError> {
        let device = device(self.config.device_index)?;
        let node = device_attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_HOST_NUMA_ID)?;
        Ok(Location::Host(node as i32))
    }

    pub(super) fn host_pinned(&mut self) -> Result<(), EngineError> {
        self.placed(&PAGED, self.host()?)
    }

    /// The end of the dataset is elsewhere, mapped to the same addresses.
    pub(super) fn placed(&mut self, parts: &[u32], location: Location) -> Result<(), EngineError> {
        for &thousandths in parts {
            let missing = self.part(thousandths);
            let played = self.placed_part(missing, location);
            let is_lost = matches!(played, Err(EngineError::DeviceLost(_)));
            self.say(percent(thousandths), played);
            if is_lost {
                break;
            }
        }
        Ok(())
    }

    fn placed_part(&self, missing: u32, location: Location) -> Result<Played, EngineError> {
        let (mut engine, held) = self.placed_engine(&self.whole, missing, location, &[])?;
        let (fill, fill_root) = timed(|| engine.fill(&task(), &Unobserved))?;
        let (sweep, sweep_root) = sweeps(|salt| timed(|| engine.sweep(salt, &Unobserved)))?;
        let times = Times { fill, sweep };
        Ok(Played {
            same_roots: Some([fill_root, sweep_root] == self.honest.roots),
            ..self.played(times, self.truth(times, held))
        })
    }

    /// An engine for these matrices, the last ones of them elsewhere, and how many it holds itself. Other devices can
    /// read all of them.
    pub(super) fn placed_engine(
        &self,
        matrices: &Assignment,
        elsewhere: u32,
        location: Location,
        others: &[CUdevice],
    ) -> Result<(CudaEngine, u32), EngineError> {
        let mut engine = CudaEngine::new(self.config)?;
        let layout = Layout::new(matrices, engine.fill_path());
        let elsewhere_bytes_per_s = u64::from(elsewhere) * MATRIX_BYTES;
        let dataset = matrices.dataset_bytes();
        let here = Location::Device(engine.context.device());
        let parts = [
            (dataset - elsewhere_bytes_per_s, here),
            (elsewhere_bytes_per_s, location),
            (layout.total_bytes - dataset, here),
        ];
        let devices = [&[engine.context.device()], others].concat();
        let mapping = Mapping::new(&engine.context, &devices, &parts)?;
        let memory = DeviceMemory::mapped(&engine.context, mapping);
        self.take(&mut engine, matrices, layout, memory)?;
        Ok((engine, matrices.num_matrices() - elsewhere))
    }

    /// Creates an engine that works on matrices in this memory.
    fn take(
        &self,
        engine: &mut CudaEngine,
        matrices: &Assignment,
        layout: Layout,
        memory: DeviceMemory,
    ) -> Result<(), EngineError> {
        let limit = self.config.launch_limit;
        engine.workload = Some(Workload::in_memory(&engine.context, matrices, layout, memory, limit)?);
        Ok(())
    }

    /// A filled engine that works in managed memory, and the time of the fill.
    fn in_managed_memory(&self) -> Result<(CudaEngine, Managed, Duration, Root), EngineError> {
        let mut engine = CudaEngine::new(self.config)?;
        let layout = Layout::new(&self.whole, engine.fill_path());
        let (managed, memory) = Managed::new(&engine.context, layout.total_bytes)?;
        self.take(&mut engine, &self.whole, layout, memory)?;
        let (fill, root) = timed(|| engine.fill(&task(), &Unobserved))?;
        Ok((engine, managed, fill, root))
    }

    /// Offset and size of the dataset's last matrices.
    pub(super) fn tail(&self, matrices: u32) -> (u64, u64) {
        let size_bytes = u64::from(matrices) * MATRIX_BYTES;
        (self.whole.dataset_bytes() - size_bytes, size_bytes)
    }

    pub(super) fn host_managed(&mut self) -> Result<(), EngineError> {
        let (mut engine, managed, fill, fill_root) = self.in_managed_memory()?;
        for thousandths in PAGED {
            let missing = self.part(thousandths);
            let (offset, size_bytes) = self.tail(missing);
            managed.evict(offset, size_bytes)?;
            let (sweep, sweep_root) = sweeps(|salt| timed(|| engine.sweep(salt, &Unobserved)))?;
            let times = Times { fill, sweep };
            let played = Played {
                same_roots: Some([fill_root, sweep_root] == self.honest.roots),
                ..self.played(times, self.truth(times, self.whole.num_matrices() - missing))
            };
            self.say(percent(thousandths), Ok(played));
        }
        Ok(())
    }

    /// Moving back to the host takes no time here.
    pub(super) fn host_prefetched(&mut self) -> Result<(), EngineError> {
        let (mut engine, managed, fill, fill_root) = self.in_managed_memory()?;
        for thousandths in PREFETCHED {
            let missing = self.part(thousandths);
            let (offset, size_bytes) = self.tail(missing);
            let (sweep, sweep_root) = sweeps(|salt| {
                managed.evict(offset, size_bytes)?;
                timed(|| {
                    managed.fetch(offset, size_bytes)?;
                    engine.sweep(salt, &Unobserved)
                })
            })?;
            let times = Times { fill, sweep };
            let played = Played {
                same_roots: Some([fill_root, sweep_root] == self.honest.roots),
                ..self.played(times, self.truth(times, self.whole.num_matrices() - missing))
            };
            self.say(percent(thousandths), Ok(played));
        }
        Ok(())
    }
}
