//! A device's offer, and the plan that a request makes of it (spec §3), calculated by hand.

use protocol::bytes::{DeviceOrdinal, Identity};
use protocol::cbor::Malformed;
use protocol::limits::{SUITE, VERSION};
use protocol::message::{DeviceOffer, Hello};
use protocol::plan::{Deadlines, Iteration, Plan};
use protocol::request::{NoPlan, PlanRequest};

/// Memory for this many bytes of dataset, plus a reserve of 1000 bytes and operands of (2 n + 3) k bytes.
fn offer(ordinal: u32, available_bytes: u64) -> DeviceOffer {
    DeviceOffer {
        ordinal: DeviceOrdinal(ordinal),
        engine: "engine".into(),
        model: "model".into(),
        memory_bytes: available_bytes,
        available_bytes,
        reserve_bytes: 1000,
        operand_copies: 2,
        operand_rows: 3,
        labels: vec![],
    }
}

/// An offer of `matrices` of `n` x `n` for a largest k of 128, plus `more` bytes.
fn offer_of(ordinal: u32, n: u32, matrices: u64, more: i64) -> DeviceOffer {
    let n = u64::from(n);
    let whole = 1000 + (2 * n + 3) * 128 + matrices * n * n;
    offer(ordinal, whole.checked_add_signed(more).expect("some bytes"))
}

fn hello(devices: Vec<DeviceOffer>) -> Hello {
    Hello {
        versions: vec![VERSION],
        suites: vec![SUITE],
        identity: Identity([1; 32]),
        software: "software".into(),
        labels: vec![],
        devices,
    }
}

fn request() -> PlanRequest {
    let iteration = |inner_dim| Iteration::new(inner_dim, 1);
    PlanRequest {
        session_id: [2; 16],
        verifier: Identity([3; 32]),
        verifier_name: "verifier".into(),
        audience: "audience".into(),
        matrix_dim: None,
        devices: None,
        device_bytes: None,
        iterations: vec![iteration(64), iteration(128), iteration(64)],
        samples: 4,
        deadlines: Deadlines {
            ready_ms: 1,
            fill_ms: 2,
            sweep_ms: 3,
            openings_ms: 4,
        },
    }
}

fn with_dim(n: u32) -> PlanRequest {
    PlanRequest {
        matrix_dim: Some(n),
        ..request()
    }
}

/// Ordinal, first matrix and matrices of each device.
fn shares(plan: &Plan) -> Vec<(u32, u64, u32)> {
    let devices = plan.devices().iter();
    devices
        .map(|d| (d.ordinal.0, d.matrix_offset, d.num_matrices))
        .collect()
}

#[test]
fn both_version_and_suite_must_be_spoken() {
    let speaks = |versions: &[u32], suites: &[u32]| {
        Hello {
            versions: versions.to_vec(),
            suites: suites.to_vec(),
            ..hello(vec![])
        }
        .speaks_ours()
    };
    assert!(speaks(&[VERSION], &[SUITE]));
    assert!(speaks(&[VERSION + 1, VERSION], &[SUITE, SUITE + 1]));
    assert!(!speaks(&[VERSION + 1], &[SUITE]));
    assert!(!speaks(&[VERSION], &[SUITE + 1]));
    assert!(!speaks(&[], &[]));
}

#[test]
fn an_offer_is_what_reserve_and_operands_leave() {
    // (2 * 256 + 3) * 128.
    assert_eq!(offer(0, 0).operand_bytes(256, 128), 65_920);
    // 65,536 bytes per matrix.
    let matrices = |available| offer(0, available).matrices(256, 128);
    assert_eq!(matrices(1000 + 65_920 + 3 * 65_536), 3);
    assert_eq!(matrices(1000 + 65_920 + 3 * 65_536 - 1), 2);
    assert_eq!(matrices(1000 + 65_920), 0);
    assert_eq!(matrices(999), 0);
    let endless = DeviceOffer {
        operand_copies: u32::MAX,
        ..offer(0, u64::MAX)
    };
    assert_eq!(endless.operand_bytes(u32::MAX, u32::MAX), u64::MAX);
    assert_eq!(endless.matrices(u32::MAX, u32::MAX), 0);
}

#[test]
fn every_device_gets_what_it_offers_one_after_the_other() {
    let hello = hello(vec![
        offer_of(1, 512, 5, 0),
        offer_of(4, 512, 1, 262_143),
        offer_of(5, 512, 9, 1),
    ]);
    let plan = with_dim(512).plan(&hello).expect("a plan");
    assert_eq!(shares(&plan), [(1, 0, 5), (4, 5, 1), (5, 6, 9)]);
    let fields = plan.fields();
    let asked = with_dim(512);
    assert_eq!(
        (fields.session_id, fields.verifier, fields.samples),
        ([2; 16], Identity([3; 32]), 4)
    );
    assert_eq!(
        (&fields.verifier_name, &fields.audience),
        (&asked.verifier_name, &asked.audience)
    );
    assert_eq!(
        (&fields.iterations, fields.deadlines),
        (&asked.iterations, asked.deadlines)
    );
    assert_eq!(fields.matrix_dim, 512);
}

#[test]
fn devices_are_chosen_by_ordinal() {
    let hello = hello([0, 2, 7].map(|ordinal| offer_of(ordinal, 512, 3, 0)).to_vec());
    let chosen = |devices: &[u32]| {
        let devices = Some(devices.iter().copied().map(DeviceOrdinal).collect());
        PlanRequest {
            devices,
            ..with_dim(512)
        }
        .plan(&hello)
    };
    assert_eq!(
        chosen(&[7, 0]).map(|plan| shares(&plan)),
        Ok(vec![(0, 0, 3), (7, 3, 3)])
    );
    assert_eq!(
        chosen(&[2, 1]),
        Err(NoPlan::MissingDevice {
            missing: DeviceOrdinal(1),
            offered: [0, 2, 7].map(DeviceOrdinal).to_vec(),
        })
    );
    assert!(matches!(chosen(&[]), Err(NoPlan::Invalid(Malformed::Value { .. }))));
}

#[test]
fn a_cap_counts_whole_matrices() {
    let hello = hello(vec![offer_of(0, 512, 9, 0), offer_of(1, 512, 2, 0)]);
    let capped = |bytes| {
        let plan = PlanRequest {
            device_bytes: Some(bytes),
            ..with_dim(512)
        }
        .plan(&hello);
        plan.map(|plan| shares(&plan))
    };
    let matrix = 512 * 512;
    assert_eq!(capped(3 * matrix), Ok(vec![(0, 0, 3), (1, 3, 2)]));
    assert_eq!(capped(3 * matrix - 1), Ok(vec![(0, 0, 2), (1, 2, 2)]));
    assert_eq!(capped(matrix), Ok(vec![(0, 0, 1), (1, 1, 1)]));
    // Less than a matrix was requested: the request is too small, not the device.
    let too_small = |available_bytes| NoPlan::TooSmall {
        device: DeviceOrdinal(0),
        available_bytes,
        needed_bytes: matrix,
        matrix_dim: 512,
        inner_dim: 128,
    };
    assert_eq!(capped(matrix - 1), Err(too_small(matrix - 1)));
    assert_eq!(capped(0), Err(too_small(0)));
}

#[test]
fn no_device_gets_more_tiles_than_a_u32_counts() {
    for (n, most) in [(256, u32::MAX), (512, u32::MAX / 4), (32_768, u32::MAX / (128 * 128))] {
        let plan = with_dim(n).plan(&hello(vec![offer(0, u64::MAX)])).expect("a plan");
        assert_eq!(shares(&plan), [(0, 0, most)], "n = {n}");
    }
}

#[test]
fn n_is_the_largest_of_which_every_device_holds_1024() {
    for (n, next) in [(16_384, 8_192), (8_192, 4_096), (1_024, 512), (512, 256)] {
        let dim = |devices| request().plan(&hello(devices)).expect("a plan").matrix_dim();
        assert_eq!(dim(vec![offer_of(0, n, 1024, 0)]), n);
        assert_eq!(dim(vec![offer_of(0, n, 1024, -1)]), next);
        let both = vec![offer_of(0, n, 5000, 0), offer_of(1, n, 1024, -1)];
        assert_eq!(dim(both), next, "the smaller device counts");
    }
    // Fewer matrices of the smallest size are also a plan.
    let plan = request().plan(&hello(vec![offer_of(0, 256, 1, 0)])).expect("a plan");
    assert_eq!((plan.matrix_dim(), shares(&plan)), (256, vec![(0, 0, 1)]));
}

#[test]
fn a_device_without_room_for_a_matrix_is_named_with_what_it_takes() {
    let hello = hello(vec![offer_of(0, 512, 1, 0), offer_of(3, 512, 1, -1)]);
    let whole = 512 * 512 + (2 * 512 + 3) * 128;
    assert_eq!(
        with_dim(512).plan(&hello),
        Err(NoPlan::TooSmall {
            device: DeviceOrdinal(3),
            available_bytes: whole - 1,
            needed_bytes: whole,
            matrix_dim: 512,
            inner_dim: 128,
        })
    );
    // A cap that leaves room for a matrix is not the obstacle.
    let capped = PlanRequest {
        device_bytes: Some(512 * 512),
        ..with_dim(512)
    };
    assert_eq!(capped.plan(&hello), with_dim(512).plan(&hello));
}

#[test]
fn a_request_out_of_bounds_names_its_field() {
    let hello = hello(vec![offer(0, 1 << 40)]);
    for n in [0, 128, 300, 33_024] {
        let refused = with_dim(n).plan(&hello);
        assert!(
            matches!(
                refused,
                Err(NoPlan::Invalid(Malformed::Value {
                    field: "matrix_dim",
                    ..
                }))
            ),
            "{n}: {refused:?}"
        );
    }
    let idle = PlanRequest {
        iterations: vec![],
        ..request()
    };
    assert!(matches!(
        idle.plan(&hello),
        Err(NoPlan::Invalid(Malformed::Value {
            field: "iterations",
            ..
        }))
    ));
}
