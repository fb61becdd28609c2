//! The host's devices, as reported by the driver and NVML: labels, never evidence (spec §1).

use std::ffi::CStr;

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::{Device, Nvml};
use protocol::engine::EngineError;
use protocol::limits::{MAX_LABELS, MAX_TEXT_BYTES};

use crate::calls;
use crate::device::{device, device_attribute, device_uuid};
use crate::driver::{self, check};
use crate::no_cuda::NoCuda;
use crate::nvml::{self, known};
use crate::sys::{self, CUdevice_attribute as Attribute};

/// Most NVLink links of a device.
const MAX_NVLINK_LINKS: u32 = 18;

/// Information about a device. Fields that only NVML reports are `None` if NVML is missing or does not report them;
/// `without_nvml` then gives the reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceInfo {
    /// The CUDA index of the device in this process: the value for [`crate::CudaEngineConfig`].
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
    /// Maximum memory that the driver can allocate (bytes).
    pub memory_bytes: u64,
    /// Latest CUDA version of the driver, major and minor.
    pub cuda_version: Option<(u32, u32)>,
    /// Why NVML reported nothing, if so.
    pub without_nvml: Option<String>,
    /// Whether the device is a MIG slice.
    pub is_mig_slice: Option<bool>,
    /// Whether the card is in MIG mode.
    pub is_mig_enabled: Option<bool>,
    /// Version of the kernel driver.
    pub driver_version: Option<String>,
    /// Marketing name as reported by NVML: for a slice, that of its card.
    pub nvml_model: Option<String>,
    /// Serial number of the board.
    pub serial: Option<String>,
    /// Memory of the card, including what the driver reserves (bytes); for a slice, that of its card.
    pub card_memory_bytes: Option<u64>,
    /// Current SM clock (MHz).
    pub sm_clock_mhz: Option<u32>,
    /// Highest SM clock (MHz).
    pub max_sm_clock_mhz: Option<u32>,
    /// Current memory clock (MHz).
    pub memory_clock_mhz: Option<u32>,
    /// Current power limit (W).
    pub power_limit_w: Option<f64>,
    /// Temperature of the die (degrees Celsius).
    pub temperature_c: Option<u32>,
    /// Whether ECC is on.
    pub is_ecc_enabled: Option<bool>,
    /// Whether confidential computing is on, in a production environment, and ready.
    pub is_confidential: Option<bool>,
    /// The current reasons for throttled clocks.
    pub throttle_reasons: Option<Vec<String>>,
    /// NVLink, if there is any.
    pub nvlink: Option<Nvlink>,
    /// Processes that compute on the device.
    pub processes: Option<Vec<ProcessUse>>,
}

/// A device's active NVLink links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nvlink {
    /// Links that are up.
    pub active_links: u32,
    /// Links that the device has and that are not up.
    pub down_links: Vec<u32>,
    /// NVLink version of the first of them.
    pub version: Option<u32>,
}

/// A process on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessUse {
    /// Process id in the host's numbering.
    pub pid: u32,
    /// Device memory that it uses, if known (bytes).
    pub memory_bytes: Option<u64>,
}

/// Number of devices that CUDA makes visible to this process (`CUDA_VISIBLE_DEVICES` applied), at least 1; queries none
/// of them.
///
/// # Errors
///
/// [`NoCuda`] says what is missing.
pub fn device_count() -> Result<u32, NoCuda> {
    driver::start()?;
    let mut count = 0;
    // SAFETY: the driver is started, `count` is a valid output address.
    let status = unsafe { sys::cuDeviceGetCount(&raw mut count) };
    if status == sys::CUresult::CUDA_ERROR_NO_DEVICE {
        return Err(NoCuda::NoDevice);
    }
    check("cuDeviceGetCount", status).map_err(|error| NoCuda::Failed(error.to_string()))?;
    match u32::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(NoCuda::NoDevice),
    }
}

/// All devices that CUDA makes visible to this process, in CUDA's order; at least one.
///
/// # Errors
///
/// As for [`device_count`]; [`NoCuda::Device`] names a device that does not respond.
pub fn devices() -> Result<Vec<DeviceInfo>, NoCuda> {
    describe(&(0..device_count()?).collect::<Vec<_>>())
}

/// The devices with these CUDA indices; no other device is queried, so a lost device does not prevent use of the rest.
///
/// # Errors
///
/// As for [`devices`].
pub fn describe(indices: &[u32]) -> Result<Vec<DeviceInfo>, NoCuda> {
    driver::start()?;
    let mut infos = indices
        .iter()
        .map(|index| calls::about(format!("GPU {index}"), || from_driver(*index)))
        .collect::<Result<Vec<_>, _>>()?;
    let answers = nvml::of_each(infos.clone(), with_nvml);
    for (info, answer) in infos.iter_mut().zip(answers) {
        match answer {
            Ok(told) => *info = told,
            Err(why) => info.without_nvml = Some(format!("NVML: {why}")),
        }
    }
    Ok(infos)
}

/// Information from the driver about a device; on error, which device it is.
fn from_driver(index: u32) -> Result<DeviceInfo, NoCuda> {
    let failed = |pci_bus_id, error| NoCuda::Device {
        index,
        pci_bus_id,
        error,
    };
    let device = device(index).map_err(|error| failed(None, error))?;
    // First: later errors identify the device by it.
    let pci_bus_id = pci_bus_id(device).map_err(|error| failed(None, error))?;
    calls::about(format!("GPU {index} at {pci_bus_id}"), || {
        described(index, device, pci_bus_id.clone()).map_err(|error| failed(Some(pci_bus_id), error))
    })
}

fn pci_bus_id(device: sys::CUdevice) -> Result<String, EngineError> {
    let mut bus_id = [0; 64];
    // SAFETY: the address is valid and as long as stated; the text ends in a zero byte.
    unsafe {
        check(
            "cuDeviceGetPCIBusId",
            sys::cuDeviceGetPCIBusId(bus_id.as_mut_ptr(), bus_id.len() as i32, device),
        )?;
        Ok(CStr::from_ptr(bus_id.as_ptr()).to_string_lossy().into_owned())
    }
}

fn described(index: u32, device: sys::CUdevice, pci_bus_id: String) -> Result<DeviceInfo, EngineError> {
    let mut name = [0; 256];
    // SAFETY: the address is valid and as long as stated; the name ends in a zero byte.
    let model = unsafe {
        check(
            "cuDeviceGetName",
            sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32, device),
        )?;
        CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
    };
    let uuid = device_uuid(device)?;
    let mut memory_bytes = 0;
    // SAFETY: `memory_bytes` is a valid output address.
    check("cuDeviceTotalMem", unsafe {
        sys::cuDeviceTotalMem_v2(&raw mut memory_bytes, device)
    })?;
    Ok(DeviceInfo {
        index,
        model,
        uuid,
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

fn with_nvml(mut info: DeviceInfo) -> DeviceInfo {
    match nvml::start() {
        Ok(nvml) => add_from_nvml(&mut info, &nvml),
        Err(why) => info.without_nvml = Some(why),
    }
    info
}

fn add_from_nvml(info: &mut DeviceInfo, nvml: &Nvml) {
    let (slice, uuid) = match nvml::device(nvml, &info.uuid) {
        Ok(found) => found,
        Err(why) => {
            info.without_nvml = Some(why);
            return;
        }
    };
    let is_slice = uuid.starts_with(nvml::SLICE);
    // Most queries about a slice go to its card.
    let parent = nvml::card_of_slice(&slice, &uuid);
    let card = parent.as_ref().unwrap_or(&slice);
    info.is_mig_slice = Some(is_slice);
    // Drivers append the slice's size to the card's name; if one does not, this would be the card's name.
    if is_slice && !info.model.contains("MIG") {
        info.model += " MIG slice";
    }
    info.uuid = uuid;
    info.is_mig_enabled = card.mig_mode().ok().map(|mode| mode.current != 0);
    info.driver_version = nvml.sys_driver_version().ok();
    info.nvml_model = card.name().ok();
    info.serial = card.serial().ok();
    // If the slice's card is not reported, the slice's own memory would be mistaken for the card's.
    if !is_slice || parent.is_some() {
        info.card_memory_bytes = card.memory_info().ok().and_then(|memory| known(memory.total));
    }
    info.sm_clock_mhz = card.clock_info(Clock::SM).ok().and_then(known);
    info.max_sm_clock_mhz = card.max_clock_info(Clock::SM).ok().and_then(known);
    info.memory_clock_mhz = card.clock_info(Clock::Memory).ok().and_then(known);
    info.power_limit_w = card.enforced_power_limit().ok().and_then(known).map(watts);
    info.temperature_c = card.temperature(TemperatureSensor::Gpu).ok().and_then(known);
    info.is_ecc_enabled = card.is_ecc_enabled().ok().map(|ecc| ecc.currently_enabled);
    info.is_confidential = card.check_confidential_compute_status().ok();
    info.throttle_reasons = card.current_throttle_reasons().ok().map(throttle_names);
    info.nvlink = nvlink(card);
    info.processes = slice.running_compute_processes().ok().map(|processes| {
        let used = |memory| match memory {
            UsedGpuMemory::Used(bytes) => known(bytes),
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
    let links = (0..MAX_NVLINK_LINKS).filter_map(|link| Some((link, card.link_wrapper_for(link).is_active().ok()?)));
    let (active, down): (Vec<_>, Vec<_>) = links.partition(|(_, is_active)| *is_active);
    let (first, _) = *active.first()?;
    Some(Nvlink {
        active_links: active.len() as u32,
        down_links: down.iter().map(|(link, _)| *link).collect(),
        version: card.link_wrapper_for(first).version().ok().and_then(known),
    })
}

/// Numbers as text for a label: `none`, or `3 7`.
fn numbers(numbers: &[u32]) -> String {
    if numbers.is_empty() {
        return "none".to_owned();
    }
    let numbers = numbers.iter().map(u32::to_string);
    numbers.collect::<Vec<_>>().join(" ")
}

pub(crate) fn watts(milliwatts: u32) -> f64 {
    f64::from(milliwatts) / 1000.0
}

/// Lower-case names of the active reasons, as named by NVML; being idle is not a reason.
pub(crate) fn throttle_names(reasons: ThrottleReasons) -> Vec<String> {
    (reasons - ThrottleReasons::GPU_IDLE)
        .iter_names()
        .filter(|(name, _)| *name != "NONE")
        .map(|(name, _)| name.to_lowercase())
        .collect()
}

impl DeviceInfo {
    /// The device's memory (bytes): for a card NVML's figure if available, which includes what the driver reserves; for
    /// a slice its own memory and never its card's.
    #[must_use]
    pub fn own_memory_bytes(&self) -> u64 {
        self.card_memory_bytes
            .filter(|_| self.is_mig_slice == Some(false))
            .unwrap_or(self.memory_bytes)
    }

    /// Names and values for HELLO and for tables, only those known; within the protocol's limits for labels.
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
            self.nvlink.as_ref().map(|nvlink| nvlink.active_links.to_string()),
        );
        add(
            "nvlink_down_links",
            self.nvlink.as_ref().map(|nvlink| numbers(&nvlink.down_links)),
        );
        let nvlink_version = self.nvlink.as_ref().and_then(|nvlink| nvlink.version);
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
                active_links: 16,
                down_links: vec![3, 7],
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
        assert_eq!(label("nvlink_active_links"), Some("16"));
        assert_eq!(label("nvlink_down_links"), Some("3 7"));
        assert_eq!(label("serial"), None);
        assert!(labels.len() <= MAX_LABELS);
        assert!(labels.iter().all(|(_, value)| value.len() <= MAX_TEXT_BYTES));
    }

    #[test]
    fn a_slice_has_its_own_memory_and_not_its_cards() {
        let card = DeviceInfo {
            memory_bytes: 79 << 30,
            card_memory_bytes: Some(80 << 30),
            is_mig_slice: Some(false),
            ..DeviceInfo::default()
        };
        assert_eq!(card.own_memory_bytes(), 80 << 30);
        let slice = DeviceInfo {
            memory_bytes: 10 << 30,
            is_mig_slice: Some(true),
            ..card.clone()
        };
        assert_eq!(slice.own_memory_bytes(), 10 << 30);
        let label = |name: &str| slice.labels().into_iter().find(|(label, _)| label == name);
        assert_eq!(
            label("card_memory_bytes").map(|(_, value)| value),
            Some((80_u64 << 30).to_string())
        );
        let untold = DeviceInfo {
            card_memory_bytes: None,
            is_mig_slice: None,
            ..card
        };
        assert_eq!(untold.own_memory_bytes(), 79 << 30);
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
