//! `gpu-attestor adversary gpu`: attacks on the sweeps of a real GPU, timed, beside what a Verifier would certify.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use cli::{Exit, parse_bytes, print_json, print_text};
use engine_cuda::attack::{Attack, INNER_DIM, Outcome, Played, play};
use engine_cuda::{CudaEngineConfig, SweepPath};
use protocol::bounds::Assumptions;
use protocol::bytes::{DeviceOrdinal, Identity};
use protocol::claims::{Claims, HostBounds};
use protocol::engine::EngineError;
use protocol::plan::{Deadlines, DevicePlan, Iteration, Plan, PlanFields};
use protocol::verifier::Windows;
use serde::{Deserialize, Serialize};
use serde_json::json;
use testkit::odds::caught_odds;
use verifier::preset::default_assumptions;
use verifier::report::{bytes, bytes_per_s, ops_per_s};

/// Samples and soundness of a `standard` session.
const SAMPLES: u32 = 1024;
const ERROR_BITS: u32 = 20;
/// Longest that one attack may take for each 32 GiB, and least that one needs to begin.
const MOST_AN_ATTACK: Duration = Duration::from_secs(20);
const LEAST_AN_ATTACK: Duration = Duration::from_secs(3);
/// Longest that a launch may take before the attack gives up.
const LAUNCH_LIMIT: Duration = Duration::from_secs(15);

/// What the parameters of an attack end with that is tried again by loads to registers.
const BY_LOADS: &str = " (by loads)";

/// Options of `gpu-attestor adversary gpu`.
#[derive(Args)]
#[command(
    after_help = "Each attack runs in a process of its own, so that one that fails does not stop the others.\n\n\
        Exit codes: 0 no attack beat a bound, 1 one did, 2 not all could be run to their end (but for those\n\
        that want two GPUs), or one had wrong roots.\n\n\
        Examples:\n  \
        gpu-attestor adversary gpu\n  \
        gpu-attestor adversary gpu --device 1 --memory 64GiB --seconds 90 --json"
)]
pub(super) struct Options {
    /// The GPU, as CUDA counts them
    #[arg(long, value_name = "ORDINAL", default_value = "0")]
    device: u32,

    /// Dataset of each attack
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, default_value = "32GiB")]
    memory: u64,

    /// About how long all attacks may take
    #[arg(long, value_name = "SECONDS", default_value = "55", value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Play this one attack and print its rows as JSON, one a line
    #[arg(long, value_name = "NAME", hide = true, value_parser = parse_attack)]
    attack: Option<Attack>,

    /// Sweep by loads to registers
    #[arg(long, hide = true)]
    by_loads: bool,
}

fn parse_attack(text: &str) -> Result<Attack, String> {
    let mut all = Attack::ALL.into_iter();
    all.find(|attack| attack.name() == text)
        .ok_or_else(|| format!("no attack is named {text}"))
}

/// A row of the table.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    attack: String,
    parameter: String,
    /// Why there are no figures.
    not_run: Option<String>,
    /// The device is lost to the process: other kernels may do.
    is_lost: bool,
    figures: Option<Figures>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Figures {
    dataset_bytes: u64,
    ordinals: usize,
    honest_fill_ns: u64,
    honest_sweep_ns: u64,
    fill_ns: u64,
    sweep_ns: u64,
    same_roots: Option<bool>,
    /// The odds that samples find a wrong leaf.
    caught: f64,
    memory_bytes: Figure,
    bandwidth_bytes: Figure,
    tensor_ops: Figure,
}

/// A figure that is claimed, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Figure {
    truth: f64,
    /// None: no claim is made, or the session would not be affirmed.
    certified: Option<u128>,
}

impl Figure {
    /// What is missing to the truth, as a share of it; below 0 the bound is beaten.
    fn margin(self) -> Option<f64> {
        self.certified.map(|certified| 1.0 - certified as f64 / self.truth)
    }
}

impl Figures {
    fn new(played: &Played, assumptions: &Assumptions) -> Self {
        let caught = caught_odds(played.wrong_share, SAMPLES);
        // A claim may be wrong with the soundness error: whoever passes seldomer than that has beaten nothing.
        let is_caught = 1.0 - caught < (-f64::from(assumptions.error_bits)).exp2();
        let certified = match certified(played, assumptions) {
            Some(bounds) if !is_caught => bounds,
            _ => HostBounds::default(),
        };
        let figure = |truth, certified| Figure { truth, certified };
        Figures {
            dataset_bytes: played.assignments.iter().map(|a| a.dataset_bytes()).sum(),
            ordinals: played.assignments.len(),
            honest_fill_ns: nanoseconds(played.honest.fill),
            honest_sweep_ns: nanoseconds(played.honest.sweep),
            fill_ns: nanoseconds(played.attack.fill),
            sweep_ns: nanoseconds(played.attack.sweep),
            same_roots: played.same_roots,
            caught,
            memory_bytes: figure(played.truth.held_bytes as f64, certified.memory_bytes),
            bandwidth_bytes: figure(played.truth.read_bytes_per_s, certified.bandwidth_bytes),
            tensor_ops: figure(played.truth.ops_per_s, certified.tensor_ops),
        }
    }

    fn named(&self) -> [(&'static str, Figure); 3] {
        [
            ("V", self.memory_bytes),
            ("B", self.bandwidth_bytes),
            ("T", self.tensor_ops),
        ]
    }

    /// The claims above the truth.
    fn beaten(&self) -> Vec<&'static str> {
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

/// What a Verifier certifies of a session with these times whose samples find nothing wrong: the sums over its devices.
fn certified(played: &Played, assumptions: &Assumptions) -> Option<HostBounds> {
    let devices = played.assignments.iter().zip(0..);
    let plan = Plan::new(PlanFields {
        session_id: [0; 16],
        verifier: Identity([0; 32]),
        verifier_name: String::new(),
        audience: String::new(),
        matrix_dim: played.assignments.first()?.matrix_dim,
        devices: devices
            .map(|(assignment, ordinal)| DevicePlan {
                ordinal: DeviceOrdinal(ordinal),
                matrix_offset: assignment.matrix_offset,
                num_matrices: assignment.num_matrices,
            })
            .collect(),
        iterations: vec![Iteration {
            inner_dim: INNER_DIM,
            sweeps: played.sweeps,
        }],
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
    Some(Claims::new(&plan, &[windows], assumptions).host)
}

impl Row {
    fn of(attack: Attack, outcome: &Outcome, assumptions: &Assumptions) -> Self {
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

    fn not_run(attack: Attack, why: String) -> Self {
        Row {
            attack: attack.name().to_owned(),
            parameter: String::new(),
            not_run: Some(why),
            is_lost: false,
            figures: None,
        }
    }

    fn to_line(&self) -> String {
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
                certified.unwrap_or_else(|| "no claim".to_owned()),
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
            shown(figures.bandwidth_bytes, &|count| bytes_per_s(count as u128)),
            shown(figures.tensor_ops, &|count| ops_per_s(count as u128)),
            margins.join(", "),
            notes.join("; "),
        )
    }
}

fn header() -> String {
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

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let assumptions = default_assumptions(ERROR_BITS);
    match options.attack {
        Some(attack) => play_one(attack, options, &assumptions),
        None => play_all(options, &assumptions),
    }
}

/// In the attack's own process: its rows, each as soon as there is one.
fn play_one(attack: Attack, options: &Options, assumptions: &Assumptions) -> anyhow::Result<Exit> {
    let config = CudaEngineConfig {
        sweep_path: options.by_loads.then_some(SweepPath::Load),
        launch_limit: LAUNCH_LIMIT,
        ..CudaEngineConfig::new(options.device)
    };
    let mut printed = Ok(());
    let played = play(attack, config, options.memory, &mut |outcome| {
        let row = Row::of(attack, &outcome, assumptions);
        if printed.is_ok() {
            printed = print_row(&row);
        }
    });
    printed?;
    if let Err(error) = played {
        let outcome = Outcome {
            parameter: String::new(),
            played: Err(error),
        };
        print_row(&Row::of(attack, &outcome, assumptions))?;
        return Ok(Exit::NoVerdict);
    }
    Ok(Exit::Affirmed)
}

fn print_row(row: &Row) -> anyhow::Result<()> {
    print_text(format_args!("{}\n", serde_json::to_string(row)?))
}

fn play_all(options: &Options, assumptions: &Assumptions) -> anyhow::Result<Exit> {
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut waiting: VecDeque<_> = Attack::ALL.into_iter().map(|attack| (attack, false)).collect();
    let mut rows: Vec<Row> = Vec::new();
    while let Some((attack, by_loads)) = waiting.pop_front() {
        let left = end.saturating_duration_since(Instant::now());
        if left < LEAST_AN_ATTACK && options.seconds > LEAST_AN_ATTACK.as_secs() {
            let why = format!("not run: the {} s were over", options.seconds);
            rows.push(Row::not_run(attack, why));
            continue;
        }
        cli::tell(format_args!("{attack}{}", if by_loads { ", by loads" } else { "" }));
        let new = in_a_process(attack, by_loads, options, left.min(most_an_attack(options.memory)))
            .unwrap_or_else(|error| vec![Row::not_run(attack, format!("not run: {error:#}"))]);
        // The copy engine may not read memory elsewhere: loads to registers do.
        if !by_loads && new.iter().any(|row| row.is_lost) {
            waiting.push_front((attack, true));
        }
        rows.extend(new);
    }
    if options.json {
        print_json(&json!({
            "assumptions": {
                "best_rate_ops": assumptions.best_rate_ops,
                "link_in_bytes": assumptions.link_in_bytes,
                "link_out_bytes": assumptions.link_out_bytes,
                "helper_bytes": assumptions.helper_bytes,
                "on_chip_bytes": assumptions.on_chip_bytes,
                "error_bits": assumptions.error_bits,
                "samples": SAMPLES,
            },
            "rows": rows,
        }))?;
    } else {
        print_text(header() + &rows.iter().map(Row::to_line).collect::<String>())?;
    }
    Ok(exit(&rows))
}

fn most_an_attack(dataset_bytes: u64) -> Duration {
    MOST_AN_ATTACK * u32::try_from(dataset_bytes.div_ceil(32 << 30)).unwrap_or(u32::MAX)
}

fn exit(rows: &[Row]) -> Exit {
    let played = || rows.iter().filter_map(|row| row.figures.as_ref());
    if played().any(|figures| !figures.beaten().is_empty()) {
        Exit::Contraindicated
    } else if Attack::ALL.into_iter().all(|attack| has_run(attack, rows))
        && played().all(|figures| figures.same_roots != Some(false))
    {
        Exit::Affirmed
    } else {
        Exit::NoVerdict
    }
}

/// Whether nothing of an attack is missing: where it was tried again by loads, of that. Not every host has a second GPU.
fn has_run(attack: Attack, rows: &[Row]) -> bool {
    let own: Vec<&Row> = rows.iter().filter(|row| row.attack == attack.name()).collect();
    let again: Vec<&Row> = own
        .iter()
        .copied()
        .filter(|row| row.parameter.ends_with(BY_LOADS))
        .collect();
    let last = if again.is_empty() { own } else { again };
    attack.wants_two_gpus() || (!last.is_empty() && last.iter().all(|row| row.figures.is_some()))
}

/// A child that is killed, should it still run, and waited for.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // A child that has ended cannot be killed, and need not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An attack in a process of its own, for `limit` at most: all rows that it came to.
fn in_a_process(attack: Attack, by_loads: bool, options: &Options, limit: Duration) -> anyhow::Result<Vec<Row>> {
    let mut command = Command::new(std::env::current_exe().context("this program's own path")?);
    command
        .args(["adversary", "gpu", "--attack", attack.name()])
        .args(["--device", &options.device.to_string()])
        .args(["--memory", &options.memory.to_string()])
        .args(by_loads.then_some("--by-loads"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = Killed(command.spawn().context("a process for the attack")?);
    let out = child.0.stdout.take().context("the process's output")?;
    let (lines, incoming) = channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines() {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + limit;
    let mut rows = Vec::new();
    let why = loop {
        match incoming.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => rows.push(read_row(line)?),
            Err(RecvTimeoutError::Timeout) => break Some(format!("stopped after {:.0} s", limit.as_secs_f64())),
            Err(RecvTimeoutError::Disconnected) => break ended(child.0.wait()?),
        }
    };
    rows.extend(why.map(|why| Row::not_run(attack, why)));
    for row in &mut rows {
        if by_loads {
            row.parameter += BY_LOADS;
        }
    }
    Ok(rows)
}

fn read_row(line: io::Result<String>) -> anyhow::Result<Row> {
    let line = line.context("the process's output")?;
    serde_json::from_str(&line).with_context(|| format!("expected a row, got {line:?}"))
}

/// What there is to say of a process that has ended by itself; exit code 2 comes with a row that says why.
fn ended(status: ExitStatus) -> Option<String> {
    (!matches!(status.code(), Some(0 | 2))).then(|| format!("the attack's process ended with {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_cuda::attack::{Times, Truth};
    use protocol::engine::Assignment;

    /// An H200 that holds `held` of 512 matrices and sweeps in `sweep_us`.
    fn played(held: u64, sweep_us: u64, wrong_share: f64) -> Played {
        let whole = Assignment {
            matrix_dim: 8192,
            matrix_offset: 0,
            num_matrices: 512,
            max_inner_dim: INNER_DIM,
        };
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

    fn row(played: Played) -> Row {
        let outcome = Outcome {
            parameter: "5 %".to_owned(),
            played: Ok(played),
        };
        Row::of(Attack::HostPinned, &outcome, &default_assumptions(ERROR_BITS))
    }

    #[test]
    fn an_honest_device_is_certified_below_the_truth() {
        let row = row(played(512, 7_700, 0.0));
        let figures = row.figures.as_ref().expect("figures");
        for (name, figure) in figures.named() {
            let margin = figure.margin().expect("a claim");
            assert!(margin > 0.0 && margin < 0.1, "{name}: {margin}");
        }
        assert!(!row.to_line().contains("BEATS"), "{}", row.to_line());
    }

    #[test]
    fn a_bound_above_the_truth_is_marked_and_is_exit_code_1() {
        // Half is missing and the sweep takes no longer: no link that is assumed does that.
        let row = row(played(256, 7_700, 0.0));
        assert_eq!(row.figures.as_ref().expect("figures").beaten(), ["V", "B"]);
        assert!(row.to_line().contains("BEATS THE BOUND: V B"), "{}", row.to_line());
        assert_eq!(exit(&[row]), Exit::Contraindicated);
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

    #[test]
    fn rows_pass_from_process_to_process_unchanged() {
        let row = row(played(486, 9_100, 0.0));
        let line = serde_json::to_string(&row).expect("JSON");
        let again = read_row(Ok(line)).expect("a row");
        assert_eq!(format!("{again:?}"), format!("{row:?}"));
        assert!(read_row(Ok("Segmentation fault".to_owned())).is_err());
    }

    /// A row of every attack but those named, all as an honest device has it.
    fn rows_without(missing: &[Attack]) -> Vec<Row> {
        let all = Attack::ALL.into_iter().filter(|attack| !missing.contains(attack));
        all.map(|attack| Row {
            attack: attack.name().to_owned(),
            ..row(played(512, 7_700, 0.0))
        })
        .collect()
    }

    #[test]
    fn exit_code_0_wants_every_attack_but_those_of_two_gpus() {
        assert_eq!(exit(&rows_without(&[])), Exit::Affirmed);
        assert_eq!(exit(&rows_without(&[Attack::Peer])), Exit::Affirmed);
        let mut rows = rows_without(&[Attack::Peer, Attack::TwoForOne]);
        rows.push(Row::not_run(Attack::Peer, "needs two GPUs".to_owned()));
        assert_eq!(exit(&rows), Exit::Affirmed);
        for attack in Attack::ALL.into_iter().filter(|attack| !attack.wants_two_gpus()) {
            assert_eq!(exit(&rows_without(&[attack])), Exit::NoVerdict, "{attack}");
            // Nor is a part of an attack the whole of it.
            let mut rows = rows_without(&[]);
            rows.push(Row::not_run(attack, "stopped after 20 s".to_owned()));
            assert_eq!(exit(&rows), Exit::NoVerdict, "{attack}");
        }
        let honest_alone = row(played(512, 7_700, 0.0));
        assert_eq!(exit(&[honest_alone]), Exit::NoVerdict);
        assert_eq!(exit(&[]), Exit::NoVerdict);
    }

    #[test]
    fn wrong_roots_are_exit_code_2_and_a_beaten_bound_goes_before() {
        let mut rows = rows_without(&[Attack::HostManaged]);
        let wrong = Played {
            same_roots: Some(false),
            ..played(512, 7_700, 0.0)
        };
        rows.push(Row {
            attack: Attack::HostManaged.name().to_owned(),
            ..row(wrong)
        });
        assert_eq!(exit(&rows), Exit::NoVerdict);
        rows.push(row(played(256, 7_700, 0.0)));
        assert_eq!(exit(&rows), Exit::Contraindicated);
    }

    #[test]
    fn an_attack_that_lost_the_device_counts_if_it_ran_by_loads() {
        let mut rows = rows_without(&[Attack::HostManaged]);
        let mut lost = Row::not_run(Attack::HostManaged, "device lost".to_owned());
        lost.is_lost = true;
        rows.push(lost);
        assert_eq!(exit(&rows), Exit::NoVerdict);
        let mut again = row(played(512, 7_700, 0.0));
        again.attack = Attack::HostManaged.name().to_owned();
        again.parameter += BY_LOADS;
        rows.push(again);
        assert_eq!(exit(&rows), Exit::Affirmed);
    }
}
