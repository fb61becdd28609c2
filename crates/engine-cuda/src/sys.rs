//! The driver's calls: resolved at run time in the first library that is a real driver, never in a stub.
//!
//! Types are cudarc's. Its own loader is not used: it tries `libcuda.so` before `libcuda.so.1` and takes the first
//! library that loads, so the link stub of a CUDA toolkit hides the driver, and it panics if a call is missing.

use std::ffi::{c_char, c_int, c_uchar, c_uint, c_void};
use std::sync::OnceLock;

#[cfg(feature = "attack")]
use std::ffi::c_ulonglong;

pub(crate) use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUevent, CUevent_flags, CUfunction, CUfunction_attribute,
    CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue, CUlaunchAttributeValue_union__bindgen_ty_1,
    CUlaunchConfig, CUlimit, CUmodule, CUresult, CUstream, CUstream_flags, CUtensorMap, CUtensorMapDataType,
    CUtensorMapFloatOOBfill, CUtensorMapInterleave, CUtensorMapL2promotion, CUtensorMapSwizzle, CUuuid,
};
#[cfg(feature = "attack")]
pub(crate) use cudarc::driver::sys::{
    CUmem_advise, CUmemAccess_flags, CUmemAccessDesc, CUmemAllocationHandleType, CUmemAllocationProp,
    CUmemAllocationProp_st__bindgen_ty_1, CUmemAllocationType, CUmemAttach_flags, CUmemGenericAllocationHandle,
    CUmemLocation, CUmemLocationType,
};
use libloading::Library;

use crate::calls;
use crate::no_cuda::NoCuda;

/// Names of the driver library, in the order in which they are tried. `libcuda.so.1` is its SONAME, which every program
/// linked against it loads; `libcuda.so` is the name for linking, which the toolkit's stub has too.
pub(crate) const LIBRARY_NAMES: &[&str] = if cfg!(windows) {
    &["nvcuda.dll"]
} else {
    &["libcuda.so.1", "libcuda.so"]
};

static DRIVER: OnceLock<Driver> = OnceLock::new();

/// A library that was initialised, or reported an error.
struct Driver {
    calls: Calls,
    /// The code that `calls` point to.
    _library: Library,
}

/// The result of trying one name.
enum Tried<D> {
    /// There is no such library.
    Absent,
    /// The library exists but cannot be used.
    Broken(String),
    /// The stub that programs are linked against where there is no driver.
    Stub,
    /// A driver, and the result of its initialisation.
    Driver(D),
}

/// Finds the driver and initialises it; returns the driver's status.
///
/// # Errors
///
/// [`NoCuda`] if no library is a driver.
pub(crate) fn load(names: &[&str]) -> Result<CUresult, NoCuda> {
    let (driver, status) = choose(names, open)?;
    // Only `driver::start` calls this, once.
    let _ = DRIVER.set(driver);
    Ok(status)
}

/// The name of a call that the driver lacks, if any.
pub(crate) fn missing_call() -> Option<&'static str> {
    DRIVER.get().and_then(|driver| driver.calls.missing())
}

/// The first driver among the names. A stub does not hide a driver found later, and a library that exists but fails is
/// not absent.
fn choose<D>(names: &[&str], mut open: impl FnMut(&str) -> Tried<D>) -> Result<D, NoCuda> {
    let mut failure = NoCuda::NoLibrary;
    for name in names {
        match open(name) {
            Tried::Driver(driver) => return Ok(driver),
            Tried::Absent => {}
            Tried::Broken(why) => failure = NoCuda::NotLoaded(why),
            Tried::Stub if failure == NoCuda::NoLibrary => failure = NoCuda::StubOnly,
            Tried::Stub => {}
        }
    }
    Err(failure)
}

fn open(name: &str) -> Tried<(Driver, CUresult)> {
    let loading = calls::enter("dlopen");
    // SAFETY: loading NVIDIA's driver library runs its initialisers, which have no preconditions.
    let library = match unsafe { Library::new(name) } {
        Ok(library) => library,
        Err(error) => return not_loaded(name, &full_text(&error)),
    };
    // SAFETY: a library with this symbol has the driver's function of that signature, or the stub's.
    let init = match unsafe { library.get::<unsafe extern "C" fn(c_uint) -> CUresult>("cuInit") } {
        Ok(init) => *init,
        Err(_) => return Tried::Broken(format!("{name} has no cuInit")),
    };
    drop(loading);
    // SAFETY: 0 is the only valid flag.
    match unsafe { init(0) } {
        CUresult::CUDA_ERROR_STUB_LIBRARY => Tried::Stub,
        status => {
            let driver = Driver {
                calls: Calls::of(&library),
                _library: library,
            };
            Tried::Driver((driver, status))
        }
    }
}

/// Only the loader's message distinguishes a library that does not exist from one that lacks a dependency, has the
/// wrong format, or may not be read.
fn not_loaded<D>(name: &str, why: &str) -> Tried<D> {
    let glibc = format!("{name}: cannot open shared object file: No such file");
    let musl = format!("Error loading shared library {name}: No such file");
    let is_absent = why.contains(&glibc)
        || (why.contains(&musl) && !why.contains("needed by"))
        || (cfg!(windows) && why.contains("os error 126"));
    if is_absent {
        Tried::Absent
    } else {
        Tried::Broken(format!("{name}: {why}"))
    }
}

fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

macro_rules! calls {
    ($($(#[$cfg:meta])* fn $name:ident($($argument:ident: $type:ty),*);)*) => {
        /// The calls that this crate makes; those that the library has.
        #[allow(non_snake_case, reason = "the driver's names")]
        struct Calls {
            $($(#[$cfg])* $name: Option<unsafe extern "C" fn($($type),*) -> CUresult>,)*
        }

        impl Calls {
            fn of(library: &Library) -> Self {
                Calls {
                    $($(#[$cfg])*
                    // SAFETY: a library with this symbol has the driver's function of that signature.
                    $name: unsafe { library.get(stringify!($name)) }.ok().map(|symbol| *symbol),)*
                }
            }

            fn missing(&self) -> Option<&'static str> {
                $($(#[$cfg])*
                if self.$name.is_none() {
                    return Some(stringify!($name));
                })*
                None
            }
        }

        $($(#[$cfg])*
        /// The driver's call of that name.
        ///
        /// # Safety
        ///
        /// Those of the call. Without a driver, or if it lacks the call, it does nothing and returns an error.
        #[allow(non_snake_case, clippy::too_many_arguments, reason = "the driver's names and arguments")]
        pub(crate) unsafe fn $name($($argument: $type),*) -> CUresult {
            let _call = calls::enter(stringify!($name));
            match DRIVER.get().and_then(|driver| driver.calls.$name) {
                // SAFETY: the caller's.
                Some(call) => unsafe { call($($argument),*) },
                None => CUresult::CUDA_ERROR_NOT_FOUND,
            }
        })*
    };
}

calls! {
    fn cuCtxEnablePeerAccess(peer_context: CUcontext, flags: c_uint);
    fn cuCtxGetLimit(pvalue: *mut usize, limit: CUlimit);
    fn cuCtxSetCurrent(ctx: CUcontext);
    fn cuCtxSetLimit(limit: CUlimit, value: usize);
    fn cuCtxSynchronize();
    fn cuDeviceCanAccessPeer(can_access_peer: *mut c_int, dev: CUdevice, peer_dev: CUdevice);
    fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int);
    fn cuDeviceGetAttribute(pi: *mut c_int, attrib: CUdevice_attribute, dev: CUdevice);
    fn cuDeviceGetCount(count: *mut c_int);
    fn cuDeviceGetName(name: *mut c_char, len: c_int, dev: CUdevice);
    fn cuDeviceGetPCIBusId(pci_bus_id: *mut c_char, len: c_int, dev: CUdevice);
    fn cuDeviceGetUuid_v2(uuid: *mut CUuuid, dev: CUdevice);
    fn cuDevicePrimaryCtxRelease_v2(dev: CUdevice);
    fn cuDevicePrimaryCtxRetain(pctx: *mut CUcontext, dev: CUdevice);
    fn cuDeviceTotalMem_v2(bytes: *mut usize, dev: CUdevice);
    fn cuDriverGetVersion(driver_version: *mut c_int);
    fn cuEventCreate(ph_event: *mut CUevent, flags: c_uint);
    fn cuEventDestroy_v2(h_event: CUevent);
    fn cuEventQuery(h_event: CUevent);
    fn cuEventRecord(h_event: CUevent, h_stream: CUstream);
    fn cuFuncSetAttribute(hfunc: CUfunction, attrib: CUfunction_attribute, value: c_int);
    fn cuGetErrorName(error: CUresult, p_str: *mut *const c_char);
    fn cuGetErrorString(error: CUresult, p_str: *mut *const c_char);
    fn cuLaunchKernelEx(
        config: *const CUlaunchConfig,
        f: CUfunction,
        kernel_params: *mut *mut c_void,
        extra: *mut *mut c_void
    );
    fn cuMemAlloc_v2(dptr: *mut CUdeviceptr, bytesize: usize);
    fn cuMemFreeHost(p: *mut c_void);
    fn cuMemFree_v2(dptr: CUdeviceptr);
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    fn cuMemHostAlloc(pp: *mut *mut c_void, bytesize: usize, flags: c_uint);
    fn cuMemcpyDtoHAsync_v2(dst_host: *mut c_void, src_device: CUdeviceptr, byte_count: usize, h_stream: CUstream);
    fn cuMemcpyHtoDAsync_v2(dst_device: CUdeviceptr, src_host: *const c_void, byte_count: usize, h_stream: CUstream);
    fn cuMemcpyPeerAsync(
        dst_device: CUdeviceptr,
        dst_context: CUcontext,
        src_device: CUdeviceptr,
        src_context: CUcontext,
        byte_count: usize,
        h_stream: CUstream
    );
    fn cuMemsetD8Async(dst_device: CUdeviceptr, uc: c_uchar, n: usize, h_stream: CUstream);
    fn cuModuleGetFunction(hfunc: *mut CUfunction, hmod: CUmodule, name: *const c_char);
    fn cuModuleLoadData(module: *mut CUmodule, image: *const c_void);
    fn cuModuleUnload(hmod: CUmodule);
    fn cuOccupancyMaxActiveClusters(num_clusters: *mut c_int, func: CUfunction, config: *const CUlaunchConfig);
    fn cuStreamCreate(ph_stream: *mut CUstream, flags: c_uint);
    fn cuStreamDestroy_v2(h_stream: CUstream);
    fn cuStreamWaitEvent(h_stream: CUstream, h_event: CUevent, flags: c_uint);
    fn cuTensorMapEncodeTiled(
        tensor_map: *mut CUtensorMap,
        tensor_data_type: CUtensorMapDataType,
        tensor_rank: u32,
        global_address: *mut c_void,
        global_dim: *const u64,
        global_strides: *const u64,
        box_dim: *const u32,
        element_strides: *const u32,
        interleave: CUtensorMapInterleave,
        swizzle: CUtensorMapSwizzle,
        l2_promotion: CUtensorMapL2promotion,
        oob_fill: CUtensorMapFloatOOBfill
    );
    #[cfg(feature = "attack")]
    fn cuMemAddressFree(ptr: CUdeviceptr, size: usize);
    #[cfg(feature = "attack")]
    fn cuMemAddressReserve(ptr: *mut CUdeviceptr, size: usize, alignment: usize, addr: CUdeviceptr, flags: c_ulonglong);
    #[cfg(feature = "attack")]
    fn cuMemAdvise(dev_ptr: CUdeviceptr, count: usize, advice: CUmem_advise, device: CUdevice);
    #[cfg(feature = "attack")]
    fn cuMemAllocManaged(dptr: *mut CUdeviceptr, bytesize: usize, flags: c_uint);
    #[cfg(feature = "attack")]
    fn cuMemCreate(
        handle: *mut CUmemGenericAllocationHandle,
        size: usize,
        prop: *const CUmemAllocationProp,
        flags: c_ulonglong
    );
    #[cfg(feature = "attack")]
    fn cuMemMap(ptr: CUdeviceptr, size: usize, offset: usize, handle: CUmemGenericAllocationHandle, flags: c_ulonglong);
    #[cfg(feature = "attack")]
    fn cuMemPrefetchAsync(dev_ptr: CUdeviceptr, count: usize, dst_device: CUdevice, h_stream: CUstream);
    #[cfg(feature = "attack")]
    fn cuMemRelease(handle: CUmemGenericAllocationHandle);
    #[cfg(feature = "attack")]
    fn cuMemSetAccess(ptr: CUdeviceptr, size: usize, desc: *const CUmemAccessDesc, count: usize);
    #[cfg(feature = "attack")]
    fn cuMemUnmap(ptr: CUdeviceptr, size: usize);
}

#[cfg(test)]
mod tests {
    use super::*;

    type Opens = fn() -> Tried<u32>;

    fn chosen(found: &[(&str, Opens)]) -> Result<u32, NoCuda> {
        choose(LIBRARY_NAMES, |name| {
            let found = found.iter().find(|(found, _)| *found == name);
            found.map_or(Tried::Absent, |(_, tried)| tried())
        })
    }

    #[test]
    fn a_stub_does_not_hide_the_driver_in_either_order() {
        let driver: Opens = || Tried::Driver(7);
        let stub: Opens = || Tried::Stub;
        assert_eq!(LIBRARY_NAMES[0], "libcuda.so.1", "the SONAME first");
        assert_eq!(chosen(&[("libcuda.so.1", driver), ("libcuda.so", stub)]), Ok(7));
        assert_eq!(chosen(&[("libcuda.so.1", stub), ("libcuda.so", driver)]), Ok(7));
        assert_eq!(chosen(&[("libcuda.so", driver)]), Ok(7));
        assert_eq!(chosen(&[("libcuda.so", stub)]), Err(NoCuda::StubOnly));
        assert_eq!(chosen(&[]), Err(NoCuda::NoLibrary));
    }

    #[test]
    fn a_library_that_is_there_and_does_not_load_is_not_absent() {
        let broken: Opens = || Tried::Broken("too short".to_owned());
        let stub: Opens = || Tried::Stub;
        let failure = Err(NoCuda::NotLoaded("too short".to_owned()));
        assert_eq!(chosen(&[("libcuda.so.1", broken)]), failure);
        assert_eq!(chosen(&[("libcuda.so.1", broken), ("libcuda.so", stub)]), failure);
        assert_eq!(chosen(&[("libcuda.so.1", stub), ("libcuda.so", broken)]), failure);
        // The loader's messages, of glibc and of musl.
        for absent in [
            "libcuda.so.1: cannot open shared object file: No such file or directory",
            "Error loading shared library libcuda.so.1: No such file or directory",
        ] {
            assert!(
                matches!(not_loaded::<u32>("libcuda.so.1", absent), Tried::Absent),
                "{absent}"
            );
        }
        for there in [
            "libnvidia-ptxjitcompiler.so.1: cannot open shared object file: No such file or directory",
            "/usr/lib/libcuda.so.1: file too short",
            "libcuda.so.1: cannot open shared object file: Permission denied",
            "Error loading shared library libnvidia-ptxjitcompiler.so.1: No such file or directory (needed by libcuda.so.1)",
        ] {
            assert!(
                matches!(not_loaded::<u32>("libcuda.so.1", there), Tried::Broken(_)),
                "{there}"
            );
        }
        assert!(matches!(open("libcuda-that-nobody-has.so.1"), Tried::Absent));
    }
}
