//! Engines that cannot be used.

use std::error::Error;
use std::fmt;

use protocol::engine::{Engine, EngineError, TileEngine};
use protocol::message::AbortCode;

use crate::{Backend, Device, HostDevice, Wanted};

/// Why an engine's devices cannot be used. The text and the sources are those of the engine's own error.
#[derive(Debug)]
pub enum Unavailable {
    /// This host has no such device, or this build has no code for it: another engine may be used instead if this one
    /// was not explicitly requested.
    Absent(Box<dyn Error + Send + Sync>),
    /// A device exists but fails, or the driver shows none: no other engine may be used instead unless requested.
    Failed {
        /// The engine's error.
        why: Box<dyn Error + Send + Sync>,
        /// The code that a Verifier gets.
        code: AbortCode,
    },
}

impl Unavailable {
    /// The code that a Verifier gets.
    #[must_use]
    pub fn abort_code(&self) -> AbortCode {
        match self {
            Unavailable::Absent(_) => AbortCode::Internal,
            Unavailable::Failed { code, .. } => *code,
        }
    }

    fn why(&self) -> &(dyn Error + Send + Sync) {
        let (Unavailable::Absent(why) | Unavailable::Failed { why, .. }) = self;
        &**why
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.why(), f)
    }
}

impl Error for Unavailable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.why().source()
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
