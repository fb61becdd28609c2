//! What recomputes: this host's CPU, and its GPUs where they are asked for.

use std::fmt;

use anyhow::Context;
use clap::{Args, ValueEnum};
use engine_cpu::{CpuEngine, CpuEngineConfig, Path};
use protocol::engine::{Engine, TileEngine};
use protocol::verifier::VerifierSession;
use verifier::recompute::Recompute;
use verifier::reexecute::check_memory;

use crate::telling::Telling;

#[cfg(feature = "cuda")]
pub(crate) use cuda::{Gpus, is_absence};
#[cfg(not(feature = "cuda"))]
pub(crate) use none::{Gpus, is_absence};

/// Most memory that the CPU takes beside GPUs: a larger dataset than this a GPU has done before a CPU has only taken the
/// memory, which cannot be called off.
const BESIDE_GPUS_BYTES: u64 = 8 << 30;

/// What recomputes samples, or the whole work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EngineChoice {
    /// This host's CPU
    Cpu,
    /// All NVIDIA GPUs of this host with its CPU beside them; an error where there are none
    Cuda,
    /// GPUs where there is an NVIDIA driver, else the CPU; says which it took
    Auto,
}

/// Which engines recompute.
#[derive(Args)]
pub(crate) struct EngineOptions {
    /// What recomputes
    #[arg(long, value_name = "ENGINE", default_value = "cpu")]
    engine: EngineChoice,
}

/// The engines that were taken.
pub(crate) struct Engines(Gpus);

impl EngineOptions {
    /// Finds them, and says which they are unless they are the default.
    pub(crate) fn find(&self) -> anyhow::Result<Engines> {
        let engines = match self.engine {
            EngineChoice::Cpu => return Ok(Engines(Gpus::default())),
            EngineChoice::Cuda => Engines(Gpus::find().context("--engine cuda")?),
            EngineChoice::Auto => match Gpus::find() {
                Ok(gpus) => Engines(gpus),
                // A driver that fails, or shows nothing, is not absent: whoever has GPUs is told that they are not used.
                Err(why) if !is_absence(&why) => {
                    return Err(why.context("the GPUs cannot be used; --engine cpu does without"));
                }
                Err(why) => {
                    cli::tell(format_args!("engine: {} (auto: {why})", Engines(Gpus::default())));
                    return Ok(Engines(Gpus::default()));
                }
            },
        };
        cli::tell(format_args!("engine: {engines}"));
        Ok(engines)
    }
}

impl Engines {
    /// Engines that recompute single tiles beside the CPU.
    pub(crate) fn tiles(&self) -> anyhow::Result<Vec<Box<dyn TileEngine>>> {
        self.0.tiles()
    }

    /// Engines that fill and sweep, the CPU last; an error where the CPU is alone and cannot hold what they are to do.
    pub(crate) fn all(&self, session: &VerifierSession, recompute: &Recompute) -> anyhow::Result<Vec<Box<dyn Engine>>> {
        let mut engines = self.0.engines()?;
        let is_alone = engines.is_empty();
        let cpu = CpuEngine::new(cpu_config(recompute, is_alone))?;
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
}

/// The CPU at the whole work, with the threads that recompute samples.
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
        write!(f, "{}cpu, path {}", self.0, Path::best())
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::fmt;
    use std::thread;

    use anyhow::Context;
    use engine_cuda::{CudaEngine, CudaEngineConfig, CudaTiles, DeviceInfo, NoCuda, devices};
    use protocol::engine::{Engine, EngineError, TileEngine};

    /// The NVIDIA GPUs of this host.
    #[derive(Default)]
    pub(crate) struct Gpus(Vec<DeviceInfo>);

    /// Whether this host has no NVIDIA driver.
    pub(crate) fn is_absence(why: &anyhow::Error) -> bool {
        why.downcast_ref().is_some_and(NoCuda::is_absence)
    }

    impl Gpus {
        pub(super) fn find() -> anyhow::Result<Self> {
            Ok(Gpus(devices()?))
        }

        pub(super) fn tiles(&self) -> anyhow::Result<Vec<Box<dyn TileEngine>>> {
            self.each(|config| Ok(Box::new(CudaTiles::new(config)?) as _))
        }

        /// Each by its name.
        pub(super) fn engines(&self) -> anyhow::Result<Vec<(String, Box<dyn Engine>)>> {
            self.each(|config| {
                let name = format!("GPU {}", config.device_index);
                Ok((name, Box::new(CudaEngine::new(config)?) as _))
            })
        }

        /// Something on each GPU. One that does not start is told and not left out.
        fn each<T: Send>(
            &self,
            open: impl Fn(CudaEngineConfig) -> Result<T, EngineError> + Sync,
        ) -> anyhow::Result<Vec<T>> {
            // A context takes a good part of a second: all at once.
            thread::scope(|scope| {
                let open = &open;
                let open = |info: &DeviceInfo| {
                    let index = info.index;
                    (index, scope.spawn(move || open(CudaEngineConfig::new(index))))
                };
                let opening: Vec<_> = self.0.iter().map(open).collect();
                let ends = opening.into_iter().map(|(index, thread)| match thread.join() {
                    Ok(opened) => opened.with_context(|| format!("GPU {index}")),
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                ends.collect()
            })
        }
    }

    impl fmt::Display for Gpus {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.0.len() {
                0 => Ok(()),
                1 => write!(f, "cuda, 1 GPU, and "),
                count => write!(f, "cuda, {count} GPUs, and "),
            }
        }
    }
}

#[cfg(not(feature = "cuda"))]
mod none {
    use std::fmt;

    use protocol::engine::{Engine, TileEngine};

    /// No GPUs: this build has no code for them.
    #[derive(Default)]
    pub(crate) struct Gpus(());

    /// This build can use no GPU, whatever the host has, and says so.
    pub(crate) fn is_absence(_: &anyhow::Error) -> bool {
        true
    }

    impl Gpus {
        pub(super) fn find() -> anyhow::Result<Self> {
            anyhow::bail!("built without CUDA; build gpu-validator with --features cuda")
        }

        pub(super) fn tiles(&self) -> anyhow::Result<Vec<Box<dyn TileEngine>>> {
            Ok(Vec::new())
        }

        pub(super) fn engines(&self) -> anyhow::Result<Vec<(String, Box<dyn Engine>)>> {
            Ok(Vec::new())
        }
    }

    impl fmt::Display for Gpus {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Ok(())
        }
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
