//! Device memory as one allocation, and host memory that the device copies to.

use std::ptr;
use std::sync::Arc;

use protocol::engine::EngineError;
use protocol::limits::TILE_BYTES;

use crate::context::Context;
use crate::driver::check;
use crate::sys::{self, CUresult};

/// One allocation of device memory, freed on drop.
pub(crate) struct DeviceMemory {
    context: Arc<Context>,
    address: sys::CUdeviceptr,
    /// The function that frees the memory, if it is not `cuMemFree`.
    #[cfg(feature = "attack")]
    mapping: Option<crate::attack::Mapping>,
}

impl DeviceMemory {
    /// Allocates `size_bytes`; their content is undefined.
    ///
    /// # Errors
    ///
    /// [`EngineError::OutOfMemory`] with the free memory if it is not sufficient.
    pub(crate) fn new(context: &Arc<Context>, size_bytes: u64) -> Result<Self, EngineError> {
        context.bind()?;
        let mut address = 0;
        // SAFETY: the context is current and `address` a valid output address.
        let status = unsafe { sys::cuMemAlloc_v2(&raw mut address, size_bytes as usize) };
        if status == CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return Err(EngineError::OutOfMemory {
                requested_bytes: size_bytes,
                available_bytes: context.memory_info().map_or(0, |info| info.free_bytes),
            });
        }
        check("cuMemAlloc", status)?;
        Ok(DeviceMemory {
            context: context.clone(),
            address,
            #[cfg(feature = "attack")]
            mapping: None,
        })
    }

    /// Memory from another call that `cuMemFree` can free.
    ///
    /// # Safety
    ///
    /// `address` is that of such an allocation, and nothing else frees it.
    #[cfg(feature = "attack")]
    pub(crate) unsafe fn from_address(context: &Arc<Context>, address: sys::CUdeviceptr) -> Self {
        DeviceMemory {
            context: context.clone(),
            address,
            mapping: None,
        }
    }

    /// Memory in several places, mapped to one address range.
    #[cfg(feature = "attack")]
    pub(crate) fn mapped(context: &Arc<Context>, mapping: crate::attack::Mapping) -> Self {
        DeviceMemory {
            context: context.clone(),
            address: mapping.address(),
            mapping: Some(mapping),
        }
    }

    /// Address of the byte at `offset`.
    pub(crate) fn at(&self, offset: u64) -> sys::CUdeviceptr {
        self.address + offset
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.context.bind_to_release() {
            #[cfg(feature = "attack")]
            if let Some(mapping) = self.mapping.take() {
                self.context.synchronize();
                return drop(mapping);
            }
            // SAFETY: allocated in `new`, freed once; the driver waits for work that still uses it.
            let _ = unsafe { sys::cuMemFree_v2(self.address) };
        }
    }
}

/// Page-locked host memory for `T`s that the device reads or writes directly.
pub(crate) struct Pinned<T> {
    context: Arc<Context>,
    address: *mut T,
    length: usize,
}

// SAFETY: it owns its memory as a `Box<[T]>` does; `T: Copy` types here are plain integers.
unsafe impl<T: Send> Send for Pinned<T> {}

/// Types for which every bit pattern is a valid value.
///
/// # Safety
///
/// Implement only for such types.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: integers and arrays of them have no invalid bit patterns.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for [u8; 32] {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for [u32; 4] {}
// SAFETY: as above.
unsafe impl Plain for [u8; TILE_BYTES] {}

impl<T: Plain> Pinned<T> {
    /// `length` elements, all bits zero.
    pub(crate) fn new(context: &Arc<Context>, length: usize) -> Result<Self, EngineError> {
        context.bind()?;
        let mut address = ptr::null_mut();
        let size_bytes = (length * size_of::<T>()).max(1);
        // SAFETY: the context is current and `address` a valid output address; 0 requests no special mapping.
        check("cuMemHostAlloc", unsafe {
            sys::cuMemHostAlloc(&raw mut address, size_bytes, 0)
        })?;
        // SAFETY: just allocated with that many bytes; page-aligned, so aligned for `T`.
        unsafe { ptr::write_bytes(address.cast::<u8>(), 0, size_bytes) };
        Ok(Pinned {
            context: context.clone(),
            address: address.cast(),
            length,
        })
    }

    /// The address at which the device reads or writes.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.address
    }

    /// The elements.
    ///
    /// # Safety
    ///
    /// The device must not be copying into this memory while the slice exists.
    pub(crate) unsafe fn as_slice(&self) -> &[T] {
        // SAFETY: `new` allocated and zeroed `length` elements, any bits of which are a `T`; nothing else writes
        // (caller).
        unsafe { std::slice::from_raw_parts(self.address, self.length) }
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        if self.context.bind_to_release() {
            // SAFETY: allocated in `new`, freed once; the driver waits for copies that still use it.
            let _ = unsafe { sys::cuMemFreeHost(self.address.cast()) };
        }
    }
}
