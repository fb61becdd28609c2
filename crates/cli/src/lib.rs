//! What both commands share: session options, progress, output files, exit codes, generated completions and pages.

mod generate;
mod options;
mod output;
mod output_file;
mod progress;

pub use generate::{Generate, generate};
pub use options::{RecomputeOptions, SessionOptions, parse_bytes, parse_ordinals, verifier_key};
pub use output::{Exit, finish, print_bytes, print_json, print_text, tell};
pub use output_file::OutputFile;
pub use progress::{SessionProgress, WorkProgress};
