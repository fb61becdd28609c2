//! Assumptions that narrow the table of hardware on sale; bounds follow from them (spec §6.2).

use protocol::bounds::Assumptions;
use serde::{Deserialize, Serialize};
use verifier::preset::{DEFAULT_ERROR_BITS, default_assumptions};

use crate::profile::Profile;

/// Assumptions that the policy sets. An absent one is the worst on sale, or the one that the evidence was recorded with if
/// that is worse: evidence cannot weaken the assumptions of its judge (spec §6.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AssumptionsPolicy {
    /// η is 2^-this per device and group.
    pub error_bits: Option<u32>,
    /// Highest exact int8 rate of one GPU, operations/s.
    pub best_rate_ops_per_s: Option<u64>,
    /// GPUs that may regenerate bytes for one device, including itself.
    pub helper_gpus: Option<u64>,
    /// W_in, bytes/s.
    pub link_in_bytes_per_s: Option<u64>,
    /// W_out, bytes/s.
    pub link_out_bytes_per_s: Option<u64>,
    /// R: rate at which something that holds tiles elsewhere is assumed to read them, bytes/s.
    pub helper_bytes_per_s: Option<u64>,
    /// C, bytes.
    pub on_chip_bytes: Option<u64>,
    /// The most memory that one GPU behind the session has, bytes: what can hold the tiles of two devices needs no link between
    /// them. No evidence states it, so an absent one is always that of the hardware on sale.
    pub gpu_memory_bytes: Option<u64>,
}

impl AssumptionsPolicy {
    /// What the bounds assume on evidence that was recorded with these assumptions.
    #[must_use]
    pub fn applied_to(&self, recorded: &Assumptions) -> Assumptions {
        let default = default_assumptions(DEFAULT_ERROR_BITS);
        let of = |own: Option<u64>, default: u64, recorded: u64| own.unwrap_or(default.max(recorded));
        Assumptions {
            best_rate_ops_per_s: of(
                self.best_rate_ops_per_s,
                default.best_rate_ops_per_s,
                recorded.best_rate_ops_per_s,
            ),
            helper_gpus: of(self.helper_gpus, default.helper_gpus, recorded.helper_gpus),
            link_in_bytes_per_s: of(
                self.link_in_bytes_per_s,
                default.link_in_bytes_per_s,
                recorded.link_in_bytes_per_s,
            ),
            link_out_bytes_per_s: of(
                self.link_out_bytes_per_s,
                default.link_out_bytes_per_s,
                recorded.link_out_bytes_per_s,
            ),
            helper_bytes_per_s: of(
                self.helper_bytes_per_s,
                default.helper_bytes_per_s,
                recorded.helper_bytes_per_s,
            ),
            on_chip_bytes: of(self.on_chip_bytes, default.on_chip_bytes, recorded.on_chip_bytes),
            error_bits: self.error_bits.unwrap_or(default.error_bits.max(recorded.error_bits)),
        }
    }
}

/// The links of the class's hosts as assumptions, and its memory, which only bounds of links between GPUs depend on: without it
/// they would need GPUs of more than half the largest memory on sale. The rates of regeneration and the on-chip memory stay the
/// worst on sale: a host can use them in any device that it puts in place of the class.
#[must_use]
pub fn own_links(profile: &Profile) -> AssumptionsPolicy {
    let capacity = profile.capacity.as_ref();
    AssumptionsPolicy {
        link_in_bytes_per_s: capacity.and_then(|c| c.link_in_bytes_per_s),
        link_out_bytes_per_s: capacity.and_then(|c| c.link_out_bytes_per_s),
        gpu_memory_bytes: capacity.map(|c| c.memory_bytes),
        ..AssumptionsPolicy::default()
    }
}
