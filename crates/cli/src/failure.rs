//! What a command prints under `--json` if it fails.

use serde::Serialize;

/// What a command prints under `--json` if it fails. The exit code is that without `--json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorReport {
    /// Why it failed.
    pub error: Failure,
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failure {
    /// The kind of failure.
    pub code: ErrorCode,
    /// The failure for people, as on standard error.
    pub message: String,
    /// Where a policy or profile is invalid; only with the code `invalid-input`.
    #[serde(flatten)]
    pub place: Option<Place>,
}

/// The kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// Options or arguments are missing, unknown or malformed.
    Usage,
    /// A policy or profile is invalid.
    InvalidInput,
    /// A signed result is refused: the exit code is 1.
    ResultRefused,
    /// Any other failure: a file that cannot be read, a device that is missing.
    Failed,
}

/// Where a policy or profile is invalid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Place {
    /// The file, by the name that was given.
    pub file: String,
    /// Its line, from 1; null if the error has no single position.
    pub line: Option<usize>,
    /// Its column, from 1; null if the error has no single position.
    pub column: Option<usize>,
    /// The key with its tables, for example `device.class`; empty for the whole file.
    pub key: String,
    /// What is wrong, without the place.
    pub problem: String,
}

impl Failure {
    /// A failure without a place.
    #[must_use]
    pub fn new(code: ErrorCode, message: String) -> Self {
        Failure {
            code,
            message,
            place: None,
        }
    }

    /// The failure that an error is, with all its causes.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        Failure::new(ErrorCode::Failed, format!("{error:#}"))
    }
}

/// Whether the command line asks for JSON. It may be invalid otherwise, so it is not parsed for this.
pub(crate) fn is_json_asked() -> bool {
    // What follows is for another command.
    let own = std::env::args_os().take_while(|argument| argument != "--");
    own.skip(1).any(|argument| argument == "--json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_all_causes_and_no_place_unless_it_is_known() {
        let error = anyhow::anyhow!("no such file").context("evidence e.cbor");
        let mut failure = Failure::of(&error);
        let printed = |error: &Failure| serde_json::to_value(error).expect("JSON");
        let plain = serde_json::json!({ "code": "failed", "message": "evidence e.cbor: no such file" });
        assert_eq!(printed(&failure), plain);
        failure.place = Some(Place {
            file: "p.toml".to_owned(),
            line: Some(2),
            column: None,
            key: String::new(),
            problem: "no table".to_owned(),
        });
        let placed = printed(&failure);
        assert_eq!((&placed["file"], &placed["line"]), (&"p.toml".into(), &2.into()));
        assert_eq!(placed.get("column"), Some(&serde_json::Value::Null));
    }
}
