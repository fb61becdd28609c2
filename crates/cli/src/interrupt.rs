//! Ctrl-C: the first ends work in good order, the second at once.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Context;
use protocol::claims::Claims;
use protocol::message::ProgressMessage;
use protocol::verifier::{Step, VerifierSession};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use verifier::{Observer, Stop};

use crate::progress::SessionProgress;

/// The exit code where a second signal comes: 128 and SIGINT's number, as a shell has it.
const KILLED: i32 = 130;

/// Whether this process was asked to stop.
#[derive(Clone)]
pub struct Interrupt(Stop);

impl Interrupt {
    /// Listens to SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    ///
    /// If the system does not let it.
    pub fn listen() -> anyhow::Result<Self> {
        let stop = Stop::new().context("no pipe for signals")?;
        for signal in [SIGINT, SIGTERM] {
            let (asked, wake) = stop.for_signals().context("no pipe for signals")?;
            // In this order: the first signal finds the flag down, raises it and wakes whoever waits; the second finds it up.
            flag::register_conditional_shutdown(signal, KILLED, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, asked))
                .and_then(|_| low_level::pipe::register(signal, wake))
                .context("signals cannot be listened to")?;
        }
        Ok(Interrupt(stop))
    }

    /// Whether a signal has come since.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.is_asked()
    }
}

/// Progress for people, and an end when they want it.
pub struct Interruptible {
    progress: SessionProgress,
    interrupt: Interrupt,
    /// When all was checked but the tiles.
    pub tiles_due: OnceLock<Instant>,
}

impl Interruptible {
    /// Shows progress unless `is_quiet`, and stops when `interrupt` is asked.
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

    fn certified_so_far(&self, claims: &dyn Fn() -> Option<Claims>) {
        self.progress.certified_so_far(claims);
    }

    fn stop(&self) -> Option<&Stop> {
        Some(&self.interrupt.0)
    }
}
