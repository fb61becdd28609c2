//! The class that a plan is made for.

use appraisal::profile::{Profile, Status};

use crate::classes::status;

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
    use appraisal::expected::Expected;
    use appraisal::profiles::Profiles;

    use super::*;

    #[test]
    fn every_built_in_class_of_gpus_has_figures_but_for_int8_rates_that_nobody_knows() {
        let profiles = Profiles::embedded();
        let lacking: Vec<&str> = profiles
            .iter()
            .filter(|class| Expected::of(class).is_none_or(|expected| expected.fill_ops_per_s.is_none()))
            .map(|class| class.name.as_str())
            .collect();
        assert_eq!(lacking, ["rtx-pro-6000", "b300", "cpu"]);
        for class in profiles.iter().filter(|class| class.name != "cpu") {
            let capacity = class.capacity.as_ref().expect("a GPU's capacity");
            let expected = Expected::of(class).expect("a GPU's figures");
            assert!(expected.dataset_bytes < capacity.memory_bytes, "{}", class.name);
            let sweep = expected.sweep_bytes_per_s;
            assert!(sweep < capacity.bandwidth_bytes_per_s, "{}", class.name);
            let is_estimated = origin(class).contains("estimated");
            assert_eq!(is_estimated, class.status == Status::Datasheet, "{}", class.name);
        }
    }
}
