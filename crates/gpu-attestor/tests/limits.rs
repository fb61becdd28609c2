//! A Verifier that is silent, or keeps its pipe open and does not read: the agent's process ends nevertheless.

use std::io::{self, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Long enough for everything that must happen.
const SOON: Duration = Duration::from_secs(60);

fn agent(key: &std::path::Path, devices: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gpu-attestor"));
    command
        .args(["agent", "--key"])
        .arg(key)
        .args(["--stdio", "--engine", "cpu", "--cpu-devices", devices])
        .args(["--max-idle", "300ms"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Its exit code and its messages to the user.
fn end(mut child: Child) -> (Option<i32>, String) {
    let since = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if since.elapsed() > SOON {
            child.kill().expect("a child");
            panic!("the agent did not end");
        }
        thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("a child");
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_silent_verifier_ends_the_agent() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = agent(&folder.path().join("a.pem"), "1").stdout(Stdio::piped()).spawn();
    let mut child = child.expect("the command runs");
    // Its input stays open.
    let input = child.stdin.take();
    let (code, text) = end(child);
    drop(input);
    assert_eq!(code, Some(2), "{text}");
    let expected =
        "--max-idle sets the limit: the Attester's limit of idle time is 0.3 s, and no PLAN came from the Verifier";
    assert!(text.contains(expected), "{text}");
}

/// The pipe to the Verifier is full and not read: HELLO cannot be written.
#[test]
fn a_verifier_that_does_not_read_ends_the_agent() {
    let folder = tempfile::tempdir().expect("a folder");
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut filling = writer.try_clone().expect("a pipe");
    // Blocks once the pipe is full, until the reader is gone.
    thread::spawn(move || filling.write_all(&vec![0; 4 << 20]));
    thread::sleep(Duration::from_millis(300));
    let child = agent(&folder.path().join("a.pem"), "64").stdout(writer).spawn();
    let mut child = child.expect("the command runs");
    let input = child.stdin.take();
    let (code, text) = end(child);
    drop((input, reader));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no PLAN came"), "{text}");
}
