//! NVIDIA GPUs of this host.

use std::num::NonZeroU32;
use std::thread;

use engine_cuda::{CudaEngine, CudaEngineConfig, DeviceInfo, NoCuda};
use protocol::bytes::DeviceOrdinal;
use protocol::cbor::{Label, sendable_text};
use protocol::engine::EngineError;
use protocol::message::DeviceOffer;

use crate::device::{Device, panic_message};
use crate::telemetry::Telemetry;

/// Why the GPUs of this host cannot attest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// There is no CUDA here.
    #[error(transparent)]
    NoCuda(#[from] NoCuda),
    /// A GPU is there and cannot be used.
    #[error("GPU {device} ({uuid}): {error}")]
    Device {
        /// Its ordinal.
        device: DeviceOrdinal,
        /// Its UUID: an ordinal is the process's own.
        uuid: String,
        /// What it met.
        error: EngineError,
    },
}

/// Which GPUs, and what may be taken of each.
#[derive(Clone, Debug)]
pub struct CudaConfig {
    /// Only devices with these ordinals [default: all]; no other GPU is touched.
    pub only: Option<Vec<DeviceOrdinal>>,
    /// Most memory that each engine may take (bytes) [default: all that is free].
    pub memory_limit_bytes: Option<u64>,
    /// Engines on each GPU, each a device of its own: to try what several devices do on fewer.
    pub engines_per_gpu: NonZeroU32,
}

impl Default for CudaConfig {
    fn default() -> Self {
        CudaConfig {
            only: None,
            memory_limit_bytes: None,
            engines_per_gpu: NonZeroU32::MIN,
        }
    }
}

/// The GPUs that CUDA shows this process, each with an engine; a GPU's ordinal is its CUDA index, so
/// `CUDA_VISIBLE_DEVICES` is applied. With several engines a GPU the ordinals count engines, GPU by GPU.
///
/// # Errors
///
/// [`CudaError`]: a GPU that does not start is told and not left out.
pub fn cuda_devices(config: &CudaConfig) -> Result<Vec<Device>, CudaError> {
    let engines_per_gpu = config.engines_per_gpu.get();
    let is_chosen = |ordinal: u32| {
        let only = config.only.as_ref();
        only.is_none_or(|only| only.contains(&DeviceOrdinal(ordinal)))
    };
    let ordinals_of = |index: u32| {
        let first = index * engines_per_gpu;
        (first..first + engines_per_gpu).filter(|ordinal| is_chosen(*ordinal))
    };
    // A GPU that is lost must not keep the chosen ones from being used.
    let chosen: Vec<u32> = (0..engine_cuda::device_count()?)
        .filter(|index| ordinals_of(*index).next().is_some())
        .collect();
    let engines = engine_cuda::describe(&chosen)?.into_iter().flat_map(|info| {
        let ordinals = ordinals_of(info.index);
        ordinals.map(move |ordinal| (DeviceOrdinal(ordinal), info.clone()))
    });
    // A context takes a good part of a second: all at once.
    let opened: Vec<Opened> = thread::scope(|scope| {
        let opening: Vec<_> = engines
            .map(|(ordinal, info)| scope.spawn(move || open(ordinal, info, config.memory_limit_bytes)))
            .collect();
        opening
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(opened) => opened,
                Err(panic) => Err(NoCuda::Failed(format!("opening a GPU: {}", panic_message(&*panic))).into()),
            })
            .collect::<Result<_, _>>()
    })?;
    // A context can take a little of other GPUs' memory too: what is free is asked once all are there.
    opened.into_iter().map(offer).collect()
}

/// A GPU with its engine.
struct Opened {
    ordinal: DeviceOrdinal,
    info: DeviceInfo,
    engine: CudaEngine,
}

fn open(ordinal: DeviceOrdinal, info: DeviceInfo, memory_limit_bytes: Option<u64>) -> Result<Opened, CudaError> {
    let config = CudaEngineConfig {
        memory_limit_bytes,
        ..CudaEngineConfig::new(info.index)
    };
    match CudaEngine::new(config) {
        Ok(engine) => Ok(Opened { ordinal, info, engine }),
        Err(error) => Err(failed(ordinal, &info, error)),
    }
}

fn failed(device: DeviceOrdinal, info: &DeviceInfo, error: EngineError) -> CudaError {
    CudaError::Device {
        device,
        uuid: info.uuid.clone(),
        error,
    }
}

fn offer(opened: Opened) -> Result<Device, CudaError> {
    let Opened { ordinal, info, engine } = opened;
    let offer = engine.offer().map_err(|error| failed(ordinal, &info, error))?;
    let mut labels = vec![
        Label::new("fill_path", &engine.fill_path().to_string()),
        Label::new("sweep_path", &engine.sweep_path().to_string()),
    ];
    labels.extend(info.labels().iter().map(|(name, value)| Label::new(name, value)));
    labels.truncate(protocol::limits::MAX_LABELS);
    Ok(Device {
        offer: DeviceOffer {
            ordinal,
            engine: "cuda".to_owned(),
            model: sendable_text(&info.model),
            memory_bytes: info.own_memory_bytes(),
            available_bytes: offer.available_bytes,
            reserve_bytes: offer.reserve_bytes,
            operand_copies: offer.operand_buffers,
            operand_rows: 0,
            labels,
        },
        engine: Box::new(engine),
        // What NVML does not say of a device at the start, it need not be asked for while the device works.
        telemetry: info.without_nvml.is_none().then(|| {
            Box::new(Nvml {
                uuid: info.uuid,
                running: None,
            }) as _
        }),
    })
}

/// NVML's view of one GPU during a session.
struct Nvml {
    uuid: String,
    running: Option<engine_cuda::Telemetry>,
}

impl Telemetry for Nvml {
    fn start(&mut self) -> Result<(), String> {
        let running = engine_cuda::Telemetry::start(&self.uuid).map_err(|error| error.to_string())?;
        self.running = Some(running);
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<(String, String)>, String> {
        let Some(running) = self.running.take() else {
            return Ok(Vec::new());
        };
        running
            .finish()
            .map(|seen| seen.labels())
            .map_err(|error| error.to_string())
    }
}
