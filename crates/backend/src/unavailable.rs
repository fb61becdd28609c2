//! Why the devices of an engine cannot be used.

use std::error::Error;
use std::fmt;

use protocol::message::AbortCode;

/// Why an engine's devices cannot be used. The text and the sources are those of the engine's own error.
#[derive(Debug)]
pub enum Unavailable {
    /// This host has no such device, or this build has no code for it: another engine may be used instead if this one
    /// was not explicitly requested.
    Absent(Box<dyn Error + Send + Sync>),
    /// A device exists but fails, or the driver shows none: no other engine may be used instead unless requested.
    Failed {
        /// The engine's error.
        why: Box<dyn Error + Send + Sync>,
        /// The code that a Verifier gets.
        code: AbortCode,
    },
}

impl Unavailable {
    /// The code that a Verifier gets.
    #[must_use]
    pub fn abort_code(&self) -> AbortCode {
        match self {
            Unavailable::Absent(_) => AbortCode::Internal,
            Unavailable::Failed { code, .. } => *code,
        }
    }

    fn why(&self) -> &(dyn Error + Send + Sync) {
        let (Unavailable::Absent(why) | Unavailable::Failed { why, .. }) = self;
        &**why
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.why(), f)
    }
}

impl Error for Unavailable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.why().source()
    }
}
