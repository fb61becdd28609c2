//! What `spec/` states about this crate is true: reason codes and their messages, limits, the worked examples, and the
//! tests that the rationale names.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::Value;

use protocol::bytes::{DeviceOrdinal, Root};
use protocol::commitment::OpeningError;
use protocol::frame::MessageType;

use protocol::engine::Pass;
use protocol::limits;
use protocol::message::{Abort, AbortCode};
use protocol::openings::{Digest, OpeningsError, TileMismatch};
use protocol::sampling::Sample;
use protocol::trace::Misplaced;
use protocol::verdict::{Failure, Obstacle, Phase, Verdict};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn spec(name: &str) -> String {
    fs::read_to_string(repository().join("spec").join(name)).expect("the spec is there")
}

const SAMPLE: Sample = Sample {
    device: DeviceOrdinal(1),
    iteration: 0,
    pass: Pass::Sweep(3),
    leaf: 7,
};

/// One verdict of every code.
fn verdicts() -> Vec<Verdict> {
    let opening = |error| {
        Failure::Openings(OpeningsError::Opening {
            sample: SAMPLE,
            digest: Digest::FillA,
            error,
        })
    };
    let oversized = Failure::OversizedMessage {
        type_number: 9,
        length_bytes: 9_000_000,
        limit_bytes: 8_000_000,
    };
    let failures = [
        Failure::Late {
            phase: Phase::Sweep,
            limit_ms: 5000,
        },
        Failure::Premature { phase: Phase::Sweep },
        Failure::UnexpectedMessage {
            expected: MessageType::Filled,
            actual: 7,
        },
        Failure::MalformedMessage {
            message_type: MessageType::Filled,
            problem: "root: expected 32 bytes, got 31".into(),
        },
        oversized.clone(),
        Failure::Flood,
        Failure::Misplaced(Misplaced::Duplicate {
            iteration: 0,
            device: DeviceOrdinal(1),
        }),
        Failure::Misplaced(Misplaced::RootCount {
            device: DeviceOrdinal(1),
            expected: 32,
            actual: 31,
        }),
        Failure::Misplaced(Misplaced::UnknownDevice(DeviceOrdinal(9))),
        Failure::Openings(OpeningsError::Count {
            expected: 1024,
            actual: 1023,
        }),
        opening(OpeningError::ChunkLength {
            expected: 1024,
            actual: 1016,
        }),
        opening(OpeningError::Root {
            expected: Root([0; 32]),
            actual: Root([1; 32]),
        }),
        Failure::Signature,
        Failure::Tile(TileMismatch {
            sample: SAMPLE,
            digest: Digest::Pair,
            expected: 1,
            actual: 2,
        }),
        Failure::Unopened("the connection ended".into()),
    ];
    let aborted = |code| Obstacle::Aborted {
        abort: Abort {
            code,
            device: Some(DeviceOrdinal(1)),
            message: "text of ABORT".into(),
        },
        after_nonce: false,
    };
    let obstacles = [
        Obstacle::Late {
            phase: Phase::Prepare,
            limit_ms: 60_000,
        },
        Obstacle::NoCommonVersion {
            ours: 1,
            suite: 1,
            versions: vec![2],
            suites: vec![1],
        },
        Obstacle::NoPlan("device 4 was asked for; offered are 0, 1".into()),
        Obstacle::Disconnected {
            phase: Phase::Fill,
            detail: None,
            after_nonce: true,
        },
        Obstacle::NotThisProtocol(Box::new(oversized)),
        Obstacle::Stopped,
    ];
    let aborts = AbortCode::ALL.map(aborted);
    failures
        .map(Verdict::Contraindicated)
        .into_iter()
        .chain(obstacles.into_iter().chain(aborts).map(Verdict::CouldNotRun))
        .chain([Verdict::Affirmed])
        .collect()
}

#[test]
fn every_reason_is_in_the_spec_with_its_message() {
    let text = spec("protocol.md");
    let missing: Vec<String> = (verdicts().iter())
        .filter(|verdict| !verdict.code().is_empty())
        .map(|verdict| {
            // Roots are abbreviated in the table.
            let message = ["0", "1"].iter().fold(verdict.message(), |message, digit| {
                let root = format!("0{digit}").repeat(32);
                message.replace(&root, &format!("{}…", &root[..4]))
            });
            format!("| `{}` | {} | {} |", verdict.code(), verdict.status(), message)
        })
        .filter(|row| !text.contains(row))
        .collect();
    assert!(
        missing.is_empty(),
        "spec/protocol.md lacks the rows\n{}",
        missing.join("\n")
    );
}

/// The guide explains each reason in the section of its status, with a cause and a remedy.
#[test]
fn every_reason_is_in_the_guide_with_a_remedy() {
    let text = spec("../docs/guide/reasons.md");
    let section = |title: &str| {
        let rest = text.split(&format!("\n## {title}\n")).nth(1).expect("a section");
        rest.split("\n#").next().unwrap_or(rest)
    };
    let sections = [section("Contraindicated"), section("Could not run")];
    for verdict in verdicts().iter().filter(|verdict| !verdict.code().is_empty()) {
        let (code, own) = (verdict.code(), sections[verdict.status() as usize - 1]);
        let start = format!("| `{code}` | ");
        let row = own.lines().find_map(|line| line.strip_prefix(&start));
        let cells: Vec<&str> = row.map_or(Vec::new(), |row| row.trim_end_matches(" |").split(" | ").collect());
        assert!(
            cells.len() == 2 && cells.iter().all(|cell| !cell.is_empty()),
            "docs/guide/reasons.md: {code}: {cells:?}"
        );
    }
    let flood = format!(
        "| `flood` | more than {} PROGRESS frames | ",
        limits::MAX_PROGRESS_FRAMES
    );
    assert!(text.contains(&flood), "docs/guide/reasons.md lacks {flood:?}");
}

#[test]
fn every_limit_is_in_the_spec_with_its_value() {
    let range = |range: &RangeInclusive<u32>, step| format!("{}..={}, step {step}", range.start(), range.end());
    let rows = [
        (
            "protocol version, suite",
            format!("{}, {}", limits::VERSION, limits::SUITE),
        ),
        ("rows and columns of a tile", limits::TILE_SIDE.to_string()),
        ("bytes of a tile", limits::TILE_BYTES.to_string()),
        ("words of a tile, words of a key", limits::TILE_WORDS.to_string()),
        (
            "matrix_dim",
            range(&limits::MATRIX_DIM_RANGE, limits::TILE_SIDE.to_string()),
        ),
        (
            "inner_dim",
            range(&limits::INNER_DIM_RANGE, limits::INNER_DIM_STEP.to_string()),
        ),
        ("devices of a plan or HELLO", limits::MAX_DEVICES.to_string()),
        ("sweeps of an iteration", limits::MAX_SWEEPS_PER_ITERATION.to_string()),
        ("sweeps and rounds of a plan", limits::MAX_SWEEPS.to_string()),
        ("rounds of an iteration", limits::MAX_ROUNDS.to_string()),
        ("samples per device and group", limits::MAX_SAMPLES.to_string()),
        (
            "fewest effective samples for a bound",
            limits::MIN_SAMPLES_FOR_BOUND.to_string(),
        ),
        (
            "smallest inner_dim for V and B",
            limits::MIN_INNER_DIM_FOR_MEMORY.to_string(),
        ),
        ("leaves in a chunk", limits::LEAVES_PER_CHUNK.to_string()),
        ("bytes of a text", limits::MAX_TEXT_BYTES.to_string()),
        ("labels of a host, device or session", limits::MAX_LABELS.to_string()),
        ("bytes of an attestation", limits::MAX_ATTESTATION_BYTES.to_string()),
        (
            "bytes of text before the first frame",
            limits::MAX_GREETING_BYTES.to_string(),
        ),
        ("PROGRESS frames of a session", limits::MAX_PROGRESS_FRAMES.to_string()),
        ("records of evidence", limits::MAX_RECORDS.to_string()),
        (
            "Verifier, before it has sent PLAN | the first HELLO",
            limits::MAX_HELLO_BYTES.to_string(),
        ),
        ("Attester | PLAN", limits::MAX_PLAN_BYTES.to_string()),
        (
            "both | everything else, unknown types too",
            limits::MAX_SMALL_BYTES.to_string(),
        ),
    ];
    let text = spec("protocol.md");
    for (limit, value) in rows {
        let row = format!("| {limit} | {value} |");
        assert!(text.contains(&row), "spec/protocol.md lacks {row:?}");
    }
}

#[test]
fn every_message_type_is_in_the_spec_with_its_number() {
    let text = spec("protocol.md");
    for kind in MessageType::ALL {
        let row = format!("| {} | {} | ", kind as u32, kind.name());
        assert!(text.contains(&row), "spec/protocol.md lacks {row:?}");
    }
    for code in AbortCode::ALL {
        let row = format!("| {} | `{}` | ", code as u32, code.name());
        assert!(text.contains(&row), "spec/protocol.md lacks {row:?}");
    }
}

#[test]
fn worked_examples_are_the_vectors() {
    let text = spec("protocol.md");
    let section = text
        .split("### 8.5 ")
        .nth(1)
        .and_then(|rest| rest.split("### 8.6 ").next());
    let examples: Vec<&str> = section
        .expect("section 8.5")
        .split("](vectors/accept/")
        .skip(1)
        .collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let (file, rest) = example.split_once(')').expect("a link");
        // The hexadecimal words of each indented line, before the explanation.
        let written: String = (rest.lines().filter_map(|line| line.strip_prefix("    ")))
            .flat_map(|line| line.split_whitespace().take_while(|word| is_hex(word)))
            .collect();
        let vector: Value = serde_json::from_str(&spec(&format!("vectors/accept/{file}"))).expect("JSON");
        assert_eq!(vector["hex"], written, "{file}");
    }
}

fn is_hex(word: &str) -> bool {
    word.len().is_multiple_of(2) && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[test]
fn every_test_that_the_rationale_and_the_threat_table_name_exists() {
    let text = spec("rationale.md") + &spec("../docs/threat-model.md");
    let named: Vec<(&str, &str)> = (text.split('`').skip(1).step_by(2))
        .filter_map(|code| code.split_once(": "))
        .collect();
    assert!(named.len() > 20, "{named:?}");
    for (name, test) in named {
        let mut sources = Vec::new();
        read_sources(&repository().join("crates").join(name), &mut sources);
        assert!(
            sources.iter().any(|source| is_test(source, test)),
            "crate {name} has no test {test}"
        );
    }
}

/// Whether `source` has a test of this name: a function under `#[test]`, or a row of testkit's table of attacks.
fn is_test(source: &str, name: &str) -> bool {
    let (function, row) = (format!("fn {name}("), format!("fn {name}(): \""));
    let (mut is_marked, mut in_table) = (false, false);
    for line in source.lines() {
        let code = line.trim_start();
        if (is_marked && code.starts_with(&function)) || (in_table && code.starts_with(&row)) {
            return true;
        }
        in_table = code == "attacks! {" || (in_table && line != "}");
        is_marked = code == "#[test]" || (is_marked && (code.starts_with("#[") || code.starts_with("//")));
    }
    false
}

#[test]
fn a_helper_is_no_test() {
    let source =
        "fn helper() {}\n#[test]\n/// Says.\nfn real() {}\nattacks! {\n    fn row(): \"\", v => v;\n}\nfn late(): \"\"";
    for (name, expected) in [
        ("helper", false),
        ("real", true),
        ("row", true),
        ("late", false),
        ("absent", false),
    ] {
        assert_eq!(is_test(source, name), expected, "{name}");
    }
}

#[test]
fn every_attack_names_a_test() {
    let text = spec("rationale.md");
    let attacks = text.split("## 3 Attacks").nth(1).expect("section 3");
    for entry in attacks.split("\n- ").skip(1) {
        let entry = entry.split("\n\n").next().unwrap_or(entry);
        let answer = entry.split("→ ").nth(1).unwrap_or_default();
        assert!(answer.starts_with('`'), "{entry}");
    }
}

#[test]
fn lines_of_the_spec_are_at_most_130_characters() {
    for name in ["protocol.md", "rationale.md", "../docs/threat-model.md"] {
        for (i, line) in spec(name).lines().enumerate() {
            assert!(line.chars().count() <= 130, "spec/{name}:{}", i + 1);
        }
    }
}

/// The Rust sources below `folder`.
fn read_sources(folder: &Path, sources: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            read_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(fs::read_to_string(&path).expect("a text file"));
        }
    }
}
