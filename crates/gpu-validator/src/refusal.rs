//! What each command says of evidence that is refused, and its exit code.

use std::path::Path;

use cli::{Exit, print_json, print_text};
use evidence_check::{Refusal, RefusalKind};
use serde::Serialize;
use verifier::budget::{Tmac, TooCostly};

/// What is printed of evidence that is refused.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Refused {
    /// `contraindicated` if the evidence was sealed as it is, else `none`.
    #[cfg_attr(test, schemars(extend("enum" = ["contraindicated", "none"])))]
    verdict: &'static str,
    /// The refusal's code.
    reason: &'static str,
    /// The refusal for people.
    message: String,
}

/// How a command reports it, in addition to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A line like that of a verdict.
    Text,
    /// An object like that of a verdict.
    Json,
    /// No output: the command prints a report or a result, and there is none.
    Nothing,
}

/// Exit code 1 accuses: it is used only for evidence that was sealed in its present form.
fn exit(refusal: &Refusal) -> Exit {
    match refusal.kind() {
        RefusalKind::Damaged | RefusalKind::OtherVersion | RefusalKind::TooCostly(_) => Exit::NoVerdict,
        RefusalKind::Refused => Exit::Contraindicated,
    }
}

/// Why it is refused, and the option that accepts it, if one does.
fn why(refusal: &Refusal) -> String {
    let why = refusal.why();
    match refusal.kind() {
        RefusalKind::TooCostly(TooCostly::Work { work, .. }) => {
            format!("{why}; --max-cost {} accepts it", Tmac(work.multiply_adds))
        }
        RefusalKind::TooCostly(TooCostly::Memory { .. }) => format!("{why}; --max-memory accepts more"),
        RefusalKind::Damaged | RefusalKind::OtherVersion | RefusalKind::Refused => why.to_owned(),
    }
}

/// Says that the evidence in `path` is refused; the exit code.
pub(crate) fn tell(refusal: &Refusal, path: &Path, form: Form) -> anyhow::Result<Exit> {
    let (verdict, code, why) = (refusal.verdict(), refusal.code(), why(refusal));
    match form {
        Form::Text => print_text(format_args!("verdict      {verdict} ({code}): {why}\n"))?,
        Form::Json => print_json(&Refused {
            verdict,
            reason: code,
            message: why.clone(),
        })?,
        Form::Nothing => {}
    }
    let exit = exit(refusal);
    // If there is no verdict, standard error says why.
    if form == Form::Nothing || exit == Exit::NoVerdict {
        cli::tell(format_args!("refused: evidence {}: {why} ({code})", path.display()));
    }
    Ok(exit)
}
