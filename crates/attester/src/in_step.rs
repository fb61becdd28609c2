//! Devices that wait for each other: each sweep's salts need the roots of the sweep before of all devices (spec §4.7), and rounds
//! the datasets of all.

use std::sync::{Condvar, Mutex, PoisonError};

use protocol::bytes::DeviceOrdinal;
use protocol::engine::EngineError;

/// Where devices exchange values, a value each a turn.
pub(crate) struct InStep<T> {
    /// In the order in which the values are given to all.
    devices: Vec<DeviceOrdinal>,
    turn: Mutex<Turn<T>>,
    is_over: Condvar,
}

struct Turn<T> {
    number: u64,
    /// The values received in this turn.
    values: Vec<Option<T>>,
    /// All values of the previous turn.
    joint: Vec<T>,
    /// One of the devices has failed, or nobody wants the work any more.
    is_cancelled: bool,
}

impl<T: Clone> InStep<T> {
    /// A meeting point for these devices, in the order of their ordinals.
    pub(crate) fn new(devices: impl Iterator<Item = DeviceOrdinal>) -> Self {
        let devices: Vec<DeviceOrdinal> = devices.collect();
        let turn = Turn {
            number: 0,
            values: vec![None; devices.len()],
            joint: Vec::new(),
            is_cancelled: false,
        };
        InStep {
            devices,
            turn: Mutex::new(turn),
            is_over: Condvar::new(),
        }
    }

    /// The devices, in the order of the values.
    pub(crate) fn devices(&self) -> &[DeviceOrdinal] {
        &self.devices
    }

    /// Submits the value of a device and waits for those of all other devices. Returns all values, in device order.
    ///
    /// # Errors
    ///
    /// [`EngineError::Cancelled`] if the work is no longer wanted, as when another device has failed.
    pub(crate) fn meet(&self, device: DeviceOrdinal, value: T) -> Result<Vec<T>, EngineError> {
        let place = self.devices.iter().position(|other| *other == device);
        let place = place.expect("only devices that were named meet");
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.values[place] = Some(value);
        if turn.values.iter().all(Option::is_some) {
            turn.joint = turn.values.iter_mut().filter_map(Option::take).collect();
            turn.number += 1;
            self.is_over.notify_all();
            return Ok(turn.joint.clone());
        }
        let own = turn.number;
        while turn.number == own {
            if turn.is_cancelled {
                return Err(EngineError::Cancelled);
            }
            turn = self.is_over.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(turn.joint.clone())
    }

    /// Ends the wait of every device, now and later.
    pub(crate) fn cancel(&self) {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner).is_cancelled = true;
        self.is_over.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::bytes::Root;
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
