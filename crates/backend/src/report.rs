//! The measured performance of a device, each figure next to its ceiling from the same run.

use serde_json::Value;

/// One device's figures.
#[derive(Clone, Debug)]
pub struct Report {
    /// Facts about the device, in JSON under these names.
    pub facts: Vec<(&'static str, Value)>,
    /// The device and what it ran, on one line.
    pub title: String,
    /// The figures.
    pub rows: Vec<Row>,
    /// The dataset that was measured, where the device has memory of its own.
    pub memory: Option<Memory>,
    /// Further notes, one line each.
    pub notes: Vec<String>,
}

/// One figure, the median of its repeats.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// The median.
    pub value: f64,
    /// The minimum of all repeats.
    pub least: f64,
    /// The maximum of all repeats.
    pub most: f64,
    /// The number of repeats.
    pub repeats: usize,
    /// The upper limit.
    pub ceilings: Vec<Ceiling>,
    /// Telemetry of the device during the measurement.
    pub load: Option<Load>,
}

/// The upper limit of a figure, in the same unit.
#[derive(Clone, Debug)]
pub struct Ceiling {
    /// Its description.
    pub name: String,
    /// Its value.
    pub value: f64,
}

impl Ceiling {
    /// A limit of this value.
    #[must_use]
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Ceiling {
            name: name.into(),
            value,
        }
    }
}

/// Telemetry of a device while it worked; none of it is certified.
#[derive(Clone, Debug)]
pub struct Load {
    /// Mean power (W).
    pub power_w: Option<f64>,
    /// Mean clock (MHz).
    pub mean_sm_clock_mhz: Option<f64>,
    /// Highest temperature (C).
    pub max_temperature_c: Option<u32>,
    /// Why the clock was throttled.
    pub throttle_reasons: Vec<String>,
    /// The figure divided by the power, where that is meaningful.
    pub tops_per_w: Option<f64>,
}

/// The dataset of the measurement.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// n of its matrices.
    pub matrix_dim: u32,
    /// Its size (bytes).
    pub dataset_bytes: u64,
    /// The largest that fits (bytes).
    pub most_bytes: u64,
    /// Memory of the card (bytes).
    pub card_bytes: u64,
}
