//! `gpu-validator report`: evidence under a policy, as a page, a text or a file for programs.

use appraisal::report;
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
        let text = match options.format {
            Format::Html => report::html(appraisal),
            Format::Md => report::markdown(appraisal),
            Format::Json => report::json(appraisal) + "\n",
            Format::Junit => report::junit(appraisal),
        };
        Ok(text.into_bytes())
    })
}
