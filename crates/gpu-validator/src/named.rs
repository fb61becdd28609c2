//! An engine of single tiles by its name, which errors then say.

use protocol::bytes::OperandKey;
use protocol::engine::{EngineError, TileEngine};
use protocol::limits::TILE_BYTES;
use protocol::tile::TileCoordinate;

/// An engine of a device that has a name.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) engine: Box<dyn TileEngine>,
}

impl TileEngine for Named {
    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn tiles(
        &mut self,
        operand_key: &OperandKey,
        inner_dim: u32,
        at: &[TileCoordinate],
        take: &mut dyn FnMut(usize, &[u8; TILE_BYTES]),
    ) -> Result<(), EngineError> {
        self.engine.tiles(operand_key, inner_dim, at, take)
    }
}
