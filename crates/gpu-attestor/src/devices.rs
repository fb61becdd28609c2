//! The devices of this host, and `gpu-attestor devices`.

use std::num::{NonZeroU32, NonZeroUsize};

use anyhow::Context;
use attester::{CudaConfig, CudaError, Device, NoCuda, cpu_devices, cuda_devices};
use clap::{Args, ValueEnum};
use cli::{Exit, parse_bytes, parse_ordinals, print_json, print_text};
use engine_cpu::{CpuEngineConfig, Path};
use protocol::bytes::DeviceOrdinal;
use protocol::message::DeviceOffer;
use serde_json::json;
use verifier::report::bytes;

/// What does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineChoice {
    /// GPUs where there are any, else the CPU; says which it took
    Auto,
    /// NVIDIA GPUs; an error where there are none
    Cuda,
    /// This host's CPU, as one device or several
    Cpu,
}

/// Which devices, on which engine.
#[derive(Args, Clone, Debug)]
pub(crate) struct DeviceOptions {
    /// What does the work
    #[arg(long, value_name = "ENGINE", default_value = "auto")]
    engine: EngineChoice,

    /// Most memory that each engine may take of its GPU, say 70GiB [default: all that is free]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory_limit: Option<u64>,

    /// Engines on each GPU, each posing as a device: to try what several devices do on fewer. Such a session proves
    /// nothing about the number of GPUs, and appraisal tells it by the UUIDs
    #[arg(long, value_name = "N", default_value = "1", requires = "memory_limit")]
    engines_per_gpu: NonZeroU32,

    /// Devices to emulate on the CPU
    #[arg(long, value_name = "N", default_value = "1")]
    cpu_devices: NonZeroUsize,

    /// Dataset that each emulated device offers
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "256MiB")]
    cpu_memory: u64,

    /// Code path on the CPU: portable, neon-dotprod, avx2, avx-vnni, avx512-vnni or amx-int8 [default: the fastest this CPU
    /// runs]
    #[arg(long, value_name = "PATH")]
    cpu_path: Option<Path>,

    /// Threads that fill and sweep on the CPU, over all devices [default: one a CPU]
    #[arg(long, value_name = "N")]
    cpu_threads: Option<NonZeroUsize>,
}

/// What is measured.
pub(crate) enum Measured {
    Cuda(Vec<DeviceOrdinal>, Option<u64>),
    Cpu(Path),
}

/// Options of `gpu-attestor devices`.
#[derive(Args)]
#[command(after_help = "Examples:\n  gpu-attestor devices\n  gpu-attestor devices --json --cpu-devices 3")]
pub(crate) struct Options {
    #[command(flatten)]
    ordinals: OrdinalOptions,

    #[command(flatten)]
    devices: DeviceOptions,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Ordinals like `0,2`: a list that clap takes as one value.
#[derive(Args, Clone, Debug)]
pub(crate) struct OrdinalOptions {
    /// Only these devices, by ordinal, say 0,2 [default: all]
    #[arg(long, value_name = "LIST", value_parser = parse_ordinal_list)]
    devices: Option<OrdinalList>,
}

#[derive(Clone, Debug)]
struct OrdinalList(Vec<DeviceOrdinal>);

fn parse_ordinal_list(text: &str) -> Result<OrdinalList, String> {
    parse_ordinals(text).map(OrdinalList)
}

impl OrdinalOptions {
    /// The ordinals asked for.
    pub(crate) fn ordinals(&self) -> Option<Vec<DeviceOrdinal>> {
        self.devices.as_ref().map(|list| list.0.clone())
    }

    /// Keeps the devices asked for.
    fn choose(&self, mut devices: Vec<Device>) -> anyhow::Result<Vec<Device>> {
        let Some(OrdinalList(asked)) = &self.devices else {
            return Ok(devices);
        };
        if let Some(missing) = asked
            .iter()
            .find(|g| devices.iter().all(|device| device.offer.ordinal != **g))
        {
            anyhow::bail!(
                "device {missing} is not here; `gpu-attestor devices` shows {}",
                devices.len()
            );
        }
        devices.retain(|device| asked.contains(&device.offer.ordinal));
        Ok(devices)
    }
}

impl DeviceOptions {
    /// The devices of this host, ordinals ascending, and a line that says which engine serves them.
    pub(crate) fn discover(&self, ordinals: &OrdinalOptions) -> anyhow::Result<(Vec<Device>, String)> {
        let config = CudaConfig {
            only: ordinals.ordinals(),
            memory_limit_bytes: self.memory_limit,
            engines_per_gpu: self.engines_per_gpu,
        };
        let gpus = || cuda_devices(&config);
        within_max_devices(self.engines_per_gpu.get() as usize)?;
        let (devices, engine) = match self.engine {
            EngineChoice::Cpu => self.cpu()?,
            EngineChoice::Cuda => (gpus()?, "engine: cuda".to_owned()),
            EngineChoice::Auto => match gpus() {
                Ok(devices) => (devices, "engine: cuda (auto)".to_owned()),
                // A GPU that is there and fails is an error; only where there is none the CPU takes its place.
                Err(CudaError::NoCuda(NoCuda::NoLibrary | NoCuda::NoDevice)) => {
                    let (devices, engine) = self.cpu()?;
                    (devices, format!("{engine} (auto: no NVIDIA GPU here)"))
                }
                Err(error) => {
                    return Err(anyhow::Error::new(error).context("the GPUs cannot be used; --engine cpu does without"));
                }
            },
        };
        Ok((ordinals.choose(devices)?, engine))
    }

    /// What `bench` measures: GPUs with the memory that may be taken of each, or a path of the CPU.
    pub(crate) fn measured(&self, ordinals: &OrdinalOptions) -> anyhow::Result<Measured> {
        let cpu = || Measured::Cpu(self.cpu_config().path);
        if self.engine == EngineChoice::Cpu {
            return Ok(cpu());
        }
        match engine_cuda::devices() {
            Ok(infos) => {
                let here: Vec<_> = infos.iter().map(|info| DeviceOrdinal(info.index)).collect();
                let asked = ordinals.ordinals().unwrap_or_else(|| here.clone());
                if let Some(missing) = asked.iter().find(|g| !here.contains(g)) {
                    anyhow::bail!(
                        "device {missing} is not here; `gpu-attestor devices` shows {}",
                        here.len()
                    );
                }
                Ok(Measured::Cuda(asked, self.memory_limit))
            }
            Err(NoCuda::NoLibrary | NoCuda::NoDevice) if self.engine == EngineChoice::Auto => Ok(cpu()),
            Err(error) => Err(error.into()),
        }
    }

    fn cpu_config(&self) -> CpuEngineConfig {
        let default = CpuEngineConfig::default();
        CpuEngineConfig {
            path: self.cpu_path.unwrap_or(default.path),
            threads: self.cpu_threads.unwrap_or(default.threads),
            ..default
        }
    }

    fn cpu(&self) -> anyhow::Result<(Vec<Device>, String)> {
        let config = self.cpu_config();
        within_max_devices(self.cpu_devices.get())?;
        let devices = cpu_devices(self.cpu_devices, 0, self.cpu_memory, config).context("the CPU engine")?;
        Ok((devices, format!("engine: cpu, path {}", config.path)))
    }
}

fn within_max_devices(count: usize) -> anyhow::Result<()> {
    anyhow::ensure!(
        count <= protocol::limits::MAX_DEVICES,
        "at most {} devices, asked for {count}",
        protocol::limits::MAX_DEVICES
    );
    Ok(())
}

pub(crate) fn run(options: &Options) -> anyhow::Result<Exit> {
    let (devices, engine) = options.devices.discover(&options.ordinals)?;
    if options.json {
        let devices: Vec<_> = devices.iter().map(|device| to_json(&device.offer)).collect();
        print_json(&json!({ "engine": engine, "devices": devices }))?;
        return Ok(Exit::Affirmed);
    }
    let mut text = format!("{engine}\n");
    for Device { offer, .. } in &devices {
        text += &format!(
            "device {}  {}  {} of memory, offers {}\n",
            offer.ordinal,
            offer.model,
            bytes(offer.memory_bytes.into()),
            bytes((offer.available_bytes - offer.reserve_bytes).into()),
        );
        for label in &offer.labels {
            text += &format!("          {}: {}\n", label.name, label.value);
        }
    }
    print_text(text)?;
    Ok(Exit::Affirmed)
}

fn to_json(offer: &DeviceOffer) -> serde_json::Value {
    let labels: serde_json::Map<_, _> = offer
        .labels
        .iter()
        .map(|label| (label.name.clone(), label.value.clone().into()))
        .collect();
    json!({
        "ordinal": offer.ordinal.0,
        "engine": offer.engine,
        "model": offer.model,
        "memory_bytes": offer.memory_bytes,
        "available_bytes": offer.available_bytes,
        "reserve_bytes": offer.reserve_bytes,
        "labels": labels,
    })
}
