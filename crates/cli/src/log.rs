//! Logs internal events on standard error if `GPU_ATTESTOR_LOG` requests it: `debug`, or targets as in
//! `verifier=debug,attester=trace`.

use std::io;

use anyhow::Context;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The environment variable that says what is logged.
pub const LOG_VARIABLE: &str = "GPU_ATTESTOR_LOG";

/// Logs what [`LOG_VARIABLE`] asks for from now on; nothing where it is not set.
///
/// # Errors
///
/// If it is not a list of targets and levels.
pub fn start_log() -> anyhow::Result<()> {
    let Some(wanted) = std::env::var_os(LOG_VARIABLE).filter(|wanted| !wanted.is_empty()) else {
        return Ok(());
    };
    let targets = wanted.to_str().and_then(|wanted| wanted.parse::<Targets>().ok());
    let targets = targets.with_context(|| {
        format!(
            "{LOG_VARIABLE}={}: expected a level (error, warn, info, debug, trace) or targets as in verifier=debug,attester=trace",
            wanted.display()
        )
    })?;
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_span_events(FmtSpan::CLOSE);
    tracing_subscriber::registry()
        .with(lines.with_filter(targets))
        .try_init()
        .context("a log is kept already")
}
