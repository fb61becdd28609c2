//! A device and the context used for its work.

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::engine::EngineError;

use crate::device::{device, device_attribute, device_uuid};
use crate::driver::check;
use crate::nvml;
use crate::sys::{self, CUdevice_attribute as Attribute};

/// Stack per thread (bytes): enough for a few spilled registers.
const STACK_BYTES: usize = 64;

/// Approximate size of a new context on an H200 (bytes): half of it are stacks, which are released at once.
const CONTEXT_BYTES: u64 = 560 << 20;

/// The primary context of a device, retained as long as this exists.
pub(crate) struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
    /// A launch never ended: any call that waits for the device would never return.
    is_stuck: AtomicBool,
}

// SAFETY: a context handle may be used from any thread; work through it needs it current on the thread, which every
// caller ensures with `bind`.
unsafe impl Send for Context {}
// SAFETY: as above; the driver locks what it shares between threads.
unsafe impl Sync for Context {}

/// Free and total bytes of a device's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryInfo {
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
}

impl Context {
    /// The context of the device with CUDA index `index`; `driver::start` must have succeeded.
    ///
    /// # Errors
    ///
    /// [`EngineError::OutOfMemory`] if the device has too little memory for it; the free memory then comes from NVML,
    /// or is 0.
    pub(crate) fn new(index: u32) -> Result<Self, EngineError> {
        let device = device(index)?;
        let mut raw = ptr::null_mut();
        // SAFETY: `device` is a device of this process, `raw` a valid place for the handle.
        let status = unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut raw, device) };
        if status == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return Err(EngineError::OutOfMemory {
                requested_bytes: CONTEXT_BYTES,
                available_bytes: device_uuid(device).ok().and_then(nvml::free_bytes).unwrap_or(0),
            });
        }
        check("cuDevicePrimaryCtxRetain", status)?;
        let context = Context {
            device,
            raw,
            is_stuck: AtomicBool::new(false),
        };
        context.bind()?;
        context.limit_stack();
        Ok(context)
    }

    /// Releases memory that the driver reserves for every thread's stack: with its 1024 bytes per thread 264 MiB of an
    /// H200. No kernel here makes calls; the driver knows the frame size from the image. If the driver refuses, it
    /// keeps the memory.
    fn limit_stack(&self) {
        let limit = sys::CUlimit::CU_LIMIT_STACK_SIZE;
        let mut now = 0;
        // SAFETY: the context is current and `now` a valid output address.
        let status = unsafe { sys::cuCtxGetLimit(&raw mut now, limit) };
        // Once per context: another engine may be at work in it.
        if status == sys::CUresult::CUDA_SUCCESS && now > STACK_BYTES {
            // SAFETY: as above.
            let _ = unsafe { sys::cuCtxSetLimit(limit, STACK_BYTES) };
        }
    }

    /// The device: a number unique to a physical device or MIG slice in this process.
    pub(crate) fn device(&self) -> sys::CUdevice {
        self.device
    }

    /// The context's handle.
    pub(crate) fn raw(&self) -> sys::CUcontext {
        self.raw
    }

    /// Makes the context current on this thread.
    ///
    /// # Errors
    ///
    /// [`EngineError::DeviceLost`] once it is stuck: any further call would wait for the launch that does not end.
    pub(crate) fn bind(&self) -> Result<(), EngineError> {
        if self.is_stuck.load(Ordering::Relaxed) {
            return Err(EngineError::DeviceLost("an earlier launch never ended".to_owned()));
        }
        // SAFETY: the context is retained until this is dropped.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) })
    }

    /// Whether resources of this context can be released; if so, makes it current on this thread.
    pub(crate) fn bind_to_release(&self) -> bool {
        self.bind().is_ok()
    }

    /// Records that a launch never ended. From then on handles and memory are kept to the end of the process: releasing
    /// them would wait for the launch.
    pub(crate) fn mark_stuck(&self) {
        self.is_stuck.store(true, Ordering::Relaxed);
    }

    /// Waits for all work in the context, unless it is stuck; errors are returned by the next call.
    pub(crate) fn synchronize(&self) {
        if self.bind_to_release() {
            // SAFETY: the context is current.
            let _ = unsafe { sys::cuCtxSynchronize() };
        }
    }

    /// Current memory of the device, including use by other processes.
    pub(crate) fn memory_info(&self) -> Result<MemoryInfo, EngineError> {
        self.bind()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the context is current, and both are valid output addresses.
        check("cuMemGetInfo", unsafe {
            sys::cuMemGetInfo_v2(&raw mut free, &raw mut total)
        })?;
        Ok(MemoryInfo {
            free_bytes: free as u64,
            total_bytes: total as u64,
        })
    }

    /// Compute capability, major and minor.
    pub(crate) fn compute_capability(&self) -> Result<(u32, u32), EngineError> {
        Ok((
            self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ))
    }

    /// Number of multiprocessors.
    pub(crate) fn multiprocessors(&self) -> Result<u32, EngineError> {
        self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
    }

    /// Most shared memory that a block can request (bytes).
    pub(crate) fn shared_bytes_per_block(&self) -> Result<u32, EngineError> {
        self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
    }

    fn attribute(&self, attribute: Attribute) -> Result<u32, EngineError> {
        device_attribute(self.device, attribute)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if !self.is_stuck.load(Ordering::Relaxed) {
            // SAFETY: retained once in `new`; everything created in the context holds an `Arc` of this and has been
            // dropped. On failure the context stays until the end of the process.
            let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
        }
    }
}
