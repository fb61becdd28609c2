//! Power, clocks and temperature as the Attester labels them: curves for people, never evidence.

use serde::Serialize;

use protocol::cbor::Label;

use crate::finding::label;

/// What one device says of itself during a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Telemetry {
    /// Power, (ms, W).
    pub power_w: Vec<(f64, f64)>,
    /// Clock of the multiprocessors, (ms, MHz).
    pub clock_mhz: Vec<(f64, f64)>,
    /// Temperature, (ms, degrees Celsius).
    pub temperature_c: Vec<(f64, f64)>,
    /// Why its clocks were held back.
    pub throttle: Option<String>,
}

impl Telemetry {
    /// What the labels of OPENINGS say of the device; what does not parse is left out.
    #[must_use]
    pub fn of(device: u32, labels: &[Label]) -> Self {
        let series = |name: &str| {
            label(labels, &format!("{device}.{name}"))
                .map(parse)
                .unwrap_or_default()
        };
        Telemetry {
            power_w: series("power_w"),
            clock_mhz: series("clock_mhz"),
            temperature_c: series("temperature_c"),
            throttle: label(labels, &format!("{device}.throttle")).map(str::to_owned),
        }
    }
}

fn parse(text: &str) -> Vec<(f64, f64)> {
    let sample = |pair: &str| -> Option<(f64, f64)> {
        let (ms, value) = pair.split_once(':')?;
        let (ms, value) = (ms.parse::<f64>().ok()?, value.parse::<f64>().ok()?);
        (ms.is_finite() && value.is_finite() && ms >= 0.0 && value.abs() < 1e9).then_some((ms, value))
    };
    let mut samples: Vec<_> = text.split_whitespace().filter_map(sample).collect();
    samples.sort_by(|a, b| a.0.total_cmp(&b.0));
    samples
}
