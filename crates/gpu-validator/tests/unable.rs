//! A host that cannot begin: the Verifier is told why, and a thread that the system does not give is an error and no panic.
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use common::{Place, SMALL, attester, code, json, text};

/// No thread has room for a stack of this size: all are refused, as where the limit of processes is reached.
const NO_THREADS: (&str, &str) = ("RUST_MIN_STACK", "1152921504606846976");

/// A session with an agent that is started with these variables and options.
fn attest(place: &Place, environment: &[&str], options: &[&str]) -> Output {
    let agent = attester().to_str().expect("a path in UTF-8");
    let command = [&["--json", "--", "env"], environment, &[agent], options].concat();
    place.validator(&[&["attest"], &SMALL_PLAN[..], &command].concat())
}

/// What of [`SMALL`] the Verifier's command takes.
const SMALL_PLAN: [&str; 2] = ["--device-memory", "4MiB"];

const AGENT: [&str; 4] = ["agent", "--stdio", "--engine", "cpu"];

/// The session could not run for this reason; its message.
fn refused(output: &Output, reason: &str) -> String {
    assert_eq!(code(output), 2, "{}", text(&output.stderr));
    let result = json(output);
    let message = result["message"].as_str().expect("a message").to_owned();
    assert_eq!(
        (&result["verdict"], &result["reason"]),
        (&"could not run".into(), &reason.into()),
        "{message}"
    );
    message
}

#[test]
fn the_verifier_is_told_why_an_agent_does_not_begin() {
    let place = Place::new();
    place.put("key.pem", "no key");
    fs::set_permissions(place.path("key.pem"), fs::Permissions::from_mode(0o644)).expect("chmod");
    let key = place.path("key.pem");
    let options = [&AGENT[..], &["--key", key.to_str().expect("UTF-8")]].concat();
    let message = refused(&attest(&place, &[], &options), "internal");
    assert!(
        message.contains("the Attester gave up") && message.contains("has mode 0644; expected 0600"),
        "{message}"
    );
    let options = [&AGENT[..], &["--devices", "7"]].concat();
    let message = refused(&attest(&place, &[], &options), "internal");
    assert!(message.contains("device 7 is not here"), "{message}");
}

#[test]
fn the_verifier_is_told_of_a_driver_that_does_not_start() {
    let Some(driver) = fake_driver::folder() else { return };
    let place = Place::new();
    let path = fake_driver::library_path(driver).into_string().expect("UTF-8");
    let path = format!("LD_LIBRARY_PATH={path}");
    for (fault, reason, expected) in [
        ("FC_INIT=802", "driver-error", "CUDA_ERROR_SYSTEM_NOT_READY"),
        ("FC_DEVICES=0", "internal", "shows no device"),
        (
            "FC_BAD=cuDevicePrimaryCtxRetain:0:214",
            "device-lost",
            "GPU 0 (GPU-a0a1a2a3-",
        ),
    ] {
        let output = attest(&place, &[&path, fault], &["agent", "--stdio"]);
        let message = refused(&output, reason);
        assert!(message.contains(expected), "{fault}: {message}");
    }
}

fn is_no_panic(output: &Output) {
    let told = text(&output.stderr);
    assert_eq!(code(output), 2, "{told}");
    assert!(!told.contains("panicked"), "{told}");
}

#[test]
fn threads_that_the_system_does_not_give_are_an_error() {
    let place = Place::new();
    let (name, value) = NO_THREADS;
    // The agent has none.
    let output = attest(&place, &[&format!("{name}={value}")], &AGENT);
    is_no_panic(&output);
    let message = refused(&output, "internal");
    assert!(
        message.contains("no resources for a session") && message.contains("ulimit -u"),
        "{message}"
    );
    // The Verifier has none.
    let whole = [&["attest"], &SMALL[..]].concat();
    let verifier = Path::new(env!("CARGO_BIN_EXE_gpu-validator"));
    let agent = attester().to_str().expect("a path in UTF-8");
    let attest = [&["attest", "--", agent], &AGENT[..]].concat();
    for (program, arguments) in [(attester(), whole), (verifier, attest)] {
        let output = place
            .command(program, &arguments)
            .env(name, value)
            .output()
            .expect("the command starts");
        is_no_panic(&output);
        assert!(text(&output.stderr).contains("no thread"), "{}", text(&output.stderr));
    }
}

/// Verifying does without them: this thread does all the work.
#[test]
fn verifying_does_without_threads() {
    let place = Place::new();
    let attested = place.attester(&[&["attest", "--evidence", "e.cbor", "--json"], &SMALL[..]].concat());
    assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
    for options in [
        &["verify", "e.cbor", "--json"][..],
        &["verify", "e.cbor", "--json", "--full"],
    ] {
        let output = place
            .command(Path::new(env!("CARGO_BIN_EXE_gpu-validator")), options)
            .env(NO_THREADS.0, NO_THREADS.1)
            .output()
            .expect("the command starts");
        let told = text(&output.stderr);
        assert!(!told.contains("panicked"), "{told}");
        assert_eq!(json(&output)["certified"], json(&attested)["certified"], "{told}");
    }
}
