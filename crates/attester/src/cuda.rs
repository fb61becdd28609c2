//! NVIDIA GPUs of this host.

use std::thread;

use engine_cuda::{CudaEngine, CudaEngineConfig, DeviceInfo, NoCuda};
use protocol::bytes::DeviceOrdinal;
use protocol::cbor::{Label, sendable_text};
use protocol::engine::EngineError;
use protocol::message::DeviceOffer;

use crate::device::{Device, Telemetry};

/// Why the GPUs of this host cannot attest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// There is no CUDA here.
    #[error(transparent)]
    NoCuda(#[from] NoCuda),
    /// A GPU is there and cannot be used.
    #[error("GPU {device}: {error}")]
    Device {
        /// Its ordinal.
        device: DeviceOrdinal,
        /// What it met.
        error: EngineError,
    },
}

/// The GPUs that CUDA shows this process, each with an engine; a GPU's ordinal is its CUDA index, so
/// `CUDA_VISIBLE_DEVICES` is applied. With `only`, no other GPU is touched. `memory_limit_bytes` is a limit a GPU.
///
/// # Errors
///
/// [`CudaError`]: a GPU that does not start is told and not left out.
pub fn cuda_devices(only: Option<&[DeviceOrdinal]>, memory_limit_bytes: Option<u64>) -> Result<Vec<Device>, CudaError> {
    let mut infos = engine_cuda::devices()?;
    infos.retain(|info| only.is_none_or(|only| only.contains(&DeviceOrdinal(info.index))));
    // A context takes a good part of a second: all at once.
    thread::scope(|scope| {
        let opening: Vec<_> = infos
            .into_iter()
            .map(|info| scope.spawn(move || open(info, memory_limit_bytes)))
            .collect();
        opening
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(device) => device,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

fn open(info: DeviceInfo, memory_limit_bytes: Option<u64>) -> Result<Device, CudaError> {
    let ordinal = DeviceOrdinal(info.index);
    let config = CudaEngineConfig {
        memory_limit_bytes,
        ..CudaEngineConfig::new(info.index)
    };
    let failed = |error| CudaError::Device { device: ordinal, error };
    let engine = CudaEngine::new(config).map_err(failed)?;
    let offer = engine.offer().map_err(failed)?;
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
            memory_bytes: info.card_memory_bytes.unwrap_or(offer.memory_bytes),
            available_bytes: offer.available_bytes,
            reserve_bytes: offer.reserve_bytes,
            operand_copies: offer.operand_buffers,
            operand_rows: 0,
            labels,
        },
        engine: Box::new(engine),
        telemetry: Some(Box::new(Nvml {
            ordinal,
            uuid: info.uuid,
            running: None,
        })),
    })
}

/// NVML's view of one GPU during a session.
struct Nvml {
    ordinal: DeviceOrdinal,
    uuid: String,
    running: Option<engine_cuda::Telemetry>,
}

impl Telemetry for Nvml {
    fn start(&mut self) {
        // Labels only: a host without NVML attests all the same.
        self.running = engine_cuda::Telemetry::start(&self.uuid).ok();
    }

    fn finish(&mut self) -> Vec<Label> {
        let Some(running) = self.running.take() else {
            return Vec::new();
        };
        let name = |name: &str| format!("device {} {name}", self.ordinal);
        let labels = running.finish().labels();
        labels
            .iter()
            .map(|(label, value)| Label::new(&name(label), value))
            .collect()
    }
}
