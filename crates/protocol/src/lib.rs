//! The gpu-attestor protocol as data and state machines.
//!
//! `spec/protocol.md` is normative; each item names the section it implements. Nothing here reads a clock, draws a
//! random byte or touches a file or socket: times, messages and random bytes are arguments. The modules
//! below are in the order in which a session uses them.

#![forbid(unsafe_code)]

pub mod bytes;
pub mod cbor;
pub mod limits;
pub mod printable;

pub mod plan;

pub mod derive;
pub mod operand;
pub mod tile;

pub mod commitment;
mod commitment_id;
pub mod digest;
pub mod matching;
pub mod sampling;

pub mod engine;

pub mod fabric;
pub mod frame;
pub mod message;
pub mod record;
pub mod request;

pub mod openings;
pub mod tournament;
pub mod trace;
pub mod transcript;

pub mod attester;
pub mod verdict;
pub mod verifier;

pub mod driver;

pub mod bounds;
pub mod certified;

pub mod challenge;
pub mod evidence;
pub mod joint;
