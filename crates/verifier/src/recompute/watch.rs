//! Who is told how recomputing gets on.

use super::so_far::SoFar;

/// Is notified of the progress of recomputing, and may stop it.
pub trait Watch: Sync {
    /// One more check agrees.
    fn agreed(&self, so_far: &SoFar) {
        let _ = so_far;
    }

    /// Whether the rest is no longer wanted.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// A [`Watch`] that ignores notifications and never stops.
pub struct Unwatched;

impl Watch for Unwatched {}
