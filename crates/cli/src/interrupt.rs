//! Ctrl-C: the first signal ends work in an orderly way, the second at once.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Context;
use protocol::certified::Certified;
use protocol::message::ProgressMessage;
use protocol::verifier::{Step, VerifierSession};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use verifier::{Observer, Stop};

use crate::progress::SessionProgress;

/// The exit code after a second signal: 128 plus SIGINT's number, as in a shell.
const KILLED: i32 = 130;

/// Whether this process was asked to stop.
#[derive(Clone)]
pub struct Interrupt(Stop);

impl Interrupt {
    /// Handles SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn listen() -> anyhow::Result<Self> {
        let stop = Stop::new().context("no pipe for signals")?;
        for signal in [SIGINT, SIGTERM] {
            let (asked, wake) = stop.for_signals().context("no pipe for signals")?;
            // In this order: the first signal finds the flag unset, sets it and wakes waiting threads; the second finds it
            // set.
            flag::register_conditional_shutdown(signal, KILLED, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, asked))
                .and_then(|_| low_level::pipe::register(signal, wake))
                .context("signals cannot be listened to")?;
        }
        Ok(Interrupt(stop))
    }

    /// Whether a signal has been received since.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.is_asked()
    }
}

/// Progress for the user, which an interrupt stops.
pub struct Interruptible {
    progress: SessionProgress,
    interrupt: Interrupt,
    /// When everything except the tiles had been checked.
    pub tiles_due: OnceLock<Instant>,
}

impl Interruptible {
    /// Shows progress unless `is_quiet`, and stops when `interrupt` is requested.
    #[must_use]
    pub fn new(is_quiet: bool, interrupt: Interrupt) -> Self {
        Interruptible {
            progress: SessionProgress::new(is_quiet),
            interrupt,
            tiles_due: OnceLock::new(),
        }
    }
}

impl Observer for Interruptible {
    fn moved(&self, session: &VerifierSession) {
        if session.step() == Step::Check {
            self.tiles_due.get_or_init(Instant::now);
        }
        self.progress.moved(session);
    }

    fn progressed(&self, progress: &ProgressMessage) {
        self.progress.progressed(progress);
    }

    fn recomputed(&self, done: usize, total: usize) {
        self.progress.recomputed(done, total);
    }

    fn certified_so_far(&self, certified: &dyn Fn() -> Option<Certified>) {
        self.progress.certified_so_far(certified);
    }

    fn stop(&self) -> Option<&Stop> {
        Some(&self.interrupt.0)
    }
}
