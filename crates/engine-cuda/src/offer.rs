//! The resources that a device offers for a plan whose sizes are not known yet (spec §3, HELLO).

use protocol::bytes::DeviceOrdinal;
use protocol::message::DeviceOffer;

use crate::layout::LEFT_BYTES;

/// Bytes reserved for the driver, which splits pages in its own way.
const SLACK_BYTES: u64 = 8 << 20;

/// What a device with this memory offers; `available_bytes` are free with the engine's context and code loaded. The caller
/// fills in the ordinal, the model and the labels.
///
/// `reserve_bytes` of the offer is the memory needed in addition to dataset and operands for any plan within
/// `available_bytes`: panels, leaves, keys, pages.
pub(crate) fn offer(memory_bytes: u64, available_bytes: u64, operand_copies: u32) -> DeviceOffer {
    // 8 bytes of leaf per tile of 65,536; 8 bytes of progress per batch of at least 4 tiles; keys and rounding.
    let per_tile_bytes = available_bytes / 8192 + available_bytes / 32_768;
    DeviceOffer {
        ordinal: DeviceOrdinal(0),
        engine: "cuda".to_owned(),
        model: String::new(),
        memory_bytes,
        available_bytes,
        reserve_bytes: LEFT_BYTES + per_tile_bytes + SLACK_BYTES,
        operand_copies,
        operand_rows: 0,
        labels: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fill_path::FillPath;
    use crate::layout::Layout;
    use protocol::engine::{Assignment, AssignmentFields};

    #[test]
    fn what_is_offered_can_be_had() {
        for path in [FillPath::Sm90a, FillPath::Mma, FillPath::Dp4a] {
            for available in [1 << 30, 24 << 30, 150_000_000_000, 300_000_000_000_u64] {
                let offer = offer(available, available, path.operand_copies());
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
        let offer = offer(143_156 << 20, 142_856 << 20, 1);
        for n in [8192_u64, 16_384] {
            let dataset = offer.matrices(n as u32, 16_384) * n * n;
            assert!(dataset * 1000 >= (143_771_u64 << 20) * 990, "n {n}: {dataset}");
        }
    }
}
