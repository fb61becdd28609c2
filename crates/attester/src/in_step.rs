//! Devices that sweep in step: each sweep's salts need the roots of the sweep before of all devices (spec §4.7).

use std::sync::{Condvar, Mutex, PoisonError};

use protocol::bytes::{DeviceOrdinal, Root};
use protocol::engine::EngineError;

/// Where the devices of one iteration exchange the roots of each sweep.
pub(crate) struct InStep {
    /// In the order in which the roots enter the next salts.
    devices: Vec<DeviceOrdinal>,
    round: Mutex<Round>,
    is_over: Condvar,
}

#[derive(Default)]
struct Round {
    number: u64,
    /// The roots received in this round.
    roots: Vec<Option<Root>>,
    /// All roots of the previous round.
    joint: Vec<Root>,
    /// One of the devices has failed, or nobody wants the work any more.
    is_cancelled: bool,
}

impl InStep {
    /// A meeting point for these devices, in the order of their ordinals.
    pub(crate) fn new(devices: impl Iterator<Item = DeviceOrdinal>) -> Self {
        let devices: Vec<DeviceOrdinal> = devices.collect();
        let round = Round {
            roots: vec![None; devices.len()],
            ..Round::default()
        };
        InStep {
            devices,
            round: Mutex::new(round),
            is_over: Condvar::new(),
        }
    }

    /// Submits the root of a device's sweep and waits for the roots of all other devices. Returns all roots, in device
    /// order.
    ///
    /// # Errors
    ///
    /// [`EngineError::Cancelled`] if the work is no longer wanted, as when another device has failed.
    pub(crate) fn meet(&self, device: DeviceOrdinal, root: Root) -> Result<Vec<Root>, EngineError> {
        let place = self.devices.iter().position(|other| *other == device);
        let place = place.expect("only devices of the iteration sweep in it");
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        round.roots[place] = Some(root);
        if round.roots.iter().all(Option::is_some) {
            round.joint = round.roots.iter_mut().filter_map(Option::take).collect();
            round.number += 1;
            self.is_over.notify_all();
            return Ok(round.joint.clone());
        }
        let own = round.number;
        while round.number == own {
            if round.is_cancelled {
                return Err(EngineError::Cancelled);
            }
            round = self.is_over.wait(round).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(round.joint.clone())
    }

    /// Ends the wait of every device, now and later.
    pub(crate) fn cancel(&self) {
        self.round.lock().unwrap_or_else(PoisonError::into_inner).is_cancelled = true;
        self.is_over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn every_device_gets_the_roots_of_all_in_each_round() {
        let devices = [0, 3, 7].map(DeviceOrdinal);
        let in_step = InStep::new(devices.into_iter());
        thread::scope(|scope| {
            for (place, device) in (0..).zip(devices) {
                let in_step = &in_step;
                scope.spawn(move || {
                    for round in 0..100 {
                        let root = |place| Root([(10 * round + place) as u8; 32]);
                        let joint = in_step.meet(device, root(place));
                        assert_eq!(joint, Ok([0, 1, 2].map(root).to_vec()), "round {round}");
                    }
                });
            }
        });
    }

    #[test]
    fn who_waits_for_a_device_that_has_failed_ends_when_the_session_does() {
        let in_step = InStep::new([0, 1].map(DeviceOrdinal).into_iter());
        thread::scope(|scope| {
            let waits = scope.spawn(|| in_step.meet(DeviceOrdinal(0), Root([0; 32])));
            in_step.cancel();
            assert_eq!(waits.join().expect("no panic"), Err(EngineError::Cancelled));
        });
    }
}
