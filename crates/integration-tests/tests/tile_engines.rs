//! Samples recomputed by engines in addition to the CPU: by a correct one, and by faulty ones; and on GPUs.

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use engine_cpu::{CpuEngine, CpuEngineConfig, OperandCache, Path, Tile, TileComputer};
use engine_cuda::{CudaEngine, CudaEngineConfig, CudaTiles};
use integration_tests::{attester, cpu, run, settings};
use protocol::bytes::{OperandKey, Root, Salt};
use protocol::commitment::Opening;
use protocol::engine::{Assignment, CommitmentId, Engine, EngineError, FillTask, Progress, TileEngine};
use protocol::limits::TILE_BYTES;
use protocol::tile::TileCoordinate;
use protocol::verdict::Verdict;
use verifier::outcome::Judge;
use verifier::recompute::{Recompute, RecomputeError};
use verifier::reexecute::{Checkpoint, reexecute, tiles_left};
use verifier::{Unobserved, Verified, VerifyError, open, verify};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// One bit of the last tile of every call.
    WrongBit,
    /// The last tile of every call.
    Missing,
    /// Every tile, and one that was not requested.
    Twice,
    /// The whole call.
    Fails,
}

/// An engine of one CPU thread that counts the requested tiles.
struct OnCpu {
    computer: TileComputer,
    fault: Fault,
    asked: Arc<AtomicUsize>,
}

fn on_cpu(fault: Fault) -> (Box<dyn TileEngine>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let cache = Arc::new(OperandCache::new(1 << 20));
    let engine = OnCpu {
        computer: TileComputer::new(Path::best(), cache).expect("the best path works"),
        fault,
        asked: Arc::clone(&asked),
    };
    (Box::new(engine), asked)
}

impl TileEngine for OnCpu {
    fn tiles(
        &mut self,
        operand_key: &OperandKey,
        inner_dim: u32,
        at: &[TileCoordinate],
        take: &mut dyn FnMut(usize, &[u8; TILE_BYTES]),
    ) -> Result<(), EngineError> {
        self.asked.fetch_add(at.len(), Ordering::Relaxed);
        if self.fault == Fault::Fails {
            return Err(EngineError::DeviceLost("unplugged".to_owned()));
        }
        for (i, &coordinate) in at.iter().enumerate() {
            let mut tile = Tile::zeroed();
            self.computer.compute(operand_key, inner_dim, coordinate, &mut tile);
            let is_last = i + 1 == at.len();
            match self.fault {
                Fault::WrongBit if is_last => tile.0[4097] ^= 0x10,
                Fault::Missing if is_last => return Ok(()),
                Fault::Twice => {
                    take(i, &tile.0);
                    take(at.len() + i, &tile.0);
                }
                _ => {}
            }
            take(i, &tile.0);
        }
        Ok(())
    }
}

fn one_thread() -> Recompute {
    Recompute {
        threads: NonZeroUsize::MIN,
        ..Recompute::default()
    }
}

fn sealed() -> Vec<u8> {
    let (attestation, _) = run(attester(cpu(2)), &settings(), &Unobserved);
    assert_eq!(attestation.session.verdict(), Some(&Verdict::Affirmed));
    attestation.sealed
}

/// Checked with these engines and one CPU thread.
fn with(sealed: &[u8], engines: &mut [Box<dyn TileEngine>]) -> Result<Verified, VerifyError> {
    open(sealed)?.recompute(&one_thread(), engines, &Judge::of_nobody(), &Unobserved)
}

#[test]
fn engines_and_the_cpu_share_the_samples() {
    let sealed = sealed();
    for fault in [Fault::None, Fault::Twice] {
        let (mut engines, asked): (Vec<_>, Vec<_>) = (0..3).map(|_| on_cpu(fault)).unzip();
        let verified = with(&sealed, &mut engines).expect("evidence");
        assert_eq!(verified.session.verdict(), Some(&Verdict::Affirmed), "{fault:?}");
        // The engines get the first tiles.
        for asked in asked {
            assert!(asked.load(Ordering::Relaxed) > 0, "{fault:?}");
        }
    }
}

#[test]
fn an_engine_that_fails_or_errs_leaves_no_verdict() {
    let sealed = sealed();
    for (fault, expected) in [
        (Fault::Fails, "device lost: unplugged"),
        (Fault::Missing, "was asked for and not computed"),
        (Fault::WrongBit, "gives another tile than the CPU"),
    ] {
        let (good, _) = on_cpu(Fault::None);
        let (bad, _) = on_cpu(fault);
        match with(&sealed, &mut [good, bad]) {
            Err(VerifyError::Recompute(error)) => {
                let (RecomputeError::Engine { engine, .. } | RecomputeError::WrongTile { engine, .. }) = &error else {
                    panic!("{fault:?}: {error}");
                };
                assert_eq!(*engine, 1, "{fault:?}");
                assert!(error.to_string().contains(expected), "{error}");
            }
            Err(other) => panic!("{fault:?}: {other}"),
            Ok(verified) => panic!("{fault:?}: {:?}", verified.session.verdict()),
        }
    }
}

/// Commits to fill digests under another salt, and opens them.
struct WrongSalt(CpuEngine);

impl Engine for WrongSalt {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.0.prepare(assignment)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        let fill_salt = Salt([0xEE; 32]);
        self.0.fill(&FillTask { fill_salt, ..*task }, progress)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.0.sweep(salt, progress)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.0.open(commitment, leaf)
    }
}

/// Evidence of a session that failed at its first wrong tile.
fn contraindicated() -> Vec<u8> {
    let mut devices = cpu(2);
    let engine = CpuEngine::new(CpuEngineConfig::default()).expect("the best path runs here");
    devices[1].engine = Box::new(WrongSalt(engine));
    let (attestation, _) = run(attester(devices), &settings(), &Unobserved);
    attestation.sealed
}

#[test]
fn the_first_wrong_sample_is_the_same_with_engines() {
    let sealed = contraindicated();
    let alone = verify(&sealed, &one_thread(), &Judge::of_nobody(), &Unobserved).expect("evidence");
    assert!(matches!(alone.session.verdict(), Some(Verdict::Contraindicated(_))));
    let (mut engines, _): (Vec<_>, Vec<_>) = (0..2).map(|_| on_cpu(Fault::None)).unzip();
    let shared = with(&sealed, &mut engines).expect("evidence");
    assert_eq!(shared.session.verdict(), alone.session.verdict());
}

/// Indices of the GPUs of this host. If there are none: `None`, with a visible message, or a failure if
/// `GPU_ATTESTOR_REQUIRE_CUDA=1` requires them.
fn gpus(test: &str) -> Option<Vec<u32>> {
    match engine_cuda::devices() {
        Ok(devices) => Some(devices.iter().map(|device| device.index).collect()),
        Err(error) if std::env::var("GPU_ATTESTOR_REQUIRE_CUDA").is_ok_and(|value| value == "1") => {
            panic!("{test}: GPU_ATTESTOR_REQUIRE_CUDA=1, but {error}")
        }
        Err(error) => {
            // Not captured with the test's output: a skipped test must be visible.
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {error}");
            None
        }
    }
}

/// An engine that counts its tiles.
struct Counted(CudaTiles, Arc<AtomicUsize>);

impl TileEngine for Counted {
    fn tiles(
        &mut self,
        operand_key: &OperandKey,
        inner_dim: u32,
        at: &[TileCoordinate],
        take: &mut dyn FnMut(usize, &[u8; TILE_BYTES]),
    ) -> Result<(), EngineError> {
        self.1.fetch_add(at.len(), Ordering::Relaxed);
        self.0.tiles(operand_key, inner_dim, at, take)
    }
}

#[test]
fn samples_are_recomputed_on_gpus() {
    let Some(gpus) = gpus("samples_are_recomputed_on_gpus") else {
        return;
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let open = |index: &u32| -> Box<dyn TileEngine> {
        let tiles =
            CudaTiles::new(CudaEngineConfig::new(*index)).unwrap_or_else(|error| panic!("GPU {index}: {error}"));
        Box::new(Counted(tiles, Arc::clone(&asked)))
    };
    let mut engines: Vec<_> = gpus.iter().map(open).collect();
    for sealed in [sealed(), contraindicated()] {
        let alone = verify(&sealed, &one_thread(), &Judge::of_nobody(), &Unobserved).expect("evidence");
        let before = asked.load(Ordering::Relaxed);
        let since = Instant::now();
        let shared = with(&sealed, &mut engines).expect("evidence");
        let on_gpus = asked.load(Ordering::Relaxed) - before;
        eprintln!(
            "{on_gpus} tiles on {} GPUs, verified in {:?}",
            gpus.len(),
            since.elapsed()
        );
        assert_eq!(shared.session.verdict(), alone.session.verdict());
        assert!(on_gpus > 0);
    }
}

#[derive(Default)]
struct Tiles(AtomicUsize);

impl Progress for Tiles {
    fn advance(&self, tiles: u64) {
        self.0.fetch_add(tiles as usize, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// With 1, 2 and 4 engines; if there are fewer GPUs, some engines share one.
#[test]
fn everything_is_done_again_on_gpus_with_the_cpu_beside_them() {
    let Some(gpus) = gpus("everything_is_done_again_on_gpus_with_the_cpu_beside_them") else {
        return;
    };
    let (attestation, _) = run(attester(cpu(3)), &settings(), &Unobserved);
    for count in [1, 2, 4] {
        let engine = |i: usize| -> Box<dyn Engine> {
            let index = gpus[i % gpus.len()];
            let engine = CudaEngine::new(CudaEngineConfig::new(index));
            Box::new(engine.unwrap_or_else(|error| panic!("GPU {index}: {error}")))
        };
        let mut engines: Vec<_> = (0..count).map(engine).collect();
        engines.push(Box::new(
            CpuEngine::new(CpuEngineConfig::default()).expect("the best path runs here"),
        ));
        let told = Tiles::default();
        let since = Instant::now();
        let outcome = reexecute(&attestation.session, engines, &mut Checkpoint::none("none"), &told);
        eprintln!(
            "{count} engines on {} GPUs and the CPU: {:?}",
            gpus.len(),
            since.elapsed()
        );
        assert_eq!(outcome.expect("the work is done"), Ok(()));
        assert_eq!(
            told.0.into_inner() as u64,
            tiles_left(&attestation.session, &Checkpoint::none("none"))
        );
    }
}
