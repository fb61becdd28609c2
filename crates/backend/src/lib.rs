//! What an engine is to the commands: a [`Backend`], which finds its devices, offers, opens and measures them.
//!
//! Every engine's crate implements it, and `engines` has the table of them. Nothing here knows an engine.

mod device;
mod not_built;
mod report;
mod unavailable;
mod wanted;

use std::error::Error;
use std::time::Duration;

use protocol::bytes::DeviceOrdinal;
use protocol::engine::{Engine, EngineError, TileEngine};

pub use device::{Device, HostDevice, Telemetry, panic_message};
pub use not_built::NotBuilt;
pub use report::{Ceiling, Load, Memory, Report, Row};
pub use unavailable::Unavailable;
pub use wanted::{EmulatedWanted, Wanted};

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
