//! Which devices meet in which round: a tournament by the circle method, in which every two meet once (spec §4.8).

/// Rounds of a tournament of this many devices: with one device there is none, with an odd number one device rests in each.
#[must_use]
pub fn rounds(devices: usize) -> u32 {
    match devices {
        0 | 1 => 0,
        devices => (devices - 1 + devices % 2) as u32,
    }
}

/// Rounds in which each device meets another.
#[must_use]
pub fn meetings(devices: usize) -> u32 {
    devices.saturating_sub(1) as u32
}

/// Pairs that meet in each round.
#[must_use]
pub fn pairs(devices: usize) -> u32 {
    (devices / 2) as u32
}

/// Whom the device at `place` meets in `round` (< [`rounds`]), as a place; `None` if it rests.
#[must_use]
pub fn opponent(devices: usize, round: u32, place: usize) -> Option<usize> {
    // An odd number is made even by a place that is no device: who meets it rests.
    let last = devices - 1 + devices % 2;
    let round = round as usize;
    let opponent = if place == last {
        round
    } else {
        match (2 * round + last - place) % last {
            mirrored if mirrored == place => last,
            mirrored => mirrored,
        }
    };
    (opponent < devices).then_some(opponent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_two_devices_meet_once() {
        for devices in 2..=64 {
            let mut met = BTreeSet::new();
            for round in 0..rounds(devices) {
                let mut resting = 0;
                for place in 0..devices {
                    let Some(other) = opponent(devices, round, place) else {
                        resting += 1;
                        continue;
                    };
                    assert_ne!(other, place);
                    assert_eq!(
                        opponent(devices, round, other),
                        Some(place),
                        "{devices} devices, round {round}"
                    );
                    if place < other {
                        assert!(
                            met.insert((place, other)),
                            "{place} and {other} of {devices} meet twice"
                        );
                    }
                }
                assert_eq!(resting, devices % 2);
            }
            assert_eq!(met.len(), devices * (devices - 1) / 2);
            let all = met.len() as u32;
            assert_eq!(rounds(devices) * pairs(devices), all);
            assert_eq!(meetings(devices) * devices as u32, 2 * all);
        }
        assert_eq!((rounds(0), rounds(1), meetings(1)), (0, 0, 0));
    }

    #[test]
    fn four_devices_meet_in_the_order_of_the_specification() {
        let round = |round| [0, 1, 2, 3].map(|place| opponent(4, round, place).expect("an even number"));
        assert_eq!(
            [round(0), round(1), round(2)],
            [[3, 2, 1, 0], [2, 3, 0, 1], [1, 0, 3, 2]]
        );
        assert_eq!([0, 1, 2].map(|place| opponent(3, 1, place)), [Some(2), None, Some(0)]);
    }
}
