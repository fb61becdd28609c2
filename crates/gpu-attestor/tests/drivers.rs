//! Driver libraries that are no use, in front of the command: what `auto` does about each. The libraries are a few lines of C,
//! compiled here. Linux only: elsewhere libraries have other names.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Output};

/// A library whose `cuInit` answers that status.
fn library(folder: &Path, name: &str, status: u32) -> Option<()> {
    let text = format!(
        "int cuInit(unsigned f) {{ (void)f; return {status}; }}\n\
         int cuGetErrorName(int s, const char **t) {{ (void)s; *t = 0; return 1; }}\n\
         int cuGetErrorString(int s, const char **t) {{ (void)s; *t = 0; return 1; }}\n"
    );
    compile(folder, name, &text)
}

/// Compiles a library; `None`, said visibly, where there is no C compiler.
fn compile(folder: &Path, name: &str, text: &str) -> Option<()> {
    let source = folder.join(format!("{name}.c"));
    std::fs::write(&source, text).expect("a source");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(folder.join(name))
        .arg(&source)
        .output();
    match compiled {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            Some(())
        }
        Err(error) => {
            eprintln!("SKIPPED: no C compiler: {error}");
            None
        }
    }
}

/// Four GPUs; the last is lost and says so at the first question about its memory. None has a context to give.
const ONE_OF_FOUR_IS_LOST: &str = r#"
#include <stdio.h>
#include <string.h>
int cuInit(unsigned f) { (void)f; return 0; }
int cuDriverGetVersion(int *v) { *v = 12080; return 0; }
int cuGetErrorName(int s, const char **t) { (void)s; *t = 0; return 1; }
int cuGetErrorString(int s, const char **t) { (void)s; *t = 0; return 1; }
int cuDeviceGetCount(int *n) { *n = 4; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetName(char *o, int n, int d) { (void)d; snprintf(o, n, "NVIDIA H100"); return 0; }
int cuDeviceGetPCIBusId(char *o, int n, int d) { snprintf(o, n, "0000:%02x:00.0", 0x19 + d); return 0; }
int cuDeviceGetUuid_v2(char *o, int d) { memset(o, d, 16); return 0; }
int cuDeviceTotalMem_v2(size_t *b, int d) { *b = 1 << 30; return d == 3 ? 999 : 0; }
int cuDeviceGetAttribute(int *v, int a, int d) { (void)a; (void)d; *v = 8; return 0; }
#define NO(call) int call(void) { return 46; }
NO(cuCtxGetLimit) NO(cuCtxSetCurrent) NO(cuCtxSetLimit) NO(cuCtxSynchronize) NO(cuDevicePrimaryCtxRelease_v2)
NO(cuDevicePrimaryCtxRetain) NO(cuEventCreate) NO(cuEventDestroy_v2) NO(cuEventQuery) NO(cuEventRecord)
NO(cuFuncSetAttribute) NO(cuLaunchKernelEx) NO(cuMemAlloc_v2) NO(cuMemFreeHost) NO(cuMemFree_v2) NO(cuMemGetInfo_v2)
NO(cuMemHostAlloc) NO(cuMemcpyDtoHAsync_v2) NO(cuMemcpyHtoDAsync_v2) NO(cuMemsetD8Async) NO(cuModuleGetFunction)
NO(cuModuleLoadData) NO(cuModuleUnload) NO(cuOccupancyMaxActiveClusters) NO(cuStreamCreate) NO(cuStreamDestroy_v2)
NO(cuStreamWaitEvent) NO(cuTensorMapEncodeTiled) NO(cuMemAddressFree) NO(cuMemAddressReserve) NO(cuMemAdvise)
NO(cuMemAllocManaged) NO(cuMemCreate) NO(cuMemMap) NO(cuMemPrefetchAsync) NO(cuMemRelease) NO(cuMemSetAccess) NO(cuMemUnmap)
"#;

fn gpu_attestor(folders: &[&Path], arguments: &[&str]) -> Output {
    let path = std::env::join_paths(folders).expect("folders");
    Command::new(env!("CARGO_BIN_EXE_gpu-attestor"))
        .args(arguments)
        .env("LD_LIBRARY_PATH", path)
        .env("CUDA_VISIBLE_DEVICES", "GPU-mistyped")
        // Where a key is made on first use.
        .env("XDG_CONFIG_HOME", folders[0])
        .output()
        .expect("the command runs")
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A driver that is there and shows no device, or does not start, is an error wherever `auto` decides: the CPU's work would pass
/// for that of GPUs that are hidden.
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

/// The toolkit's folder of stubs is in front of the driver or behind it: the driver is asked, and says that it shows nothing.
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

/// What is there is not absent: a stub alone, and a file that is no library.
#[test]
fn a_library_that_cannot_be_used_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(()) = library(folder.path(), "libcuda.so.1", 34) else {
        return;
    };
    let text = refusal(&gpu_attestor(&[folder.path()], &["devices"]));
    // A host with a driver of its own finds that under the other name.
    assert!(text.contains("link stub") || text.contains("shows no device"), "{text}");
    std::fs::write(folder.path().join("libcuda.so.1"), "no library").expect("a file");
    let text = refusal(&gpu_attestor(&[folder.path()], &["devices"]));
    assert!(
        text.contains("does not load") || text.contains("shows no device"),
        "{text}"
    );
}

/// One of four GPUs is lost: it is named, and only where it was to be used.
#[test]
fn a_lost_gpu_is_named_and_those_not_chosen_are_asked_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(()) = compile(folder.path(), "libcuda.so.1", ONE_OF_FOUR_IS_LOST) else {
        return;
    };
    for all in [&["devices"][..], &["devices", "--devices", "2,3"]] {
        let text = refusal(&gpu_attestor(&[folder.path()], all));
        assert!(
            text.contains("GPU 3 at 0000:1c:00.0: device lost: cuDeviceTotalMem"),
            "{text}"
        );
    }
    // The others go on to the next step, which this driver does not have.
    let text = refusal(&gpu_attestor(&[folder.path()], &["devices", "--devices", "0,1"]));
    assert!(
        text.contains("GPU 0 (GPU-00000000-") && text.contains("cuDevicePrimaryCtxRetain"),
        "{text}"
    );
    let text = refusal(&gpu_attestor(
        &[folder.path()],
        &["bench", "--devices", "1", "--seconds", "1"],
    ));
    assert!(
        text.contains("GPU 1: ") && text.contains("cuDevicePrimaryCtxRetain"),
        "{text}"
    );
    let text = refusal(&gpu_attestor(&[folder.path()], &["devices", "--devices", "4"]));
    assert!(text.contains("device 4 is not here"), "{text}");
}
