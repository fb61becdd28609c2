//! Engines that cheat.

mod absent;
mod commitments;
mod leaves;
mod shortcut;

pub use absent::{AbsentEngine, Place};
pub use commitments::Commitments;
pub use leaves::{CheatingEngine, Strategy};
pub use shortcut::{Shortcut, ShortcutEngine};
