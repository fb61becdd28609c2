//! The driver library: whether it is available, and the meaning of its status codes.

use std::ffi::CStr;
use std::ptr;
use std::sync::OnceLock;

use protocol::engine::EngineError;

use crate::sys::{self, CUresult};

/// Oldest driver supported by the images and calls of this crate, in CUDA's version numbers: 12.0.
const OLDEST_DRIVER: i32 = 12_000;

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

/// Loads and initialises the driver, once per process.
pub(crate) fn start() -> Result<(), NoCuda> {
    static STARTED: OnceLock<Result<(), NoCuda>> = OnceLock::new();
    STARTED.get_or_init(start_once).clone()
}

fn start_once() -> Result<(), NoCuda> {
    match sys::load(sys::LIBRARY_NAMES)? {
        CUresult::CUDA_SUCCESS => {}
        CUresult::CUDA_ERROR_NO_DEVICE => return Err(NoCuda::NoDevice),
        status => return Err(NoCuda::NotStarted(format!("{}{}", describe(status), remedy(status)))),
    }
    let mut found = 0;
    // SAFETY: `found` is a valid output address.
    check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&raw mut found) })
        .map_err(|error| NoCuda::Failed(error.to_string()))?;
    if found < OLDEST_DRIVER {
        return Err(NoCuda::TooOld { found });
    }
    match sys::missing_call() {
        Some(call) => Err(NoCuda::NotLoaded(format!("it has no {call}"))),
        None => Ok(()),
    }
}

/// Advice for a driver that does not initialise, where known.
fn remedy(status: CUresult) -> &'static str {
    match status {
        CUresult::CUDA_ERROR_SYSTEM_NOT_READY => {
            "; start nvidia-fabricmanager, of the driver's version, and wait until it has set up NVSwitch"
        }
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH => {
            "; the library and the kernel's module are of different drivers: reboot, or give the container the host's library"
        }
        CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => {
            "; take the CUDA compatibility package (cuda-compat) out of LD_LIBRARY_PATH"
        }
        _ => "",
    }
}

/// Latest CUDA version that the running driver supports: 1000 * major + 10 * minor.
pub(crate) fn cuda_version() -> Option<i32> {
    let mut version = 0;
    // SAFETY: called after `start`; `version` is a valid output address.
    let status = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    (status == CUresult::CUDA_SUCCESS).then_some(version)
}

/// A status as a result: distinguishes a lost or faulted device from any other failure.
pub(crate) fn check(call: &'static str, status: CUresult) -> Result<(), EngineError> {
    match status {
        CUresult::CUDA_SUCCESS => Ok(()),
        status if is_lost(status) => Err(EngineError::DeviceLost(format!("{call}: {}", describe(status)))),
        status => Err(EngineError::Driver {
            call: call.to_owned(),
            message: describe(status),
        }),
    }
}

/// Errors after which the device's context is unusable: faults of a kernel, of the memory (ECC), of a link, or of the
/// card (shown in the kernel log as an Xid).
fn is_lost(status: CUresult) -> bool {
    matches!(
        status,
        CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
            | CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
            | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
            | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
            | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUresult::CUDA_ERROR_INVALID_PC
            | CUresult::CUDA_ERROR_LAUNCH_FAILED
            | CUresult::CUDA_ERROR_EXTERNAL_DEVICE
            | CUresult::CUDA_ERROR_UNKNOWN
    )
}

/// The driver's name and description of a status.
fn describe(status: CUresult) -> String {
    let text = |of: unsafe fn(CUresult, *mut *const std::ffi::c_char) -> CUresult| {
        let mut text = ptr::null();
        // SAFETY: both functions passed in write a pointer to a static string, or leave null for an unknown status.
        unsafe {
            of(status, &raw mut text);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    };
    match (text(sys::cuGetErrorName), text(sys::cuGetErrorString)) {
        (Some(name), Some(sentence)) => format!("{name}, {sentence}"),
        _ => format!("status {}", status as u32),
    }
}
