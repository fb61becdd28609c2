//! One address range whose memory is in several places: this device, another one, or the host.

use protocol::engine::EngineError;

use crate::context::Context;
use crate::driver::check;
use crate::sys::{self, CUmemAccess_flags, CUmemAllocationHandleType, CUmemAllocationType, CUmemLocationType};

/// Sizes are whole pages of this size, on devices and, for memory mapped by CUDA, on the host.
const PAGE_BYTES: u64 = 2 << 20;

/// Where a part of the range is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// A device's memory.
    Device(sys::CUdevice),
    /// Page-locked memory of the host, on this NUMA node.
    Host(i32),
}

impl Location {
    fn to_raw(self) -> sys::CUmemLocation {
        let (type_, id) = match self {
            Location::Device(device) => (CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, device),
            Location::Host(node) => (CUmemLocationType::CU_MEM_LOCATION_TYPE_HOST_NUMA, node),
        };
        sys::CUmemLocation { type_, id }
    }
}

/// A reserved range and its mappings; unmapped and released on drop, with the context bound.
pub(crate) struct Mapping {
    address: sys::CUdeviceptr,
    size_bytes: u64,
    /// Offset and size of each mapped part.
    parts: Vec<(u64, u64)>,
}

impl Mapping {
    /// Maps parts one after the other, readable and writable by these devices: the context's, and others that have a
    /// context.
    pub(super) fn new(
        context: &Context,
        devices: &[sys::CUdevice],
        parts: &[(u64, Location)],
    ) -> Result<Self, EngineError> {
        if let Some((size_bytes, _)) = parts.iter().find(|(size, _)| !size.is_multiple_of(PAGE_BYTES)) {
            return Err(EngineError::Unsupported(format!(
                "a part of {size_bytes} bytes, expected a multiple of {PAGE_BYTES}"
            )));
        }
        context.bind()?;
        let size_bytes = parts.iter().map(|(size, _)| size).sum();
        let mut address = 0;
        // SAFETY: the context is current and `address` a valid output address.
        check("cuMemAddressReserve", unsafe {
            sys::cuMemAddressReserve(&raw mut address, size_bytes as usize, 0, 0, 0)
        })?;
        let mut mapping = Mapping {
            address,
            size_bytes,
            parts: Vec::new(),
        };
        let mut offset = 0;
        for &(size_bytes, location) in parts.iter().filter(|(size, _)| *size > 0) {
            mapping.map(devices, offset, size_bytes, location)?;
            offset += size_bytes;
        }
        Ok(mapping)
    }

    pub(crate) fn address(&self) -> sys::CUdeviceptr {
        self.address
    }

    fn map(
        &mut self,
        devices: &[sys::CUdevice],
        offset: u64,
        size_bytes: u64,
        location: Location,
    ) -> Result<(), EngineError> {
        let properties = sys::CUmemAllocationProp {
            type_: CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED,
            requestedHandleTypes: CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_NONE,
            location: location.to_raw(),
            win32HandleMetaData: std::ptr::null_mut(),
            allocFlags: sys::CUmemAllocationProp_st__bindgen_ty_1 {
                compressionType: 0,
                gpuDirectRDMACapable: 0,
                usage: 0,
                reserved: [0; 4],
            },
        };
        let at = self.address + offset;
        let size = size_bytes as usize;
        let mut handle = 0;
        // SAFETY: the properties are complete, `handle` is a valid output address.
        check("cuMemCreate", unsafe {
            sys::cuMemCreate(&raw mut handle, size, &raw const properties, 0)
        })?;
        // SAFETY: the range lies within the reserved one and nothing is mapped there yet.
        let mapped = check("cuMemMap", unsafe { sys::cuMemMap(at, size, 0, handle, 0) });
        // SAFETY: created above; the mapping keeps the memory alive.
        let released = check("cuMemRelease", unsafe { sys::cuMemRelease(handle) });
        mapped?;
        self.parts.push((offset, size_bytes));
        released?;
        let access = |device: &sys::CUdevice| sys::CUmemAccessDesc {
            location: Location::Device(*device).to_raw(),
            flags: CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
        };
        let access: Vec<_> = devices.iter().map(access).collect();
        // SAFETY: the range was just mapped as a whole; the list has that many entries.
        check("cuMemSetAccess", unsafe {
            sys::cuMemSetAccess(at, size, access.as_ptr(), access.len())
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        for &(offset, size_bytes) in &self.parts {
            // SAFETY: mapped once as a whole in `map`; the owner has waited for the device before dropping this.
            let _ = unsafe { sys::cuMemUnmap(self.address + offset, size_bytes as usize) };
        }
        // SAFETY: reserved in `new`, with nothing mapped any more.
        let _ = unsafe { sys::cuMemAddressFree(self.address, self.size_bytes as usize) };
    }
}
