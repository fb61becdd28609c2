//! Expanded digest keys, shared by threads: 128 KiB each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use protocol::bytes::Salt;
use protocol::digest::DigestKey;

/// Maximum size of kept keys: 32 MiB.
const MAX_KEYS: usize = 256;

/// The keys of recently used salts.
#[derive(Default)]
pub(super) struct DigestKeys(Mutex<HashMap<Salt, Arc<OnceLock<DigestKey>>>>);

/// A key in use.
pub(super) struct Expanded(Arc<OnceLock<DigestKey>>);

impl DigestKeys {
    /// The key of `salt`, expanded if it is not cached. When the cache is full it is cleared: salts come in the order
    /// of iterations, and each iteration has different ones.
    pub(super) fn expanded(&self, salt: Salt) -> Expanded {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= MAX_KEYS && !keys.contains_key(&salt) {
            keys.clear();
        }
        let key = Arc::clone(keys.entry(salt).or_default());
        drop(keys);
        key.get_or_init(|| DigestKey::expand(&salt));
        Expanded(key)
    }
}

impl std::ops::Deref for Expanded {
    type Target = DigestKey;

    fn deref(&self) -> &DigestKey {
        self.0.get().expect("initialized when it was handed out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_keys_are_kept_and_those_in_use_stay() {
        let keys = DigestKeys::default();
        let kept = || keys.0.lock().expect("nobody panics").len();
        let salt = |i: usize| Salt(std::array::from_fn(|byte| (i >> (8 * (byte % 2))) as u8));
        let first = keys.expanded(salt(0));
        for i in 0..MAX_KEYS {
            keys.expanded(salt(i));
            assert_eq!(kept(), i + 1);
        }
        // A cached key needs no room.
        keys.expanded(salt(7));
        assert_eq!(kept(), MAX_KEYS);
        keys.expanded(salt(MAX_KEYS));
        assert_eq!(kept(), 1);
        assert_eq!(first.words, DigestKey::expand(&salt(0)).words);
    }
}
