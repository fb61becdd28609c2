//! One GPU, or none, under identities that do not reveal it: second identities and relays. What is not excluded (spec §7)
//! passes here, and the result states so.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use attester::{Attester, Device, Limits, serve};
use protocol::bytes::{Root, Salt};
use protocol::commitment::Opening;
use protocol::engine::{Assignment, CommitmentId, Engine, EngineError, FillTask, Progress};
use protocol::frame::MessageType;
use protocol::verdict::Verdict;
use report::Report;
use testkit::cast;
use testkit::model::{
    DATASET_BYTES, FILL_NS, INNER_DIM, READ_BYTES_PER_S, SWEEPS_NS, TILES, certified, delayed, operations, rehearsal,
};
use testkit::peer::HonestPeer;
use testkit::rehearsal::Rehearsed;
use verifier::{Settings, Unobserved, attest};

/// What the GPU holds for each of its users, and its size in bytes.
type Contexts = HashMap<usize, (u64, Box<dyn Engine>)>;

/// One GPU, which holds [`TILES`] tiles and works for one of its users at a time.
#[derive(Default)]
struct Gpu {
    contexts: Mutex<Contexts>,
}

impl Gpu {
    fn contexts(&self) -> MutexGuard<'_, Contexts> {
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The GPU as seen by one of its users.
struct Context(Arc<Gpu>, usize);

impl Context {
    fn work<T>(&self, work: impl FnOnce(&mut dyn Engine) -> T) -> T {
        let mut contexts = self.0.contexts();
        let (_, engine) = contexts.get_mut(&self.1).expect("prepared before");
        work(engine.as_mut())
    }
}

impl Engine for Context {
    fn prepare(&mut self, assignment: &Assignment) -> Result<(), EngineError> {
        let mut contexts = self.0.contexts();
        let held: u64 = contexts.values().map(|(bytes, _)| bytes).sum();
        let requested_bytes = assignment.dataset_bytes();
        if held + requested_bytes > DATASET_BYTES {
            let available_bytes = DATASET_BYTES - held;
            return Err(EngineError::OutOfMemory {
                requested_bytes,
                available_bytes,
            });
        }
        let mut engine = cast::engine();
        engine.prepare(assignment)?;
        contexts.insert(self.1, (requested_bytes, engine));
        Ok(())
    }

    fn fill(&mut self, task: &FillTask, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.work(|engine| engine.fill(task, progress))
    }

    fn sweep(&mut self, salt: &Salt, progress: &dyn Progress) -> Result<Root, EngineError> {
        self.work(|engine| engine.sweep(salt, progress))
    }

    fn open(&mut self, commitment: CommitmentId, leaf: u32) -> Result<Opening, EngineError> {
        self.work(|engine| engine.open(commitment, leaf))
    }
}

/// Where two sessions wait for each other at the end of each phase.
#[derive(Default)]
struct Meeting {
    arrived: Mutex<usize>,
    changed: Condvar,
}

impl Meeting {
    fn wait(&self) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        *arrived += 1;
        let both = arrived.next_multiple_of(2);
        self.changed.notify_all();
        let waited = self
            .changed
            .wait_timeout_while(arrived, Duration::from_secs(120), |arrived| *arrived < both);
        let (arrived, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(*arrived >= both, "the other session has ended");
    }
}

/// A session of the GPU under one of two identities, with a dataset of `tiles`; FILLED and SWEPT arrive after these times
/// (ns). It waits for the other session at the end of each phase, if requested.
fn session(gpu: &Arc<Gpu>, user: usize, tiles: u64, times_ns: [u64; 2], meeting: Option<&Meeting>) -> Rehearsed {
    let key = [cast::attester_key(), cast::strangers_key()][user].clone();
    let mut hello = cast::hello(&[tiles]);
    hello.identity = cast::identity(&key);
    let mut peer = HonestPeer::new(hello, |_| Box::new(Context(Arc::clone(gpu), user)));
    peer.key = key;
    let mut peer = delayed(peer, |message_type, _| {
        if let Some(meeting) = meeting {
            meeting.wait();
        }
        times_ns[usize::from(message_type == MessageType::Swept)]
    });
    let mut rehearsal = rehearsal(INNER_DIM);
    rehearsal.seed = user as u64;
    rehearsal.run(&mut peer)
}

/// The sums of V, B, T and T_local of both sessions; a link could transfer half of what this GPU computes, so T_local may
/// be zero.
fn sums(shown: &[Rehearsed; 2]) -> [u128; 4] {
    let identities = shown.each_ref().map(|one| one.session.hello().expect("HELLO").identity);
    assert_ne!(identities[0], identities[1]);
    let figures = shown.each_ref().map(|one| {
        let host = certified(one).host;
        let [memory, bandwidth, rate] = [host.memory_bytes, host.bandwidth_bytes_per_s, host.tensor_ops_per_s]
            .map(|bound| bound.expect("a bound").value);
        [
            memory,
            bandwidth,
            rate,
            host.local_tensor_ops_per_s.map_or(0, |bound| bound.value),
        ]
    });
    std::array::from_fn(|i| figures[0][i] + figures[1][i])
}

/// The true figures of the GPU: bytes, bytes/s, operations/s and again operations/s.
fn truth() -> [u128; 4] {
    let rate = operations(INNER_DIM) * 1_000_000_000 / u128::from(FILL_NS);
    [DATASET_BYTES.into(), READ_BYTES_PER_S.into(), rate, rate]
}

/// Two sessions one after the other, each with the whole GPU; the second one's FILLED arrives after this time (ns).
fn in_turn(second_fill_ns: u64) -> [Rehearsed; 2] {
    let gpu = Arc::default();
    let first = session(&gpu, 0, TILES, [FILL_NS, SWEEPS_NS], None);
    gpu.contexts().clear();
    let second = session(&gpu, 1, TILES, [second_fill_ns, SWEEPS_NS], None);
    [first, second]
}

/// Two sessions whose phases wait for each other, with half of the GPU each.
fn at_once(times_ns: [[u64; 2]; 2]) -> [Rehearsed; 2] {
    let (gpu, meeting) = (Arc::default(), Meeting::default());
    thread::scope(|scope| {
        let half = |user| session(&gpu, user, TILES / 2, times_ns[user], Some(&meeting));
        let first = scope.spawn(move || half(0));
        let second = half(1);
        [first.join().expect("no panic"), second]
    })
}

/// Not excluded: one session after the other, so each identity has the whole GPU.
#[test]
fn a_gpu_shown_under_two_identities_in_turn_passes_and_the_result_says_so() {
    let shown = in_turn(FILL_NS);
    for (sum, truth) in sums(&shown).into_iter().zip(truth()).take(3) {
        assert!(sum > truth, "{sum} of {truth}");
    }
    for one in &shown {
        let text = Report::new(&one.evidence, &one.session, &one.sealed(), &cast::judge()).text(report::Detail::All);
        let limit = "not excluded: the same GPUs in another session under another identity, \
            unless all are challenged at once, phase by phase";
        assert!(text.contains(limit), "{text}");
    }
}

/// Sending NONCE simultaneously is not enough: the second session's fill begins after the first session ends, and V is that
/// of two GPUs.
#[test]
fn nonces_released_at_once_do_not_keep_a_gpu_from_serving_in_turn() {
    let [memory, ..] = sums(&in_turn(FILL_NS + SWEEPS_NS + FILL_NS));
    assert!(memory > u128::from(DATASET_BYTES), "{memory}");
}

/// All are challenged at once, the salts of a phase are held back until the last has answered, and every window extends to
/// the end of the phase.
#[test]
fn a_gpu_shown_under_two_identities_at_once_is_certified_once() {
    let sums = sums(&at_once([[FILL_NS, SWEEPS_NS]; 2]));
    for (sum, truth) in sums.into_iter().zip(truth()) {
        assert!(sum <= truth, "{sum} of {truth}");
    }
    // Then each of them can show only half of the GPU.
    let gpu = Arc::default();
    session(&gpu, 0, TILES / 2, [FILL_NS, SWEEPS_NS], None);
    let whole = session(&gpu, 1, TILES, [FILL_NS, SWEEPS_NS], None);
    assert_eq!(whole.verdict().code(), "out-of-memory");
}

/// With windows that end with each session's own answer, phases that wait still keep V below the true figure, but not B and
/// T.
#[test]
fn windows_cut_to_their_own_session_certify_more_than_one_gpu() {
    let (whole, half) = ([FILL_NS, SWEEPS_NS], [FILL_NS / 2, SWEEPS_NS / 2]);
    // Queued: the first one is served in the first half of the time. Separately: as a clock that counts only its own slices
    // would show.
    for times_ns in [[half, whole], [half, half]] {
        let [memory, bandwidth, rate, _] = sums(&at_once(times_ns));
        let truth = truth();
        assert!(memory <= truth[0], "{memory}");
        assert!(bandwidth > truth[1], "{bandwidth}");
        assert!(rate > truth[2], "{rate}");
    }
}

/// Not excluded: a host without a device forwards every byte to one that has it.
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
        limits: Limits::default(),
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
    // The relay: two pumps and no device. Each pump ends with its stream, which is how a session ends.
    thread::spawn(move || io::copy(&mut from_verifier, &mut to_far));
    thread::spawn(move || io::copy(&mut from_far, &mut to_verifier));
    let settings = Settings {
        request: cast::request(&[(64, 256)], 256),
        hello_deadline: Duration::from_secs(10),
        assumptions: cast::assumptions(),
        narrowed_by: None,
        recompute: cast::recompute(),
        key: cast::verifier_key(),
    };
    let attestation = attest(from_relay, to_relay, &settings, &Unobserved).expect("a session");
    assert_eq!(attestation.session.verdict(), Some(&Verdict::Affirmed));
    let text = Report::new(
        &attestation.evidence,
        &attestation.session,
        &attestation.sealed,
        &cast::judge(),
    )
    .text(report::Detail::All);
    assert!(text.contains("not excluded: a relay to equal GPUs elsewhere"), "{text}");
    assert!(served.join().expect("serving does not panic").is_ok());
}
