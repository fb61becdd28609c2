//! Which tiles are recomputed, in which order, and how long each is kept.

use std::collections::{HashMap, HashSet};

use protocol::bytes::OperandKey;
use protocol::limits::{TILE_BYTES, TILE_SIDE};
use protocol::openings::TileCheck;
use protocol::tile::TileCoordinate;

use super::so_far::positions;

/// Most checks per batch: enough that neighbours share column blocks of B, few enough that a partial result is recent.
const MAX_BATCH: usize = 512;

/// Fewest batches, so that a short recomputation that is stopped has a partial result as well.
const MIN_BATCHES: usize = 4;

/// The tiles of all checks in the order in which they are computed.
///
/// Checks are split into batches, in the order in which they were drawn: except for one batch, the checks done at any
/// time are as random a part of the samples as the samples are of the leaves. Within a batch tiles are ordered by
/// column block, so that a block of B stays in cache for all of its tiles. A tile that several checks need is computed
/// once and kept, as long as there is room.
pub(super) struct Schedule {
    /// Each computation; a tile occurs twice if there was no room to keep it.
    pub(super) slots: Vec<Slot>,
    /// The slots of each check's two tiles.
    pub(super) tiles_of: Vec<[usize; 2]>,
}

/// One tile to compute, and the checks that wait for it.
pub(super) struct Slot {
    pub(super) tile: TileId,
    pub(super) checks: Vec<usize>,
}

/// The parameters that determine a tile.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TileId {
    pub(super) operand_key: OperandKey,
    pub(super) inner_dim: u32,
    pub(super) at: TileCoordinate,
}

impl TileId {
    fn of(check: &TileCheck) -> [TileId; 2] {
        let site = &check.site;
        site.tiles.map(|at| TileId {
            operand_key: site.operand_key,
            inner_dim: site.inner_dim,
            at,
        })
    }
}

impl Schedule {
    /// The schedule of `checks` with about `operand_bytes` of operand B and `tile_bytes` of tiles kept at a time.
    pub(super) fn new(checks: &[TileCheck], operand_bytes: usize, tile_bytes: usize) -> Self {
        let most = MAX_BATCH.min(checks.len().div_ceil(MIN_BATCHES)).max(1);
        let batch = (tile_bytes / 4 / TILE_BYTES).clamp(1, most);
        let most_kept = tile_bytes / 2 / TILE_BYTES;
        let mut uses_left: HashMap<TileId, usize> = HashMap::new();
        for tile in checks.iter().flat_map(TileId::of) {
            *uses_left.entry(tile).or_default() += 1;
        }
        let mut schedule = Schedule {
            slots: Vec::new(),
            tiles_of: vec![[0; 2]; checks.len()],
        };
        let mut kept: HashMap<TileId, usize> = HashMap::new();
        for batch in order(checks, operand_bytes).chunks(batch) {
            let mut tiles: Vec<(u32, TileId)> = batch
                .iter()
                .flat_map(|&check| TileId::of(&checks[check]).map(|tile| (checks[check].site.sample.iteration, tile)))
                .filter(|(_, tile)| !kept.contains_key(tile))
                .collect();
            tiles.sort_by_key(|(iteration, TileId { at, .. })| (*iteration, at.column_block, at.matrix, at.row_block));
            tiles.dedup();
            for (_, tile) in tiles {
                kept.insert(tile, schedule.slots.len());
                let checks = Vec::new();
                schedule.slots.push(Slot { tile, checks });
            }
            for &check in batch {
                let tiles = TileId::of(&checks[check]);
                let slots = tiles.map(|tile| kept[&tile]);
                schedule.tiles_of[check] = slots;
                schedule.slots[slots[0]].checks.push(check);
                if slots[1] != slots[0] {
                    schedule.slots[slots[1]].checks.push(check);
                }
                for tile in tiles {
                    *uses_left.get_mut(&tile).expect("counted above") -= 1;
                }
            }
            kept.retain(|tile, _| uses_left[tile] > 0);
            let mut room = most_kept;
            kept.retain(|_, _| {
                let fits = room > 0;
                room = room.saturating_sub(1);
                fits
            });
        }
        schedule
    }
}

/// The checks ordered by position within their device and group, so that all groups advance evenly. If the column
/// blocks of all iterations do not fit into memory, the iterations follow one after the other.
fn order(checks: &[TileCheck], operand_bytes: usize) -> Vec<usize> {
    let positions = positions(checks);
    let blocks: HashSet<(OperandKey, u32, u32)> = checks
        .iter()
        .flat_map(TileId::of)
        .map(|tile| (tile.operand_key, tile.inner_dim, tile.at.column_block))
        .collect();
    let block_bytes: u64 = blocks
        .iter()
        .map(|&(_, inner_dim, _)| TILE_SIDE as u64 * u64::from(inner_dim))
        .sum();
    let is_tight = block_bytes > operand_bytes as u64;
    let mut order: Vec<usize> = (0..checks.len()).collect();
    order.sort_by_key(|&check| {
        let iteration = if is_tight {
            checks[check].site.sample.iteration
        } else {
            0
        };
        (iteration, positions[check])
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recompute::tests::check;

    /// 64 tiles, two iterations, pairs that repeat tiles and one of a tile with itself.
    fn checks() -> Vec<TileCheck> {
        (0..400u32)
            .map(|i| check(0, i / 200, 64, i, [i * 7 % 64, if i == 9 { 63 } else { i * 13 % 64 }]))
            .collect()
    }

    fn is_consistent(schedule: &Schedule, checks: &[TileCheck]) {
        for (i, check) in checks.iter().enumerate() {
            for (slot, tile) in schedule.tiles_of[i].into_iter().zip(TileId::of(check)) {
                assert!(schedule.slots[slot].tile == tile);
                assert_eq!(schedule.slots[slot].checks.iter().filter(|&&c| c == i).count(), 1);
            }
        }
        let waiting: usize = schedule.slots.iter().map(|slot| slot.checks.len()).sum();
        let itself = schedule.tiles_of.iter().filter(|[a, b]| a == b).count();
        assert_eq!(waiting + itself, 2 * checks.len());
    }

    #[test]
    fn with_room_every_tile_is_computed_once_and_without_it_every_check_still_gets_its_two() {
        let checks = checks();
        let roomy = Schedule::new(&checks, usize::MAX, 1 << 30);
        is_consistent(&roomy, &checks);
        assert_eq!(roomy.slots.len(), 128);
        for (operand_bytes, tile_bytes) in [(0, 0), (0, 40 * TILE_BYTES), (usize::MAX, 40 * TILE_BYTES)] {
            let tight = Schedule::new(&checks, operand_bytes, tile_bytes);
            is_consistent(&tight, &checks);
            assert!(tight.slots.len() > 128 && tight.slots.len() <= 800);
        }
    }

    #[test]
    fn tiles_of_a_batch_go_by_column_block() {
        let checks = checks();
        let schedule = Schedule::new(&checks, usize::MAX, 1 << 30);
        let columns: Vec<_> = schedule
            .slots
            .iter()
            .map(|slot| (slot.tile.operand_key.0[0], slot.tile.at.column_block))
            .collect();
        let falls = columns.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!(falls < MIN_BATCHES, "{columns:?}");
    }

    #[test]
    fn a_quarter_of_the_checks_is_done_before_another_tile_is_computed() {
        let checks = checks();
        let schedule = Schedule::new(&checks, usize::MAX, 1 << 30);
        let quarter = &order(&checks, usize::MAX)[..checks.len() / MIN_BATCHES];
        let slots: HashSet<usize> = quarter.iter().flat_map(|&check| schedule.tiles_of[check]).collect();
        assert!(slots.iter().all(|&slot| slot < slots.len()), "{slots:?}");
        assert!(slots.len() < schedule.slots.len());
        // A single check is a batch too.
        is_consistent(&Schedule::new(&checks[..1], usize::MAX, 1 << 30), &checks[..1]);
    }

    #[test]
    fn iterations_come_on_alike_where_there_is_room_for_their_operands() {
        let mut checks = checks();
        checks[200..].iter_mut().for_each(|check| check.site.inner_dim = 128);
        let room = order(&checks, usize::MAX);
        assert_eq!(room[..4], [0, 200, 1, 201]);
        assert_eq!(order(&checks, 0), (0..400).collect::<Vec<_>>());
        // Four column blocks per iteration, 256 rows of k bytes each.
        let needed = 4 * 256 * 64 + 4 * 256 * 128;
        assert_eq!(order(&checks, needed), room);
        assert_eq!(order(&checks, needed - 1), order(&checks, 0));
    }
}
