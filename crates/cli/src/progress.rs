//! How a session goes, on standard error: a bar on a terminal, a line a phase otherwise.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use protocol::message::ProgressMessage;
use protocol::verdict::Phase;
use protocol::verifier::{Step, VerifierSession};
use verifier::Observer;

/// An [`Observer`] for people.
pub struct SessionProgress {
    bar: Option<ProgressBar>,
    is_quiet: bool,
    last: Mutex<String>,
}

impl SessionProgress {
    /// A bar if standard error is a terminal, else a line a phase; nothing if `is_quiet`.
    #[must_use]
    pub fn new(is_quiet: bool) -> Self {
        let bar = (!is_quiet && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{spinner} {msg:<44} {bar:24} {percent:>3} % {elapsed}")
                .expect("the template is constant");
            bar.set_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        SessionProgress {
            bar,
            is_quiet,
            last: Mutex::new(String::new()),
        }
    }

    fn say(&self, text: String) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last == text {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(text.clone()),
            None if self.is_quiet => {}
            // Nothing is left to tell it to.
            None => drop(writeln!(io::stderr(), "{text}")),
        }
        *last = text;
    }
}

impl Observer for SessionProgress {
    fn moved(&self, session: &VerifierSession) {
        let iterations = session.plan().map_or(0, |plan| plan.iterations().len());
        let current = session.trace().map_or(0, |trace| trace.current() + 1);
        let k = session
            .plan()
            .and_then(|plan| plan.iterations().get(current.saturating_sub(1) as usize))
            .map_or(0, |iteration| iteration.inner_dim);
        match session.step() {
            Step::Receive { phase, .. } => self.say(match phase {
                Phase::Hello => "waiting for the Attester".to_owned(),
                Phase::Prepare => "devices take their memory".to_owned(),
                Phase::Fill => format!("fill {current} of {iterations} (k = {k})"),
                Phase::Sweep => format!("sweeps {current} of {iterations} (k = {k})"),
                Phase::Open => "opening samples".to_owned(),
            }),
            Step::Check => {
                let total = session.tile_checks().len();
                if let Some(bar) = &self.bar {
                    bar.set_length(total as u64);
                    bar.set_position(0);
                }
                self.say(format!("recomputing {total} samples"));
            }
            Step::Done => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
            }
            Step::Send(_) => {}
        }
    }

    fn progressed(&self, progress: &ProgressMessage) {
        if let Some(bar) = &self.bar {
            bar.set_length(
                progress
                    .devices
                    .iter()
                    .map(|device| device.total_tiles)
                    .fold(0, u64::saturating_add),
            );
            bar.set_position(
                progress
                    .devices
                    .iter()
                    .map(|device| device.done_tiles)
                    .fold(0, u64::saturating_add),
            );
        }
    }

    fn recomputed(&self, done: usize, total: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    }
}

impl Drop for SessionProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How far a piece of work of known size has come: a bar on a terminal, a line at its beginning otherwise.
pub struct WorkProgress(Option<ProgressBar>);

impl WorkProgress {
    /// Begins to show work of `total` parts; nothing if `is_quiet`.
    #[must_use]
    pub fn new(text: &str, total: u64, is_quiet: bool) -> Self {
        if !is_quiet && !io::stderr().is_terminal() {
            // Nothing is left to tell it to.
            let _ = writeln!(io::stderr(), "{text}");
        }
        WorkProgress((!is_quiet && io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{msg:<30} {bar:24} {percent:>3} % {elapsed} of about {duration}")
                .expect("the template is constant");
            bar.set_style(style);
            bar.set_message(text.to_owned());
            bar
        }))
    }

    /// `parts` more are done.
    pub fn advance(&self, parts: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(parts);
        }
    }
}

impl Drop for WorkProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
