//! Rows of the table: the result of an attack, and what a Verifier would certify of it.

use std::time::Duration;

use engine_cuda::attack::{Attack, INNER_DIM, Outcome, Played};
use protocol::bounds::Assumptions;
use protocol::bytes::{DeviceOrdinal, Identity};
use protocol::certified::{Bound, HostBounds, measured, system_bounds};
use protocol::engine::EngineError;
use protocol::plan::{Deadlines, DevicePlan, Iteration, Plan, PlanFields};
use protocol::verifier::Windows;
use serde::{Deserialize, Serialize};
use testkit::odds::caught_odds;
use verifier::units::{bytes, bytes_per_s, ops_per_s};

/// Samples of a `standard` session.
pub(super) const SAMPLES: u32 = 1024;

/// A row of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) attack: String,
    pub(super) parameter: String,
    /// Why there are no figures.
    pub(super) not_run: Option<String>,
    /// The process has lost the device: other kernels may work.
    pub(super) is_lost: bool,
    pub(super) figures: Option<Figures>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Figures {
    dataset_bytes: u64,
    ordinals: usize,
    honest_fill_ns: u64,
    honest_sweep_ns: u64,
    fill_ns: u64,
    sweep_ns: u64,
    pub(super) same_roots: Option<bool>,
    /// The probability that samples find a wrong leaf.
    caught: f64,
    memory_bytes: Figure,
    bandwidth_bytes_per_s: Figure,
    tensor_ops_per_s: Figure,
}

/// A figure that would be certified, and the real one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Figure {
    truth: f64,
    /// None: there is no bound, or the session would not be affirmed.
    certified: Option<u128>,
}

impl Figure {
    /// The difference to the real figure, as a share of it; below 0 the bound is wrong.
    fn margin(self) -> Option<f64> {
        self.certified.map(|certified| 1.0 - certified as f64 / self.truth)
    }
}

impl Figures {
    fn new(played: &Played, assumptions: &Assumptions) -> Self {
        let caught = caught_odds(played.wrong_share, SAMPLES);
        // A bound may be wrong with the soundness error: an attack that passes less often than that has not beaten it.
        let is_caught = 1.0 - caught < (-f64::from(assumptions.error_bits)).exp2();
        let certified = match certified(played, assumptions) {
            Some(bounds) if !is_caught => bounds,
            _ => HostBounds::default(),
        };
        let figure = |truth, certified| Figure { truth, certified };
        let value = |bound: Option<Bound<u128>>| bound.map(|bound| bound.value);
        Figures {
            dataset_bytes: played.assignments.iter().map(|a| a.dataset_bytes()).sum(),
            ordinals: played.assignments.len(),
            honest_fill_ns: nanoseconds(played.honest.fill),
            honest_sweep_ns: nanoseconds(played.honest.sweep),
            fill_ns: nanoseconds(played.attack.fill),
            sweep_ns: nanoseconds(played.attack.sweep),
            same_roots: played.same_roots,
            caught,
            memory_bytes: figure(played.truth.held_bytes as f64, value(certified.memory_bytes)),
            bandwidth_bytes_per_s: figure(played.truth.read_bytes_per_s, value(certified.bandwidth_bytes_per_s)),
            tensor_ops_per_s: figure(played.truth.ops_per_s, value(certified.tensor_ops_per_s)),
        }
    }

    fn named(&self) -> [(&'static str, Figure); 3] {
        [
            ("V", self.memory_bytes),
            ("B", self.bandwidth_bytes_per_s),
            ("T", self.tensor_ops_per_s),
        ]
    }

    /// The bounds above the real figures.
    pub(super) fn beaten(&self) -> Vec<&'static str> {
        let named = self.named().into_iter();
        named
            .filter(|(_, figure)| figure.margin().is_some_and(|margin| margin < 0.0))
            .map(|(name, _)| name)
            .collect()
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What a Verifier certifies of a session with these times whose samples find no fault: the sums over its devices.
fn certified(played: &Played, assumptions: &Assumptions) -> Option<HostBounds> {
    let devices = played.assignments.iter().zip(0..);
    let plan = Plan::new(PlanFields {
        session_id: [0; 16],
        verifier: Identity([0; 32]),
        verifier_name: String::new(),
        audience: String::new(),
        matrix_dim: played.assignments.first()?.matrix_dim(),
        devices: devices
            .map(|(assignment, ordinal)| DevicePlan {
                ordinal: DeviceOrdinal(ordinal),
                matrix_offset: assignment.matrix_offset(),
                num_matrices: assignment.num_matrices(),
            })
            .collect(),
        iterations: vec![Iteration::new(INNER_DIM, played.sweeps)],
        samples: SAMPLES,
        deadlines: Deadlines {
            ready_ms: 1,
            fill_ms: 1,
            sweep_ms: 1,
            openings_ms: 1,
        },
    })
    .ok()?;
    let windows = Windows {
        fill_ns: nanoseconds(played.attack.fill),
        sweep_ns: nanoseconds(played.attack.sweep * played.sweeps),
        ..Windows::default()
    };
    let measured = measured(&plan, &[windows], |_, _| u32::MAX);
    Some(system_bounds(&measured, assumptions).0)
}

impl Row {
    pub(super) fn of(attack: Attack, outcome: &Outcome, assumptions: &Assumptions) -> Self {
        let (not_run, is_lost, figures) = match &outcome.played {
            Ok(played) => (None, false, Some(Figures::new(played, assumptions))),
            Err(error) => (
                Some(error.to_string()),
                matches!(error, EngineError::DeviceLost(_)),
                None,
            ),
        };
        Row {
            attack: attack.name().to_owned(),
            parameter: outcome.parameter.clone(),
            not_run,
            is_lost,
            figures,
        }
    }

    pub(super) fn not_run(attack: Attack, why: String) -> Self {
        Row {
            attack: attack.name().to_owned(),
            parameter: String::new(),
            not_run: Some(why),
            is_lost: false,
            figures: None,
        }
    }

    pub(super) fn to_line(&self) -> String {
        let start = format!("{:<16} {:<20}", self.attack, self.parameter);
        let Some(figures) = &self.figures else {
            return format!("{start} {}\n", self.not_run.as_deref().unwrap_or("not run"));
        };
        let times = |fill: u64, sweep: u64| format!("{:.3} s {:>9.3} ms", fill as f64 / 1e9, sweep as f64 / 1e6);
        let memory = |count: f64| bytes(count as u128);
        let shown = |figure: Figure, unit: &dyn Fn(f64) -> String| {
            let certified = figure.certified.map(|count| unit(count as f64));
            format!(
                "{:>11} of {:>11}",
                certified.unwrap_or_else(|| "no bound".to_owned()),
                unit(figure.truth)
            )
        };
        let margins = figures.named().map(|(name, figure)| match figure.margin() {
            Some(margin) => format!("{name} {:.1} %", 100.0 * margin),
            None => format!("{name} -"),
        });
        let mut notes = Vec::new();
        if figures.caught > 0.0 {
            notes.push(format!("caught in {:.5} of sessions", figures.caught));
        }
        if figures.same_roots == Some(false) {
            notes.push("WRONG ROOTS: the samples would find it".to_owned());
        }
        if !figures.beaten().is_empty() {
            notes.push(format!("BEATS THE BOUND: {}", figures.beaten().join(" ")));
        }
        format!(
            "{start} {:>20} {:>20} {:>7.1} %  {}  {}  {}  {:<26} {}\n",
            times(figures.honest_fill_ns, figures.honest_sweep_ns),
            times(figures.fill_ns, figures.sweep_ns),
            100.0 * figures.memory_bytes.truth / figures.dataset_bytes as f64,
            shown(figures.memory_bytes, &memory),
            shown(figures.bandwidth_bytes_per_s, &|count| bytes_per_s(count as u128)),
            shown(figures.tensor_ops_per_s, &|count| ops_per_s(count as u128)),
            margins.join(", "),
            notes.join("; "),
        )
    }
}

pub(super) fn header() -> String {
    format!(
        "{:<16} {:<20} {:>20} {:>20} {:>9}  {:>26}  {:>26}  {:>26}  {:<26} notes\n",
        "attack",
        "parameter",
        "honest fill, sweep",
        "its fill, sweep",
        "holds",
        "V certified of true",
        "B certified of true",
        "T certified of true",
        "margin"
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use engine_cuda::attack::{Times, Truth};
    use protocol::bounds::Assumptions;
    use protocol::engine::{Assignment, AssignmentFields};
    use verifier::preset::default_assumptions;

    /// An H200 that holds `held` of 512 matrices and sweeps in `sweep_us`.
    pub(in super::super) fn played(held: u64, sweep_us: u64, wrong_share: f64) -> Played {
        let whole = Assignment::new(AssignmentFields {
            matrix_dim: 8192,
            matrix_offset: 0,
            num_matrices: 512,
            max_inner_dim: INNER_DIM,
        })
        .expect("sizes that a plan can have");
        let honest = Times {
            fill: Duration::from_millis(870),
            sweep: Duration::from_micros(7_700),
        };
        let attack = Times {
            sweep: Duration::from_micros(sweep_us),
            ..honest
        };
        let held_bytes = held << 26;
        Played {
            assignments: vec![whole],
            sweeps: 32,
            wrong_share,
            honest,
            attack,
            truth: Truth {
                held_bytes,
                read_bytes_per_s: held_bytes as f64 / attack.sweep.as_secs_f64(),
                ops_per_s: 2.0 * f64::from(INNER_DIM) * whole.dataset_bytes() as f64 / attack.fill.as_secs_f64(),
            },
            same_roots: Some(true),
        }
    }

    pub(in super::super) fn row(played: Played) -> Row {
        let outcome = Outcome {
            parameter: "5 %".to_owned(),
            played: Ok(played),
        };
        // The slowest links on sale would leave little of V and B to compare: PCIe 5.0 x16, as on the H200.
        let assumptions = Assumptions {
            link_in_bytes_per_s: 64_000_000_000,
            link_out_bytes_per_s: 64_000_000_000,
            ..default_assumptions(20)
        };
        Row::of(Attack::HostPinned, &outcome, &assumptions)
    }

    #[test]
    fn an_honest_device_is_certified_below_the_truth() {
        let row = row(played(512, 7_700, 0.0));
        let figures = row.figures.as_ref().expect("figures");
        for (name, figure) in figures.named() {
            let margin = figure.margin().expect("a bound");
            assert!(margin > 0.0 && margin < 0.1, "{name}: {margin}");
        }
        assert!(!row.to_line().contains("BEATS"), "{}", row.to_line());
    }

    #[test]
    fn a_session_that_samples_refuse_certifies_nothing() {
        // 2^-20 is between these two.
        let passes = row(played(512, 7_700, 0.013)).figures.expect("figures");
        assert!(passes.named().iter().all(|(_, figure)| figure.certified.is_some()));
        let refused = row(played(512, 7_700, 0.014)).figures.expect("figures");
        assert!(refused.named().iter().all(|(_, figure)| figure.certified.is_none()));
        assert!(refused.caught > 0.999_999, "{}", refused.caught);
    }
}
