//! Standard output and exit codes.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use protocol::printable::{printable_json, printable_lines};
use serde::Serialize;
use verifier::outcome::Outcome;
use verifier::partial::PartialReport;

use crate::failure::{ErrorReport, Failure, is_json_asked};
use crate::screen::write_lines;

/// The outcome of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: affirmed, or done.
    Affirmed,
    /// 1: a check failed.
    Contraindicated,
    /// 2: no verdict.
    NoVerdict,
}

impl From<&Outcome> for Exit {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Affirmed(_) => Exit::Affirmed,
            Outcome::Contraindicated { .. } => Exit::Contraindicated,
            Outcome::CouldNotRun { .. } | Outcome::None(_) => Exit::NoVerdict,
        }
    }
}

/// The exit code for this outcome; an error is printed to standard error, under `--json` also to standard output, and results
/// in 2.
pub fn finish(ended: anyhow::Result<Exit>, failure: impl FnOnce(&anyhow::Error) -> Failure) -> ExitCode {
    match ended {
        Ok(Exit::Affirmed) => ExitCode::SUCCESS,
        Ok(Exit::Contraindicated) => ExitCode::from(1),
        Ok(Exit::NoVerdict) => ExitCode::from(2),
        Err(error) => {
            if is_json_asked() {
                // If standard output fails, standard error still says why the command did.
                let _ = print_error(failure(&error));
            }
            tell(format_args!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Prints a line on standard error, above a bar. If standard error fails, there is nowhere else to report it.
///
/// Only printable characters reach the terminal, whatever a peer put into the text.
pub fn tell(text: impl Display) {
    write_lines(&(printable_lines(&text.to_string()) + "\n"));
}

/// Prints lines to standard output, printable characters only; a reader that has closed the pipe is not an error.
///
/// # Errors
///
/// Those of standard output.
pub fn print_text(text: impl Display) -> anyhow::Result<()> {
    print_bytes(printable_lines(&text.to_string()).as_bytes())
}

/// Prints the result of a check that was stopped, and where its evidence is.
///
/// # Errors
///
/// Those of standard output.
pub fn print_stopped(report: &PartialReport, as_json: bool, evidence: Option<&Path>) -> anyhow::Result<Exit> {
    if as_json {
        print_json(report)?;
    } else {
        print_text(report)?;
        if let Some(path) = evidence {
            print_text(format_args!(
                "\nevidence in {}; check all of it with: gpu-validator verify {}\n",
                path.display(),
                path.display()
            ))?;
        }
    }
    Ok(Exit::NoVerdict)
}

/// Prints bytes to standard output; a reader that has closed the pipe is not an error.
///
/// # Errors
///
/// Those of standard output.
pub fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to standard output"),
    }
}

/// Prints indented JSON, its members in alphabetical order, and a newline to standard output; unprintable characters are
/// escaped, which preserves the value.
///
/// # Errors
///
/// Those of standard output.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let value = serde_json::to_value(value).context("cannot be written as JSON")?;
    print_json_text(&format!("{value:#}"))
}

/// Prints a failure as JSON to standard output.
///
/// # Errors
///
/// Those of standard output.
pub fn print_error(error: Failure) -> anyhow::Result<()> {
    print_json(&ErrorReport { error })
}

/// Prints a JSON text and a newline to standard output; unprintable characters are escaped, which preserves the value.
///
/// # Errors
///
/// Those of standard output.
pub fn print_json_text(json: &str) -> anyhow::Result<()> {
    print_bytes((printable_json(json) + "\n").as_bytes())
}
