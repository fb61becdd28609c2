//! The driver library: whether it is there, and what its status codes mean.

use std::ffi::CStr;
use std::ptr;
use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUresult};
use protocol::engine::EngineError;

/// Oldest driver that the images and calls of this crate are made for, as CUDA counts versions: 12.0.
const OLDEST_DRIVER: i32 = 12_000;

/// Why there is no CUDA here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCuda {
    /// The driver library does not load.
    #[error("no CUDA driver: neither libcuda.so nor libcuda.so.1 loads (the NVIDIA driver brings them)")]
    NoLibrary,
    /// The library is there but does not start.
    #[error("the CUDA driver does not start: {0}")]
    NotStarted(String),
    /// The driver is older than what this program is made for.
    #[error("the CUDA driver supports CUDA {}.{}, expected 12.0 or later", .found / 1000, .found % 1000 / 10)]
    TooOld {
        /// Newest CUDA that it supports: 1000 * major + 10 * minor.
        found: i32,
    },
    /// The driver runs and shows no device.
    #[error("the CUDA driver shows no device (is CUDA_VISIBLE_DEVICES set?)")]
    NoDevice,
    /// A question to the driver failed.
    #[error("{0}")]
    Failed(String),
}

/// Loads and starts the driver, once a process.
pub(crate) fn start() -> Result<(), NoCuda> {
    static STARTED: OnceLock<Result<(), NoCuda>> = OnceLock::new();
    STARTED.get_or_init(start_once).clone()
}

fn start_once() -> Result<(), NoCuda> {
    // SAFETY: loading NVIDIA's driver library runs its initialisers, which ask nothing of the caller.
    if !unsafe { sys::is_culib_present() } {
        return Err(NoCuda::NoLibrary);
    }
    // SAFETY: the library is present, so the call resolves; 0 is the only flag there is.
    match unsafe { sys::cuInit(0) } {
        CUresult::CUDA_SUCCESS => {}
        CUresult::CUDA_ERROR_NO_DEVICE => return Err(NoCuda::NoDevice),
        status => return Err(NoCuda::NotStarted(describe(status))),
    }
    let mut found = 0;
    // SAFETY: `found` is a valid place for the answer.
    check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&raw mut found) })
        .map_err(|error| NoCuda::Failed(error.to_string()))?;
    if found < OLDEST_DRIVER {
        return Err(NoCuda::TooOld { found });
    }
    Ok(())
}

/// Newest CUDA that the running driver supports: 1000 * major + 10 * minor.
pub(crate) fn cuda_version() -> Option<i32> {
    let mut version = 0;
    // SAFETY: called after `start`; `version` is a valid place for the answer.
    let status = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    (status == CUresult::CUDA_SUCCESS).then_some(version)
}

/// A status as a result: a device that is gone or faulted is told from any other failure.
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

/// Errors after which nothing more can be done with the device's context: faults of a kernel, of the memory (ECC), of a
/// link, or of the card (what the kernel log shows as an Xid).
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

/// The driver's name of a status and its sentence about it.
fn describe(status: CUresult) -> String {
    let text = |of: unsafe fn(CUresult, *mut *const std::ffi::c_char) -> CUresult| {
        let mut text = ptr::null();
        // SAFETY: both functions handed in write a pointer to a static string, or leave null for an unknown status.
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
