//! The engines that recompute: this host's CPU, and its GPUs if they are requested.

use std::fmt;

use anyhow::Context;
use clap::Args;
use cli::{EngineChoice, engine_parser};
use engines::{Backend, CpuEngineConfig, HostDevice, Path, cpu_engine, open_each};
use protocol::engine::{Engine, EngineError, TileEngine};
use protocol::verifier::VerifierSession;
use verifier::recompute::Recompute;
use verifier::reexecute::check_memory;

use crate::named::Named;
use crate::telling::Telling;

/// The engines in this build: all, or the CPU alone, whatever other commands are built with it.
#[cfg(feature = "cuda")]
use engines::ENGINES;
#[cfg(not(feature = "cuda"))]
const ENGINES: &[&dyn Backend] = &[
    &engines::NotBuilt {
        name: "cuda",
        device_kind: "NVIDIA GPU",
        why: "built without CUDA; build gpu-validator with --features cuda",
    },
    &engines::Cpu,
];

/// Most memory that the CPU uses beside GPUs: for a larger dataset a GPU is finished before the CPU has even allocated the
/// memory, and the allocation cannot be cancelled.
const BESIDE_GPUS_BYTES: u64 = 8 << 30;

/// Which engines recompute.
#[derive(Args)]
pub(crate) struct EngineOptions {
    /// The engine that recomputes, on all its devices and on this host's CPU
    #[arg(long, value_name = "ENGINE", default_value = "cpu", value_parser = engine_parser(ENGINES))]
    engine: EngineChoice,
}

/// The engine that was taken, and its devices; the CPU always works beside them.
pub(crate) struct Engines {
    backend: &'static dyn Backend,
    /// Empty if the CPU is alone.
    devices: Vec<HostDevice>,
}

impl EngineOptions {
    /// Finds the engines, and prints which they are unless they are the default.
    pub(crate) fn find(&self) -> anyhow::Result<Engines> {
        let engines = match self.engine {
            EngineChoice::Only(backend) if backend.is_emulated() => return Ok(Engines::new(backend, Vec::new())),
            EngineChoice::Only(backend) => {
                let devices = backend.host_devices();
                let asked = || format!("--engine {}", backend.name());
                Engines::new(backend, devices.with_context(asked)?)
            }
            EngineChoice::Auto => {
                // A driver that fails, or reports no device, is not absent: the user is informed that the GPUs are not used.
                let taken = engines::auto(ENGINES, |backend| backend.host_devices())
                    .context("the GPUs cannot be used; --engine cpu does without")?;
                let engines = Engines::new(taken.backend, taken.found);
                if let Some((_, why)) = taken.absent.last() {
                    cli::tell(format_args!("engine: {engines} (auto: {why})"));
                    return Ok(engines);
                }
                engines
            }
        };
        cli::tell(format_args!("engine: {engines}"));
        Ok(engines)
    }
}

impl Engines {
    fn new(backend: &'static dyn Backend, mut devices: Vec<HostDevice>) -> Self {
        if backend.is_emulated() {
            devices.clear();
        }
        Engines { backend, devices }
    }

    /// Engines that recompute single tiles beside the CPU.
    pub(crate) fn tiles(&self) -> anyhow::Result<Vec<Box<dyn TileEngine>>> {
        let opened = self.each(|index| self.backend.open_tile_engine(index))?;
        let named = self.devices.iter().zip(opened).map(|(device, engine)| {
            let name = device.name.clone();
            Box::new(Named { name, engine }) as _
        });
        Ok(named.collect())
    }

    /// Engines that fill and sweep, the CPU last; an error if the CPU is alone and has too little memory for the work.
    pub(crate) fn all(&self, session: &VerifierSession, recompute: &Recompute) -> anyhow::Result<Vec<Box<dyn Engine>>> {
        let names = self.devices.iter().map(|device| device.name.clone());
        let opened = self.each(|index| self.backend.open_engine(index))?;
        let mut engines: Vec<_> = names.zip(opened).collect();
        let is_alone = engines.is_empty();
        let cpu = cpu_engine(cpu_config(recompute, is_alone))?;
        if is_alone {
            check_memory(session, &cpu)?;
        }
        engines.push(("the CPU".to_owned(), Box::new(cpu)));
        let telling = |(name, engine)| {
            let tell = |text| cli::tell(format_args!("{text}"));
            Box::new(Telling { name, engine, tell }) as _
        };
        Ok(engines.into_iter().map(telling).collect())
    }

    /// Starts something on each device. A device that does not start is reported, not silently left out.
    fn each<T: Send>(&self, open: impl Fn(u32) -> Result<T, EngineError> + Sync) -> anyhow::Result<Vec<T>> {
        open_each(&self.devices, open).map_err(|(name, error)| anyhow::Error::new(error).context(name))
    }
}

/// The CPU engine for the whole work, with the threads that recompute samples.
fn cpu_config(recompute: &Recompute, is_alone: bool) -> CpuEngineConfig {
    CpuEngineConfig {
        path: recompute.path,
        threads: recompute.threads,
        memory_limit_bytes: (!is_alone).then_some(BESIDE_GPUS_BYTES),
        ..CpuEngineConfig::default()
    }
}

impl fmt::Display for Engines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.backend.name();
        match self.devices.len() {
            0 => {}
            1 => write!(f, "{name}, 1 GPU, and ")?,
            count => write!(f, "{name}, {count} GPUs, and ")?,
        }
        write!(f, "cpu, path {}", Path::best())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    #[test]
    fn the_whole_work_takes_the_threads_that_were_asked_for() {
        let recompute = Recompute {
            path: Path::Portable,
            threads: NonZeroUsize::new(3).expect("not 0"),
            ..Recompute::default()
        };
        for is_alone in [true, false] {
            let config = cpu_config(&recompute, is_alone);
            assert_eq!((config.path, config.threads), (recompute.path, recompute.threads));
            assert_eq!(config.memory_limit_bytes.is_none(), is_alone);
        }
    }
}
