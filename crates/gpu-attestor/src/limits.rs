//! Options that limit a remote Verifier.

use std::time::Duration;

use attester::Limits;
use clap::Args;
use cli::parse_duration;

/// Limits of a session with a Verifier elsewhere.
#[derive(Args)]
pub(crate) struct LimitOptions {
    /// How long the Verifier may be silent when its message is due; then the session is cancelled and its memory freed. A
    /// Verifier of many hosts waits for the slowest one [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_idle: Option<Duration>,

    /// How long a session may take; then it is cancelled and its memory freed [default: 2h]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_session: Option<Duration>,

    /// Most work per device that a plan may request, in operations; a byte swept counts as 256. A larger plan is refused
    /// before any memory is taken [default: 1e18]
    #[arg(long, value_name = "OPERATIONS", value_parser = parse_work)]
    max_work: Option<u128>,
}

impl LimitOptions {
    pub(crate) fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            idle: self.max_idle.unwrap_or(default.idle),
            session: self.max_session.unwrap_or(default.session),
            work: self.max_work.unwrap_or(default.work),
        }
    }
}

/// A number of operations, also with an exponent.
fn parse_work(text: &str) -> Result<u128, String> {
    if let Ok(work) = text.parse() {
        return Some(work).filter(|work| *work > 0).ok_or_else(expected);
    }
    let work = text.parse::<f64>().ok();
    work.filter(|work| work.is_finite() && *work >= 1.0)
        .map(|work| work as u128)
        .ok_or_else(expected)
}

fn expected() -> String {
    "expected a number of operations like 1e18, at least 1".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::bytes::{DeviceOrdinal, Identity};
    use protocol::limits::MAX_DEVICES;
    use protocol::plan::{DevicePlan, Iteration, Plan, PlanFields};
    use verifier::preset::Preset;

    #[test]
    fn work_is_a_number_of_operations() {
        assert_eq!(parse_work("1000000000000000001"), Ok(1_000_000_000_000_000_001));
        assert_eq!(parse_work("1e18"), Ok(1_000_000_000_000_000_000));
        assert_eq!(parse_work("2.5e3"), Ok(2500));
        for wrong in ["0", "", "-1", "0.5", "inf", "nan", "much"] {
            assert!(parse_work(wrong).is_err(), "{wrong}");
        }
    }

    /// The largest GPU on sale has 288 GB.
    #[test]
    fn every_preset_of_the_largest_gpu_is_within_the_default_limits() {
        const NUM_MATRICES: u32 = (288_000_000_000_u64 / (8192 * 8192)) as u32;
        // A quarter of the tiles crosses at most.
        let within = |iteration: Iteration| Iteration {
            crossings: iteration.crossings.min(NUM_MATRICES * 32 * 32 / 4),
            ..iteration
        };
        for preset in Preset::ALL {
            let request = preset.request(Identity([0; 32]));
            let plan = Plan::new(PlanFields {
                session_id: [0; 16],
                verifier: Identity([0; 32]),
                verifier_name: String::new(),
                audience: String::new(),
                matrix_dim: 8192,
                devices: (0..MAX_DEVICES as u32)
                    .map(|g| DevicePlan {
                        ordinal: DeviceOrdinal(g),
                        matrix_offset: u64::from(g * NUM_MATRICES),
                        num_matrices: NUM_MATRICES,
                    })
                    .collect(),
                iterations: request.iterations.into_iter().map(within).collect(),
                samples: request.samples,
                deadlines: request.deadlines,
            });
            let plan = plan.expect("a preset");
            let asked = protocol::driver::work(&plan)
                .map(|(_, work)| work)
                .max()
                .expect("one device");
            let limit = Limits::default().work;
            println!(
                "{}: {:.2e} of {:.0e} operations",
                preset.name(),
                asked as f64,
                limit as f64
            );
            assert!(2 * asked <= limit, "{}: {asked} operations", preset.name());
        }
    }
}
