//! Certified figures of every class, and of those that pose as one: right ones in, wrong ones out.

use appraisal::claim::{Tested, judge};
use appraisal::classify::{Certified, ClassFit, Classification, Shares, stand_ins};
use appraisal::profile::{Profile, Profiles};
use appraisal::reason::{Reason, Tier};
use protocol::bounds::Assumptions;
use verifier::preset::default_assumptions;

const G: u64 = 1_000_000_000;
const T: u64 = 1_000 * G;

/// What certifying takes of what was measured, with 1024 samples and links of 64 GB/s (spec §6).
fn certified(memory_bytes: u64, bandwidth: u64, tensor: u64) -> Certified {
    Certified {
        memory_bytes: Some((memory_bytes as f64 * 0.94) as u64),
        bandwidth_bytes_per_s: Some((bandwidth as f64 * 0.92) as u64),
        tensor_ops_per_s: Some((tensor as f64 * 0.985) as u64),
        local_tensor_ops_per_s: None,
    }
}

/// A healthy device of the class: 99 % of its memory, 92 % of its bandwidth, 65 % of its int8 peak.
fn healthy(profile: &Profile) -> Option<Certified> {
    let capacity = profile.capacity.as_ref()?;
    let peak = capacity.int8_ops_per_s.unwrap_or(300 * T);
    let memory = (capacity.memory_bytes as f64 * 0.99) as u64;
    let bandwidth = (capacity.bandwidth_bytes_per_s as f64 * 0.96) as u64;
    Some(certified(memory, bandwidth, (peak as f64 * 0.66) as u64))
}

fn judged(claim: &str, certified: &Certified, held_bytes: u64) -> Reason {
    let (profiles, shares) = (Profiles::embedded(), Shares::default());
    let profile = profiles.named(claim).expect("a class");
    let classification = Classification::new(certified, &profiles, &shares);
    let tested = Tested {
        dataset_bytes: held_bytes,
        offered_bytes: held_bytes,
        samples: 1024,
        inner_dim: 16_384,
        assumptions: default_assumptions(20),
    };
    let reason = judge(profile, certified, &tested, &classification, &profiles, &shares);
    println!("{claim:<14} {:<16} {reason}", reason.tier().name());
    if let Some(fit) = ClassFit::new(certified, profile, &shares) {
        for margin in &fit.margins {
            println!(
                "    {:<14} {:5.2} of what is needed, {:?}",
                margin.figure.name(),
                margin.share(),
                margin.relation
            );
        }
    }
    reason
}

#[test]
fn every_class_is_affirmed_as_itself() {
    for profile in Profiles::embedded().iter() {
        let Some(figures) = healthy(profile) else { continue };
        let memory = profile.capacity.as_ref().map_or(0, |capacity| capacity.memory_bytes);
        assert_eq!(
            judged(&profile.name, &figures, memory).tier(),
            Tier::Affirming,
            "{}",
            profile.name
        );
    }
}

#[test]
fn no_class_passes_as_one_with_more_memory_bandwidth_and_rate() {
    let profiles = Profiles::embedded();
    for lesser in profiles.iter() {
        for claimed in profiles.iter() {
            let (Some(a), Some(b)) = (&lesser.capacity, &claimed.capacity) else {
                continue;
            };
            // A third more in any one figure must be enough to tell.
            let more = |theirs: u64, claimed: u64| claimed as f64 > 1.34 * theirs as f64;
            let rate = |c: &appraisal::profile::Capacity| c.int8_ops_per_s.unwrap_or(300 * T);
            if more(a.memory_bytes, b.memory_bytes) || more(a.bandwidth_bytes_per_s, b.bandwidth_bytes_per_s) {
                let figures = healthy(lesser).expect("a capacity");
                let tier = judged(&claimed.name, &figures, a.memory_bytes).tier();
                assert_ne!(
                    tier,
                    Tier::Affirming,
                    "{} as {} ({} Tops)",
                    lesser.name,
                    claimed.name,
                    rate(b) / T
                );
            }
        }
    }
}

#[test]
fn those_that_pose_as_another_are_told() {
    let gib = 1u64 << 30;
    let a100 = certified(79 * gib, 1_880 * G, 560 * T);
    for class in ["h100-sxm", "h100-pcie"] {
        let reason = judged(class, &a100, 80 * gib);
        assert!(matches!(&reason, Reason::ClaimShort { looks_like, .. } if looks_like.contains(&"a100-80".to_owned())));
    }
    // Two A100 over NVLink of 300 GB/s a direction, disjoint halves: the memory fits, the rates do not.
    let two = certified(158 * gib - 18 * gib, 2_400 * G, 1_120 * T);
    assert!(matches!(judged("h200", &two, 140 * gib), Reason::ClaimShort { .. }));
    // The same pair with rates that the table of spec §7 argues for H200s.
    let two = certified(140 * gib, 3_000 * G, 1_120 * T);
    assert!(matches!(judged("h200", &two, 140 * gib), Reason::ClaimShort { .. }));

    let h100 = certified(79 * gib, 3_150 * G, 1_300 * T);
    assert!(matches!(judged("h200", &h100, 79 * gib), Reason::ClaimShort { .. }));
    let slice = certified(70 * gib, 2_350 * G, 580 * T);
    assert!(matches!(judged("h200", &slice, 70 * gib), Reason::ClaimShort { .. }));
    let more = judged("h100-sxm", &certified(178 * gib, 7_400 * G, 2_900 * T), 178 * gib);
    assert!(matches!(more, Reason::ClaimExceeded { .. }));
    assert_eq!(more.tier(), Tier::Warning);
}

#[test]
fn a_b200_as_two_h100_is_accepted_and_said_to_be_indistinguishable() {
    let gib = 1u64 << 30;
    let half = certified(79 * gib, 3_150 * G, 1_300 * T);
    assert!(matches!(judged("h100-sxm", &half, 79 * gib), Reason::ClaimFits { .. }));
    let both = stand_ins(&[half, half], &Profiles::embedded());
    println!("two H100: {}", both.join(", "));
    assert!(both.contains(&"b200".to_owned()));
    assert!(!both.contains(&"h200".to_owned()));
    assert!(
        stand_ins(&[half, half, half], &Profiles::embedded())
            .iter()
            .all(|name| name != "b200")
    );
}

#[test]
fn an_honest_bad_day_is_no_lie() {
    let gib = 1u64 << 30;
    let fit = |c: &Certified, held: u64| judged("h200", c, held);
    // The measured card, fresh and after 12 s at its power limit.
    for rate in [1_359, 1_255] {
        assert!(matches!(
            fit(&certified(139 * gib, 4_620 * G, rate * T), 139 * gib),
            Reason::ClaimFits { .. }
        ));
    }
    // Throttled to two thirds: no lesser class has such bandwidth with so little rate.
    let throttled = certified(139 * gib, 4_500 * G, 950 * T);
    assert!(matches!(fit(&throttled, 139 * gib), Reason::ClaimDoubtful { .. }));
    let withheld = certified(100 * gib, 4_620 * G, 1_340 * T);
    assert!(matches!(fit(&withheld, 100 * gib), Reason::MemoryWithheld { .. }));
    assert!(matches!(
        fit(&Certified::default(), 139 * gib),
        Reason::ClaimShort { .. }
    ));
}

#[test]
fn what_was_not_asked_for_was_not_tested() {
    let (profiles, shares) = (Profiles::embedded(), Shares::default());
    let profile = profiles.named("h200").expect("a class");
    let figures = Certified::default();
    let classification = Classification::new(&figures, &profiles, &shares);
    let reason = |tested: Tested| judge(profile, &figures, &tested, &classification, &profiles, &shares);
    let small = Tested {
        dataset_bytes: 16 << 20,
        offered_bytes: 139 << 30,
        samples: 256,
        inner_dim: 16_384,
        assumptions: default_assumptions(20),
    };
    let unsampled = Tested {
        dataset_bytes: 139 << 30,
        samples: 255,
        ..small
    };
    assert_eq!(reason(small).tier(), Tier::None);
    assert_eq!(reason(unsampled).tier(), Tier::None);
}

/// Links of 64 GB/s each way explain more than a card of 300 GB/s reads: nothing is certified, and nothing follows.
#[test]
fn a_class_that_the_assumptions_cannot_show_is_not_blamed() {
    let gib = 1u64 << 30;
    let rate_alone = |tensor: u64| Certified {
        tensor_ops_per_s: Some(tensor),
        ..Certified::default()
    };
    let reason = judged("l4", &rate_alone(150 * T), 22 * gib);
    assert_eq!((reason.code(), reason.tier()), ("not-tested", Tier::None));
    assert!(reason.to_string().contains("memory V and bandwidth B"), "{reason}");
    // Its rate is no matter of links.
    let slow = judged("l4", &rate_alone(60 * T), 22 * gib);
    assert_eq!(slow.tier(), Tier::Contraindicated, "{slow}");
    // Nor is a class spared whose devices can be certified.
    let h100 = judged("h100-sxm", &rate_alone(1_300 * T), 79 * gib);
    assert_eq!(h100.tier(), Tier::Contraindicated, "{h100}");
    // With the links that such a host has, it must show what it has.
    let (profiles, shares) = (Profiles::embedded(), Shares::default());
    let figures = rate_alone(150 * T);
    let classification = Classification::new(&figures, &profiles, &shares);
    let tested = Tested {
        dataset_bytes: 22 * gib,
        offered_bytes: 22 * gib,
        samples: 1024,
        inner_dim: 16_384,
        assumptions: Assumptions {
            best_rate_ops: 250 * T,
            link_in_bytes: 4 * G,
            link_out_bytes: 4 * G,
            ..default_assumptions(20)
        },
    };
    let l4 = profiles.named("l4").expect("a class");
    let reason = judge(l4, &figures, &tested, &classification, &profiles, &shares);
    assert_eq!(reason.tier(), Tier::Contraindicated, "{reason}");
}

proptest::proptest! {
    #[test]
    fn less_is_never_more(memory in 0u64..400 << 30, bandwidth in 0u64..9_000 * G, tensor in 0u64..5_000 * T, class in 0usize..18) {
        let (profiles, shares) = (Profiles::embedded(), Shares::default());
        let profile = profiles.iter().nth(class).expect("a class");
        let full = Certified {
            memory_bytes: Some(memory),
            bandwidth_bytes_per_s: Some(bandwidth),
            tensor_ops_per_s: Some(tensor),
            local_tensor_ops_per_s: None,
        };
        let half = Certified { bandwidth_bytes_per_s: Some(bandwidth / 2), ..full };
        let relation = |c: &Certified| ClassFit::new(c, profile, &shares).expect("figures").relation;
        // Whoever is certified for less never fits a class that more was too little for.
        if relation(&full) == appraisal::classify::Relation::Short {
            proptest::prop_assert_ne!(relation(&half), appraisal::classify::Relation::Fits);
        }
        let all = Classification::new(&full, &profiles, &shares);
        proptest::prop_assert_eq!(all.fits.len() + all.excluded.len() + all.unshown.len(), 18);
    }
}
