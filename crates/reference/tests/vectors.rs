//! Checks the reference against every known answer of `spec/vectors/v1.json`, and what the vectors omit against
//! hand-computed values.

use reference::*;
use serde_json::Value;

// ---------------------------------------------------------------------------------------------------------------------
// Primitives

#[test]
fn blake3_of_nothing_and_of_abc() {
    assert_eq!(
        hex(&blake3(b"")),
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    );
    assert_eq!(
        hex(&blake3(b"abc")),
        "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    );
}

#[test]
fn derive_and_chain_0() {
    let vectors = vectors();
    let derived = &vectors["primitives"]["derive"];
    assert_eq!(
        hex(&derive(text(&derived["purpose"]), &bytes(&derived["material"]))),
        text(&derived["out"])
    );
    let chain = &vectors["primitives"]["chain_0"];
    let actual = chain_0(
        &hash(&chain["nonce"]),
        &bytes(&chain["hello_hex"]),
        &bytes(&chain["plan_hex"]),
    );
    assert_eq!(hex(&actual), text(&chain["out"]));
}

#[test]
fn chacha8_first_block() {
    let vectors = vectors();
    let block = &vectors["primitives"]["chacha8_first_block"];
    let nonce = bytes(&block["nonce"]).try_into().expect("12 bytes");
    assert_eq!(
        hex(&keystream(&hash(&block["key"]), &nonce, 0, 64)),
        text(&block["out"])
    );
}

#[test]
fn keystream_at_an_offset_is_the_tail() {
    let whole = keystream(&key_0_to_31(), &[7; 12], 0, 300);
    for (offset, length) in [(0, 0), (1, 63), (63, 2), (64, 64), (127, 130), (200, 100)] {
        let part = keystream(&key_0_to_31(), &[7; 12], offset as u64, length);
        assert_eq!(part, whole[offset..offset + length], "offset {offset} length {length}");
    }
}

#[test]
fn operand_row() {
    let expected = bytes(&vectors()["primitives"]["operand_A_7_row_3_k_128_first_32"]);
    let row: Vec<u8> = operand_a(&key_0_to_31(), 7, 128, 3, 1)
        .iter()
        .map(|&element| element as u8)
        .collect();
    assert_eq!(row[..32], expected);
    assert_eq!(
        operand_a(&key_0_to_31(), 7, 128, 0, 4)[3 * 128..],
        operand_a(&key_0_to_31(), 7, 128, 3, 1)
    );
}

#[test]
fn folds() {
    for case in list(&vectors()["primitives"]["fold"]) {
        let acc = i32::try_from(case[0].as_i64().expect("an integer")).expect("an i32");
        assert_eq!(u64::from(fold(acc)), number(&case[1]), "acc {acc}");
    }
}

#[test]
fn permutation() {
    let key = key(&key_0_to_31());
    for case in list(&vectors()["primitives"]["permute_M_2277000_salt_0to31"]) {
        let x = number(&case[0]);
        assert_eq!(permute(&key, 2_277_000, x), number(&case[1]), "x {x}");
    }
    for tiles in [1, 2, 3, 4, 5, 16, 17, 64, 65, 1000] {
        let mut images: Vec<u64> = (0..tiles).map(|x| permute(&key, tiles, x)).collect();
        images.sort_unstable();
        assert_eq!(images, Vec::from_iter(0..tiles), "M {tiles}");
    }
}

#[test]
fn tile_and_digests() {
    let vectors = vectors();
    let expected = &vectors["primitives"]["tile_key_0to31_k128_matrix7_r0_c0"];
    let tile_7 = tile(&key_0_to_31(), 128, 7, 0, 0);
    assert_eq!(hex(&blake3(&tile_7)), text(&expected["blake3"]));
    assert_eq!(hex(&tile_7[..16]), text(&expected["first_16"]));

    let key = key(&key_0_to_31());
    assert_eq!(fill_digest(&key, &tile_7), digest(&expected["digest_under_salt_0to31"]));
    let of_11 = &expected["matching_salt_0to31_of_11_tiles"];
    assert_eq!(matching(&key, 11), pairs(of_11));
    let of_1000 = pairs(&expected["matching_salt_0to31_of_1000_tiles_first_4"]);
    assert_eq!(matching(&key, 1000)[..4], of_1000);
    for (j, m) in list(&expected["shift_of_leaves_0_to_3_salt_0to31"]).iter().enumerate() {
        assert_eq!(shift(&key, j as u64) as u64, number(m), "leaf {j}");
    }
    let tile_8 = tile(&key_0_to_31(), 128, 8, 0, 0);
    assert_eq!(
        pair_digest(&key, 5, &tile_7, &tile_8),
        digest(&expected["pair_digest_with_matrix8_as_leaf_5"])
    );
    assert_covered(expected, 7);
}

#[test]
fn every_primitive_in_the_file_is_checked() {
    assert_covered(&vectors()["primitives"], 7);
}

// ---------------------------------------------------------------------------------------------------------------------
// Runs

#[test]
fn runs_small() {
    for index in 0..3 {
        check_run(index);
    }
}

#[test]
fn run_of_1024_k_1024() {
    check_run(3);
}

#[test]
fn run_of_k_16384() {
    check_run(4);
}

#[test]
fn run_of_k_65536() {
    check_run(5);
}

#[test]
fn run_of_2048_k_64() {
    check_run(6);
}

#[test]
fn every_run_in_the_file_is_checked() {
    assert_eq!(list(&vectors()["runs"]).len(), 7);
}

fn check_run(index: usize) {
    let vectors = vectors();
    let expected = &vectors["runs"][index];
    let plan = plan(expected);
    let trace = list(&expected["trace"]);
    let v = |t: usize, _: &[Hash]| hash(&trace[t]["v"]);
    let w = |t: usize, _: &[Vec<Hash>]| hash(&trace[t]["w"]);
    let no_round = |t, round| panic!("round {round} of iteration {t}, where the plan has none");
    let actual = run(&plan, &hash(&expected["chain_0"]), v, no_round, w);

    assert_eq!(actual.trace.len(), trace.len(), "run {index}: iterations");
    for (t, (actual, expected)) in actual.trace.iter().zip(trace).enumerate() {
        let at = format!("run {index} iteration {t}");
        assert_eq!(hex(&actual.chain), text(&expected["chain"]), "{at}: chain");
        assert_eq!(
            hex(&actual.operand_key),
            text(&expected["operand_key"]),
            "{at}: operand key"
        );
        assert_eq!(hex(&actual.fill_salt), text(&expected["fill_salt"]), "{at}: fill salt");
        assert_eq!(actual.v, hash(&expected["v"]), "{at}: v");
        assert_eq!(actual.w, hash(&expected["w"]), "{at}: w");
        assert_eq!(actual.fill_roots, hashes(&expected["fill_roots"]), "{at}: fill roots");
        for (g, device) in plan.devices.iter().enumerate() {
            let at = format!("{at} device {g}");
            let tiles = tile_count(plan.n, device);
            assert_eq!(
                actual.sweep_salts[g],
                hashes(&expected["sweep_salts"][g]),
                "{at}: sweep salts"
            );
            assert_eq!(
                actual.sweep_roots[g],
                hashes(&expected["sweep_roots"][g]),
                "{at}: sweep roots"
            );
            check_leaves(&actual.fill_digests[g], tiles, &expected["fill_digests"][g], &at);
            let last_sweep = actual.sweep_leaves[g].last().expect("a sweep");
            check_leaves(last_sweep, tiles.div_ceil(2), &expected["last_sweep_digests"][g], &at);
        }
        for per_device in [
            "fill_roots",
            "sweep_salts",
            "sweep_roots",
            "fill_digests",
            "last_sweep_digests",
        ] {
            assert_eq!(
                list(&expected[per_device]).len(),
                plan.devices.len(),
                "{at}: {per_device}"
            );
        }
        assert_covered(expected, 10);
    }
    assert_eq!(
        hex(&actual.checksum),
        text(&expected["checksum"]),
        "run {index}: checksum"
    );
}

/// The vectors list the first four leaves of each device.
fn check_leaves(actual: &[u64], count: u64, first_four: &Value, at: &str) {
    assert_eq!(actual.len() as u64, count, "{at}: leaves");
    let expected: Vec<u64> = list(first_four).iter().map(digest).collect();
    assert_eq!(expected.len(), actual.len().min(4), "{at}: leaves listed");
    assert_eq!(actual[..expected.len()], expected, "{at}: first leaves");
}

#[test]
fn a_tile_by_coordinates_is_the_tile_of_the_device() {
    let device = Device {
        matrix_offset: 3,
        num_matrices: 2,
    };
    let tiles = device_tiles(&key_0_to_31(), 512, 64, &device);
    assert_eq!(tiles.len() as u64, tile_count(512, &device));
    for (index, expected) in tiles.iter().enumerate() {
        let (i, tr, tc) = tile_coordinates(512, &device, index as u64);
        assert_eq!(&tile(&key_0_to_31(), 64, i, tr, tc), expected, "tile ({i}, {tr}, {tc})");
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Openings

#[test]
fn openings() {
    let vectors = vectors();
    let cases = list(&vectors["openings"]);
    assert_eq!(cases.len(), 8);
    for case in cases {
        let leaves = leaves(text(&case["leaves"]));
        let leaf = number(&case["leaf"]);
        let at = format!("leaf {leaf} of {}", leaves.len());
        assert_covered(case, 6);
        assert_eq!(hex(&root(&leaves)), text(&case["root"]), "{at}: root");

        let opening = opening(&leaves, leaf);
        assert_eq!(hex(&blake3(&opening.chunk)), text(&case["chunk_blake3"]), "{at}: chunk");
        assert_eq!(
            opening.chunk.len() as u64,
            number(&case["chunk_bytes"]),
            "{at}: chunk length"
        );
        assert_eq!(opening.siblings, hashes(&case["siblings"]), "{at}: siblings");
        check_verification(&leaves, leaf, &opening, &at);
    }
}

#[test]
fn openings_of_every_shape() {
    for count in [1, 2, 127, 128, 129, 256, 257, 384, 513, 640, 897, 1025, 2049] {
        let leaves = leaves_of(count);
        for leaf in (0..count).step_by(64).chain([count - 1]) {
            check_verification(
                &leaves,
                leaf,
                &opening(&leaves, leaf),
                &format!("leaf {leaf} of {count}"),
            );
        }
    }
}

fn check_verification(leaves: &[u64], leaf: u64, opening: &Opening, at: &str) {
    let count = leaves.len() as u64;
    let root = root(leaves);
    let digest = |opening: &Opening| verify_opening(&root, count, leaf, opening);
    let tampered = |change: &dyn Fn(&mut Opening)| {
        let mut opening = opening.clone();
        change(&mut opening);
        digest(&opening)
    };
    assert_eq!(digest(opening), Some(leaves[leaf as usize]), "{at}: accepted");

    for byte in [0, opening.chunk.len() / 2, opening.chunk.len() - 1] {
        assert_eq!(
            tampered(&|opening| opening.chunk[byte] ^= 1),
            None,
            "{at}: chunk byte {byte} flipped"
        );
    }
    for level in 0..opening.siblings.len() {
        let flipped = tampered(&|opening| opening.siblings[level][31] ^= 0x80);
        assert_eq!(flipped, None, "{at}: sibling {level} flipped");
        let missing = tampered(&|opening| _ = opening.siblings.remove(level));
        assert_eq!(missing, None, "{at}: sibling {level} missing");
    }
    assert_eq!(
        tampered(&|opening| opening.siblings.push([0; 32])),
        None,
        "{at}: extra sibling"
    );
    assert_eq!(
        tampered(&|opening| opening.siblings.insert(0, root)),
        None,
        "{at}: extra first sibling"
    );
    assert_eq!(
        tampered(&|opening| opening.chunk.truncate(opening.chunk.len() - 1)),
        None,
        "{at}: chunk short of a byte"
    );
    assert_eq!(
        tampered(&|opening| opening.chunk.truncate(opening.chunk.len() - 8)),
        None,
        "{at}: short of a leaf"
    );
    assert_eq!(
        tampered(&|opening| opening.chunk.extend([0; 8])),
        None,
        "{at}: chunk too long"
    );
    assert_eq!(tampered(&|opening| opening.chunk.clear()), None, "{at}: empty chunk");

    let mut other_root = root;
    other_root[0] ^= 1;
    assert_eq!(
        verify_opening(&other_root, count, leaf, opening),
        None,
        "{at}: other root"
    );
    assert_eq!(
        verify_opening(&root, count, count, opening),
        None,
        "{at}: leaf past the end"
    );
    let other_chunk = (leaf + CHUNK_LEAVES) % count;
    if other_chunk / CHUNK_LEAVES != leaf / CHUNK_LEAVES {
        assert_eq!(
            verify_opening(&root, count, other_chunk, opening),
            None,
            "{at}: another leaf's chunk"
        );
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Not in the vectors: plan, session, bounds

#[test]
fn shares_and_devices() {
    assert_eq!(shares(10, &[10]), [10]);
    assert_eq!(shares(8, &[5, 5, 5]), [3, 3, 2]);
    // 7 * 3/10, 7 * 4/10, 7 * 3/10 = 2.1, 2.8, 2.1.
    assert_eq!(shares(7, &[3, 4, 3]), [2, 3, 2]);
    // 1.5, 0.5: equal fractions, the lowest ordinal first.
    assert_eq!(shares(2, &[3, 1]), [2, 0]);
    assert_eq!(shares(1, &[0, 1, 1]), [0, 1, 0]);
    assert_eq!(shares(u64::MAX, &[u64::MAX, u64::MAX]), [1 << 63, (1 << 63) - 1]);
    let device = |matrix_offset, num_matrices| Device {
        matrix_offset,
        num_matrices,
    };
    assert_eq!(devices(&[3, 0, 2]), [device(0, 3), device(3, 2)]);
}

#[test]
fn transcript_and_offline_derivations() {
    let by_hand = [
        &[1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0][..],
        b"ab",
        &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let h = transcript_hash(&[(1, b"ab"), (7, b"")]);
    assert_eq!(h, blake3(&by_hand));
    assert_eq!(offline_v(&h), derive("offline v", &h));
    assert_eq!(offline_w(&h), derive("offline w", &h));
    assert_eq!(offline_samples_key(&h), derive("offline samples", &h));
    assert_eq!(signed_transcript(&h, b""), derive("transcript", &h));
    assert_eq!(signed_transcript(&h, &h), derive("transcript", &[h, h].concat()));
}

#[test]
fn samples_are_distinct_and_one_stream() {
    let key = key_0_to_31();
    let totals = [1, 5, 1000, u64::MAX];
    let counts = [1, 5, 300, 2];
    let samples = sample_indices(&key, &totals, &counts);
    let stream: Vec<u64> = keystream(&key, &[0; 12], 0, 8 * 1000)
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
        .collect();
    assert_eq!(samples[0], [0]);
    // The first word was used for the first total; the following samples are drawn from the second word on.
    assert_eq!(samples[1][0], stream[1] % 5);
    for (drawn, (total, count)) in samples.iter().zip(totals.into_iter().zip(counts)) {
        let mut sorted = drawn.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len() as u64, count, "distinct of {total}");
        assert!(sorted.iter().all(|&index| index < total), "below {total}");
    }
    assert!(
        stream.windows(2).any(|pair| pair == samples[3]),
        "u64::MAX takes words as they are"
    );
}

#[test]
fn sample_of_a_total_that_rejects_half_of_the_stream() {
    let key = key_0_to_31();
    let total = (1 << 63) + 1;
    let stream = keystream(&key, &[0; 12], 0, 8 * 64);
    let kept = stream
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")))
        .filter(|&x| x < total);
    assert_eq!(
        sample_indices(&key, &[total], &[10])[0],
        kept.take(10).collect::<Vec<_>>()
    );
}

#[test]
fn sample_coordinates_walk_iterations_then_sweeps_then_leaves() {
    let iterations = [(128, 2), (64, 3), (128, 1)]
        .map(|(k, sweeps)| Iteration {
            k,
            sweeps,
            crossings: 0,
        })
        .to_vec();
    let devices = vec![
        Device {
            matrix_offset: 0,
            num_matrices: 3,
        },
        Device {
            matrix_offset: 3,
            num_matrices: 1,
        },
    ];
    let plan = Plan {
        n: 256,
        devices,
        iterations,
    };
    assert_eq!(groups(&plan), [128, 64]);
    assert_eq!(sample_totals(&plan), [6, 6, 3, 3]);
    assert_eq!(effective_samples(1024, 6), 6);
    assert_eq!(effective_samples(4, 6), 4);

    let walk: Vec<_> = (0..6)
        .map(|index| sample_coordinates(&plan, &plan.devices[0], 128, index))
        .collect();
    assert_eq!(walk, [(0, 1, 0), (0, 1, 1), (0, 2, 0), (0, 2, 1), (2, 1, 0), (2, 1, 1)]);
    assert_eq!(sample_coordinates(&plan, &plan.devices[1], 64, 2), (1, 3, 0));
    assert_eq!(group_operations(&plan, &plan.devices[0], 128), 2 * 2 * 128 * 3 * 65_536);
}

/// The example of spec §6: an H200 with s = 1024, links of 64 GB/s.
#[test]
fn bounds_of_an_h200() {
    let assumptions = Assumptions {
        best_rate: 1.979e15,
        helper_gpus: 1.0,
        link_in: 64e9,
        link_out: 64e9,
        helper_read: 0.0,
        on_chip: 128e6,
    };
    // A fill at 1.5e15 operations/s.
    let iteration = |k: f64, tau: f64| MeasuredIteration {
        sweeps: 32.0,
        fill: 2.0 * k * 140e9 / 1.5e15,
        sweep: 32.0 * tau,
    };
    let long = Measured {
        k: 16384,
        samples: 1024,
        dataset: 140e9,
        iterations: vec![iteration(16384.0, 140e9 / 4.3e12)],
    };
    let v = bound_v(&long, &assumptions).expect("a bound of memory");
    let b = bound_b(&long, &assumptions).expect("a bound of bandwidth");
    assert!(
        (0.93..0.97).contains(&(v / long.dataset)),
        "V is {} N",
        v / long.dataset
    );
    assert!(
        (0.92..0.96).contains(&(b / 4.3e12)),
        "B is {} of what was measured",
        b / 4.3e12
    );
    let t = bound_t(&long).expect("a bound of rate");
    assert!((t / ((1.0 - 13.862_943_7 / 1024.0) * 1.5e15) - 1.0).abs() < 1e-6);

    let short = Measured {
        k: 2048,
        iterations: vec![MeasuredIteration {
            sweeps: 1.0,
            sweep: 140e9 / 4.3e12,
            ..iteration(2048.0, 0.0)
        }],
        ..long.clone()
    };
    assert_eq!(
        (bound_v(&short, &assumptions), bound_b(&short, &assumptions)),
        (None, None)
    );
    let local = bound_t_local(&short, &assumptions).expect("a bound of local rate");
    assert!(
        (0.5..0.7).contains(&(local / short.raw_rate())),
        "T_local is {} of T_raw",
        local / short.raw_rate()
    );

    let few = Measured {
        samples: 255,
        ..long.clone()
    };
    assert_eq!((bound_v(&few, &assumptions), bound_b(&few, &assumptions)), (None, None));
    assert_eq!((bound_t(&few), bound_t_local(&few, &assumptions)), (None, None));
    let slow = Measured {
        iterations: vec![iteration(16384.0, 1.0)],
        ..long.clone()
    };
    // A bound of zero or less is not a bound.
    assert!(bound_v(&slow, &assumptions).is_some_and(|v| v < 0.0));
    assert!(bound_t_local(&slow, &assumptions).is_some_and(|local| local < 0.0));
    let tiny = Measured {
        dataset: 15.9 * assumptions.on_chip,
        iterations: vec![iteration(16384.0, 1e-3)],
        ..long.clone()
    };
    assert_eq!(bound_b(&tiny, &assumptions), None);
    // An odd last tile has a leaf of its own: one wrong leaf can represent two tiles of any sweep.
    let odd = Measured {
        dataset: 3.0 * 65_536.0,
        ..long.clone()
    };
    let none = Assumptions {
        best_rate: 0.0,
        link_in: 0.0,
        link_out: 0.0,
        on_chip: 0.0,
        ..assumptions
    };
    let wrong = 13.862_943_7 / 1024.0 * 4.0 * 65_536.0;
    let close = |a: Option<f64>, b: f64| a.is_some_and(|a| (a / b - 1.0).abs() < 1e-9);
    assert!(close(bound_v(&odd, &none), odd.dataset - wrong));
    assert!(close(bound_t(&odd), (1.0 - wrong / odd.dataset) * odd.raw_rate()));
    // Eight helpers regenerate eight times as many bytes.
    let helped = Assumptions {
        helper_gpus: 8.0,
        ..assumptions
    };
    let more = 7.0 * regenerated_rate(&assumptions, 16384) * long.tau();
    assert!(close(bound_v(&long, &helped).map(|helped| v - helped), more));
}

// ---------------------------------------------------------------------------------------------------------------------
// Reading the vectors

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/v1.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).expect("JSON")
}

fn plan(run: &Value) -> Plan {
    let device = |device: &Value| Device {
        matrix_offset: number(&device["matrix_offset"]),
        num_matrices: number(&device["num_matrices"]),
    };
    let iteration = |iteration: &Value| Iteration {
        k: number(&iteration["k"]) as usize,
        sweeps: number(&iteration["sweeps"]),
        crossings: 0,
    };
    Plan {
        n: number(&run["n"]) as usize,
        devices: list(&run["devices"]).iter().map(device).collect(),
        iterations: list(&run["iterations"]).iter().map(iteration).collect(),
    }
}

/// The leaves that an opening's case describes in words.
fn leaves(description: &str) -> Vec<u64> {
    let (count, rule) = description.split_once(' ').expect("a count, then the rule");
    assert_eq!(rule, "leaves, leaf i = (i+1) * 0x9E3779B97F4A7C15 mod 2^64");
    leaves_of(count.parse().expect("a count"))
}

fn leaves_of(count: u64) -> Vec<u64> {
    (1..=count).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect()
}

/// A value added to the vectors must be checked here too.
fn assert_covered(object: &Value, fields: usize) {
    let object = object.as_object().expect("an object");
    assert_eq!(object.len(), fields, "fields {:?}", object.keys());
}

fn key_0_to_31() -> Hash {
    std::array::from_fn(|i| i as u8)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string"))
}

/// Digests are decimal strings.
fn digest(value: &Value) -> u64 {
    text(value).parse().unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn pairs(value: &Value) -> Vec<(u64, u64)> {
    list(value)
        .iter()
        .map(|pair| (number(&pair[0]), number(&pair[1])))
        .collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    let text = text(value);
    assert!(text.len().is_multiple_of(2), "{text}: half a byte");
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
        .collect()
}

fn hash(value: &Value) -> Hash {
    bytes(value).try_into().expect("32 bytes")
}

fn hashes(value: &Value) -> Vec<Hash> {
    list(value).iter().map(hash).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
