//! Memory that the driver moves between the host and the device (unified memory).

use std::sync::Arc;
use std::time::Duration;

use protocol::engine::EngineError;

use crate::context::Context;
use crate::device::device_attribute;
use crate::driver::check;
use crate::memory::DeviceMemory;
use crate::stream::{Event, Stream};
use crate::sys::{self, CUdevice_attribute as Attribute, CUmem_advise, CUmemAttach_flags};

/// The host, as a device id (`CU_DEVICE_CPU`).
const HOST: sys::CUdevice = -1;

/// Timeout of a move.
const MOVE_LIMIT: Duration = Duration::from_secs(30);

/// A managed allocation's address, and the stream of its moves. [`DeviceMemory`] owns the memory.
pub(super) struct Managed {
    context: Arc<Context>,
    address: sys::CUdeviceptr,
    stream: Stream,
    moved: Event,
}

impl Managed {
    /// Allocates `size_bytes` and moves them to the device.
    pub(super) fn new(context: &Arc<Context>, size_bytes: u64) -> Result<(Self, DeviceMemory), EngineError> {
        if device_attribute(
            context.device(),
            Attribute::CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS,
        )? == 0
        {
            return Err(EngineError::Unsupported(
                "managed memory that stays on the host: this device does not read it there".to_owned(),
            ));
        }
        context.bind()?;
        let mut address = 0;
        // SAFETY: the context is current and `address` a valid output address.
        check("cuMemAllocManaged", unsafe {
            sys::cuMemAllocManaged(
                &raw mut address,
                size_bytes as usize,
                CUmemAttach_flags::CU_MEM_ATTACH_GLOBAL as u32,
            )
        })?;
        // SAFETY: just allocated, and freed only by this.
        let memory = unsafe { DeviceMemory::from_address(context, address) };
        let managed = Managed {
            context: context.clone(),
            address,
            stream: Stream::new(context)?,
            moved: Event::new(context)?,
        };
        managed.advise(
            0,
            size_bytes,
            CUmem_advise::CU_MEM_ADVISE_SET_PREFERRED_LOCATION,
            context.device(),
        )?;
        managed.fetch(0, size_bytes)?;
        Ok((managed, memory))
    }

    /// Moves a range to the host; the device reads it there.
    pub(super) fn evict(&self, offset: u64, size_bytes: u64) -> Result<(), EngineError> {
        let device = self.context.device();
        self.advise(
            offset,
            size_bytes,
            CUmem_advise::CU_MEM_ADVISE_SET_PREFERRED_LOCATION,
            HOST,
        )?;
        self.advise(offset, size_bytes, CUmem_advise::CU_MEM_ADVISE_SET_ACCESSED_BY, device)?;
        self.move_to(offset, size_bytes, HOST)
    }

    /// Moves a range to the device and waits for it.
    pub(super) fn fetch(&self, offset: u64, size_bytes: u64) -> Result<(), EngineError> {
        self.move_to(offset, size_bytes, self.context.device())
    }

    fn advise(
        &self,
        offset: u64,
        size_bytes: u64,
        advice: CUmem_advise,
        device: sys::CUdevice,
    ) -> Result<(), EngineError> {
        // SAFETY: the range lies within the allocation; advice changes no byte.
        check("cuMemAdvise", unsafe {
            sys::cuMemAdvise(self.address + offset, size_bytes as usize, advice, device)
        })
    }

    fn move_to(&self, offset: u64, size_bytes: u64, device: sys::CUdevice) -> Result<(), EngineError> {
        self.context.bind()?;
        // SAFETY: the range lies within the allocation; a move changes no byte.
        check("cuMemPrefetchAsync", unsafe {
            sys::cuMemPrefetchAsync(self.address + offset, size_bytes as usize, device, self.stream.raw())
        })?;
        self.moved.record(&self.stream)?;
        if self.moved.wait(MOVE_LIMIT)? {
            return Ok(());
        }
        self.context.mark_stuck();
        Err(EngineError::DeviceLost(format!(
            "{size_bytes} bytes did not move within {} s",
            MOVE_LIMIT.as_secs()
        )))
    }
}
