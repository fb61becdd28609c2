//! Signs of a card in bad health, as NVML and the kernel's log report them: labels, never evidence (spec §1).
//!
//! Queried once the contexts exist: an idle card may let its PCIe link sleep at a lower rate. What is not reported has no
//! label.

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id;

use crate::inventory::{DeviceInfo, watts};
use crate::nvml::{self, known};
use crate::xid::{self, Xid};

/// Names and values.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// NVML's fields that are labels as they are, by the label's name.
const FIELDS: [(&str, u32); 11] = [
    ("retired_pages_single_bit", field_id::NVML_FI_DEV_RETIRED_SBE),
    ("retired_pages_double_bit", field_id::NVML_FI_DEV_RETIRED_DBE),
    ("retired_pages_pending", field_id::NVML_FI_DEV_RETIRED_PENDING),
    ("remapped_rows_correctable", field_id::NVML_FI_DEV_REMAPPED_COR),
    ("remapped_rows_uncorrectable", field_id::NVML_FI_DEV_REMAPPED_UNC),
    ("remapped_rows_pending", field_id::NVML_FI_DEV_REMAPPED_PENDING),
    ("remapped_rows_failed", field_id::NVML_FI_DEV_REMAPPED_FAILURE),
    (
        "nvlink_crc_errors",
        field_id::NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL,
    ),
    ("nvlink_replays", field_id::NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL),
    (
        "nvlink_recoveries",
        field_id::NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL,
    ),
    ("recovery_action", field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION),
];

/// The labels of each of these devices.
pub(crate) fn of_each<'a>(infos: impl Iterator<Item = &'a DeviceInfo>) -> Vec<Labels> {
    let xids = xid::logged();
    let (asked, addresses): (Vec<_>, Vec<_>) = infos
        .map(|info| {
            // Where NVML did not answer before, it is not asked again.
            let uuid = info.without_nvml.is_none().then(|| info.uuid.clone());
            (uuid, info.pci_bus_id.as_str())
        })
        .unzip();
    let told = nvml::of_each(asked, |uuid| uuid.map(|uuid| by_nvml(&uuid)).unwrap_or_default());
    let with_xids = |(told, address): (Result<Labels, String>, &str)| {
        let mut labels = told.unwrap_or_default();
        labels.extend(
            xids.as_deref()
                .map(|xids: &[Xid]| ("xid_errors", xid::of(xids, address))),
        );
        labels
    };
    told.into_iter().zip(addresses).map(with_xids).collect()
}

fn by_nvml(uuid: &str) -> Labels {
    let ask = || -> Result<Labels, String> {
        let nvml = nvml::start()?;
        let (device, uuid) = nvml::device(&nvml, uuid)?;
        // A slice has no health of its own.
        let card = nvml::card_of_slice(&device, &uuid);
        Ok(of_card(card.as_ref().unwrap_or(&device)))
    };
    ask().unwrap_or_default()
}

fn of_card(card: &Device<'_>) -> Labels {
    let mut labels = Labels::new();
    let mut add = |name, value: Option<u64>| labels.extend(value.map(|value| (name, value.to_string())));
    add(
        "default_power_limit_w",
        card.power_management_limit_default()
            .ok()
            .and_then(known)
            .map(|limit| watts(limit).round() as u64),
    );
    for (name, counter) in [
        ("ecc_uncorrected_volatile", EccCounter::Volatile),
        ("ecc_uncorrected_aggregate", EccCounter::Aggregate),
    ] {
        let errors = card.total_ecc_errors(MemoryError::Uncorrected, counter);
        add(name, errors.ok().and_then(known));
    }
    for (name, figure) in [
        ("pcie_generation", card.current_pcie_link_gen()),
        ("pcie_max_generation", card.max_pcie_link_gen()),
        ("pcie_width", card.current_pcie_link_width()),
        ("pcie_max_width", card.max_pcie_link_width()),
        ("pcie_replays", card.pcie_replay_counter()),
    ] {
        add(name, figure.ok().and_then(known).map(u64::from));
    }
    let fields = card.field_values_for(&FIELDS.map(|(_, field)| FieldId(field)));
    for ((name, _), sample) in FIELDS.iter().zip(fields.unwrap_or_default()) {
        let figure = sample.and_then(|sample| sample.value).ok().and_then(figure);
        match *name {
            "recovery_action" => labels.extend(figure.map(|action| (*name, recovery_action(action)))),
            name => labels.extend(figure.map(|figure| (name, figure.to_string()))),
        }
    }
    labels
}

fn figure(value: SampleValue) -> Option<u64> {
    match value {
        SampleValue::U32(value) => known(value).map(u64::from),
        SampleValue::U64(value) => known(value),
        SampleValue::I64(value) => value.try_into().ok(),
        SampleValue::F64(_) => None,
    }
}

/// NVML's `nvmlDeviceGpuRecoveryAction_t` as text.
fn recovery_action(action: u64) -> String {
    let names = ["none", "gpu-reset", "node-reboot", "drain-p2p", "drain-and-reset"];
    let name = usize::try_from(action).ok().and_then(|action| names.get(action));
    name.map_or_else(|| action.to_string(), |name| (*name).to_owned())
}
