//! Sessions with an exact clock, appraised: where each limit of a policy lies, and the result for each device.

#[path = "../common/mod.rs"]
mod common;
mod host;
mod times;
mod verifiers;

use std::sync::OnceLock;

use appraisal::assumptions::AssumptionsPolicy;
use appraisal::policy::Policy;
use appraisal::profile::{Kind, Profile};
use appraisal::profiles::Profiles;
use appraisal::reason::{Reason, Untested};
use appraisal::{Appraisal, Subject};
use attestation_result::Tier;
use protocol::bytes::Nonce;
use protocol::challenge::Challenge;
use protocol::message::Hello;
use protocol::request::PlanRequest;
use protocol::verdict::Verdict;
use report::figure::CertifiedFigures;
use testkit::cast;
use testkit::peer::HonestPeer;
use testkit::rehearsal::{Opener, Rehearsal, Rehearsed};
use verifier::hardware::ON_SALE;
use verifier::units::bytes_per_s;

/// One tile, and so one matrix here.
const TILE: u64 = 65_536;
/// A number of matrices for which a sweep of two leaves enough samples for a bound.
const CERTIFYING: u64 = 260;

/// One minute per phase.
fn request(iterations: &[(u32, u32)], samples: u32) -> PlanRequest {
    let mut request = cast::request(iterations, samples);
    request.deadlines.fill_ms = 60_000;
    request.deadlines.sweep_ms = 60_000;
    request
}

fn peer(hello: Hello) -> HonestPeer {
    HonestPeer::new(hello, |_| cast::engine())
}

/// HELLO of GPUs of the class `mine`, with one operand in addition to this many matrices.
fn hello(matrices: &[u64]) -> Hello {
    let mut hello = cast::hello(matrices);
    for offer in &mut hello.devices {
        offer.engine = "cuda".to_owned();
        offer.model = "MINE".to_owned();
        offer.operand_copies = 1;
        offer.available_bytes += 256 * 4096;
    }
    hello
}

fn certifying(device_bytes: Option<u64>, matrices: &[u64]) -> Rehearsed {
    let request = PlanRequest {
        device_bytes,
        ..request(&[(4096, 2)], 256)
    };
    let rehearsed = Rehearsal::new(request).run(&mut peer(hello(matrices)));
    assert_eq!(rehearsed.verdict(), &Verdict::Affirmed);
    rehearsed
}

/// One device of 260 matrices, run once.
fn one() -> &'static Rehearsed {
    static ONE: OnceLock<Rehearsed> = OnceLock::new();
    ONE.get_or_init(|| certifying(Some(CERTIFYING * TILE), &[CERTIFYING + 40]))
}

/// Two such devices.
fn two() -> &'static Rehearsed {
    static TWO: OnceLock<Rehearsed> = OnceLock::new();
    TWO.get_or_init(|| certifying(None, &[CERTIFYING, CERTIFYING]))
}

/// A policy under whose assumptions even megabytes are certified: no links, no on-chip memory, nothing regenerated.
fn policy() -> Policy {
    Policy {
        assumptions: AssumptionsPolicy {
            error_bits: Some(20),
            best_rate_ops_per_s: Some(1),
            helper_gpus: Some(1),
            link_in_bytes_per_s: Some(0),
            link_out_bytes_per_s: Some(0),
            helper_bytes_per_s: Some(0),
            on_chip_bytes: Some(0),
            gpu_memory_bytes: Some(64 << 20),
        },
        ..Policy::default()
    }
}

/// The same, but a device's statements about itself do not matter.
fn of_figures() -> Policy {
    let mut policy = policy();
    policy.device.stated_class_must_fit = false;
    policy
}

/// A class without a known peak.
fn class(name: &str, models: &[&str], memory_bytes: u64, bandwidth_bytes_per_s: u64) -> Profile {
    common::class(name, models, memory_bytes, bandwidth_bytes_per_s, None)
}

fn profiles(list: &[Profile]) -> Profiles {
    Profiles::new(list.to_vec()).expect("profiles")
}

fn appraised_at(rehearsed: &Rehearsed, policy: &Policy, profiles: &Profiles, now_unix_ms: u64) -> Appraisal {
    let sealed = rehearsed.sealed();
    let subject = Subject {
        evidence: &rehearsed.evidence,
        session: &rehearsed.session,
        sealed: &sealed,
    };
    common::appraise(&subject, policy, profiles, now_unix_ms)
}

fn appraised(rehearsed: &Rehearsed, policy: &Policy, profiles: &Profiles) -> Appraisal {
    appraised_at(rehearsed, policy, profiles, rehearsed.evidence.started_unix_ms)
}

fn under(rehearsed: &Rehearsed, policy: &Policy) -> Appraisal {
    appraised(rehearsed, policy, &Profiles::embedded())
}

/// The certified figures of one device.
fn figures(rehearsed: &Rehearsed, device: usize) -> [u64; 4] {
    let certified = under(rehearsed, &of_figures()).devices[device].certified;
    [
        certified.memory_bytes,
        certified.bandwidth_bytes_per_s,
        certified.tensor_ops_per_s,
        certified.local_tensor_ops_per_s,
    ]
    .map(|figure| figure.expect("a bound"))
}

#[test]
fn each_least_figure_is_met_to_the_unit() {
    let certified = figures(one(), 0);
    let keys = [
        "device.min_memory_bytes",
        "device.min_bandwidth_bytes_per_s",
        "device.min_tensor_ops_per_s",
        "device.min_local_tensor_ops_per_s",
    ];
    let asked = |least: [Option<u64>; 4]| {
        let mut policy = of_figures();
        [
            policy.device.min_memory_bytes,
            policy.device.min_bandwidth_bytes_per_s,
            policy.device.min_tensor_ops_per_s,
            policy.device.min_local_tensor_ops_per_s,
        ] = least;
        let appraisal = under(one(), &policy);
        (appraisal.verdict, appraisal.devices[0].reasons.clone())
    };
    let (tier, reasons) = asked(certified.map(Some));
    assert_eq!(tier, Tier::Affirming);
    match &reasons[..] {
        [Reason::MinimaMet { met }] => {
            let met: Vec<_> = met
                .iter()
                .map(|met| (met.key.as_str(), met.certified, met.least))
                .collect();
            let expected: Vec<_> = keys.into_iter().zip(certified).map(|(key, v)| (key, v, v)).collect();
            assert_eq!(met, expected);
        }
        other => panic!("{other:?}"),
    }
    for (at, key) in keys.iter().enumerate() {
        let mut least = [None; 4];
        least[at] = Some(certified[at] + 1);
        let (tier, reasons) = asked(least);
        assert_eq!(tier, Tier::Contraindicated);
        assert_eq!(
            reasons,
            [Reason::BelowMinimum {
                key: (*key).to_owned(),
                certified: Some(certified[at]),
                least: certified[at] + 1,
            }]
        );
    }
    // With 256 samples, a figure that is not certified was tested and falls short; without B no GPU is shown either.
    let mut policy = of_figures();
    policy.assumptions.on_chip_bytes = Some(1 << 40);
    policy.device.min_bandwidth_bytes_per_s = Some(1);
    assert_eq!(
        under(one(), &policy).devices[0].reasons,
        [
            Reason::BelowMinimum {
                key: keys[1].to_owned(),
                certified: None,
                least: 1,
            },
            Reason::NoGpuShown
        ]
    );
}

#[test]
fn the_host_must_have_as_many_devices_and_as_much_as_is_asked_for() {
    let reasons = |change: &dyn Fn(&mut Policy)| {
        let mut policy = of_figures();
        change(&mut policy);
        under(two(), &policy).reasons
    };
    let count = |expected: &str| Reason::DeviceCount {
        actual: 2,
        expected: expected.to_owned(),
    };
    assert_eq!(reasons(&|p| p.host.devices = Some(2)), []);
    assert_eq!(reasons(&|p| p.host.devices = Some(1)), [count("1")]);
    assert_eq!(reasons(&|p| p.host.devices = Some(3)), [count("3")]);
    for least in [1, 2] {
        assert_eq!(reasons(&|p| p.host.min_devices = Some(least)), []);
    }
    assert_eq!(reasons(&|p| p.host.min_devices = Some(3)), [count("at least 3")]);
    type Field = fn(&mut Policy) -> &mut Option<u64>;
    let least: [(&str, Field); 3] = [
        ("host.min_memory_bytes", |p| &mut p.host.min_memory_bytes),
        ("host.min_bandwidth_bytes_per_s", |p| {
            &mut p.host.min_bandwidth_bytes_per_s
        }),
        ("host.min_tensor_ops_per_s", |p| &mut p.host.min_tensor_ops_per_s),
    ];
    for (at, (key, field)) in least.into_iter().enumerate() {
        let all = figures(two(), 0)[at] + figures(two(), 1)[at];
        assert_eq!(reasons(&|p| *field(p) = Some(all)), []);
        assert_eq!(
            reasons(&|p| *field(p) = Some(all + 1)),
            [Reason::BelowMinimum {
                key: key.to_owned(),
                certified: Some(all),
                least: all + 1,
            }]
        );
    }
}

#[test]
fn who_asked_for_whom_and_how_often_are_held_to_the_policy() {
    let reasons = |change: &dyn Fn(&mut Policy)| {
        let mut policy = of_figures();
        change(&mut policy);
        under(one(), &policy).reasons
    };
    let verifier = cast::identity(&cast::verifier_key()).to_string();
    let others = vec!["00".repeat(32), "11".repeat(32)];
    let listed = [&others[..], std::slice::from_ref(&verifier)].concat();
    assert_eq!(reasons(&|p| p.session.verifiers = listed.clone()), []);
    match &reasons(&|p| p.session.verifiers = others.clone())[..] {
        [Reason::UnknownVerifier { message }] => assert!(message.contains(&verifier), "{message}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(reasons(&|p| p.session.audience = Some("testkit".to_owned())), []);
    assert_eq!(
        reasons(&|p| p.session.audience = Some("others".to_owned())),
        [Reason::WrongAudience {
            expected: "others".to_owned(),
            actual: "testkit".to_owned(),
        }]
    );
    assert_eq!(reasons(&|p| p.session.min_samples = Some(256)), []);
    assert_eq!(
        reasons(&|p| p.session.min_samples = Some(257)),
        [Reason::TooFewSamples {
            actual: 256,
            least: 257,
        }]
    );
}

/// Devices with findings of this kind, and the text of each.
fn found(appraisal: &Appraisal, kind: &str) -> Vec<(Option<u32>, String)> {
    let all = appraisal.all_findings();
    all.filter(|(_, finding)| finding.kind.name() == kind)
        .map(|(place, finding)| {
            let expected = finding.device.map_or("host".to_owned(), |g| format!("device {g}"));
            assert_eq!(place, expected);
            (finding.device, finding.detail.clone())
        })
        .collect()
}

#[test]
fn larger_classes_and_joined_devices_that_could_do_the_same_are_told() {
    let [memory, bandwidth, ..] = figures(one(), 0);
    let mine = class("mine", &["MINE"], memory, bandwidth);
    let known = profiles(&[
        mine.clone(),
        class("as-large", &[], memory, bandwidth),
        class("small", &[], memory - 1, bandwidth),
        class("slow", &[], memory, bandwidth - 1),
    ]);
    let of = |profiles: &Profiles| appraised(one(), &policy(), profiles);
    let appraisal = of(&known);
    assert_eq!(
        found(&appraisal, "indistinguishable"),
        [(Some(0), "as-large could have done the same as mine".to_owned())]
    );
    assert_eq!(
        found(&of(&profiles(std::slice::from_ref(&mine))), "indistinguishable"),
        []
    );
    // A single device is not several.
    assert!(appraisal.host_indistinguishable_from.is_empty());
    // A class without figures has no neighbours.
    let unknown = Profile {
        capacity: None,
        kind: Kind::Cpu,
        ..mine
    };
    let appraisal = of(&profiles(&[unknown, class("as-large", &[], memory, bandwidth)]));
    for kind in ["indistinguishable", "joined-possible"] {
        assert_eq!(found(&appraisal, kind), [], "{kind}");
    }
}

/// Two GPUs that each miss a share u of a dataset N move u^2 N / 2 a direction in each sweep of N / B: a link L carries
/// u = sqrt(2 L / B).
#[test]
fn two_joined_gpus_suffice_and_it_is_said_how_much_each_holds() {
    let [memory, bandwidth, ..] = figures(one(), 0);
    let joined = |peer_link_bytes_per_s: Option<u64>| {
        let mut mine = class("mine", &["MINE"], memory, bandwidth);
        mine.capacity.as_mut().expect("figures").peer_link_bytes_per_s = peer_link_bytes_per_s;
        match &found(&appraised(one(), &policy(), &profiles(&[mine])), "joined-possible")[..] {
            [(Some(0), detail)] => detail.clone(),
            other => panic!("{other:?}"),
        }
    };
    // u = 0.1, 0.2 and 0.4; from L = B / 8 on two disjoint halves do, and no GPU needs less than a half.
    for (link, percent) in [
        (bandwidth / 200, 90),
        (bandwidth / 50, 80),
        (bandwidth * 2 / 25, 60),
        (bandwidth / 8 + 1, 50),
        (bandwidth, 50),
    ] {
        let expected = format!(
            "two GPUs joined by links of {} each way, each holding {percent} % of the dataset, are argued to reach {}",
            bytes_per_s(link.into()),
            bytes_per_s(bandwidth.into())
        );
        assert_eq!(joined(Some(link)), expected);
    }
    // For a class with unknown links, the fastest on sale are assumed: 900 GB/s.
    let fastest = bytes_per_s(ON_SALE.peer_link_bytes_per_s.value.into());
    assert!(joined(None).contains(&format!(
        "links of {fastest} each way, each holding 50 % of the dataset"
    )));
    // With an H200's NVLink 4 each holds 0.55 N (spec §7): sqrt(2 * 450 / 4512) = 0.45.
    assert_eq!((2.0_f64 * 450.0 / 4_512.0).sqrt().mul_add(-100.0, 100.0).round(), 55.0);
    // Without B no bandwidth is reported as reached.
    let mut nothing_read = policy();
    nothing_read.assumptions.on_chip_bytes = Some(1 << 40);
    let mine = profiles(&[class("mine", &["MINE"], memory, bandwidth)]);
    assert_eq!(found(&appraised(one(), &nothing_read, &mine), "joined-possible"), []);
}

#[test]
fn a_class_that_could_stand_for_all_devices_is_told_of_the_host() {
    let [a, b] = [figures(two(), 0), figures(two(), 1)];
    let (memory, bandwidth) = (a[0] + b[0], a[1] + b[1]);
    let of = |memory, bandwidth| {
        let known = profiles(&[
            class("mine", &["MINE"], a[0], a[1]),
            class("large", &[], memory, bandwidth),
        ]);
        appraised(two(), &policy(), &known)
    };
    let appraisal = of(memory, bandwidth);
    assert_eq!(appraisal.host_indistinguishable_from, ["large"]);
    let host: Vec<_> = found(&appraisal, "indistinguishable");
    assert_eq!(host[0], (None, "one large could stand for all 2 devices".to_owned()));
    for (memory, bandwidth) in [(memory - 1, bandwidth), (memory, bandwidth - 1)] {
        let appraisal = of(memory, bandwidth);
        assert!(appraisal.host_indistinguishable_from.is_empty());
        assert!(
            found(&appraisal, "indistinguishable")
                .iter()
                .all(|found| found.0.is_some())
        );
    }
}

#[test]
fn what_a_device_was_asked_for_is_what_the_plan_gave_it() {
    let [_, bandwidth, ..] = figures(one(), 0);
    // It needs a share of 0.9: more than 260 matrices, the number requested, and at most 300, the number offered.
    let reason = |memory_bytes: u64| {
        let known = profiles(&[class("mine", &["MINE"], memory_bytes, bandwidth)]);
        appraised(one(), &policy(), &known).devices[0].reasons[0].clone()
    };
    match reason(300 * TILE * 10 / 9) {
        Reason::NotTested {
            cause: Untested::Memory {
                asked_bytes,
                needed_bytes,
            },
        } => assert_eq!((asked_bytes, needed_bytes), (260 * TILE, 300 * TILE)),
        other => panic!("{other}"),
    }
    match reason(300 * TILE * 10 / 9 + 1) {
        Reason::MemoryWithheld {
            offered_bytes,
            needed_bytes,
            ..
        } => assert_eq!((offered_bytes, needed_bytes), (300 * TILE, 300 * TILE + 1)),
        other => panic!("{other}"),
    }
}

#[test]
fn evidence_without_a_clock_certifies_nothing() {
    let offline = |matrices: u64, iterations: &[(u32, u32)], samples: u32| {
        let plan = request(iterations, samples)
            .plan(&cast::hello(&[matrices]))
            .expect("a plan");
        let challenge = Challenge::sign(plan, Nonce([7; 32]), 1_000, 2_000, &cast::verifier_key());
        let rehearsed = Rehearsal::opened(Opener::Challenge(challenge)).run(&mut peer(cast::hello(&[matrices])));
        assert_eq!(rehearsed.verdict(), &Verdict::Affirmed);
        let appraisal = under(&rehearsed, &of_figures());
        assert_eq!(appraisal.verdict, Tier::None);
        assert_eq!(appraisal.devices[0].reasons, [Reason::NoFigures]);
        assert_eq!(appraisal.devices[0].certified, CertifiedFigures::default());
        assert_eq!(appraisal.nonce.as_deref(), Some(&"07".repeat(32)[..]));
        appraisal.reasons
    };
    assert_eq!(offline(CERTIFYING, &[(64, 2)], 256), [Reason::Offline]);
    // With few samples, not even the work itself is confirmed.
    match &offline(4, &[(64, 1)], 4)[..] {
        [Reason::NothingCertified { .. }, Reason::Offline] => {}
        other => panic!("{other:?}"),
    }
}
