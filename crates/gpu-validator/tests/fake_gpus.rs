//! Evidence of GPUs verified on a CPU and on GPUs, both of them substitutes for NVIDIA's libraries (`fake-driver`), and the
//! command's messages if a GPU that recomputes fails.
#![cfg(target_os = "linux")]

mod common;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use common::{Place, attester, code, json, text};

/// A command on substitutes configured by this environment. They have memory for single tiles.
fn on_fake_gpus(place: &Place, program: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Option<Output> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(place.0.path())
        .env("XDG_CONFIG_HOME", place.0.path())
        .env("LD_LIBRARY_PATH", fake_driver::library_path(fake_driver::folder()?))
        .env("FC_MEM", (3_u64 << 29).to_string())
        .envs(environment.iter().copied())
        .output();
    Some(output.expect("the command starts"))
}

/// A place with the evidence of one emulated GPU, which certifies something; created once.
fn place() -> Option<&'static Place> {
    static PLACE: OnceLock<Option<Place>> = OnceLock::new();
    PLACE
        .get_or_init(|| {
            let place = Place::new();
            let attest = [
                "attest",
                "--engine",
                "cuda",
                "--device-memory",
                "4MiB",
                "--evidence",
                "e.cbor",
            ];
            let output = on_fake_gpus(&place, attester(), &[], &attest)?;
            assert_eq!(code(&output), 0, "{output:?}");
            Some(place)
        })
        .as_ref()
}

/// `gpu-validator verify e.cbor --json` with these options.
fn verify(environment: &[(&str, &str)], options: &[&str]) -> Option<Output> {
    let validator = Path::new(env!("CARGO_BIN_EXE_gpu-validator"));
    let arguments = [&["verify", "e.cbor", "--json"], options].concat();
    on_fake_gpus(place()?, validator, environment, &arguments)
}

#[test]
fn samples_agree_on_the_cpu_and_on_gpus() {
    for (gpus, options, expected) in [
        ("1", &[][..], ""),
        ("1", &["--engine", "cuda"], "engine: cuda, 1 GPU"),
        ("2", &["--engine", "auto"], "engine: cuda, 2 GPUs"),
    ] {
        let Some(output) = verify(&[("FC_DEVICES", gpus)], options) else {
            return;
        };
        assert_eq!(code(&output), 0, "{options:?}: {output:?}");
        let result = json(&output);
        assert_eq!(
            (&result["verdict"], &result["samples_checked"]),
            (&"affirmed".into(), &320.into())
        );
        assert!(text(&output.stderr).contains(expected), "{options:?}: {output:?}");
    }
}

/// A GPU that sweeps wrongly, or fails the known answers, causes no accusation: the CPU beside it repeats the work.
#[test]
fn all_of_it_again_agrees_with_gpus_that_fail_too() {
    for fault in [("FC_CC", "75"), ("FC_FLIP", "sweep_load:3"), ("FC_FLIP", "commit:1")] {
        let options = ["--engine", "cuda", "--full"];
        let Some(output) = verify(&[fault], &options) else {
            return;
        };
        assert_eq!(code(&output), 0, "{fault:?}: {output:?}");
        let again = &json(&output)["full_reexecution"];
        assert_eq!(
            (&again["agrees"], &again["jobs_done"]),
            (&true.into(), &2.into()),
            "{fault:?}: {again}"
        );
    }
}

/// No verdict, and a reason that names the GPU: the evidence is never blamed.
#[test]
fn gpus_that_cannot_recompute_are_no_verdict() {
    for (fault, expected) in [
        (("FC_INIT", "802"), "start nvidia-fabricmanager"),
        (
            ("FC_MEM", "268435456"),
            "GPU 0 (GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00): out of memory: 1082266656 bytes asked for",
        ),
        (
            ("FC_LAUNCH_FAIL", "1:719"),
            "GPU 0 (GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00): device lost: cuLaunchKernelEx: CUDA_ERROR_LAUNCH_FAILED",
        ),
        (
            ("FC_LAUNCH_FAIL", "6:214"),
            "device lost: cuLaunchKernelEx: CUDA_ERROR_ECC_UNCORRECTABLE",
        ),
        (
            ("FC_FLIP", "fill_dp4a:1"),
            "GPU 0 (GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00): self-test failed: single tiles on the dp4a path",
        ),
        (
            ("FC_FLIP", "keystream_rows:1"),
            "GPU 0 (GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00): self-test failed: single tiles on the dp4a path",
        ),
        // After the known tiles, which are three launches.
        (
            ("FC_FLIP", "fill_dp4a:4"),
            "GPU 0 (GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00) computes wrongly: it gives another tile than the CPU for the tile of matrix ",
        ),
    ] {
        let Some(output) = verify(&[fault], &["--engine", "cuda"]) else {
            return;
        };
        assert_eq!(code(&output), 2, "{fault:?}: {output:?}");
        // A failure, and no verdict.
        assert_eq!(json(&output)["error"]["code"], "failed", "{fault:?}: {output:?}");
        let told = text(&output.stderr);
        assert!(told.contains(expected), "{fault:?}: {output:?}");
        assert!(!told.contains("TileCoordinate"), "{told}");
    }
}

/// Devices that report one UUID, or one PCI address, are a finding that warns; slices of a card may report one address.
#[test]
fn devices_that_say_they_are_one_are_a_warning() {
    for (same, label) in [
        ("FC_SAMEUUID", "uuid GPU-a0a1a2a3-"),
        ("FC_SAMEPCI", "pci_bus_id 0000:19:00.0"),
    ] {
        let place = Place::new();
        let attest = [
            "attest",
            "--engine",
            "cuda",
            "--few-samples",
            "--device-memory",
            "1MiB",
            "--evidence",
            "two.cbor",
        ];
        let Some(output) = on_fake_gpus(&place, attester(), &[("FC_DEVICES", "2"), (same, "1")], &attest) else {
            return;
        };
        assert_eq!(code(&output), 2, "too few samples to certify anything: {output:?}");
        let report = json(&place.validator(&["report", "two.cbor", "--format", "json"]));
        let findings = report["findings"].as_array().expect("findings");
        let found = findings.iter().find(|finding| finding["kind"] == "duplicate-device");
        let found = found.unwrap_or_else(|| panic!("{same}: {findings:?}"));
        assert_eq!(found["effect"], "warn", "{same}: {found}");
        assert!(found.to_string().contains(label), "{same}: {found}");
    }
}

/// What a GPU reports about its health is in the report, with its figures; it changes no other finding.
#[test]
fn bad_health_of_a_gpu_is_told_and_good_health_is_not() {
    let kinds = [
        (
            "memory-errors",
            "warn",
            "uncorrected errors since the driver was loaded: 3",
        ),
        ("memory-repair", "warn", "could not be remapped; a row of memory waits"),
        ("recovery-needed", "warn", "the driver asks for gpu-reset"),
        ("ecc-off", "note", "error correction is off"),
        ("pcie-degraded", "note", "width 8, 16 possible"),
        ("nvlink-degraded", "note", "replays: 2"),
        ("other-processes", "note", "processes on it before the session: 2"),
        ("power-capped", "note", "500 W, 700 W by default"),
    ];
    let bad = [
        ("FN_ECC", "3"),
        ("FN_ECC_OFF", "1"),
        // Rows that wait to be remapped or could not be, the driver's recovery action, and replays of NVLink.
        ("FN_FIELDS", "144:1,145:1,230:1,52:2"),
        ("FN_LINKS", "16:1"),
        ("FN_LIMIT", "500000"),
        ("FN_PCIE", "8"),
        ("FN_PROCESSES", "2"),
    ];
    for (is_bad, faults) in [(false, &[][..]), (true, &bad)] {
        let place = Place::new();
        let attest = [
            "attest",
            "--engine",
            "cuda",
            "--few-samples",
            "--device-memory",
            "1MiB",
            "--evidence",
            "e.cbor",
        ];
        let environment = [&[("FC_DEVICES", "2")], faults].concat();
        let Some(output) = on_fake_gpus(&place, attester(), &environment, &attest) else {
            return;
        };
        assert_eq!(code(&output), 2, "too few samples to certify anything: {output:?}");
        let report = json(&place.validator(&["report", "e.cbor", "--format", "json"]));
        let findings = report["devices"][0]["findings"].as_array().expect("findings");
        for (kind, effect, detail) in kinds {
            let found = findings.iter().find(|finding| finding["kind"] == kind);
            assert_eq!(found.is_some(), is_bad, "{kind}: {findings:?}");
            let Some(found) = found else { continue };
            assert_eq!(found["effect"], effect, "{found}");
            assert!(found["detail"].to_string().contains(detail), "{found}");
            assert!(!found["remedy"].to_string().is_empty(), "{found}");
        }
        let host = report["findings"].to_string();
        let fewer = "16 links are up, 18 on another device of its model";
        assert_eq!(host.contains(fewer), is_bad, "{host}");
    }
}
