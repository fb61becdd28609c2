//! The host's devices, as the driver and NVML describe them: labels, never evidence (spec §1).

use std::ffi::CStr;

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::{Device, Nvml};
use protocol::engine::EngineError;
use protocol::limits::{MAX_LABELS, MAX_TEXT_BYTES};

use crate::context::{device, device_attribute};
use crate::driver::{self, NoCuda, check};

/// Most NVLink links of a device.
const MAX_NVLINK_LINKS: u32 = 18;

/// What is known of a device. What NVML alone tells is `None` where NVML is missing or does not tell it; `without_nvml` then
/// says why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceInfo {
    /// As CUDA counts devices in this process: what [`crate::CudaEngineConfig`] takes.
    pub index: u32,
    /// Marketing name.
    pub model: String,
    /// `GPU-` or `MIG-` and the driver's UUID.
    pub uuid: String,
    /// PCI domain, bus, device and function.
    pub pci_bus_id: String,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Number of multiprocessors.
    pub multiprocessors: u32,
    /// Memory that the driver can give out at most (bytes).
    pub memory_bytes: u64,
    /// Newest CUDA of the driver, major and minor.
    pub cuda_version: Option<(u32, u32)>,
    /// Why NVML told nothing, where it did not.
    pub without_nvml: Option<String>,
    /// Whether the device is a slice of another.
    pub is_mig_slice: Option<bool>,
    /// Whether the card is in MIG mode.
    pub is_mig_enabled: Option<bool>,
    /// Version of the kernel driver.
    pub driver_version: Option<String>,
    /// Marketing name as NVML gives it: of a slice, that of its card.
    pub nvml_model: Option<String>,
    /// Serial number of the board.
    pub serial: Option<String>,
    /// Memory of the card, what the driver keeps for itself included (bytes).
    pub card_memory_bytes: Option<u64>,
    /// SM clock now (MHz).
    pub sm_clock_mhz: Option<u32>,
    /// Highest SM clock (MHz).
    pub max_sm_clock_mhz: Option<u32>,
    /// Memory clock now (MHz).
    pub memory_clock_mhz: Option<u32>,
    /// Power limit in force (W).
    pub power_limit_w: Option<f64>,
    /// Temperature of the die (degrees Celsius).
    pub temperature_c: Option<u32>,
    /// Whether ECC is on.
    pub is_ecc_enabled: Option<bool>,
    /// Whether confidential computing is on, in a production environment, and ready.
    pub is_confidential: Option<bool>,
    /// What holds the clocks down now.
    pub throttle_reasons: Option<Vec<String>>,
    /// NVLink, where there is any.
    pub nvlink: Option<Nvlink>,
    /// Processes that compute on the device.
    pub processes: Option<Vec<ProcessUse>>,
}

/// A device's active NVLink links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nvlink {
    /// Links that are up.
    pub active_links: u32,
    /// NVLink version of the first of them.
    pub version: Option<u32>,
}

/// A process on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessUse {
    /// Process id, as the host counts.
    pub pid: u32,
    /// Device memory that it uses, where it is known (bytes).
    pub memory_bytes: Option<u64>,
}

/// All devices that CUDA shows this process (`CUDA_VISIBLE_DEVICES` applied), in CUDA's order; at least one.
///
/// # Errors
///
/// [`NoCuda`] says what is missing.
pub fn devices() -> Result<Vec<DeviceInfo>, NoCuda> {
    driver::start()?;
    let mut count = 0;
    // SAFETY: the driver is started, `count` a valid place for the answer.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&raw mut count) }).map_err(failed)?;
    if count <= 0 {
        return Err(NoCuda::NoDevice);
    }
    let nvml = Nvml::init().map_err(|error| format!("NVML: {error}"));
    (0..count as u32)
        .map(|index| {
            let mut info = from_driver(index).map_err(failed)?;
            match &nvml {
                Ok(nvml) => add_from_nvml(&mut info, nvml),
                Err(why) => info.without_nvml = Some(why.clone()),
            }
            Ok(info)
        })
        .collect()
}

/// Free memory of a device where there is no context to ask in.
pub(crate) fn free_bytes_by_nvml(index: u32) -> Option<u64> {
    let nvml = Nvml::init().ok()?;
    let (device, _) = nvml_device(&nvml, &from_driver(index).ok()?.uuid).ok()?;
    device.memory_info().ok().map(|memory| memory.free)
}

fn failed(error: EngineError) -> NoCuda {
    NoCuda::Failed(error.to_string())
}

fn from_driver(index: u32) -> Result<DeviceInfo, EngineError> {
    let device = device(index)?;
    let mut name = [0; 256];
    let mut bus_id = [0; 64];
    let mut uuid = sys::CUuuid { bytes: [0; 16] };
    let mut memory_bytes = 0;
    // SAFETY: the places are valid and as long as said; both texts end in a zero byte.
    let (model, pci_bus_id) = unsafe {
        check(
            "cuDeviceGetName",
            sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32, device),
        )?;
        check(
            "cuDeviceGetPCIBusId",
            sys::cuDeviceGetPCIBusId(bus_id.as_mut_ptr(), bus_id.len() as i32, device),
        )?;
        check("cuDeviceGetUuid", sys::cuDeviceGetUuid_v2(&raw mut uuid, device))?;
        check(
            "cuDeviceTotalMem",
            sys::cuDeviceTotalMem_v2(&raw mut memory_bytes, device),
        )?;
        let text = |start| CStr::from_ptr(start).to_string_lossy().into_owned();
        (text(name.as_ptr()), text(bus_id.as_ptr()))
    };
    Ok(DeviceInfo {
        index,
        model,
        uuid: format!("GPU-{}", uuid_text(&uuid.bytes.map(|byte| byte as u8))),
        pci_bus_id,
        compute_capability: (
            device_attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            device_attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: device_attribute(device, Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory_bytes: memory_bytes as u64,
        cuda_version: driver::cuda_version().map(|version| ((version / 1000) as u32, (version % 1000 / 10) as u32)),
        ..DeviceInfo::default()
    })
}

/// 8-4-4-4-12 hexadecimal digits.
fn uuid_text(bytes: &[u8; 16]) -> String {
    let digits = protocol::bytes::hex(bytes);
    [0..8, 8..12, 12..16, 16..20, 20..32]
        .map(|range| &digits[range])
        .join("-")
}

/// NVML's handle of a device; a slice has its UUID under another prefix.
pub(crate) fn nvml_device<'a>(nvml: &'a Nvml, uuid: &str) -> Result<(Device<'a>, String), String> {
    let slice = uuid.replacen("GPU-", "MIG-", 1);
    match nvml.device_by_uuid(uuid) {
        Ok(device) => Ok((device, uuid.to_owned())),
        Err(error) => nvml
            .device_by_uuid(slice.as_str())
            .map(|device| (device, slice))
            .map_err(|_| format!("NVML: no device {uuid}: {error}")),
    }
}

fn add_from_nvml(info: &mut DeviceInfo, nvml: &Nvml) {
    let (slice, uuid) = match nvml_device(nvml, &info.uuid) {
        Ok(found) => found,
        Err(why) => {
            info.without_nvml = Some(why);
            return;
        }
    };
    let is_slice = uuid.starts_with("MIG-");
    // Of a slice most questions go to the card.
    let parent = if is_slice { slice.mig_parent_device().ok() } else { None };
    let card = parent.as_ref().unwrap_or(&slice);
    info.is_mig_slice = Some(is_slice);
    info.uuid = uuid;
    info.is_mig_enabled = card.mig_mode().ok().map(|mode| mode.current != 0);
    info.driver_version = nvml.sys_driver_version().ok();
    info.nvml_model = card.name().ok();
    info.serial = card.serial().ok();
    info.card_memory_bytes = card.memory_info().ok().map(|memory| memory.total);
    info.sm_clock_mhz = card.clock_info(Clock::SM).ok();
    info.max_sm_clock_mhz = card.max_clock_info(Clock::SM).ok();
    info.memory_clock_mhz = card.clock_info(Clock::Memory).ok();
    info.power_limit_w = card.enforced_power_limit().ok().map(watts);
    info.temperature_c = card.temperature(TemperatureSensor::Gpu).ok();
    info.is_ecc_enabled = card.is_ecc_enabled().ok().map(|ecc| ecc.currently_enabled);
    info.is_confidential = card.check_confidential_compute_status().ok();
    info.throttle_reasons = card.current_throttle_reasons().ok().map(throttle_names);
    info.nvlink = nvlink(card);
    info.processes = slice.running_compute_processes().ok().map(|processes| {
        let used = |memory| match memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        };
        processes
            .into_iter()
            .map(|process| ProcessUse {
                pid: process.pid,
                memory_bytes: used(process.used_gpu_memory),
            })
            .collect()
    });
}

fn nvlink(card: &Device<'_>) -> Option<Nvlink> {
    let active: Vec<u32> = (0..MAX_NVLINK_LINKS)
        .filter(|link| card.link_wrapper_for(*link).is_active().unwrap_or(false))
        .collect();
    let first = *active.first()?;
    Some(Nvlink {
        active_links: active.len() as u32,
        version: card.link_wrapper_for(first).version().ok(),
    })
}

pub(crate) fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1000.0
}

/// Lower-case names of the reasons set, as NVML names them; idling is none.
pub(crate) fn throttle_names(reasons: ThrottleReasons) -> Vec<String> {
    (reasons - ThrottleReasons::GPU_IDLE)
        .iter_names()
        .filter(|(name, _)| *name != "NONE")
        .map(|(name, _)| name.to_lowercase())
        .collect()
}

impl DeviceInfo {
    /// Names and values for HELLO and for tables, only of what is known; within the protocol's limits for labels.
    #[must_use]
    pub fn labels(&self) -> Vec<(String, String)> {
        let mut labels = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(mut value) = value
                && labels.len() < MAX_LABELS
            {
                value.truncate(value.floor_char_boundary(MAX_TEXT_BYTES));
                labels.push((name.to_owned(), value));
            }
        };
        let version = |(major, minor): (u32, u32)| format!("{major}.{minor}");
        let flag = |flag: Option<bool>| flag.map(|on| on.to_string());
        add("model", Some(self.model.clone()));
        add("uuid", Some(self.uuid.clone()));
        add("pci_bus_id", Some(self.pci_bus_id.clone()));
        add("compute_capability", Some(version(self.compute_capability)));
        add("multiprocessors", Some(self.multiprocessors.to_string()));
        add("memory_bytes", Some(self.memory_bytes.to_string()));
        add("cuda_version", self.cuda_version.map(version));
        add("without_nvml", self.without_nvml.clone());
        add("driver_version", self.driver_version.clone());
        add("nvml_model", self.nvml_model.clone());
        add("serial", self.serial.clone());
        add(
            "card_memory_bytes",
            self.card_memory_bytes.map(|bytes| bytes.to_string()),
        );
        add("sm_clock_mhz", self.sm_clock_mhz.map(|clock| clock.to_string()));
        add("max_sm_clock_mhz", self.max_sm_clock_mhz.map(|clock| clock.to_string()));
        add("memory_clock_mhz", self.memory_clock_mhz.map(|clock| clock.to_string()));
        add("power_limit_w", self.power_limit_w.map(|limit| format!("{limit:.0}")));
        add(
            "temperature_c",
            self.temperature_c.map(|temperature| temperature.to_string()),
        );
        add("ecc", flag(self.is_ecc_enabled));
        add("mig_slice", flag(self.is_mig_slice));
        add("mig_enabled", flag(self.is_mig_enabled));
        add("confidential_computing", flag(self.is_confidential));
        add(
            "throttle_reasons",
            self.throttle_reasons.as_ref().map(|reasons| reasons.join(" ")),
        );
        add(
            "nvlink_active_links",
            self.nvlink.map(|nvlink| nvlink.active_links.to_string()),
        );
        let nvlink_version = self.nvlink.and_then(|nvlink| nvlink.version);
        add("nvlink_version", nvlink_version.map(|version| version.to_string()));
        add(
            "processes",
            self.processes.as_ref().map(|processes| processes.len().to_string()),
        );
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_what_is_known_within_the_limits() {
        let info = DeviceInfo {
            model: "é".repeat(MAX_TEXT_BYTES),
            power_limit_w: Some(700.0),
            nvlink: Some(Nvlink {
                active_links: 18,
                version: Some(4),
            }),
            ..DeviceInfo::default()
        };
        let labels = info.labels();
        let label = |name: &str| {
            labels
                .iter()
                .find(|(label, _)| label == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(label("power_limit_w"), Some("700"));
        assert_eq!(label("nvlink_active_links"), Some("18"));
        assert_eq!(label("serial"), None);
        assert!(labels.len() <= MAX_LABELS);
        assert!(labels.iter().all(|(_, value)| value.len() <= MAX_TEXT_BYTES));
    }

    #[test]
    fn uuids_are_written_as_nvml_writes_them() {
        let bytes = std::array::from_fn(|i| i as u8);
        assert_eq!(uuid_text(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }

    #[test]
    fn throttle_reasons_have_names() {
        let reasons = ThrottleReasons::GPU_IDLE | ThrottleReasons::SW_POWER_CAP | ThrottleReasons::HW_SLOWDOWN;
        assert_eq!(throttle_names(reasons), ["sw_power_cap", "hw_slowdown"]);
        assert!(throttle_names(ThrottleReasons::empty()).is_empty());
    }

    #[test]
    fn without_cuda_there_is_a_reason() {
        match devices() {
            Ok(devices) => assert!(!devices.is_empty()),
            Err(error) => assert!(error.to_string().contains("CUDA"), "{error}"),
        }
    }
}
