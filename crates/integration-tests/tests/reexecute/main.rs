//! Full re-execution: what it confirms, which errors it finds that samples miss, and how engines share its jobs.

mod engines;

use std::env;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use engine_cpu::{CpuEngine, CpuEngineConfig};
use engines::{Erring, Error, Fault, Stuck, counted, engine, erring};
use integration_tests::{DEVICE_BYTES, attester, cpu, run, settings};
use protocol::bytes::{DeviceOrdinal, Root, Salt};
use protocol::commitment::{Commitment, Opening};
use protocol::engine::{Assignment, CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::limits::LEAVES_PER_CHUNK;
use protocol::verdict::Verdict;
use protocol::verifier::VerifierSession;
use report::Report;
use verifier::outcome::{Judge, Outcome};
use verifier::recompute::Recompute;
use verifier::reexecute::{Checkpoint, ReexecuteError, check_memory, jobs, reexecute, tiles_left};
use verifier::{Unobserved, verify};

const EVIDENCE: &str = "the evidence's BLAKE3";

fn session(devices: usize) -> VerifierSession {
    let (attestation, _) = run(attester(cpu(devices)), &settings(), &Unobserved);
    assert_eq!(attestation.session.verdict(), Some(&Verdict::Affirmed));
    attestation.session
}

#[derive(Default)]
struct Tiles(AtomicU64);

impl Progress for Tiles {
    fn advance(&self, tiles: u64) {
        self.0.fetch_add(tiles, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

#[test]
fn every_root_of_an_honest_session_agrees() {
    let session = session(3);
    assert_eq!(jobs(&session).expect("a finished session").len(), 9);
    for engines in [1, 2, 4] {
        let tiles = Tiles::default();
        let engines: Vec<Box<dyn Engine>> = (0..engines).map(|_| Box::new(engine()) as _).collect();
        let outcome = reexecute(&session, engines, &mut Checkpoint::none(EVIDENCE), &tiles).expect("the work is done");
        assert_eq!(outcome, Ok(()));
        assert_eq!(tiles.0.into_inner(), tiles_left(&session, &Checkpoint::none(EVIDENCE)));
    }
    assert!(matches!(
        reexecute(&session, Vec::new(), &mut Checkpoint::none(EVIDENCE), &Tiles::default()),
        Err(ReexecuteError::NoEngine)
    ));
}

/// Commits to one wrong leaf of one sweep, and opens everything else honestly.
struct OneWrongLeaf {
    engine: CpuEngine,
    sweep: CommitmentId,
    fills: u32,
    sweeps: u32,
    leaf_count: u32,
    lie: Option<Commitment>,
}

impl Engine for OneWrongLeaf {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.leaf_count = assignment.tiles().div_ceil(2);
        self.engine.prepare(assignment)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        (self.fills, self.sweeps) = (self.fills + 1, 0);
        self.engine.fill(task, progress)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        let root = self.engine.sweep(salt, progress)?;
        self.sweeps += 1;
        let this = CommitmentId::Sweep {
            iteration: self.fills - 1,
            sweep: self.sweeps,
        };
        if this != self.sweep {
            return Ok(root);
        }
        let digest = |leaf: u32| {
            let opening = self.engine.open(this, leaf).expect("the leaf exists");
            let at = (u64::from(leaf) % LEAVES_PER_CHUNK) as usize * 8;
            u64::from_le_bytes(opening.chunk[at..at + 8].try_into().expect("eight bytes"))
        };
        let mut leaves: Vec<u64> = (0..self.leaf_count).map(digest).collect();
        leaves[0] ^= 1;
        Ok(self.lie.insert(Commitment::new(leaves)).root())
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        match &self.lie {
            Some(lie) if commitment == self.sweep => lie.open(leaf).ok_or(EngineError::NoSuchLeaf { commitment, leaf }),
            _ => self.engine.open(commitment, leaf),
        }
    }
}

#[test]
fn one_wrong_leaf_that_no_sample_meets_is_found() {
    let sweep = CommitmentId::Sweep {
        iteration: 0,
        sweep: 17,
    };
    let mut settings = settings();
    settings.request.samples = 2;
    // The leaf is one of 336 in its group: two samples miss it in all but 1 of 168 sessions.
    let missed = (0..4).find_map(|_| {
        let mut devices = cpu(2);
        devices[1].engine = Box::new(OneWrongLeaf {
            engine: engine(),
            sweep,
            fills: 0,
            sweeps: 0,
            leaf_count: 0,
            lie: None,
        });
        let (attestation, _) = run(attester(devices), &settings, &Unobserved);
        let verified = verify(
            &attestation.sealed,
            &Recompute::default(),
            &Judge::of_nobody(),
            &Unobserved,
        )
        .expect("evidence");
        (verified.session.verdict() == Some(&Verdict::Affirmed)).then_some((attestation.sealed, verified))
    });
    let (sealed, verified) = missed.expect("four sessions in a row sampled one leaf of 336");
    let session = &verified.session;
    let (engine, _) = counted(Fault::None);
    let mismatch = reexecute(
        session,
        vec![engine],
        &mut Checkpoint::none(EVIDENCE),
        &Tiles::default(),
    )
    .expect("the work is done")
    .expect_err("the root is wrong");
    assert_eq!((mismatch.device, mismatch.commitment), (DeviceOrdinal(1), sweep));
    assert_ne!(mismatch.expected, mismatch.actual);

    // What the samples affirmed is no longer affirmed.
    let judge = Judge {
        trusted: vec![verified.evidence.sealer],
        ..Judge::of_nobody()
    };
    // Two samples certify nothing; the session's own verdict is affirmed.
    let missed = Report::new(&verified.evidence, session, &sealed, &judge);
    assert_eq!((missed.verdict, missed.reason), ("none", "nothing-certified"));
    let outcome = Outcome::new(&verified.evidence, session, &judge, Some(&mismatch));
    let report = Report::of(&verified.evidence, session, &sealed, &judge, &outcome);
    assert_eq!((report.verdict, report.reason), ("contraindicated", "full-mismatch"));
    assert_eq!(report.message, mismatch.to_string());
    assert!(report.host.is_none() && report.samples_checked == 0);
    assert!(
        report
            .devices
            .iter()
            .all(|device| device.share.is_none() && device.measured.is_empty())
    );
}

#[test]
fn an_engine_that_fails_hands_its_job_to_another() {
    let session = session(2);
    for fault in [Fault::FailsAfter(1), Fault::PanicsAfter(1)] {
        let (failing, failed_after) = counted(fault);
        let (able, done) = counted(Fault::None);
        let outcome = reexecute(
            &session,
            vec![failing, able],
            &mut Checkpoint::none(EVIDENCE),
            &Tiles::default(),
        );
        assert_eq!(outcome.expect("the other engine does it"), Ok(()));
        // One more if the other engine took over a job that the failing one was slow at.
        let fills = failed_after.load(Ordering::Relaxed) + done.load(Ordering::Relaxed);
        assert!((6..=7).contains(&fills), "{fills}");

        let alone = reexecute(
            &session,
            vec![counted(fault).0],
            &mut Checkpoint::none(EVIDENCE),
            &Tiles::default(),
        );
        assert!(
            matches!(
                &alone,
                Err(ReexecuteError::Engine {
                    error: EngineError::DeviceLost(_),
                    ..
                })
            ),
            "{alone:?}"
        );
    }
}

#[test]
fn an_engine_that_errs_accuses_nobody() {
    let session = session(2);
    let outcome = |engines| reexecute(&session, engines, &mut Checkpoint::none(EVIDENCE), &Tiles::default());
    // Alone, with one error: the second run agrees.
    assert_eq!(outcome(vec![erring(Error::Once)]).expect("the work is done"), Ok(()));
    // Always, beside a correct engine: that engine checks the result again.
    for first in [true, false] {
        let mut engines = vec![erring(Error::Always(1)), counted(Fault::None).0];
        if !first {
            engines.reverse();
        }
        assert_eq!(outcome(engines).expect("the work is done"), Ok(()), "first: {first}");
    }
    // Two engines with different errors: no conclusion about the evidence.
    let disagreeing = outcome(vec![erring(Error::Always(1)), erring(Error::Always(2))]);
    assert!(
        matches!(disagreeing, Err(ReexecuteError::Disagreement(_))),
        "{disagreeing:?}"
    );
}

/// GPUs of unequal memory: the smaller one stays in use although the first job was too large for it.
#[test]
fn an_engine_with_little_memory_does_what_fits() {
    let mut settings = settings();
    settings.request.device_bytes = None;
    settings.request.matrix_dim = Some(256);
    let mut devices = cpu(2);
    devices[1].offer.available_bytes = devices[1].offer.reserve_bytes + (DEVICE_BYTES / 2);
    let (attestation, _) = run(attester(devices), &settings, &Unobserved);
    assert_eq!(attestation.session.verdict(), Some(&Verdict::Affirmed));
    let session = attestation.session;
    let plan = session.plan().expect("a plan");
    let [large, small] = plan.devices() else {
        panic!("two devices")
    };
    let bytes = |device| plan.assignment(device).dataset_bytes();
    assert!(bytes(small) < bytes(large));

    let prepared = Arc::new(AtomicU32::new(0));
    let with_room = |room_bytes| -> Box<dyn Engine> {
        Box::new(Erring {
            engine: engine(),
            error: Error::Always(0),
            fills: 0,
            room_bytes,
            prepared: Arc::clone(&prepared),
        })
    };
    let (able, _) = counted(Fault::None);
    let outcome = |engines| reexecute(&session, engines, &mut Checkpoint::none(EVIDENCE), &Tiles::default());
    // The smaller one is first, so that the largest job is offered to it first.
    let both = outcome(vec![with_room(bytes(small)), able]);
    assert_eq!(both.expect("the other has the room"), Ok(()));
    assert!(prepared.load(Ordering::Relaxed) > 0, "it did what fits");
    let alone = outcome(vec![with_room(bytes(small))]);
    assert!(
        matches!(
            alone,
            Err(ReexecuteError::Engine {
                error: EngineError::OutOfMemory { .. },
                ..
            })
        ),
        "{alone:?}"
    );
}

#[test]
fn a_job_that_would_end_too_late_is_done_by_an_engine_that_is_free() {
    let session = session(2);
    for tiles in [0, 1] {
        let (calls, called_off) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let stuck = Stuck {
            calls: Arc::clone(&calls),
            called_off: Arc::clone(&called_off),
            tiles,
        };
        let (able, done) = counted(Fault::None);
        let told = Tiles::default();
        let engines: Vec<Box<dyn Engine>> = vec![able, Box::new(stuck)];
        let outcome =
            reexecute(&session, engines, &mut Checkpoint::none(EVIDENCE), &told).expect("the first does it all");
        assert_eq!(outcome, Ok(()));
        // The stuck engine had one job, was cancelled when the other engine had done that job, and found none left.
        let count = |of: &AtomicU32| of.load(Ordering::Relaxed);
        assert_eq!((count(&calls), count(&called_off), count(&done)), (1, 1, 6));
        // No tile is reported twice.
        assert_eq!(told.0.into_inner(), tiles_left(&session, &Checkpoint::none(EVIDENCE)));
    }
}

/// A separate file, removed at the end.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str) -> Self {
        TemporaryFile(env::temp_dir().join(format!("gpu-attestor-{}-{name}", process::id())))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // It may never have been created.
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_run_that_broke_off_goes_on_where_it_was() {
    let session = session(2);
    let file = TemporaryFile::new("resume");
    let checkpoint = || Checkpoint::resume(&file.0, EVIDENCE);
    let (failing, _) = counted(Fault::FailsAfter(4));
    let broken = reexecute(
        &session,
        vec![failing],
        &mut checkpoint().expect("a new file"),
        &Tiles::default(),
    );
    assert!(matches!(broken, Err(ReexecuteError::Engine { .. })), "{broken:?}");
    assert_eq!(checkpoint().expect("the file").done().len(), 4);

    let all = tiles_left(&session, &Checkpoint::none(EVIDENCE));
    for left in [2, 0] {
        let (before, told) = (checkpoint().expect("the file"), Tiles::default());
        let tiles = tiles_left(&session, &before);
        assert!(tiles < all && (tiles == 0) == (left == 0), "{tiles} of {all}");
        let (able, done) = counted(Fault::None);
        let outcome = reexecute(&session, vec![able], &mut checkpoint().expect("the file"), &told);
        assert_eq!(outcome.expect("the work is done"), Ok(()));
        assert_eq!(done.load(Ordering::Relaxed), left);
        assert_eq!(told.0.into_inner(), tiles);
    }

    let said = |evidence| match Checkpoint::resume(&file.0, evidence) {
        Ok(_) => panic!("the file was taken"),
        Err(error) => error.to_string(),
    };
    assert!(said("another evidence's").contains("belongs to evidence"));
    for damaged in [&b"{}"[..], b"", b"\xff\xfe", br#"{"evidence":"x","done":[],"more":1}"#] {
        fs::write(&file.0, damaged).expect("a write");
        assert!(said(EVIDENCE).starts_with(&file.0.display().to_string()));
    }
}

#[test]
fn a_device_that_the_host_cannot_hold_is_told_of_before_any_work() {
    let session = session(2);
    let engine = |memory_limit_bytes| {
        let config = CpuEngineConfig {
            threads: NonZeroUsize::MIN,
            memory_limit_bytes,
            ..CpuEngineConfig::default()
        };
        CpuEngine::new(config).expect("the best path runs here")
    };
    assert!(check_memory(&session, &engine(None)).is_ok());
    let plan = session.plan().expect("a plan");
    let largest = plan
        .devices()
        .iter()
        .map(|device| engine(None).required_bytes(&plan.assignment(device)))
        .max()
        .expect("a device");
    assert!(check_memory(&session, &engine(Some(largest))).is_ok());
    let refused = check_memory(&session, &engine(Some(largest - 1))).expect_err("a byte is lacking");
    assert!(
        matches!(refused, ReexecuteError::TooLarge { required_bytes, available_bytes, .. }
            if (required_bytes, available_bytes) == (largest, largest - 1)),
        "{refused}"
    );
    let said = refused.to_string();
    for part in [&largest.to_string(), "--engine cuda"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// A run that is asked to stop, and one whose last save fails: the finished jobs stay known, and no error is lost.
#[test]
fn a_stopped_run_and_an_unsaved_one_say_so() {
    let session = session(1);
    let all = jobs(&session).expect("a finished session").len();

    struct StopsAfter(AtomicU64, u64);
    impl Progress for StopsAfter {
        fn advance(&self, tiles: u64) {
            self.0.fetch_add(tiles, Ordering::Relaxed);
        }

        fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed) > self.1
        }
    }
    let mut checkpoint = Checkpoint::none(EVIDENCE);
    let plan = session.plan().expect("a plan");
    let first = jobs(&session).expect("a finished session")[0];
    let passes = 1 + u64::from(plan.iterations()[first.iteration as usize].sweeps);
    let of_first = passes * u64::from(plan.assignment(&plan.devices()[0]).tiles());
    let stopped = reexecute(
        &session,
        vec![counted(Fault::None).0],
        &mut checkpoint,
        &StopsAfter(AtomicU64::new(0), of_first),
    );
    assert!(
        matches!(
            &stopped,
            Err(ReexecuteError::Engine {
                error: EngineError::Cancelled,
                ..
            })
        ),
        "{stopped:?}"
    );
    assert_eq!(checkpoint.done(), [first]);

    // The file's folder is removed while the last job is done.
    let folder = env::temp_dir().join(format!("gpu-attestor-{}-unsaved", process::id()));
    fs::create_dir(&folder).expect("a folder");
    let mut checkpoint = Checkpoint::resume(&folder.join("done"), EVIDENCE).expect("a new file");
    let (breaking, fills) = counted(Fault::None);
    let broken = Unsaving {
        engine: breaking,
        fills,
        at: all as u32,
        folder: folder.clone(),
    };
    let unsaved = reexecute(&session, vec![Box::new(broken)], &mut checkpoint, &Tiles::default());
    assert!(matches!(unsaved, Err(ReexecuteError::Checkpoint { .. })), "{unsaved:?}");
    assert!(!folder.exists());
    assert_eq!(checkpoint.done().len(), all);
}

/// Removes a folder when the fill of number `at` is done.
struct Unsaving {
    engine: Box<dyn Engine>,
    fills: Arc<AtomicU32>,
    at: u32,
    folder: PathBuf,
}

impl Engine for Unsaving {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.engine.prepare(assignment)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        let root = self.engine.fill(task, progress)?;
        if self.fills.load(Ordering::Relaxed) == self.at {
            fs::remove_dir_all(&self.folder).expect("the folder is there");
        }
        Ok(root)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.engine.sweep(salt, progress)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.engine.open(commitment, leaf)
    }
}
