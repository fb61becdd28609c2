//! The assumptions behind bounds, as programs read them: the same names and units wherever they are written.

use protocol::bounds::Assumptions;
use serde::Serialize;

/// The assumptions about hardware, with units. The soundness error is separate: evidence of an offline session has its
/// own.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Assumed {
    /// Highest exact int8 rate of one GPU, operations/s.
    pub best_rate_ops_per_s: u64,
    /// GPUs that may regenerate bytes for one device, including itself.
    pub helper_gpus: u64,
    /// W_in, bytes/s.
    pub link_in_bytes_per_s: u64,
    /// W_out, bytes/s.
    pub link_out_bytes_per_s: u64,
    /// R, bytes/s.
    pub helper_bytes_per_s: u64,
    /// C, bytes.
    pub on_chip_bytes: u64,
}

impl From<&Assumptions> for Assumed {
    fn from(assumptions: &Assumptions) -> Self {
        let Assumptions {
            best_rate_ops_per_s,
            helper_gpus,
            link_in_bytes_per_s,
            link_out_bytes_per_s,
            helper_bytes_per_s,
            on_chip_bytes,
            error_bits: _,
        } = *assumptions;
        Assumed {
            best_rate_ops_per_s,
            helper_gpus,
            link_in_bytes_per_s,
            link_out_bytes_per_s,
            helper_bytes_per_s,
            on_chip_bytes,
        }
    }
}
