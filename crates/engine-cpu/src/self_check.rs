//! Known answers that every path must return before it is used.

use std::sync::Arc;

use protocol::bytes::{OperandKey, Salt, hex};
use protocol::derive::hash;
use protocol::digest::DigestKey;
use protocol::tile::TileCoordinate;

use crate::cache::OperandCache;
use crate::path::{Kernels, Path};
use crate::tile::Tile;
use crate::unchecked::UncheckedTileComputer;

/// A path returned a wrong answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {path} path gives {actual} as the {what}, expected {expected}")]
pub struct SelfCheckError {
    /// The path that was checked.
    pub path: Path,
    /// The name of the computation.
    pub what: &'static str,
    /// The known answer.
    pub expected: String,
    /// The computed answer.
    pub actual: String,
}

/// k of a tile that consists of one block of 512 elements and the start of another.
const LONG_INNER_DIM: u32 = 576;

const LONG_TILE_BLAKE3: &str = "a3f7f8ef671f4e3c3bd0eefcc464f2ea331da4ff71e5d81a87e6afe76b4bd865";
const TILE_BLAKE3: &str = "edeb7bbca801606398712b265b5d4ef752745276f4f1c9008928f7a283072284";
const FILL_DIGEST: u64 = 13_730_272_222_254_665_448;
const PAIR_DIGEST: u64 = 12_610_021_205_770_996_855;

impl Kernels {
    /// Computes the tile and digests of `spec/vectors/v1.json`, and a tile whose k is more than one block of operands, and
    /// compares them.
    ///
    /// # Errors
    ///
    /// [`SelfCheckError`] names the first answer that is wrong.
    pub fn self_check(self) -> Result<(), SelfCheckError> {
        let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
        let key = DigestKey::expand(&Salt(bytes));
        let mut computer = UncheckedTileComputer::new(self, Arc::new(OperandCache::new(1 << 20)));
        let mut tile = |inner_dim, matrix, row_block, column_block| {
            let mut tile = Tile::zeroed();
            let at = TileCoordinate {
                matrix,
                row_block,
                column_block,
            };
            computer.compute(&OperandKey(bytes), inner_dim, at, &mut tile);
            tile
        };
        let (a, b) = (tile(128, 7, 0, 0), tile(128, 8, 0, 0));
        let long = tile(LONG_INNER_DIM, 9, 3, 2);
        let check = |what, expected: String, actual: String| {
            if expected == actual {
                Ok(())
            } else {
                Err(SelfCheckError {
                    path: self.path(),
                    what,
                    expected,
                    actual,
                })
            }
        };
        check("tile", TILE_BLAKE3.to_owned(), hex(&hash(&[&a.0])))?;
        check(
            "tile of two blocks",
            LONG_TILE_BLAKE3.to_owned(),
            hex(&hash(&[&long.0])),
        )?;
        check(
            "fill digest",
            FILL_DIGEST.to_string(),
            self.fill_digest(&key, &a).to_string(),
        )?;
        check(
            "pair digest",
            PAIR_DIGEST.to_string(),
            self.pair_digest(&key, 5, &a, &b).to_string(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::BLOCK_ELEMENTS;

    #[test]
    fn the_longer_tile_is_the_references_and_crosses_a_block() {
        let inner_dim = LONG_INNER_DIM as usize;
        assert!(inner_dim > BLOCK_ELEMENTS && !inner_dim.is_multiple_of(BLOCK_ELEMENTS));
        let key = std::array::from_fn(|i| i as u8);
        let tile = reference::tile(&key, inner_dim, 9, 3, 2);
        assert_eq!(hex(&hash(&[&tile])), LONG_TILE_BLAKE3);
    }

    #[test]
    fn every_path_gives_the_known_answers() {
        for path in Path::available() {
            assert_eq!(path.kernels().expect("available").self_check(), Ok(()));
        }
    }
}
