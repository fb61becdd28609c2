//! Attesters that cheat, and sessions to test them in: in memory, on a simulated clock.
//!
//! An adversary is the honest Attester with one thing changed. What it computes is changed in its engine
//! ([`engine`], named in [`adversary`]), its messages in its [`peer`]. A [`rehearsal`] runs it against the Verifier's
//! driver with made-up times and fixed fresh bytes, so that every run gives the same evidence; [`together`] runs several at
//! once, and [`wire`] one at the end of a real byte stream. [`model`] is a GPU on the made-up clock. [`odds`] says how often a cheat must be caught.

pub mod adversary;
mod alone;
pub mod cast;
pub mod engine;
pub mod model;
pub mod odds;
pub mod peer;
pub mod reasons;
pub mod rehearsal;
pub mod stand_in;
pub mod together;
pub mod wire;
