//! Whole sessions of the CUDA engine on substitutes for NVIDIA's libraries (`fake-driver`), and the command's messages
//! when a driver or a GPU fails.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use keystore::SigningKey;
use protocol::bytes::{DeviceOrdinal, Identity, Nonce};
use protocol::cbor::Canonical;
use protocol::challenge::Challenge;
use protocol::evidence::Evidence;
use protocol::frame::MessageType;
use protocol::limits::MAX_LABELS;
use protocol::message::{Abort, AbortCode};
use protocol::plan::{DevicePlan, Plan, PlanFields};
use serde_json::Value;
use verifier::challenge_file::ChallengeFile;
use verifier::preset::Preset;

/// 16 tiles, each leaf of which is sampled: about a second. That certifies nothing, so without a fault it ends with 2.
const TINY: [&str; 3] = ["--few-samples", "--device-memory", "1MiB"];

/// The smallest session that certifies something.
const SMALL: [&str; 2] = ["--device-memory", "4MiB"];

/// Runs `gpu-attestor attest --engine cuda` with these options on substitutes configured by this environment.
fn attest(driver: &Path, environment: &[(&str, &str)], options: &[&str]) -> Output {
    let place = tempfile::tempdir().expect("a folder");
    Command::new(env!("CARGO_BIN_EXE_gpu-attestor"))
        .args(["attest", "--engine", "cuda"])
        .args(options)
        .env("LD_LIBRARY_PATH", fake_driver::library_path(driver))
        .env("XDG_CONFIG_HOME", place.path())
        .envs(environment.iter().copied())
        .output()
        .expect("the command runs")
}

/// The result of a session as JSON.
fn session(driver: &Path, environment: &[(&str, &str)], options: &[&str]) -> (Option<i32>, Value) {
    let output = attest(driver, environment, &[options, &["--json"]].concat());
    let result = serde_json::from_slice(&output.stdout);
    let result = result.unwrap_or_else(|error| panic!("{environment:?}: {error}: {output:?}"));
    (output.status.code(), result)
}

/// A tiny session that ends with this exit code, verdict and reason; returns its message.
fn ends(driver: &Path, environment: &[(&str, &str)], code: i32, verdict: &str, reason: &str) -> String {
    let (actual, result) = session(driver, environment, &TINY);
    let told = (actual, result["verdict"].as_str(), result["reason"].as_str());
    let message = &result["message"];
    assert_eq!(
        told,
        (Some(code), Some(verdict), Some(reason)),
        "{environment:?}: {message}"
    );
    message.as_str().expect("a message").to_owned()
}

/// Standard error of a command that failed before any session.
fn refusal(driver: &Path, environment: &[(&str, &str)]) -> String {
    let output = attest(driver, environment, &TINY);
    assert_eq!(output.status.code(), Some(2), "{environment:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{environment:?}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_session_is_affirmed_on_every_path_and_on_several_devices() {
    let Some(driver) = fake_driver::folder() else { return };
    for (compute_capability, fill_path, devices) in [("75", "dp4a", "1"), ("80", "mma", "1"), ("90", "sm90a", "3")] {
        let environment = [("FC_CC", compute_capability), ("FC_DEVICES", devices)];
        let (code, result) = session(driver, &environment, &SMALL);
        assert_eq!(
            (code, &result["verdict"]),
            (Some(0), &"affirmed".into()),
            "{fill_path}: {}",
            result["message"]
        );
        let attested = result["devices"].as_array().expect("devices");
        assert_eq!(attested.len().to_string(), devices, "{fill_path}");
        for (ordinal, device) in attested.iter().enumerate() {
            let told = (&device["ordinal"], &device["engine"], &device["dataset_bytes"]);
            assert_eq!(
                told,
                (&ordinal.into(), &"cuda".into(), &(4 << 20).into()),
                "{fill_path}"
            );
        }
        let output = Command::new(env!("CARGO_BIN_EXE_gpu-attestor"))
            .arg("devices")
            .env("LD_LIBRARY_PATH", fake_driver::library_path(driver))
            .envs(environment)
            .output()
            .expect("the command runs");
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(told.contains(&format!("fill_path: {fill_path}")), "{told}");
    }
}

/// GPUs that may not read each other's memory answer by copies, and say so.
#[test]
fn rounds_are_affirmed_with_and_without_access_to_other_gpus() {
    let Some(driver) = fake_driver::folder() else { return };
    let place = tempfile::tempdir().expect("a folder");
    let evidence = place.path().join("e.cbor");
    let file = evidence.to_str().expect("a path in UTF-8");
    for (access, told) in [("1", "peer to 1 2"), ("0", "staged to 1 2")] {
        let environment = [("FC_DEVICES", "3"), ("FC_PEER", access)];
        let options = [&SMALL[..], &["--iterations", "4096:8:16,64:8", "--evidence", file]].concat();
        let (code, result) = session(driver, &environment, &options);
        let ended = (code, &result["verdict"]);
        assert_eq!(ended, (Some(0), &"affirmed".into()), "{}", result["message"]);
        assert_eq!(result["fabric"]["pairs"].as_array().map(Vec::len), Some(3));
        let sealed = fs::read(&evidence).expect("the evidence");
        fs::remove_file(&evidence).expect("it is there");
        let session = Evidence::open(&sealed)
            .and_then(|evidence| evidence.replay())
            .expect("evidence");
        let labels = &session.said().expect("opened").labels;
        let label = labels.iter().find(|label| label.name == "device 0 links");
        assert_eq!(label.map(|label| label.value.as_str()), Some(told), "{labels:?}");
    }
}

#[test]
fn a_launch_that_fails_in_a_session_loses_the_device() {
    let Some(driver) = fake_driver::folder() else { return };
    for (status, name) in [
        ("214", "CUDA_ERROR_ECC_UNCORRECTABLE"),
        ("700", "CUDA_ERROR_ILLEGAL_ADDRESS"),
        ("719", "CUDA_ERROR_LAUNCH_FAILED"),
        ("999", "CUDA_ERROR_UNKNOWN"),
    ] {
        // At once, in the known answers; and in the first iteration's sweeps.
        for launch in ["1", "36"] {
            let fault = format!("{launch}:{status}");
            let message = ends(driver, &[("FC_LAUNCH_FAIL", &fault)], 2, "could not run", "device-lost");
            let expected = format!("device 0: device-lost: device lost: cuLaunchKernelEx: {name}");
            assert!(
                message.contains(&expected) && message.contains("GPU-a0a1a2a3-"),
                "{message}"
            );
        }
    }
    // A call that only newer drivers have.
    let message = ends(
        driver,
        &[("FC_LAUNCH_FAIL", "36:921")],
        2,
        "could not run",
        "driver-error",
    );
    assert!(message.contains("cuLaunchKernelEx: status 921"), "{message}");
}

#[test]
fn one_of_several_gpus_is_lost_in_a_session_and_named() {
    let Some(driver) = fake_driver::folder() else { return };
    let environment = [("FC_DEVICES", "3"), ("FC_LAUNCH_FAIL", "36:999:1")];
    let message = ends(driver, &environment, 2, "could not run", "device-lost");
    assert!(
        message.contains("gave up on device 1: ") && message.contains("aaabacadae01)"),
        "{message}"
    );
}

#[test]
fn memory_that_the_driver_does_not_give_is_told_with_figures() {
    let Some(driver) = fake_driver::folder() else { return };
    // Reported as free, but not allocatable.
    let message = ends(driver, &[("FC_ALLOC", "1000000")], 2, "could not run", "out-of-memory");
    let expected = "bytes asked for, 267386880 available, which the driver did not give in one piece";
    assert!(message.contains(expected), "{message}");
    let message = ends(driver, &[("FC_FREE", "20000000")], 2, "could not run", "no-plan");
    assert!(message.contains("device 0 has 0 bytes to fill"), "{message}");
    let message = ends(
        driver,
        &[("FC_BAD", "cuMemHostAlloc:-1:2")],
        2,
        "could not run",
        "driver-error",
    );
    assert!(
        message.contains("cuMemHostAlloc: CUDA_ERROR_OUT_OF_MEMORY"),
        "{message}"
    );
}

#[test]
fn a_driver_or_device_that_fails_at_the_start_is_told_before_a_session() {
    let Some(driver) = fake_driver::folder() else { return };
    for (fault, expected) in [
        (
            ("FC_INIT", "802"),
            "CUDA_ERROR_SYSTEM_NOT_READY, (text of the stand-in); start nvidia-fabricmanager",
        ),
        (("FC_INIT", "999"), "the CUDA driver does not start: CUDA_ERROR_UNKNOWN"),
        (("FC_VERSION", "11080"), "supports CUDA 11.8, expected 12.0 or later"),
        (("FC_COUNT", "999"), "device lost: cuDeviceGetCount"),
        (("FC_DEVICES", "0"), "shows no device"),
        (
            ("FC_BAD", "cuDevicePrimaryCtxRetain:0:214"),
            "device lost: cuDevicePrimaryCtxRetain: CUDA_ERROR_ECC_UNCORRECTABLE",
        ),
        (
            ("FC_BAD", "cuModuleLoadData:0:200"),
            "driver error in cuModuleLoadData(keystream.compute_75.ptx)",
        ),
        (("FC_BAD", "cuMemGetInfo:0:999"), "device lost: cuMemGetInfo"),
        (("FC_CC", "70"), "unsupported"),
    ] {
        let text = refusal(driver, &[fault]);
        assert!(text.contains(expected), "{fault:?}: {text}");
    }
}

#[test]
fn wrong_results_from_the_start_fail_the_known_answers() {
    let Some(driver) = fake_driver::folder() else { return };
    for (kernel, what) in [
        ("keystream", "the dp4a fill gives root"),
        ("key", "the dp4a fill gives root"),
        ("fill_dp4a", "the dp4a fill gives root"),
        ("sweep_load", "the load sweep gives root"),
        ("cross_load", "the load round gives root"),
        ("commit", "the dp4a fill gives root"),
    ] {
        let fault = format!("{kernel}:1");
        let message = ends(driver, &[("FC_FLIP", &fault)], 2, "could not run", "self-test-failed");
        assert!(message.contains(what), "{kernel}: {message}");
    }
}

#[test]
fn wrong_results_in_a_session_are_found() {
    let Some(driver) = fake_driver::folder() else { return };
    // From the first launch after the known answers: two fills, sweeps and rounds, with three keys, and two keystreams, each.
    for fault in ["keystream:5", "key:7", "fill_dp4a:3", "sweep_load:3"] {
        let message = ends(driver, &[("FC_FLIP", fault)], 1, "contraindicated", "tile-mismatch");
        assert!(message.contains("device 0, iteration 0"), "{fault}: {message}");
    }
    // Only in the second iteration, on one of two devices.
    let environment = [("FC_DEVICES", "2"), ("FC_FLIP", "fill_dp4a:4:1")];
    let message = ends(driver, &environment, 1, "contraindicated", "tile-mismatch");
    assert!(message.contains("device 1, iteration 1"), "{message}");
    // The engine itself detects a root that does not match its leaves.
    let message = ends(
        driver,
        &[("FC_FLIP", "commit:7")],
        2,
        "could not run",
        "self-test-failed",
    );
    assert!(message.contains("is not that of its leaves"), "{message}");
}

/// A tiny session that a device delays until this phase's limit; the command ends with it.
fn hangs(driver: &Path, fault: (&str, &str), code: i32, verdict: &str, reason: &str, phase: &str) {
    let limited = [&TINY[..], &["--phase-deadline", "15s"]].concat();
    let (actual, result) = session(driver, &[fault], &limited);
    let told = (actual, result["verdict"].as_str(), result["reason"].as_str());
    let message = result["message"].as_str().expect("a message");
    assert_eq!(told, (Some(code), Some(verdict), Some(reason)), "{message}");
    assert!(
        message.contains(&format!("{phase} took longer than its 15000 ms")),
        "{message}"
    );
}

#[test]
fn a_launch_that_never_ends_is_waited_for_until_the_phase_ends() {
    let Some(driver) = fake_driver::folder() else { return };
    hangs(
        driver,
        ("FC_BAD", "cuEventQuery:-1:600"),
        2,
        "could not run",
        "not-ready",
        "Prepare",
    );
}

#[test]
fn a_call_that_does_not_come_back_is_waited_for_until_the_phase_ends() {
    let Some(driver) = fake_driver::folder() else { return };
    hangs(
        driver,
        ("FC_HANG", "cuLaunchKernelEx:36"),
        1,
        "contraindicated",
        "late",
        "Sweep",
    );
}

/// Runs a command on a driver with this fault, of which each call may take half a second.
fn limited(driver: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    let place = tempfile::tempdir().expect("a folder");
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_gpu-attestor"))
        .args(arguments)
        .args(["--engine", "cuda", "--driver-deadline", "500ms"])
        .env("LD_LIBRARY_PATH", fake_driver::library_path(driver))
        .env("XDG_CONFIG_HOME", place.path())
        .envs(environment.iter().copied())
        .output()
        .expect("the command runs");
    assert!(start.elapsed() < Duration::from_secs(30), "{arguments:?}: {output:?}");
    output
}

/// A challenge in the form in which a Verifier prints it.
fn a_challenge() -> String {
    let key = SigningKey::from_bytes(&[7; 32]);
    let verifier = Identity(key.verifying_key().to_bytes());
    let request = Preset::Smoke.request(verifier);
    let plan = Plan::new(PlanFields {
        session_id: [0; 16],
        verifier,
        verifier_name: String::new(),
        audience: String::new(),
        matrix_dim: 1024,
        devices: vec![DevicePlan {
            ordinal: DeviceOrdinal(0),
            matrix_offset: 0,
            num_matrices: 4,
        }],
        iterations: request.iterations,
        samples: request.samples,
        deadlines: request.deadlines,
    });
    let challenge = Challenge::sign(plan.expect("a plan"), Nonce([0; 32]), 0, u64::MAX, &key);
    ChallengeFile::from(&challenge).to_json()
}

/// Before a session nobody else has a deadline: each call of the driver has one.
#[test]
fn a_driver_that_hangs_at_the_start_is_told_with_the_call_and_the_gpu() {
    let Some(driver) = fake_driver::folder() else { return };
    let place = tempfile::tempdir().expect("a folder");
    let at = |name: &str| place.path().join(name).to_str().expect("a name").to_owned();
    let (challenge, evidence) = (at("c.json"), at("e.cbor"));
    fs::write(&challenge, a_challenge()).expect("a challenge");

    let prove = ["prove", "--challenge", &challenge, "--evidence", &evidence];
    let nowhere = "has not returned within 0.5 s: the driver hangs; see whether nvidia-smi answers";
    let second = "on GPU 1 (GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae01) has not returned within 0.5 s: the driver hangs; look for \
                  NVRM and Xid in the kernel's log (dmesg), reset this GPU, or leave it out with --devices";
    for (hang, expected) in [
        ("cuInit:1", format!("cuInit {nowhere}")),
        (
            "cuDeviceGetName:1:1",
            "cuDeviceGetName on GPU 1 at 0000:1a:00.0 has not".to_owned(),
        ),
        (
            "cuDevicePrimaryCtxRetain:1:1",
            format!("cuDevicePrimaryCtxRetain {second}"),
        ),
        ("cuModuleLoadData:2:1", format!("cuModuleLoadData {second}")),
        ("cuMemGetInfo:1:1", format!("cuMemGetInfo {second}")),
    ] {
        let environment = [("FC_DEVICES", "2"), ("FC_HANG", hang)];
        let mut commands = vec![&["devices"][..]];
        if hang == "cuInit:1" {
            commands.extend([&["attest"][..], &["agent", "--stdio"], &prove, &["bench"]]);
        }
        for arguments in commands {
            let output = limited(driver, &environment, arguments);
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
            assert!(told.contains(&expected), "{arguments:?}, {hang}: {told}");
        }
    }
    // The other GPU works.
    let environment = [("FC_DEVICES", "2"), ("FC_HANG", "cuDevicePrimaryCtxRetain:1:1")];
    let output = limited(driver, &environment, &["devices", "--devices", "0"]);
    assert!(output.status.success(), "{output:?}");
    let output = limited(driver, &environment, &["bench", "--devices", "1", "--json"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let error = figures["failed"][0]["error"].as_str().expect("an error");
    assert!(
        error.starts_with("cuDevicePrimaryCtxRetain on GPU 1 has not"),
        "{error}"
    );
}

/// ABORT in place of HELLO (spec §5.7).
#[test]
fn a_verifier_is_told_that_the_driver_hangs() {
    let Some(driver) = fake_driver::folder() else { return };
    for (hang, code) in [
        ("cuInit:1", AbortCode::DriverError),
        ("cuDevicePrimaryCtxRetain:1", AbortCode::DeviceLost),
    ] {
        let output = limited(driver, &[("FC_HANG", hang)], &["agent", "--stdio"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let frame = transport::read_frame(&mut &output.stdout[..], |_| 4096).expect("a frame");
        assert_eq!(frame.type_number, MessageType::Abort as u32);
        let abort = Abort::from_bytes(&frame.payload).expect("an ABORT");
        assert_eq!((abort.code, abort.device), (code, None));
        let call = hang.trim_end_matches(":1");
        assert!(abort.message.starts_with(call), "{}", abort.message);
    }
}

/// NVML's answers are labels: the devices are offered without them.
#[test]
fn nvml_that_hangs_at_the_start_is_a_label() {
    let Some(driver) = fake_driver::folder() else { return };
    let output = limited(driver, &[("FN_HANG", "Init:1")], &["devices", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let label = &told["devices"][0]["labels"]["without_nvml"];
    assert_eq!(label, "NVML: nvmlInit: no answer within 5 s");
}

/// What NVML reports, or fails to report, are labels: the session is judged by its work.
#[test]
fn a_session_needs_no_nvml() {
    let Some(driver) = fake_driver::folder() else { return };
    for fault in [
        ("FN_INIT", "18"),
        ("FN_BAD", "DeviceGetHandleByUUID:6"),
        (
            "FN_BAD",
            "DeviceGetMemoryInfo:3,DeviceGetPowerUsage:999,DeviceGetEnergy:999,DeviceGetTemperature:15",
        ),
        ("FN_HANG", "DeviceGetPowerUsage:3"),
    ] {
        ends(driver, &[fault], 2, "none", "nothing-certified");
    }
}

/// What NVML reports about a card's health becomes labels, and what it does not report becomes none.
#[test]
fn the_health_of_a_gpu_is_in_its_labels() {
    let Some(driver) = fake_driver::folder() else { return };
    let labels = |environment: &[(&str, &str)]| {
        let output = limited(driver, environment, &["devices", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let labels = told["devices"][0]["labels"].as_object().expect("labels").clone();
        assert!(labels.len() < MAX_LABELS, "none is cut off: {}", labels.len());
        labels
    };
    let healthy = labels(&[]);
    let bad = labels(&[
        ("FN_ECC", "3"),
        (
            "FN_FIELDS",
            "29:5,30:7,31:1,142:2,143:1,144:1,145:1,38:9,52:2,59:1,230:4",
        ),
        ("FN_LINKS", "16"),
        ("FN_PCIE", "8"),
        ("FN_PROCESSES", "2"),
    ]);
    for (name, good, poor) in [
        ("ecc", Some("true"), "true"),
        ("ecc_uncorrected_volatile", Some("0"), "3"),
        ("ecc_uncorrected_aggregate", Some("0"), "0"),
        ("retired_pages_single_bit", None, "5"),
        ("retired_pages_double_bit", None, "7"),
        ("retired_pages_pending", None, "1"),
        ("remapped_rows_correctable", Some("0"), "2"),
        ("remapped_rows_uncorrectable", Some("0"), "1"),
        ("remapped_rows_pending", Some("0"), "1"),
        ("remapped_rows_failed", Some("0"), "1"),
        ("recovery_action", Some("none"), "drain-and-reset"),
        ("pcie_generation", Some("5"), "5"),
        ("pcie_max_generation", Some("5"), "5"),
        ("pcie_width", Some("16"), "8"),
        ("pcie_max_width", Some("16"), "16"),
        ("pcie_replays", Some("0"), "0"),
        ("nvlink_active_links", Some("18"), "16"),
        ("nvlink_down_links", Some("none"), "16 17"),
        ("nvlink_crc_errors", Some("0"), "9"),
        ("nvlink_replays", Some("0"), "2"),
        ("nvlink_recoveries", Some("0"), "1"),
        ("default_power_limit_w", Some("700"), "700"),
        ("processes", Some("0"), "2"),
    ] {
        assert_eq!(healthy.get(name).and_then(Value::as_str), good, "{name}");
        assert_eq!(bad.get(name).and_then(Value::as_str), Some(poor), "{name}");
    }
    let without = labels(&[(
        "FN_BAD",
        "DeviceGetFieldValues:3,DeviceGetTotalEccErrors:3,DeviceGetPcieWidth:3",
    )]);
    for name in ["remapped_rows_pending", "ecc_uncorrected_volatile", "pcie_width"] {
        assert_eq!(without.get(name), None, "{name}");
    }
    assert_eq!(without.get("pcie_max_width").and_then(Value::as_str), Some("16"));
}

/// Two devices with one PCI address, as MIG slices of a card may have, or with one UUID: each does its own work, so the
/// session is affirmed. A policy decides about devices that report the same (`gpu-validator`: `fake_gpus.rs`).
#[test]
fn devices_that_say_they_are_one_are_not_refused() {
    let Some(driver) = fake_driver::folder() else { return };
    for same in ["FC_SAMEPCI", "FC_SAMEUUID"] {
        ends(
            driver,
            &[("FC_DEVICES", "2"), (same, "1")],
            2,
            "none",
            "nothing-certified",
        );
    }
}
