//! Makes a profile from trusted sessions: normal tolerance limits, with the counts they are based on, not minimum and maximum.

use std::collections::BTreeMap;

use protocol::limits::MIN_INNER_DIM_FOR_MEMORY;
use report::date::date;
use report::telemetry::label;
use report::{DeviceReport, Report};
use verifier::outcome::Judge;

use crate::profile::{MeasuredFigures, Profile, Status};
use crate::subject::Subject;

/// Minimum number of observations for limits.
pub const MIN_OBSERVATIONS: usize = 5;

/// Beginning of the part of a note that calibration writes.
const LIMITS_OVER: &str = "tolerance limits over";

/// The result of one trusted session for one device, at its largest k.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The card: its UUID, or the Attester's key and the ordinal.
    pub card: String,
    /// When the session began, ms since the Unix epoch.
    pub started_unix_ms: u64,
    /// k.
    pub inner_dim: u32,
    /// Fill, operations/s.
    pub fill_ops_per_s: f64,
    /// Sweep, bytes/s.
    pub sweep_bytes_per_s: f64,
}

/// Why no profile can be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// Too few observations at one k.
    #[error("{actual} observations; limits need at least {MIN_OBSERVATIONS}")]
    TooFew {
        /// How many.
        actual: usize,
    },
    /// Sessions with different k cannot be combined.
    #[error("observations with k = {0} and k = {1} do not mix")]
    Mixed(u32, u32),
    /// Content or confidence outside 0.5 to 0.9999.
    #[error("content and confidence must be from 0.5 to 0.9999")]
    Level,
    /// A class without figures.
    #[error("{0} has no capacity to hold limits against")]
    NoCapacity(String),
    /// The observations scatter so much that the limits are meaningless.
    #[error("{figure}: limits of {low:.4e} to {high:.4e} are not positive and within the class's capacity")]
    TooWide {
        /// Which.
        figure: &'static str,
        /// Lower limit.
        low: f64,
        /// Upper limit.
        high: f64,
    },
}

/// The observation of each device in a session that is affirmed for `judge`; empty for any other session. The caller must
/// trust the devices.
#[must_use]
pub fn observations(subject: &Subject<'_>, judge: &Judge) -> Vec<Observation> {
    let report = Report::new(subject.evidence, subject.session, subject.sealed, judge);
    let Some(hello) = subject.session.hello() else {
        return Vec::new();
    };
    let observe = |device: &DeviceReport| {
        let eligible = device
            .measured
            .iter()
            .filter(|m| m.inner_dim >= MIN_INNER_DIM_FOR_MEMORY);
        let measured = eligible.max_by_key(|m| m.inner_dim)?;
        let offer = hello.devices.iter().find(|offer| offer.ordinal.0 == device.ordinal)?;
        let uuid = label(&offer.labels, "uuid").map(str::to_owned);
        Some(Observation {
            card: uuid.unwrap_or_else(|| format!("{}/{}", hello.identity, device.ordinal)),
            started_unix_ms: subject.evidence.started_unix_ms,
            inner_dim: measured.inner_dim,
            fill_ops_per_s: measured.fill_ops_per_s as f64,
            sweep_bytes_per_s: measured.sweep_bytes_per_s as f64,
        })
    };
    report.devices.iter().filter_map(observe).collect()
}

/// `base` with limits that contain a share `content` of the class with `confidence`, if observations are normally distributed.
///
/// With enough cards each card counts once, by its mean: sessions of one card are not a sample of the class. With fewer the
/// sessions count, and the profile's note states that the limits apply to these cards alone.
///
/// # Errors
///
/// [`CalibrationError`].
pub fn calibrate(
    base: &Profile,
    observations: &[Observation],
    content: f64,
    confidence: f64,
) -> Result<Profile, CalibrationError> {
    let level = 0.5..=0.9999;
    if !level.contains(&content) || !level.contains(&confidence) {
        return Err(CalibrationError::Level);
    }
    let capacity = base
        .capacity
        .as_ref()
        .ok_or_else(|| CalibrationError::NoCapacity(base.name.clone()))?;
    let Some(first) = observations.first() else {
        return Err(CalibrationError::TooFew { actual: 0 });
    };
    if let Some(other) = observations.iter().find(|o| o.inner_dim != first.inner_dim) {
        return Err(CalibrationError::Mixed(first.inner_dim, other.inner_dim));
    }
    let mut cards: BTreeMap<&str, Vec<&Observation>> = BTreeMap::new();
    for observation in observations {
        cards.entry(&observation.card).or_default().push(observation);
    }
    let is_by_card = cards.len() >= MIN_OBSERVATIONS;
    let values = |figure: fn(&Observation) -> f64| -> Vec<f64> {
        let mean = |list: &Vec<&Observation>| list.iter().map(|o| figure(o)).sum::<f64>() / list.len() as f64;
        match is_by_card {
            true => cards.values().map(mean).collect(),
            false => observations.iter().map(figure).collect(),
        }
    };
    let limits = |name: &'static str, values: Vec<f64>, capacity: Option<u64>| {
        let (low, high) = tolerance_limits(&values, content, confidence)?;
        // No limit exceeds what the class has.
        let high = high.min(capacity.map_or(f64::INFINITY, |capacity| capacity as f64));
        match low > 0.0 && low <= high && high.is_finite() {
            true => Ok((low as u64, high as u64)),
            false => Err(CalibrationError::TooWide {
                figure: name,
                low,
                high,
            }),
        }
    };
    let fill = limits("fill", values(|o| o.fill_ops_per_s), capacity.int8_ops_per_s)?;
    let sweep = limits(
        "sweep",
        values(|o| o.sweep_bytes_per_s),
        Some(capacity.bandwidth_bytes_per_s),
    )?;
    let last = observations.iter().map(|o| o.started_unix_ms).max().unwrap_or(0);
    let mut profile = base.clone();
    profile.status = Status::Measured;
    let counted = match is_by_card {
        true => format!("{LIMITS_OVER} {} cards, each by its mean", cards.len()),
        false => format!(
            "{LIMITS_OVER} sessions of {}: of these alone, not of the class (few-cards)",
            match cards.len() {
                1 => "one card".to_owned(),
                several => format!("{several} cards"),
            }
        ),
    };
    profile.source.note = Some(noted(base.source.note.as_deref(), &counted));
    let before = base.measured.as_ref();
    profile.measured = Some(MeasuredFigures {
        date: date(last)[..10].to_owned(),
        cards: cards.len() as u32,
        sessions: observations.len() as u32,
        inner_dim: first.inner_dim,
        fill_low_ops_per_s: fill.0,
        fill_high_ops_per_s: fill.1,
        // Certifying itself takes 1.4 % of T and 6 % of B with 1024 samples, more with fewer.
        fill_tolerance: before.map_or(0.06, |m| m.fill_tolerance),
        sweep_low_bytes_per_s: sweep.0,
        sweep_high_bytes_per_s: sweep.1,
        sweep_tolerance: before.map_or(0.12, |m| m.sweep_tolerance),
        content: Some(content),
        confidence: Some(confidence),
    });
    Ok(profile)
}

/// The profile's note from before calibration, and the data that its limits are based on now.
fn noted(before: Option<&str>, counted: &str) -> String {
    let kept: Vec<&str> = before
        .unwrap_or_default()
        .split("; ")
        .filter(|part| !part.is_empty() && !part.starts_with(LIMITS_OVER))
        .collect();
    [&kept[..], &[counted]].concat().join("; ")
}

/// Two-sided normal tolerance limits: mean -+ k s, k after Howe.
fn tolerance_limits(values: &[f64], content: f64, confidence: f64) -> Result<(f64, f64), CalibrationError> {
    if values.len() < MIN_OBSERVATIONS {
        return Err(CalibrationError::TooFew { actual: values.len() });
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let reach = tolerance_factor(values.len(), content, confidence) * variance.sqrt();
    Ok((mean - reach, mean + reach))
}

/// Howe's k: z((1 + p) / 2) sqrt(v (1 + 1/n) / chi2(1 - g; v)), v = n - 1.
fn tolerance_factor(n: usize, content: f64, confidence: f64) -> f64 {
    let degrees = n as f64 - 1.0;
    let z = normal_quantile((1.0 + content) / 2.0);
    z * (degrees * (1.0 + 1.0 / n as f64) / chi_squared_quantile(1.0 - confidence, degrees)).sqrt()
}

/// Wilson and Hilferty's approximation; within a few per cent from 4 degrees on.
fn chi_squared_quantile(p: f64, degrees: f64) -> f64 {
    let step = 2.0 / (9.0 * degrees);
    degrees * (1.0 - step + normal_quantile(p) * step.sqrt()).powi(3)
}

/// The standard normal quantile, by bisection of its distribution function.
fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if normal_distribution(middle) < p {
            low = middle
        } else {
            high = middle
        }
    }
    (low + high) / 2.0
}

/// Abramowitz and Stegun 26.2.17: absolute error below 7.5e-8.
fn normal_distribution(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let tail = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let sum = tail.iter().rev().fold(0.0, |sum, coefficient| (sum + coefficient) * t);
    let upper = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum;
    if x >= 0.0 { 1.0 - upper } else { upper }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles::Profiles;

    #[test]
    fn factors_are_those_of_the_tables() {
        // Two-sided factors for 95 % content: NIST/SEMATECH e-Handbook and ISO 16269-6.
        for (n, confidence, expected) in [
            (5, 0.95, 5.079),
            (10, 0.95, 3.379),
            (20, 0.95, 2.752),
            (100, 0.95, 2.233),
            (20, 0.99, 3.168),
        ] {
            let k = tolerance_factor(n, 0.95, confidence);
            assert!((k / expected - 1.0).abs() < 0.03, "n = {n}: {k} against {expected}");
        }
    }

    #[test]
    fn a_note_keeps_what_calibration_did_not_write() {
        let first = noted(Some("memory as the driver reports it"), "tolerance limits over 5 cards");
        assert_eq!(first, "memory as the driver reports it; tolerance limits over 5 cards");
        let again = noted(Some(&first), "tolerance limits over 8 cards");
        assert_eq!(again, "memory as the driver reports it; tolerance limits over 8 cards");
        assert_eq!(
            noted(None, "tolerance limits over 5 cards"),
            "tolerance limits over 5 cards"
        );
    }

    fn observed(card: &str, fill: f64) -> Observation {
        Observation {
            card: card.to_owned(),
            started_unix_ms: 1_795_500_000_000,
            inner_dim: 16_384,
            fill_ops_per_s: fill * 1e12,
            sweep_bytes_per_s: 2.9e12 + fill * 1e8,
        }
    }

    #[test]
    fn a_class_becomes_measured_with_its_counts() {
        let profiles = Profiles::embedded();
        let base = profiles.named("h100-sxm").expect("a class");
        let list: Vec<Observation> = (0..8)
            .map(|i| observed(&format!("card {}", i / 2), 1_200.0 + f64::from(i)))
            .collect();
        let few = calibrate(base, &list, 0.95, 0.95).expect("a profile");
        let measured = few.measured.as_ref().expect("figures");
        assert_eq!(
            (measured.cards, measured.sessions, few.status),
            (4, 8, Status::Measured)
        );
        assert!(
            few.source
                .note
                .as_deref()
                .is_some_and(|note| note.contains("4 cards: of these alone, not of the class (few-cards)"))
        );
        assert!(
            (measured.fill_low_ops_per_s as f64) < 1_200e12,
            "wider than the minimum"
        );
        assert_eq!(
            Profile::parse("h100-sxm.toml", &few.to_toml()).as_ref(),
            Ok(&few),
            "a profile that can be read"
        );

        let list: Vec<Observation> = (0..8)
            .map(|i| observed(&format!("card {i}"), 1_200.0 + f64::from(i)))
            .collect();
        let many = calibrate(base, &list, 0.95, 0.95).expect("a profile");
        assert!(
            many.source
                .note
                .as_deref()
                .is_some_and(|note| note.contains("8 cards, each by its mean"))
        );

        assert!(matches!(
            calibrate(base, &list[..4], 0.95, 0.95),
            Err(CalibrationError::TooFew { actual: 4 })
        ));
        assert!(matches!(
            calibrate(base, &list, 1.0, 0.95),
            Err(CalibrationError::Level)
        ));
        assert!(matches!(
            calibrate(base, &list, f64::NAN, 0.95),
            Err(CalibrationError::Level)
        ));
        let mut mixed = list.clone();
        mixed[3].inner_dim = 2048;
        assert!(matches!(
            calibrate(base, &mixed, 0.95, 0.95),
            Err(CalibrationError::Mixed(16_384, 2_048))
        ));
        let mut wild = list;
        wild[0].fill_ops_per_s = 1e12;
        wild[1].fill_ops_per_s = 3_000e12;
        assert!(matches!(
            calibrate(base, &wild, 0.99, 0.99),
            Err(CalibrationError::TooWide { figure: "fill", .. })
        ));
    }
}
