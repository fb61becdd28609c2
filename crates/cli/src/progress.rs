//! Shows a session's progress on standard error: a bar on a terminal, otherwise one line per phase.

use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use protocol::certified::Certified;
use protocol::message::ProgressMessage;
use protocol::verdict::Phase;
use protocol::verifier::{Step, VerifierSession};
use verifier::Observer;
use verifier::partial::bounds_line;

use crate::output::tell;
use crate::screen::Bar;

/// An [`Observer`] that shows progress to the user.
pub struct SessionProgress {
    /// Set once the Attester has sent HELLO: until then the command that starts it may ask for a password at the
    /// terminal, and a bar would overwrite the prompt.
    bar: OnceLock<Option<Bar>>,
    is_quiet: bool,
    last: Mutex<String>,
    bounds_shown: Mutex<Option<Instant>>,
}

/// How often a bar is redrawn without a new event.
const TICK_EVERY: Duration = Duration::from_millis(100);

/// How often bounds that grow with every sample are shown.
const BOUNDS_EVERY: Duration = Duration::from_millis(500);

impl SessionProgress {
    /// A bar if standard error is a terminal that can draw one, otherwise one line per phase; nothing if `is_quiet`.
    #[must_use]
    pub fn new(is_quiet: bool) -> Self {
        SessionProgress {
            bar: OnceLock::new(),
            is_quiet,
            last: Mutex::new(String::new()),
            bounds_shown: Mutex::new(None),
        }
    }

    fn bar(&self) -> Option<&Bar> {
        let begin = || {
            let bar = bar("{spinner} {wide_msg} {bar:16} {percent:>3} % {elapsed}", self.is_quiet)?;
            tick(&bar);
            Some(bar)
        };
        self.bar.get_or_init(begin).as_ref()
    }

    /// Shows the current activity: in the bar `on_bar`, otherwise as a line.
    fn say(&self, text: String, on_bar: Option<&Bar>) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last == text {
            return;
        }
        match on_bar {
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
            Step::Receive { phase, .. } => {
                let (text, bar) = match phase {
                    Phase::Hello => ("waiting for the Attester".to_owned(), None),
                    Phase::Prepare => ("devices take their memory".to_owned(), self.bar()),
                    Phase::Fill => (format!("fill {current} of {iterations} (k = {k})"), self.bar()),
                    Phase::Sweep => (format!("sweeps {current} of {iterations} (k = {k})"), self.bar()),
                    Phase::Cross => (
                        format!("rounds between devices, {current} of {iterations} (k = {k})"),
                        self.bar(),
                    ),
                    Phase::Open => ("opening samples".to_owned(), self.bar()),
                };
                self.say(text, bar);
            }
            Step::Check => {
                let total = session.tile_checks().len();
                let bar = self.bar();
                if let Some(bar) = bar {
                    bar.set_length(total as u64);
                    bar.set_position(0);
                }
                self.say(format!("recomputing {total} samples"), bar);
            }
            Step::Done => {
                if let Some(Some(bar)) = self.bar.get() {
                    bar.finish_and_clear();
                }
            }
            Step::Send(_) => {}
        }
    }

    fn progressed(&self, progress: &ProgressMessage) {
        if let Some(bar) = self.bar() {
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
        if let Some(bar) = self.bar() {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    }

    fn certified_so_far(&self, certified: &dyn Fn() -> Option<Certified>) {
        let Some(bar) = self.bar() else { return };
        let mut shown = self
            .bounds_shown
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if shown.is_none_or(|at| at.elapsed() >= BOUNDS_EVERY) {
            *shown = Some(Instant::now());
            drop(shown);
            if let Some(certified) = certified().filter(|certified| certified.host.tensor_ops_per_s.is_some()) {
                bar.set_message(format!("so far {}", bounds_line(&certified)));
            }
        }
    }
}

/// Shows progress of known size: a bar on a terminal, otherwise a line at the start.
pub struct WorkProgress(Option<Bar>);

impl WorkProgress {
    /// Starts to show work of `total` parts; nothing if `is_quiet`.
    #[must_use]
    pub fn new(text: &str, total: u64, is_quiet: bool) -> Self {
        let template = "{wide_msg} {bar:16} {percent:>3} % {elapsed} of about {duration}";
        let work = Self::begin(template, text, is_quiet);
        if let Some(bar) = &work.0 {
            bar.set_length(total);
        }
        work
    }

    /// Starts to show an activity of unknown duration; nothing if `is_quiet`.
    #[must_use]
    pub fn stage(text: &str, is_quiet: bool) -> Self {
        let work = Self::begin("{spinner} {wide_msg} {elapsed}", text, is_quiet);
        if let Some(bar) = &work.0 {
            tick(bar);
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

    /// Records that `parts` more are done.
    pub fn advance(&self, parts: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(parts);
        }
    }
}

/// Has the bar move by itself, if the system gives it a thread: the bar's own start of one panics where it does not.
fn tick(bar: &Bar) {
    if thread::Builder::new().spawn(|| ()).is_ok() {
        bar.enable_steady_tick(TICK_EVERY);
    }
}

/// A bar on standard error; none if `is_quiet`, or where no bar can be drawn.
fn bar(template: &str, is_quiet: bool) -> Option<Bar> {
    if is_quiet { None } else { Bar::draw(template) }
}
