//! One engine as the commands see it.

use std::error::Error;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use engine_cpu::CpuEngineConfig;
use protocol::bytes::DeviceOrdinal;
use protocol::engine::{Engine, EngineError, TileEngine};

use crate::bench::Report;
use crate::device::Device;

/// One engine: how its devices are found and opened.
pub trait Backend: Sync {
    /// What it is asked for by, and the `engine` of its offers: `cpu` or `cuda`.
    fn name(&self) -> &'static str;

    /// What asking for it gives, in a line of a command's help.
    fn about(&self) -> &'static str;

    /// What one of its devices is, say `NVIDIA GPU`.
    fn device_kind(&self) -> &'static str;

    /// Whether its devices are emulated on this host's CPU: of what is [`Wanted`] it heeds what is of the CPU, else all the rest.
    fn is_emulated(&self) -> bool {
        false
    }

    /// How it works at what is wanted, where that does not depend on the device.
    fn how(&self, _: &Wanted) -> Option<String> {
        None
    }

    /// How many devices [`Backend::devices`] has to choose from, while none of them is touched.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] where there are none.
    fn count(&self, wanted: &Wanted) -> Result<usize, Unavailable>;

    /// The devices that are wanted, opened, each with its offer and what watches it; ordinals ascend.
    ///
    /// # Errors
    ///
    /// [`Unavailable`]: a device that does not start is told and not left out.
    fn devices(&self, wanted: &Wanted) -> Result<Vec<Device>, Unavailable>;

    /// All devices of this host, unopened; each is asked what it is.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] where there are none, or one does not answer.
    fn host_devices(&self) -> Result<Vec<HostDevice>, Unavailable>;

    /// An engine on one of [`Backend::host_devices`], with all that the device has.
    ///
    /// # Errors
    ///
    /// What the device meets.
    fn open_engine(&self, index: u32) -> Result<Box<dyn Engine>, EngineError>;

    /// Measures one device for about so long, and tells each stage.
    ///
    /// # Errors
    ///
    /// What the device meets; that there is nothing to measure it with, for an engine without.
    fn bench(
        &self,
        ordinal: DeviceOrdinal,
        wanted: &Wanted,
        duration: Duration,
        stage: &dyn Fn(&str),
    ) -> Result<Report, Box<dyn Error + Send + Sync>> {
        let _ = (ordinal, wanted, duration, stage);
        Err(format!("the engine {} has no bench", self.name()).into())
    }

    /// What computes single tiles on one of [`Backend::host_devices`] for a Verifier, beside its CPU.
    ///
    /// # Errors
    ///
    /// What the device meets; [`EngineError::Unsupported`] for the CPU: the Verifier has that already.
    fn open_tile_engine(&self, index: u32) -> Result<Box<dyn TileEngine>, EngineError>;
}

/// A device of this host that was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDevice {
    /// What [`Backend::open_engine`] takes.
    pub index: u32,
    /// What people call it, say `GPU 3`.
    pub name: String,
}

/// Which devices of an engine, and what may be taken of each. An engine heeds what it has a use for; a command names the rest to
/// whoever asked for it.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Only devices with these ordinals [default: all]; no other is touched.
    pub only: Option<Vec<DeviceOrdinal>>,
    /// Most memory that each engine may take of its GPU (bytes) [default: all that is free].
    pub memory_limit_bytes: Option<u64>,
    /// Engines on each GPU, each a device of its own: to try what several devices do on fewer [default: 1].
    pub engines_per_gpu: NonZeroU32,
    /// What is emulated on the CPU.
    pub cpu: CpuWanted,
}

/// Devices emulated on this host's CPU.
#[derive(Clone, Copy, Debug)]
pub struct CpuWanted {
    /// How many [default: 1].
    pub devices: NonZeroUsize,
    /// Dataset that each offers (bytes) [default: 256 MiB].
    pub dataset_bytes: u64,
    /// The engine of all of them together: they share its threads.
    pub config: CpuEngineConfig,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted {
            only: None,
            memory_limit_bytes: None,
            engines_per_gpu: NonZeroU32::MIN,
            cpu: CpuWanted::default(),
        }
    }
}

impl Default for CpuWanted {
    fn default() -> Self {
        CpuWanted {
            devices: NonZeroUsize::MIN,
            dataset_bytes: 256 << 20,
            config: CpuEngineConfig::default(),
        }
    }
}

/// Why an engine's devices cannot be used. The text and the sources are those of the engine's own error.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// This host has nothing of the kind, or this build has no code for it: another engine may take its place where nobody has
    /// asked for this one.
    #[error(transparent)]
    Absent(Box<dyn Error + Send + Sync>),
    /// Something is there and fails, or shows no device: no other engine may take its place unasked.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

/// An engine that a command was built without, in its place in the command's table.
#[derive(Clone, Copy, Debug)]
pub struct NotBuilt {
    /// The engine's name.
    pub name: &'static str,
    /// What one of its devices is.
    pub device_kind: &'static str,
    /// What to say to whoever asks for it.
    pub why: &'static str,
}

impl NotBuilt {
    fn absent<T>(&self) -> Result<T, Unavailable> {
        Err(Unavailable::Absent(self.why.into()))
    }
}

impl Backend for NotBuilt {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        "Not in this build"
    }

    fn device_kind(&self) -> &'static str {
        self.device_kind
    }

    fn count(&self, _: &Wanted) -> Result<usize, Unavailable> {
        self.absent()
    }

    fn devices(&self, _: &Wanted) -> Result<Vec<Device>, Unavailable> {
        self.absent()
    }

    fn host_devices(&self) -> Result<Vec<HostDevice>, Unavailable> {
        self.absent()
    }

    fn open_engine(&self, _: u32) -> Result<Box<dyn Engine>, EngineError> {
        Err(EngineError::Unsupported(self.why.to_owned()))
    }

    fn open_tile_engine(&self, _: u32) -> Result<Box<dyn TileEngine>, EngineError> {
        Err(EngineError::Unsupported(self.why.to_owned()))
    }
}
