//! What a session certifies: lower bounds V, B, T and T_local in integers, every step rounded against the claim (spec §6).

use crate::limits::{MIN_INNER_DIM_FOR_MEMORY, MIN_SAMPLES_FOR_CLAIM};

/// What a bound takes for granted about hardware; a result states all of it (spec §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumptions {
    /// Best exact int8 rate of any known GPU, operations/s; G is this / 2k and 15 % more.
    pub best_rate_ops: u64,
    /// W_in: fastest host link inwards, bytes/s.
    pub link_in_bytes: u64,
    /// W_out: fastest host link outwards, bytes/s.
    pub link_out_bytes: u64,
    /// R: rate at which a helper that holds copies reads them, bytes/s.
    pub helper_bytes: u64,
    /// C: largest known on-chip memory, bytes.
    pub on_chip_bytes: u64,
    /// The soundness error of a device and claim is 2^-this.
    pub error_bits: u32,
}

/// One device's figures in one group (distinct k), as the Verifier's clock gave them (spec §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// k of the group.
    pub inner_dim: u32,
    /// s: effective samples.
    pub samples: u32,
    /// N: bytes of the dataset.
    pub dataset_bytes: u64,
    /// Sum of the sweep windows, ns.
    pub sweep_ns: u64,
    /// Sweeps in those windows.
    pub sweeps: u64,
    /// Sum of the fill windows, ns.
    pub fill_ns: u64,
    /// Operations of those fills.
    pub operations: u128,
}

const NS_PER_S: u128 = 1_000_000_000;
/// ln 2 rounded up, in 10^-9: twenty of them are the 13.8629437 of spec §6.
const LN_2: u128 = 693_147_185;

impl Assumptions {
    /// G: bytes/s that can be regenerated at k, rounded up.
    #[must_use]
    pub fn regeneration_bytes(&self, inner_dim: u32) -> u128 {
        (u128::from(self.best_rate_ops) * 115).div_ceil(200 * u128::from(inner_dim))
    }

    /// G + W_in + W_out + R, bytes/s.
    fn elsewhere_bytes(&self, inner_dim: u32) -> u128 {
        let links = u128::from(self.link_in_bytes) + u128::from(self.link_out_bytes);
        self.regeneration_bytes(inner_dim) + links + u128::from(self.helper_bytes)
    }
}

impl Measured {
    /// V: bytes the device held; `None` where no claim is made.
    #[must_use]
    pub fn memory_bytes(&self, assumptions: &Assumptions) -> Option<u64> {
        (self.inner_dim >= MIN_INNER_DIM_FOR_MEMORY)
            .then(|| self.held_bytes(assumptions))
            .flatten()
    }

    /// B: bytes/s the device read its dataset with; `None` where no claim is made or nothing is left to claim.
    #[must_use]
    pub fn bandwidth_bytes(&self, assumptions: &Assumptions) -> Option<u64> {
        self.held_bytes(assumptions)?;
        let on_chip = u128::from(assumptions.on_chip_bytes);
        if self.inner_dim < MIN_INNER_DIM_FOR_MEMORY || u128::from(self.dataset_bytes) < 16 * on_chip {
            return None;
        }
        let read = self
            .right_share(self.dataset_bytes.into(), assumptions)?
            .checked_sub(on_chip)?;
        let rate = read.checked_mul(u128::from(self.sweeps) * NS_PER_S)? / u128::from(self.sweep_ns);
        positive(rate.checked_sub(assumptions.elsewhere_bytes(self.inner_dim))?)
    }

    /// T: operations/s of the system behind the device; `None` where no claim is made.
    #[must_use]
    pub fn tensor_ops(&self, assumptions: &Assumptions) -> Option<u64> {
        positive(self.right_share(self.raw_ops()?, assumptions)?)
    }

    /// T_local: operations/s that cannot have come in over a link; `None` where no claim is made or nothing is left.
    #[must_use]
    pub fn local_tensor_ops(&self, assumptions: &Assumptions) -> Option<u64> {
        let (raw, held) = (self.raw_ops()?, u128::from(self.held_bytes(assumptions)?));
        let dataset = u128::from(self.dataset_bytes);
        let local = (raw / dataset)
            .checked_mul(held)?
            .checked_add((raw % dataset).checked_mul(held)? / dataset)?;
        positive(local.checked_sub(2 * u128::from(self.inner_dim) * u128::from(assumptions.link_in_bytes))?)
    }

    /// N * sqrt(1 - f* - 2 (G + W_in + W_out + R) tau / N) at any k, rounded down.
    fn held_bytes(&self, assumptions: &Assumptions) -> Option<u64> {
        if self.sweeps == 0 || self.sweep_ns == 0 {
            return None;
        }
        let dataset = u128::from(self.dataset_bytes);
        let repaired = (2 * assumptions.elsewhere_bytes(self.inner_dim)).checked_mul(u128::from(self.sweep_ns))?;
        let repaired = repaired.div_ceil(u128::from(self.sweeps) * NS_PER_S);
        let left = self.right_share(dataset, assumptions)?.checked_sub(repaired)?;
        positive((dataset * left).isqrt())
    }

    /// T_raw: operations/s over the fill windows, rounded down.
    fn raw_ops(&self) -> Option<u128> {
        self.operations
            .checked_mul(NS_PER_S)?
            .checked_div(u128::from(self.fill_ns))
    }

    /// (1 - f*) * whole, rounded down; `None` with too few samples for a claim.
    fn right_share(&self, whole: u128, assumptions: &Assumptions) -> Option<u128> {
        if self.samples < MIN_SAMPLES_FOR_CLAIM {
            return None;
        }
        let wrong = whole.checked_mul(u128::from(assumptions.error_bits) * LN_2)?;
        whole.checked_sub(wrong.div_ceil(u128::from(self.samples) * NS_PER_S))
    }
}

fn positive(bound: u128) -> Option<u64> {
    u64::try_from(bound).ok().filter(|&bound| bound > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const H200: Assumptions = Assumptions {
        best_rate_ops: 1_360_000_000_000_000,
        link_in_bytes: 64_000_000_000,
        link_out_bytes: 64_000_000_000,
        helper_bytes: 0,
        on_chip_bytes: 128_000_000,
        error_bits: 20,
    };

    fn session(inner_dim: u32, samples: u32) -> Measured {
        let dataset_bytes = 139 << 30;
        Measured {
            inner_dim,
            samples,
            dataset_bytes,
            sweep_ns: 32 * 32_000_000,
            sweeps: 32,
            fill_ns: 1_000_000_000,
            operations: 1_300_000_000_000_000,
        }
    }

    fn theirs(m: &Measured) -> (reference::Measured, reference::Assumptions) {
        let tau = m.sweep_ns as f64 / m.sweeps as f64 / 1e9;
        let raw_rate = m.operations as f64 / (m.fill_ns as f64 / 1e9);
        let measured = reference::Measured {
            k: m.inner_dim as usize,
            samples: m.samples.into(),
            dataset: m.dataset_bytes as f64,
            tau,
            raw_rate,
        };
        let assumptions = reference::Assumptions {
            best_rate: H200.best_rate_ops as f64,
            link_in: H200.link_in_bytes as f64,
            link_out: H200.link_out_bytes as f64,
            helper_read: H200.helper_bytes as f64,
            on_chip: H200.on_chip_bytes as f64,
        };
        (measured, assumptions)
    }

    #[test]
    fn bounds_are_the_references_rounded_down() {
        // The reference gives the bare formula; a bound of zero or less claims nothing.
        let close = |ours: Option<u64>, theirs: Option<f64>| match (ours, theirs.filter(|&bound| bound > 0.0)) {
            (Some(ours), Some(theirs)) => assert!((ours as f64 / theirs - 1.0).abs() < 1e-7, "{ours} against {theirs}"),
            (ours, theirs) => assert_eq!(ours.is_none(), theirs.is_none(), "{ours:?} against {theirs:?}"),
        };
        for (inner_dim, samples) in [(16_384, 1024), (16_384, 256), (16_384, 255), (4096, 512), (2048, 1024)] {
            let measured = session(inner_dim, samples);
            let (m, a) = theirs(&measured);
            close(measured.memory_bytes(&H200), reference::bound_v(&m, &a));
            close(measured.bandwidth_bytes(&H200), reference::bound_b(&m, &a));
            close(measured.tensor_ops(&H200), reference::bound_t(&m));
            close(measured.local_tensor_ops(&H200), reference::bound_t_local(&m, &a));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bound_passes_what_was_measured_and_time_only_lowers_it(
            dataset_bytes in 1u64..1 << 48, sweep_ns in 1u64..1 << 44, sweeps in 1u64..65_536, samples in 256u32..65_536,
        ) {
            let fast = Measured { dataset_bytes, sweep_ns, sweeps, ..session(16_384, samples) };
            let slow = Measured { sweep_ns: sweep_ns * 2, ..fast };
            let fewer = Measured { samples: samples / 2 + 128, ..fast };
            proptest::prop_assert!(fast.memory_bytes(&H200).is_none_or(|v| v <= dataset_bytes));
            proptest::prop_assert!(slow.memory_bytes(&H200) <= fast.memory_bytes(&H200));
            proptest::prop_assert!(fewer.memory_bytes(&H200) <= fast.memory_bytes(&H200));
            proptest::prop_assert!(slow.bandwidth_bytes(&H200) <= fast.bandwidth_bytes(&H200));
            proptest::prop_assert!(fewer.tensor_ops(&H200) <= fast.tensor_ops(&H200));
        }
    }
}
