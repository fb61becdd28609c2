//! `gpu-validator report`: appraises evidence under a policy, and writes a page, a text or a file for programs.

use clap::{Args, ValueEnum};
use cli::Exit;

use super::JudgeOptions;

/// Options of `gpu-validator report`.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 affirming or warning, 1 contraindicated, with --strict a warning too, 2 none, or usage, input or output.\n\n\
    Examples:\n  \
    gpu-validator report e.cbor -o report.html\n  \
    gpu-validator report e.cbor --format md --policy policy.toml"
)]
pub(crate) struct ReportOptions {
    #[command(flatten)]
    judge: JudgeOptions,

    /// html (one page, no network), md, json or junit
    #[arg(long, value_name = "FORMAT", default_value = "html")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Html,
    Md,
    Json,
    Junit,
}

pub(crate) fn run(options: &ReportOptions) -> anyhow::Result<Exit> {
    options.judge.judge("a report", |appraisal| {
        let document = appraisal.document();
        let text = match options.format {
            Format::Html => report::html(&document),
            Format::Md => report::markdown(&document),
            Format::Json => appraisal.to_json() + "\n",
            Format::Junit => report::junit(&document),
        };
        Ok(text.into_bytes())
    })
}
