//! Power, clocks and temperature from the Attester's labels: figures and curves for people, never evidence.
//!
//! Labels of OPENINGS are named `device ORDINAL NAME`. Summaries are `energy_j`, `mean_power_w`, `max_power_w`,
//! `min_sm_clock_mhz`, `mean_sm_clock_mhz`, `max_sm_clock_mhz`, `max_temperature_c` and `throttle_reasons`; series are `power_w`,
//! `sm_clock_mhz` and `temperature_c`, samples `s:value` separated by blanks: `s` is in seconds since READY.

use protocol::cbor::Label;
use serde::Serialize;

/// What one device reports about itself during a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StatedTelemetry {
    /// Summaries: name and number.
    pub summaries: Vec<(&'static str, f64)>,
    /// Power, (s, W).
    pub power_w: Vec<(f64, f64)>,
    /// Clock of the multiprocessors, (s, MHz).
    pub clock_mhz: Vec<(f64, f64)>,
    /// Temperature, (s, degrees Celsius).
    pub temperature_c: Vec<(f64, f64)>,
    /// Why its clocks were throttled; empty if they were not.
    pub throttle_reasons: Option<String>,
}

/// The summaries that are read.
const SUMMARIES: [&str; 7] = [
    "energy_j",
    "mean_power_w",
    "max_power_w",
    "min_sm_clock_mhz",
    "mean_sm_clock_mhz",
    "max_sm_clock_mhz",
    "max_temperature_c",
];

impl StatedTelemetry {
    /// What the labels of OPENINGS say about the device; values that do not parse are left out.
    #[must_use]
    pub fn of(device: u32, labels: &[Label]) -> Self {
        let of = |name: &str| label(labels, &format!("device {device} {name}"));
        let series = |name: &str| of(name).map(parse).unwrap_or_default();
        let summary = |name: &'static str| Some((name, of(name)?.parse().ok().filter(|value| is_figure(*value))?));
        StatedTelemetry {
            summaries: SUMMARIES.into_iter().filter_map(summary).collect(),
            power_w: series("power_w"),
            clock_mhz: series("sm_clock_mhz"),
            temperature_c: series("temperature_c"),
            throttle_reasons: of("throttle_reasons").map(str::to_owned),
        }
    }

    /// Highest power that it reports, W; 0 if it reports none.
    #[must_use]
    pub fn max_power_w(&self) -> f64 {
        self.highest("max_power_w", &self.power_w).unwrap_or(0.0)
    }

    /// Highest clock of the multiprocessors that it reports, MHz; `None` if it reports none.
    #[must_use]
    pub fn max_clock_mhz(&self) -> Option<f64> {
        self.highest("max_sm_clock_mhz", &self.clock_mhz)
    }

    /// The highest of a summary and a series; `None` if neither is positive.
    fn highest(&self, summary: &str, series: &[(f64, f64)]) -> Option<f64> {
        let summaries = self
            .summaries
            .iter()
            .filter(|(name, _)| *name == summary)
            .map(|(_, value)| *value);
        let highest = series
            .iter()
            .map(|sample| sample.1)
            .chain(summaries)
            .fold(0.0, f64::max);
        (highest > 0.0).then_some(highest)
    }
}

/// The value of the first label of this name.
#[must_use]
pub fn label<'a>(labels: &'a [Label], name: &str) -> Option<&'a str> {
    labels
        .iter()
        .find(|label| label.name == name)
        .map(|label| label.value.as_str())
}

fn parse(text: &str) -> Vec<(f64, f64)> {
    let sample = |pair: &str| -> Option<(f64, f64)> {
        let (seconds, value) = pair.split_once(':')?;
        let (seconds, value) = (seconds.parse::<f64>().ok()?, value.parse::<f64>().ok()?);
        (is_figure(seconds) && is_figure(value) && seconds >= 0.0).then_some((seconds, value))
    };
    let mut samples: Vec<_> = text.split_whitespace().filter_map(sample).collect();
    samples.sort_by(|a, b| a.0.total_cmp(&b.0));
    samples
}

fn is_figure(value: f64) -> bool {
    value.is_finite() && value.abs() < 1e12 && !is_sentinel(value)
}

/// Whether it is the value that NVML returns if it has no figure: all 32 bits set, or that many thousandths, rounded or not.
#[must_use]
pub fn is_sentinel(value: f64) -> bool {
    let sentinel = f64::from(u32::MAX);
    value == sentinel || (value - sentinel / 1000.0).abs() <= 0.5
}
