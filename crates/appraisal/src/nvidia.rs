//! NVIDIA's own attestation, as far as evidence carries one.

use attestation_result::nvidia::{NvidiaAttestation, NvidiaKeys, check};
use serde::Serialize;

use crate::subject::{Subject, nonce};

/// What came of an attestation that the evidence carries.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Carried {
    /// No keys were given to check it with.
    Unchecked {
        /// Its length.
        bytes: usize,
    },
    /// It does not hold.
    Refused {
        /// Why.
        why: String,
    },
    /// It holds, for this session.
    Checked(NvidiaAttestation),
}

impl Carried {
    /// What the evidence carries, checked with `keys` if there are any; `None` if it carries nothing.
    ///
    /// Times are held against when the evidence says that OPENINGS came: tokens are short-lived, and evidence is kept.
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
