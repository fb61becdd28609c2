//! Attacks on the sweeps, run on real GPUs and timed (rationale §3).
//!
//! Each attack works with the engine's own kernels, and reports what it really held, read and computed. The caller uses
//! the protocol's bounds to find what a Verifier would certify from its times. Where a real attacker would need more
//! work than is timed here, the simulated attack is faster: a bound that holds against it also holds against the real
//! one.

mod elsewhere;
mod managed;
mod mapping;
mod outcome;
mod stage;
mod together;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use protocol::bytes::{Root, Salt};
use protocol::engine::{Engine, EngineError, Unobserved};

use crate::context::Context;
use crate::engine::{CudaEngine, CudaEngineConfig};
use mapping::Location;
pub(crate) use mapping::Mapping;
pub use outcome::{Attack, Outcome, Played, Times, Truth};
pub use stage::INNER_DIM;
use stage::{MATRIX_BYTES, Stage, assignment, operations, percent, salt, sweeps, task, timed};
use together::Together;

/// Thousandths of the dataset that are regenerated, or in the other GPU's memory.
const REGENERATED: [u32; 4] = [10, 20, 50, 100];
const PEER: [u32; 4] = [50, 100, 250, 500];
/// The same on the host and, in addition, regenerated.
const MIXED: [(u32, u32); 3] = [(10, 5), (20, 5), (10, 10)];
/// Number of parts in which a dataset is regenerated if nothing of it is kept.
const EPILOGUE_PARTS: u32 = 32;

/// Runs an attack with each of its parameters on a dataset of about `dataset_bytes`; `report` is called with each
/// result.
///
/// # Errors
///
/// An error that prevents the whole attack.
pub fn play(
    attack: Attack,
    config: CudaEngineConfig,
    dataset_bytes: u64,
    report: &mut dyn FnMut(Outcome),
) -> Result<(), EngineError> {
    let matrices = (dataset_bytes / MATRIX_BYTES).clamp(2, 1 << 20) as u32;
    let whole = assignment(0, matrices)?;
    let neighbour = attack.wants_two_gpus().then(|| neighbour(config)).transpose()?;
    let mut stage = Stage::new(config, whole, report)?;
    match attack {
        Attack::Honest => {
            let (times, truth) = (
                stage.honest.times,
                stage.truth(stage.honest.times, whole.num_matrices()),
            );
            stage.say("", Ok(stage.played(times, truth)));
            Ok(())
        }
        Attack::OneForTwo => stage.one_for_two(),
        Attack::InventedSweeps => {
            stage.invented_sweeps();
            Ok(())
        }
        Attack::NothingKept => stage.nothing_kept(),
        Attack::Regeneration => stage.regeneration(),
        Attack::HostPinned => stage.host_pinned(),
        Attack::HostManaged => stage.host_managed(),
        Attack::HostPrefetched => stage.host_prefetched(),
        Attack::Mixture => stage.mixture(),
        Attack::Peer => match neighbour {
            Some(neighbour) => stage.placed(&PEER, Location::Device(neighbour.device())),
            None => Ok(()),
        },
        Attack::TwoForOne => match neighbour {
            Some(neighbour) => stage.two_for_one(&Arc::new(neighbour)),
            None => Ok(()),
        },
    }
}

/// Another GPU, whose context is kept while its memory is used.
fn neighbour(config: CudaEngineConfig) -> Result<Context, EngineError> {
    crate::driver::start().map_err(|error| EngineError::Unsupported(error.to_string()))?;
    let other = u32::from(config.device_index == 0);
    Context::new(other).map_err(|error| EngineError::Unsupported(format!("needs two GPUs: not run ({error})")))
}

/// Runs two tasks in parallel: their results, and the time until both have ended.
fn both<A, B: Send>(
    one: impl FnOnce() -> Result<A, EngineError>,
    other: impl FnOnce() -> Result<B, EngineError> + Send,
) -> Result<(Duration, (A, B)), EngineError> {
    timed(|| {
        thread::scope(|scope| {
            let other = scope.spawn(other);
            let one = one();
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok((one?, other?))
        })
    })
}

/// Regenerates matrices and sweeps them.
fn remake(anew: &mut CudaEngine, salt: &Salt) -> Result<Root, EngineError> {
    anew.fill(&task(), &Unobserved)?;
    anew.sweep(salt, &Unobserved)
}

/// The sweep of `rest` in parallel with the regeneration of `anew`, by the best division of the multiprocessors found.
///
/// The fill gets some quarters of them, the sweep the others; if each uses all of them, they run one after the other.
fn swept_and_remade(rest: &mut CudaEngine, anew: &mut CudaEngine) -> Result<(Duration, u32), EngineError> {
    let multiprocessors = rest.context.multiprocessors()?;
    let all = anew.kernels.fill.clusters().map(|clusters| *clusters);
    let mut best = (Duration::MAX, 0);
    for quarters in [1, 2, 3, 4] {
        if let (Some(all), Some(clusters)) = (all, anew.kernels.fill.clusters()) {
            // Fewer clusters than can be resident at once: they never wait for one that is not resident.
            *clusters = (all * quarters / 4).max(1);
            let left = if quarters < 4 { 2 * *clusters } else { 0 };
            rest.kernels.sweep.limit_multiprocessors(multiprocessors - left);
        }
        let (sweep, _) = sweeps(|salt| both(|| rest.sweep(salt, &Unobserved), || remake(anew, salt)))?;
        best = best.min((sweep, quarters));
    }
    Ok(best)
}

impl Stage<'_> {
    /// Two engines of half the dataset each on one GPU; a window ends with the later one.
    fn one_for_two(&mut self) -> Result<(), EngineError> {
        let half = self.whole.num_matrices() / 2;
        let halves = [assignment(0, half)?, assignment(half.into(), half)?];
        let mut engines = [CudaEngine::new(self.config)?, CudaEngine::new(self.config)?];
        for (engine, half) in engines.iter_mut().zip(&halves) {
            engine.prepare(half)?;
        }
        let [a, b] = &mut engines;
        let task = task();
        let (fill, _) = both(|| a.fill(&task, &Unobserved), || b.fill(&task, &Unobserved))?;
        let (sweep, _) = sweeps(|salt| both(|| a.sweep(salt, &Unobserved), || b.sweep(salt, &Unobserved)))?;
        let times = Times { fill, sweep };
        let held_bytes = 2 * halves[0].dataset_bytes();
        let truth = Truth {
            held_bytes,
            read_bytes_per_s: held_bytes as f64 / sweep.as_secs_f64(),
            ops_per_s: 2.0 * operations(&halves[0]) / fill.as_secs_f64(),
        };
        let played = Played {
            assignments: halves.to_vec(),
            ..self.played(times, truth)
        };
        self.say("2 x half", Ok(played));
        Ok(())
    }

    /// Invented roots have no cost here: an attack that reads once for several sweeps is slower.
    fn invented_sweeps(&mut self) {
        for (invented, sweeps) in [(1, 128), (55, 4096), (1, 32), (16, 32)] {
            let honest = self.honest.times;
            let times = Times {
                sweep: honest.sweep * (sweeps - invented) / sweeps,
                ..honest
            };
            let played = Played {
                sweeps,
                wrong_share: f64::from(invented) / f64::from(sweeps),
                ..self.played(times, self.truth(honest, self.whole.num_matrices()))
            };
            self.say(format!("{invented} of {sweeps} sweeps"), Ok(played));
        }
    }

    /// Memory of one part, filled and swept in place of all parts, one after the other.
    fn nothing_kept(&mut self) -> Result<(), EngineError> {
        let matrices = (self.whole.num_matrices() / EPILOGUE_PARTS).max(1);
        let parts = self.whole.num_matrices() / matrices;
        let stated = assignment(0, parts * matrices)?;
        let mut engine = CudaEngine::new(self.config)?;
        engine.prepare(&assignment(0, matrices)?)?;
        let (fill, ()) = timed(|| {
            for _ in 0..parts {
                engine.fill(&task(), &Unobserved)?;
            }
            Ok(())
        })?;
        let (sweep, ()) = timed(|| {
            for part in 0..parts {
                engine.fill(&task(), &Unobserved)?;
                engine.sweep(&salt(part as usize), &Unobserved)?;
            }
            Ok(())
        })?;
        let held_bytes = u64::from(matrices) * MATRIX_BYTES;
        let truth = Truth {
            held_bytes,
            read_bytes_per_s: held_bytes as f64 / sweep.as_secs_f64(),
            ops_per_s: operations(&stated) / fill.as_secs_f64(),
        };
        let played = Played {
            assignments: vec![stated],
            ..self.played(Times { fill, sweep }, truth)
        };
        self.say(format!("1/{parts} at a time"), Ok(played));
        Ok(())
    }

    /// The rest is swept, and the missing part filled and swept separately: pairs with one tile of each take no time.
    fn regeneration(&mut self) -> Result<(), EngineError> {
        for thousandths in REGENERATED {
            let missing = self.part(thousandths);
            let kept = self.whole.num_matrices() - missing;
            let mut rest = CudaEngine::new(self.config)?;
            rest.prepare(&assignment(0, kept)?)?;
            rest.fill(&task(), &Unobserved)?;
            let mut anew = CudaEngine::new(self.config)?;
            anew.prepare(&assignment(kept.into(), missing)?)?;
            let fill = self.honest.times.fill;

            let (sweep, _) = sweeps(|salt| {
                timed(|| {
                    rest.sweep(salt, &Unobserved)?;
                    remake(&mut anew, salt)
                })
            })?;
            let times = Times { fill, sweep };
            let played = self.played(times, self.truth(times, kept));
            self.say(format!("{}, in turn", percent(thousandths)), Ok(played));

            let (sweep, quarters) = swept_and_remade(&mut rest, &mut anew)?;
            let times = Times { fill, sweep };
            let played = self.played(times, self.truth(times, kept));
            self.say(format!("{}, at once ({quarters}/4)", percent(thousandths)), Ok(played));
        }
        Ok(())
    }

    /// As [`Stage::regeneration`] in parallel, with a part of the rest on the host.
    fn mixture(&mut self) -> Result<(), EngineError> {
        let host = self.host()?;
        for (on_host, remade) in MIXED {
            let (outside, missing) = (self.part(on_host), self.part(remade));
            let rest_of_it = assignment(0, self.whole.num_matrices() - missing)?;
            let (mut rest, _) = self.placed_engine(&rest_of_it, outside, host, &[])?;
            let (fill, _) = timed(|| rest.fill(&task(), &Unobserved))?;
            let mut anew = CudaEngine::new(self.config)?;
            anew.prepare(&assignment(rest_of_it.num_matrices().into(), missing)?)?;
            let (sweep, quarters) = swept_and_remade(&mut rest, &mut anew)?;
            // Its fill is not faster because of the omitted part.
            let fill = fill.max(self.honest.times.fill);
            let times = Times { fill, sweep };
            let played = self.played(times, self.truth(times, rest_of_it.num_matrices() - outside));
            let parameter = format!("{} + {} ({quarters}/4)", percent(on_host), percent(remade));
            self.say(parameter, Ok(played));
        }
        Ok(())
    }

    /// The GPU fills all, half of it in the other's memory; both sweep, each taking the next pair available.
    fn two_for_one(&mut self, other: &Arc<Context>) -> Result<(), EngineError> {
        let there = self.part(500);
        let devices = [other.device()];
        let (mut engine, _) = self.placed_engine(&self.whole, there, Location::Device(other.device()), &devices)?;
        let (fill, fill_root) = timed(|| engine.fill(&task(), &Unobserved))?;
        let mut together = Together::new(engine, other)?;
        let (sweep, sweep_root) = sweeps(|salt| timed(|| together.sweep(salt)))?;
        let times = Times { fill, sweep };
        let played = Played {
            same_roots: Some([fill_root, sweep_root] == self.honest.roots),
            ..self.played(times, self.truth(times, self.whole.num_matrices() - there))
        };
        self.say(percent(500), Ok(played));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::stage::tests::stage;
    use super::*;

    #[test]
    fn parts_are_whole_matrices_one_at_least_and_never_all() {
        let mut nobody = |_| {};
        let of_512 = stage(512, &mut nobody);
        let parts: Vec<_> = [1, 10, 50, 250, 1000].iter().map(|x| of_512.part(*x)).collect();
        assert_eq!(parts, [1, 6, 26, 128, 511]);
        assert_eq!(of_512.tail(128), (384 * MATRIX_BYTES, 128 * MATRIX_BYTES));
    }

    #[test]
    fn invented_sweeps_shorten_the_window_by_their_share() {
        let mut outcomes = Vec::new();
        let mut report = |outcome| outcomes.push(outcome);
        stage(512, &mut report).invented_sweeps();
        for Outcome { parameter, played } in outcomes {
            let played = played.expect("figures");
            let done = played.attack.sweep.as_secs_f64() / played.honest.sweep.as_secs_f64();
            assert!((done - (1.0 - played.wrong_share)).abs() < 1e-6, "{parameter}");
            // The real figure is what the honest sweeps read.
            let read = played.truth.read_bytes_per_s * played.honest.sweep.as_secs_f64();
            assert!(
                (read / played.truth.held_bytes as f64 - 1.0).abs() < 1e-9,
                "{parameter}"
            );
        }
    }

    #[test]
    fn without_a_gpu_every_attack_says_why() {
        if crate::inventory::devices().is_ok() {
            println!("SKIPPED: there is a GPU here");
            return;
        }
        for attack in Attack::ALL {
            let mut outcomes = Vec::new();
            let error = play(attack, CudaEngineConfig::new(0), 1 << 30, &mut |outcome| {
                outcomes.push(outcome)
            });
            assert!(matches!(error, Err(EngineError::Unsupported(_))), "{attack}: {error:?}");
            assert!(outcomes.is_empty(), "{attack}");
        }
    }
}
