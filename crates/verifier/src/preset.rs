//! Ready-made requests: how much work a session is, and the assumptions of its bounds.

use std::str::FromStr;

use protocol::bounds::Assumptions;
use protocol::bytes::Identity;
use protocol::plan::{Deadlines, Iteration};
use protocol::request::PlanRequest;

use crate::hardware::ON_SALE;

/// k of the iterations for V, B and T. A larger k lowers G and makes fills longer. With this k a `standard` session
/// certifies 0.93 of an H200's memory if links are PCIe 5.0 (docs/performance.md).
pub const LONG_INNER_DIM: u32 = 20_480;

/// The default soundness error of a device and distinct k is 2^-this.
pub const DEFAULT_ERROR_BITS: u32 = 20;

/// How much work a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// 16 MiB per device: shows within seconds that everything works.
    Smoke,
    /// All memory that each device offers: 32 sweeps at k = 20480, two short iterations at k = 2048, 1280 samples.
    Standard,
    /// All memory that each device offers, 32 sweeps at k = 65536: bytes are so expensive that eight helpers regenerate
    /// few of them.
    Strict,
    /// `Standard` for minutes: shows heat, throttling and errors.
    Soak,
}

impl Preset {
    /// All presets, least work first.
    pub const ALL: [Preset; 4] = [Preset::Smoke, Preset::Standard, Preset::Strict, Preset::Soak];

    /// The preset's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Preset::Smoke => "smoke",
            Preset::Standard => "standard",
            Preset::Strict => "strict",
            Preset::Soak => "soak",
        }
    }

    /// Its description in help.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Preset::Smoke => "16 MiB per device: shows within seconds that everything works",
            Preset::Standard => "All offered memory; excludes one GPU that regenerates bytes",
            Preset::Strict => "All offered memory at k = 65536; excludes eight GPUs that regenerate bytes",
            Preset::Soak => "Standard for minutes: shows heat, throttling and errors",
        }
    }

    /// GPUs that may regenerate bytes for one device: the bounds of this preset account for this many and hold
    /// nevertheless.
    #[must_use]
    pub fn helper_gpus(self) -> u64 {
        match self {
            Preset::Strict => 8,
            Preset::Smoke | Preset::Standard | Preset::Soak => 1,
        }
    }

    /// The request of this preset; the caller sets session id, names and audience.
    #[must_use]
    pub fn request(self, verifier: Identity) -> PlanRequest {
        let iteration = |inner_dim, sweeps| Iteration::new(inner_dim, sweeps);
        let (device_bytes, iterations, samples, minutes) = match self {
            Preset::Smoke => (Some(16 << 20), vec![iteration(16_384, 8), iteration(2_048, 2)], 256, 5),
            // Two sweeps for each of the short ones: T_local loses what could be received while they last, and what
            // could be answered elsewhere in one of them, including the Verifier's round trip (docs/performance.md).
            Preset::Standard => (
                None,
                vec![
                    // Between several devices, as many leaves as cross at most.
                    Iteration {
                        crossings: u32::MAX,
                        ..iteration(LONG_INNER_DIM, 32)
                    },
                    iteration(2_048, 2),
                    iteration(2_048, 2),
                ],
                1_280,
                30,
            ),
            Preset::Strict => {
                let iteration = Iteration {
                    crossings: u32::MAX,
                    ..iteration(65_536, 32)
                };
                (None, vec![iteration], 1_024, 60)
            }
            Preset::Soak => {
                let mut iterations = vec![iteration(LONG_INNER_DIM, 64); 24];
                iterations.extend([iteration(2_048, 2); 4]);
                (None, iterations, 2_048, 120)
            }
        };
        let limit_ms = minutes * 60_000;
        PlanRequest {
            session_id: [0; 16],
            verifier,
            verifier_name: String::new(),
            audience: String::new(),
            matrix_dim: (self == Preset::Smoke).then_some(512),
            devices: None,
            device_bytes,
            iterations,
            samples,
            deadlines: Deadlines {
                ready_ms: limit_ms,
                fill_ms: limit_ms,
                sweep_ms: limit_ms,
                openings_ms: limit_ms,
            },
        }
    }
}

impl FromStr for Preset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Preset::ALL
            .into_iter()
            .find(|preset| preset.name() == text)
            .ok_or_else(|| format!("{text:?} is none of smoke, standard, strict, soak"))
    }
}

/// The assumptions of bounds unless a policy narrows them: [`ON_SALE`] and one GPU's rate to regenerate bytes (spec
/// §6).
#[must_use]
pub fn default_assumptions(error_bits: u32) -> Assumptions {
    ON_SALE.assumptions(error_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse(), Ok(preset));
        }
        assert!("quick".parse::<Preset>().is_err());
    }
}
