//! Concurrent sessions: one GPU under several identities is certified once, and a joint record covers exactly its sessions
//! (spec §6.5, §10.5).

use std::cell::RefCell;

use protocol::certified::{HostBounds, measured, system_bounds};
use protocol::driver::Opener;
use protocol::evidence::Evidence;
use protocol::frame::MessageType;
use protocol::joint::{EvidenceHash, JointCertified, JointError, JointMember, JointRecord};
use protocol::verdict::{Failure, Phase, Verdict};
use testkit::cast;
use testkit::model::{DATASET_BYTES, FILL_NS, INNER_DIM, READ_BYTES_PER_S, TILES, assumptions, delayed, operations};
use testkit::peer::{HonestPeer, Peer};
use testkit::rehearsal::{Rehearsal, Rehearsed};
use testkit::together::{Party, Together, run};

/// The duration of one sweep over everything that the GPU holds (ns).
const SWEEP_NS: u64 = 100_000_000;

/// How long after their salt a member's FILLED and SWEPT arrive (ns).
type Times = [u64; 2];

/// A rehearsal of one iteration with this many sweeps and its own fresh bytes.
fn rehearsal(seed: u64, sweeps: u32) -> Rehearsal {
    let mut rehearsal = testkit::model::rehearsal(INNER_DIM);
    if let Opener::Request(request) = &mut rehearsal.opener {
        request.iterations[0].sweeps = sweeps;
    }
    rehearsal.seed = seed;
    rehearsal
}

/// An Attester with its own identity and this many tiles.
fn attester(index: u8, tiles: u64, [filled_ns, swept_ns]: Times) -> Box<dyn Peer> {
    let key = ed25519_dalek::SigningKey::from_bytes(&[0xA0 + index; 32]);
    let mut hello = cast::hello(&[tiles]);
    hello.identity = cast::identity(&key);
    let mut peer = HonestPeer::new(hello, |_| cast::engine());
    peer.key = key;
    Box::new(delayed(peer, move |message_type, _| match message_type {
        MessageType::Swept => swept_ns,
        _ => filled_ns,
    }))
}

/// Members that ran concurrently, the i-th starting at 5 i ms.
fn at_once(sweeps: u32, tiles: u64, times: &[Times]) -> Together {
    let rehearsals: Vec<Rehearsal> = (0..times.len() as u64).map(|seed| rehearsal(seed, sweeps)).collect();
    let mut peers: Vec<Box<dyn Peer>> = (0..).zip(times).map(|(i, times)| attester(i, tiles, *times)).collect();
    let parties = rehearsals
        .iter()
        .zip(&mut peers)
        .zip(0..)
        .map(|((rehearsal, peer), i)| Party {
            rehearsal,
            peer: peer.as_mut(),
            began_ns: i * 5_000_000,
        });
    run(&mut parties.collect::<Vec<_>>())
}

fn hashed(sessions: &[Rehearsed]) -> Vec<(EvidenceHash, &protocol::verifier::VerifierSession)> {
    sessions
        .iter()
        .map(|one| (EvidenceHash::of(&one.sealed()), &one.session))
        .collect()
}

fn certified(together: &Together) -> JointCertified {
    let record = together.record.as_ref().expect("affirmed sessions");
    record
        .certified(&hashed(&together.sessions), &assumptions())
        .expect("they belong to it")
}

fn figures(bounds: &HostBounds) -> [u128; 4] {
    let value = |bound: Option<protocol::certified::Bound<u128>>| bound.map_or(0, |bound| bound.value);
    [
        bounds.memory_bytes,
        bounds.bandwidth_bytes_per_s,
        bounds.tensor_ops_per_s,
        bounds.local_tensor_ops_per_s,
    ]
    .map(value)
}

/// The true figures of one GPU of the model: bytes, bytes/s, operations/s and again operations/s.
fn truth() -> [u128; 4] {
    let rate = operations(INNER_DIM) * 1_000_000_000 / u128::from(FILL_NS);
    [DATASET_BYTES.into(), READ_BYTES_PER_S.into(), rate, rate]
}

fn assert_within_one_gpu(bounds: &HostBounds, what: &str) {
    for (figure, truth) in figures(bounds).into_iter().zip(truth()) {
        assert!(figure <= truth, "{what}: {figure} of {truth}");
    }
}

/// The GPU holds a part for each identity and works for all of them at the same time.
#[test]
fn a_gpu_shared_by_several_identities_at_once_is_certified_once() {
    for identities in [2, 4, 8] {
        let sweeps = 128;
        let times = vec![[FILL_NS, u64::from(sweeps) * SWEEP_NS]; identities];
        let together = at_once(sweeps, TILES / identities as u64, &times);
        let certified = certified(&together);
        assert_within_one_gpu(&certified.system, &format!("{identities} identities"));
        assert_eq!(certified.shares.len(), identities);
        assert!(certified.system.tensor_ops_per_s.is_some(), "T needs no sweep window");
    }
}

/// The GPU serves the identities one after the other within a window, each with all of its memory: the next one's tiles are
/// generated in between.
#[test]
fn sessions_in_turn_within_a_window_stay_below_the_truth() {
    for identities in [2u64, 4, 8] {
        let (sweeps, swept_ns) = (32, 32 * SWEEP_NS);
        let times: Vec<Times> = (0..identities)
            .map(|i| [(i + 1) * FILL_NS, (i + 1) * swept_ns + i * FILL_NS])
            .collect();
        let together = at_once(sweeps, TILES, &times);
        let certified = certified(&together);
        assert_within_one_gpu(&certified.system, &format!("{identities} identities"));

        // If they swept in lockstep, as the devices of one session do, V would exceed that of one GPU.
        let devices = together.sessions.iter().flat_map(|one| {
            let plan = one.session.plan().expect("PLAN");
            measured(plan, &certified.windows, |_, _| u32::MAX)
        });
        let (in_step, _) = system_bounds(&devices.collect::<Vec<_>>(), &assumptions());
        if identities == 2 {
            assert!(figures(&in_step)[0] > truth()[0], "{in_step:?}");
        }
    }
}

/// Queued, or each by a clock that counts only its own slices: their own windows certify too much, the common windows do
/// not.
#[test]
fn common_windows_hold_what_own_windows_do_not() {
    let (whole, half) = ([FILL_NS, 64 * SWEEP_NS], [FILL_NS / 2, 32 * SWEEP_NS]);
    let together = at_once(64, TILES / 2, &[half, whole]);
    let own = together
        .sessions
        .iter()
        .map(|one| figures(&testkit::model::certified(one).host));
    let sums = own
        .reduce(|a, b| std::array::from_fn(|i| a[i] + b[i]))
        .expect("two sessions");
    assert!(sums[1] > truth()[1], "{sums:?}");
    assert_within_one_gpu(&certified(&together).system, "common windows");
}

/// As many GPUs as identities: a single sweep per window lowers the figures only slightly.
#[test]
fn several_gpus_at_once_are_certified_together() {
    let iterations = 32;
    let mut rehearsals: Vec<Rehearsal> = (0..3).map(|seed| rehearsal(seed, 1)).collect();
    for rehearsal in &mut rehearsals {
        if let Opener::Request(request) = &mut rehearsal.opener {
            request.iterations = vec![request.iterations[0]; iterations];
        }
    }
    let mut peers: Vec<Box<dyn Peer>> = (0..3).map(|i| attester(i, TILES, [FILL_NS, SWEEP_NS])).collect();
    let parties = rehearsals.iter().zip(&mut peers).zip([0, 40_000_000, 7]);
    let parties = parties.map(|((rehearsal, peer), began_ns)| Party {
        rehearsal,
        peer: peer.as_mut(),
        began_ns,
    });
    let together = run(&mut parties.collect::<Vec<_>>());
    let certified = certified(&together);
    let [memory, bandwidth, rate, _] = figures(&certified.system);
    assert!(memory > 2 * truth()[0] && memory <= 3 * truth()[0], "{memory}");
    assert!(bandwidth > 2 * truth()[1] && bandwidth <= 3 * truth()[1], "{bandwidth}");
    assert!(rate > 2 * truth()[2] && rate <= 3 * truth()[2], "{rate}");
    let shares = certified
        .shares
        .iter()
        .map(figures)
        .reduce(|a, b| std::array::from_fn(|i| a[i] + b[i]));
    assert_eq!(shares, Some(figures(&certified.system)));
    assert_eq!(certified.sampled_groups, 3);
}

/// The windows extend from the first sending to the last answer, on the one clock.
#[test]
fn windows_of_several_sessions_are_from_the_first_sending_to_the_last_answer() {
    let together = at_once(32, TILES, &[[3, 400], [50_000_000, 7], [1, 1]]);
    let windows = certified(&together).windows;
    assert_eq!(windows.len(), 1);
    let began = together.record.as_ref().expect("a record").members();
    let at = |one: &Rehearsed| {
        let hash = EvidenceHash::of(&one.sealed());
        let began_ns = began.iter().find(|m| m.evidence == hash).expect("a member").began_ns;
        let own = &one.session.windows()[0];
        let fill_ns = began_ns + own.fill_start_ns;
        let v_ns = fill_ns + own.fill_ns;
        (fill_ns, v_ns, v_ns + own.sweep_ns)
    };
    let times: Vec<_> = together.sessions.iter().map(at).collect();
    let first_fill = times.iter().map(|t| t.0).min();
    let (first_v, last_v) = (times.iter().map(|t| t.1).min(), times.iter().map(|t| t.1).max());
    let last_swept = times.iter().map(|t| t.2).max();
    assert_eq!(Some(windows[0].fill_start_ns), first_fill);
    assert_eq!(Some(windows[0].fill_start_ns + windows[0].fill_ns), last_v);
    assert_eq!(first_v.map(|v| v + windows[0].sweep_ns), last_swept);
    // v is held back until the slowest member has filled.
    assert!(
        windows[0].fill_ns > 50_000_000 && times.iter().all(|t| t.1 - t.0 > 50_000_000),
        "{times:?}"
    );
}

/// A member that misses its limit leaves and delays the others no longer; the others continue, and it counts as sampled
/// only if it was sampled.
#[test]
fn a_member_that_is_late_leaves_and_the_others_go_on() {
    let late_ns = 2_000_000_000_000;
    let together = at_once(
        32,
        TILES,
        &[[FILL_NS, 32 * SWEEP_NS], [late_ns, 0], [FILL_NS, 32 * SWEEP_NS]],
    );
    let verdicts: Vec<&Verdict> = together.sessions.iter().map(|one| one.verdict()).collect();
    assert!(
        matches!(
            verdicts[1],
            Verdict::Contraindicated(Failure::Late { phase: Phase::Fill, .. })
        ),
        "{verdicts:?}"
    );
    assert_eq!([verdicts[0].status(), verdicts[2].status()], [0, 0]);
    let record = together.record.as_ref().expect("two are affirmed");
    assert_eq!(record.members().len(), 2);
    let hashed = hashed(&together.sessions);
    let remaining = [hashed[0], hashed[2]];
    let certified = record.certified(&remaining, &assumptions()).expect("those that remain");
    assert_eq!(certified.sampled_groups, 2);
    // A member that left cannot be brought back.
    assert_eq!(
        record.certified(&hashed, &assumptions()),
        Err(JointError::Foreign(hashed[1].0))
    );
}

thread_local! {
    static TWO: RefCell<Option<std::rc::Rc<Together>>> = const { RefCell::new(None) };
}

/// Two small concurrent sessions; the same for every test of a thread.
fn two() -> std::rc::Rc<Together> {
    TWO.with_borrow_mut(|two| {
        std::rc::Rc::clone(two.get_or_insert_with(|| std::rc::Rc::new(at_once(32, 16, &[[1, 1], [1, 1]]))))
    })
}

fn member(one: &Rehearsed) -> JointMember {
    JointMember {
        evidence: EvidenceHash::of(&one.sealed()),
        began_ns: 0,
    }
}

#[test]
fn a_joint_record_is_of_just_its_sessions() {
    let together = two();
    let record = together.record.as_ref().expect("a record");
    let hashed = hashed(&together.sessions);
    let [first, second] = hashed[..] else { panic!("two") };
    assert!(
        record.certified(&[second, first], &assumptions()).is_ok(),
        "in any order"
    );
    assert_eq!(
        record.certified(&[first], &assumptions()),
        Err(JointError::Missing(second.0))
    );
    assert_eq!(
        record.certified(&[first, first, second], &assumptions()),
        Err(JointError::Foreign(first.0))
    );
    let stranger = EvidenceHash([7; 32]);
    assert_eq!(
        record.certified(&[first, second, (stranger, first.1)], &assumptions()),
        Err(JointError::Foreign(stranger))
    );
}

/// A session that is sealed twice counts as one session.
#[test]
fn a_session_counts_once_however_often_it_is_sealed() {
    let together = two();
    let one = &together.sessions[0];
    let mut again = one.clone();
    again.evidence.started_unix_ms += 1;
    let verifier = cast::identity(&cast::verifier_key());
    let record = JointRecord::new(verifier, 2, vec![member(one), member(&again)]).expect("two hashes");
    let sessions = [one.clone(), again];
    let refused = record.certified(&hashed(&sessions), &assumptions());
    assert!(matches!(refused, Err(JointError::Twice(_))), "{refused:?}");
}

#[test]
fn what_does_not_belong_together_certifies_nothing() {
    let together = two();
    let one = &together.sessions[0];
    let verifier = cast::identity(&cast::verifier_key());
    let certified_with = |verifier, other: &Rehearsed| {
        let record = JointRecord::new(verifier, 2, vec![member(one), member(other)]).expect("two sessions");
        record.certified(&hashed(&[one.clone(), other.clone()]), &assumptions())
    };
    let alone = |rehearsal: &Rehearsal, tiles| rehearsal.run(attester(9, tiles, [1, 1]).as_mut());

    let refused = certified_with(cast::identity(&cast::strangers_key()), &together.sessions[1]);
    assert!(matches!(refused, Err(JointError::Verifier { .. })), "{refused:?}");
    let others_plan = alone(&rehearsal(5, 33), 16);
    assert_eq!(others_plan.verdict(), &Verdict::Affirmed);
    let refused = certified_with(verifier, &others_plan);
    assert!(matches!(refused, Err(JointError::Iterations(_))), "{refused:?}");
    let mut stopped = rehearsal(6, 32);
    stopped.stop_before = Some(protocol::verifier::Outgoing::Sample);
    let refused = certified_with(verifier, &alone(&stopped, 16));
    assert!(
        matches!(&refused, Err(JointError::NotAffirmed { why, .. }) if why == "stopped"),
        "{refused:?}"
    );
    let mut early = member(&together.sessions[1]);
    early.began_ns = u64::MAX;
    let record = JointRecord::new(verifier, 2, vec![member(one), early]).expect("two sessions");
    let refused = record.certified(&hashed(&together.sessions), &assumptions());
    assert_eq!(refused, Err(JointError::Clock(early.evidence)));
}

#[test]
fn a_record_is_read_with_its_seal() {
    let together = two();
    let record = together.record.as_ref().expect("a record");
    let sealed = record.seal(&cast::verifier_key());
    assert_eq!(JointRecord::open(&sealed).as_ref(), Ok(record));
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(JointRecord::open(&changed).is_err(), "bit {bit}");
    }
    for end in 0..sealed.len() {
        assert!(JointRecord::open(&sealed[..end]).is_err(), "{end} bytes");
    }
    // No evidence is accepted as a joint record, and no joint record as evidence.
    assert!(Evidence::open(&sealed).is_err());
    assert!(JointRecord::open(&together.sessions[0].sealed()).is_err());
}

#[test]
fn a_record_has_each_session_once_and_all_that_were_sampled() {
    let verifier = cast::identity(&cast::verifier_key());
    let member = |n: u8| JointMember {
        evidence: EvidenceHash([n; 32]),
        began_ns: n.into(),
    };
    let ordered = JointRecord::new(verifier, 3, vec![member(2), member(1)]).expect("two sessions");
    assert_eq!(ordered.members(), [member(1), member(2)]);
    assert!(JointRecord::new(verifier, 2, vec![member(1), member(1)]).is_err());
    assert!(JointRecord::new(verifier, 1, vec![member(1), member(2)]).is_err());
    assert!(JointRecord::new(verifier, 1, Vec::new()).is_err());
}
