//! Engines that count, fail, compute wrong results or hang.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use engine_cpu::{CpuEngine, CpuEngineConfig};
use protocol::bytes::{Root, Salt};
use protocol::commitment::Opening;
use protocol::engine::{Assignment, CommitmentId, Engine, EngineError, FillTask, Progress};

pub(crate) fn engine() -> CpuEngine {
    let config = CpuEngineConfig {
        threads: NonZeroUsize::MIN,
        ..CpuEngineConfig::default()
    };
    CpuEngine::new(config).expect("the best path runs here")
}

/// What a counted or failing engine does when it is asked to fill.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    None,
    /// The fill after this many fails.
    FailsAfter(u32),
    /// The fill after this many panics.
    PanicsAfter(u32),
}

/// An engine that counts its fills and may stop working.
pub(crate) struct Counted {
    engine: CpuEngine,
    fault: Fault,
    fills: Arc<AtomicU32>,
}

pub(crate) fn counted(fault: Fault) -> (Box<dyn Engine>, Arc<AtomicU32>) {
    let fills = Arc::new(AtomicU32::new(0));
    let counted = Counted {
        engine: engine(),
        fault,
        fills: Arc::clone(&fills),
    };
    (Box::new(counted), fills)
}

impl Engine for Counted {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.engine.prepare(assignment)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        let before = self.fills.load(Ordering::Relaxed);
        match self.fault {
            Fault::FailsAfter(fills) if before >= fills => return Err(EngineError::DeviceLost("unplugged".to_owned())),
            Fault::PanicsAfter(fills) if before >= fills => panic!("an engine with a defect"),
            _ => {}
        }
        self.fills.store(before + 1, Ordering::Relaxed);
        self.engine.fill(task, progress)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.engine.sweep(salt, progress)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.engine.open(commitment, leaf)
    }
}

/// When an engine computes wrong roots of its fills.
#[derive(Clone, Copy)]
pub(crate) enum Error {
    /// Only in its first fill.
    Once,
    /// In every fill, always the same error.
    Always(u8),
}

pub(crate) struct Erring {
    pub(crate) engine: CpuEngine,
    pub(crate) error: Error,
    pub(crate) fills: u32,
    /// Its memory is limited to this many bytes of dataset.
    pub(crate) room_bytes: u64,
    pub(crate) prepared: Arc<AtomicU32>,
}

pub(crate) fn erring(error: Error) -> Box<dyn Engine> {
    Box::new(Erring {
        engine: engine(),
        error,
        fills: 0,
        room_bytes: u64::MAX,
        prepared: Arc::default(),
    })
}

impl Engine for Erring {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        if assignment.dataset_bytes() > self.room_bytes {
            return Err(EngineError::OutOfMemory {
                requested_bytes: assignment.dataset_bytes(),
                available_bytes: self.room_bytes,
            });
        }
        self.prepared.fetch_add(1, Ordering::Relaxed);
        self.engine.prepare(assignment)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.fills += 1;
        let mut root = self.engine.fill(task, progress)?;
        match self.error {
            Error::Once if self.fills == 1 => root.0[0] ^= 1,
            Error::Once => {}
            Error::Always(bits) => root.0[0] ^= bits,
        }
        Ok(root)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.engine.sweep(salt, progress)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.engine.open(commitment, leaf)
    }
}

/// An engine that never finishes by itself: like a CPU doing the work of a GPU.
pub(crate) struct Stuck {
    pub(crate) calls: Arc<AtomicU32>,
    pub(crate) called_off: Arc<AtomicU32>,
    /// Tiles that it reports before it hangs.
    pub(crate) tiles: u64,
}

impl Engine for Stuck {
    fn prepare(&mut self, _: &Assignment) -> Result<(), EngineError> {
        Ok(())
    }

    fn fill(&mut self, _: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        progress.advance(self.tiles);
        while !progress.is_cancelled() {
            thread::sleep(Duration::from_millis(1));
        }
        self.called_off.fetch_add(1, Ordering::Relaxed);
        Err(EngineError::Cancelled)
    }

    fn sweep(&mut self, _: &Salt, _: &dyn Progress) -> Result<Root, EngineError> {
        panic!("a sweep before a fill")
    }

    fn open(&mut self, _: CommitmentId, _: u32) -> Result<Opening, EngineError> {
        panic!("nothing was committed to")
    }
}
