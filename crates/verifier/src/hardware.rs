//! The fastest hardware on sale, by datasheet, at a date: the assumptions of bounds about unknown hosts (spec §6.2).
//!
//! Worst case by default: a policy that knows the hosts it appraises narrows it. The class profiles of `appraisal` hold
//! the same figures per class; a test there compares this table with them.

use protocol::bounds::Assumptions;

/// One figure of the table and the product that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fastest {
    /// The figure, in the unit of its field.
    pub value: u64,
    /// The product that has it.
    pub hardware: &'static str,
}

/// The fastest hardware of each kind on sale at a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HardwareTable {
    /// Its name; included in results.
    pub name: &'static str,
    /// The day of the last review, `YYYY-MM-DD`; included in results.
    pub date: &'static str,
    /// Dense int8 rate of one GPU, operations/s.
    pub int8_ops_per_s: Fastest,
    /// Link between a GPU and its host, bytes/s each way.
    pub host_link_bytes_per_s: Fastest,
    /// Links between GPUs, all links of one GPU together, bytes/s each way: no bound depends on them, and notes state
    /// what they allow.
    pub peer_link_bytes_per_s: Fastest,
    /// Memory on one chip: caches, registers, shared and tensor memory, bytes.
    pub on_chip_bytes: Fastest,
    /// Memory of one GPU, bytes: what can hold the tiles of two devices needs no link between them.
    pub gpu_memory_bytes: Fastest,
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
    // 126 MiB of L2, and for each of 148 multiprocessors 256 KiB each of registers and of shared and tensor memory.
    on_chip_bytes: Fastest {
        value: 237 << 20,
        hardware: "NVIDIA B200",
    },
    gpu_memory_bytes: Fastest {
        value: 432_000_000_000,
        hardware: "AMD Instinct MI455X, as announced; B300 and MI355X have 288 GB",
    },
};

impl HardwareTable {
    /// The assumptions of bounds where no policy narrows them: this hardware, one GPU's rate to regenerate bytes for
    /// each device, and nothing that holds tiles elsewhere and answers for the device.
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
