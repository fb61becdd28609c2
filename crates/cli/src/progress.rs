//! How a session goes, on standard error: a bar on a terminal, a line a phase otherwise.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use protocol::claims::Claims;
use protocol::message::ProgressMessage;
use protocol::verdict::Phase;
use protocol::verifier::{Step, VerifierSession};
use verifier::Observer;
use verifier::partial::bounds_line;

use crate::output::tell;

/// An [`Observer`] for people.
pub struct SessionProgress {
    bar: Option<ProgressBar>,
    is_quiet: bool,
    last: Mutex<String>,
    bounds_shown: Mutex<Option<Instant>>,
}

/// How often a bar is drawn though nothing was said.
const TICK_EVERY: Duration = Duration::from_millis(100);

/// How often bounds are shown that grow with every sample.
const BOUNDS_EVERY: Duration = Duration::from_millis(500);

impl SessionProgress {
    /// A bar if standard error is a terminal that can draw one, else a line a phase; nothing if `is_quiet`.
    #[must_use]
    pub fn new(is_quiet: bool) -> Self {
        let bar = bar("{spinner} {wide_msg} {bar:16} {percent:>3} % {elapsed}", is_quiet);
        if let Some(bar) = &bar {
            bar.enable_steady_tick(TICK_EVERY);
        }
        SessionProgress {
            bar,
            is_quiet,
            last: Mutex::new(String::new()),
            bounds_shown: Mutex::new(None),
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
            None => tell(&text),
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

    fn certified_so_far(&self, claims: &dyn Fn() -> Option<Claims>) {
        let Some(bar) = &self.bar else { return };
        let mut shown = self
            .bounds_shown
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if shown.is_none_or(|at| at.elapsed() >= BOUNDS_EVERY) {
            *shown = Some(Instant::now());
            drop(shown);
            if let Some(claims) = claims().filter(|claims| claims.host.tensor_ops.is_some()) {
                bar.set_message(format!("so far {}", bounds_line(&claims)));
            }
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

/// How far a piece of work has come: a bar on a terminal, a line at its beginning otherwise.
pub struct WorkProgress(Option<ProgressBar>);

impl WorkProgress {
    /// Begins to show work of `total` parts; nothing if `is_quiet`.
    #[must_use]
    pub fn new(text: &str, total: u64, is_quiet: bool) -> Self {
        let template = "{wide_msg} {bar:16} {percent:>3} % {elapsed} of about {duration}";
        let work = Self::begin(template, text, is_quiet);
        if let Some(bar) = &work.0 {
            bar.set_length(total);
        }
        work
    }

    /// Begins to show what goes on, for how long nobody knows; nothing if `is_quiet`.
    #[must_use]
    pub fn stage(text: &str, is_quiet: bool) -> Self {
        let work = Self::begin("{spinner} {wide_msg} {elapsed}", text, is_quiet);
        if let Some(bar) = &work.0 {
            bar.enable_steady_tick(TICK_EVERY);
        }
        work
    }

    fn begin(template: &str, text: &str, is_quiet: bool) -> Self {
        let bar = bar(template, is_quiet);
        match &bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None if is_quiet => {}
            None => tell(text),
        }
        WorkProgress(bar)
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

/// A bar on standard error, as wide as it is; none if `is_quiet`, or where no bar can be drawn: no terminal, or a dumb one.
fn bar(template: &str, is_quiet: bool) -> Option<ProgressBar> {
    let target = ProgressDrawTarget::stderr();
    (!is_quiet && !target.is_hidden()).then(|| {
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::with_template(template).expect("the template is constant"));
        bar
    })
}
