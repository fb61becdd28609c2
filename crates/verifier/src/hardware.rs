//! The fastest hardware on sale, by datasheet, at a date: what claims take for granted of hosts that nobody knows (spec §6.2).
//!
//! Worst case by default: a policy that knows the hosts it judges narrows it. The class profiles of `appraisal` hold the same
//! figures class by class; a test there holds this table to them.

use protocol::bounds::Assumptions;

/// One figure of the table and what has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fastest {
    /// The figure, in the unit of its field.
    pub value: u64,
    /// What has it.
    pub hardware: &'static str,
}

/// The fastest of each kind on sale at a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardwareTable {
    /// Its name; results say it.
    pub name: &'static str,
    /// The day it was last looked over, `YYYY-MM-DD`; results say it.
    pub date: &'static str,
    /// Dense int8 rate of one GPU, operations/s.
    pub int8_ops_per_s: Fastest,
    /// Link between a GPU and its host, bytes/s each way.
    pub host_link_bytes_per_s: Fastest,
    /// Links between GPUs, all of one GPU together, bytes/s each way: no bound depends on them, and notes say what they allow.
    pub peer_link_bytes_per_s: Fastest,
    /// Memory on one chip: caches, registers, shared and tensor memory, bytes.
    pub on_chip_bytes: Fastest,
}

/// The table of this release.
pub const ON_SALE: HardwareTable = HardwareTable {
    name: "hardware on sale",
    date: "2026-11-28",
    // With the 15 % that G adds this also covers the 5.03e15 of an AMD MI355X's datasheet.
    int8_ops_per_s: Fastest {
        value: 4_500_000_000_000_000,
        hardware: "NVIDIA B200",
    },
    host_link_bytes_per_s: Fastest {
        value: 450_000_000_000,
        hardware: "NVLink-C2C of Grace hosts; PCIe 6.0 x16 has 128 GB/s, PCIe 5.0 x16 64",
    },
    peer_link_bytes_per_s: Fastest {
        value: 900_000_000_000,
        hardware: "NVLink 5; NVLink 4 has 450 GB/s",
    },
    // 126 MiB of L2, and of each of 148 multiprocessors 256 KiB of registers, of shared and of tensor memory.
    on_chip_bytes: Fastest {
        value: 237 << 20,
        hardware: "NVIDIA B200",
    },
};

impl HardwareTable {
    /// What claims take for granted where no policy narrows it: this hardware, one GPU's worth of making bytes anew for each
    /// device, and nothing that holds tiles elsewhere and answers for them.
    #[must_use]
    pub fn assumptions(&self, error_bits: u32) -> Assumptions {
        Assumptions {
            best_rate_ops_per_s: self.int8_ops_per_s.value,
            helper_gpus: 1,
            link_in_bytes_per_s: self.host_link_bytes_per_s.value,
            link_out_bytes_per_s: self.host_link_bytes_per_s.value,
            helper_bytes_per_s: 0,
            on_chip_bytes: self.on_chip_bytes.value,
            error_bits,
        }
    }
}
