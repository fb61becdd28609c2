//! Ready-made requests: how much work a session is, and what its claims take for granted.

use std::str::FromStr;

use protocol::bounds::Assumptions;
use protocol::bytes::Identity;
use protocol::plan::{Deadlines, Iteration};
use protocol::request::PlanRequest;

/// How much work a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// 16 MiB a device: shows in seconds that everything works.
    Smoke,
    /// All that each device offers: 32 sweeps at k = 16384, two short iterations at k = 2048, 1024 samples.
    Standard,
    /// `Standard` for minutes: heat, throttling and errors show.
    Soak,
}

impl Preset {
    /// All presets, least work first.
    pub const ALL: [Preset; 3] = [Preset::Smoke, Preset::Standard, Preset::Soak];

    /// The preset's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Preset::Smoke => "smoke",
            Preset::Standard => "standard",
            Preset::Soak => "soak",
        }
    }

    /// The request of this preset; session id, names and audience are the caller's to fill in.
    #[must_use]
    pub fn request(self, verifier: Identity) -> PlanRequest {
        let iteration = |inner_dim, sweeps| Iteration { inner_dim, sweeps };
        let (device_bytes, iterations, samples, minutes) = match self {
            Preset::Smoke => (Some(16 << 20), vec![iteration(16_384, 8), iteration(2_048, 2)], 256, 5),
            Preset::Standard => (
                None,
                vec![iteration(16_384, 32), iteration(2_048, 4), iteration(2_048, 4)],
                1_024,
                30,
            ),
            Preset::Soak => {
                let mut iterations = vec![iteration(16_384, 64); 24];
                iterations.extend([iteration(2_048, 4); 4]);
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
            .ok_or_else(|| format!("{text:?} is none of smoke, standard, soak"))
    }
}

/// What claims take for granted unless told otherwise: the exact int8 rate of the fastest measured GPU, links of
/// PCIe 5.0 x16, no helpers, and 128 MiB of memory on the chip (spec §6).
#[must_use]
pub fn default_assumptions(error_bits: u32) -> Assumptions {
    Assumptions {
        // An H100 SXM 80 GB with a cool start: 1505 (docs/performance.md).
        best_rate_ops: 1_505_000_000_000_000,
        link_in_bytes: 64_000_000_000,
        link_out_bytes: 64_000_000_000,
        helper_bytes: 0,
        on_chip_bytes: 128 << 20,
        error_bits,
    }
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
