//! Devices by their index, and what the driver answers about one without a context.

use protocol::engine::EngineError;

use crate::driver::check;
use crate::sys::{self, CUdevice_attribute as Attribute};

/// The device with CUDA index `index` (`CUDA_VISIBLE_DEVICES` applied).
pub(crate) fn device(index: u32) -> Result<sys::CUdevice, EngineError> {
    let mut device = 0;
    let index = i32::try_from(index).map_err(|_| EngineError::Unsupported(format!("device index {index}")))?;
    // SAFETY: `device` is a valid output address; an index that does not exist results in an error status.
    check("cuDeviceGet", unsafe { sys::cuDeviceGet(&raw mut device, index) })?;
    Ok(device)
}

/// An attribute of a device.
pub(crate) fn device_attribute(device: sys::CUdevice, attribute: Attribute) -> Result<u32, EngineError> {
    let mut value = 0;
    // SAFETY: `device` is one of the driver's, `value` a valid output address.
    check("cuDeviceGetAttribute", unsafe {
        sys::cuDeviceGetAttribute(&raw mut value, attribute, device)
    })?;
    Ok(value.try_into().unwrap_or(0))
}

/// `GPU-` and the UUID that the driver reports of a device; NVML has `MIG-` in its place for a slice.
pub(crate) fn device_uuid(device: sys::CUdevice) -> Result<String, EngineError> {
    let mut uuid = sys::CUuuid { bytes: [0; 16] };
    // SAFETY: `uuid` is a valid output address.
    check("cuDeviceGetUuid", unsafe {
        sys::cuDeviceGetUuid_v2(&raw mut uuid, device)
    })?;
    Ok(format!("GPU-{}", uuid_text(&uuid.bytes.map(|byte| byte as u8))))
}

/// 8-4-4-4-12 hexadecimal digits.
fn uuid_text(bytes: &[u8; 16]) -> String {
    let digits = protocol::bytes::hex(bytes);
    [0..8, 8..12, 12..16, 16..20, 20..32]
        .map(|range| &digits[range])
        .join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_written_as_nvml_writes_them() {
        let bytes = std::array::from_fn(|i| i as u8);
        assert_eq!(uuid_text(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
