//! What both commands share: session options, progress, evidence files, exit codes, generated completions and pages.

mod evidence_file;
mod generate;
mod options;
mod output;
mod progress;

pub use evidence_file::EvidenceFile;
pub use generate::{Generate, generate};
pub use options::{RecomputeOptions, SessionOptions, parse_bytes, parse_ordinals, verifier_key};
pub use output::{Exit, finish, print_json, print_text, tell};
pub use progress::{SessionProgress, WorkProgress};
