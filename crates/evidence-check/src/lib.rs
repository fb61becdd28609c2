//! Evidence from others, admitted or refused: budget, seal, requirements, trust, in this order, before a tile is recomputed.
//!
//! Whoever checks evidence does it by this code alone, so that all give the same verdict.

#![forbid(unsafe_code)]

mod admit;
mod read;
mod refusal;
mod wanted;

pub use admit::{Admission, Admitted, OwnKeyError, Rules, admit, judge, own_verifier};
pub use read::{open, open_file};
pub use refusal::{Refusal, RefusalKind};
pub use wanted::{Wanted, time};
