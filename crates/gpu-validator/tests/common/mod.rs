//! A separate folder, and both commands run in it.

#![allow(dead_code, reason = "not every test binary uses all of it")]

pub(crate) mod schema;
pub(crate) mod x1;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// A separate folder: keys, evidence, challenges.
pub(crate) struct Place(pub(crate) TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Place(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a write");
    }

    /// Reads a text file.
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env("XDG_CONFIG_HOME", self.0.path())
            // This determines the width of help texts.
            .env_remove("COLUMNS");
        command
    }

    pub(crate) fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        self.command(program, arguments).output().expect("the command starts")
    }

    pub(crate) fn attester(&self, arguments: &[&str]) -> Output {
        let output = self.run(attester(), arguments);
        schema::assert_printed("gpu-attestor", arguments, &output);
        output
    }

    pub(crate) fn validator(&self, arguments: &[&str]) -> Output {
        let output = self.run(Path::new(env!("CARGO_BIN_EXE_gpu-validator")), arguments);
        schema::assert_printed("gpu-validator", arguments, &output);
        output
    }
}

/// The Attester's command, built next to this one; Cargo does not guarantee binaries of another package.
pub(crate) fn attester() -> &'static Path {
    static ATTESTER: OnceLock<PathBuf> = OnceLock::new();
    ATTESTER.get_or_init(|| {
        let built = Path::new(env!("CARGO_BIN_EXE_gpu-validator")).with_file_name("gpu-attestor");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--package", "gpu-attestor"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let target = built
            .parent()
            .and_then(Path::parent)
            .expect("target/PROFILE/gpu-validator");
        let status = cargo.arg("--target-dir").arg(target).status().expect("cargo runs");
        assert!(status.success() && built.exists(), "expected {}", built.display());
        built
    })
}

/// Runs a script in which `$A` and `$V` are the commands.
pub(crate) fn script(place: &Place, script: &str) -> Output {
    let (attester, validator) = (attester().display(), env!("CARGO_BIN_EXE_gpu-validator"));
    let script = format!("A={attester} V={validator}; {script}");
    place.run(Path::new("bash"), &["-c", &script])
}

/// The evidence of `spec/vectors/evidence/NAME.json`, made by parties with fixed keys on a simulated clock.
pub(crate) fn vector(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors/evidence");
    let file = fs::read(folder.join(name).with_extension("json")).expect("a vector");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    let hex = file["hex"].as_str().expect("its bytes");
    let bytes = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    bytes.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

/// Compares the output with `tests/snapshots/NAME.snap`.
pub(crate) fn assert_snapshot(name: &str, printed: &str) {
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "../snapshots" }, {
        insta::assert_snapshot!(name, printed);
    });
}

/// The evidence of a real GPU that is kept in the repository.
pub(crate) const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evidence/h200.cbor");

/// The Verifier that recorded it, and the policy that it was recorded with.
pub(crate) const VOUCHED: [&str; 4] = [
    "--policy",
    "h200",
    "--verifier",
    "a71aa6c6b330438745fd6beb7c163869372a22e2f2d2fc9e7b95b715ac30c8f1",
];

/// A policy that asks for a CPU and accepts any rate: the most that a session here can be affirmed for. By default a CPU is
/// not affirmed.
pub(crate) const CPU_POLICY: &str = "name = \"cpu\"\n[device]\nclass = \"cpu\"\nmin_tensor_ops_per_s = 1\n";

/// The key of the testkit's Verifier, whose evidence counts only if that Verifier is named.
pub(crate) const CAST: [&str; 2] = [
    "--verifier",
    "8146640f02493af4fbc54fe33388e75dc2c937ae0b7727cc2b2afb1b75199a3e",
];

/// Options of a session that takes about a second even without optimisation, and that has 256 samples.
pub(crate) const SMALL: [&str; 4] = ["--device-memory", "4MiB", "--cpu-memory", "4MiB"];

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stdout)))
}
