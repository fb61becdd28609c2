//! Shared by both commands: session options, progress, output files, exit codes, generated completions and man pages.

mod detail;
mod engine;
mod failure;
mod generate;
mod interrupt;
mod log;
mod options;
mod output;
mod output_file;
mod paths;
mod progress;
#[cfg(feature = "schema")]
pub mod schema;
mod screen;
mod values;

pub use detail::{DetailOptions, print_report};
pub use engine::{EngineChoice, engine_parser};
pub use failure::{ErrorCode, ErrorReport, Failure, Place};
pub use generate::{Generate, generate};
pub use interrupt::{Interrupt, Interruptible};
pub use log::{LOG_VARIABLE, start_log};
pub use options::{
    IdentityReport, RecomputeOptions, SessionOptions, attester_key, ensure_enough_samples, print_identity, verifier_key,
};
pub use output::{
    Exit, finish, print_bytes, print_error, print_json, print_json_text, print_stopped, print_text, tell,
};
pub use output_file::OutputFile;
pub use paths::{OutputPath, input_path, parse};
pub use progress::{SessionProgress, WorkProgress};
pub use screen::screen_columns;
pub use values::{
    Iterations, parse_audience, parse_bytes, parse_devices, parse_duration, parse_iterations, parse_ordinals,
    parse_threads, parse_time, preset_parser,
};
