//! What is run before a commit: format, lints and tests, of some crates or of all.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};

/// Checks these packages; all of the workspace if none is named.
pub(crate) fn run(repository: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let scope: Vec<&str> = match packages {
        [] => vec!["--workspace"],
        _ => packages.iter().flat_map(|package| ["--package", package]).collect(),
    };
    step(repository, &["fmt", "--all", "--check"])?;
    let lints = ["--all-targets", "--", "--deny", "warnings"];
    step(repository, &[&["clippy"], &scope[..], &lints].concat())?;
    // cargo-nextest runs test binaries side by side; it is no dependency.
    let runner: &[&str] = match has_nextest(repository) {
        true => &["nextest", "run"],
        false => &["test", "--quiet"],
    };
    step(repository, &[runner, &scope[..]].concat())
}

fn has_nextest(repository: &Path) -> bool {
    let output = cargo(repository, &["nextest", "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}

fn cargo(repository: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository).args(arguments);
    command
}

fn step(repository: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let shown = format!("cargo {}", arguments.join(" "));
    eprintln!("== {shown}");
    let since = Instant::now();
    let status = cargo(repository, arguments)
        .status()
        .with_context(|| format!("{shown} could not be started"))?;
    ensure!(status.success(), "{shown}: {status}");
    eprintln!("== passed in {:.1} s", since.elapsed().as_secs_f64());
    Ok(())
}
