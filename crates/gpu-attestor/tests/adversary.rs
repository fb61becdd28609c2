//! `gpu-attestor adversary` as a user runs it: a Verifier in a separate process against each adversary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use testkit::adversary::{ADVERSARIES, End};

const ATTESTER: &str = env!("CARGO_BIN_EXE_gpu-attestor");

fn attester(arguments: &[&str]) -> Output {
    let output = Command::new(ATTESTER).arg("adversary").args(arguments).output();
    output.expect("the command starts")
}

/// The Verifier's command, built next to this one; Cargo does not guarantee binaries of another package.
fn validator() -> &'static Path {
    static VALIDATOR: OnceLock<PathBuf> = OnceLock::new();
    VALIDATOR.get_or_init(|| {
        let beside = Path::new(ATTESTER).with_file_name("gpu-validator");
        let target = beside.parent().and_then(Path::parent).expect("target/PROFILE");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--package", "gpu-validator"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let status = cargo.arg("--target-dir").arg(target).status().expect("cargo runs");
        assert!(status.success() && beside.exists(), "expected {}", beside.display());
        beside
    })
}

/// A session of 1 MiB with an adversary: the Verifier's exit code and its result.
fn attested(adversary: &[&str]) -> (Option<i32>, Value) {
    let keys = tempfile::tempdir().expect("a folder");
    let output = Command::new(validator())
        .args(["attest", "--device-memory", "4MiB", "--json", "--"])
        .args([ATTESTER, "adversary", "--engine", "cpu", "--cpu-memory", "4MiB"])
        .args(adversary)
        .env("XDG_CONFIG_HOME", keys.path())
        .output()
        .expect("the command starts");
    let result = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), result)
}

#[test]
fn the_list_names_every_adversary() {
    let output = attester(&["list"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let list = String::from_utf8(output.stdout).expect("text");
    let named: Vec<_> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let expected: Vec<_> = ADVERSARIES.iter().map(|adversary| adversary.name).collect();
    assert_eq!(named, expected);
}

#[test]
fn a_verifier_ends_every_adversary_as_it_must() {
    for adversary in ADVERSARIES {
        let ends = match adversary.ends {
            // The first device has the matrices from 0 on in any case.
            End::Caught if adversary.name == "twin" => End::Affirmed,
            // A preset's deadlines are minutes: testkit tests it with a shorter one.
            End::Late => continue,
            ends => ends,
        };
        // A quarter of the work, so that samples do not miss it.
        let (code, result) = attested(&[adversary.name, "--fraction", "0.25"]);
        let (expected, verdict) = match ends {
            End::Affirmed => (0, "affirmed"),
            End::Caught | End::Late => (1, "contraindicated"),
        };
        assert_eq!(code, Some(expected), "{}: {result}", adversary.name);
        assert_eq!(result["verdict"], verdict, "{}", adversary.name);
    }
    let (code, result) = attested(&["twin", "--cpu-devices", "2"]);
    assert_eq!(
        (code, &result["verdict"]),
        (Some(1), &"contraindicated".into()),
        "{result}"
    );
}

/// Nothing omitted: the layer between the Verifier and the engine changes no byte.
#[test]
fn an_adversary_that_leaves_nothing_out_is_affirmed() {
    let (code, result) = attested(&["junk-fill", "--fraction", "0"]);
    assert_eq!((code, &result["verdict"]), (Some(0), &"affirmed".into()), "{result}");
}

/// The Verifier's side leaves at once: what the command says before is enough.
#[test]
fn one_device_is_no_plural() {
    for (devices, said) in [("1", "; 1 device, engine: cpu"), ("2", "; 2 devices, engine: cpu")] {
        let output = attester(&[
            "--engine",
            "cpu",
            "--cpu-memory",
            "4MiB",
            "--cpu-devices",
            devices,
            "opening-altered",
        ]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(said), "{said:?}: {error}");
    }
}

#[test]
fn what_is_no_adversary_is_a_usage_error() {
    for arguments in [
        &[][..],
        &["honest"],
        &["junk-fill", "--fraction", "1.5"],
        &["junk-fill", "--fraction", "some"],
        &["junk-fill", "list"],
    ] {
        let output = attester(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

/// The table is printed without a GPU too, and every row states why it has no figures.
#[test]
fn attacks_that_want_a_gpu_say_so_without_one() {
    if engine_cuda::devices().is_ok() {
        println!("SKIPPED: there is a GPU here");
        return;
    }
    let output = attester(&["gpu"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let table = String::from_utf8(output.stdout).expect("text");
    for attack in engine_cuda::attack::Attack::ALL {
        let row = table.lines().find(|line| line.split(' ').next() == Some(attack.name()));
        assert!(row.is_some_and(|row| row.contains("CUDA driver")), "{attack}: {table}");
    }
    let output = attester(&["gpu", "--json"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = json["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), engine_cuda::attack::Attack::ALL.len());
    assert!(
        rows.iter()
            .all(|row| row["figures"].is_null() && row["not_run"].is_string()),
        "{json}"
    );
}
