//! Refused messages, and why: the violated rule of the spec, and the beginning of this crate's error.

use protocol::bytes::hex;

use crate::encoding::*;

/// A message that is refused.
pub(crate) struct Reject {
    pub(crate) name: String,
    /// The rule of the spec that it violates.
    pub(crate) rule: String,
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// The beginning of this crate's error.
    pub(crate) error: &'static str,
}

#[derive(Default)]
struct Rejects(Vec<Reject>);

impl Rejects {
    fn add(&mut self, kind: &'static str, defect: &str, bytes: Vec<u8>, rule: &str, error: &'static str) {
        self.0.push(Reject {
            name: format!("{}-{defect}", kind.to_lowercase()),
            rule: rule.to_owned(),
            kind,
            bytes,
            error,
        });
    }
}

const NOT_CANONICAL: &str = "not in deterministic encoding";

/// Every message that is refused.
pub(crate) fn rejects() -> Vec<Reject> {
    let mut all = Rejects::default();
    encodings(&mut all);
    hellos(&mut all);
    plans(&mut all);
    answers(&mut all);
    verifiers(&mut all);
    frames(&mut all);
    all.0
}

/// One value has one encoding, whatever the message (spec §8.2).
#[rustfmt::skip]
fn encodings(all: &mut Rejects) {
    let hello = array(&hello_items());
    let plan = array(&plan_items());
    let filled = array(&[uint(0), uint(0), bytes(&ROOT)]);
    let cut = |whole: &[u8]| whole[..whole.len() - 1].to_vec();
    let more = |whole: &[u8]| [whole, &[0]].concat();
    let whole = "§8.2: a payload is one whole item";
    let end = "§8.2: nothing follows the item";
    all.add("HELLO", "truncated", cut(&hello), whole, "device labels: end of input");
    all.add("HELLO", "trailing-byte", more(&hello), end, "1 bytes after the end of the value");
    all.add("PLAN", "truncated", cut(&plan), whole, "openings_ms: end of input");
    all.add("PLAN", "trailing-byte", more(&plan), end, "1 bytes after the end of the value");
    all.add("READY", "empty-payload", vec![], whole, "ready: end of input");
    all.add("FILLED", "truncated", cut(&filled), whole, "root: end of input");
    all.add("FILLED", "trailing-byte", more(&filled), end, "1 bytes after the end of the value");
    all.add("FILLED", "truncated-in-a-length", [&filled[..3], &[0x58]].concat(), whole, "root: end of input");

    let shortest = "§8.2: integers and lengths take the fewest bytes";
    let long_version = with(plan_items(), 0, vec![0x18, 1]);
    all.add("PLAN", "long-integer", long_version, shortest, NOT_CANONICAL);
    let longest_version = with(plan_items(), 0, vec![0x1B, 0, 0, 0, 0, 0, 0, 0, 1]);
    all.add("PLAN", "eight-byte-integer", longest_version, shortest, NOT_CANONICAL);
    let long_array = [&[0x98, 11][..], &plan[1..]].concat();
    all.add("PLAN", "long-array-length", long_array, shortest, NOT_CANONICAL);
    let long_text = with(plan_items(), 5, [&[0x78, 8][..], b"audience"].concat());
    all.add("PLAN", "long-text-length", long_text, shortest, NOT_CANONICAL);
    let long_bytes = array(&[uint(0), uint(0), [&[0x59, 0, 32][..], &ROOT].concat()]);
    all.add("FILLED", "long-bytes-length", long_bytes, shortest, NOT_CANONICAL);

    let definite = "§8.2: lengths are definite";
    let indefinite = [&[0x9F][..], &filled[1..], &[0xFF]].concat();
    all.add("FILLED", "indefinite-array", indefinite, definite, NOT_CANONICAL);
    let roots = array(&[uint(0), uint(0), [&[0x9F][..], &bytes(&ROOT), &[0xFF]].concat()]);
    all.add("SWEPT", "indefinite-array", roots, definite, NOT_CANONICAL);
    let two_halves = [&[0x5F][..], &bytes(&ROOT[..16]), &bytes(&ROOT[..16]), &[0xFF]].concat();
    all.add("NONCE", "indefinite-bytes", array(&[two_halves]), definite, "nonce: unexpected type indefinite bytes");
    let two_texts = [&[0x7F][..], &text("ab"), &text("cd"), &[0xFF]].concat();
    all.add(
        "HELLO",
        "indefinite-text",
        with(hello_items(), 3, two_texts),
        definite,
        "software: unexpected type indefinite string",
    );

    let types = "§8.2: arrays, unsigned integers, byte strings, text strings and null, each where its message has it";
    let map = [&[0xA3][..], &filled[1..]].concat();
    all.add("FILLED", "map", map, types, "filled: unexpected type map");
    let tagged = [&[0xD9, 0xD9, 0xF7][..], &filled].concat();
    all.add("FILLED", "tagged", tagged, types, "filled: unexpected type tag");
    let tagged_root = array(&[uint(0), uint(0), [&[0xC2][..], &bytes(&ROOT)].concat()]);
    all.add("FILLED", "bignum-root", tagged_root, types, "root: unexpected type tag");
    let minus_one = array(&[negative(0), uint(0), bytes(&ROOT)]);
    all.add("FILLED", "negative-iteration", minus_one, types, "iteration: unexpected type i8");
    let float = with(plan_items(), 9, vec![0xF9, 0x3C, 0x00]);
    all.add("PLAN", "float-samples", float, types, "samples: unexpected type f16");
    let boolean = array(&[vec![0xF5], uint(0), bytes(&FRESH)]);
    all.add("SALT", "boolean-stage", boolean, types, "stage: unexpected type bool");
    let undefined = array(&[uint(8), vec![0xF7], text("")]);
    all.add("ABORT", "undefined-ordinal", undefined, types, "ordinal: unexpected type undefined");
    let hex_root = array(&[uint(0), uint(0), text(&hex(&ROOT))]);
    all.add("FILLED", "root-as-text", hex_root, types, "root: unexpected type string");
    all.add("READY", "null", null(), types, "ready: unexpected type null");
}

#[rustfmt::skip]
fn hellos(all: &mut Rejects) {
    let mut add = |defect, bytes, rule, error| all.add("HELLO", defect, bytes, rule, error);
    let hello = |at, item| with(hello_items(), at, item);
    let device = |at, item| hello(5, array(&[with(offer_items(0), at, item)]));
    let devices = |ordinals: &[u64]| hello(5, array(&ordinals.iter().map(|&g| offer(g)).collect::<Vec<_>>()));
    let above = 1u64 << 32;

    let five = array(&hello_items()[..5]);
    add("five-items", five, "§8.4.1: HELLO has 6 items", "hello: expected 6..=6 items, got 5");
    let versions = "§8.4.1: 1 to 16 versions";
    add("no-versions", hello(0, array(&[])), versions, "versions: expected 1..=16 items, got 0");
    let seventeen = array(&vec![uint(1); 17]);
    add("17-versions", hello(0, seventeen.clone()), versions, "versions: expected 1..=16 items, got 17");
    let large = array(&[uint(1), uint(above)]);
    add("version-above-u32", hello(0, large.clone()), "§8.4.1: a version is below 2^32", "versions: 4294967296 overflows");
    let suites = "§8.4.1: 1 to 16 suites";
    add("no-suites", hello(1, array(&[])), suites, "suites: expected 1..=16 items, got 0");
    add("17-suites", hello(1, seventeen), suites, "suites: expected 1..=16 items, got 17");
    add("suite-above-u32", hello(1, large), "§8.4.1: a suite is below 2^32", "suites: 4294967296 overflows");
    let identity = "§8.4.1: an identity has 32 bytes";
    add("identity-31-bytes", hello(2, bytes(&[1; 31])), identity, "identity: expected 32 bytes, got 31");
    add("identity-33-bytes", hello(2, bytes(&[1; 33])), identity, "identity: expected 32 bytes, got 33");

    let short = "§8.2: a text has at most 256 bytes";
    let long = "a".repeat(257);
    add("software-257-bytes", hello(3, text(&long)), short, "software: expected at most 256 bytes, got 257");
    let characters = "é".repeat(129);
    add(
        "software-129-characters-258-bytes",
        hello(3, text(&characters)),
        short,
        "software: expected at most 256 bytes, got 258",
    );
    let printable = "§8.2: a text has printable characters alone";
    add("software-newline", hello(3, text("a\nb")), printable, "software: expected printable characters");
    add("software-escape", hello(3, text("\u{1b}[2J")), printable, "software: expected printable characters");
    add("software-delete", hello(3, text("\u{7f}")), printable, "software: expected printable characters");
    add("software-c1-control", hello(3, text("\u{85}")), printable, "software: expected printable characters");
    add("software-soft-hyphen", hello(3, text("\u{AD}")), printable, "software: expected printable characters");
    add("software-turned-around", hello(3, text("\u{202E}")), printable, "software: expected printable characters");
    add("software-line-separator", hello(3, text("\u{2028}")), printable, "software: expected printable characters");
    add("software-tag", hello(3, text("\u{E0041}")), printable, "software: expected printable characters");
    add("software-noncharacter", hello(3, text("\u{1FFFE}")), printable, "software: expected printable characters");
    let invalid = [&[0x62][..], &[0xC3, 0x28]].concat();
    add("software-invalid-utf8", hello(3, invalid), "§8.2: a text is UTF-8", "software: invalid utf-8");
    let surrogate = [&[0x63][..], &[0xED, 0xA0, 0x80]].concat();
    add("software-surrogate", hello(3, surrogate), "§8.2: a text is UTF-8", "software: invalid utf-8");

    let labels = array(&vec![label("a", "b"); 65]);
    let few = "§8.4.1: at most 64 labels";
    add("65-host-labels", hello(4, labels.clone()), few, "host labels: expected 0..=64 items, got 65");
    add("65-device-labels", device(8, labels), few, "device labels: expected 0..=64 items, got 65");
    let triple = array(&[array(&[text("a"), text("b"), text("c")])]);
    add("label-three-items", hello(4, triple), "§8.4.1: a label has 2 items", "label: expected 2..=2 items, got 3");
    let name = array(&[label(&long, "b")]);
    add("label-name-257-bytes", hello(4, name), short, "label name: expected at most 256 bytes, got 257");
    let value = array(&[label("a", "b\0")]);
    add("label-value-nul", device(8, value), printable, "label value: expected printable characters");

    let count = "§8.4.1: 1 to 64 devices";
    add("no-devices", devices(&[]), count, "devices: expected 1..=64 items, got 0");
    let ordinals: Vec<u64> = (0..65).collect();
    add("65-devices", devices(&ordinals), count, "devices: expected 1..=64 items, got 65");
    let order = "§8.4.1: ordinals strictly ascend";
    add("ordinals-descending", devices(&[1, 0]), order, "ordinal: expected strictly ascending");
    add("ordinals-duplicate", devices(&[0, 3, 3]), order, "ordinal: expected strictly ascending");
    let eight = hello(5, array(&[array(&offer_items(0)[..8])]));
    add("device-eight-items", eight, "§8.4.1: a device has 9 items", "device: expected 9..=9 items, got 8");
    add("ordinal-above-u32", device(0, uint(above)), "§8.4.1: an ordinal is below 2^32", "ordinal: 4294967296 overflows");
    add("engine-257-bytes", device(1, text(&long)), short, "engine: expected at most 256 bytes, got 257");
    add("model-257-bytes", device(2, text(&long)), short, "model: expected at most 256 bytes, got 257");
    let unsigned = "§8.4.1: sizes are unsigned integers";
    add("memory-negative", device(3, negative(0)), unsigned, "memory_bytes: unexpected type i8");
    add("available-as-text", device(4, text("1")), unsigned, "available_bytes: unexpected type string");
    add("reserve-null", device(5, null()), unsigned, "reserve_bytes: unexpected type null");
    add("copies-above-u32", device(6, uint(above)), "§8.4.1: copies are below 2^32", "operand_copies: 4294967296 overflows");
    add("rows-above-u32", device(7, uint(above)), "§8.4.1: rows are below 2^32", "operand_rows: 4294967296 overflows");
}

#[rustfmt::skip]
fn plans(all: &mut Rejects) {
    let mut add = |defect, bytes, rule, error| all.add("PLAN", defect, bytes, rule, error);
    let plan = |at, item| with(plan_items(), at, item);
    let devices = |list: &[(u64, u64, u64)]| {
        let list: Vec<Item> = list.iter().map(|&(g, offset, count)| device_plan(g, offset, count)).collect();
        plan(7, array(&list))
    };
    let iterations = |list: &[(u64, u64)]| {
        let list: Vec<Item> = list.iter().map(|&(k, sweeps)| iteration(k, sweeps)).collect();
        plan(8, array(&list))
    };
    let above = 1u64 << 32;

    let ten = array(&plan_items()[..10]);
    add("ten-items", ten, "§8.4.2: PLAN has 11 items", "plan: expected 11..=11 items, got 10");
    add("version-2", plan(0, uint(2)), "§8.4.2: the version is 1", "version: expected 1, got 2");
    add("suite-0", plan(1, uint(0)), "§8.4.2: the suite is 1", "suite: expected 1, got 0");
    let id = "§8.4.2: a session id has 16 bytes";
    add("session-id-15-bytes", plan(2, bytes(&[1; 15])), id, "session_id: expected 16 bytes, got 15");
    add("session-id-17-bytes", plan(2, bytes(&[1; 17])), id, "session_id: expected 16 bytes, got 17");
    let verifier = "§8.4.2: the Verifier's key has 32 bytes";
    add("verifier-31-bytes", plan(3, bytes(&[1; 31])), verifier, "verifier: expected 32 bytes, got 31");
    add("verifier-33-bytes", plan(3, bytes(&[1; 33])), verifier, "verifier: expected 32 bytes, got 33");
    let printable = "§8.2: a text has printable characters alone";
    add("verifier-name-tab", plan(4, text("a\tb")), printable, "verifier_name: expected printable characters");
    let long = text(&"a".repeat(257));
    let short = "§8.2: a text has at most 256 bytes";
    add("verifier-name-257-bytes", plan(4, long.clone()), short, "verifier_name: expected at most 256 bytes");
    add("audience-257-bytes", plan(5, long), short, "audience: expected at most 256 bytes, got 257");

    let n = "§3: matrix_dim is a multiple of 256 within 256..=32768";
    let bad_n = "matrix_dim: expected a multiple of 256 within 256..=32768";
    add("matrix-dim-0", plan(6, uint(0)), n, bad_n);
    add("matrix-dim-128", plan(6, uint(128)), n, bad_n);
    add("matrix-dim-300", plan(6, uint(300)), n, bad_n);
    add("matrix-dim-33024", plan(6, uint(33_024)), n, bad_n);
    add("matrix-dim-above-u32", plan(6, uint(above + 256)), n, "matrix_dim: 4294967552 overflows");

    let count = "§3: 1 to 64 devices";
    add("no-devices", devices(&[]), count, "devices: expected 1..=64 items, got 0");
    let many: Vec<_> = (0..65).map(|g| (g, g, 1)).collect();
    add("65-devices", devices(&many), count, "devices: expected 1..=64 items, got 65");
    let order = "§3: ordinals strictly ascend";
    add("ordinals-descending", devices(&[(1, 0, 1), (0, 1, 1)]), order, "ordinal: expected strictly ascending");
    add("ordinals-duplicate", devices(&[(0, 0, 1), (0, 1, 1)]), order, "ordinal: expected strictly ascending");
    let ordinal = "§8.4.2: an ordinal is below 2^32";
    add("ordinal-above-u32", devices(&[(above, 0, 1)]), ordinal, "ordinal: 4294967296 overflows");
    let contiguous = "§3: matrix offsets are contiguous from 0";
    add("matrix-offset-not-0", devices(&[(0, 1, 1)]), contiguous, "matrix_offset: expected 0, got 1");
    add("matrix-offset-gap", devices(&[(0, 0, 2), (1, 3, 1)]), contiguous, "matrix_offset: expected 2, got 3");
    add("matrix-offset-overlap", devices(&[(0, 0, 2), (1, 1, 1)]), contiguous, "matrix_offset: expected 2, got 1");
    let held = "§3: a device holds 1 matrix or more and at most 2^32 - 1 tiles";
    add("no-matrices", devices(&[(0, 0, 0)]), held, "num_matrices: expected 1 or more");
    let mut tiles = plan_items();
    tiles[6] = uint(32_768);
    tiles[7] = array(&[device_plan(0, 0, 262_144)]);
    add("2-to-32-tiles", array(&tiles), held, "num_matrices: expected 1 or more, at most 2^32 - 1 tiles");
    add("num-matrices-above-u32", devices(&[(0, 0, above)]), held, "num_matrices: 4294967296 overflows");
    let four = plan(7, array(&[array(&[uint(0), uint(0), uint(1), uint(0)])]));
    add("device-four-items", four, "§8.4.2: a device has 3 items", "device plan: expected 3..=3 items, got 4");

    let crossings = "§3: crossings are at least 1 and at most a quarter of the fewest tiles, with two devices or more";
    add("crossings-0", array(&with_rounds(0)), crossings, "crossings: expected 1 or more, or absent, got 0");
    add("crossings-2-of-4-tiles", array(&with_rounds(2)), crossings, "crossings: expected at most 1");
    let mut alone = with_rounds(1);
    alone[7] = array(&[device_plan(0, 0, 4)]);
    add("crossings-of-one-device", array(&alone), crossings, "crossings: expected at most 0");
    let four = plan(8, array(&[array(&[uint(64), uint(1), uint(1), uint(1)])]));
    add("iteration-four-items", four, "§8.4.2: an iteration has 2 or 3 items", "iteration: expected 2..=3 items, got 4");
    let mut many = with_rounds(1);
    many[8] = array(vec![array(&[uint(64), uint(4096), uint(1)]); 16].as_slice());
    add("sum-of-sweeps-and-rounds", array(&many), "§3: at most 65536 sweeps and rounds", "sum of sweeps and rounds: expected at most 65536, got 65552");

    add("no-iterations", iterations(&[]), "§3: 1 iteration or more", "iterations: expected 1..=65536 items, got 0");
    let stated = plan(8, vec![0x9A, 0, 1, 0, 1]);
    add("65537-iterations", stated, "§3: at most 65536 iterations", "iterations: expected 1..=65536 items, got 65537");
    let k = "§3: inner_dim is a multiple of 64 within 64..=65536";
    let bad_k = "inner_dim: expected a multiple of 64 within 64..=65536";
    add("inner-dim-0", iterations(&[(0, 1)]), k, bad_k);
    add("inner-dim-100", iterations(&[(64, 1), (100, 1)]), k, bad_k);
    add("inner-dim-65600", iterations(&[(65_600, 1)]), k, bad_k);
    let sweeps = "§3: an iteration has 1 to 4096 sweeps";
    add("sweeps-0", iterations(&[(64, 0)]), sweeps, "sweeps: expected 1..=4096, got 0");
    add("sweeps-4097", iterations(&[(64, 4097)]), sweeps, "sweeps: expected 1..=4096, got 4097");
    let mut sum = vec![(64, 4096); 16];
    sum.push((64, 1));
    let all_sweeps = "§3: at most 65536 sweeps in all";
    add("65537-sweeps", iterations(&sum), all_sweeps, "sum of sweeps and rounds: expected at most 65536, got 65537");

    let samples = "§3: 1 to 65536 samples";
    add("samples-0", plan(9, uint(0)), samples, "samples: expected 1..=65536, got 0");
    add("samples-65537", plan(9, uint(65_537)), samples, "samples: expected 1..=65536, got 65537");
    let deadline = "§3: a deadline is 1 ms to 366 days";
    for (at, zero, large) in [
        (0, "ready-deadline-0", "ready-deadline-above-366-days"),
        (1, "fill-deadline-0", "fill-deadline-above-366-days"),
        (2, "sweep-deadline-0", "sweep-deadline-above-366-days"),
        (3, "openings-deadline-0", "openings-deadline-above-366-days"),
    ] {
        let deadlines = |ms| plan(10, with(vec![uint(1); 4], at, uint(ms)));
        add(zero, deadlines(0), deadline, "deadline: expected 1 ms to 366 days, got 0");
        add(large, deadlines(31_622_400_001), deadline, "deadline: expected 1 ms to 366 days, got 31622400001");
    }
    let three = plan(10, array(&vec![uint(1); 3]));
    add("three-deadlines", three, "§8.4.2: there are 4 deadlines", "deadlines: expected 4..=4 items, got 3");
}

/// Messages that an Attester sends after HELLO.
#[rustfmt::skip]
fn answers(all: &mut Rejects) {
    let above = uint(1 << 32);
    let filled = |at, item| with(vec![uint(0), uint(0), bytes(&ROOT)], at, item);
    let root = "§8.4: a root has 32 bytes";
    let small = "§8.4: iterations and ordinals are below 2^32";
    all.add("READY", "one-item", array(&[uint(0)]), "§8.4.3: READY has no items", "ready: expected 0..=0 items, got 1");
    all.add("FILLED", "iteration-above-u32", filled(0, above.clone()), small, "iteration: 4294967296 overflows");
    all.add("FILLED", "ordinal-above-u32", filled(1, above.clone()), small, "ordinal: 4294967296 overflows");
    all.add("FILLED", "root-31-bytes", filled(2, bytes(&[1; 31])), root, "root: expected 32 bytes, got 31");
    all.add("FILLED", "root-33-bytes", filled(2, bytes(&[1; 33])), root, "root: expected 32 bytes, got 33");
    let two = array(&[uint(0), uint(0)]);
    all.add("FILLED", "two-items", two, "§8.4.5: FILLED has 3 items", "filled: expected 3..=3 items, got 2");

    let crossed = |at, item| with(vec![uint(0), uint(0), uint(0), bytes(&ROOT)], at, item);
    all.add("CROSSED", "iteration-above-u32", crossed(0, above.clone()), small, "iteration: 4294967296 overflows");
    all.add("CROSSED", "round-63", crossed(1, uint(63)), "§8.4.13: rounds are below 63", "round: expected 0 to 62, got 63");
    all.add("CROSSED", "ordinal-above-u32", crossed(2, above.clone()), small, "ordinal: 4294967296 overflows");
    all.add("CROSSED", "root-31-bytes", crossed(3, bytes(&[1; 31])), root, "root: expected 32 bytes, got 31");
    let three = array(&[uint(0), uint(0), bytes(&ROOT)]);
    all.add("CROSSED", "three-items", three, "§8.4.13: CROSSED has 4 items", "crossed: expected 4..=4 items, got 3");

    let swept = |at, item| with(vec![uint(0), uint(0), array(&[bytes(&ROOT)])], at, item);
    let roots = "§8.4.7: 1 to 4096 roots";
    all.add("SWEPT", "iteration-above-u32", swept(0, above.clone()), small, "iteration: 4294967296 overflows");
    all.add("SWEPT", "ordinal-above-u32", swept(1, above.clone()), small, "ordinal: 4294967296 overflows");
    all.add("SWEPT", "no-roots", swept(2, array(&[])), roots, "roots: expected 1..=4096 items, got 0");
    // The count is refused before any root is read.
    all.add("SWEPT", "4097-roots", swept(2, head(4, 4097)), roots, "roots: expected 1..=4096 items, got 4097");
    let short = array(&[bytes(&ROOT), bytes(&[1; 31])]);
    all.add("SWEPT", "second-root-31-bytes", swept(2, short), root, "root: expected 32 bytes, got 31");
    let joined = bytes(&[1; 64]);
    all.add(
        "SWEPT",
        "roots-as-bytes",
        swept(2, joined),
        "§8.4.7: the roots are an array",
        "roots: unexpected type bytes",
    );

    let mut add = |defect, bytes, rule, error| all.add("OPENINGS", defect, bytes, rule, error);
    let three = "§8.4.9: a sample has three openings";
    let of = |items: &[Item]| openings(&[array(items)], &[]);
    let ends = "§8.4.9: the payload ends in 64 bytes of signature";
    add("shorter-than-a-signature", vec![0x5E; 63], ends, "63 bytes, shorter than a signature");
    let unsigned = array(&[array(&[sample()]), array(&[])]);
    add("unsigned", unsigned, ends, "37 bytes, shorter than a signature");
    let gap = signed([array(&[array(&[sample()]), array(&[])]), vec![0]].concat());
    add(
        "byte-before-the-signature",
        gap,
        "§8.4.9: the signature follows the body",
        "1 bytes after the end of the value",
    );
    let two = of(&[small_opening(1), small_opening(2)]);
    add("two-of-a-sample", two, three, "openings of a sample: expected 3..=3 items, got 2");
    add("four-of-a-sample", of(&vec![small_opening(1); 4]), three, "openings of a sample: expected 3..=3 items, got 4");
    let chunk = "§8.4.9: a chunk has at most 1024 bytes";
    let large = of(&[opening(&[1; 1025], &[]), small_opening(2), small_opening(3)]);
    add("chunk-1025-bytes", large, chunk, "chunk: expected at most 1024 bytes, got 1025");
    let siblings = opening(&[1; 8], &[[1; 32]; 26]);
    let many = of(&[siblings, small_opening(2), small_opening(3)]);
    add("26-siblings", many, "§8.4.9: at most 25 siblings", "siblings: expected 0..=25 items, got 26");
    let sibling = array(&[bytes(&[1; 8]), array(&[bytes(&[1; 31])])]);
    let short = of(&[small_opening(1), sibling, small_opening(3)]);
    add("sibling-31-bytes", short, "§8.4.9: a sibling has 32 bytes", "sibling: expected 32 bytes, got 31");
    let lone = of(&[small_opening(1), array(&[bytes(&[1; 8])]), small_opening(3)]);
    add("without-siblings", lone, "§8.4.9: an opening has 2 items", "opening: expected 2..=2 items, got 1");
    let numbers = array(&[array(&vec![uint(1); 8]), array(&[])]);
    let leaves = of(&[small_opening(1), small_opening(2), numbers]);
    add("chunk-as-numbers", leaves, "§8.4.9: a chunk is a byte string", "chunk: unexpected type array");
    let labels = openings(&[sample()], &vec![label("a", "b"); 65]);
    add("65-labels", labels, "§8.4.9: at most 64 labels", "session labels: expected 0..=64 items, got 65");
    let carried = "§8.4.9: an attestation is 1 to 65536 bytes, and absent where there is none";
    add("attestation-empty", openings_with(bytes(&[])), carried, "attestation: expected at least 1 byte, got 0");
    let long = openings_with(bytes(&[0x7B; 65_537]));
    add("attestation-65537-bytes", long, carried, "attestation: expected at most 65536 bytes, got 65537");
    add("attestation-null", openings_with(vec![0xF6]), carried, "attestation: unexpected type null");
    add("attestation-as-text", openings_with(text("token")), carried, "attestation: unexpected type string");
    let four = signed(array(&[array(&[sample()]), array(&[]), bytes(b"token"), bytes(b"token")]));
    add("four-items", four, "§8.4.9: a body has 2 or 3 items", "openings: expected 2..=3 items, got 4");
    let stated = signed([head(4, 2), head(4, 1 << 32)].concat());
    add("states-2-to-32-samples", stated, "§8.2: a payload is one whole item", "openings of a sample: end of input");

    let abort = |at, item| with(vec![uint(1), uint(0), text("")], at, item);
    let code = "§8.4.11: the code is 1 to 8";
    all.add("ABORT", "code-0", abort(0, uint(0)), code, "code: expected 1..=8, got 0");
    all.add("ABORT", "code-9", abort(0, uint(9)), code, "code: expected 1..=8, got 9");
    all.add("ABORT", "ordinal-above-u32", abort(1, above.clone()), small, "ordinal: 4294967296 overflows");
    all.add(
        "ABORT",
        "ordinal-as-text",
        abort(1, text("0")),
        "§8.4.11: the ordinal is an unsigned integer or null",
        "ordinal: unexpected type string",
    );
    let text_257 = text(&"a".repeat(257));
    let length = "§8.2: a text has at most 256 bytes";
    all.add("ABORT", "message-257-bytes", abort(2, text_257), length, "message: expected at most 256 bytes, got 257");

    let progress = |items: &[Item]| array(&[array(items)]);
    let entry = |at, item| progress(&[with(vec![uint(0); 3], at, item)]);
    let devices = progress(&vec![array(&vec![uint(0); 3]); 65]);
    all.add("PROGRESS", "65-devices", devices, "§8.4.12: at most 64 devices", "devices: expected 0..=64 items, got 65");
    all.add("PROGRESS", "ordinal-above-u32", entry(0, above), small, "ordinal: 4294967296 overflows");
    let unsigned = "§8.4.12: tiles are unsigned integers";
    all.add("PROGRESS", "done-negative", entry(1, negative(0)), unsigned, "done_tiles: unexpected type i8");
    all.add("PROGRESS", "total-null", entry(2, null()), unsigned, "total_tiles: unexpected type null");
    let two = progress(&[array(&vec![uint(0); 2])]);
    all.add(
        "PROGRESS",
        "entry-two-items",
        two,
        "§8.4.12: an entry has 3 items",
        "device progress: expected 3..=3 items, got 2",
    );
}

/// Messages that a Verifier sends after PLAN.
#[rustfmt::skip]
fn verifiers(all: &mut Rejects) {
    let fresh = "§8.4: fresh bytes are 32";
    let nonce_31 = array(&[bytes(&[1; 31])]);
    all.add("NONCE", "31-bytes", nonce_31, fresh, "nonce: expected 32 bytes, got 31");
    let nonce_33 = array(&[bytes(&[1; 33])]);
    all.add("NONCE", "33-bytes", nonce_33, fresh, "nonce: expected 32 bytes, got 33");
    let bare = bytes(&FRESH);
    all.add("NONCE", "not-in-an-array", bare, "§8.4.4: NONCE is an array", "nonce: unexpected type bytes");
    let two = array(&[bytes(&FRESH), bytes(&FRESH)]);
    all.add("NONCE", "two-items", two, "§8.4.4: NONCE has 1 item", "nonce: expected 1..=1 items, got 2");

    let salt = |at, item| with(vec![uint(0), uint(0), bytes(&FRESH)], at, item);
    let stage = "§8.4.6: the stage is 0 (v), 1 (w) or 2 to 64 (a round)";
    all.add("SALT", "stage-65", salt(0, uint(65)), stage, "stage: expected 0 (v), 1 (w) or 2 to 64 (a round), got 65");
    let largest = salt(0, uint(u64::MAX));
    all.add("SALT", "stage-largest", largest, stage, "stage: expected 0 (v), 1 (w) or 2 to 64 (a round), got 18446744073709551615");
    let small = "§8.4: iterations and ordinals are below 2^32";
    all.add("SALT", "iteration-above-u32", salt(1, uint(1 << 32)), small, "iteration: 4294967296 overflows");
    all.add("SALT", "31-bytes", salt(2, bytes(&[1; 31])), fresh, "fresh bytes: expected 32 bytes, got 31");
    all.add("SALT", "33-bytes", salt(2, bytes(&[1; 33])), fresh, "fresh bytes: expected 32 bytes, got 33");

    let seed_31 = array(&[bytes(&[1; 31])]);
    all.add("SAMPLE", "seed-31-bytes", seed_31, fresh, "seed: expected 32 bytes, got 31");
    let list = array(&[array(&[uint(1), uint(2)])]);
    all.add("SAMPLE", "list-of-indices", list, "§8.4.8: SAMPLE carries a seed", "seed: unexpected type array");

    let result = |at, item| with(vec![uint(0), text(""), text("")], at, item);
    let status = "§8.4.10: the status is 0, 1 or 2";
    all.add("RESULT", "status-3", result(0, uint(3)), status, "status: expected 0, 1 or 2, got 3");
    all.add("RESULT", "status-as-text", result(0, text("affirmed")), status, "status: unexpected type string");
    let long = text(&"a".repeat(257));
    let length = "§8.2: a text has at most 256 bytes";
    all.add("RESULT", "reason-257-bytes", result(1, long.clone()), length, "reason: expected at most 256 bytes");
    all.add("RESULT", "message-257-bytes", result(2, long), length, "message: expected at most 256 bytes");
    let bell = text("\u{7}");
    let printable = "§8.2: a text has printable characters alone";
    all.add("RESULT", "message-bell", result(2, bell), printable, "message: expected printable characters");
}

#[rustfmt::skip]
fn frames(all: &mut Rejects) {
    let mut add = |defect, bytes, rule, error| all.add("FRAME", defect, bytes, rule, error);
    let header = "§8.1: a header has 12 bytes";
    add("empty-stream", vec![], header, "header of 0 bytes");
    add("truncated-header", frame(3, 1, &[])[..11].to_vec(), header, "header of 11 bytes");
    let whole = "§8.1: a frame has the payload that its header announces";
    add("truncated-payload", frame(4, 35, &array(&[bytes(&FRESH)])[..34]), whole, "payload of 34 bytes, announced 35");
    add("no-payload", frame(3, 1, &[]), whole, "payload of 0 bytes, announced 1");
    let known = "§8.3: the type is one of the table";
    add("type-0", frame(0, 1, &[0x80]), known, "type 0");
    add("type-13", frame(13, 1, &[0x80]), known, "type 13");
    add("type-127", frame(127, 1, &[0x80]), known, "type 127");
    add("type-129", frame(129, 1, &[0x80]), known, "type 129");
    let big_endian = [&3u32.to_be_bytes()[..], &1u64.to_be_bytes(), &[0x80]].concat();
    add("big-endian-header", big_endian, "§8.1: integers of the header are little-endian", "length 72057594037927936");
    let capped = "§9.2: a payload within its cap; the header alone is enough to refuse it";
    add("oversized-hello", frame(1, (4 << 20) + 1, &[]), capped, "length 4194305 of HELLO, at most 4194304");
    add("oversized-plan", frame(2, (1 << 20) + 1, &[]), capped, "length 1048577 of PLAN, at most 1048576");
    add("oversized-ready", frame(3, (64 << 10) + 1, &[]), capped, "length 65537 of READY, at most 65536");
    add("oversized-result", frame(10, (64 << 10) + 1, &[]), capped, "length 65537 of RESULT, at most 65536");
    add("oversized-progress", frame(0x80, (64 << 10) + 1, &[]), capped, "length 65537 of PROGRESS, at most 65536");
    add("length-2-to-64-minus-1", frame(9, u64::MAX, &[]), capped, "length 18446744073709551615");
}
