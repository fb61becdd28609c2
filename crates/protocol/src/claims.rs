//! What an affirmed session certifies, device by device and for the host: the bounds of its best groups (spec §6).

use crate::bounds::{Assumptions, Measured, MeasuredIteration};
use crate::bytes::DeviceOrdinal;
use crate::plan::{DevicePlan, Plan};
use crate::verifier::Windows;

/// A certified lower bound and the group it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The bound, in the claim's unit.
    pub value: u64,
    /// k of the group.
    pub inner_dim: u32,
}

/// The four claims; `None` where none is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// V: memory held, bytes.
    pub memory_bytes: Option<Bound>,
    /// B: bandwidth it was read with, bytes/s.
    pub bandwidth_bytes: Option<Bound>,
    /// T: int8 operations/s of the system.
    pub tensor_ops: Option<Bound>,
    /// T_local: the part that cannot have come in over a link, operations/s.
    pub local_tensor_ops: Option<Bound>,
}

/// One device's claims, and what they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceClaims {
    /// The device.
    pub device: DeviceOrdinal,
    /// Figures of each group.
    pub groups: Vec<GroupClaims>,
    /// The best of all groups.
    pub best: Bounds,
}

/// One device's figures in one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupClaims {
    /// What the Verifier's clock gave.
    pub measured: Measured,
    /// What follows from it.
    pub bounds: Bounds,
}

/// All that a session certifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What is taken for granted.
    pub assumptions: Assumptions,
    /// Each device's claims, in plan order.
    pub devices: Vec<DeviceClaims>,
    /// For the host: sums over its devices, over those that make the claim.
    pub host: HostBounds,
}

/// Sums of the devices' bounds; `None` where no device makes the claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostBounds {
    /// V, bytes.
    pub memory_bytes: Option<u128>,
    /// B, bytes/s.
    pub bandwidth_bytes: Option<u128>,
    /// T, operations/s: the primary claim.
    pub tensor_ops: Option<u128>,
    /// T_local, operations/s.
    pub local_tensor_ops: Option<u128>,
}

impl Claims {
    /// The claims of a finished session with these windows, one an iteration.
    #[must_use]
    pub fn new(plan: &Plan, windows: &[Windows], assumptions: &Assumptions) -> Self {
        Claims::of_samples(plan, windows, assumptions, |_, _| u32::MAX)
    }

    /// The claims if only so many samples of a device and k were drawn, and all of them agree: `samples` says how many.
    /// More than were drawn count as those.
    #[must_use]
    pub fn of_samples(
        plan: &Plan,
        windows: &[Windows],
        assumptions: &Assumptions,
        samples: impl Fn(DeviceOrdinal, u32) -> u32,
    ) -> Self {
        let devices: Vec<DeviceClaims> = plan
            .devices()
            .iter()
            .map(|device| {
                let groups: Vec<GroupClaims> = plan
                    .groups()
                    .into_iter()
                    .map(|inner_dim| {
                        let mut measured = measured(plan, device, inner_dim, windows);
                        measured.samples = measured.samples.min(samples(device.ordinal, inner_dim));
                        GroupClaims {
                            bounds: Bounds::new(&measured, assumptions),
                            measured,
                        }
                    })
                    .collect();
                DeviceClaims {
                    device: device.ordinal,
                    best: groups.iter().fold(Bounds::default(), |best, g| best.best_of(&g.bounds)),
                    groups,
                }
            })
            .collect();
        let sum = |claim: fn(&Bounds) -> Option<Bound>| {
            devices
                .iter()
                .filter_map(|device| claim(&device.best))
                .map(|bound| u128::from(bound.value))
                .reduce(|a, b| a + b)
        };
        let host = HostBounds {
            memory_bytes: sum(|b| b.memory_bytes),
            bandwidth_bytes: sum(|b| b.bandwidth_bytes),
            tensor_ops: sum(|b| b.tensor_ops),
            local_tensor_ops: sum(|b| b.local_tensor_ops),
        };
        Claims {
            assumptions: *assumptions,
            devices,
            host,
        }
    }
}

impl Bounds {
    fn new(measured: &Measured, assumptions: &Assumptions) -> Self {
        let bound = |value: Option<u64>| {
            value.map(|value| Bound {
                value,
                inner_dim: measured.inner_dim,
            })
        };
        Bounds {
            memory_bytes: bound(measured.memory_bytes(assumptions)),
            bandwidth_bytes: bound(measured.bandwidth_bytes(assumptions)),
            tensor_ops: bound(measured.tensor_ops(assumptions)),
            local_tensor_ops: bound(measured.local_tensor_ops(assumptions)),
        }
    }

    fn best_of(self, other: &Bounds) -> Bounds {
        let best = |a: Option<Bound>, b: Option<Bound>| [a, b].into_iter().flatten().max_by_key(|bound| bound.value);
        Bounds {
            memory_bytes: best(self.memory_bytes, other.memory_bytes),
            bandwidth_bytes: best(self.bandwidth_bytes, other.bandwidth_bytes),
            tensor_ops: best(self.tensor_ops, other.tensor_ops),
            local_tensor_ops: best(self.local_tensor_ops, other.local_tensor_ops),
        }
    }
}

fn measured(plan: &Plan, device: &DevicePlan, inner_dim: u32, windows: &[Windows]) -> Measured {
    let iterations = plan.iterations().iter().zip(windows);
    Measured {
        inner_dim,
        samples: plan.effective_samples(device, inner_dim),
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::Identity;
    use crate::plan::{Deadlines, Iteration, PlanFields};

    const ASSUMPTIONS: Assumptions = Assumptions {
        best_rate_ops: 1_360_000_000_000_000,
        link_in_bytes: 6_400_000_000,
        link_out_bytes: 6_400_000_000,
        helper_bytes: 0,
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
        let iteration = |inner_dim, sweeps| Iteration { inner_dim, sweeps };
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

    #[test]
    fn a_group_is_measured_by_its_own_iterations() {
        let claims = Claims::new(&plan(), &windows(), &ASSUMPTIONS);
        let ordinals: Vec<_> = claims.devices.iter().map(|device| device.device).collect();
        assert_eq!(ordinals, [DeviceOrdinal(0), DeviceOrdinal(3)]);
        for (device, dataset_bytes) in claims.devices.iter().zip([64 << 30, 32 << 30]) {
            let [first, second] = &device.groups[..] else {
                panic!("{} groups", device.groups.len());
            };
            let iteration = |sweeps, fill_ns, sweep_ns| MeasuredIteration {
                sweeps,
                fill_ns,
                sweep_ns,
            };
            assert_eq!(
                first.measured,
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
            assert_eq!(second.measured.inner_dim, 16_384);
            assert_eq!(second.measured.iterations, [iteration(4, 1_600_000_000, 64_000_000)]);
        }
    }

    #[test]
    fn the_best_group_speaks_for_a_device_and_the_devices_for_the_host() {
        let claims = Claims::new(&plan(), &windows(), &ASSUMPTIONS);
        let value = |bound: Option<Bound>| bound.map(|bound| (bound.value, bound.inner_dim));
        for device in &claims.devices {
            let [first, second] = &device.groups[..] else {
                panic!("{} groups", device.groups.len());
            };
            for claim in [
                |b: &Bounds| b.memory_bytes,
                |b: &Bounds| b.bandwidth_bytes,
                |b: &Bounds| b.tensor_ops,
                |b: &Bounds| b.local_tensor_ops,
            ] {
                let of_groups = [value(claim(&first.bounds)), value(claim(&second.bounds))];
                assert!(of_groups[1].is_some(), "{}: {of_groups:?}", device.device);
                assert_eq!(value(claim(&device.best)), of_groups.into_iter().max().flatten());
            }
            assert_eq!(
                value(second.bounds.tensor_ops),
                second.measured.tensor_ops(&ASSUMPTIONS).map(|ops| (ops, 16_384))
            );
        }
        let sum = |claim: fn(&Bounds) -> Option<Bound>| {
            let values = claims.devices.iter().filter_map(|device| claim(&device.best));
            Some(values.map(|bound| u128::from(bound.value)).sum())
        };
        assert_eq!(claims.host.memory_bytes, sum(|b| b.memory_bytes));
        assert_eq!(claims.host.bandwidth_bytes, sum(|b| b.bandwidth_bytes));
        assert_eq!(claims.host.tensor_ops, sum(|b| b.tensor_ops));
        assert_eq!(claims.host.local_tensor_ops, sum(|b| b.local_tensor_ops));
    }

    #[test]
    fn a_host_claims_nothing_where_no_device_does() {
        let without_windows = vec![Windows::default(); 3];
        let claims = Claims::new(&plan(), &without_windows, &ASSUMPTIONS);
        assert_eq!(claims.host, HostBounds::default());
        assert!(claims.devices.iter().all(|device| device.best == Bounds::default()));
    }
}
