//! NVIDIA's own attestation, if the evidence carries one.

use attestation_result::nvidia::{NvidiaAttestation, NvidiaKeys, check};
use serde::Serialize;

use crate::subject::{Subject, nonce};

/// The result of checking the attestation that the evidence carries.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Carried {
    /// No keys were given to check it with.
    Unchecked {
        /// Its length.
        bytes: usize,
    },
    /// It is not valid.
    Refused {
        /// Why.
        why: String,
    },
    /// It is valid, for this session.
    Checked(NvidiaAttestation),
}

impl Carried {
    /// The attestation in the evidence, checked with `keys` if there are any; `None` if the evidence carries none.
    ///
    /// Times are compared with the arrival of OPENINGS stated in the evidence: tokens are short-lived, and evidence is kept.
    #[must_use]
    pub fn of(subject: &Subject<'_>, keys: Option<&NvidiaKeys>) -> Option<Self> {
        let Subject { evidence, session, .. } = subject;
        let attestation = session.said()?.attestation.as_deref()?;
        let Some(keys) = keys else {
            return Some(Carried::Unchecked {
                bytes: attestation.len(),
            });
        };
        let refused = |why: String| Some(Carried::Refused { why });
        let Ok(eat) = str::from_utf8(attestation) else {
            return refused("no text in UTF-8".to_owned());
        };
        let Some(nonce) = nonce(session) else {
            return refused("the session has no nonce".to_owned());
        };
        let elapsed_ns = session.records().last().map_or(0, |record| record.at_ns);
        let came_s = (evidence.started_unix_ms.saturating_add(elapsed_ns / 1_000_000)) / 1000;
        match check(eat.trim(), keys, &nonce.0, came_s) {
            Ok(attestation) => Some(Carried::Checked(attestation)),
            Err(error) => refused(error.to_string()),
        }
    }
}
