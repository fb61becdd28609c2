//! Known answers that every path must give before it is used.

use std::sync::Arc;

use protocol::bytes::{OperandKey, Salt, hex};
use protocol::derive::hash;
use protocol::digest::DigestKey;
use protocol::tile::TileCoordinate;

use crate::cache::OperandCache;
use crate::path::{Kernels, Path};
use crate::tile::Tile;
use crate::tile_computer::TileComputer;

/// A path gave another answer than the known one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {path} path gives {actual} as the {what}, expected {expected}")]
pub struct SelfCheckError {
    /// The path that was checked.
    pub path: Path,
    /// What was computed.
    pub what: &'static str,
    /// The known answer.
    pub expected: String,
    /// What came out.
    pub actual: String,
}

const TILE_BLAKE3: &str = "edeb7bbca801606398712b265b5d4ef752745276f4f1c9008928f7a283072284";
const FILL_DIGEST: u64 = 13_730_272_222_254_665_448;
const PAIR_DIGEST: u64 = 12_610_021_205_770_996_855;

impl Kernels {
    /// Computes the tile and digests of `spec/vectors/v1.json` and compares them: a millisecond at most.
    ///
    /// # Errors
    ///
    /// [`SelfCheckError`] names the first answer that is wrong.
    pub fn self_check(self) -> Result<(), SelfCheckError> {
        let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
        let key = DigestKey::expand(&Salt(bytes));
        let mut computer = TileComputer::unchecked(self, Arc::new(OperandCache::new(1 << 20)));
        let mut tile = |matrix| {
            let mut tile = Tile::zeroed();
            let at = TileCoordinate {
                matrix,
                row_block: 0,
                column_block: 0,
            };
            computer.compute(&OperandKey(bytes), 128, at, &mut tile);
            tile
        };
        let (a, b) = (tile(7), tile(8));
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

    #[test]
    fn every_path_gives_the_known_answers() {
        for path in Path::available() {
            assert_eq!(path.kernels().expect("available").self_check(), Ok(()));
        }
    }
}
