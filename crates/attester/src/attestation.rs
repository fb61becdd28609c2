//! Attestation by the hardware's manufacturer: a command of the host, run with the session's nonce in parallel with the
//! work.

use std::ffi::OsString;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use protocol::bytes::{Nonce, hex};
use protocol::limits::MAX_ATTESTATION_BYTES;
use transport::no_thread;

/// The environment variable that passes the session's nonce to the command, 64 hexadecimal digits.
pub const NONCE_VARIABLE: &str = "GPU_ATTESTOR_NONCE";

/// A command line for `sh -c`; what it prints is carried in OPENINGS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationCommand(pub OsString);

/// Why a session carries no attestation although one was requested.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestationError {
    /// The command did not start, or its output could not be read.
    #[error("the attestation command cannot be run: {0}")]
    Io(io::Error),
    /// The command failed.
    #[error("the attestation command ended with {0}")]
    Failed(std::process::ExitStatus),
    /// The command printed nothing.
    #[error("the attestation command printed nothing; expected an attestation on standard output")]
    Empty,
    /// The command printed more than OPENINGS can carry.
    #[error("the attestation command printed more than {MAX_ATTESTATION_BYTES} bytes")]
    TooLong,
    /// The command was not finished when the openings had to be sent.
    #[error("the attestation command had not ended when the openings were due, and was stopped")]
    TooSlow,
}

impl From<io::Error> for AttestationError {
    fn from(error: io::Error) -> Self {
        AttestationError::Io(error)
    }
}

/// A running command; stopped if this is dropped before it ends.
pub(crate) struct Attesting {
    child: Arc<Mutex<Child>>,
}

impl AttestationCommand {
    /// Starts the command with the nonce of the session that it is for; `ended` is called with what comes of it.
    pub(crate) fn start(
        &self,
        nonce: &Nonce,
        ended: impl FnOnce(Result<Vec<u8>, AttestationError>) + Send + 'static,
    ) -> Result<Attesting, AttestationError> {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(&self.0)
            .env(NONCE_VARIABLE, hex(&nonce.0))
            // The agent's own standard input and output carry the protocol.
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        // A separate process group, so that all of it can be stopped: a pipeline consists of several processes.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no standard output"))?;
        let child = Arc::new(Mutex::new(child));
        let running = child.clone();
        // Before its thread: without one the command is stopped.
        let attesting = Attesting { child };
        thread::Builder::new()
            .spawn(move || ended(read(output, &running)))
            .map_err(|error| no_thread(&error))?;
        Ok(attesting)
    }
}

impl Drop for Attesting {
    fn drop(&mut self) {
        stop(&mut lock(&self.child));
    }
}

/// Reads until the output ends, then waits for the process; keeps no more than OPENINGS can carry.
fn read(output: impl Read, child: &Mutex<Child>) -> Result<Vec<u8>, AttestationError> {
    let mut bytes = Vec::new();
    output.take(MAX_ATTESTATION_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_ATTESTATION_BYTES {
        // The output may be endless.
        stop(&mut lock(child));
        return Err(AttestationError::TooLong);
    }
    // The output has ended, so the process ends soon.
    let status = loop {
        if let Some(status) = lock(child).try_wait()? {
            break status;
        }
        thread::sleep(Duration::from_millis(5));
    };
    match (status.success(), bytes.is_empty()) {
        (false, _) => Err(AttestationError::Failed(status)),
        (true, true) => Err(AttestationError::Empty),
        (true, false) => Ok(bytes),
    }
}

/// Stops the command and all processes it started, unless it has already been waited for.
fn stop(child: &mut Child) {
    // After the wait, its process id may have been reused.
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    #[cfg(unix)]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended since the check.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    // As above.
    let _ = child.kill();
}

fn lock(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, unix))]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn run(command: &str, limit_ms: u64) -> Result<Vec<u8>, AttestationError> {
        let (send, outcome) = channel();
        // The test may be over.
        let ended = move |outcome| drop(send.send(outcome));
        let _running = AttestationCommand(command.into()).start(&Nonce([0xAB; 32]), ended)?;
        let outcome = outcome.recv_timeout(Duration::from_millis(limit_ms));
        outcome.unwrap_or(Err(AttestationError::TooSlow))
    }

    #[test]
    fn the_nonce_is_in_the_environment() {
        let printed = run("printf %s \"$GPU_ATTESTOR_NONCE\"", 10_000).expect("an attestation");
        assert_eq!(printed, "ab".repeat(32).as_bytes());
    }

    #[test]
    fn what_is_no_attestation_is_told() {
        assert!(matches!(run("echo half; exit 3", 10_000), Err(AttestationError::Failed(s)) if s.code() == Some(3)));
        assert!(matches!(run("true", 10_000), Err(AttestationError::Empty)));
        assert!(matches!(run("yes", 10_000), Err(AttestationError::TooLong)));
        assert!(matches!(
            run("no-such-command-here", 10_000),
            Err(AttestationError::Failed(_))
        ));
        assert!(matches!(run("exec sleep 60", 50), Err(AttestationError::TooSlow)));
    }

    /// The shell is one of several processes.
    #[cfg(target_os = "linux")]
    #[test]
    fn all_of_a_pipeline_is_stopped() {
        let folder = std::env::temp_dir().join(format!("attestation-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let pids = folder.join("pids");
        let line = format!(
            "(echo x; sh -c 'echo $$ >>{0}; sleep 60') | (sh -c 'echo $$ >>{0}; sleep 60')",
            pids.display()
        );
        assert!(matches!(run(&line, 500), Err(AttestationError::TooSlow)));
        let started = std::fs::read_to_string(&pids).expect("both have begun");
        let started: Vec<i32> = started.lines().map(|pid| pid.parse().expect("a number")).collect();
        assert_eq!(started.len(), 2);
        // A killed process may stay as a zombie if no parent waits for it.
        let is_there = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        for _ in 0..100 {
            if !started.iter().any(is_there) {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        assert!(!started.iter().any(is_there), "{started:?} are still there");
        std::fs::remove_dir_all(&folder).expect("the folder");
    }
}
