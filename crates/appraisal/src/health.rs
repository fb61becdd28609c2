//! Findings of a GPU's health, from labels: they explain figures and warn of hardware that will fail.
//!
//! The host writes these labels, so no bound and no class depends on them. A host that says nothing raises nothing, as most
//! hosts report only some of them. The labels are those of the CUDA engine: `ecc`, `ecc_uncorrected_volatile`,
//! `remapped_rows_pending`, `remapped_rows_failed`, `retired_pages_*`, `recovery_action`, `xid_errors`, `pcie_*`,
//! `nvlink_*` and `processes`.

use std::collections::BTreeMap;

use protocol::message::{DeviceOffer, Hello};
use report::telemetry::label;

use crate::finding::FindingKind;
use crate::findings::Findings;

/// Retired pages of a card that is to be replaced: `DCGM_LIMIT_MAX_RETIRED_PAGES` of NVIDIA's DCGM.
const MAX_RETIRED_PAGES: u64 = 63;

/// Xid numbers that an application causes, after which the GPU is healthy: those that NVIDIA's k8s-device-plugin ignores
/// (`internal/rm/health.go`).
const XIDS_OF_APPLICATIONS: [u64; 6] = [13, 31, 43, 45, 68, 109];

/// Fewest replays or recoveries of a link that count: `DCGM_LIMIT_MAX_NVLINK_ERROR` of NVIDIA's DCGM. CRC errors matter
/// there only from 100 a second on, and a label has no rate.
const MIN_NVLINK_ERRORS: u64 = 1;

impl Findings<'_> {
    /// What a device reports about its health.
    pub(crate) fn check_health(&mut self, offer: &DeviceOffer) {
        let mut add = |kind, details: Vec<String>| {
            if !details.is_empty() {
                self.add(kind, Some(offer.ordinal.0), details.join("; "));
            }
        };
        let number = |name: &str| label(&offer.labels, name)?.parse::<u64>().ok();
        let counted = |name: &str, what: &str, least: u64| {
            let count = number(name).filter(|count| *count >= least);
            count.map(|count| format!("{what}: {count}"))
        };
        let is_set = |name: &str, what: &str| counted(name, "", 1).map(|_| what.to_owned());
        add(
            FindingKind::MemoryErrors,
            Vec::from_iter(counted(
                "ecc_uncorrected_volatile",
                "uncorrected errors since the driver was loaded",
                1,
            )),
        );
        let retired = ["retired_pages_single_bit", "retired_pages_double_bit"];
        let retired = retired.into_iter().filter_map(number).fold(0, u64::saturating_add);
        let repairs = [
            is_set("remapped_rows_failed", "a row of memory could not be remapped"),
            is_set("remapped_rows_pending", "a row of memory waits to be remapped"),
            is_set("retired_pages_pending", "a page of memory waits to be retired"),
            (retired >= MAX_RETIRED_PAGES).then(|| format!("{retired} pages of memory are retired")),
        ];
        add(FindingKind::MemoryRepair, repairs.into_iter().flatten().collect());
        let is_unprotected = label(&offer.labels, "ecc") == Some("false");
        let without_ecc = is_unprotected.then(|| "error correction is off".to_owned());
        add(FindingKind::EccOff, Vec::from_iter(without_ecc));
        let action = label(&offer.labels, "recovery_action").filter(|action| !matches!(*action, "" | "none"));
        let action = action.map(|action| format!("the driver asks for {action}"));
        add(FindingKind::RecoveryNeeded, Vec::from_iter(action));
        let xids = label(&offer.labels, "xid_errors").and_then(hardware_xids);
        add(FindingKind::XidErrors, Vec::from_iter(xids));
        let below = |what: &str, now: &str, most: &str| {
            let (now, most) = (number(now)?, number(most)?);
            (0 < now && now < most).then(|| format!("{what} {now}, {most} possible"))
        };
        let pcie = [
            below("width", "pcie_width", "pcie_max_width"),
            below("generation", "pcie_generation", "pcie_max_generation"),
        ];
        add(FindingKind::PcieDegraded, pcie.into_iter().flatten().collect());
        let errors = [
            counted("nvlink_replays", "replays", MIN_NVLINK_ERRORS),
            counted("nvlink_recoveries", "recoveries", MIN_NVLINK_ERRORS),
        ];
        add(FindingKind::NvlinkDegraded, errors.into_iter().flatten().collect());
        let others = counted("processes", "processes on it before the session", 1);
        add(FindingKind::OtherProcesses, Vec::from_iter(others));
    }

    /// Devices with fewer active NVLink links than others of the same model in the session. How many a card has depends on
    /// its board and bridges, so one device alone says nothing.
    pub(crate) fn check_links(&mut self, hello: &Hello) {
        let links = |offer: &DeviceOffer| label(&offer.labels, "nvlink_active_links")?.parse::<u64>().ok();
        let mut most: BTreeMap<&str, u64> = BTreeMap::new();
        for offer in &hello.devices {
            let most = most.entry(&offer.model).or_default();
            *most = (*most).max(links(offer).unwrap_or(0));
        }
        for offer in &hello.devices {
            let most = most.get(offer.model.as_str()).copied().unwrap_or(0);
            if let Some(links) = links(offer).filter(|links| *links < most) {
                let detail = format!("{links} links are up, {most} on another device of its model");
                self.add(FindingKind::NvlinkDegraded, Some(offer.ordinal.0), detail);
            }
        }
    }
}

/// The errors of a label `79:1 31:4` that no application causes, in words; `None` if there are none.
fn hardware_xids(label: &str) -> Option<String> {
    let xid = |entry: &str| {
        let (number, count) = entry.split_once(':')?;
        let (number, count) = (number.parse().ok()?, count.parse::<u64>().ok()?);
        let is_told = count > 0 && !XIDS_OF_APPLICATIONS.contains(&number);
        is_told.then(|| format!("Xid {number} ({count})"))
    };
    let xids: Vec<_> = label.split_whitespace().filter_map(xid).collect();
    (!xids.is_empty()).then(|| xids.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Effect, Finding};
    use crate::policy::Policy;
    use protocol::bytes::{DeviceOrdinal, Identity};
    use protocol::cbor::Label;

    fn offer(ordinal: u32, labels: &[(&str, &str)]) -> DeviceOffer {
        DeviceOffer {
            ordinal: DeviceOrdinal(ordinal),
            engine: "cuda".to_owned(),
            model: "NVIDIA H200".to_owned(),
            memory_bytes: 1 << 37,
            available_bytes: 1 << 36,
            reserve_bytes: 0,
            operand_copies: 1,
            operand_rows: 0,
            labels: labels.iter().map(|(name, value)| Label::new(name, value)).collect(),
        }
    }

    fn found(labels: &[(&str, &str)]) -> Vec<Finding> {
        let policy = Policy::default();
        let mut findings = Findings::new(&policy);
        findings.check_health(&offer(0, labels));
        findings.list
    }

    #[test]
    fn what_is_healthy_or_not_told_raises_nothing() {
        assert_eq!(found(&[]), []);
        let healthy = [
            ("ecc", "true"),
            ("ecc_uncorrected_volatile", "0"),
            ("ecc_uncorrected_aggregate", "4"),
            ("remapped_rows_correctable", "2"),
            ("remapped_rows_uncorrectable", "1"),
            ("remapped_rows_pending", "0"),
            ("remapped_rows_failed", "0"),
            ("retired_pages_single_bit", "31"),
            ("retired_pages_double_bit", "31"),
            ("recovery_action", "none"),
            ("xid_errors", "none"),
            ("pcie_width", "16"),
            ("pcie_max_width", "16"),
            ("pcie_generation", "5"),
            ("pcie_max_generation", "5"),
            ("nvlink_crc_errors", "12"),
            ("nvlink_replays", "0"),
            ("processes", "0"),
        ];
        assert_eq!(found(&healthy), []);
        let nonsense = healthy.map(|(name, _)| (name, "<b>-1:79 :: 79: 18446744073709551616"));
        assert_eq!(found(&nonsense).len(), 1, "only the action, which is text");
        assert_eq!(found(&[("xid_errors", "31:7 13:1 79:0")]), []);
        assert_eq!(found(&[("pcie_width", "0"), ("pcie_max_width", "16")]), []);
    }

    #[test]
    fn each_sign_of_bad_health_is_told_with_its_figures() {
        use Effect::{Note, Warn};
        for (labels, kind, effect, detail) in [
            (
                &[("ecc_uncorrected_volatile", "3")][..],
                FindingKind::MemoryErrors,
                Warn,
                "uncorrected errors since the driver was loaded: 3",
            ),
            (
                &[("remapped_rows_pending", "1"), ("remapped_rows_failed", "1")],
                FindingKind::MemoryRepair,
                Warn,
                "a row of memory could not be remapped; a row of memory waits to be remapped",
            ),
            (
                &[("retired_pages_single_bit", "31"), ("retired_pages_double_bit", "32")],
                FindingKind::MemoryRepair,
                Warn,
                "63 pages of memory are retired",
            ),
            (
                &[("retired_pages_pending", "1")],
                FindingKind::MemoryRepair,
                Warn,
                "a page of memory waits to be retired",
            ),
            (
                &[("ecc", "false")],
                FindingKind::EccOff,
                Note,
                "error correction is off",
            ),
            (
                &[("recovery_action", "gpu-reset")],
                FindingKind::RecoveryNeeded,
                Warn,
                "the driver asks for gpu-reset",
            ),
            (
                &[("xid_errors", "31:4 48:1 79:2")],
                FindingKind::XidErrors,
                Note,
                "Xid 48 (1), Xid 79 (2)",
            ),
            (
                &[("pcie_width", "8"), ("pcie_max_width", "16")],
                FindingKind::PcieDegraded,
                Note,
                "width 8, 16 possible",
            ),
            (
                &[("pcie_generation", "1"), ("pcie_max_generation", "5")],
                FindingKind::PcieDegraded,
                Note,
                "generation 1, 5 possible",
            ),
            (
                &[("nvlink_replays", "1"), ("nvlink_recoveries", "2")],
                FindingKind::NvlinkDegraded,
                Note,
                "replays: 1; recoveries: 2",
            ),
            (
                &[("processes", "2")],
                FindingKind::OtherProcesses,
                Note,
                "processes on it before the session: 2",
            ),
        ] {
            let expected = Finding {
                kind,
                effect,
                device: Some(0),
                detail: detail.to_owned(),
            };
            assert_eq!(found(labels), [expected]);
        }
    }

    #[test]
    fn links_are_compared_within_a_model() {
        let mut hello = Hello {
            devices: [("18", 0), ("16", 1), ("18", 2)]
                .map(|(links, ordinal)| offer(ordinal, &[("nvlink_active_links", links)]))
                .to_vec(),
            versions: vec![1],
            suites: vec![1],
            identity: Identity([0; 32]),
            software: String::new(),
            labels: Vec::new(),
        };
        let policy = Policy::default();
        let found = |hello: &Hello| {
            let mut findings = Findings::new(&policy);
            findings.check_links(hello);
            let told = findings.list.into_iter();
            told.map(|finding| (finding.device, finding.detail)).collect::<Vec<_>>()
        };
        let detail = "16 links are up, 18 on another device of its model";
        assert_eq!(found(&hello), [(Some(1), detail.to_owned())]);
        hello.devices[1].model = "NVIDIA H100 NVL".to_owned();
        assert_eq!(found(&hello), []);
        hello.devices[0].labels.clear();
        assert_eq!(found(&hello), [], "one that says nothing");
    }
}
