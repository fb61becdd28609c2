//! Whole sessions with rounds between devices: what they certify of an emulated link, and Attesters that do not read over it.

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;

use attester::Device;
use engine_cpu::{CpuEngine, CpuEngineConfig};
use engines::cpu_devices;
use integration_tests::{attester, run, settings};
use protocol::bounds::Assumptions;
use protocol::bytes::{DeviceOrdinal, Root, Salt};
use protocol::commitment::Opening;
use protocol::engine::Pass;
use protocol::engine::{
    Assignment, CommitmentId, CrossTask, Dataset, Engine, EngineError, FillTask, LinkPath, Progress,
};
use protocol::openings::{Digest, TileMismatch};
use protocol::plan::Iteration;
use protocol::verdict::{Failure, Verdict};
use verifier::recompute::Recompute;
use verifier::{Settings, Unobserved, verify};

/// 512 tiles.
const DEVICE_BYTES: u64 = 32 << 20;

/// Bytes of another device's tiles that each device reads in a second.
const LINK: u64 = 100_000_000;

/// Nothing is regenerated, and nothing comes from elsewhere: what an emulated device of this test can do.
const NOTHING_ELSEWHERE: Assumptions = Assumptions {
    best_rate_ops_per_s: 1,
    helper_gpus: 1,
    link_in_bytes_per_s: 0,
    link_out_bytes_per_s: 0,
    helper_bytes_per_s: 0,
    on_chip_bytes: 0,
    error_bits: 20,
};

fn devices(count: usize, link: Option<NonZeroU64>) -> Vec<Device> {
    let config = CpuEngineConfig {
        link_bytes_per_s: link,
        ..CpuEngineConfig::default()
    };
    let count = NonZeroUsize::new(count).expect("at least one device");
    cpu_devices(count, 0, DEVICE_BYTES, config).expect("the best path runs here")
}

/// Rounds in the first of two iterations, of a quarter of the tiles.
fn with_rounds(inner_dim: u32, device_bytes: u64) -> Settings {
    let mut settings = settings();
    let rounds = Iteration {
        crossings: u32::MAX,
        ..Iteration::new(inner_dim, 1)
    };
    settings.request.device_bytes = Some(device_bytes);
    settings.request.iterations = vec![rounds, Iteration::new(192, 1)];
    settings.request.samples = 256;
    settings
}

#[test]
fn no_more_is_certified_than_the_link_carries() {
    let settings = with_rounds(4096, DEVICE_BYTES);
    let (attestation, _) = run(attester(devices(2, NonZeroU64::new(LINK))), &settings, &Unobserved);
    let session = &attestation.session;
    assert_eq!(session.verdict(), Some(&Verdict::Affirmed));
    assert_eq!(session.plan().expect("a plan").iterations()[0].crossings, 128);
    let of = |gpu_memory_bytes| {
        let fabric = session.fabric(&NOTHING_ELSEWHERE, gpu_memory_bytes).expect("affirmed");
        fabric.expect("the plan has rounds")
    };
    let fabric = of(DEVICE_BYTES);
    let [pair] = &fabric.pairs[..] else {
        panic!("{} pairs of two devices", fabric.pairs.len());
    };
    assert_eq!(pair.devices, [0, 1].map(DeviceOrdinal));
    let certified = pair.exchange.links_bytes_per_s.expect("a bound");
    assert!(
        certified <= 2 * LINK,
        "{certified} bytes/s are certified of {LINK} each way"
    );
    // One GPU that holds both datasets answers without a link.
    assert_eq!(of(2 * DEVICE_BYTES).pairs[0].exchange.any_path_bytes_per_s, None);

    // Whoever checks the evidence finds the same.
    let verified = verify(
        &attestation.sealed,
        &Recompute::default(),
        &attestation.judge(),
        &Unobserved,
    );
    let again = verified
        .expect("evidence")
        .session
        .fabric(&NOTHING_ELSEWHERE, DEVICE_BYTES);
    assert_eq!(again.expect("affirmed"), Some(fabric));
}

#[test]
fn every_two_of_eight_devices_meet() {
    for count in [3, 8] {
        let (attestation, _) = run(attester(devices(count, None)), &with_rounds(192, 2 << 20), &Unobserved);
        let session = &attestation.session;
        assert_eq!(session.verdict(), Some(&Verdict::Affirmed), "{count} devices");
        let fabric = session
            .fabric(&NOTHING_ELSEWHERE, 2 << 20)
            .expect("affirmed")
            .expect("rounds");
        let mut pairs: Vec<_> = fabric.pairs.iter().map(|pair| pair.devices.map(|g| g.0)).collect();
        pairs.sort_unstable();
        let all = (0..count as u32).flat_map(|g| (g + 1..count as u32).map(move |h| [g, h]));
        assert_eq!(pairs, all.collect::<Vec<_>>());
        let has_round = |sample: protocol::sampling::Sample| matches!(sample.pass, Pass::Round(_));
        assert!(session.samples().filter(|&sample| has_round(sample)).count() >= 32 * count);
    }
    let (alone, _) = run(attester(devices(1, None)), &with_rounds(192, 2 << 20), &Unobserved);
    assert_eq!(alone.session.verdict(), Some(&Verdict::Affirmed));
    assert_eq!(
        alone.session.fabric(&NOTHING_ELSEWHERE, 2 << 20),
        Ok(None),
        "one device meets nobody"
    );
}

type Change = fn(CrossTask) -> CrossTask;

/// A device that changes what it does in rounds.
struct Cheat {
    engine: CpuEngine,
    change: Change,
}

impl Engine for Cheat {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.engine.prepare(assignment)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.engine.fill(task, progress)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.engine.sweep(salt, progress)
    }

    fn dataset(&self) -> Result<Arc<dyn Dataset>, EngineError> {
        self.engine.dataset()
    }

    fn connect(&mut self, datasets: &[Arc<dyn Dataset>]) -> Result<Vec<LinkPath>, EngineError> {
        self.engine.connect(datasets)
    }

    fn cross(&mut self, task: &CrossTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.engine.cross(&(self.change)(*task), progress)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.engine.open(commitment, leaf)
    }
}

/// Attacks: a device that reads its own tiles in place of the other's, so that the link carries one way only; one that pairs the tiles
/// of a round whose salt it knew before; one that uses its own matching for the other's tiles.
#[test]
fn a_device_that_does_not_read_the_others_tiles_is_caught() {
    let attacks: [(&str, Change); 3] = [
        ("its own tiles", |task| CrossTask { other: 1, ..task }),
        ("an earlier salt", |task| CrossTask {
            salt: Salt([0; 32]),
            ..task
        }),
        ("its own matching", |task| CrossTask {
            other_salt: task.salt,
            ..task
        }),
    ];
    for (name, change) in attacks {
        let mut cast = devices(2, None);
        cast[1].engine = Box::new(Cheat {
            engine: CpuEngine::new(CpuEngineConfig::default()).expect("the best path runs here"),
            change,
        });
        let (attestation, _) = run(attester(cast), &with_rounds(192, 2 << 20), &Unobserved);
        let Some(Verdict::Contraindicated(Failure::Tile(TileMismatch { sample, digest, .. }))) =
            attestation.session.verdict()
        else {
            panic!("{name}: {:?}", attestation.session.verdict());
        };
        assert_eq!((sample.device, *digest), (DeviceOrdinal(1), Digest::Pair), "{name}");
        assert!(matches!(sample.pass, Pass::Round(0)), "{name}: {}", sample.pass);
    }
}
