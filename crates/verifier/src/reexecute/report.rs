//! The result of full re-execution as it is printed.

use serde::Serialize;

/// The result of full re-execution; a job is the work of one device in one iteration.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FullReport {
    /// Whether every root agrees; null if it was not finished.
    pub agrees: Option<bool>,
    /// Which root does not agree; null if none was found.
    pub mismatch: Option<String>,
    /// Why it was not finished; null if it was.
    pub unfinished: Option<String>,
    /// Jobs of the session.
    pub jobs: usize,
    /// Jobs taken from the file of `--resume`.
    pub jobs_taken: usize,
    /// Jobs done now that agree.
    pub jobs_done: usize,
    /// Tiles filled and swept now.
    pub tiles: u64,
    /// How long this took, s.
    pub seconds: f64,
}
