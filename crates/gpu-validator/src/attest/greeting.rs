//! Text that the host prints before its first message.

use std::sync::atomic::{AtomicBool, Ordering};

use protocol::certified::Certified;
use protocol::message::ProgressMessage;
use protocol::verifier::VerifierSession;
use verifier::{Observer, Stop};

use super::relay::Screen;

/// An observer that shows the text as the host's, and passes all else on.
pub(super) struct Greeted<'a> {
    observer: &'a dyn Observer,
    screen: Option<Screen>,
    /// The text so far ends in CR.
    is_at_return: AtomicBool,
    is_terminal: AtomicBool,
}

impl<'a> Greeted<'a> {
    pub(super) fn new(observer: &'a dyn Observer, screen: Option<Screen>) -> Self {
        Greeted {
            observer,
            screen,
            is_at_return: AtomicBool::new(false),
            is_terminal: AtomicBool::new(false),
        }
    }

    /// Whether a line ended in CR LF: a terminal is in between.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal.load(Ordering::Relaxed)
    }
}

impl Observer for Greeted<'_> {
    fn greeted(&self, text: &[u8]) {
        let was_at_return = self.is_at_return.swap(text.ends_with(b"\r"), Ordering::Relaxed);
        if text.windows(2).any(|pair| pair == b"\r\n") || (was_at_return && text.starts_with(b"\n")) {
            self.is_terminal.store(true, Ordering::Relaxed);
        }
        if let Some(screen) = &self.screen {
            screen.show(text);
        }
    }

    fn moved(&self, session: &VerifierSession) {
        self.observer.moved(session);
    }

    fn progressed(&self, progress: &ProgressMessage) {
        self.observer.progressed(progress);
    }

    fn recomputed(&self, done: usize, total: usize) {
        self.observer.recomputed(done, total);
    }

    fn certified_so_far(&self, certified: &dyn Fn() -> Option<Certified>) {
        self.observer.certified_so_far(certified);
    }

    fn stop(&self) -> Option<&Stop> {
        self.observer.stop()
    }
}
