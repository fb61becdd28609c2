//! The resources that a device offers for a plan whose sizes are not known yet (spec §3, HELLO).

use crate::layout::LEFT_BYTES;

/// Bytes reserved for the driver, which splits pages in its own way.
const SLACK_BYTES: u64 = 8 << 20;

/// Memory that a device can provide for a dataset, and additional memory that a fill needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceOffer {
    /// Total memory of the device (bytes), as reported by the driver.
    pub memory_bytes: u64,
    /// Memory that is currently free with the engine's context and code loaded, or the configured limit if that is less
    /// (bytes).
    pub available_bytes: u64,
    /// Operands held at a time, in units of n * k bytes, in addition to those within `reserve_bytes`.
    pub operand_buffers: u32,
    /// Memory needed in addition to dataset and operands for any plan within `available_bytes`: panels, leaves, keys,
    /// pages (bytes).
    pub reserve_bytes: u64,
}

impl DeviceOffer {
    pub(crate) fn new(memory_bytes: u64, available_bytes: u64, operand_buffers: u32) -> Self {
        // 8 bytes of leaf per tile of 65,536; 8 bytes of progress per batch of at least 4 tiles; keys and rounding.
        let per_tile_bytes = available_bytes / 8192 + available_bytes / 32_768;
        DeviceOffer {
            memory_bytes,
            available_bytes,
            operand_buffers,
            reserve_bytes: LEFT_BYTES + per_tile_bytes + SLACK_BYTES,
        }
    }

    /// Whole matrices of `matrix_dim` that fit if no iteration's k exceeds `max_inner_dim`.
    #[must_use]
    pub fn matrices(&self, matrix_dim: u32, max_inner_dim: u32) -> u64 {
        let n = u64::from(matrix_dim);
        let operands = u64::from(self.operand_buffers) * n * u64::from(max_inner_dim);
        self.available_bytes
            .saturating_sub(self.reserve_bytes)
            .saturating_sub(operands)
            / (n * n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fill::FillPath;
    use crate::layout::Layout;
    use protocol::engine::{Assignment, AssignmentFields};

    #[test]
    fn what_is_offered_can_be_had() {
        for path in [FillPath::Sm90a, FillPath::Mma, FillPath::Dp4a] {
            for available in [1 << 30, 24 << 30, 150_000_000_000, 300_000_000_000_u64] {
                let offer = DeviceOffer::new(available, available, path.operand_buffers());
                for n in [256, 1024, 8192, 16_384, 32_768] {
                    for max_inner_dim in [64, 2048, 16_384, 65_536] {
                        let matrices = offer.matrices(n, max_inner_dim);
                        if matrices == 0 {
                            continue;
                        }
                        let assignment = Assignment::new(AssignmentFields {
                            matrix_dim: n,
                            matrix_offset: 0,
                            num_matrices: matrices as u32,
                            max_inner_dim,
                        })
                        .expect("sizes that a plan can have");
                        let required = Layout::new(&assignment, path).total_bytes;
                        assert!(
                            required <= available,
                            "{path:?}, n {n}, k {max_inner_dim}: {matrices} matrices take {required} of {available}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn an_idle_h200_gives_99_percent_to_the_dataset() {
        // 143,771 MiB in total; the driver reserves 615 MiB and reports 143,156, of which the context takes about 300.
        let offer = DeviceOffer::new(143_156 << 20, 142_856 << 20, 1);
        for n in [8192_u64, 16_384] {
            let dataset = offer.matrices(n as u32, 16_384) * n * n;
            assert!(dataset * 1000 >= (143_771_u64 << 20) * 990, "n {n}: {dataset}");
        }
    }
}
