//! The CPU as the commands see it: devices emulated on it.

use std::error::Error;
use std::num::NonZeroUsize;
use std::time::Duration;

use backend::{Backend, Device, EmulatedWanted, HostDevice, Report, Unavailable, Wanted};
use protocol::bytes::DeviceOrdinal;
use protocol::cbor::Label;
use protocol::engine::{Engine, EngineError, TileEngine};
use protocol::limits::TILE_SIDE;
use protocol::message::{AbortCode, DeviceOffer};

use crate::bench;
use crate::engine::{CpuEngine, CpuEngineConfig};
use crate::memory::available_memory_bytes;
use crate::path::{ParsePathError, Path, UnsupportedPath};
use crate::report::report;

/// This host's CPU, which is always available: devices emulated on it, or an engine next to others.
#[derive(Clone, Copy, Debug)]
pub struct Cpu;

impl Backend for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn about(&self) -> &'static str {
        "This host's CPU"
    }

    fn device_kind(&self) -> &'static str {
        "CPU"
    }

    fn is_emulated(&self) -> bool {
        true
    }

    fn how(&self, wanted: &Wanted) -> Option<String> {
        Some(format!("path {}", path(&wanted.emulated).ok()?))
    }

    fn count(&self, wanted: &Wanted) -> Result<usize, Unavailable> {
        Ok(wanted.emulated.devices.get())
    }

    fn devices(&self, wanted: &Wanted) -> Result<Vec<Device>, Unavailable> {
        let EmulatedWanted {
            devices, dataset_bytes, ..
        } = wanted.emulated;
        let config = config(&wanted.emulated).map_err(failed)?;
        let mut devices = cpu_devices(devices, 0, dataset_bytes, config).map_err(failed)?;
        if let Some(only) = &wanted.only {
            devices.retain(|device| only.contains(&device.offer.ordinal));
        }
        Ok(devices)
    }

    fn host_devices(&self) -> Result<Vec<HostDevice>, Unavailable> {
        Ok(vec![HostDevice {
            index: 0,
            name: "the CPU".to_owned(),
        }])
    }

    fn open_engine(&self, _: u32) -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(cpu_engine(CpuEngineConfig::default())?))
    }

    fn bench(
        &self,
        _: DeviceOrdinal,
        wanted: &Wanted,
        duration: Duration,
        stage: &dyn Fn(&str),
    ) -> Result<Report, Box<dyn Error + Send + Sync>> {
        let measured = bench::bench(path(&wanted.emulated)?, duration, stage)?;
        Ok(report(&measured))
    }

    fn open_tile_engine(&self, _: u32) -> Result<Box<dyn TileEngine>, EngineError> {
        Err(EngineError::Unsupported(
            "the Verifier computes tiles on its CPU without an engine beside it".to_owned(),
        ))
    }
}

fn path(wanted: &EmulatedWanted) -> Result<Path, ParsePathError> {
    wanted.path.as_deref().map_or_else(|| Ok(Path::best()), str::parse)
}

fn config(wanted: &EmulatedWanted) -> Result<CpuEngineConfig, ParsePathError> {
    let default = CpuEngineConfig::default();
    Ok(CpuEngineConfig {
        path: path(wanted)?,
        threads: wanted.threads.unwrap_or(default.threads),
        link_bytes_per_s: wanted.link_bytes_per_s,
        ..default
    })
}

fn failed(why: impl Error + Send + Sync + 'static) -> Unavailable {
    Unavailable::Failed {
        why: why.into(),
        code: AbortCode::Internal,
    }
}

/// The CPU's engine, for callers that use it next to other engines.
///
/// # Errors
///
/// [`EngineError::Unsupported`] if this CPU does not run `config.path`.
pub fn cpu_engine(config: CpuEngineConfig) -> Result<CpuEngine, EngineError> {
    CpuEngine::new(config).map_err(|error| EngineError::Unsupported(error.to_string()))
}

/// `count` devices emulated on this host's CPU, each offering `dataset_bytes` of it and its share of the threads.
///
/// # Errors
///
/// [`UnsupportedPath`] if this CPU does not run `config.path`.
pub fn cpu_devices(
    count: NonZeroUsize,
    first_ordinal: u32,
    dataset_bytes: u64,
    config: CpuEngineConfig,
) -> Result<Vec<Device>, UnsupportedPath> {
    let threads = NonZeroUsize::new(config.threads.get().div_ceil(count.get())).unwrap_or(NonZeroUsize::MIN);
    let config = CpuEngineConfig { threads, ..config };
    // Left operands per thread, and right operands within the engine's budget whatever k is; 1 MiB of scratch per
    // thread.
    let operand_rows = (threads.get() * TILE_SIDE) as u32;
    let reserve_bytes = config.operand_budget_bytes as u64 + ((threads.get() as u64) << 20);
    let model = cpu_model();
    (0..count.get() as u32)
        .map(|i| {
            let own_bytes = reserve_bytes + u64::from(operand_rows) * 65_536;
            Ok(Device {
                offer: DeviceOffer {
                    ordinal: DeviceOrdinal(first_ordinal + i),
                    engine: "cpu".to_owned(),
                    model: protocol::cbor::sendable_text(&model),
                    memory_bytes: available_memory_bytes().unwrap_or(dataset_bytes),
                    available_bytes: dataset_bytes.saturating_add(own_bytes),
                    reserve_bytes: own_bytes,
                    operand_copies: 0,
                    operand_rows: 0,
                    labels: vec![
                        Label::new("path", config.path.name()),
                        Label::new("threads", &threads.to_string()),
                    ],
                },
                engine: Box::new(CpuEngine::new(config)?),
                telemetry: None,
            })
        })
        .collect()
}

fn cpu_model() -> String {
    std::fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
