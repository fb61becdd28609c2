//! Where one verdict on a class ends and the next begins: figures a byte apart, on made-up classes with round numbers.

mod common;

use appraisal::classify::{ClassFit, Classification, Shares, needed, stand_ins};
use appraisal::profile::{Kind, MeasuredFigures, Profile, Status};
use appraisal::profiles::Profiles;
use appraisal::reason::{Reason, Untested};
use appraisal::stated::{Tested, judge};
use attestation_result::Tier;
use protocol::bounds::Assumptions;
use report::figure::{CertifiedFigures, Figure, Relation};
use verifier::preset::default_assumptions;

const G: u64 = 1_000_000_000;
const T: u64 = 1_000 * G;

/// Shares that are exact in binary: products with round numbers are exact.
const SHARES: Shares = Shares {
    memory: 0.75,
    datasheet_bandwidth: 0.5,
    datasheet_tensor: 0.25,
    ceiling: 1.5,
    doubt: 0.25,
};

fn class(name: &str, memory_bytes: u64, bandwidth_bytes_per_s: u64, int8_ops_per_s: Option<u64>) -> Profile {
    common::class(name, &[], memory_bytes, bandwidth_bytes_per_s, int8_ops_per_s)
}

/// It needs 75 GB, 2000 GB/s and 400 Tops; the maximum is 150 GB, 6000 GB/s and 2400 Tops.
fn full() -> Profile {
    class("full", 100 * G, 4_000 * G, Some(1_600 * T))
}

/// Figures that sessions gave: the lowest fill and sweep, and the share by which a certified B may fall short; T by a
/// quarter.
fn measured_figures(fill_low_ops_per_s: u64, sweep_low_bytes_per_s: u64, sweep_tolerance: f64) -> MeasuredFigures {
    MeasuredFigures {
        date: "2026-11-28".to_owned(),
        cards: 1,
        sessions: 1,
        inner_dim: 16_384,
        fill_low_ops_per_s,
        fill_high_ops_per_s: fill_low_ops_per_s,
        fill_tolerance: 0.25,
        sweep_low_bytes_per_s,
        sweep_high_bytes_per_s: sweep_low_bytes_per_s,
        sweep_tolerance,
        content: None,
        confidence: None,
    }
}

fn figures(memory: u64, bandwidth: u64, tensor: u64) -> CertifiedFigures {
    CertifiedFigures {
        memory_bytes: Some(memory),
        bandwidth_bytes_per_s: Some(bandwidth),
        tensor_ops_per_s: Some(tensor),
        local_tensor_ops_per_s: None,
    }
}

/// Links of PCIe 5.0 x16, as a policy for such hosts assumes: under them a `full` can be certified for what it needs.
fn pcie() -> Assumptions {
    Assumptions {
        link_in_bytes_per_s: 64 * G,
        link_out_bytes_per_s: 64 * G,
        ..default_assumptions(20)
    }
}

/// The test of a device that has exactly what a `full` needs.
fn asked() -> Tested {
    Tested {
        dataset_bytes: 75 * G,
        offered_bytes: 75 * G,
        samples: 256,
        inner_dim: 20_480,
        assumptions: pcie(),
    }
}

fn judged(stated: &Profile, others: &[Profile], certified: &CertifiedFigures, tested: &Tested) -> Reason {
    let all = [std::slice::from_ref(stated), others].concat();
    let profiles = Profiles::new(all).expect("profiles");
    let classification = Classification::new(certified, &profiles, &SHARES);
    judge(stated, certified, tested, &classification, &profiles, &SHARES)
}

#[test]
fn a_figure_fits_from_what_is_needed_to_the_ceiling() {
    let relation = |certified: Option<u64>, figure: Figure| {
        let all = CertifiedFigures {
            memory_bytes: certified,
            bandwidth_bytes_per_s: certified,
            tensor_ops_per_s: certified,
            local_tensor_ops_per_s: None,
        };
        let fit = ClassFit::new(&all, &full(), &SHARES).expect("figures");
        let margin = *fit.margins.iter().find(|m| m.figure == figure).expect("the figure");
        (margin.relation, margin.needed, margin.capacity)
    };
    for (figure, needs, capacity) in [
        (Figure::Memory, 75 * G, 100 * G),
        (Figure::Bandwidth, 2_000 * G, 4_000 * G),
        (Figure::Tensor, 400 * T, 1_600 * T),
    ] {
        let most = capacity + capacity / 2;
        for (certified, expected) in [
            (None, Relation::Short),
            (Some(0), Relation::Short),
            (Some(needs - 1), Relation::Short),
            (Some(needs), Relation::Fits),
            (Some(most), Relation::Fits),
            (Some(most + 1), Relation::Exceeds),
        ] {
            assert_eq!(
                relation(certified, figure),
                (expected, needs, capacity),
                "{figure:?}: {certified:?}"
            );
        }
    }
}

#[test]
fn a_class_stands_as_the_worst_of_its_figures_does() {
    let relation = |certified: &CertifiedFigures| ClassFit::new(certified, &full(), &SHARES).expect("figures").relation;
    let fits = figures(80 * G, 3_000 * G, 500 * T);
    assert_eq!(relation(&fits), Relation::Fits);
    let short = CertifiedFigures {
        tensor_ops_per_s: Some(T),
        ..fits
    };
    assert_eq!(relation(&short), Relation::Short);
    let exceeds = CertifiedFigures {
        memory_bytes: Some(200 * G),
        ..short
    };
    assert_eq!(relation(&exceeds), Relation::Exceeds);
    let fit = ClassFit::new(&exceeds, &full(), &SHARES).expect("figures");
    let standing = |relation| fit.standing(relation).map(|m| m.figure).collect::<Vec<_>>();
    assert_eq!(standing(Relation::Exceeds), [Figure::Memory]);
    assert_eq!(standing(Relation::Fits), [Figure::Bandwidth]);
    assert_eq!(standing(Relation::Short), [Figure::Tensor]);
    let shares: Vec<f64> = fit.margins.iter().map(report::figure::Margin::share).collect();
    assert_eq!(shares, [200.0 / 75.0, 1.5, 0.0025]);
}

#[test]
fn measured_classes_need_their_lows_less_the_tolerance() {
    let measured = Profile {
        status: Status::Measured,
        measured: Some(measured_figures(800 * T, 3_200 * G, 0.125)),
        ..full()
    };
    let of = |figure| needed(&measured, &SHARES, figure);
    assert_eq!(
        Figure::ALL.map(of),
        [Some(75 * G), Some(2_800 * G), Some(600 * T)],
        "memory is not measured"
    );
    let unknown_peak = class("unknown", 100 * G, 4_000 * G, None);
    assert_eq!(needed(&unknown_peak, &SHARES, Figure::Tensor), None);
    // Needs are rounded up: a fraction of a byte is not enough.
    let odd = class("odd", 3, 3, Some(3));
    assert_eq!(
        Figure::ALL.map(|figure| needed(&odd, &SHARES, figure)),
        [Some(3), Some(2), Some(1)]
    );
}

#[test]
fn every_class_is_somewhere_and_found_there() {
    let fits = figures(80 * G, 3_000 * G, 500 * T);
    let profiles = Profiles::new(vec![
        full(),
        class("small", 10 * G, 4_000 * G, Some(1_600 * T)),
        class("large", 1_000 * G, 4_000 * G, Some(1_600 * T)),
    ])
    .expect("profiles");
    let all = Classification::new(&fits, &profiles, &SHARES);
    let names = |list: &[ClassFit]| list.iter().map(|fit| fit.class.clone()).collect::<Vec<_>>();
    assert_eq!(names(&all.fits), ["full"]);
    assert_eq!(names(&all.excluded), ["small"]);
    assert_eq!(names(&all.unshown), ["large"]);
    for class in ["full", "small", "large"] {
        assert_eq!(all.fit(class).map(|fit| fit.class.as_str()), Some(class));
    }
    assert_eq!(all.fit("none"), None);
}

#[test]
fn a_stand_in_has_all_of_all_figures_together() {
    let profiles = Profiles::new(vec![full(), class("unknown", 100 * G, 4_000 * G, None)]).expect("profiles");
    let by = |devices: &[CertifiedFigures]| stand_ins(devices, &profiles);
    let half = figures(50 * G, 2_000 * G, 800 * T);
    assert_eq!(by(&[half, half]), ["full", "unknown"]);
    for (more, expected) in [
        (figures(50 * G + 1, 2_000 * G, 800 * T), &[][..]),
        (figures(50 * G, 2_000 * G + 1, 800 * T), &[]),
        // A rate without a known peak excludes nothing.
        (figures(50 * G, 2_000 * G, 800 * T + 1), &["unknown"]),
    ] {
        assert_eq!(by(&[half, more]), expected, "{more:?}");
    }
    assert!(by(&[]).is_empty());
    for missing in [
        CertifiedFigures {
            memory_bytes: None,
            ..half
        },
        CertifiedFigures {
            bandwidth_bytes_per_s: None,
            ..half
        },
        CertifiedFigures {
            tensor_ops_per_s: None,
            ..half
        },
    ] {
        assert!(by(&[half, missing]).is_empty(), "{missing:?}");
    }
}

#[test]
fn exactly_what_is_needed_is_enough_and_a_byte_less_is_a_doubt() {
    let enough = figures(75 * G, 2_000 * G, 400 * T);
    assert!(matches!(
        judged(&full(), &[], &enough, &asked()),
        Reason::StatedFits { .. }
    ));
    let unsampled = Tested {
        samples: 255,
        ..asked()
    };
    assert!(matches!(
        judged(&full(), &[], &enough, &unsampled),
        Reason::NotTested {
            cause: Untested::Samples
        }
    ));
    for less in [
        figures(75 * G - 1, 2_000 * G, 400 * T),
        figures(75 * G, 2_000 * G - 1, 400 * T),
        figures(75 * G, 2_000 * G, 400 * T - 1),
        // Up to a quarter less is doubtful.
        figures(75 * G, 1_500 * G, 300 * T),
    ] {
        let reason = judged(&full(), &[], &less, &asked());
        assert!(matches!(reason, Reason::StatedDoubtful { .. }), "{less:?}: {reason}");
    }
    for less in [
        figures(75 * G, 1_500 * G - 1, 300 * T),
        figures(75 * G, 1_500 * G, 300 * T - 1),
    ] {
        let reason = judged(&full(), &[], &less, &asked());
        assert!(matches!(reason, Reason::StatedShort { .. }), "{less:?}: {reason}");
    }
    // More than one device has is reported regardless of what was sampled.
    let more = figures(151 * G, 2_000 * G, 400 * T);
    assert!(matches!(
        judged(&full(), &[], &more, &unsampled),
        Reason::StatedExceeded { .. }
    ));
}

#[test]
fn memory_that_was_not_asked_for_was_not_tested_and_what_was_not_offered_is_withheld() {
    let short = figures(70 * G, 2_000 * G, 400 * T);
    let of = |dataset_bytes, offered_bytes, certified| {
        let tested = Tested {
            dataset_bytes,
            offered_bytes,
            ..asked()
        };
        judged(&full(), &[], certified, &tested)
    };
    // Offered, but not requested.
    match of(75 * G - 1, 75 * G, &short) {
        Reason::NotTested {
            cause: Untested::Memory {
                asked_bytes,
                needed_bytes,
            },
        } => assert_eq!((asked_bytes, needed_bytes), (75 * G - 1, 75 * G)),
        other => panic!("{other}"),
    }
    // Neither offered nor requested.
    match of(75 * G - 1, 75 * G - 1, &short) {
        Reason::MemoryWithheld {
            offered_bytes,
            needed_bytes,
            looks_like,
        } => assert_eq!((offered_bytes, needed_bytes, looks_like), (75 * G - 1, 75 * G, vec![])),
        other => panic!("{other}"),
    }
    // Both offered and requested: it was tested.
    assert!(matches!(of(75 * G, 75 * G, &short), Reason::StatedDoubtful { .. }));
    // Memory is not the only figure that falls short.
    let slow = figures(70 * G, 100 * G, 400 * T);
    assert!(matches!(of(70 * G, 70 * G, &slow), Reason::StatedShort { .. }));
}

#[test]
fn withheld_memory_looks_like_classes_of_about_as_much() {
    let others = [
        class("near", 40 * G, 4_000 * G, Some(1_600 * T)),
        class("slow", 40 * G, 1_000 * G, Some(1_600 * T)),
        class("twin", 100 * G, 4_000 * G, Some(1_600 * T)),
    ];
    let looks_like = |offered_bytes| {
        let tested = Tested {
            dataset_bytes: 30 * G,
            offered_bytes,
            ..asked()
        };
        match judged(&full(), &others, &figures(25 * G, 2_000 * G, 400 * T), &tested) {
            Reason::MemoryWithheld { looks_like, .. } => looks_like,
            other => panic!("{other}"),
        }
    };
    for (offered_bytes, expected) in [
        (30 * G - 1, &[][..]),
        (30 * G, &["near"]),
        (60 * G, &["near"]),
        (60 * G + 1, &[]),
        (75 * G - 1, &[]),
    ] {
        assert_eq!(looks_like(offered_bytes), expected, "{offered_bytes} bytes offered");
    }
}

#[test]
fn a_shortfall_that_a_lesser_class_explains_is_no_doubt() {
    let lesser = class("lesser", 100 * G, 3_000 * G, Some(1_600 * T));
    let small = class("small", 40 * G, 3_000 * G, Some(1_600 * T));
    let fast = class("fast", 100 * G, 3_000 * G, Some(6_400 * T));
    // It has as much of everything, and less is required of it: not a lesser class.
    let lenient = Profile {
        status: Status::Measured,
        measured: Some(measured_figures(500 * T, 2_000 * G, 0.25)),
        ..class("lenient", 100 * G, 4_000 * G, Some(1_600 * T))
    };
    let certified = figures(80 * G, 1_900 * G, 400 * T);
    let of = |others: &[Profile]| judged(&full(), others, &certified, &asked());
    assert!(matches!(
        of(&[lenient.clone(), small.clone(), fast.clone()]),
        Reason::StatedDoubtful { .. }
    ));
    match of(&[lenient, small, fast, lesser]) {
        Reason::StatedShort { looks_like, .. } => assert_eq!(looks_like, ["lesser"]),
        other => panic!("{other}"),
    }
}

#[test]
fn a_class_without_figures_says_what_is_missing() {
    let cpu = Profile {
        capacity: None,
        kind: Kind::Cpu,
        ..full()
    };
    let cause = |samples| match judged(&cpu, &[], &CertifiedFigures::default(), &Tested { samples, ..asked() }) {
        Reason::NotTested { cause } => cause,
        other => panic!("{other}"),
    };
    assert!(matches!(cause(255), Untested::Samples));
    assert!(matches!(cause(256), Untested::Figures));
    let one = CertifiedFigures {
        tensor_ops_per_s: Some(1),
        ..CertifiedFigures::default()
    };
    // The certified figure is not compared with anything, so it affirms nothing (a policy's minimum figures may).
    let reason = judged(&cpu, &[], &one, &asked());
    assert!(matches!(reason, Reason::ClassWithoutFigures { .. }), "{reason}");
    assert_eq!(reason.tier(), Tier::None);
}

/// A figure that no device of the class could show under the assumptions does not count against this one.
#[test]
fn only_what_could_be_shown_is_missed() {
    let fast_links = Assumptions {
        link_in_bytes_per_s: 4_000 * G,
        link_out_bytes_per_s: 4_000 * G,
        ..default_assumptions(20)
    };
    let of = |certified: CertifiedFigures| {
        let tested = Tested {
            assumptions: fast_links,
            ..asked()
        };
        judged(&full(), &[], &certified, &tested)
    };
    let rate_alone = |tensor| CertifiedFigures {
        tensor_ops_per_s: Some(tensor),
        ..CertifiedFigures::default()
    };
    match of(rate_alone(400 * T)) {
        Reason::NotTested {
            cause: Untested::Showable { figures, .. },
        } => assert_eq!(figures, [Figure::Memory, Figure::Bandwidth]),
        other => panic!("{other}"),
    }
    match of(rate_alone(100 * T)) {
        Reason::StatedShort { margins, .. } => {
            assert_eq!(margins.iter().map(|m| m.figure).collect::<Vec<_>>(), [Figure::Tensor]);
        }
        other => panic!("{other}"),
    }
}
