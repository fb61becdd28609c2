//! One engine as the commands see it.

use std::error::Error;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use engine_cpu::CpuEngineConfig;
use protocol::bytes::DeviceOrdinal;
use protocol::engine::{Engine, EngineError, TileEngine};
use protocol::message::AbortCode;

use crate::bench::Report;
use crate::device::Device;

/// One engine: how its devices are found and opened.
pub trait Backend: Sync {
    /// Its name in `--engine`, and the `engine` of its offers: `cpu` or `cuda`.
    fn name(&self) -> &'static str;

    /// Its description in a command's help.
    fn about(&self) -> &'static str;

    /// The kind of its devices, for example `NVIDIA GPU`.
    fn device_kind(&self) -> &'static str;

    /// Whether its devices are emulated on this host's CPU: it then uses the CPU fields of [`Wanted`], and otherwise
    /// the other fields.
    fn is_emulated(&self) -> bool {
        false
    }

    /// A description of how it works with these settings, where that does not depend on the device.
    fn how(&self, _: &Wanted) -> Option<String> {
        None
    }

    /// The number of devices that [`Backend::devices`] can choose from; touches none of them.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if there are none.
    fn count(&self, wanted: &Wanted) -> Result<usize, Unavailable>;

    /// Opens the requested devices and returns each with its offer and its telemetry; ordinals ascend.
    ///
    /// # Errors
    ///
    /// [`Unavailable`]: a device that does not start is an error and is not skipped.
    fn devices(&self, wanted: &Wanted) -> Result<Vec<Device>, Unavailable>;

    /// All devices of this host, queried but not opened.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if there are none, or one does not respond.
    fn host_devices(&self) -> Result<Vec<HostDevice>, Unavailable>;

    /// An engine on one of [`Backend::host_devices`], with all of the device's resources.
    ///
    /// # Errors
    ///
    /// The device's error.
    fn open_engine(&self, index: u32) -> Result<Box<dyn Engine>, EngineError>;

    /// Measures one device for about this duration, and reports each stage.
    ///
    /// # Errors
    ///
    /// The device's error, or that the engine has no benchmark.
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

    /// Computes single tiles on one of [`Backend::host_devices`] for a Verifier, in addition to its CPU.
    ///
    /// # Errors
    ///
    /// The device's error; [`EngineError::Unsupported`] for the CPU, which the Verifier uses already.
    fn open_tile_engine(&self, index: u32) -> Result<Box<dyn TileEngine>, EngineError>;
}

/// A device of this host that was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDevice {
    /// The argument of [`Backend::open_engine`].
    pub index: u32,
    /// Its name for users, for example `GPU 3`.
    pub name: String,
}

/// The devices requested of an engine, and the resources it may take of each. An engine ignores settings that do not
/// apply to it; the command reports these to the user.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Only devices with these ordinals [default: all]; no other device is touched.
    pub only: Option<Vec<DeviceOrdinal>>,
    /// Most memory that each engine may take of its GPU (bytes) [default: all free memory].
    pub memory_limit_bytes: Option<u64>,
    /// Engines per GPU, each a separate device: to test with more devices than there are GPUs [default: 1].
    pub engines_per_gpu: NonZeroU32,
    /// The devices emulated on the CPU.
    pub cpu: CpuWanted,
}

/// Devices emulated on this host's CPU.
#[derive(Clone, Copy, Debug)]
pub struct CpuWanted {
    /// How many [default: 1].
    pub devices: NonZeroUsize,
    /// Dataset that each offers (bytes) [default: 256 MiB].
    pub dataset_bytes: u64,
    /// The engine shared by all of them: they share its threads.
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
    /// This host has no such device, or this build has no code for it: another engine may be used instead if this one
    /// was not explicitly requested.
    #[error(transparent)]
    Absent(Box<dyn Error + Send + Sync>),
    /// A device exists but fails, or the driver shows none: no other engine may be used instead unless requested.
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

impl Unavailable {
    /// The code under which a Verifier is told.
    #[must_use]
    pub fn abort_code(&self) -> AbortCode {
        let (Unavailable::Absent(why) | Unavailable::Failed(why)) = self;
        #[cfg(feature = "cuda")]
        if let Some(error) = why.downcast_ref::<crate::cuda::CudaError>() {
            return error.abort_code();
        }
        why.downcast_ref::<EngineError>()
            .map_or(AbortCode::Internal, AbortCode::of_engine)
    }
}

/// A placeholder for an engine that a command was built without, in its place in the command's table.
#[derive(Clone, Copy, Debug)]
pub struct NotBuilt {
    /// The engine's name.
    pub name: &'static str,
    /// What one of its devices is.
    pub device_kind: &'static str,
    /// The message to a user who requests it.
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
