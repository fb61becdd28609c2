//! An engine that a command was built without.

use protocol::engine::{Engine, EngineError, TileEngine};

use crate::{Backend, Device, HostDevice, Unavailable, Wanted};

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
