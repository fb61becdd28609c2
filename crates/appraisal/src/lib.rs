//! From evidence to a verdict people can rely on.
//!
//! Evidence and a policy give an appraisal: which [`profile`] classes the certified figures fit, findings
//! with cause and remedy, a verdict after AR4SI a device and for the host; signed as an EAT Attestation Result, or
//! printed as a report.

#![forbid(unsafe_code)]

mod document;
pub mod profile;

pub use document::InputError;
