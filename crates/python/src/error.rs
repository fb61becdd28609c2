//! Errors as the package's exceptions, by kind.

use std::io;
use std::path::Path;

use appraisal::profiles::ProfilesError;
use appraisal::{InputError, PolicyFileError};
use evidence_check::{OwnKeyError, Refusal, RefusalKind};
use keystore::KeyError;
use pyo3::PyErr;
use pyo3::exceptions::PyOSError;
use verifier::SessionError;
use verifier::recompute::RecomputeError;

mod kinds {
    #![allow(missing_docs, reason = "python/src/gpu_attestor/_errors.py documents them")]

    use pyo3::import_exception;

    import_exception!(gpu_attestor._errors, DamagedEvidenceError);
    import_exception!(gpu_attestor._errors, KeyUnusableError);
    import_exception!(gpu_attestor._errors, LocalError);
    import_exception!(gpu_attestor._errors, PolicyError);
    import_exception!(gpu_attestor._errors, ResultRefusedError);
    import_exception!(gpu_attestor._errors, StoppedError);
    import_exception!(gpu_attestor._errors, TooCostlyError);
    import_exception!(gpu_attestor._errors, UnsupportedVersionError);
}

use kinds::{DamagedEvidenceError, LocalError, PolicyError, TooCostlyError, UnsupportedVersionError};
pub(crate) use kinds::{KeyUnusableError, ResultRefusedError, StoppedError};

/// `OSError`, of the subclass that its number has.
pub(crate) fn os(error: &io::Error, path: &Path) -> PyErr {
    let path = path.display().to_string();
    match error.raw_os_error() {
        Some(number) => PyOSError::new_err((number, os_text(error), path)),
        None => PyOSError::new_err(format!("{path}: {error}")),
    }
}

/// The system's text without the number, which the exception prints itself.
fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The exception for evidence that is not judged; `None` for evidence that is refused: that is a verdict.
pub(crate) fn refusal(refusal: &Refusal) -> Option<PyErr> {
    let (code, why) = (refusal.code(), refusal.why().to_owned());
    match refusal.kind() {
        RefusalKind::Damaged => Some(DamagedEvidenceError::new_err((code, why))),
        RefusalKind::OtherVersion => Some(UnsupportedVersionError::new_err((code, why))),
        RefusalKind::TooCostly(_) => Some(TooCostlyError::new_err((code, why))),
        RefusalKind::Refused => None,
    }
}

pub(crate) fn own_key(error: &OwnKeyError) -> PyErr {
    KeyUnusableError::new_err(("verifier-key", error.to_string()))
}

pub(crate) fn key(error: &KeyError) -> PyErr {
    KeyUnusableError::new_err(("verifier-key", format!("the Verifier's key: {error}")))
}

pub(crate) fn recompute(error: &RecomputeError) -> PyErr {
    LocalError::new_err(("recompute", format!("tiles cannot be recomputed here: {error}")))
}

/// Why all of the work could not be done again here.
pub(crate) fn full(why: &str) -> PyErr {
    LocalError::new_err(("full", format!("the work cannot be done again here: {why}")))
}

pub(crate) fn session(error: &SessionError) -> PyErr {
    let code = match error {
        SessionError::Randomness(_) => "randomness",
        SessionError::Recompute(_) => "recompute",
        SessionError::Resources(_) => "resources",
    };
    LocalError::new_err((code, error.to_string()))
}

pub(crate) fn resources(error: &io::Error) -> PyErr {
    session(&SessionError::Resources(io::Error::new(
        error.kind(),
        error.to_string(),
    )))
}

pub(crate) fn input(error: &InputError) -> PyErr {
    let (line, column) = error.position.unzip();
    PolicyError::new_err((
        "invalid",
        error.to_string(),
        error.file.clone(),
        line,
        column,
        error.key.clone(),
    ))
}

pub(crate) fn policy_file(error: &PolicyFileError) -> PyErr {
    match error {
        PolicyFileError::Input(error) => input(error),
        PolicyFileError::Io { file, error } => os(error, file),
        PolicyFileError::NeitherFileNorClass { .. } => PolicyError::new_err(("no-policy", error.to_string())),
        PolicyFileError::NoFigures(_) => PolicyError::new_err(("no-figures", error.to_string())),
        PolicyFileError::TooLong(_) | PolicyFileError::NotText(_) => {
            PolicyError::new_err(("not-a-policy", error.to_string()))
        }
    }
}

pub(crate) fn profiles(error: &ProfilesError) -> PyErr {
    match error {
        ProfilesError::Io { path, error } => os(error, Path::new(path)),
        ProfilesError::Input(error) => input(error),
        ProfilesError::Duplicate(_) => PolicyError::new_err(("duplicate-profile", error.to_string())),
    }
}
