//! Packed column blocks of operand B, kept for the next tile that needs them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use protocol::bytes::OperandKey;

use crate::packing::PackedRows;
use crate::path::Kernels;

/// The parameters that determine a packed column block.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Id {
    key: OperandKey,
    inner_dim: u32,
    column_block: u32,
}

struct Entry {
    /// Initialised by the first thread that needs it; others wait.
    rows: Arc<OnceLock<PackedRows>>,
    size_bytes: usize,
    last_used: u64,
}

#[derive(Default)]
struct Entries {
    by_id: HashMap<Id, Entry>,
    size_bytes: usize,
    uses: u64,
}

/// Packed column blocks of B up to a limit in bytes, the least recently used evicted first; shared between threads.
pub struct OperandCache {
    capacity_bytes: usize,
    entries: Mutex<Entries>,
}

impl OperandCache {
    /// An empty cache of at most `capacity_bytes`. A column block takes about 256 * k bytes (4 MiB at k = 16384); a
    /// block larger than the whole cache is generated again each time.
    #[must_use]
    pub fn new(capacity_bytes: usize) -> Self {
        OperandCache {
            capacity_bytes,
            entries: Mutex::default(),
        }
    }

    /// Bytes that the cached blocks take.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).size_bytes
    }

    /// Calls `work` with the packed column block, which is generated if it is not cached.
    pub(crate) fn with<T>(
        &self,
        kernels: Kernels,
        key: &OperandKey,
        inner_dim: u32,
        column_block: u32,
        work: impl FnOnce(&PackedRows) -> T,
    ) -> T {
        let cell = self.entry(Id {
            key: *key,
            inner_dim,
            column_block,
        });
        work(cell.get_or_init(|| PackedRows::generate(kernels, key, inner_dim, column_block)))
    }

    fn entry(&self, id: Id) -> Arc<OnceLock<PackedRows>> {
        let size_bytes = PackedRows::size_bytes(id.inner_dim);
        let mut guard = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = &mut *guard;
        entries.uses += 1;
        if let Some(entry) = entries.by_id.get_mut(&id) {
            entry.last_used = entries.uses;
            return Arc::clone(&entry.rows);
        }
        let rows = Arc::new(OnceLock::new());
        if size_bytes > self.capacity_bytes {
            return rows;
        }
        while entries.size_bytes + size_bytes > self.capacity_bytes {
            let Some((&oldest, _)) = entries.by_id.iter().min_by_key(|(_, entry)| entry.last_used) else {
                break;
            };
            if let Some(entry) = entries.by_id.remove(&oldest) {
                entries.size_bytes -= entry.size_bytes;
            }
        }
        entries.size_bytes += size_bytes;
        entries.by_id.insert(
            id,
            Entry {
                rows: Arc::clone(&rows),
                size_bytes,
                last_used: entries.uses,
            },
        );
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Path;

    #[test]
    fn the_cap_holds_and_the_least_recently_used_goes_first() {
        let kernels = Path::best().kernels().expect("available");
        let cache = OperandCache::new(2 * PackedRows::size_bytes(64));
        let key = OperandKey([0; 32]);
        let made = |column_block| {
            let cell = cache.entry(Id {
                key,
                inner_dim: 64,
                column_block,
            });
            let there = cell.get().is_some();
            cell.get_or_init(|| PackedRows::generate(kernels, &key, 64, column_block));
            there
        };
        assert_eq!([0, 1, 0, 2, 0, 1].map(made), [false, false, true, false, true, false]);
        assert_eq!(cache.size_bytes(), 2 * PackedRows::size_bytes(64));
        assert!(
            OperandCache::new(1)
                .entry(Id {
                    key,
                    inner_dim: 64,
                    column_block: 0
                })
                .get()
                .is_none()
        );
    }
}
