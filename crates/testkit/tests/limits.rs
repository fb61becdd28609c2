//! What memory elsewhere, shared GPUs, relays and second identities are worth, on a clock of the test's own: the bounds stay
//! below what there is, and where an attack is not excluded (spec §7) it passes here and the result says so.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use attester::{Attester, Device, serve};
use ed25519_dalek::SigningKey;
use protocol::bounds::{Assumptions, OFFLINE_ERROR_BITS};
use protocol::bytes::{DeviceOrdinal, Nonce, Root, Salt};
use protocol::cbor::Label;
use protocol::challenge::Challenge;
use protocol::claims::Claims;
use protocol::commitment::Opening;
use protocol::engine::{Assignment, CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::frame::MessageType;
use protocol::verdict::Verdict;
use testkit::adversary::Adversary;
use testkit::cast;
use testkit::odds::{caught_odds, is_binomial};
use testkit::peer::{Action, HonestPeer, Tampered};
use testkit::rehearsal::{Opener, Rehearsal, Rehearsed};
use verifier::report::Report;
use verifier::{Settings, Unobserved, attest};

/// Tiles of the modelled GPU, and their bytes.
const TILES: u64 = 64;
const DATASET_BYTES: u64 = TILES << 16;
/// k and sweeps of the one iteration: 1024 leaves, of which 1000 are sampled.
const INNER_DIM: u32 = 4_096;
const SWEEPS: u32 = 32;
const SAMPLES: u32 = 1_000;
/// The modelled GPU reads its memory ten times a second, and fills it in two.
const READ_BYTES_PER_S: u64 = 10 * DATASET_BYTES;
const FILL_NS: u64 = 2_000_000_000;
/// A link each way is 40 times slower than memory, making bytes anew 100 times.
const LINK_BYTES_PER_S: u64 = READ_BYTES_PER_S / 40;

fn assumptions() -> Assumptions {
    Assumptions {
        best_rate_ops: 2 * u64::from(INNER_DIM) * READ_BYTES_PER_S / 115,
        link_in_bytes: LINK_BYTES_PER_S,
        link_out_bytes: LINK_BYTES_PER_S,
        helper_bytes: 0,
        on_chip_bytes: 0,
        error_bits: 20,
    }
}

fn operations() -> u128 {
    2 * u128::from(INNER_DIM) * u128::from(DATASET_BYTES)
}

fn rehearsal() -> Rehearsal {
    let mut request = cast::request(&[(INNER_DIM, SWEEPS)], SAMPLES);
    request.deadlines.fill_ms = 1_000_000;
    request.deadlines.sweep_ms = 1_000_000;
    Rehearsal::new(request)
}

/// A session with devices of so many tiles, whose answers are right and come after these times (ns), device by device.
fn timed(tiles: &[u64], fills_ns: &[u64], sweeps_ns: &[u64]) -> Claims {
    let peer = HonestPeer::new(cast::hello(tiles), |_| cast::engine());
    let (fills_ns, sweeps_ns) = (fills_ns.to_vec(), sweeps_ns.to_vec());
    let mut peer = Tampered::new(peer, move |turn| {
        let waits = [(MessageType::Filled, &fills_ns), (MessageType::Swept, &sweeps_ns)];
        for (message_type, waits) in waits {
            if let Some(first) = turn.position(message_type) {
                for (device, wait_ns) in waits.iter().enumerate().rev() {
                    turn.actions.insert(first + device, Action::Wait(*wait_ns));
                }
            }
        }
    });
    let rehearsed = rehearsal().run(&mut peer);
    assert_eq!(rehearsed.verdict(), &Verdict::Affirmed);
    let plan = rehearsed.session.plan().expect("a plan").clone();
    Claims::new(&plan, rehearsed.session.windows(), &assumptions())
}

/// Seconds as nanoseconds.
fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// Holds the claims of one device that holds `1 - missing` of its dataset and sweeps in `sweep_s` to the truth.
fn hold_to_the_truth(attack: &str, missing: f64, sweep_s: f64) {
    let claims = timed(&[TILES], &[FILL_NS], &[ns(sweep_s * f64::from(SWEEPS))]);
    let held = (1.0 - missing) * DATASET_BYTES as f64;
    let memory = claims.host.memory_bytes.unwrap_or(0) as f64;
    let bandwidth = claims.host.bandwidth_bytes.unwrap_or(0) as f64;
    println!(
        "{attack:<24} {:>5.1} % missing  holds {:>5.1} %  V {:>5.1} %  B {:>5.1} % of {:>5.1} %",
        100.0 * missing,
        100.0 * held / DATASET_BYTES as f64,
        100.0 * memory / DATASET_BYTES as f64,
        100.0 * bandwidth / READ_BYTES_PER_S as f64,
        100.0 * held / sweep_s / READ_BYTES_PER_S as f64,
    );
    assert!(memory <= held, "{attack}, {missing}: V {memory} above {held}");
    let read = held / sweep_s;
    assert!(bandwidth <= read, "{attack}, {missing}: B {bandwidth} above {read}");
    if missing == 0.0 {
        assert!(memory > 0.85 * held && bandwidth > 0.85 * read, "{memory}, {bandwidth}");
    }
}

/// What is not held comes from elsewhere at `rate`, beside the reading of the rest: no sweep can be faster.
fn from_elsewhere(attack: &str, rate: f64) {
    let memory_s = |missing: f64| (1.0 - missing) / 10.0;
    for missing in [0.0, 0.01, 0.03, 0.1, 0.25] {
        let sweep_s = f64::max(memory_s(missing), missing * DATASET_BYTES as f64 / rate);
        hold_to_the_truth(attack, missing, sweep_s);
    }
    // The most that can be missing without the sweep taking longer.
    let free = rate / (rate + READ_BYTES_PER_S as f64);
    hold_to_the_truth(attack, free, memory_s(free));
}

#[test]
fn host_memory_behind_a_shim_stays_below_the_bounds() {
    from_elsewhere("host memory", LINK_BYTES_PER_S as f64);
}

#[test]
fn bytes_made_anew_stay_below_the_bounds() {
    let anew = assumptions().regeneration_bytes(INNER_DIM) as f64;
    from_elsewhere("made anew", anew);
    // Both links and the arithmetic at once.
    from_elsewhere("all of these", anew + 2.0 * LINK_BYTES_PER_S as f64);
}

/// Two ordinals, half the dataset each, one GPU in slices: whatever the slices, all of the work takes as long as it does.
#[test]
fn a_gpu_in_time_slices_is_certified_once() {
    let (fill, sweeps) = (FILL_NS, u64::from(SWEEPS) * 100_000_000);
    for (name, first, second) in [
        ("one after the other", [1, 1], [1, 1]),
        ("slice by slice", [2, 2], [0, 0]),
    ] {
        let share = |whole: u64, halves: u64| whole / 2 * halves;
        let claims = timed(
            &[TILES / 2; 2],
            &[share(fill, first[0]), share(fill, second[0])],
            &[share(sweeps, first[1]), share(sweeps, second[1])],
        );
        let host = claims.host;
        println!("{name}: {host:?} of V {DATASET_BYTES}, B {READ_BYTES_PER_S}");
        assert!(host.memory_bytes.expect("V") <= u128::from(DATASET_BYTES), "{name}");
        assert!(
            host.bandwidth_bytes.expect("B") <= u128::from(READ_BYTES_PER_S),
            "{name}"
        );
        let rate = operations() * 1_000_000_000 / u128::from(FILL_NS);
        assert!(host.tensor_ops.expect("T") <= rate, "{name}");
        for device in &claims.devices {
            let half = device.best.bandwidth_bytes.expect("B of a half").value;
            assert!(half <= READ_BYTES_PER_S / 2, "{name}: device {}, {half}", device.device);
        }
    }
}

/// One engine that several Attesters use.
struct Shared(Arc<Mutex<Box<dyn Engine>>>);

impl Shared {
    fn engine(&self) -> std::sync::MutexGuard<'_, Box<dyn Engine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Shared {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        self.engine().prepare(assignment)
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.engine().fill(task, progress)
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.engine().sweep(salt, progress)
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.engine().open(commitment, leaf)
    }
}

fn report(rehearsed: &Rehearsed) -> String {
    Report::new(&rehearsed.evidence, &rehearsed.session, &rehearsed.sealed()).to_string()
}

/// Not excluded: one session after the other, each identity has the whole GPU.
#[test]
fn a_gpu_shown_under_two_identities_in_turn_passes_and_the_result_says_so() {
    let gpu = Arc::new(Mutex::new(cast::engine()));
    let keys = [cast::attester_key(), cast::strangers_key()];
    let shown = keys.map(|key: SigningKey| {
        let mut hello = cast::hello(&[3]);
        hello.identity = cast::identity(&key);
        let mut peer = HonestPeer::new(hello, |_| Box::new(Shared(Arc::clone(&gpu))));
        peer.key = key;
        let rehearsed = Rehearsal::new(cast::request(&[(64, 2)], 3)).run(&mut peer);
        assert_eq!(rehearsed.verdict(), &Verdict::Affirmed);
        let text = report(&rehearsed);
        let limit =
            "not excluded: the same GPUs in another session under another identity, unless all are challenged at once";
        assert!(text.contains(limit), "{text}");
        rehearsed.session.hello().expect("HELLO").identity
    });
    assert_ne!(shown[0], shown[1]);
}

/// The same, both challenged at once: the GPU fills and sweeps for both within the windows of each.
#[test]
fn a_gpu_shown_under_two_identities_at_once_is_certified_once() {
    let halves = [0, 1].map(|_| timed(&[TILES / 2], &[FILL_NS], &[u64::from(SWEEPS) * 100_000_000]));
    let sum = |claim: fn(&Claims) -> Option<u128>| {
        halves
            .iter()
            .map(|claims| claim(claims).expect("a claim"))
            .sum::<u128>()
    };
    assert!(sum(|claims| claims.host.memory_bytes) <= u128::from(DATASET_BYTES));
    assert!(sum(|claims| claims.host.bandwidth_bytes) <= u128::from(READ_BYTES_PER_S));
    let rate = operations() * 1_000_000_000 / u128::from(FILL_NS);
    assert!(sum(|claims| claims.host.tensor_ops) <= rate);
}

/// Not excluded: a host without a device passes every byte on to one that has it.
#[test]
fn a_relay_to_another_host_passes_and_the_result_says_so() {
    let (mut from_verifier, to_relay) = io::pipe().expect("a pipe");
    let (from_relay, mut to_verifier) = io::pipe().expect("a pipe");
    let (from_near, mut to_far) = io::pipe().expect("a pipe");
    let (mut from_far, to_near) = io::pipe().expect("a pipe");
    let far = Attester {
        software: "testkit".to_owned(),
        labels: Vec::new(),
        attestation: None,
        devices: cast::hello(&[3])
            .devices
            .into_iter()
            .map(|offer| Device {
                offer,
                engine: cast::engine(),
                telemetry: None,
            })
            .collect(),
        key: cast::attester_key(),
    };
    let served = thread::spawn(move || serve(far, from_near, to_near));
    // The relay: two pumps and no device. Either ends with its stream, which is how a session ends.
    thread::spawn(move || io::copy(&mut from_verifier, &mut to_far));
    thread::spawn(move || io::copy(&mut from_far, &mut to_verifier));
    let settings = Settings {
        request: cast::request(&[(64, 2)], 3),
        hello_deadline: std::time::Duration::from_secs(10),
        assumptions: cast::assumptions(),
        recompute: cast::recompute(),
        key: cast::verifier_key(),
    };
    let attestation = attest(from_relay, to_relay, &settings, &Unobserved).expect("a session");
    assert_eq!(attestation.session.verdict(), Some(&Verdict::Affirmed));
    let text = Report::new(&attestation.evidence, &attestation.session, &attestation.sealed).to_string();
    assert!(text.contains("not excluded: a relay to equal GPUs elsewhere"), "{text}");
    assert!(served.join().expect("serving does not panic").is_ok());
}

/// A proof with a quarter of its sweep leaves junk, tried anew under another label.
fn ground(attempt: u32, samples: u32) -> bool {
    const TILES: u64 = 32;
    let plan = cast::request(&[(64, 2)], samples)
        .plan(&cast::hello(&[TILES]))
        .expect("a plan");
    let challenge = Challenge::sign(plan, Nonce([0xC4; 32]), 1_000, 2_000, &cast::verifier_key());
    let mut hello = cast::hello(&[TILES]);
    hello.labels = vec![Label::new("attempt", &attempt.to_string())];
    let junk = Adversary::named("junk-sweep").expect("an adversary");
    let mut peer = HonestPeer::new(hello, |_: DeviceOrdinal| junk.engine(cast::engine(), 0.25));
    let rehearsed = Rehearsal::opened(Opener::Challenge(challenge)).run(&mut peer);
    rehearsed.verdict() == &Verdict::Affirmed
}

/// Offline the samples derive from the transcript, which the cheat may change and try again: it passes as often as samples
/// miss, and only their number keeps that below 2^-80 a try.
#[test]
fn tries_ground_offline_pass_as_often_as_samples_miss() {
    const TRIES: u32 = 200;
    for samples in [2, 4, 8] {
        let passed = (0..TRIES).filter(|&attempt| ground(attempt, samples)).count() as u64;
        let missed = 1.0 - testkit::odds::caught_odds_distinct(8, 32, samples);
        println!(
            "{samples} samples: {passed} of {TRIES} tries pass, predicted {:.1} %",
            100.0 * missed
        );
        assert!(
            is_binomial(passed, TRIES.into(), missed),
            "{samples} samples: {passed} of {TRIES}"
        );
        assert!(passed > 0, "grinding works with so few samples");
    }
    // The share that an offline result leaves open, at its 1024 samples.
    let open = f64::from(OFFLINE_ERROR_BITS) * std::f64::consts::LN_2 / 1024.0;
    let missed = (1024.0 * (-open).ln_1p()).exp();
    assert!(missed <= (-f64::from(OFFLINE_ERROR_BITS)).exp2(), "{missed}");
    assert!(caught_odds(open, 1024) > 0.999_999);
}
