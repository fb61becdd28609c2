//! Streams, events, and waiting for them without waiting forever.

use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use protocol::engine::EngineError;

use crate::context::Context;
use crate::driver::check;
use crate::sys::{self, CUevent_flags, CUresult, CUstream_flags};

/// A queue of work that does not wait for the default stream.
pub(crate) struct Stream {
    context: Arc<Context>,
    raw: sys::CUstream,
}

/// A mark in a stream.
pub(crate) struct Event {
    context: Arc<Context>,
    raw: sys::CUevent,
}

// SAFETY: stream handles may be used from any thread with the context current.
unsafe impl Send for Stream {}
// SAFETY: as for streams.
unsafe impl Send for Event {}

impl Stream {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self, EngineError> {
        context.bind()?;
        let mut raw = ptr::null_mut();
        // SAFETY: the context is current and `raw` a valid output address.
        check("cuStreamCreate", unsafe {
            sys::cuStreamCreate(&raw mut raw, CUstream_flags::CU_STREAM_NON_BLOCKING as u32)
        })?;
        Ok(Stream {
            context: context.clone(),
            raw,
        })
    }

    pub(crate) fn raw(&self) -> sys::CUstream {
        self.raw
    }

    /// Work queued after this waits for the event's last record.
    pub(crate) fn wait(&self, event: &Event) -> Result<(), EngineError> {
        // SAFETY: both handles are alive and of the same context.
        check("cuStreamWaitEvent", unsafe {
            sys::cuStreamWaitEvent(self.raw, event.raw, 0)
        })
    }

    /// Queues the zeroing of device memory.
    ///
    /// # Safety
    ///
    /// `size_bytes` from `address` are device memory that nothing else uses until then.
    pub(crate) unsafe fn zero(&self, address: sys::CUdeviceptr, size_bytes: u64) -> Result<(), EngineError> {
        // SAFETY: the caller guarantees the range.
        check("cuMemsetD8Async", unsafe {
            sys::cuMemsetD8Async(address, 0, size_bytes as usize, self.raw)
        })
    }

    /// Queues a copy of `count` elements to the device.
    ///
    /// # Safety
    ///
    /// Both ranges are valid, the host's is pinned, and neither is used otherwise until the copy has finished.
    pub(crate) unsafe fn copy_to_device<T>(
        &self,
        target: sys::CUdeviceptr,
        source: *const T,
        count: usize,
    ) -> Result<(), EngineError> {
        // SAFETY: the caller guarantees both ranges.
        check("cuMemcpyHtoDAsync", unsafe {
            sys::cuMemcpyHtoDAsync_v2(target, source.cast(), count * size_of::<T>(), self.raw)
        })
    }

    /// Queues a copy of `size_bytes` from the memory of another device.
    ///
    /// # Safety
    ///
    /// Both ranges are memory of these contexts' devices, and neither is used otherwise until the copy has finished.
    pub(crate) unsafe fn copy_from_peer(
        &self,
        target: sys::CUdeviceptr,
        target_context: &Context,
        source: sys::CUdeviceptr,
        source_context: &Context,
        size_bytes: u64,
    ) -> Result<(), EngineError> {
        let (to, from) = (target_context.raw(), source_context.raw());
        // SAFETY: the caller guarantees both ranges.
        check("cuMemcpyPeerAsync", unsafe {
            sys::cuMemcpyPeerAsync(target, to, source, from, size_bytes as usize, self.raw)
        })
    }

    /// Queues a copy of `count` elements to the host.
    ///
    /// # Safety
    ///
    /// As for [`Stream::copy_to_device`].
    pub(crate) unsafe fn copy_to_host<T>(
        &self,
        target: *mut T,
        source: sys::CUdeviceptr,
        count: usize,
    ) -> Result<(), EngineError> {
        // SAFETY: the caller guarantees both ranges.
        check("cuMemcpyDtoHAsync", unsafe {
            sys::cuMemcpyDtoHAsync_v2(target.cast(), source, count * size_of::<T>(), self.raw)
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.bind_to_release() {
            // SAFETY: created in `new`, destroyed once; work in it still completes.
            let _ = unsafe { sys::cuStreamDestroy_v2(self.raw) };
        }
    }
}

impl Event {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self, EngineError> {
        context.bind()?;
        let mut raw = ptr::null_mut();
        // SAFETY: the context is current and `raw` a valid output address. Without timing, events are cheaper.
        check("cuEventCreate", unsafe {
            sys::cuEventCreate(&raw mut raw, CUevent_flags::CU_EVENT_DISABLE_TIMING as u32)
        })?;
        Ok(Event {
            context: context.clone(),
            raw,
        })
    }

    /// Records the current end of the stream.
    pub(crate) fn record(&self, stream: &Stream) -> Result<(), EngineError> {
        // SAFETY: both handles are alive and of the same context.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.raw, stream.raw) })
    }

    /// Whether all work before the last record has finished; true for an event that was never recorded.
    pub(crate) fn is_done(&self) -> Result<bool, EngineError> {
        // SAFETY: the handle is alive.
        match unsafe { sys::cuEventQuery(self.raw) } {
            CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            status => check("cuEventQuery", status).map(|()| true),
        }
    }

    /// Records that the work before this event never ended ([`Context::mark_stuck`]).
    pub(crate) fn mark_stuck(&self) {
        self.context.mark_stuck();
    }

    /// Waits until the event has completed, for at most `limit`; returns whether it has.
    ///
    /// The host polls instead of blocking, since a blocked thread could not give up. It yields for the first 100 ms, so
    /// that a sweep of 30 ms does not end in a sleep, then sleeps a thousandth of the time waited so far.
    pub(crate) fn wait(&self, limit: Duration) -> Result<bool, EngineError> {
        let start = Instant::now();
        while !self.is_done()? {
            let waited = start.elapsed();
            if waited > limit {
                return Ok(false);
            }
            if waited < Duration::from_millis(100) {
                thread::yield_now();
            } else {
                thread::sleep(waited / 1000);
            }
        }
        Ok(true)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.bind_to_release() {
            // SAFETY: created in `new`, destroyed once.
            let _ = unsafe { sys::cuEventDestroy_v2(self.raw) };
        }
    }
}
