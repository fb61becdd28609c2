//! A tile's bytes in memory.

use protocol::limits::TILE_BYTES;

/// 65,536 bytes of X, row-major, aligned to a cache line (spec §4).
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Tile(pub [u8; TILE_BYTES]);

impl Tile {
    /// A tile of zeros on the heap.
    #[must_use]
    pub fn zeroed() -> Box<Tile> {
        Box::new(Tile([0; TILE_BYTES]))
    }
}
