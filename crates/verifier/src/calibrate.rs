//! Measures how fast this host recomputes tiles, so that a session's cost is known before it starts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use engine_cpu::{OperandCache, Tile, TileComputer};
use protocol::bytes::{OperandKey, Salt};
use protocol::digest::DigestKey;
use protocol::tile::TileCoordinate;

use crate::recompute::{Recompute, RecomputeError};

/// The number of neighbouring tiles that share a column block of B, as in a batch of a session.
const TILES_A_BLOCK: u64 = 8;

/// What this host recomputes within a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// k of the tiles.
    pub inner_dim: u32,
    /// Threads that computed.
    pub threads: usize,
    /// Tiles that they computed, including digests.
    pub tiles: u64,
    /// Duration.
    pub elapsed: Duration,
}

impl Calibration {
    /// Tiles per second on all threads.
    #[must_use]
    pub fn tiles_per_s(&self) -> f64 {
        self.tiles as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Multiply-adds per second on all threads, where the time includes keystream and digests.
    #[must_use]
    pub fn macs_per_s(&self) -> f64 {
        self.tiles_per_s() * 65_536.0 * f64::from(self.inner_dim)
    }

    /// A tile's time on one thread while all others compute too.
    #[must_use]
    pub fn tile_ms(&self) -> f64 {
        1e3 * self.threads as f64 / self.tiles_per_s().max(1e-9)
    }
}

/// Computes tiles at `inner_dim` on all of `recompute`'s threads for `duration`, in the order of a session.
///
/// # Errors
///
/// [`RecomputeError`] if this CPU does not support the path or computes wrong results on it.
pub fn calibrate(recompute: &Recompute, inner_dim: u32, duration: Duration) -> Result<Calibration, RecomputeError> {
    let cache = Arc::new(OperandCache::new(recompute.operand_budget_bytes));
    let computer = || TileComputer::new(recompute.path, Arc::clone(&cache));
    let own = computer()?;
    let (next, key, salt) = (
        AtomicU64::new(0),
        OperandKey([7; 32]),
        DigestKey::expand(&Salt([1; 32])),
    );
    let since = Instant::now();
    let work = |mut computer: TileComputer| {
        let mut tile = Tile::zeroed();
        while since.elapsed() < duration {
            let matrix = next.fetch_add(1, Ordering::Relaxed);
            let at = TileCoordinate {
                matrix,
                row_block: 0,
                column_block: (matrix / TILES_A_BLOCK % 64) as u32,
            };
            computer.compute(&key, inner_dim, at, &mut tile);
            std::hint::black_box(computer.kernels().fill_digest(&salt, &tile));
        }
    };
    let work = &work;
    let threads = thread::scope(|scope| {
        let mut threads = 1;
        for _ in 1..recompute.threads.get() {
            let computer = computer()?;
            // As many threads as the system provides; this thread is one of them.
            if thread::Builder::new().spawn_scoped(scope, || work(computer)).is_err() {
                break;
            }
            threads += 1;
        }
        work(own);
        Ok::<_, RecomputeError>(threads)
    })?;
    Ok(Calibration {
        inner_dim,
        threads,
        tiles: next.into_inner(),
        elapsed: since.elapsed(),
    })
}
