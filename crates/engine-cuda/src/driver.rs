//! The driver library: whether it is available, and the meaning of its status codes.

use std::ffi::CStr;
use std::ptr;
use std::sync::OnceLock;

use protocol::engine::EngineError;

use crate::calls;
use crate::no_cuda::NoCuda;
use crate::sys::{self, CUresult};

/// Oldest driver supported by the images and calls of this crate, in CUDA's version numbers: 12.0.
const OLDEST_DRIVER: i32 = 12_000;

/// Loads and initialises the driver, once per process.
pub(crate) fn start() -> Result<(), NoCuda> {
    static STARTED: OnceLock<Result<(), NoCuda>> = OnceLock::new();
    // Also for a thread that waits here for another one that starts the driver.
    let _call = calls::enter("cuInit");
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
