//! Why there is no CUDA here, for whoever asks for a device.

use std::time::Duration;

use protocol::engine::EngineError;

/// Why CUDA is not available.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCuda {
    /// There is no driver library: the only case in which this host counts as one without an NVIDIA GPU.
    #[error("no CUDA driver: neither libcuda.so.1 nor libcuda.so is here (the NVIDIA driver brings them)")]
    NoLibrary,
    /// The driver library exists but cannot be loaded.
    #[error("the CUDA driver library does not load: {0}; reinstall the NVIDIA driver, or give the container all of it")]
    NotLoaded(String),
    /// Only the toolkit's stub for linking exists, and no driver.
    #[error(
        "the CUDA toolkit's link stub is here, and no driver; take its folder of stubs out of LD_LIBRARY_PATH, and install \
         the NVIDIA driver, or give the container the host's"
    )]
    StubOnly,
    /// The library can be loaded but does not initialise.
    #[error("the CUDA driver does not start: {0}")]
    NotStarted(String),
    /// The driver is older than this program supports.
    #[error("the CUDA driver supports CUDA {}.{}, expected 12.0 or later", .found / 1000, .found % 1000 / 10)]
    TooOld {
        /// Latest CUDA version that it supports: 1000 * major + 10 * minor.
        found: i32,
    },
    /// The driver works and shows no device.
    #[error(
        "the CUDA driver is here and shows no device; look at CUDA_VISIBLE_DEVICES ({}), at MIG mode without instances \
         (nvidia-smi -L), and in a container for the device nodes /dev/nvidia*",
        visible_devices()
    )]
    NoDevice,
    /// A device exists and does not respond.
    #[error("GPU {index}{}: {error}; leave it out with --devices (gpu-attestor) or CUDA_VISIBLE_DEVICES", at(pci_bus_id.as_deref()))]
    Device {
        /// Its CUDA index in this process.
        index: u32,
        /// Its PCI address, if the driver reports it.
        pci_bus_id: Option<String>,
        /// The error.
        error: EngineError,
    },
    /// A call of the driver does not return.
    #[error("{call}{} has not returned within {} s: the driver hangs; {}--driver-deadline (gpu-attestor) lets a slow one \
        take longer", on(device.as_deref()), limit.as_secs_f64(), without(device.as_deref()))]
    Hangs {
        /// The call.
        call: &'static str,
        /// The device that it is about; `None` if it is about all.
        device: Option<String>,
        /// Its limit.
        limit: Duration,
    },
    /// A query of the driver failed.
    #[error("{0}")]
    Failed(String),
}

impl NoCuda {
    /// Whether this host has no NVIDIA driver at all. Only then may something else replace a GPU without an explicit
    /// request: a driver that shows no device may hide GPUs, and work on a CPU would be mistaken for theirs
    /// (`gpu-attestor: a_driver_that_shows_nothing_is_no_cpu`).
    #[must_use]
    pub fn is_absence(&self) -> bool {
        *self == NoCuda::NoLibrary
    }
}

fn visible_devices() -> String {
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(value) => format!("it is {value:?}"),
        Err(_) => "it is not set".to_owned(),
    }
}

fn at(pci_bus_id: Option<&str>) -> String {
    pci_bus_id.map(|address| format!(" at {address}")).unwrap_or_default()
}

fn on(device: Option<&str>) -> String {
    device.map(|device| format!(" on {device}")).unwrap_or_default()
}

/// What to do about a driver that hangs.
fn without(device: Option<&str>) -> &'static str {
    match device {
        Some(_) => {
            "look for NVRM and Xid in the kernel's log (dmesg), reset this GPU, or leave it out with --devices \
             (gpu-attestor) or CUDA_VISIBLE_DEVICES; "
        }
        None => {
            "see whether nvidia-smi answers, look for NVRM and Xid in the kernel's log (dmesg), and reset the GPUs or \
             reboot; "
        }
    }
}
