//! Mutual exclusion of engines that share a device: their fills run one after the other.
//!
//! The CTAs of fill_sm90a wait for one another. Two such launches at once on one device, from two engines of this
//! process, could each hold multiprocessors that the other waits for. Other processes are not a problem: the driver
//! gives each the whole device for a time slice.
//! device for a slice of time.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::engine::{EngineError, Progress};

use crate::sys;

/// How often a waiting engine checks whether it was cancelled.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// The exclusive right to fill on a device, until it is dropped.
pub(crate) struct Turn(Arc<Gate>);

#[derive(Default)]
struct Gate {
    is_taken: Mutex<bool>,
    is_free: Condvar,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits for exclusive use of the device.
    ///
    /// # Errors
    ///
    /// [`EngineError::Cancelled`] if it is cancelled first.
    pub(crate) fn take(device: sys::CUdevice, progress: &dyn Progress) -> Result<Self, EngineError> {
        static GATES: Mutex<Option<HashMap<sys::CUdevice, Arc<Gate>>>> = Mutex::new(None);
        let gate = {
            let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
            gates.get_or_insert_default().entry(device).or_default().clone()
        };
        let mut is_taken = gate.lock();
        while *is_taken {
            if progress.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            let waited = gate.is_free.wait_timeout(is_taken, CANCEL_INTERVAL);
            (is_taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *is_taken = true;
        drop(is_taken);
        Ok(Turn(gate))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.is_free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::engine::Unobserved;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Cancelled;

    impl Progress for Cancelled {
        fn advance(&self, _: u64) {}

        fn is_cancelled(&self) -> bool {
            true
        }
    }

    #[test]
    fn one_at_a_time_has_a_device_and_each_device_its_own() {
        const DEVICE: sys::CUdevice = 7001;
        let holders = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let turn = Turn::take(DEVICE, &Unobserved).expect("nobody cancels");
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(turn);
                    }
                });
            }
        });
        let _turn = Turn::take(DEVICE, &Cancelled).expect("a free device is had at once");
        assert!(matches!(Turn::take(DEVICE, &Cancelled), Err(EngineError::Cancelled)));
        assert!(Turn::take(DEVICE + 1, &Unobserved).is_ok());
    }
}
