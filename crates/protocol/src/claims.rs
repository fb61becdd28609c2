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
        let devices: Vec<DeviceClaims> = plan
            .devices()
            .iter()
            .map(|device| {
                let groups: Vec<GroupClaims> = plan
                    .groups()
                    .into_iter()
                    .map(|inner_dim| {
                        let measured = measured(plan, device, inner_dim, windows);
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
