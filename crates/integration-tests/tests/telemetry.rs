//! The power, clocks and temperature that a GPU's engine reports are those that appraisal reads.

use engine_cuda::{Series, TelemetrySummary};
use protocol::cbor::Label;
use report::telemetry::StatedTelemetry;

#[test]
fn curves_are_read_with_their_seconds() {
    let summary = TelemetrySummary {
        samples: 3,
        energy_j: Some(512.25),
        power_w: Series(vec![(0.0, 188.6), (1.5, 690.0), (6.0, 697.2)]),
        sm_clock_mhz: Series(vec![(0.0, 1980.0), (6.0, 1425.0)]),
        temperature_c: Series(vec![(0.0, 45.0), (6.0, 57.0)]),
        throttle_reasons: vec!["sw_power_cap".to_owned()],
        ..TelemetrySummary::default()
    };
    let labels: Vec<Label> = summary
        .labels()
        .iter()
        .map(|(name, value)| Label::new(&format!("device 3 {name}"), value))
        .collect();
    let read = StatedTelemetry::of(3, &labels);
    assert_eq!(read.power_w, [(0.0, 189.0), (1.5, 690.0), (6.0, 697.0)]);
    assert_eq!(read.clock_mhz, [(0.0, 1980.0), (6.0, 1425.0)]);
    assert_eq!(read.temperature_c, [(0.0, 45.0), (6.0, 57.0)]);
    assert_eq!(read.throttle_reasons.as_deref(), Some("sw_power_cap"));
    assert_eq!(read.summaries, [("energy_j", 512.2)]);
    assert_eq!(StatedTelemetry::of(0, &labels), StatedTelemetry::default());
}
