//! Evidence that gets no verdict of its own: its code, and what that shows about its maker.

use protocol::evidence::EVIDENCE_VERSION;
use verifier::VerifyError;
use verifier::budget::TooCostly;

/// Why evidence is refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    kind: RefusalKind,
    why: String,
}

/// What a refusal shows about the maker of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// Nothing: it was damaged, or is no evidence.
    Damaged,
    /// Nothing: another release wrote it.
    OtherVersion,
    /// Nothing: it was not examined.
    TooCostly(TooCostly),
    /// It was sealed as it is, and contradicts itself or is not what was asked for.
    Refused,
}

impl Refusal {
    /// Why evidence cannot be opened.
    ///
    /// # Errors
    ///
    /// A problem of this host, or a stop, is not the evidence's and stays an error.
    pub fn of(error: VerifyError) -> Result<Self, VerifyError> {
        let error = match error {
            VerifyError::Evidence(error) => error,
            VerifyError::TooCostly(error) => return Ok(error.into()),
            error @ (VerifyError::Recompute(_) | VerifyError::Stopped(_)) => return Err(error),
        };
        Ok(if error.is_other_version() {
            let why = format!(
                "{error}: this release reads version {EVIDENCE_VERSION} of the format; take the one that wrote it"
            );
            let kind = RefusalKind::OtherVersion;
            Refusal { kind, why }
        } else if error.is_damage() {
            Refusal::damaged(error.to_string())
        } else {
            Refusal::refused(error.to_string())
        })
    }

    /// A folder instead of a file.
    #[must_use]
    pub fn folder() -> Self {
        Refusal::damaged("it is a folder".to_owned())
    }

    /// It is well-formed, and contradicts itself or is not what was asked for.
    #[must_use]
    pub fn refused(why: String) -> Self {
        let kind = RefusalKind::Refused;
        Refusal { kind, why }
    }

    /// Truncated or damaged in transfer, or not evidence.
    #[must_use]
    pub fn damaged(why: String) -> Self {
        Refusal {
            kind: RefusalKind::Damaged,
            why: format!(
                "{why}; a file cut or damaged on its way looks so, and so does one that is no evidence: get it again"
            ),
        }
    }

    /// What it shows about the maker of the evidence.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// A keyword for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.kind {
            RefusalKind::Damaged => "damaged-evidence",
            RefusalKind::OtherVersion => "unsupported-version",
            RefusalKind::TooCostly(_) => "too-costly",
            RefusalKind::Refused => "evidence-refused",
        }
    }

    /// The verdict that follows: "contraindicated" accuses, so it is used only for evidence that was sealed in its present
    /// form.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match self.kind {
            RefusalKind::Damaged | RefusalKind::OtherVersion | RefusalKind::TooCostly(_) => "none",
            RefusalKind::Refused => "contraindicated",
        }
    }

    /// For people.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl From<TooCostly> for Refusal {
    fn from(error: TooCostly) -> Self {
        Refusal {
            kind: RefusalKind::TooCostly(error),
            why: error.to_string(),
        }
    }
}
