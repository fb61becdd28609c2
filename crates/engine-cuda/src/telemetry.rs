//! Power, clocks, temperature and throttling of a device while it works: labels, never evidence.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::{Device, Nvml};

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
                samples.take(&device);
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
    power_w: Vec<f64>,
    clock_mhz: Vec<u32>,
    max_temperature_c: Option<u32>,
    throttle_reasons: Vec<String>,
}

impl Samples {
    fn take(&mut self, device: &Device<'_>) {
        self.count += 1;
        self.power_w.extend(device.power_usage().map(watts));
        self.clock_mhz.extend(device.clock_info(Clock::SM));
        self.max_temperature_c = self
            .max_temperature_c
            .max(device.temperature(TemperatureSensor::Gpu).ok());
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
        let mean = |sum: f64, count: usize| (count > 0).then(|| sum / count as f64);
        TelemetrySummary {
            samples: self.count,
            mean_power_w: mean(self.power_w.iter().sum(), self.power_w.len()),
            max_power_w: self.power_w.iter().copied().reduce(f64::max),
            min_sm_clock_mhz: self.clock_mhz.iter().min().copied(),
            mean_sm_clock_mhz: mean(
                self.clock_mhz.iter().map(|clock| f64::from(*clock)).sum(),
                self.clock_mhz.len(),
            ),
            max_sm_clock_mhz: self.clock_mhz.iter().max().copied(),
            max_temperature_c: self.max_temperature_c,
            throttle_reasons: self.throttle_reasons,
            ..TelemetrySummary::default()
        }
    }
}

impl TelemetrySummary {
    /// Names and values for a session's labels, only of what is known.
    #[must_use]
    pub fn labels(&self) -> Vec<(String, String)> {
        let mut labels = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            labels.extend(value.map(|value| (name.to_owned(), value)));
        };
        let rounded = |value: Option<f64>| value.map(|value| format!("{value:.1}"));
        let whole = |value: Option<u32>| value.map(|value| value.to_string());
        add("energy_j", rounded(self.energy_j));
        add("mean_power_w", rounded(self.mean_power_w));
        add("max_power_w", rounded(self.max_power_w));
        add("min_sm_clock_mhz", whole(self.min_sm_clock_mhz));
        add("mean_sm_clock_mhz", rounded(self.mean_sm_clock_mhz));
        add("max_sm_clock_mhz", whole(self.max_sm_clock_mhz));
        add("max_temperature_c", whole(self.max_temperature_c));
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

    #[test]
    fn samples_are_summed_up() {
        let samples = Samples {
            count: 3,
            power_w: vec![100.0, 700.0, 400.0],
            clock_mhz: vec![1980, 1400],
            max_temperature_c: Some(60),
            throttle_reasons: vec!["sw_power_cap".to_owned()],
        };
        let summary = samples.summary();
        assert_eq!(summary.mean_power_w, Some(400.0));
        assert_eq!(summary.max_power_w, Some(700.0));
        assert_eq!(
            (summary.min_sm_clock_mhz, summary.max_sm_clock_mhz),
            (Some(1400), Some(1980))
        );
        assert_eq!(summary.labels().len(), 7, "all but the energy");
        assert!(Samples::default().summary().labels().is_empty());
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error() {
        assert!(Telemetry::start("GPU-00000000-0000-0000-0000-000000000000").is_err());
    }
}
