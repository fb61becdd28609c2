//! Findings about the host as a whole: devices that were left out, and totals that fit its classes.

use appraisal::Appraisal;
use appraisal::profiles::Profiles;
use appraisal::reason::Reason;
use attestation_result::Tier;
use protocol::bytes::DeviceOrdinal;
use protocol::request::PlanRequest;
use protocol::verdict::Verdict;
use report::figure::{Figure, Margin, Relation};
use testkit::rehearsal::{Rehearsal, Rehearsed};

use crate::{CERTIFYING, appraised, certifying, class, figures, found, hello, peer, policy, profiles, request, two};

/// A session over one of two devices that HELLO offers, run once.
fn one_of_two() -> Rehearsed {
    let request = PlanRequest {
        devices: Some(vec![DeviceOrdinal(1)]),
        ..request(&[(4096, 2)], 256)
    };
    let rehearsed = Rehearsal::new(request).run(&mut peer(hello(&[CERTIFYING, CERTIFYING])));
    assert_eq!(rehearsed.verdict(), &Verdict::Affirmed);
    rehearsed
}

/// The devices that are left out may have helped those that are included.
#[test]
fn a_session_over_part_of_the_host_says_so() {
    let part = one_of_two();
    let [memory, bandwidth, ..] = figures(&part, 0);
    let known = profiles(&[class("mine", &["MINE"], memory, bandwidth)]);
    let appraisal = appraised(&part, &policy(), &known);
    let detail = "the session covers 1 of the 2 devices that HELLO offers";
    assert_eq!(found(&appraisal, "partial-host"), [(None, detail.to_owned())]);
    assert_eq!(appraisal.verdict, Tier::Warning, "{:?}", appraisal.reasons);
    assert!(appraisal.reasons.iter().any(|reason| reason.code() == "partial-host"));
    // A session over all devices leaves none out.
    assert_eq!(found(&appraised(two(), &policy(), &known), "partial-host"), []);
}

/// Two devices of classes that need and have these figures, the sum of which is compared with the host's.
fn of_classes(memory_bytes: u64, bandwidth_bytes_per_s: u64) -> (Appraisal, Profiles) {
    let known = profiles(&[class("mine", &["MINE"], memory_bytes, bandwidth_bytes_per_s)]);
    (appraised(two(), &policy(), &known), known)
}

fn host_fits(appraisal: &Appraisal) -> Option<(String, Vec<Margin>)> {
    let mut all = appraisal.reasons.iter().filter_map(|reason| match reason {
        Reason::HostFits { classes, margins } => Some((classes.clone(), margins.clone())),
        _ => None,
    });
    let first = all.next();
    assert_eq!(all.next(), None, "said once");
    first
}

#[test]
fn totals_that_fit_the_classes_of_all_devices_are_said_to() {
    let [a, b] = [figures(two(), 0), figures(two(), 1)];
    let (memory, bandwidth) = (a[0] + b[0], a[1] + b[1]);
    // A class needs 0.9 of its memory and 0.75 of an unmeasured bandwidth.
    let (appraisal, _) = of_classes(memory / 2, bandwidth / 2);
    let (classes, margins) = host_fits(&appraisal).expect("a host that fits");
    assert_eq!(classes, "2 x mine");
    let of = |figure, certified: u64, capacity: u64, needed: u64| Margin {
        figure,
        certified: Some(certified),
        needed: 2 * needed,
        capacity: 2 * capacity,
        relation: Relation::Fits,
    };
    let needed = |figure: u64, share: f64| (figure as f64 * share).ceil() as u64;
    assert_eq!(
        margins,
        [
            of(Figure::Memory, memory, memory / 2, needed(memory / 2, 0.9)),
            of(Figure::Bandwidth, bandwidth, bandwidth / 2, needed(bandwidth / 2, 0.75)),
        ]
    );
    let said = appraisal.reasons.iter().find(|reason| reason.code() == "host-fits");
    assert_eq!(said.expect("seen above").tier(), Tier::Affirming);
    // Totals that just suffice, and totals that are slightly short: the host's figures are compared with these needs.
    let fits =
        |memory_bytes, bandwidth_bytes_per_s| host_fits(&of_classes(memory_bytes, bandwidth_bytes_per_s).0).is_some();
    let most = |total: u64, share: f64| {
        let is_enough = |figure: u64| 2 * needed(figure, share) <= total;
        let near = (total as f64 / share / 2.0) as u64;
        (near - 4..near + 4)
            .rev()
            .find(|figure| is_enough(*figure))
            .expect("a figure")
    };
    let (most_memory, most_bandwidth) = (most(memory, 0.9), most(bandwidth, 0.75));
    assert!(fits(most_memory, most_bandwidth));
    assert!(!fits(most_memory + 1, most_bandwidth));
    assert!(!fits(most_memory, most_bandwidth + 1));
}

/// With a device whose class is unknown, or has no figures, there is nothing to compare the total with.
#[test]
fn totals_are_held_against_known_classes_alone() {
    let other = profiles(&[class("other", &["OTHER"], 1, 1)]);
    assert_eq!(host_fits(&appraised(two(), &policy(), &other)), None);
    // There is no total either if nothing is certified.
    let mut slow = policy();
    slow.assumptions.error_bits = Some(256);
    let [memory, bandwidth, ..] = figures(two(), 0);
    let known = profiles(&[class("mine", &["MINE"], memory, bandwidth)]);
    assert!(host_fits(&appraised(two(), &policy(), &known)).is_some());
    slow.assumptions.link_in_bytes_per_s = Some(1 << 61);
    slow.assumptions.on_chip_bytes = Some(1 << 61);
    assert_eq!(host_fits(&appraised(two(), &slow, &known)), None);
}

/// A profile's figures are arbitrary values of its author, up to TOML's largest integer.
#[test]
fn totals_of_absurd_classes_are_sums_all_the_same() {
    let three = certifying(None, &[CERTIFYING; 3]);
    let known = profiles(&[class("mine", &["MINE"], i64::MAX as u64, i64::MAX as u64)]);
    assert_eq!(host_fits(&appraised(&three, &policy(), &known)), None);
}
