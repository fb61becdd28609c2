//! The memory that an assignment needs, and the layout of its single allocation.

use protocol::engine::Assignment;
use protocol::limits::{TILE_BYTES, TILE_SIDE};

use crate::fill_path::FillPath;

/// Bytes that operand A may take in addition to one matrix (Mma, Dp4a) or in total (Sm90a).
pub(crate) const LEFT_BYTES: u64 = 128 << 20;

/// Bytes of a digest key as key.cu writes it.
const KEY_BYTES: u64 = 131_104;

/// Leaves that a CTA of commit.cu hashes.
pub(crate) const LEAVES_A_COMMIT_CTA: u32 = 8192;

/// Most tiles of another device that are fetched for one launch.
const MOST_STAGED_TILES: u64 = 512;

/// Alignment of the parts; operands and tensor maps need 16 bytes, pages 2 MiB for the whole.
const ALIGNMENT: u64 = 4096;

/// Allocations consist of whole pages of the device.
const PAGE_BYTES: u64 = 2 << 20;

/// Offsets within a device's allocation, and its size (bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The tiles in index order.
    pub(crate) dataset: u64,
    /// Operand B.
    pub(crate) right: u64,
    /// Operand A: two batches of panels (Sm90a) or several matrices.
    pub(crate) left: u64,
    pub(crate) left_bytes: u64,
    /// All fill digests, or the leaves of two sweeps in halves.
    pub(crate) leaves: u64,
    /// Number of leaves from one half to the other.
    pub(crate) leaves_per_half: u64,
    pub(crate) key: u64,
    pub(crate) subtrees: u64,
    pub(crate) progress: u64,
    /// Several small values: see the constants below.
    pub(crate) small: u64,
    pub(crate) total_bytes: u64,
}

/// Offset within `small` of the salt, 32 bytes.
pub(crate) const SALT: u64 = 0;
/// Offset within `small` of the operand key, 32 bytes.
pub(crate) const OPERAND_KEY: u64 = 32;
/// Offset within `small` of the root, 32 bytes.
pub(crate) const ROOT: u64 = 64;
/// Offset within `small` of commit.cu's counter, a u32.
pub(crate) const FINISHED: u64 = 96;
/// Offset within `small` of fill_sm90a's abandon word, a u32.
pub(crate) const ABANDON: u64 = 128;
/// Bytes of `small`.
pub(crate) const SMALL_BYTES: u64 = 256;

impl Layout {
    /// The layout of an assignment on a fill path.
    pub(crate) fn new(assignment: &Assignment, path: FillPath) -> Self {
        let mut end = 0_u64;
        let mut take = |size_bytes: u64| {
            let offset = end;
            end = end.saturating_add(size_bytes).next_multiple_of(ALIGNMENT);
            offset
        };
        let k = u64::from(assignment.max_inner_dim());
        let matrix_bytes = u64::from(assignment.matrix_dim()) * k;
        let tiles = u64::from(assignment.tiles());
        let left_bytes = match path {
            FillPath::Sm90a => {
                // Largest where the most panels fit with the largest k; with fewer panels than a batch, a whole batch
                // is not needed.
                let most = u64::from(batch_panels(assignment, TILE_SIDE as u32 / 4)) * panel_pair_bytes(k);
                let least = u64::from(batch_panels(assignment, assignment.max_inner_dim())) * panel_pair_bytes(k);
                most.min(LEFT_BYTES).max(least)
            }
            FillPath::Mma | FillPath::Dp4a => matrix_bytes.max(
                (LEFT_BYTES / matrix_bytes)
                    .min(u64::from(assignment.num_matrices()))
                    .saturating_mul(matrix_bytes),
            ),
        };
        // An even number, so that the second half is aligned for 16-byte loads.
        let leaves_per_half = tiles.div_ceil(2).next_multiple_of(2);
        let batches = panels(assignment).div_ceil(u64::from(batch_panels(assignment, assignment.max_inner_dim())));
        Layout {
            dataset: take(tiles * TILE_BYTES as u64),
            right: take(matrix_bytes),
            left: take(left_bytes),
            left_bytes,
            leaves: take(2 * leaves_per_half * 8),
            leaves_per_half,
            key: take(KEY_BYTES),
            subtrees: take(tiles.div_ceil(LEAVES_A_COMMIT_CTA.into()) * 32),
            progress: take(batches * 8),
            small: take(SMALL_BYTES),
            total_bytes: end.next_multiple_of(PAGE_BYTES),
        }
    }

    /// Tiles of another device that fit from [`Layout::right`], in the memory of the operands, which only fills use. At least
    /// one if the device has the four tiles that a round needs.
    pub(crate) fn staged_tiles(&self) -> u32 {
        let tiles = (self.leaves - self.right) / TILE_BYTES as u64;
        tiles.min(MOST_STAGED_TILES) as u32
    }
}

/// Panels of 256 rows in all matrices of an assignment.
fn panels(assignment: &Assignment) -> u64 {
    u64::from(assignment.num_matrices()) * u64::from(assignment.matrix_dim() / TILE_SIDE as u32)
}

/// Bytes of a panel of A at k, twice: two batches are stored next to each other.
fn panel_pair_bytes(k: u64) -> u64 {
    2 * TILE_SIDE as u64 * k
}

/// P of fill_sm90a.cu: panels per batch. The table is measured (`lab/fill/NOTES.md`); the limit keeps two batches
/// within [`LEFT_BYTES`], as a batch of large k takes long enough with few panels.
pub(crate) fn batch_panels(assignment: &Assignment, inner_dim: u32) -> u32 {
    let measured: u32 = match assignment.matrix_dim() {
        ..=2048 => 64,
        2049..8192 => 32,
        _ => 16,
    };
    let within_budget = LEFT_BYTES / panel_pair_bytes(inner_dim.into());
    u64::from(measured).min(within_budget).min(panels(assignment)).max(1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::engine::AssignmentFields;

    fn assignment(matrix_dim: u32, num_matrices: u32, max_inner_dim: u32) -> Assignment {
        Assignment::new(AssignmentFields {
            matrix_dim,
            matrix_offset: 0,
            num_matrices,
            max_inner_dim,
        })
        .expect("sizes that a plan can have")
    }

    #[test]
    fn both_batches_of_every_k_fit_the_left_operand() {
        for (n, m) in [
            (256, 1),
            (256, 9000),
            (1024, 1152),
            (4096, 100),
            (16384, 500),
            (32768, 3),
        ] {
            for max in [64, 192, 2048, 16_384, 65_536] {
                let assignment = assignment(n, m, max);
                let layout = Layout::new(&assignment, FillPath::Sm90a);
                for k in (64..=max).step_by(64) {
                    let bytes = u64::from(batch_panels(&assignment, k)) * panel_pair_bytes(k.into());
                    assert!(bytes <= layout.left_bytes, "n {n}, M {m}, k {k} of {max}: {bytes}");
                }
                assert!(layout.left_bytes <= LEFT_BYTES);
            }
        }
    }

    #[test]
    fn the_measured_batches_are_taken_at_the_measured_sizes() {
        assert_eq!(batch_panels(&assignment(16_384, 500, 16_384), 16_384), 16);
        assert_eq!(batch_panels(&assignment(16_384, 500, 16_384), 2048), 16);
        assert_eq!(batch_panels(&assignment(4096, 500, 4096), 4096), 32);
        assert_eq!(batch_panels(&assignment(1024, 1152, 1024), 1024), 64);
        assert_eq!(batch_panels(&assignment(256, 3, 1024), 1024), 3);
    }

    #[test]
    fn every_device_of_four_tiles_has_room_for_another_ones() {
        for path in FillPath::ALL {
            for n in (256..=32_768).step_by(256) {
                let fewest = if n == 256 { 4 } else { 1 };
                for (matrices, k) in [(fewest, 64), (fewest, 128), (fewest + 1, 64), (fewest, 65_536)] {
                    let layout = Layout::new(&assignment(n, matrices, k), path);
                    let tiles = layout.staged_tiles();
                    assert!((1..=512).contains(&tiles), "{path:?}, n {n}, M {matrices}, k {k}");
                    assert!(layout.right + u64::from(tiles) * TILE_BYTES as u64 <= layout.leaves);
                }
            }
        }
        let large = Layout::new(&assignment(16_384, 500, 16_384), FillPath::Sm90a);
        assert_eq!(large.staged_tiles(), 512);
    }

    #[test]
    fn the_portable_fills_have_room_for_a_matrix_at_least() {
        let layout = Layout::new(&assignment(16_384, 2, 65_536), FillPath::Mma);
        assert_eq!(layout.left_bytes, 16_384 * 65_536);
        let layout = Layout::new(&assignment(256, 100_000, 64), FillPath::Mma);
        assert_eq!(layout.left_bytes, LEFT_BYTES);
        let layout = Layout::new(&assignment(256, 3, 64), FillPath::Dp4a);
        assert_eq!(layout.left_bytes, 3 * 256 * 64);
    }
}
