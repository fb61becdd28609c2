//! Power, clocks, temperature and throttling of a device while it works: labels, never evidence.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use protocol::limits::MAX_TEXT_BYTES;

use crate::inventory::{throttle_names, watts};
use crate::nvml::{self, ANSWER_WITHIN, known};

/// Interval between samples.
const INTERVAL: Duration = Duration::from_millis(100);

/// NVML is not available, does not know the device, or does not respond.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoTelemetry(String);

/// A thread that samples one device every 100 ms until it is finished or dropped.
pub struct NvmlWatch {
    stop: mpsc::Sender<()>,
    outcome: Receiver<TelemetrySummary>,
}

/// Telemetry from start to finish. Values that NVML does not report for a device are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TelemetrySummary {
    /// Duration of the telemetry (ns).
    pub elapsed_ns: u64,
    /// Number of samples.
    pub samples: u32,
    /// Energy, by the card's own counter (J).
    pub energy_j: Option<f64>,
    /// Mean of the power samples (W).
    pub mean_power_w: Option<f64>,
    /// Highest power sample (W).
    pub max_power_w: Option<f64>,
    /// Lowest SM clock (MHz).
    pub min_sm_clock_mhz: Option<u32>,
    /// Mean SM clock (MHz).
    pub mean_sm_clock_mhz: Option<f64>,
    /// Highest SM clock (MHz).
    pub max_sm_clock_mhz: Option<u32>,
    /// Highest temperature of the die (degrees Celsius).
    pub max_temperature_c: Option<u32>,
    /// Reasons for throttled clocks in at least one sample.
    pub throttle_reasons: Vec<String>,
    /// Power (W) over time.
    pub power_w: Series,
    /// SM clock (MHz) over time.
    pub sm_clock_mhz: Series,
    /// Temperature of the die (degrees Celsius) over time.
    pub temperature_c: Series,
}

/// Samples of one quantity: seconds since the start, and the value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series(pub Vec<(f64, f64)>);

impl Series {
    /// Most points of a [`Series::curve`].
    pub const CURVE_POINTS: usize = 16;

    fn push(&mut self, at: Duration, value: f64) {
        self.0.push((at.as_secs_f64(), value));
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|(_, value)| *value)
    }

    fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.values().sum::<f64>() / self.0.len() as f64)
    }

    fn least(&self) -> Option<f64> {
        self.values().reduce(f64::min)
    }

    fn most(&self) -> Option<f64> {
        self.values().reduce(f64::max)
    }

    /// The samples as text for a label: `0.3:412 0.9:690`, seconds and value, each point the mean of the same number of
    /// samples.
    #[must_use]
    pub fn curve(&self) -> String {
        let samples_per_point = self.0.len().div_ceil(Self::CURVE_POINTS).max(1);
        let points = self.0.chunks(samples_per_point).map(|samples| {
            let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / samples.len() as f64;
            format!("{:.1}:{:.0}", mean(|sample| sample.0), mean(|sample| sample.1))
        });
        points.collect::<Vec<_>>().join(" ")
    }
}

impl NvmlWatch {
    /// Starts to sample the device with this UUID, as in [`crate::DeviceInfo`].
    ///
    /// # Errors
    ///
    /// [`NoTelemetry`] without NVML or such a device, or if NVML does not respond within 5 s.
    pub fn start(uuid: &str) -> Result<Self, NoTelemetry> {
        let (stop, stopped) = mpsc::channel::<()>();
        let (summary, outcome) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel();
        let uuid = uuid.to_owned();
        let watch = move || {
            let nvml = match nvml::start() {
                Ok(nvml) => nvml,
                // The caller may have given up.
                Err(why) => return drop(begun.send(Err(why))),
            };
            match nvml::device(&nvml, &uuid) {
                Ok((device, _)) => {
                    let _ = begun.send(Ok(()));
                    let _ = summary.send(watch(&device, &stopped));
                }
                Err(why) => drop(begun.send(Err(why))),
            }
        };
        thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(watch)
            .map_err(|error| NoTelemetry(format!("no thread: {error}")))?;
        match has_begun.recv_timeout(ANSWER_WITHIN) {
            Ok(begun) => begun.map_err(NoTelemetry)?,
            Err(RecvTimeoutError::Timeout) => return Err(NoTelemetry(nvml::no_answer(ANSWER_WITHIN))),
            Err(RecvTimeoutError::Disconnected) => return Err(NoTelemetry("the watch failed".to_owned())),
        }
        Ok(NvmlWatch { stop, outcome })
    }

    /// Stops and returns the telemetry.
    ///
    /// # Errors
    ///
    /// [`NoTelemetry`] if NVML does not respond within 5 s: the thread is then abandoned.
    pub fn finish(self) -> Result<TelemetrySummary, NoTelemetry> {
        let NvmlWatch { stop, outcome } = self;
        // A thread that has ended needs no message.
        let _ = stop.send(());
        outcome.recv_timeout(ANSWER_WITHIN).map_err(|error| match error {
            RecvTimeoutError::Timeout => NoTelemetry(nvml::no_answer(ANSWER_WITHIN)),
            RecvTimeoutError::Disconnected => NoTelemetry("the watch failed".to_owned()),
        })
    }
}

/// Samples until stopped, or until the sender is dropped.
fn watch(device: &Device<'_>, stopped: &Receiver<()>) -> TelemetrySummary {
    let mut samples = Samples::default();
    let start = Instant::now();
    let energy = || device.total_energy_consumption().ok().and_then(known);
    let energy_before = energy();
    loop {
        samples.take(device, start.elapsed());
        // Anything but a timeout means stop: a message, or a dropped sender.
        if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    TelemetrySummary {
        elapsed_ns: start.elapsed().as_nanos() as u64,
        energy_j: energy_before
            .zip(energy())
            .map(|(before, after)| after.saturating_sub(before) as f64 / 1000.0),
        ..samples.summary()
    }
}

#[derive(Default)]
struct Samples {
    count: u32,
    power_w: Series,
    sm_clock_mhz: Series,
    temperature_c: Series,
    throttle_reasons: Vec<String>,
}

impl Samples {
    fn take(&mut self, device: &Device<'_>, at: Duration) {
        self.count += 1;
        // Quantities that NVML does not report have no samples.
        if let Some(power) = device.power_usage().ok().and_then(known) {
            self.power_w.push(at, watts(power));
        }
        if let Some(clock) = device.clock_info(Clock::SM).ok().and_then(known) {
            self.sm_clock_mhz.push(at, clock.into());
        }
        if let Some(temperature) = device.temperature(TemperatureSensor::Gpu).ok().and_then(known) {
            self.temperature_c.push(at, temperature.into());
        }
        for reason in device
            .current_throttle_reasons()
            .map(throttle_names)
            .unwrap_or_default()
        {
            if !self.throttle_reasons.contains(&reason) {
                self.throttle_reasons.push(reason);
            }
        }
    }

    fn summary(self) -> TelemetrySummary {
        let whole = |value: Option<f64>| value.map(|value| value as u32);
        TelemetrySummary {
            samples: self.count,
            mean_power_w: self.power_w.mean(),
            max_power_w: self.power_w.most(),
            min_sm_clock_mhz: whole(self.sm_clock_mhz.least()),
            mean_sm_clock_mhz: self.sm_clock_mhz.mean(),
            max_sm_clock_mhz: whole(self.sm_clock_mhz.most()),
            max_temperature_c: whole(self.temperature_c.most()),
            throttle_reasons: self.throttle_reasons,
            power_w: self.power_w,
            sm_clock_mhz: self.sm_clock_mhz,
            temperature_c: self.temperature_c,
            ..TelemetrySummary::default()
        }
    }
}

impl TelemetrySummary {
    /// Most labels per device: those of eight devices fit a session.
    pub const MAX_LABELS: usize = 8;

    /// Names and values for a session's labels, only those known, the most important first; `power_w`, `sm_clock_mhz`
    /// and `temperature_c` are curves ([`Series::curve`]).
    #[must_use]
    pub fn labels(&self) -> Vec<(String, String)> {
        let mut labels = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            labels.extend(value.map(|mut value| {
                value.truncate(value.floor_char_boundary(MAX_TEXT_BYTES));
                (name.to_owned(), value)
            }));
        };
        let rounded = |value: Option<f64>| value.map(|value| format!("{value:.1}"));
        let curve = |series: &Series| (!series.0.is_empty()).then(|| series.curve());
        add("energy_j", rounded(self.energy_j));
        add("mean_power_w", rounded(self.mean_power_w));
        add("mean_sm_clock_mhz", rounded(self.mean_sm_clock_mhz));
        add(
            "max_temperature_c",
            self.max_temperature_c.map(|value| value.to_string()),
        );
        add("power_w", curve(&self.power_w));
        add("sm_clock_mhz", curve(&self.sm_clock_mhz));
        add("temperature_c", curve(&self.temperature_c));
        add(
            "throttle_reasons",
            (self.samples > 0).then(|| self.throttle_reasons.join(" ")),
        );
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        let samples = values.iter().enumerate();
        Series(samples.map(|(i, value)| (i as f64 / 10.0, *value)).collect())
    }

    #[test]
    fn samples_are_summed_up() {
        let samples = Samples {
            count: 3,
            power_w: series(&[100.0, 700.0, 400.0]),
            sm_clock_mhz: series(&[1980.0, 1400.0]),
            temperature_c: series(&[60.0]),
            throttle_reasons: vec!["sw_power_cap".to_owned()],
        };
        let summary = samples.summary();
        assert_eq!(summary.mean_power_w, Some(400.0));
        assert_eq!(summary.max_power_w, Some(700.0));
        assert_eq!(
            (summary.min_sm_clock_mhz, summary.max_sm_clock_mhz),
            (Some(1400), Some(1980))
        );
        let labels = summary.labels();
        assert_eq!(labels.len(), 7, "all but the energy");
        assert!(labels.contains(&("power_w".to_owned(), "0.0:100 0.1:700 0.2:400".to_owned())));
        assert!(Samples::default().summary().labels().is_empty());
    }

    #[test]
    fn labels_keep_the_limits_whatever_was_seen() {
        let hours = Series((0..1_000_000).map(|i| (f64::from(i) / 10.0, 1e6)).collect());
        let summary = TelemetrySummary {
            energy_j: Some(1e12),
            mean_power_w: Some(1e6),
            mean_sm_clock_mhz: Some(1e6),
            max_temperature_c: Some(u32::MAX),
            samples: 1_000_000,
            throttle_reasons: vec!["reason".to_owned(); 1000],
            power_w: hours.clone(),
            sm_clock_mhz: hours.clone(),
            temperature_c: hours.clone(),
            ..TelemetrySummary::default()
        };
        let labels = summary.labels();
        assert_eq!(labels.len(), TelemetrySummary::MAX_LABELS);
        assert!(labels.iter().all(|(_, value)| value.len() <= MAX_TEXT_BYTES));
        assert!(hours.curve().len() <= MAX_TEXT_BYTES);
        assert_eq!(hours.curve().split(' ').count(), Series::CURVE_POINTS);
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert!(NvmlWatch::start("GPU-00000000-0000-0000-0000-000000000000").is_err());
    }
}
