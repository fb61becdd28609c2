//! One dataset swept by two GPUs.

use std::sync::Arc;
use std::time::Duration;

use protocol::bytes::{Root, Salt};
use protocol::engine::EngineError;

use crate::context::Context;
use crate::engine::CudaEngine;
use crate::layout::{FINISHED, ROOT, SALT};
use crate::memory::Pinned;
use crate::stream::{Event, Stream};
use crate::sweep::SweepKernels;

/// A filled engine whose memory another GPU also reads and writes. Both take leaves by the tickets of one key.
///
/// An attacker would sort the pairs by the location of their tiles, and move half as many bytes.
pub(super) struct Together {
    salt: Pinned<[u8; 32]>,
    root: Pinned<[u8; 32]>,
    here: Queue,
    there: Queue,
    there_kernels: SweepKernels,
    // Declared last: queued work uses its memory.
    engine: CudaEngine,
}

/// A device's stream, and an event after the last work queued there.
struct Queue {
    end: Event,
    stream: Stream,
    context: Arc<Context>,
    limit: Duration,
}

impl Queue {
    fn new(context: &Arc<Context>, limit: Duration) -> Result<Self, EngineError> {
        Ok(Queue {
            end: Event::new(context)?,
            stream: Stream::new(context)?,
            context: context.clone(),
            limit,
        })
    }

    /// Waits until all queued work has finished.
    fn wait(&self) -> Result<(), EngineError> {
        self.context.bind()?;
        self.end.record(&self.stream)?;
        if self.end.wait(self.limit)? {
            return Ok(());
        }
        self.context.mark_stuck();
        Err(EngineError::DeviceLost(format!(
            "a sweep by two GPUs did not end within {} s",
            self.limit.as_secs()
        )))
    }
}

impl Together {
    pub(super) fn new(engine: CudaEngine, other: &Arc<Context>) -> Result<Self, EngineError> {
        let limit = engine.config.launch_limit;
        let there = Queue::new(other, limit)?;
        let there_kernels = SweepKernels::load(other, engine.sweep_path(), engine.config.portable_images)?;
        let here = Queue::new(&engine.context, limit)?;
        // The fill's leaves may still be in flight to the host.
        engine.context.synchronize();
        Ok(Together {
            salt: Pinned::new(&engine.context, 1)?,
            root: Pinned::new(&engine.context, 1)?,
            here,
            there,
            there_kernels,
            engine,
        })
    }

    /// One sweep's root.
    pub(super) fn sweep(&mut self, salt: &Salt) -> Result<Root, EngineError> {
        let Some(workload) = &self.engine.workload else {
            return Err(EngineError::Unsupported("a sweep before a fill".to_owned()));
        };
        let (memory, layout, tiles) = (workload.memory(), workload.layout(), workload.assignment().tiles());
        let small = |offset| memory.at(layout.small + offset);
        let (dataset, key, leaves) = (
            memory.at(layout.dataset),
            memory.at(layout.key),
            memory.at(layout.leaves),
        );
        let kernels = &self.engine.kernels.sweep;
        self.here.context.bind()?;
        // SAFETY: the addresses are those of the workload's own sweeps, none of which is in progress, and both devices
        // have access to them; each step waits for the previous one, and the two kernels share their output by tickets.
        unsafe {
            self.salt.as_mut_ptr().write(salt.0);
            let source = self.salt.as_mut_ptr();
            self.here.stream.copy_to_device(small(SALT), source, 1)?;
            kernels.queue_key(&self.here.stream, small(SALT), key)?;
            self.here.wait()?;

            kernels.queue_sweep(&self.here.stream, dataset, tiles, key, leaves)?;
            self.there.context.bind()?;
            let queued = self
                .there_kernels
                .queue_sweep(&self.there.stream, dataset, tiles, key, leaves);
            // Waits for both, whatever the result of the other.
            let there = queued.and_then(|()| self.there.wait());
            self.here.wait()?;
            there?;

            let (subtrees, finished, root) = (memory.at(layout.subtrees), small(FINISHED), small(ROOT));
            kernels.queue_commit(&self.here.stream, leaves, tiles.div_ceil(2), subtrees, finished, root)?;
            self.here.stream.copy_to_host(self.root.as_mut_ptr(), root, 1)?;
            self.here.wait()?;
            Ok(Root(self.root.as_slice()[0]))
        }
    }
}
