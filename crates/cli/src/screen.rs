//! Coordinates output on standard error: a bar at the end, whole lines above it.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar that is currently drawn, if any, with its number.
static DRAWN: Mutex<(u64, Option<ProgressBar>)> = Mutex::new((0, None));

fn drawn() -> MutexGuard<'static, (u64, Option<ProgressBar>)> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bar on standard error while this exists; lines are printed above it.
pub(crate) struct Bar {
    number: u64,
    bar: ProgressBar,
}

impl Bar {
    /// A bar as wide as the screen; none where no bar can be drawn: no terminal, or a dumb one.
    pub(crate) fn draw(template: &str) -> Option<Self> {
        let target = ProgressDrawTarget::stderr();
        (!target.is_hidden()).then(|| {
            let bar = ProgressBar::with_draw_target(None, target);
            bar.set_style(ProgressStyle::with_template(template).expect("the template is constant"));
            let mut drawn = drawn();
            drawn.0 += 1;
            drawn.1 = Some(bar.clone());
            Bar { number: drawn.0, bar }
        })
    }
}

impl std::ops::Deref for Bar {
    type Target = ProgressBar;

    fn deref(&self) -> &ProgressBar {
        &self.bar
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let mut drawn = drawn();
        self.bar.finish_and_clear();
        if drawn.0 == self.number {
            drawn.1 = None;
        }
    }
}

/// Writes whole lines, above the bar if there is one. If standard error fails, there is nowhere else to report it.
pub(crate) fn write_lines(lines: &str) {
    let write = || drop(io::stderr().lock().write_all(lines.as_bytes()));
    // Locked while writing: no bar starts in the middle of a line.
    let drawn = drawn();
    match &drawn.1 {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Columns of the terminal on standard error; `None` if it is not a terminal.
#[must_use]
pub fn screen_columns() -> Option<usize> {
    Term::stderr().size_checked().map(|(_, columns)| columns.into())
}
