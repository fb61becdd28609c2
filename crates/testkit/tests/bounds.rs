//! Attacks on the bounds themselves, by sessions that are real except for their times: the certified figures stay below the
//! true ones, or no trusted Verifier vouches for them (rationale §2, §3).

use protocol::bounds::Assumptions;
use protocol::bytes::{DeviceOrdinal, Root, Salt};
use protocol::certified::{Bound, Certified};
use protocol::commitment::Opening;
use protocol::derive::next_sweep_salt;
use protocol::engine::{Assignment, CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::frame::MessageType;
use protocol::openings::Digest;
use protocol::verdict::{Failure, Verdict};
use testkit::cast;
use testkit::model::{
    DATASET_BYTES, INNER_DIM, LINK_BYTES_PER_S, READ_BYTES_PER_S, SWEEPS, TILES, assumptions, delayed,
};
use testkit::peer::HonestPeer;
use testkit::rehearsal::{Rehearsal, Rehearsed};
use verifier::outcome::{Judge, NoVerdict, Outcome};

/// A session of these iterations (k, sweeps) with correct answers that arrive after these times (s).
fn timed(iterations: &[(u32, u32)], fill_s: f64, sweep_s: f64) -> Rehearsed {
    let mut request = cast::request(iterations, 1024);
    request.deadlines.fill_ms = 1_000_000;
    request.deadlines.sweep_ms = 1_000_000;
    let peer = HonestPeer::new(cast::hello(&[TILES]), |_| cast::engine());
    let mut peer = delayed(peer, |message, _| match message {
        MessageType::Filled => (fill_s * 1e9) as u64,
        _ => (sweep_s * 1e9) as u64,
    });
    let rehearsed = Rehearsal::new(request).run(&mut peer);
    assert_eq!(rehearsed.verdict(), &Verdict::Affirmed);
    rehearsed
}

fn certified(rehearsed: &Rehearsed, assumptions: &Assumptions) -> Certified {
    rehearsed.session.certified(assumptions).expect("an affirmed session")
}

/// At v, helpers provide the fill digests of the tiles that the device lacks: eight bytes per tile, a negligible load on a
/// link. The device regenerates or fetches these tiles in the first sweep, keeps them, and answers the further sweeps from
/// memory.
#[test]
fn t_local_stays_below_what_was_computed_here() {
    const K: u32 = 2_048;
    // An H200's times for a dataset of this size: sweep, fill at full rate; links and regenerating in proportion.
    const SWEEP_S: f64 = 0.029_1;
    const WHOLE_FILL_S: f64 = 0.409;
    let scale = DATASET_BYTES as f64 / (126.4 * f64::from(1 << 30));
    let scaled = |rate: f64| (rate * scale) as u64;
    let assumed = Assumptions {
        best_rate_ops_per_s: scaled(1505e12),
        helper_gpus: 1,
        link_in_bytes_per_s: scaled(64e9),
        link_out_bytes_per_s: scaled(64e9),
        helper_bytes_per_s: 0,
        on_chip_bytes: 0,
        error_bits: 20,
    };
    let dataset = DATASET_BYTES as f64;
    let link = assumed.link_in_bytes_per_s as f64;
    let mut with_bound = 0;
    for (rate, fill_s) in [
        (1.0, 0.409),
        (1.0, 0.3),
        (1.0, 0.2),
        (1.0, 0.1),
        (0.5, 0.409),
        (0.22, 0.409),
        (0.1, 0.409),
    ] {
        for (sweeps, count) in [(1, 2), (2, 2), (4, 2), (8, 1), (32, 1)] {
            let makes = rate * dataset / WHOLE_FILL_S;
            let made = f64::min(dataset, makes * fill_s);
            let came = f64::min(dataset - made, link * fill_s);
            let missing = dataset - made - came;
            let late_s = missing / (makes + link);
            let rehearsed = timed(&vec![(K, sweeps); count], fill_s, f64::from(sweeps) * SWEEP_S + late_s);
            let host = certified(&rehearsed, &assumed).host;
            let local = host.local_tensor_ops_per_s.map_or(0, |bound| bound.value) as f64;
            // All that it computed since the start of the fill; its true rate is at least that high.
            let computed = made + makes * late_s;
            let window_s = fill_s + f64::from(sweeps) * SWEEP_S + late_s;
            let truth = 2.0 * f64::from(K) * computed / window_s;
            assert!(
                local <= truth && truth <= 2.0 * f64::from(K) * makes,
                "rate {rate}, fill {fill_s} s, {count} x {sweeps} sweeps: {local} of {truth}"
            );
            with_bound += u32::from(local > 0.0);
        }
    }
    assert!(with_bound >= 10, "{with_bound} sessions had a bound to hold");
}

/// Idle GPUs elsewhere regenerate both tiles of a pair, without memory and without a link, in parallel with both links:
/// they slow down no sweep. As many helpers as are assumed gain nothing; more do, and the result states how many were
/// assumed.
#[test]
fn helpers_without_copies_stay_below_the_bounds() {
    let dataset = DATASET_BYTES as f64;
    let sweep_s = 0.1;
    for helpers in [1_u64, 3, 8] {
        let assumed = |helper_gpus| Assumptions {
            helper_gpus,
            ..assumptions()
        };
        let made = assumed(helpers).regeneration_bytes_per_s(INNER_DIM) as f64;
        // One of them is the device itself, which holds the other tile; each pair takes two of the others.
        let own = made / helpers as f64;
        let repaired = 2.0 * (2.0 * LINK_BYTES_PER_S as f64 + own) + (made - own);
        let missing = 1.0 - (1.0 - repaired * sweep_s / dataset).sqrt();
        // Tiles that are not held are not read: the sweep could be faster by that much, but is not.
        let rehearsed = timed(&[(INNER_DIM, SWEEPS)], 2.0, sweep_s * f64::from(SWEEPS));
        let certified = |helper_gpus| {
            let host = certified(&rehearsed, &assumed(helper_gpus)).host;
            let value = |bound: Option<Bound<u128>>| bound.map_or(0.0, |bound| bound.value as f64);
            (value(host.memory_bytes), value(host.bandwidth_bytes_per_s))
        };
        let (memory, bandwidth) = certified(helpers);
        let read = (dataset - (made + 2.0 * LINK_BYTES_PER_S as f64) * sweep_s) / sweep_s;
        println!(
            "{helpers} helpers: V {:.3} of {:.3} held, B {:.3} of {:.3} read",
            memory / dataset,
            1.0 - missing,
            bandwidth / READ_BYTES_PER_S as f64,
            read / READ_BYTES_PER_S as f64
        );
        assert!(memory <= (1.0 - missing) * dataset, "{helpers}: V {memory}");
        assert!(bandwidth <= read, "{helpers}: B {bandwidth} of {read}");
        assert!(memory > 0.5 * dataset, "{helpers}: V {memory}");
        if helpers == 8 {
            let (few, _) = certified(1);
            assert!(
                few > (1.0 - missing) * dataset,
                "as many as these are not excluded by one"
            );
        }
    }
}

/// Sweeps as if no other device's roots were needed: with salts that derive from its own roots alone.
struct InTurn {
    engine: Box<dyn Engine>,
    device: DeviceOrdinal,
    /// The salt of its next sweep, once it has completed a sweep.
    next: Option<Salt>,
}

impl Engine for InTurn {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.engine.prepare(assignment)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.next = None;
        self.engine.fill(task, progress)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        let salt = self.next.unwrap_or(*salt);
        let root = self.engine.sweep(&salt, progress)?;
        self.next = Some(next_sweep_salt(&salt, &[root], self.device));
        Ok(root)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.engine.open(commitment, leaf)
    }
}

/// One GPU behind two ordinals would do all sweeps of the first dataset, load the second one meanwhile and afterwards, and
/// do all sweeps of that: within one window it would hold each dataset, but never both. Salts of later sweeps require all
/// devices' roots, so the sweeps that it does ahead are other sweeps.
#[test]
fn one_gpu_for_two_datasets_in_turn_within_a_window_is_caught() {
    let play = |devices: usize| {
        let tiles = vec![TILES / devices as u64; devices];
        let mut peer = HonestPeer::new(cast::hello(&tiles), |device| {
            let engine = cast::engine();
            let next = None;
            Box::new(InTurn { engine, device, next })
        });
        Rehearsal::new(cast::request(&[(64, 4)], 256)).run(&mut peer)
    };
    let caught = play(2);
    assert!(
        matches!(caught.verdict(), Verdict::Contraindicated(Failure::Tile(mismatch)) if mismatch.digest == Digest::Pair),
        "{:?}",
        caught.verdict()
    );
    // With one device there are no other roots to wait for.
    assert_eq!(play(1).verdict(), &Verdict::Affirmed);
}

/// A host runs both sides: it has a Verifier's key and its own clock, and assumes what it likes.
#[test]
fn evidence_by_a_verifier_of_the_hosts_own_is_affirmed_by_nobody() {
    let rehearsed = timed(&[(INNER_DIM, SWEEPS)], 2.0, 3.2);
    let mut evidence = rehearsed.evidence.clone();
    for record in &mut evidence.records {
        record.at_ns /= 300;
    }
    evidence.assumptions = Assumptions {
        best_rate_ops_per_s: 1,
        helper_gpus: 1,
        link_in_bytes_per_s: 1,
        link_out_bytes_per_s: 1,
        helper_bytes_per_s: 0,
        on_chip_bytes: 0,
        error_bits: 1,
    };
    let mut session = evidence.replay().expect("records that agree");
    session.checked(Ok(())).expect("tiles are due");
    assert_eq!(session.verdict(), Some(&Verdict::Affirmed));
    let own = Judge {
        trusted: vec![cast::identity(&cast::strangers_key())],
        ..cast::judge()
    };
    for judge in [Judge::of_nobody(), own] {
        let outcome = Outcome::new(&evidence, &session, &judge, None);
        assert_eq!(
            outcome,
            Outcome::None(NoVerdict::UnknownVerifier(Some(evidence.sealer)))
        );
        assert_eq!((outcome.code(), outcome.certified()), ("unknown-verifier", None));
    }
    // A judge that names that Verifier trusts its clock; the judge's own assumptions still apply.
    let outcome = Outcome::new(&evidence, &session, &cast::judge(), None);
    let certified = outcome.certified().expect("certified");
    assert_eq!(certified.assumptions, cast::assumptions());
}
