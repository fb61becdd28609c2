//! Power, clocks, temperature and throttling of a device while it works: labels, never evidence.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::{Device, Nvml};
use protocol::limits::MAX_TEXT_BYTES;

use crate::inventory::{nvml_device, throttle_names, watts};

/// Time from one sample to the next.
const INTERVAL: Duration = Duration::from_millis(100);

/// NVML is not there, or does not know the device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoTelemetry(String);

/// A thread that samples one device every 100 ms until it is finished or dropped.
pub struct Telemetry {
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<TelemetrySummary>>,
}

/// What was seen from start to finish. What NVML does not tell of a device is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TelemetrySummary {
    /// Length of the watch (ns).
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
    /// Reasons that held the clocks down in at least one sample.
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

    /// The samples as text for a label: `0.3:412 0.9:690`, seconds and value, each point the mean of as many samples.
    #[must_use]
    pub fn curve(&self) -> String {
        let samples_a_point = self.0.len().div_ceil(Self::CURVE_POINTS).max(1);
        let points = self.0.chunks(samples_a_point).map(|samples| {
            let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / samples.len() as f64;
            format!("{:.1}:{:.0}", mean(|sample| sample.0), mean(|sample| sample.1))
        });
        points.collect::<Vec<_>>().join(" ")
    }
}

impl Telemetry {
    /// Starts to sample the device of that UUID, as [`crate::DeviceInfo`] gives it.
    ///
    /// # Errors
    ///
    /// [`NoTelemetry`] without NVML or such a device.
    pub fn start(uuid: &str) -> Result<Self, NoTelemetry> {
        let nvml = Nvml::init().map_err(|error| NoTelemetry(format!("NVML: {error}")))?;
        nvml_device(&nvml, uuid).map_err(NoTelemetry)?;
        let uuid = uuid.to_owned();
        let (stop, stopped) = mpsc::channel::<()>();
        let watch = move || {
            let mut samples = Samples::default();
            let start = Instant::now();
            let Ok((device, _)) = nvml_device(&nvml, &uuid) else {
                return TelemetrySummary::default();
            };
            let energy_before = device.total_energy_consumption().ok();
            loop {
                samples.take(&device, start.elapsed());
                // Anything but the passing of time is the end: a message, or a sender that is gone.
                if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            let energy_after = device.total_energy_consumption().ok();
            TelemetrySummary {
                elapsed_ns: start.elapsed().as_nanos() as u64,
                energy_j: energy_before
                    .zip(energy_after)
                    .map(|(before, after)| after.saturating_sub(before) as f64 / 1000.0),
                ..samples.summary()
            }
        };
        let thread = thread::Builder::new()
            .name("telemetry".to_owned())
            .spawn(watch)
            .map_err(|error| NoTelemetry(format!("no thread: {error}")))?;
        Ok(Telemetry {
            stop,
            thread: Some(thread),
        })
    }

    /// Stops and says what was seen.
    #[must_use]
    pub fn finish(mut self) -> TelemetrySummary {
        self.join().unwrap_or_default()
    }

    fn join(&mut self) -> Option<TelemetrySummary> {
        // A thread that is gone needs no message.
        let _ = self.stop.send(());
        self.thread.take()?.join().ok()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.join();
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
        // What NVML does not tell has no samples.
        let _ = device.power_usage().map(|power| self.power_w.push(at, watts(power)));
        let _ = device
            .clock_info(Clock::SM)
            .map(|clock| self.sm_clock_mhz.push(at, clock.into()));
        let _ = device
            .temperature(TemperatureSensor::Gpu)
            .map(|temperature| self.temperature_c.push(at, temperature.into()));
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
    /// Most labels of a device: eight devices' fit a session.
    pub const MAX_LABELS: usize = 8;

    /// Names and values for a session's labels, only of what is known, the most telling first; `power_w`, `sm_clock_mhz` and
    /// `temperature_c` are curves ([`Series::curve`]).
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
        assert!(Telemetry::start("GPU-00000000-0000-0000-0000-000000000000").is_err());
    }
}
