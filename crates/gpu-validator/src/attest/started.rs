//! The command whose standard input and output lead to the Attester: started, read, and ended with all processes that it has
//! started.

use std::collections::HashSet;
use std::ffi::OsString;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::descendants::{Ask, adopt, signal};
use super::relay::{Relay, Screen};

/// How long the command may take to end by itself once the session is over.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How long it may take after the request to end, and again after the kill.
const OBEY_WITHIN: Duration = Duration::from_secs(1);

/// How often it is checked.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running command; it is ended at the latest when this value is dropped.
pub(super) struct Started {
    child: Child,
    /// Until it has ended.
    relay: Option<Relay>,
}

impl Started {
    /// Starts the command; its standard error is shown on the Verifier's, marked as the host's.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or its output cannot be read.
    pub(super) fn start(command: &[OsString]) -> anyhow::Result<(Self, ChildStdout, ChildStdin)> {
        let (program, arguments) = command.split_first().context("no command")?;
        adopt();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        // From here on the command is ended whatever fails.
        let mut started = Started { child, relay: None };
        let says = started.child.stderr.take().context("no standard error")?;
        started.relay = Some(Relay::start(says).context("no thread to read its standard error")?);
        let from = started.child.stdout.take().context("no standard output")?;
        let to = started.child.stdin.take().context("no standard input")?;
        Ok((started, from, to))
    }

    /// Where text that did not come on the command's standard error can be shown; nowhere once it has ended.
    pub(super) fn screen(&self) -> Option<Screen> {
        self.relay.as_ref().map(Relay::screen)
    }

    /// Waits for the command to end by itself, then ends it and all that it has started; returns how it ended. Nothing
    /// more of its output is shown afterwards.
    pub(super) fn end(mut self) -> String {
        self.stop()
    }

    fn stop(&mut self) -> String {
        let ended = self.wait(END_WITHIN);
        let is_overdue = ended.is_none();
        let mut left = 0;
        for ask in [Ask::Terminate, Ask::Kill] {
            let (since, mut asked) = (Instant::now(), HashSet::new());
            loop {
                // Repeated, so that processes that are started meanwhile are found, too.
                left = signal(self.child.id(), ask, &mut asked).max(usize::from(!self.has_ended()));
                if left == 0 || since.elapsed() >= OBEY_WITHIN {
                    break;
                }
                thread::sleep(LOOK_EVERY);
            }
            if left == 0 {
                break;
            }
        }
        if !self.has_ended() {
            // It may end between the check and the kill; in both cases it is gone.
            let _ = self.child.kill();
            self.wait(OBEY_WITHIN);
        }
        if let Some(relay) = self.relay.take() {
            relay.finish();
        }
        match ended {
            Some(how) => how,
            None if is_overdue && left == 0 => format!("did not end within {END_WITHIN:?} and was stopped"),
            None => format!("did not end within {END_WITHIN:?}, and {left} of its processes could not be stopped"),
        }
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// How the command ended, if it does so in time.
    fn wait(&mut self, limit: Duration) -> Option<String> {
        let since = Instant::now();
        while since.elapsed() < limit {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(format!("ended with {status}")),
                Ok(None) => thread::sleep(LOOK_EVERY),
                Err(error) => return Some(format!("could not be waited for: {error}")),
            }
        }
        None
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // If it was ended before, nothing is left to do.
        if self.relay.is_some() || !self.has_ended() {
            self.stop();
        }
    }
}
