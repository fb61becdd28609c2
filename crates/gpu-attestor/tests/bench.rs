//! `gpu-attestor bench` as a user runs it, on the CPU.

use std::process::{Command, Output};

fn gpu_attestor(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gpu-attestor"))
        .args(arguments)
        .output()
        .expect("the command starts")
}

#[test]
fn the_cpu_is_measured_against_its_ceilings() {
    let output = gpu_attestor(&["bench", "--engine", "cpu", "--seconds", "0.5", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "quiet without a terminal: {output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["engine"], "cpu");
    let figures = json["devices"][0]["figures"].as_array().expect("figures");
    let names: Vec<_> = figures.iter().filter_map(|figure| figure["name"].as_str()).collect();
    assert_eq!(
        names,
        ["product", "tile", "tile, B regenerated", "keystream", "pair digests"]
    );
    for figure in figures {
        let value = |name: &str| figure[name].as_f64().expect("a number");
        assert!(value("least") > 0.0, "{figure}");
        assert!(
            value("least") <= value("value") && value("value") <= value("most"),
            "{figure}"
        );
        for ceiling in figure["ceilings"].as_array().expect("ceilings") {
            assert!(ceiling["share"].as_f64().is_some_and(|share| share > 0.0), "{figure}");
        }
    }
}

#[test]
fn a_table_is_printed_for_people() {
    let output = gpu_attestor(&["bench", "--engine", "cpu", "--cpu-path", "portable", "--seconds", "0.1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let table = String::from_utf8(output.stdout).expect("text");
    assert!(table.starts_with("CPU, path portable"), "{table}");
    assert!(table.contains("pair digests"), "{table}");
}

#[test]
fn what_is_not_here_is_an_error_and_never_another_engine() {
    for arguments in [
        &["bench", "--seconds", "0"][..],
        &["bench", "--seconds", "soon"],
        &["bench", "--engine", "cpu", "--cpu-path", "sse9"],
    ] {
        let output = gpu_attestor(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    if engine_cuda::devices().is_err() {
        let output = gpu_attestor(&["bench", "--engine", "cuda"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("CUDA"), "{output:?}");
    }
}
