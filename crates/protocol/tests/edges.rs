//! Edge cases that change if the code is off by one: caps, sizes, the end of a trace, fields of evidence.

use ed25519_dalek::SigningKey;
use protocol::bounds::Assumptions;
use protocol::bytes::{DeviceOrdinal, Fresh, Identity, Nonce, OperandKey, Root, Salt};
use protocol::cbor::Canonical;
use protocol::commitment::{Commitment, Opening, OpeningError, chunk_bytes, sibling_count};
use protocol::engine::Pass;
use protocol::evidence::Evidence;
use protocol::frame::MessageType;
use protocol::message::{Filled, OpeningsBody, SaltMessage, Stage, Swept};
use protocol::openings::{Digest, OpeningsError, check_sizes, max_payload_bytes};
use protocol::plan::{Deadlines, DevicePlan, Iteration, Plan, PlanFields};
use protocol::sampling::Sample;
use protocol::tile::TileCoordinate;
use protocol::trace::{Misplaced, Site, Trace};
use protocol::verifier::{Mode, VerifierConfig};

/// A device of 1000 tiles and one of a single tile, three iterations in two groups, two samples.
fn plan() -> Plan {
    let iteration = |inner_dim, sweeps| Iteration::new(inner_dim, sweeps);
    let device = |ordinal, matrix_offset, num_matrices| DevicePlan {
        ordinal: DeviceOrdinal(ordinal),
        matrix_offset,
        num_matrices,
    };
    Plan::new(PlanFields {
        session_id: [0; 16],
        verifier: Identity([0; 32]),
        verifier_name: String::new(),
        audience: String::new(),
        matrix_dim: 256,
        devices: vec![device(0, 0, 1000), device(1, 1000, 1)],
        iterations: vec![iteration(64, 3), iteration(128, 1), iteration(64, 2)],
        samples: 2,
        deadlines: Deadlines {
            ready_ms: 1,
            fill_ms: 1,
            sweep_ms: 1,
            openings_ms: 1,
        },
    })
    .expect("within the bounds")
}

/// Spec section 9.2, worked out by hand.
#[test]
fn caps_follow_from_the_plan() {
    let plan = plan();
    assert_eq!(plan.matrix_dim(), 256);
    assert_eq!(max_payload_bytes(&plan, MessageType::Ready), 65_536);
    // At most three roots.
    assert_eq!(max_payload_bytes(&plan, MessageType::Swept), 32 + 34 * 3);
    // 1000 leaves are 8 chunks, whose binary form has 4 digits: 2 samples in each of 2 groups. One leaf is one chunk:
    // 2 samples of 5 leaves, 1 of 1.
    let large = 4 * (1 + 3 * (1030 + 34 * 4));
    let small = 3 * (1 + 3 * (1030 + 34));
    assert_eq!(
        max_payload_bytes(&plan, MessageType::Openings),
        2 * 65_536 + large + small
    );
    assert_eq!(plan.total_samples(), 7);
}

#[test]
fn openings_of_other_sizes_are_refused_before_their_paths() {
    let site = Site {
        sample: Sample {
            device: DeviceOrdinal(0),
            iteration: 0,
            pass: Pass::Sweep(1),
            leaf: 0,
        },
        inner_dim: 64,
        operand_key: OperandKey([0; 32]),
        fill_salt: Salt([0; 32]),
        pair_salt: Salt([0; 32]),
        holders: [DeviceOrdinal(0); 2],
        pair: [299, 0],
        tiles: [0, 1].map(|tile| TileCoordinate::from_index(tile, 0, 256)),
        fill_roots: [Root([0; 32]); 2],
        fill_leaves: [300; 2],
        pair_root: Root([0; 32]),
        pair_leaves: 150,
    };
    let opening = |chunk_bytes, siblings| Opening {
        chunk: vec![0; chunk_bytes],
        siblings: vec![[0; 32]; siblings],
    };
    // 300 leaves are chunks of 128, 128 and 44; 150 are 128 and 22.
    let right = [opening(1024, 1), opening(352, 1), opening(1024, 2)];
    let check = |openings: Vec<[Opening; 3]>| {
        let body = OpeningsBody {
            openings,
            labels: Vec::new(),
            attestation: None,
        };
        check_sizes(std::slice::from_ref(&site), &body)
    };
    assert_eq!(check(vec![right.clone()]), Ok(()));
    assert_eq!(check(vec![]), Err(OpeningsError::Count { expected: 1, actual: 0 }));
    for (i, digest) in [Digest::Pair, Digest::FillA, Digest::FillB].into_iter().enumerate() {
        let (expected_bytes, expected_siblings) = (right[i].chunk.len(), right[i].siblings.len());
        for (wrong, error) in [
            (
                opening(expected_bytes - 8, expected_siblings),
                OpeningError::ChunkLength {
                    expected: expected_bytes,
                    actual: expected_bytes - 8,
                },
            ),
            (
                opening(expected_bytes, expected_siblings + 1),
                OpeningError::SiblingCount {
                    expected: expected_siblings,
                    actual: expected_siblings + 1,
                },
            ),
        ] {
            let mut openings = right.clone();
            openings[i] = wrong;
            let sample = site.sample;
            let expected = OpeningsError::Opening { sample, digest, error };
            assert_eq!(check(vec![openings]), Err(expected));
        }
    }
}

#[test]
fn sizes_of_openings_follow_from_the_leaf_count() {
    assert_eq!([0, 128, 256, 299].map(|leaf| sibling_count(leaf, 300)), [2, 2, 1, 1]);
    assert_eq!(
        [0, 128, 256, 299].map(|leaf| chunk_bytes(leaf, 300)),
        [1024, 1024, 352, 352]
    );
    assert_eq!((sibling_count(0, 1), chunk_bytes(0, 1)), (0, 8));
    assert_eq!(Commitment::new(vec![7, 8, 9]).leaves(), [7, 8, 9]);
}

/// A trace accepts what belongs to the current iteration, and nothing once all are done.
#[test]
fn a_trace_ends_with_its_plan() {
    let plan = plan();
    let mut trace = Trace::begin(&plan, &Nonce([1; 32]), b"hello", b"plan");
    let filled = |iteration, device| Filled {
        iteration,
        device: DeviceOrdinal(device),
        root: Root([2; 32]),
    };
    let salt = |stage, iteration| SaltMessage {
        stage,
        iteration,
        fresh: Fresh([3; 32]),
    };
    for (t, iteration) in (0u32..).zip(plan.iterations()) {
        for other in [t + 1, t.wrapping_sub(1), 3] {
            let misplaced = Misplaced::Iteration {
                expected: t,
                actual: other,
            };
            assert_eq!(trace.filled(&filled(other, 0)), Err(misplaced.clone()));
            assert_eq!(trace.salted(&salt(Stage::V, other)), Err(misplaced));
        }
        assert_eq!(trace.checksum(), None);
        let task = trace.fill_task();
        assert_eq!((task.inner_dim, task.sweeps), (iteration.inner_dim, iteration.sweeps));
        assert_eq!(trace.filled(&filled(t, 0)), Ok(false));
        assert_eq!(trace.filled(&filled(t, 1)), Ok(true));
        trace.salted(&salt(Stage::V, t)).expect("v is due");
        for g in [0, 1] {
            let swept = Swept {
                iteration: t,
                device: DeviceOrdinal(g),
                roots: vec![Root([4; 32]); iteration.sweeps as usize],
            };
            assert_eq!(trace.swept(&swept), Ok(g == 1));
        }
        trace.salted(&salt(Stage::W, t)).expect("w is due");
    }
    assert!(trace.checksum().is_some());
    assert_eq!((trace.iterations().len(), trace.current()), (3, 3));
    for iteration in [2, 3, 4] {
        let misplaced = Misplaced::Iteration {
            expected: 3,
            actual: iteration,
        };
        assert_eq!(trace.filled(&filled(iteration, 0)), Err(misplaced.clone()));
        assert_eq!(trace.salted(&salt(Stage::V, iteration)), Err(misplaced));
    }
}

#[test]
fn fields_of_evidence_have_their_bounds() {
    let evidence = Evidence {
        config: VerifierConfig {
            mode: Mode::Online,
            hello_deadline_ms: 1,
            tls_exporter: None,
        },
        started_unix_ms: 0,
        assumptions: Assumptions {
            best_rate_ops_per_s: (1 << 62) - 1,
            helper_gpus: 1,
            link_in_bytes_per_s: 1,
            link_out_bytes_per_s: 1,
            helper_bytes_per_s: 1,
            on_chip_bytes: 1,
            error_bits: 1,
        },
        challenge: None,
        sealer: Identity(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes()),
        records: Vec::new(),
    };
    let is_read = |evidence: &Evidence| Evidence::from_bytes(&evidence.to_bytes()).is_ok_and(|read| read == *evidence);
    assert!(is_read(&evidence));
    for mode in [Mode::Online, Mode::Offline] {
        for tls_exporter in [None, Some([9; 32])] {
            let mut other = evidence.clone();
            other.config.mode = mode;
            other.config.hello_deadline_ms = (mode == Mode::Online).into();
            other.config.tls_exporter = tls_exporter;
            assert_eq!(is_read(&other), mode == Mode::Online || tls_exporter.is_none());
        }
    }
    let with = |change: fn(&mut Assumptions)| {
        let mut other = evidence.clone();
        change(&mut other.assumptions);
        is_read(&other)
    };
    assert!(!with(|a| a.best_rate_ops_per_s = 1 << 62));
    assert!(!with(|a| a.on_chip_bytes = 1 << 62));
    assert!(with(|a| a.helper_gpus = 65_536));
    assert!(!with(|a| a.helper_gpus = 65_537));
    assert!(!with(|a| a.helper_gpus = 0));
    assert!(with(|a| a.error_bits = 256));
    assert!(!with(|a| a.error_bits = 257));
    assert!(!with(|a| a.error_bits = 0));
}

/// An Attester sends as many samples as its cap permits, each of ten bytes: they are counted and their form is checked, and
/// no more of them are kept than were drawn.
#[test]
fn samples_past_those_drawn_are_read_and_not_kept() {
    let empty = Opening {
        chunk: Vec::new(),
        siblings: Vec::new(),
    };
    let body = |len| OpeningsBody {
        openings: vec![[(); 3].map(|()| empty.clone()); len],
        labels: Vec::new(),
        attestation: None,
    };
    let bytes = body(100_000).to_bytes();
    assert_eq!(OpeningsBody::first_samples(&bytes, 7), Ok((body(7), 100_000)));
    assert_eq!(
        OpeningsBody::first_samples(&bytes, 100_000),
        Ok((body(100_000), 100_000))
    );
    assert_eq!(OpeningsBody::first_samples(&body(3).to_bytes(), 7), Ok((body(3), 3)));

    // The last sample's last list of siblings, then the empty labels: each in a longer encoding, or of another type.
    let with_end = |end: &[u8]| [&bytes[..bytes.len() - 2], end].concat();
    assert_eq!(with_end(&[0x80, 0x80]), bytes);
    for end in [
        &[0x98, 0x00, 0x80][..],
        &[0x80, 0x98, 0x00],
        &[0x80],
        &[0x80, 0x80, 0x80],
        &[0x81, 0x00, 0x80],
    ] {
        assert!(OpeningsBody::first_samples(&with_end(end), 7).is_err(), "{end:x?}");
        assert!(OpeningsBody::from_bytes(&with_end(end)).is_err(), "{end:x?}");
    }
}

/// Evidence is read before its seal can be checked: a list with more records than any session has is not read at all.
#[test]
fn evidence_has_no_more_records_than_a_session() {
    let evidence = Evidence {
        config: VerifierConfig {
            mode: Mode::Online,
            hello_deadline_ms: 1,
            tls_exporter: None,
        },
        started_unix_ms: 0,
        assumptions: Assumptions {
            best_rate_ops_per_s: 1,
            helper_gpus: 1,
            link_in_bytes_per_s: 1,
            link_out_bytes_per_s: 1,
            helper_bytes_per_s: 1,
            on_chip_bytes: 1,
            error_bits: 20,
        },
        challenge: None,
        sealer: Identity([0; 32]),
        records: Vec::new(),
    };
    let bytes = evidence.to_bytes();
    let announcing = |records: u32| {
        let head = &bytes[..bytes.len() - 1];
        Evidence::from_bytes(&[head, &[0x9A], &records.to_be_bytes()].concat())
            .expect_err("nothing follows")
            .to_string()
    };
    let most = protocol::limits::MAX_RECORDS as u32;
    assert!(announcing(most).contains("end of input"), "{}", announcing(most));
    let refused = format!("records: expected 0..={most} items, got {}", most + 1);
    assert_eq!(announcing(most + 1), refused);
}
