//! NVIDIA GPUs as the commands see them.

use std::error::Error;
use std::thread;
use std::time::Duration;

use backend::{Backend, Device, HostDevice, Report, Telemetry, Unavailable, Wanted, panic_message};
use protocol::bytes::DeviceOrdinal;
use protocol::cbor::{Label, sendable_text};
use protocol::engine::{Engine, EngineError, TileEngine};
use protocol::message::{AbortCode, DeviceOffer};

use crate::bench;
use crate::calls::{self, about};
use crate::engine::{CudaEngine, CudaEngineConfig};
use crate::health;
use crate::inventory::{self, DeviceInfo};
use crate::no_cuda::NoCuda;
use crate::report::report;
use crate::telemetry::NvmlWatch;
use crate::tiles::CudaTiles;

/// Why the GPUs of this host cannot attest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// CUDA is not available.
    #[error(transparent)]
    NoCuda(#[from] NoCuda),
    /// A GPU exists but cannot be used.
    #[error("GPU {device} ({uuid}): {error}")]
    Device {
        /// Its ordinal.
        device: DeviceOrdinal,
        /// Its UUID: an ordinal is local to the process.
        uuid: String,
        /// The error.
        error: EngineError,
    },
}

impl CudaError {
    /// The code under which a Verifier is told.
    fn abort_code(&self) -> AbortCode {
        match self {
            CudaError::Device { error, .. } | CudaError::NoCuda(NoCuda::Device { error, .. }) => {
                AbortCode::of_engine(error)
            }
            // A device that stopped answering, or the whole driver.
            CudaError::NoCuda(NoCuda::Hangs { device: Some(_), .. }) => AbortCode::DeviceLost,
            CudaError::NoCuda(NoCuda::NotStarted(_) | NoCuda::Failed(_) | NoCuda::Hangs { .. }) => {
                AbortCode::DriverError
            }
            CudaError::NoCuda(_) => AbortCode::Internal,
        }
    }
}

/// NVIDIA GPUs that CUDA makes visible to this process.
#[derive(Clone, Copy, Debug)]
pub struct Cuda;

impl Backend for Cuda {
    fn name(&self) -> &'static str {
        "cuda"
    }

    fn about(&self) -> &'static str {
        "NVIDIA GPUs; an error where there are none"
    }

    fn device_kind(&self) -> &'static str {
        "NVIDIA GPU"
    }

    fn count(&self, wanted: &Wanted) -> Result<usize, Unavailable> {
        let count = calls::within(wanted.driver_deadline, inventory::device_count);
        let gpus = count.flatten().map_err(CudaError::from)?;
        Ok((gpus as usize).saturating_mul(wanted.engines_per_gpu.get() as usize))
    }

    fn devices(&self, wanted: &Wanted) -> Result<Vec<Device>, Unavailable> {
        Ok(cuda_devices(wanted)?)
    }

    fn host_devices(&self) -> Result<Vec<HostDevice>, Unavailable> {
        let gpus = calls::within(Wanted::default().driver_deadline, inventory::devices);
        let gpus = gpus.flatten().map_err(CudaError::from)?;
        let named = |info: DeviceInfo| HostDevice {
            index: info.index,
            name: format!("GPU {} ({})", info.index, info.uuid),
        };
        Ok(gpus.into_iter().map(named).collect())
    }

    fn open_engine(&self, index: u32) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(opened(index, CudaEngine::new)?))
    }

    fn bench(
        &self,
        ordinal: DeviceOrdinal,
        wanted: &Wanted,
        duration: Duration,
        stage: &dyn Fn(&str),
    ) -> Result<Report, Box<dyn Error + Send + Sync>> {
        let config = CudaEngineConfig {
            memory_limit_bytes: wanted.memory_limit_bytes,
            ..CudaEngineConfig::new(ordinal.0)
        };
        stage("warming up");
        let (engine, device) = calls::within(wanted.driver_deadline, move || to_measure(config))??;
        let measured = bench::bench(engine, device, duration, stage)?;
        Ok(report(ordinal, &measured))
    }

    fn open_tile_engine(&self, index: u32) -> Result<Box<dyn TileEngine>, EngineError> {
        Ok(Box::new(opened(index, CudaTiles::new)?))
    }
}

impl From<CudaError> for Unavailable {
    /// Only a host without an NVIDIA driver counts as absent: a driver that fails, or shows no device, does not.
    fn from(error: CudaError) -> Self {
        match &error {
            CudaError::NoCuda(why) if why.is_absence() => Unavailable::Absent(error.into()),
            CudaError::NoCuda(_) | CudaError::Device { .. } => Unavailable::Failed {
                code: error.abort_code(),
                why: error.into(),
            },
        }
    }
}

/// An engine on a GPU of a command without settings for it.
fn opened<T: Send + 'static>(
    index: u32,
    open: impl FnOnce(CudaEngineConfig) -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let name = format!("GPU {index}");
    let open = move || about(name, || open(CudaEngineConfig::new(index)));
    let opened = calls::within(Wanted::default().driver_deadline, open);
    opened.map_err(|error| EngineError::DeviceLost(error.to_string()))?
}

/// An engine on a GPU, and what is known of it. The other devices are not queried: one of them may not respond.
fn to_measure(config: CudaEngineConfig) -> Result<(CudaEngine, DeviceInfo), EngineError> {
    let index = config.device_index;
    let engine = about(format!("GPU {index}"), || CudaEngine::new(config))?;
    let device = inventory::describe(&[index]).map_err(|error| EngineError::Unsupported(error.to_string()))?;
    let device = device.into_iter().next();
    device
        .map(|device| (engine, device))
        .ok_or_else(|| EngineError::Unsupported(format!("no device {index}")))
}

/// The GPUs that CUDA makes visible to this process, each with an engine; a GPU's ordinal is its CUDA index, so
/// `CUDA_VISIBLE_DEVICES` is applied. With several engines per GPU the ordinals count engines, GPU by GPU.
///
/// # Errors
///
/// [`CudaError`]: a GPU that does not start is an error and is not skipped, nor is one on which a call of the driver
/// takes longer than its limit.
pub fn cuda_devices(wanted: &Wanted) -> Result<Vec<Device>, CudaError> {
    let asked = wanted.clone();
    calls::within(wanted.driver_deadline, move || found(&asked))?
}

fn found(wanted: &Wanted) -> Result<Vec<Device>, CudaError> {
    let engines_per_gpu = wanted.engines_per_gpu.get();
    let is_chosen = |ordinal: u32| {
        let only = wanted.only.as_ref();
        only.is_none_or(|only| only.contains(&DeviceOrdinal(ordinal)))
    };
    let ordinals_of = |index: u32| {
        let first = index * engines_per_gpu;
        (first..first + engines_per_gpu).filter(|ordinal| is_chosen(*ordinal))
    };
    // A lost GPU must not prevent the use of the selected ones.
    let chosen: Vec<u32> = (0..inventory::device_count()?)
        .filter(|index| ordinals_of(*index).next().is_some())
        .collect();
    let engines = inventory::describe(&chosen)?.into_iter().flat_map(|info| {
        let ordinals = ordinals_of(info.index);
        ordinals.map(move |ordinal| (DeviceOrdinal(ordinal), info.clone()))
    });
    // Creating a context takes a considerable part of a second: all in parallel.
    let opened: Vec<Opened> = thread::scope(|scope| {
        let opening: Vec<_> = engines
            .map(|(ordinal, info)| {
                let open = move || open(ordinal, info, wanted.memory_limit_bytes);
                scope.spawn(calls::handed_on(open))
            })
            .collect();
        opening
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(opened) => opened,
                Err(panic) => Err(NoCuda::Failed(format!("opening a GPU: {}", panic_message(&*panic))).into()),
            })
            .collect::<Result<_, _>>()
    })?;
    let health = health::of_each(opened.iter().map(|opened| &opened.info));
    // A context can take a little memory of other GPUs too: free memory is queried once all contexts exist.
    opened
        .into_iter()
        .zip(health)
        .map(|(opened, health)| offer(opened, health))
        .collect()
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
    let name = named(ordinal, &info);
    match about(name, || CudaEngine::new(config)) {
        Ok(engine) => Ok(Opened { ordinal, info, engine }),
        Err(error) => Err(failed(ordinal, &info, error)),
    }
}

fn named(device: DeviceOrdinal, info: &DeviceInfo) -> String {
    format!("GPU {device} ({})", info.uuid)
}

fn failed(device: DeviceOrdinal, info: &DeviceInfo, error: EngineError) -> CudaError {
    CudaError::Device {
        device,
        uuid: info.uuid.clone(),
        error,
    }
}

fn offer(opened: Opened, health: health::Labels) -> Result<Device, CudaError> {
    let Opened { ordinal, info, engine } = opened;
    let offer = about(named(ordinal, &info), || engine.offer());
    let offer = offer.map_err(|error| failed(ordinal, &info, error))?;
    let mut labels = offer.labels;
    labels.extend(info.labels().iter().map(|(name, value)| Label::new(name, value)));
    labels.extend(health.iter().map(|(name, value)| Label::new(name, value)));
    // Health is last: it is the least needed to know which device it is.
    labels.truncate(protocol::limits::MAX_LABELS);
    Ok(Device {
        offer: DeviceOffer {
            ordinal,
            model: sendable_text(&info.model),
            memory_bytes: info.own_memory_bytes(),
            labels,
            ..offer
        },
        engine: Box::new(engine),
        // If NVML did not answer for a device at the start, it is not queried while the device works.
        telemetry: info.without_nvml.is_none().then(|| {
            Box::new(Nvml {
                uuid: info.uuid,
                running: None,
            }) as _
        }),
    })
}

/// NVML telemetry of one GPU during a session.
struct Nvml {
    uuid: String,
    running: Option<NvmlWatch>,
}

impl Telemetry for Nvml {
    fn start(&mut self) -> Result<(), String> {
        let running = NvmlWatch::start(&self.uuid).map_err(|error| error.to_string())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The basis of `auto`: another engine may replace a GPU only where there is no driver.
    #[test]
    fn no_driver_is_absent_and_all_else_has_failed() {
        let absent = Unavailable::from(CudaError::NoCuda(NoCuda::NoLibrary));
        assert!(matches!(&absent, Unavailable::Absent(_)), "{absent}");
        assert_eq!(absent.to_string(), NoCuda::NoLibrary.to_string());
        let lost = CudaError::Device {
            device: DeviceOrdinal(3),
            uuid: "GPU-0".to_owned(),
            error: EngineError::DeviceLost("status 999".to_owned()),
        };
        for failed in [
            NoCuda::NotLoaded("no library".to_owned()).into(),
            NoCuda::StubOnly.into(),
            NoCuda::NotStarted("status 999".to_owned()).into(),
            NoCuda::TooOld { found: 11_080 }.into(),
            NoCuda::NoDevice.into(),
            NoCuda::Failed("a question".to_owned()).into(),
            lost,
        ] {
            let text = failed.to_string();
            let failed = Unavailable::from(failed);
            assert!(matches!(&failed, Unavailable::Failed { .. }), "{failed}");
            assert_eq!(failed.to_string(), text);
        }
    }
}
