//! What a device of a class does: as its profile has it measured, or estimated from its datasheet.

use anyhow::Context;
use appraisal::profile::{Profile, Status};
use appraisal::profiles::Profiles;

/// Of a device's memory, what a session's dataset takes: 99 % of an H200 (docs/performance.md).
const DATASET_SHARE: f64 = 0.99;

/// Of an int8 peak and of a bandwidth, what the slowest H200 so far gave (docs/performance.md).
const FILL_SHARE: f64 = 0.66;
const SWEEP_SHARE: f64 = 0.94;

/// The class of this name, whatever its case.
pub(super) fn find<'a>(profiles: &'a Profiles, name: &str) -> anyhow::Result<&'a Profile> {
    profiles.named(&name.to_ascii_lowercase()).with_context(|| {
        let known: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
        format!("--class {name:?} is not known; known are {}", known.join(", "))
    })
}

/// N: bytes of dataset.
pub(super) fn dataset_bytes(class: &Profile) -> Option<u64> {
    let capacity = class.capacity.as_ref()?;
    Some((capacity.memory_bytes as f64 * DATASET_SHARE) as u64)
}

/// Operations/s of a fill: the lowest expected, or a share of the peak.
pub(super) fn fill_ops(class: &Profile) -> Option<f64> {
    match &class.measured {
        Some(measured) => Some(measured.fill_low_ops_per_s as f64),
        None => Some(class.capacity.as_ref()?.int8_ops_per_s? as f64 * FILL_SHARE),
    }
}

/// Bytes/s of a sweep: the lowest expected, or a share of the bandwidth.
pub(super) fn sweep_bytes_per_s(class: &Profile) -> Option<f64> {
    match &class.measured {
        Some(measured) => Some(measured.sweep_low_bytes_per_s as f64),
        None => Some(class.capacity.as_ref()?.bandwidth_bytes_per_s as f64 * SWEEP_SHARE),
    }
}

/// The status that a profile gives its class.
pub(super) fn status(class: &Profile) -> &'static str {
    match class.status {
        Status::Measured => "measured",
        Status::Datasheet => "datasheet",
    }
}

/// Where the figures come from, for people.
pub(super) fn origin(class: &Profile) -> String {
    let from = match (class.status, &class.measured) {
        (Status::Measured, Some(measured)) => format!("lowest rates of {} sessions", measured.sessions),
        _ => "memory and rates are estimated as the shares of it that an H200 reaches".to_owned(),
    };
    format!("{} ({}: {from})", class.name, status(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_class_of_gpus_has_figures_but_for_int8_rates_that_nobody_knows() {
        let profiles = Profiles::embedded();
        let lacking: Vec<&str> = profiles
            .iter()
            .filter(|class| fill_ops(class).is_none())
            .map(|class| class.name.as_str())
            .collect();
        assert_eq!(lacking, ["rtx-pro-6000", "b300", "cpu"]);
        for class in profiles.iter().filter(|class| class.name != "cpu") {
            let capacity = class.capacity.as_ref().expect("a GPU's capacity");
            assert!(dataset_bytes(class).is_some_and(|bytes| bytes < capacity.memory_bytes));
            let sweep = sweep_bytes_per_s(class).expect("a bandwidth");
            assert!(sweep < capacity.bandwidth_bytes_per_s as f64, "{}", class.name);
            let is_estimated = origin(class).contains("estimated");
            assert_eq!(is_estimated, class.status == Status::Datasheet, "{}", class.name);
        }
    }

    /// The shares are those of the measured class, rounded.
    #[test]
    fn what_is_estimated_stands_as_an_h200_does() {
        let profiles = Profiles::embedded();
        let h200 = find(&profiles, "H200").expect("the class");
        let capacity = h200.capacity.as_ref().expect("its capacity");
        let peak = capacity.int8_ops_per_s.expect("its peak") as f64;
        let fill = fill_ops(h200).expect("measured") / peak;
        let sweep = sweep_bytes_per_s(h200).expect("measured") / capacity.bandwidth_bytes_per_s as f64;
        assert!(
            (fill - FILL_SHARE).abs() < 0.002 && (sweep - SWEEP_SHARE).abs() < 0.001,
            "{fill} {sweep}"
        );
        let unknown = find(&profiles, "h2000").expect_err("no such class").to_string();
        assert!(unknown.contains("h2000") && unknown.contains("a100-40, "), "{unknown}");
    }
}
