//! Evidence that gets no verdict of its own: its code, its exit code, and the output of each command.

use std::path::Path;

use cli::{Exit, print_json, print_text};
use protocol::evidence::EVIDENCE_VERSION;
use serde_json::json;
use verifier::VerifyError;
use verifier::budget::{Tmac, TooCostly};

/// Why evidence is refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    kind: Kind,
    why: String,
}

/// What a refusal shows about the maker of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing: it was damaged, or is no evidence.
    Damaged,
    /// Nothing: another release wrote it.
    OtherVersion,
    /// Nothing: it was not examined.
    TooCostly,
    /// It was sealed as it is, and contradicts itself or is not what was asked for.
    Refused,
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

impl Refusal {
    /// Why evidence cannot be opened; a problem of this host stays an error.
    pub(crate) fn of(error: VerifyError) -> anyhow::Result<Self> {
        let error = match error {
            VerifyError::Evidence(error) => error,
            VerifyError::TooCostly(error) => return Ok(error.into()),
            error @ (VerifyError::Recompute(_) | VerifyError::Stopped(_)) => return Err(error.into()),
        };
        Ok(if error.is_other_version() {
            let why = format!(
                "{error}: this release reads version {EVIDENCE_VERSION} of the format; take the one that wrote it"
            );
            let kind = Kind::OtherVersion;
            Refusal { kind, why }
        } else if error.is_damage() {
            Refusal::damaged(error.to_string())
        } else {
            Refusal::refused(error.to_string())
        })
    }

    /// A folder instead of a file.
    pub(crate) fn folder() -> Self {
        Refusal::damaged("it is a folder".to_owned())
    }

    /// It is well-formed, and contradicts itself or is not what was asked for.
    pub(crate) fn refused(why: String) -> Self {
        let kind = Kind::Refused;
        Refusal { kind, why }
    }

    /// Truncated or damaged in transfer, or not evidence.
    pub(crate) fn damaged(why: String) -> Self {
        Refusal {
            kind: Kind::Damaged,
            why: format!(
                "{why}; a file cut or damaged on its way looks so, and so does one that is no evidence: get it again"
            ),
        }
    }

    /// A keyword for programs.
    pub(crate) fn code(&self) -> &'static str {
        match self.kind {
            Kind::Damaged => "damaged-evidence",
            Kind::OtherVersion => "unsupported-version",
            Kind::TooCostly => "too-costly",
            Kind::Refused => "evidence-refused",
        }
    }

    /// Exit code 1 accuses: it is used only for evidence that was sealed in its present form.
    pub(crate) fn exit(&self) -> Exit {
        match self.kind {
            Kind::Damaged | Kind::OtherVersion | Kind::TooCostly => Exit::NoVerdict,
            Kind::Refused => Exit::Contraindicated,
        }
    }

    /// For people.
    pub(crate) fn why(&self) -> &str {
        &self.why
    }

    /// Says that the evidence in `path` is refused; the exit code.
    pub(crate) fn tell(&self, path: &Path, form: Form) -> anyhow::Result<Exit> {
        let verdict = match self.exit() {
            Exit::Contraindicated => "contraindicated",
            Exit::Affirmed | Exit::NoVerdict => "none",
        };
        let (code, why) = (self.code(), &self.why);
        match form {
            Form::Text => print_text(format_args!("verdict      {verdict} ({code}): {why}\n"))?,
            Form::Json => print_json(&json!({ "verdict": verdict, "reason": code, "message": why }))?,
            Form::Nothing => {}
        }
        // If there is no verdict, standard error says why.
        if form == Form::Nothing || self.exit() == Exit::NoVerdict {
            cli::tell(format_args!("refused: evidence {}: {why} ({code})", path.display()));
        }
        Ok(self.exit())
    }
}

impl From<TooCostly> for Refusal {
    fn from(error: TooCostly) -> Self {
        let remedy = match error {
            TooCostly::Work { work, .. } => format!("--max-cost {} accepts it", Tmac(work.multiply_adds)),
            TooCostly::Memory { .. } => "--max-memory accepts more".to_owned(),
        };
        Refusal {
            kind: Kind::TooCostly,
            why: format!("{error}; {remedy}"),
        }
    }
}
