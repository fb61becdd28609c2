//! What a command asks of an engine.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::time::Duration;

use protocol::bytes::DeviceOrdinal;

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
    /// Most time that one call of a driver may take while devices are found and opened [default: 45 s]. A Verifier waits
    /// 60 s for HELLO: it then learns which call hangs.
    pub driver_deadline: Duration,
    /// The devices that the host's CPU emulates.
    pub emulated: EmulatedWanted,
}

/// Devices emulated on this host's CPU.
#[derive(Clone, Debug)]
pub struct EmulatedWanted {
    /// How many [default: 1].
    pub devices: NonZeroUsize,
    /// Dataset that each offers (bytes) [default: 256 MiB].
    pub dataset_bytes: u64,
    /// The code path, by the engine's name for it [default: the fastest].
    pub path: Option<String>,
    /// Threads of all devices together [default: one per CPU].
    pub threads: Option<NonZeroUsize>,
    /// Bytes of another device's tiles that each reads in a second: an emulated link [default: what memory gives].
    pub link_bytes_per_s: Option<NonZeroU64>,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted {
            only: None,
            memory_limit_bytes: None,
            engines_per_gpu: NonZeroU32::MIN,
            driver_deadline: Duration::from_secs(45),
            emulated: EmulatedWanted::default(),
        }
    }
}

impl Default for EmulatedWanted {
    fn default() -> Self {
        EmulatedWanted {
            devices: NonZeroUsize::MIN,
            dataset_bytes: 256 << 20,
            path: None,
            threads: None,
            link_bytes_per_s: None,
        }
    }
}
