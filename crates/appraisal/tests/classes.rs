//! Certified figures of devices of every class, and of devices that pose as one: correct figures are accepted, wrong ones
//! are rejected.

use appraisal::assumptions::own_links;
use appraisal::classify::{ClassFit, Classification, Shares, stand_ins};
use appraisal::expected::{Expected, broken_by, highest_rate};
use appraisal::profile::{Capacity, Profile};
use appraisal::profiles::Profiles;
use appraisal::reason::Reason;
use appraisal::stated::{Tested, judge};
use attestation_result::Tier;
use protocol::bounds::{Assumptions, Measured, MeasuredIteration};
use protocol::bytes::Identity;
use report::figure::CertifiedFigures;
use verifier::hardware::ON_SALE;
use verifier::preset::{Preset, default_assumptions};

const GUIDE: &str = include_str!("../../../docs/results.md");
const G: u64 = 1_000_000_000;
const T: u64 = 1_000 * G;
const GIB: u64 = 1 << 30;

/// The certified figures of a standard session with these true figures: 1280 samples, 32 sweeps at k = 20480, twice 2 at
/// 2048.
fn certified_under(assumptions: &Assumptions, memory_bytes: u64, bandwidth: u64, tensor: u64) -> CertifiedFigures {
    let group = |inner_dim: u32, sweeps: u32, iterations: usize, tensor: f64| {
        let operations = 2.0 * f64::from(inner_dim) * memory_bytes as f64;
        let iteration = MeasuredIteration {
            sweeps,
            fill_ns: (operations / tensor * 1e9) as u64,
            sweep_ns: (f64::from(sweeps) * memory_bytes as f64 / bandwidth as f64 * 1e9) as u64,
        };
        Measured {
            inner_dim,
            samples: 1280,
            dataset_bytes: memory_bytes,
            iterations: vec![iteration; iterations],
        }
    };
    // Short products fill slightly slower: 1197 to 1231 Tops of 1308 to 1383 on three H200 (docs/performance.md).
    let (long, short) = (
        group(20_480, 32, 1, tensor as f64),
        group(2_048, 2, 2, tensor as f64 * 0.88),
    );
    CertifiedFigures {
        memory_bytes: long.memory_bytes(assumptions),
        bandwidth_bytes_per_s: long.bandwidth_bytes_per_s(assumptions),
        tensor_ops_per_s: long.tensor_ops_per_s(assumptions),
        local_tensor_ops_per_s: long
            .local_tensor_ops_per_s(assumptions)
            .max(short.local_tensor_ops_per_s(assumptions)),
    }
}

/// The assumptions of a policy for an H200, or for any class on PCIe 5.0 x16: under the default, which grants a host
/// NVLink-C2C, no such class can show its memory.
fn pcie() -> Assumptions {
    own(Profiles::embedded().named("h200").expect("a class"))
}

fn certified(memory_bytes: u64, bandwidth: u64, tensor: u64) -> CertifiedFigures {
    certified_under(&pcie(), memory_bytes, bandwidth, tensor)
}

/// The true memory, bandwidth and rate of a device of the class: the measured values, otherwise 99 % of its memory, 94 % of
/// its bandwidth and 66 % of its int8 peak, the shares of the slowest of three H200.
fn truth(profile: &Profile) -> Option<(u64, u64, u64)> {
    let capacity = profile.capacity.as_ref()?;
    let share = |figure: u64, share: f64| (figure as f64 * share) as u64;
    let measured = profile.measured.as_ref();
    Some((
        share(capacity.memory_bytes, 0.99),
        measured.map_or(share(capacity.bandwidth_bytes_per_s, 0.94), |m| m.sweep_low_bytes_per_s),
        measured.map_or(share(capacity.int8_ops_per_s.unwrap_or(450 * T), 0.66), |m| {
            m.fill_low_ops_per_s
        }),
    ))
}

/// A healthy device of the class, as the bounds certify it.
fn healthy(profile: &Profile, assumptions: &Assumptions) -> Option<CertifiedFigures> {
    let (memory, bandwidth, tensor) = truth(profile)?;
    Some(certified_under(assumptions, memory, bandwidth, tensor))
}

fn judged_under(stated: &str, certified: &CertifiedFigures, held_bytes: u64, assumptions: &Assumptions) -> Reason {
    let (profiles, shares) = (Profiles::embedded(), Shares::default());
    let profile = profiles.named(stated).expect("a class");
    let classification = Classification::new(certified, &profiles, &shares);
    let tested = Tested {
        dataset_bytes: held_bytes,
        offered_bytes: held_bytes,
        samples: 1280,
        inner_dim: 20_480,
        assumptions: *assumptions,
    };
    judge(profile, certified, &tested, &classification, &profiles, &shares)
}

fn judged(stated: &str, certified: &CertifiedFigures, held_bytes: u64) -> Reason {
    let reason = judged_under(stated, certified, held_bytes, &pcie());
    println!("{stated:<14} {:<16} {reason}", reason.tier().name());
    if let Some(fit) = ClassFit::new(
        certified,
        Profiles::embedded().named(stated).expect("a class"),
        &Shares::default(),
    ) {
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

/// Classes with figures, in the order of the profiles.
fn classes() -> Vec<Profile> {
    let with_figures = |profile: &&Profile| profile.capacity.is_some();
    Profiles::embedded().iter().filter(with_figures).cloned().collect()
}

/// The default assumptions with the class's own links substituted, as in a policy for the class.
fn own(profile: &Profile) -> Assumptions {
    own_links(profile).applied_to(&default_assumptions(20))
}

/// The same, with the class's own int8 peak: valid only where nothing faster is nearby.
fn no_faster_helper(profile: &Profile) -> Assumptions {
    let peak = profile.capacity.as_ref().and_then(|capacity| capacity.int8_ops_per_s);
    Assumptions {
        best_rate_ops_per_s: peak.expect("a known peak"),
        ..own(profile)
    }
}

/// The reason for a healthy device, and whether the assumptions are below its class.
fn honest(profile: &Profile, assumptions: &Assumptions) -> (Reason, bool) {
    let figures = healthy(profile, assumptions).expect("a class with figures");
    let (memory, ..) = truth(profile).expect("a class with figures");
    let reason = judged_under(&profile.name, &figures, memory, assumptions);
    (reason, !broken_by(profile, assumptions).is_empty())
}

/// The maximum sum of W_in and W_out, in GB/s, at which a healthy device fits, at this rate of the fastest helper.
fn most_link(profile: &Profile, best_rate_ops_per_s: u64) -> Option<u64> {
    let fits = |gb_per_s: u64| {
        let assumptions = Assumptions {
            best_rate_ops_per_s,
            link_in_bytes_per_s: gb_per_s * G,
            link_out_bytes_per_s: 0,
            ..own(profile)
        };
        matches!(honest(profile, &assumptions).0, Reason::StatedFits { .. })
    };
    (0..2_000).take_while(|gb_per_s| fits(*gb_per_s)).last()
}

/// The figures here match those of the preset.
#[test]
fn a_standard_session_is_what_the_preset_asks_for() {
    let request = Preset::Standard.request(Identity([0; 32]));
    let iterations: Vec<(u32, u32)> = request.iterations.iter().map(|i| (i.inner_dim, i.sweeps)).collect();
    assert_eq!(iterations, [(20_480, 32), (2_048, 2), (2_048, 2)]);
    assert_eq!(request.samples, 1_280);
}

/// The table that bounds are based on by default is the worst of the classes, figure by figure, and no worse than that.
#[test]
fn no_class_exceeds_the_table_of_hardware_on_sale_and_each_figure_is_some_class_s() {
    let profiles = Profiles::embedded();
    let most = |of: &dyn Fn(&Profile) -> Option<u64>| profiles.iter().filter_map(of).max();
    let capacity = |of: fn(&Capacity) -> Option<u64>| {
        most(&|profile: &Profile| profile.capacity.as_ref().and_then(of)).expect("some class has it")
    };
    // G adds 15 % to the rate of its table.
    let rate = ON_SALE.int8_ops_per_s.value;
    assert_eq!(capacity(|c| c.int8_ops_per_s), rate);
    assert!(most(&highest_rate).expect("some class has it") <= rate / 100 * 115);
    assert_eq!(
        capacity(|c| c.link_in_bytes_per_s.max(c.link_out_bytes_per_s)),
        ON_SALE.host_link_bytes_per_s.value
    );
    assert_eq!(
        capacity(|c| c.peer_link_bytes_per_s),
        ON_SALE.peer_link_bytes_per_s.value
    );
    assert_eq!(capacity(|c| c.on_chip_bytes), ON_SALE.on_chip_bytes.value);
    // GPUs of other makers have more than any class here.
    assert!(capacity(|c| Some(c.memory_bytes)) <= ON_SALE.gpu_memory_bytes.value);
    // So no class exceeds the default assumptions.
    for profile in profiles.iter() {
        assert_eq!(broken_by(profile, &default_assumptions(20)), [], "{}", profile.name);
    }
}

/// The table of the guide: the result for an honest device of each class.
#[test]
fn honest_devices_come_to_what_the_guide_says() {
    let default = default_assumptions(20);
    let mut table = String::from(
        "| class | by default | certified V, B | with its own links | certified V, B | links up to | with no faster helper |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for profile in classes() {
        let capacity = profile.capacity.as_ref().expect("a class with figures");
        let verdict = |assumptions: &Assumptions| {
            let (reason, is_below) = honest(&profile, assumptions);
            let tier = if is_below {
                reason.tier().and(Tier::Warning)
            } else {
                reason.tier()
            };
            let why = if tier == reason.tier() {
                reason.code()
            } else {
                "assumption-below-class"
            };
            let figures = healthy(&profile, assumptions).expect("a class with figures");
            let share = |value: Option<u64>, of: u64| {
                value.map_or("none".to_owned(), |value| format!("{:.3}", value as f64 / of as f64))
            };
            format!(
                "{}, `{why}` | {}, {}",
                tier.name(),
                share(figures.memory_bytes, capacity.memory_bytes),
                share(figures.bandwidth_bytes_per_s, capacity.bandwidth_bytes_per_s)
            )
        };
        let links = |rate: u64| {
            let most = most_link(&profile, rate);
            most.map_or("none".to_owned(), |most| format!("{most} GB/s"))
        };
        table += &format!(
            "| `{}` | {} | {} | {} | {} |\n",
            profile.name,
            verdict(&default),
            verdict(&own(&profile)),
            links(own(&profile).best_rate_ops_per_s),
            match capacity.int8_ops_per_s {
                Some(rate) => links(rate),
                None => "not known".to_owned(),
            },
        );
    }
    println!("{table}");
    assert!(
        GUIDE.contains(&table),
        "docs/results.md has another table than this:\n{table}"
    );
}

/// The classes that can show a fifth of their T as local; for the others a smaller T_local shows nothing
/// (`rate-may-be-remote`). Over NVLink-C2C more results can arrive than any class computes at k = 2048, so by default no
/// class can.
#[test]
fn few_classes_can_show_that_their_rate_is_local() {
    let shown = |assumptions: &dyn Fn(&Profile) -> Assumptions| {
        let mut shown = Vec::new();
        for profile in classes() {
            let figures = healthy(&profile, &assumptions(&profile)).expect("figures");
            let is_known = profile
                .capacity
                .as_ref()
                .is_some_and(|capacity| capacity.int8_ops_per_s.is_some());
            let share =
                figures.local_tensor_ops_per_s.unwrap_or(0) as f64 / figures.tensor_ops_per_s.unwrap_or(1) as f64;
            println!(
                "{:<14} {share:.3}{}",
                profile.name,
                if is_known { "" } else { ", of a made-up rate" }
            );
            if share >= 0.2 && is_known {
                shown.push(profile.name);
            }
        }
        shown
    };
    let none: [&str; 0] = [];
    assert_eq!(shown(&|_| default_assumptions(20)), none);
    println!("with its own links:");
    assert_eq!(shown(&own), ["h200", "h100-sxm", "h100-nvl", "b200"]);
}

/// The library's expectation for a class equals what the bounds give for the same figures here.
#[test]
fn expected_figures_are_those_of_the_bounds() {
    for profile in classes() {
        let expected = Expected::of(&profile).expect("figures").certified(&own(&profile));
        let mut figures = healthy(&profile, &own(&profile)).expect("figures");
        if profile
            .capacity
            .as_ref()
            .is_some_and(|capacity| capacity.int8_ops_per_s.is_none())
        {
            (figures.tensor_ops_per_s, figures.local_tensor_ops_per_s) = (None, None);
        }
        for (ours, theirs) in [
            (expected.memory_bytes, figures.memory_bytes),
            (expected.bandwidth_bytes_per_s, figures.bandwidth_bytes_per_s),
            (expected.tensor_ops_per_s, figures.tensor_ops_per_s),
            (expected.local_tensor_ops_per_s, figures.local_tensor_ops_per_s),
        ] {
            let near = |(a, b): (u64, u64)| (a as f64 / b as f64 - 1.0).abs() < 1e-6;
            assert_eq!(ours.is_some(), theirs.is_some(), "{}", profile.name);
            assert!(
                ours.zip(theirs).is_none_or(near),
                "{}: {ours:?}, {theirs:?}",
                profile.name
            );
        }
    }
}

/// One letter per reason, and the tier that the reason has.
fn letter(reason: &Reason) -> (char, Tier) {
    match reason {
        Reason::StatedFits { .. } => ('F', Tier::Affirming),
        Reason::StatedDoubtful { .. } => ('d', Tier::Warning),
        Reason::MemoryWithheld { .. } => ('w', Tier::Warning),
        Reason::StatedExceeded { .. } => ('e', Tier::Warning),
        Reason::NotTested { .. } => ('.', Tier::None),
        Reason::StatedShort { .. } => ('S', Tier::Contraindicated),
        other => panic!("{other:?}"),
    }
}

/// Every class posing as every other, under the stated class's own assumptions, where the most can be shown: one row per
/// true class, one column per stated class, both in the order of the profiles.
#[test]
fn every_class_that_poses_as_another_is_told() {
    let (classes, expected) = (classes(), PAIRS.trim().lines().map(str::trim));
    let mut rows = Vec::new();
    for device in &classes {
        let mut row = String::new();
        for stated in &classes {
            let assumptions = own(stated);
            let figures = healthy(device, &assumptions).expect("figures");
            let (memory, bandwidth, tensor) = truth(device).expect("figures");
            let reason = judged_under(&stated.name, &figures, memory, &assumptions);
            let (letter, tier) = letter(&reason);
            assert_eq!(reason.tier(), tier, "{reason}");
            row.push(letter);
            // A third more memory or bandwidth, or twice the rate, is enough to tell: unknown figures count against no
            // class.
            let (a, b) = (&stated.capacity, &stated.measured);
            let (a, needs) = (a.as_ref().expect("figures"), b.as_ref());
            let is_more = a.memory_bytes as f64 > 1.34 * memory as f64
                || a.bandwidth_bytes_per_s as f64 > 1.34 * bandwidth as f64
                || needs.is_some_and(|m| m.fill_low_ops_per_s as f64 > 1.34 * tensor as f64)
                || a.int8_ops_per_s
                    .is_some_and(|peak| peak as f64 * 0.42 > 1.02 * tensor as f64);
            assert!(
                !is_more || letter != 'F',
                "{} as {}: {reason}",
                device.name,
                stated.name
            );
        }
        rows.push(row);
    }
    println!("{}", rows.join("\n"));
    assert!(
        rows.iter().map(String::as_str).eq(expected),
        "now:\n{}",
        rows.join("\n")
    );
}

const PAIRS: &str = "
FeeeeeeeeeeeeeSSee
S.eSeeeeeeeeeeSS.e
SS.SeeeeeeeeewSS.e
SSeFeeeeeeeeeeSS.e
SSSS.SeeeeeSeSSSSe
SSSSe.eeeeeeewSSSe
SSSSSS.eeeeS.SSSSe
SSSSSSS...SSSSSSSe
SSSSSSSe..SSSSSSSe
SSSSSSSee.SSSSSSSe
SSSSSSweee.SwSSSSe
SSSSwSeeeee.ewSSSe
SSSSSS.eeeeS.SSSSe
SSSSeSeeeeeee.SSSe
eeeeeeeeeeeeeeFwee
eeeeeeeeeeeeeeeFee
SFeFeeeeeeeeeeSS.e
SSSSSSSSSSSSSSSSS.
";

#[test]
fn those_that_pose_as_another_are_told() {
    let a100 = certified(79 * GIB, 1_880 * G, 560 * T);
    for class in ["h100-sxm", "h100-pcie"] {
        let reason = judged(class, &a100, 80 * GIB);
        assert!(
            matches!(&reason, Reason::StatedShort { looks_like, .. } if looks_like.contains(&"a100-80".to_owned()))
        );
    }
    // Two A100 over NVLink of 300 GB/s a direction, disjoint halves: the memory fits, the rates do not.
    let two = certified(158 * GIB - 18 * GIB, 2_400 * G, 1_120 * T);
    assert!(matches!(judged("h200", &two, 140 * GIB), Reason::StatedShort { .. }));
    // The same pair with the rates that the table of spec §7 argues for H200s.
    let two = certified(140 * GIB, 3_000 * G, 1_120 * T);
    assert!(matches!(judged("h200", &two, 140 * GIB), Reason::StatedShort { .. }));

    let h100 = certified(79 * GIB, 3_150 * G, 1_300 * T);
    assert!(matches!(judged("h200", &h100, 79 * GIB), Reason::StatedShort { .. }));
    let slice = certified(70 * GIB, 2_350 * G, 580 * T);
    assert!(matches!(judged("h200", &slice, 70 * GIB), Reason::StatedShort { .. }));
    let more = judged("h100-sxm", &certified(178 * GIB, 7_400 * G, 2_900 * T), 178 * GIB);
    assert!(matches!(more, Reason::StatedExceeded { .. }));
    assert_eq!(more.tier(), Tier::Warning);
}

#[test]
fn a_b200_as_two_h100_is_accepted_and_said_to_be_indistinguishable() {
    let half = certified(79 * GIB, 3_150 * G, 1_300 * T);
    assert!(matches!(judged("h100-sxm", &half, 79 * GIB), Reason::StatedFits { .. }));
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

/// Two slices of an H200, each with half of its memory and three sevenths of its rate, throttled to pass as an A100 of 40 GB.
#[test]
fn slices_as_several_smaller_gpus_are_accepted_and_said_to_be_indistinguishable() {
    let profiles = Profiles::embedded();
    let a100 = profiles.named("a100-40").expect("a class");
    // With a B200's rate assumed no A100 can show its memory. A policy that assumes that nothing faster than an A100 helps
    // accepts it.
    let trusting = no_faster_helper(a100);
    let slice = certified_under(&trusting, 43 * G, 1_600 * G, 1_308 * T * 3 / 7);
    let reason = judged_under("a100-40", &slice, 43 * G, &trusting);
    assert!(matches!(reason, Reason::StatedFits { .. }), "{reason}");
    let reason = judged_under(
        "a100-40",
        &certified_under(&own(a100), 43 * G, 1_600 * G, 560 * T),
        43 * G,
        &own(a100),
    );
    assert_eq!((reason.code(), reason.tier()), ("not-tested", Tier::None), "{reason}");
    let both = stand_ins(&[slice, slice], &profiles);
    assert!(both.contains(&"h200".to_owned()), "{both:?}");
    // Four of them have more than one H200.
    let four = stand_ins(&[slice; 4], &profiles);
    assert!(!four.contains(&"h200".to_owned()), "{four:?}");
    // At full speed they exceed the class that they state.
    let fast = certified_under(&trusting, 43 * G, 2_300 * G, 1_308 * T * 3 / 7);
    let reason = judged_under("a100-40", &fast, 43 * G, &trusting);
    assert!(matches!(reason, Reason::StatedExceeded { .. }), "{reason}");
}

/// Half the memory of its class, and all other figures: something else may hold the rest, or it may be the lesser card.
#[test]
fn withheld_memory_names_the_lesser_classes_that_have_as_much() {
    let profiles = Profiles::embedded();
    let card = profiles.named("rtx-4090").expect("a class");
    let (memory, bandwidth, tensor) = truth(card).expect("figures");
    let under = |assumptions: &Assumptions| {
        let figures = certified_under(assumptions, memory, bandwidth, tensor);
        judged_under("rtx-6000-ada", &figures, memory, assumptions)
    };
    match under(&own(card)) {
        Reason::MemoryWithheld { looks_like, .. } => assert_eq!(looks_like, ["rtx-4090"]),
        other => panic!("{other}"),
    }
    // Over faster links neither class can show its bandwidth if a B200 helps by regenerating bytes: no device is accused.
    let reason = under(&pcie());
    assert_eq!((reason.code(), reason.tier()), ("not-tested", Tier::None), "{reason}");
    // No other class has 60 GiB with such a bandwidth.
    let figures = certified(60 * GIB, 4_620 * G, 1_340 * T);
    match judged("h200", &figures, 60 * GIB) {
        Reason::MemoryWithheld { looks_like, .. } => assert!(looks_like.is_empty(), "{looks_like:?}"),
        other => panic!("{other}"),
    }
    let figures = certified(100 * GIB, 4_620 * G, 1_340 * T);
    match judged("h200", &figures, 100 * GIB) {
        Reason::MemoryWithheld { looks_like, .. } => assert_eq!(looks_like, ["gh200"]),
        other => panic!("{other}"),
    }
}

#[test]
fn an_honest_bad_day_is_no_lie() {
    let fit = |c: &CertifiedFigures, held: u64| judged("h200", c, held);
    // The measured card, cool and after 12 s at its power limit.
    for rate in [1_359, 1_255] {
        assert!(matches!(
            fit(&certified(139 * GIB, 4_620 * G, rate * T), 139 * GIB),
            Reason::StatedFits { .. }
        ));
    }
    // Throttled to two thirds: no lesser class has such bandwidth with so little rate.
    let throttled = certified(139 * GIB, 4_500 * G, 950 * T);
    assert!(matches!(fit(&throttled, 139 * GIB), Reason::StatedDoubtful { .. }));
    let withheld = certified(100 * GIB, 4_620 * G, 1_340 * T);
    assert!(matches!(fit(&withheld, 100 * GIB), Reason::MemoryWithheld { .. }));
    assert!(matches!(
        fit(&CertifiedFigures::default(), 139 * GIB),
        Reason::StatedShort { .. }
    ));
}

#[test]
fn what_was_not_asked_for_was_not_tested() {
    let (profiles, shares) = (Profiles::embedded(), Shares::default());
    let profile = profiles.named("h200").expect("a class");
    let figures = CertifiedFigures::default();
    let classification = Classification::new(&figures, &profiles, &shares);
    let reason = |tested: Tested| judge(profile, &figures, &tested, &classification, &profiles, &shares);
    let small = Tested {
        dataset_bytes: 16 << 20,
        offered_bytes: 139 << 30,
        samples: 256,
        inner_dim: 20_480,
        assumptions: pcie(),
    };
    let unsampled = Tested {
        dataset_bytes: 139 << 30,
        samples: 255,
        ..small
    };
    assert_eq!(reason(small).tier(), Tier::None);
    assert_eq!(reason(unsampled).tier(), Tier::None);
}

/// Links of 64 GB/s each way account for more than a card of 300 GB/s reads: nothing is certified, and nothing follows from
/// that.
#[test]
fn a_class_that_the_assumptions_cannot_show_is_not_blamed() {
    let rate_alone = |tensor: u64| CertifiedFigures {
        tensor_ops_per_s: Some(tensor),
        ..CertifiedFigures::default()
    };
    let reason = judged("l4", &rate_alone(150 * T), 22 * GIB);
    assert_eq!((reason.code(), reason.tier()), ("not-tested", Tier::None));
    assert!(reason.to_string().contains("memory V and bandwidth B"), "{reason}");
    // Its rate does not depend on links.
    let slow = judged("l4", &rate_alone(60 * T), 22 * GIB);
    assert_eq!(slow.tier(), Tier::Contraindicated, "{slow}");
    // A class whose devices can be certified is not exempted either.
    let h100 = judged("h100-sxm", &rate_alone(1_300 * T), 79 * GIB);
    assert_eq!(h100.tier(), Tier::Contraindicated, "{h100}");
    // With the links that such a host really has, it must show its figures.
    let (profiles, shares) = (Profiles::embedded(), Shares::default());
    let figures = rate_alone(150 * T);
    let classification = Classification::new(&figures, &profiles, &shares);
    let tested = Tested {
        dataset_bytes: 22 * GIB,
        offered_bytes: 22 * GIB,
        samples: 1280,
        inner_dim: 20_480,
        assumptions: Assumptions {
            best_rate_ops_per_s: 250 * T,
            link_in_bytes_per_s: 4 * G,
            link_out_bytes_per_s: 4 * G,
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
        let full = CertifiedFigures {
            memory_bytes: Some(memory),
            bandwidth_bytes_per_s: Some(bandwidth),
            tensor_ops_per_s: Some(tensor),
            local_tensor_ops_per_s: None,
        };
        let half = CertifiedFigures { bandwidth_bytes_per_s: Some(bandwidth / 2), ..full };
        let relation = |c: &CertifiedFigures| ClassFit::new(c, profile, &shares).expect("figures").relation;
        // A device that is certified for less never fits a class that a device certified for more falls short of.
        if relation(&full) == report::figure::Relation::Short {
            proptest::prop_assert_ne!(relation(&half), report::figure::Relation::Fits);
        }
        let all = Classification::new(&full, &profiles, &shares);
        proptest::prop_assert_eq!(all.fits.len() + all.excluded.len() + all.unshown.len(), 18);
    }
}
