//! From evidence to a verdict people can rely on.
//!
//! Evidence and a [`policy::Policy`] give an [`Appraisal`]: which [`profile`] classes the certified figures fit, findings
//! with cause and remedy, a verdict after AR4SI a device and for the host; signed as an EAT Attestation Result, or
//! printed as a report.

#![forbid(unsafe_code)]

mod document;
pub mod profile;

pub mod policy;

pub mod claim;
pub mod classify;
pub mod expected;
pub mod finding;
pub mod reason;
pub mod seen;
pub mod telemetry;

mod appraise;

pub mod audit;
mod issue;
mod nvidia;

pub mod report;

pub mod calibrate;

pub use appraise::{Appraisal, DeviceAppraisal, HeldAgainst, PhaseSpan, Subject, appraise, nonce};
pub use document::InputError;
pub use nvidia::Carried;
