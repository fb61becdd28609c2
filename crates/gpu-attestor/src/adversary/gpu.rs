//! `gpu-attestor adversary gpu`: timed attacks on the sweeps of a real GPU, compared with what a Verifier would
//! certify.

mod row;

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use cli::{Exit, parse_bytes, print_json, print_text};
use engine_cuda::attack::{Attack, Outcome, play};
use engine_cuda::{CudaEngineConfig, SweepPath};
use protocol::bounds::Assumptions;
use serde::Serialize;
use verifier::assumptions::Assumed;
use verifier::preset::default_assumptions;

use self::row::{Row, SAMPLES, header};

/// Soundness of a `standard` session.
const ERROR_BITS: u32 = 20;
/// Longest time that one attack may take for each 32 GiB, and the minimum it needs to start.
const MOST_AN_ATTACK: Duration = Duration::from_secs(20);
const LEAST_AN_ATTACK: Duration = Duration::from_secs(3);
/// Timeout of a launch in an attack.
const LAUNCH_LIMIT: Duration = Duration::from_secs(15);

/// The end of the parameters of an attack that is repeated with loads to registers.
const BY_LOADS: &str = " (by loads)";

/// What the attacks came to.
#[derive(Serialize)]
struct AttackReport<'a> {
    /// What a Verifier would assume.
    assumptions: AttackAssumptions,
    /// What each attack came to.
    rows: &'a [Row],
}

/// What a Verifier would assume.
#[derive(Serialize)]
struct AttackAssumptions {
    #[serde(flatten)]
    assumed: Assumed,
    /// The soundness error of a device and distinct k is 2^-this.
    error_bits: u32,
    /// Samples per device and distinct k.
    samples: u32,
}

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

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let assumptions = default_assumptions(ERROR_BITS);
    match options.attack {
        Some(attack) => play_one(attack, options, &assumptions),
        None => play_all(options, &assumptions),
    }
}

/// In the attack's own process: prints its rows, each as soon as it is available.
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
        // The copy engine may be unable to read memory elsewhere; loads to registers can.
        if !by_loads && new.iter().any(|row| row.is_lost) {
            waiting.push_front((attack, true));
        }
        rows.extend(new);
    }
    if options.json {
        print_json(&AttackReport {
            assumptions: AttackAssumptions {
                assumed: Assumed::from(assumptions),
                error_bits: assumptions.error_bits,
                samples: SAMPLES,
            },
            rows: &rows,
        })?;
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

/// Whether all of an attack is present; if it was repeated with loads, of the repetition. Not every host has a second
/// GPU.
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

/// A child process that is killed, if it is still running, and waited for.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // A child that has ended cannot be killed, and need not be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs an attack in a separate process, for at most `limit`: all rows that it returned.
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
    let reading = move || {
        for line in BufReader::new(out).lines() {
            if lines.send(line).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().spawn(reading);
    thread.map_err(|error| transport::no_thread(&error))?;
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

/// The message about a process that has ended by itself; exit code 2 comes with a row that states the reason.
fn ended(status: ExitStatus) -> Option<String> {
    (!matches!(status.code(), Some(0 | 2))).then(|| format!("the attack's process ended with {status}"))
}

#[cfg(test)]
mod tests {
    use super::row::tests::{played, row};
    use super::*;
    use engine_cuda::attack::Played;

    #[test]
    fn a_bound_above_the_truth_is_marked_and_is_exit_code_1() {
        // Half is missing and the sweep takes no longer: no assumed link allows that.
        let row = row(played(256, 7_700, 0.0));
        assert_eq!(row.figures.as_ref().expect("figures").beaten(), ["V", "B"]);
        assert!(row.to_line().contains("BEATS THE BOUND: V B"), "{}", row.to_line());
        assert_eq!(exit(&[row]), Exit::Contraindicated);
    }

    #[test]
    fn rows_pass_from_process_to_process_unchanged() {
        let row = row(played(486, 9_100, 0.0));
        let line = serde_json::to_string(&row).expect("JSON");
        let again = read_row(Ok(line)).expect("a row");
        assert_eq!(format!("{again:?}"), format!("{row:?}"));
        assert!(read_row(Ok("Segmentation fault".to_owned())).is_err());
    }

    /// A row for every attack except those named, all with the figures of an honest device.
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
            // A part of an attack is not the whole of it either.
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
