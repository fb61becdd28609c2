//! Ctrl-C: the first ends work in good order, the second at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Context;
use protocol::claims::Claims;
use protocol::message::ProgressMessage;
use protocol::verifier::{Step, VerifierSession};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use verifier::Observer;

use crate::progress::SessionProgress;

/// The exit code where a second signal comes: 128 and SIGINT's number, as a shell has it.
const KILLED: i32 = 130;

/// Whether this process was asked to stop.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens to SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    ///
    /// If the system does not let it.
    pub fn listen() -> anyhow::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it, the second finds it up.
            flag::register_conditional_shutdown(signal, KILLED, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .context("signals cannot be listened to")?;
        }
        Ok(Interrupt(asked))
    }

    /// Whether a signal has come since.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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

    fn is_stopped(&self) -> bool {
        self.interrupt.is_asked()
    }
}
