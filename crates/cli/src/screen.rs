//! Standard error as one screen: a bar at its end, whole lines above, and neither garbles the other.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The bar that is drawn now, if one is, with a number of its own.
static DRAWN: Mutex<(u64, Option<ProgressBar>)> = Mutex::new((0, None));

fn drawn() -> MutexGuard<'static, (u64, Option<ProgressBar>)> {
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bar on standard error for as long as it lives; lines go above it.
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

/// Writes whole lines, above the bar where there is one; where standard error takes no more, nothing is left to tell it to.
pub(crate) fn write_lines(lines: &str) {
    let write = || drop(io::stderr().lock().write_all(lines.as_bytes()));
    // Held while it is written: no bar is begun in the middle of a line.
    let drawn = drawn();
    match &drawn.1 {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Columns of the terminal that standard error is; `None` where it is none.
#[must_use]
pub fn screen_columns() -> Option<usize> {
    Term::stderr().size_checked().map(|(_, columns)| columns.into())
}
