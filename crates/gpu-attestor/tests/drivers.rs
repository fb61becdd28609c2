//! Unusable driver libraries, found before the real one: what `auto` does about each. Most are a few lines of C,
//! compiled here. Linux only: elsewhere libraries have other names.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Output};

/// A library whose `cuInit` returns that status.
fn library(folder: &Path, name: &str, status: u32) -> Option<()> {
    let text = format!(
        "int cuInit(unsigned f) {{ (void)f; return {status}; }}\n\
         int cuGetErrorName(int s, const char **t) {{ (void)s; *t = 0; return 1; }}\n\
         int cuGetErrorString(int s, const char **t) {{ (void)s; *t = 0; return 1; }}\n"
    );
    std::fs::write(folder.join("library.c"), text).expect("a source");
    fake_driver::compile(folder, name, &["library.c"])
}

/// The command with these folders of libraries; `place` is where a key is created on first use.
fn command(folders: &[&Path], place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gpu-attestor"));
    command
        .args(arguments)
        .env("LD_LIBRARY_PATH", std::env::join_paths(folders).expect("folders"))
        .env("XDG_CONFIG_HOME", place);
    command
}

fn gpu_attestor(folders: &[&Path], arguments: &[&str]) -> Output {
    command(folders, folders[0], arguments)
        .env("CUDA_VISIBLE_DEVICES", "GPU-mistyped")
        .output()
        .expect("the command runs")
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A driver that shows no device, or does not initialise, is an error wherever `auto` decides: the CPU's work would be
/// mistaken for that of hidden GPUs.
#[test]
fn a_driver_that_shows_nothing_is_no_cpu() {
    for (status, expected) in [
        (100, "CUDA_VISIBLE_DEVICES (it is \"GPU-mistyped\")"),
        (802, "start nvidia-fabricmanager"),
        (803, "reboot, or give the container the host's library"),
        (999, "does not start: status 999"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(()) = library(folder.path(), "libcuda.so.1", status) else {
            return;
        };
        for command in [
            &["devices"][..],
            &["bench", "--seconds", "1"],
            &["attest"],
            &["devices", "--engine", "cuda"],
        ] {
            let text = refusal(&gpu_attestor(&[folder.path()], command));
            assert!(text.contains(expected), "{status}, {command:?}: {text}");
        }
        let output = gpu_attestor(&[folder.path()], &["devices", "--engine", "cpu"]);
        assert_eq!(output.status.code(), Some(0), "what was asked for: {output:?}");
    }
}

/// The toolkit's folder of stubs is before or after the driver: the driver is queried, and reports no device.
#[test]
fn a_stub_does_not_hide_the_driver() {
    let (stubs, driver) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let made = library(stubs.path(), "libcuda.so", 34).and_then(|()| library(driver.path(), "libcuda.so.1", 100));
    let Some(()) = made else { return };
    for folders in [[stubs.path(), driver.path()], [driver.path(), stubs.path()]] {
        let text = refusal(&gpu_attestor(&folders, &["devices"]));
        assert!(text.contains("shows no device"), "{text}");
    }
}

/// A library that exists is not absent: a stub alone, and a file that is not a library.
#[test]
fn a_library_that_cannot_be_used_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(()) = library(folder.path(), "libcuda.so.1", 34) else {
        return;
    };
    let text = refusal(&gpu_attestor(&[folder.path()], &["devices"]));
    // A host with its own driver finds that under the other name.
    assert!(text.contains("link stub") || text.contains("shows no device"), "{text}");
    std::fs::write(folder.path().join("libcuda.so.1"), "no library").expect("a file");
    let text = refusal(&gpu_attestor(&[folder.path()], &["devices"]));
    assert!(
        text.contains("does not load") || text.contains("shows no device"),
        "{text}"
    );
}

/// One of four GPUs is lost: it is named, and only if it was to be used.
#[test]
fn a_lost_gpu_is_named_and_those_not_chosen_are_asked_nothing() {
    let Some(driver) = fake_driver::folder() else { return };
    let place = tempfile::tempdir().expect("a folder");
    let refused = |arguments: &[&str]| {
        let mut command = command(&[driver], place.path(), arguments);
        // The last one fails at the first query about its memory; none can create a context.
        command.env("FC_DEVICES", "4");
        command.env("FC_BAD", "cuDeviceTotalMem:3:999,cuDevicePrimaryCtxRetain:-1:46");
        refusal(&command.output().expect("the command runs"))
    };
    for all in [&["devices"][..], &["devices", "--devices", "2,3"]] {
        let text = refused(all);
        let expected = "GPU 3 at 0000:1c:00.0: device lost: cuDeviceTotalMem: CUDA_ERROR_UNKNOWN";
        assert!(text.contains(expected), "{text}");
    }
    // The others continue with the next step.
    let failed = "cuDevicePrimaryCtxRetain: CUDA_ERROR_DEVICE_UNAVAILABLE";
    let text = refused(&["devices", "--devices", "0,1"]);
    assert!(text.contains("GPU 0 (GPU-a0a1a2a3-") && text.contains(failed), "{text}");
    let text = refused(&["bench", "--devices", "1", "--seconds", "1"]);
    assert!(text.contains("GPU 1: ") && text.contains(failed), "{text}");
    let text = refused(&["devices", "--devices", "4"]);
    assert!(text.contains("device 4 is not here"), "{text}");
}
