//! Checks before a commit: the stages of `.ci/run` that a change needs at once, for some packages or for all.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

/// Checks these packages, or the whole workspace if none is named.
pub(crate) fn run(repository: &Path, packages: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(repository.join(".ci/run"))
        .args(packages.iter().flat_map(|package| ["-p", package]))
        .args(["format", "clippy", "tests"])
        .status()
        .context(".ci/run could not be started")?;
    ensure!(status.success(), ".ci/run: {status}");
    Ok(())
}
