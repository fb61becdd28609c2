//! Which leaves the Verifier opens: distinct, uniform, and re-derivable by anyone from 32 bytes (spec §5).

use std::collections::HashSet;

use crate::bytes::{DeviceOrdinal, Fresh};
use crate::derive::keystream;
use crate::engine::Pass;
use crate::plan::Plan;

/// One leaf to open: iterations count from 0, sweeps from 1 (spec §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sample {
    /// The device that holds the leaf.
    pub device: DeviceOrdinal,
    /// Iteration, from 0.
    pub iteration: u32,
    /// Sweep or round within the iteration.
    pub pass: Pass,
    /// Leaf within it, from 0.
    pub leaf: u32,
}

/// All samples of a session under `seed`: devices in ordinal order, each device's groups in plan order (spec §5).
#[must_use]
pub fn samples(plan: &Plan, seed: &Fresh) -> Vec<Sample> {
    let mut draws = Draws {
        seed: *seed,
        position: 0,
        buffer: Vec::new(),
    };
    let mut samples = Vec::new();
    for (place, device) in plan.devices().iter().enumerate() {
        let leaves = u64::from(plan.sweep_leaves(device));
        for inner_dim in plan.groups() {
            let total = plan.group_leaves(device, inner_dim);
            for index in draws.distinct(total, plan.effective_samples(device, inner_dim)) {
                let (sweep_index, leaf) = (index / leaves, index % leaves);
                let (iteration, sweep) = locate(plan, inner_dim, sweep_index);
                samples.push(Sample {
                    device: device.ordinal,
                    iteration,
                    pass: Pass::Sweep(sweep),
                    leaf: leaf as u32,
                });
            }
            let total = plan.group_crossing_leaves(inner_dim);
            for index in draws.distinct(total, plan.effective_crossing_samples(inner_dim)) {
                let (iteration, round, leaf) = locate_crossing(plan, place, inner_dim, index);
                samples.push(Sample {
                    device: device.ordinal,
                    iteration,
                    pass: Pass::Round(round),
                    leaf,
                });
            }
        }
    }
    samples
}

/// The iteration (from 0) and sweep (from 1) of the `sweep_index`-th sweep (from 0) with this k.
fn locate(plan: &Plan, inner_dim: u32, sweep_index: u64) -> (u32, u32) {
    let mut before = 0;
    for (t, iteration) in plan
        .iterations()
        .iter()
        .enumerate()
        .filter(|(_, i)| i.inner_dim == inner_dim)
    {
        let next = before + u64::from(iteration.sweeps);
        if sweep_index < next {
            return (t as u32, (sweep_index - before) as u32 + 1);
        }
        before = next;
    }
    unreachable!("sweep {sweep_index} is drawn below the group's {before}")
}

/// The iteration, round and leaf (all from 0) of the `index`-th leaf of the rounds with this k in which the device at `place`
/// meets another.
fn locate_crossing(plan: &Plan, place: usize, inner_dim: u32, mut index: u64) -> (u32, u32, u32) {
    let iterations = (0..).zip(plan.iterations()).filter(|(_, i)| i.inner_dim == inner_dim);
    for (t, iteration) in iterations {
        let leaves = 2 * u64::from(iteration.crossings);
        for round in (0..plan.rounds(t)).filter(|&round| plan.opponent(round, place).is_some()) {
            if index < leaves {
                return (t, round, index as u32);
            }
            index -= leaves;
        }
    }
    unreachable!("a crossing is drawn below the group's number of them")
}

/// One continuous stream of u64s from `keystream(seed, zeros)`.
struct Draws {
    seed: Fresh,
    position: u64,
    buffer: Vec<u8>,
}

impl Draws {
    /// `count` distinct indices below `total`, in the order drawn: rejection keeps them uniform, repeats are skipped.
    fn distinct(&mut self, total: u64, count: u32) -> Vec<u64> {
        if count == 0 {
            return Vec::new();
        }
        // The largest (2^64 mod total) draws would favour small indices.
        let rejected = (u64::MAX % total + 1) % total;
        let mut seen = HashSet::new();
        let mut indices = Vec::new();
        while indices.len() < count as usize {
            let x = self.next();
            if x <= u64::MAX - rejected && seen.insert(x % total) {
                indices.push(x % total);
            }
        }
        indices
    }

    fn next(&mut self) -> u64 {
        let at = (self.position % 4096) as usize;
        if at == 0 {
            self.buffer.resize(4096, 0);
            keystream(&self.seed.0, &[0; 12], self.position, &mut self.buffer);
        }
        self.position += 8;
        u64::from_le_bytes(self.buffer[at..at + 8].try_into().expect("eight bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws() -> Draws {
        Draws {
            seed: Fresh([0x5A; 32]),
            position: 0,
            buffer: Vec::new(),
        }
    }

    /// The u64s of the stream, read at once.
    fn stream(count: usize) -> Vec<u64> {
        let mut bytes = vec![0; 8 * count];
        keystream(&[0x5A; 32], &[0; 12], 0, &mut bytes);
        bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|x| u64::from_le_bytes(*x))
            .collect()
    }

    #[test]
    fn draws_go_on_where_a_buffer_ends() {
        let mut draws = draws();
        let drawn: Vec<u64> = (0..1300).map(|_| draws.next()).collect();
        assert_eq!(drawn, stream(1300));
    }

    /// Totals far above those of plans, where half of the draws or none would favour small indices.
    #[test]
    fn what_would_favour_small_indices_is_rejected_and_nothing_else() {
        let all = stream(200);
        let odd = (1 << 63) + 1;
        let kept: Vec<u64> = all.iter().copied().filter(|&x| x < odd).take(40).collect();
        assert_eq!(draws().distinct(odd, 40), kept);
        let even: u64 = 1 << 63;
        let kept: Vec<u64> = all.iter().map(|x| x % even).take(40).collect();
        assert_eq!(draws().distinct(even, 40), kept);
    }
}
