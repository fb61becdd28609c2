//! The engine: one device that carries out a session's work.

use std::sync::Arc;
use std::time::Duration;

use protocol::bytes::{Root, Salt};
use protocol::cbor::Label;
use protocol::commitment::Opening;
use protocol::engine::{
    Assignment, CommitmentId, CrossTask, Dataset, Engine, EngineError, FillTask, LinkPath, Progress,
};
use protocol::message::DeviceOffer;

use crate::context::Context;
use crate::driver;
use crate::fill::FillKernels;
use crate::fill_path::FillPath;
use crate::layout::Layout;
use crate::offer::offer;
use crate::self_check::self_check;
use crate::sweep::{SweepKernels, SweepPath};
use crate::workload::{Kernels, Workload};

/// The device that a [`CudaEngine`] uses, and its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaEngineConfig {
    /// The CUDA index of the device in this process: `CUDA_VISIBLE_DEVICES` is applied, a MIG slice is a device.
    pub device_index: u32,
    /// The fill's kernels; `None` for the fastest that the device supports.
    pub fill_path: Option<FillPath>,
    /// The sweep's kernel; `None` for the fastest that the device supports.
    pub sweep_path: Option<SweepPath>,
    /// Use the images that the driver compiles, even if there is machine code: for tests.
    pub portable_images: bool,
    /// Most bytes of device memory that the engine may allocate; `None` for all that is free.
    pub memory_limit_bytes: Option<u64>,
    /// Timeout of a launch, which takes a third of a second on the chip that it is optimised for.
    pub launch_limit: Duration,
}

impl CudaEngineConfig {
    /// The fastest paths of a device, all its free memory, a timeout of one minute per launch.
    #[must_use]
    pub fn new(device_index: u32) -> Self {
        CudaEngineConfig {
            device_index,
            fill_path: None,
            sweep_path: None,
            portable_images: false,
            memory_limit_bytes: None,
            launch_limit: Duration::from_secs(60),
        }
    }
}

/// An [`Engine`] on one NVIDIA GPU. It is `Send`, and binds its context to the calling thread.
///
/// A launch that has started runs to its end: cancelling takes up to two launches, at most 0.7 s on the chip that a
/// path is optimised for.
pub struct CudaEngine {
    // Declared before the kernels and the context: memory is dropped first.
    pub(crate) workload: Option<Workload>,
    /// Why the device is lost, if it is.
    lost: Option<EngineError>,
    pub(crate) kernels: Kernels,
    pub(crate) context: Arc<Context>,
    pub(crate) config: CudaEngineConfig,
}

impl CudaEngine {
    /// Opens the device and loads its code; allocates none of the memory for a dataset.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unsupported`] without CUDA, without such a device, or if the device does not support the
    /// requested path; otherwise the driver's error.
    pub fn new(config: CudaEngineConfig) -> Result<Self, EngineError> {
        driver::start().map_err(|error| EngineError::Unsupported(error.to_string()))?;
        let context = Arc::new(Context::new(config.device_index)?);
        let capability = context.compute_capability()?;
        let portable = config.portable_images;
        let fill_path = config.fill_path.unwrap_or_else(|| FillPath::best(capability, portable));
        let sweep_path = config
            .sweep_path
            .unwrap_or_else(|| SweepPath::best(capability, portable));
        let kernels = Kernels {
            fill: FillKernels::load(&context, fill_path, portable)?,
            sweep: SweepKernels::load(&context, sweep_path, portable)?,
        };
        Ok(CudaEngine {
            workload: None,
            lost: None,
            kernels,
            context,
            config,
        })
    }

    /// The fill's kernels in use.
    #[must_use]
    pub fn fill_path(&self) -> FillPath {
        self.kernels.fill.path()
    }

    /// The sweep's kernel in use.
    #[must_use]
    pub fn sweep_path(&self) -> SweepPath {
        self.kernels.sweep.path()
    }

    /// How the device reads the tiles of each connected dataset, in the order of the plan; none before `connect`.
    #[must_use]
    pub fn link_paths(&self) -> Vec<LinkPath> {
        self.workload.as_ref().map(Workload::link_paths).unwrap_or_default()
    }

    /// Bytes of device memory that `prepare` allocates for an assignment, as one allocation.
    #[must_use]
    pub fn required_bytes(&self, assignment: &Assignment) -> u64 {
        Layout::new(assignment, self.fill_path()).total_bytes
    }

    /// The resources that the device can currently offer for a plan. Memory that this engine holds for a plan does not
    /// count as free. The device's ordinal in a session, its model and the labels of the inventory are the caller's to add.
    ///
    /// # Errors
    ///
    /// The driver's error.
    pub fn offer(&self) -> Result<DeviceOffer, EngineError> {
        let memory = self.context.memory_info()?;
        let available_bytes = self.limited(memory.free_bytes);
        let operand_copies = self.fill_path().operand_copies();
        Ok(DeviceOffer {
            labels: vec![
                Label::new("fill_path", &self.fill_path().to_string()),
                Label::new("sweep_path", &self.sweep_path().to_string()),
            ],
            ..offer(memory.total_bytes, available_bytes, operand_copies)
        })
    }

    fn limited(&self, free_bytes: u64) -> u64 {
        self.config
            .memory_limit_bytes
            .map_or(free_bytes, |limit| limit.min(free_bytes))
    }
}

impl CudaEngine {
    /// Runs `work` on the prepared assignment, if any; if the device is lost, the assignment is dropped.
    fn work<T>(
        &mut self,
        work: impl FnOnce(&mut Workload, &Kernels) -> Result<T, EngineError>,
    ) -> Option<Result<T, EngineError>> {
        if let Some(lost) = &self.lost {
            return Some(Err(lost.clone()));
        }
        let done = work(self.workload.as_mut()?, &self.kernels);
        if let Err(error) = &done
            && error.is_lost()
        {
            self.workload = None;
            self.lost = Some(error.clone());
        }
        Some(done)
    }

    /// Checks the device and allocates an assignment's memory.
    fn take(&mut self, assignment: &Assignment) -> Result<Workload, EngineError> {
        let requested_bytes = self.required_bytes(assignment);
        let available_bytes = self.limited(self.context.memory_info()?.free_bytes);
        if requested_bytes > available_bytes {
            return Err(EngineError::OutOfMemory {
                requested_bytes,
                available_bytes,
            });
        }
        let limit = self.config.launch_limit;
        self_check(&self.context, &self.kernels, limit)?;
        Workload::new(&self.context, assignment, self.fill_path(), limit)
    }
}

impl Engine for CudaEngine {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.workload = None;
        match self.take(assignment) {
            Ok(workload) => {
                self.workload = Some(workload);
                self.lost = None;
                Ok(())
            }
            Err(error) => {
                if error.is_lost() {
                    self.lost = Some(error.clone());
                }
                Err(error)
            }
        }
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.work(|workload, kernels| {
            workload.assignment().check_inner_dim(task.inner_dim)?;
            workload.fill(kernels, task, progress)
        })
        .unwrap_or_else(unprepared)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.work(|workload, kernels| workload.sweep(kernels, salt, progress))
            .unwrap_or_else(unprepared)
    }

    fn dataset(&self) -> Result<Arc<dyn Dataset>, EngineError> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        match &self.workload {
            Some(workload) => Ok(workload.dataset()),
            None => unprepared(),
        }
    }

    fn connect(&mut self, datasets: &[Arc<dyn Dataset>]) -> Result<Vec<LinkPath>, EngineError> {
        self.work(|workload, _| {
            workload.connect(datasets)?;
            Ok(workload.link_paths())
        })
        .unwrap_or_else(unprepared)
    }

    fn cross(&mut self, task: &CrossTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.work(|workload, kernels| workload.cross(kernels, task, progress))
            .unwrap_or_else(unprepared)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.work(|workload, _| workload.open(commitment, leaf))
            .unwrap_or(Err(EngineError::NoSuchLeaf { commitment, leaf }))
    }
}

fn unprepared<T>() -> Result<T, EngineError> {
    Err(EngineError::Unsupported("work before prepare".to_owned()))
}
