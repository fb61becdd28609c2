//! What an affirmed session certifies: bounds of the system behind it, and each device's share of them (spec §6).
//! Only [`VerifierSession::certified`] makes a [`Certified`].

use crate::bounds::{Assumptions, Measured, MeasuredIteration};
use crate::bytes::DeviceOrdinal;
use crate::limits::MIN_SAMPLES_FOR_BOUND;
use crate::plan::{DevicePlan, Plan};
use crate::verdict::Verdict;
use crate::verifier::{Mode, Step, VerifierSession, Windows};

/// A certified lower bound and the group it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<T = u64> {
    /// The bound, in its own unit.
    pub value: T,
    /// k of the group.
    pub inner_dim: u32,
}

/// The four bounds, or one value for each; `None` if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds<T = u64> {
    /// V: memory held, bytes.
    pub memory_bytes: Option<Bound<T>>,
    /// B: bandwidth it was read with, bytes/s.
    pub bandwidth_bytes_per_s: Option<Bound<T>>,
    /// T: int8 operations/s of the system.
    pub tensor_ops_per_s: Option<Bound<T>>,
    /// T_local: the part that cannot have come in over a link, operations/s.
    pub local_tensor_ops_per_s: Option<Bound<T>>,
}

/// Sums over all devices, each sum within one group: what the system behind the session had at the same time.
pub type HostBounds = Bounds<u128>;

/// One device's bounds, and the figures that they are derived from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCertified {
    /// The device.
    pub device: DeviceOrdinal,
    /// What the Verifier's clock measured, group by group.
    pub groups: Vec<Measured>,
    /// Its share of the host's bounds; which GPU of the system provided it is not stated.
    pub share: Bounds,
}

/// All that a session certifies; no other crate can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certified {
    /// What the bounds assume.
    pub assumptions: Assumptions,
    /// Each device's bounds, in plan order.
    pub devices: Vec<DeviceCertified>,
    /// For the system behind the session.
    pub host: HostBounds,
}

/// Why a session certifies nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NothingCertified {
    /// There is no affirmative verdict.
    #[error("the session is not affirmed")]
    NotAffirmed,
    /// The session ran without a Verifier's clock.
    #[error("no clock of a Verifier ran")]
    Offline,
}

impl VerifierSession {
    /// What the session certifies under these assumptions; no other code decides this (spec §6).
    ///
    /// # Errors
    ///
    /// [`NothingCertified`] unless it ran online and is affirmed.
    pub fn certified(&self, assumptions: &Assumptions) -> Result<Certified, NothingCertified> {
        match self.verdict() {
            Some(Verdict::Affirmed) => self.certified_by_samples(assumptions, |_, _| u32::MAX),
            _ => Err(NothingCertified::NotAffirmed),
        }
    }

    /// What the session would certify, while tiles are recomputed, if per device and k only the samples in `agreeing` had been
    /// drawn, all of which agree. It is not a verdict.
    ///
    /// # Errors
    ///
    /// [`NothingCertified`] unless it ran online and passed every cheaper check.
    pub fn certified_so_far(
        &self,
        assumptions: &Assumptions,
        agreeing: impl Fn(DeviceOrdinal, u32) -> u32,
    ) -> Result<Certified, NothingCertified> {
        match self.step() {
            Step::Check => self.certified_by_samples(assumptions, agreeing),
            _ => Err(NothingCertified::NotAffirmed),
        }
    }

    fn certified_by_samples(
        &self,
        assumptions: &Assumptions,
        samples: impl Fn(DeviceOrdinal, u32) -> u32,
    ) -> Result<Certified, NothingCertified> {
        if self.config().mode != Mode::Online {
            return Err(NothingCertified::Offline);
        }
        let plan = self.plan().ok_or(NothingCertified::NotAffirmed)?;
        if self.windows().len() != plan.iterations().len() {
            return Err(NothingCertified::NotAffirmed);
        }
        let measured = measured(plan, self.windows(), samples);
        let (host, shares) = system_bounds(&measured, assumptions);
        let devices = plan.devices().iter().zip(measured).zip(shares);
        Ok(Certified {
            assumptions: *assumptions,
            devices: devices
                .map(|((device, groups), share)| DeviceCertified {
                    device: device.ordinal,
                    share,
                    groups,
                })
                .collect(),
            host,
        })
    }
}

impl Certified {
    /// In how many ways samples can have missed what they must not: once for each device and group with bounds. All bounds
    /// together are false with at most this many times 2^-`error_bits` (spec §6.3).
    #[must_use]
    pub fn sampled_groups(&self) -> usize {
        let groups = self.devices.iter().flat_map(|device| &device.groups);
        groups.filter(|group| group.samples >= MIN_SAMPLES_FOR_BOUND).count()
    }
}

impl<T> Bounds<T> {
    /// Whether there is no bound at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let none = self.memory_bytes.is_none() && self.bandwidth_bytes_per_s.is_none();
        none && self.tensor_ops_per_s.is_none() && self.local_tensor_ops_per_s.is_none()
    }

    /// Whether the certified memory is faster than links and regeneration: a GPU has such memory, a CPU does not.
    #[must_use]
    pub fn shows_gpu_memory(&self) -> bool {
        self.memory_bytes.is_some() && self.bandwidth_bytes_per_s.is_some()
    }
}

/// What the system behind these devices had, and each device's share of it; each device has the same groups in the same order.
///
/// This is only arithmetic on the given figures: the result is certified only if they come from an affirmed session.
#[must_use]
pub fn system_bounds(devices: &[Vec<Measured>], assumptions: &Assumptions) -> (HostBounds, Vec<Bounds>) {
    bounds_with(devices, assumptions, Measured::memory_bytes)
}

/// The same for devices of several sessions, measured by their common windows: their sweeps are not synchronous (spec §6.5).
#[must_use]
pub fn joint_bounds(devices: &[Vec<Measured>], assumptions: &Assumptions) -> (HostBounds, Vec<Bounds>) {
    bounds_with(devices, assumptions, Measured::joint_memory_bytes)
}

fn bounds_with(
    devices: &[Vec<Measured>],
    assumptions: &Assumptions,
    memory_bytes: impl Fn(&Measured, &Assumptions) -> Option<u64>,
) -> (HostBounds, Vec<Bounds>) {
    let mut shares = vec![Bounds::default(); devices.len()];
    let host = Bounds {
        memory_bytes: summed(
            devices,
            |m| memory_bytes(m, assumptions),
            |at, share| shares[at].memory_bytes = share,
        ),
        bandwidth_bytes_per_s: summed(
            devices,
            |m| m.bandwidth_bytes_per_s(assumptions),
            |at, share| shares[at].bandwidth_bytes_per_s = share,
        ),
        tensor_ops_per_s: summed(
            devices,
            |m| m.tensor_ops_per_s(assumptions),
            |at, share| shares[at].tensor_ops_per_s = share,
        ),
        local_tensor_ops_per_s: summed(
            devices,
            |m| m.local_tensor_ops_per_s(assumptions),
            |at, share| shares[at].local_tensor_ops_per_s = share,
        ),
    };
    (host, shares)
}

/// The sum of a bound over all devices in the group with the largest sum, and each device's part. Groups are not mixed: a sum
/// holds at one time (spec §6.4; the test `bounds_of_different_groups_are_not_added`).
fn summed(
    devices: &[Vec<Measured>],
    bound: impl Fn(&Measured) -> Option<u64>,
    mut set_share: impl FnMut(usize, Option<Bound>),
) -> Option<Bound<u128>> {
    let groups = devices.iter().map(Vec::len).min().unwrap_or(0);
    let values = |group: usize| devices.iter().map(move |groups| &groups[group]);
    let sum = |group: usize| {
        let value: u128 = values(group).filter_map(&bound).map(u128::from).sum();
        let inner_dim = devices[0][group].inner_dim;
        (value > 0).then_some((group, Bound { value, inner_dim }))
    };
    let (group, best) = (0..groups).filter_map(sum).max_by_key(|(_, bound)| bound.value)?;
    for (at, measured) in values(group).enumerate() {
        let inner_dim = measured.inner_dim;
        set_share(at, bound(measured).map(|value| Bound { value, inner_dim }));
    }
    Some(best)
}

/// What the Verifier's clock measured, per device and group; the number of samples is at most the number drawn.
#[must_use]
pub fn measured(plan: &Plan, windows: &[Windows], samples: impl Fn(DeviceOrdinal, u32) -> u32) -> Vec<Vec<Measured>> {
    let group = |device: &DevicePlan, inner_dim: u32| {
        let drawn = plan.effective_samples(device, inner_dim);
        let iterations = plan.iterations().iter().zip(windows);
        Measured {
            inner_dim,
            samples: drawn.min(samples(device.ordinal, inner_dim)),
            dataset_bytes: plan.assignment(device).dataset_bytes(),
            iterations: iterations
                .filter(|(iteration, _)| iteration.inner_dim == inner_dim)
                .map(|(iteration, windows)| MeasuredIteration {
                    sweeps: iteration.sweeps,
                    fill_ns: windows.fill_ns,
                    sweep_ns: windows.sweep_ns,
                })
                .collect(),
        }
    };
    let groups = |device| plan.groups().into_iter().map(move |k| (device, k));
    let of_device = |device| groups(device).map(|(device, k)| group(device, k)).collect();
    plan.devices().iter().map(of_device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Identity;
    use crate::plan::{Deadlines, Iteration, PlanFields};

    const ASSUMPTIONS: Assumptions = Assumptions {
        best_rate_ops_per_s: 1_360_000_000_000_000,
        helper_gpus: 1,
        link_in_bytes_per_s: 6_400_000_000,
        link_out_bytes_per_s: 6_400_000_000,
        helper_bytes_per_s: 0,
        on_chip_bytes: 128_000_000,
        error_bits: 20,
    };

    /// Two devices of 64 and 32 GiB, three iterations in two groups.
    fn plan() -> Plan {
        let device = |ordinal, matrix_offset, num_matrices| DevicePlan {
            ordinal: DeviceOrdinal(ordinal),
            matrix_offset,
            num_matrices,
        };
        let iteration = |inner_dim, sweeps| Iteration::new(inner_dim, sweeps);
        Plan::new(PlanFields {
            session_id: [0; 16],
            verifier: Identity([0; 32]),
            verifier_name: String::new(),
            audience: String::new(),
            matrix_dim: 16_384,
            devices: vec![device(0, 0, 256), device(3, 256, 128)],
            iterations: vec![iteration(8_192, 8), iteration(16_384, 4), iteration(8_192, 6)],
            samples: 1024,
            deadlines: Deadlines {
                ready_ms: 1,
                fill_ms: 1,
                sweep_ms: 1,
                openings_ms: 1,
            },
        })
        .expect("within the bounds")
    }

    fn windows() -> Vec<Windows> {
        let windows = |fill_ns, sweep_ns| Windows {
            fill_ns,
            sweep_ns,
            ..Windows::default()
        };
        vec![
            windows(1_000_000_000, 8 * 20_000_000),
            windows(1_600_000_000, 4 * 16_000_000),
            windows(1_100_000_000, 6 * 20_000_000),
        ]
    }

    fn all_measured() -> Vec<Vec<Measured>> {
        measured(&plan(), &windows(), |_, _| u32::MAX)
    }

    #[test]
    fn a_group_is_measured_by_its_own_iterations() {
        for (groups, dataset_bytes) in all_measured().iter().zip([64 << 30, 32 << 30]) {
            let [first, second] = &groups[..] else {
                panic!("{} groups", groups.len());
            };
            let iteration = |sweeps, fill_ns, sweep_ns| MeasuredIteration {
                sweeps,
                fill_ns,
                sweep_ns,
            };
            assert_eq!(
                *first,
                Measured {
                    inner_dim: 8_192,
                    samples: 1024,
                    dataset_bytes,
                    iterations: vec![
                        iteration(8, 1_000_000_000, 160_000_000),
                        iteration(6, 1_100_000_000, 120_000_000)
                    ],
                }
            );
            assert_eq!(second.inner_dim, 16_384);
            assert_eq!(second.iterations, [iteration(4, 1_600_000_000, 64_000_000)]);
        }
        let few = measured(
            &plan(),
            &windows(),
            |g, k| if g.0 == 3 && k == 8_192 { 300 } else { u32::MAX },
        );
        let samples: Vec<Vec<u32>> = few.iter().map(|g| g.iter().map(|m| m.samples).collect()).collect();
        assert_eq!(samples, [[1024, 1024], [300, 1024]]);
    }

    type Of = fn(&Measured) -> Option<u64>;
    type OfHost = fn(&HostBounds) -> Option<Bound<u128>>;
    type OfShare = fn(&Bounds) -> Option<Bound>;
    const BOUNDS: [(Of, OfHost, OfShare); 4] = [
        (|m| m.memory_bytes(&ASSUMPTIONS), |h| h.memory_bytes, |b| b.memory_bytes),
        (
            |m| m.bandwidth_bytes_per_s(&ASSUMPTIONS),
            |h| h.bandwidth_bytes_per_s,
            |b| b.bandwidth_bytes_per_s,
        ),
        (
            |m| m.tensor_ops_per_s(&ASSUMPTIONS),
            |h| h.tensor_ops_per_s,
            |b| b.tensor_ops_per_s,
        ),
        (
            |m| m.local_tensor_ops_per_s(&ASSUMPTIONS),
            |h| h.local_tensor_ops_per_s,
            |b| b.local_tensor_ops_per_s,
        ),
    ];

    #[test]
    fn bounds_of_different_groups_are_not_added() {
        let devices = all_measured();
        let (host, shares) = system_bounds(&devices, &ASSUMPTIONS);
        for (bound, of_host, of_share) in BOUNDS {
            let sum = |group: usize| {
                devices
                    .iter()
                    .filter_map(|groups| bound(&groups[group]))
                    .map(u128::from)
                    .sum()
            };
            let sums: [u128; 2] = [sum(0), sum(1)];
            assert!(sums[0] > 0 && sums[1] > 0 && sums[0] != sums[1], "{sums:?}");
            let best = usize::from(sums[1] > sums[0]);
            let largest = of_host(&host).expect("a bound");
            assert_eq!((largest.value, largest.inner_dim), (sums[best], [8_192, 16_384][best]));
            // Shares add up to the host's bound.
            for (share, groups) in shares.iter().zip(&devices) {
                assert_eq!(of_share(share).map(|share| share.value), bound(&groups[best]));
            }
        }
        // The best group of one device is the other group, which does not increase the sum.
        let mut uneven = devices.clone();
        uneven[1][1].samples = 256;
        uneven[1][0].iterations.iter_mut().for_each(|i| i.sweep_ns /= 2);
        uneven[0][0].iterations.iter_mut().for_each(|i| i.sweep_ns *= 3);
        let value = |m: &Measured| m.memory_bytes(&ASSUMPTIONS).unwrap_or(0);
        assert!(value(&uneven[1][0]) > value(&uneven[1][1]) && value(&uneven[0][0]) < value(&uneven[0][1]));
        let (host, _) = system_bounds(&uneven, &ASSUMPTIONS);
        let best_of_each: u64 = uneven
            .iter()
            .map(|groups| groups.iter().map(value).max().unwrap_or(0))
            .sum();
        assert!(host.memory_bytes.expect("a bound").value < best_of_each.into());
    }

    #[test]
    fn nothing_is_certified_for_a_host_without_a_device_that_has_a_bound() {
        let devices = measured(
            &plan(),
            &[Windows::default(), Windows::default(), Windows::default()],
            |_, _| 1024,
        );
        let (host, shares) = system_bounds(&devices, &ASSUMPTIONS);
        assert!(host.is_empty() && shares.iter().all(Bounds::is_empty));
        assert_eq!(system_bounds(&[], &ASSUMPTIONS).0, HostBounds::default());
    }
}
