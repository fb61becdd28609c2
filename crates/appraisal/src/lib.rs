//! From evidence to a verdict people can rely on.
//!
//! Evidence and a [`policy::Policy`] give an [`Appraisal`]: which classes ([`profile`]) the certified figures fit, findings
//! with cause and remedy, a verdict after AR4SI a device and for the host. [`Appraisal::to_result`] makes an EAT Attestation
//! Result of it, [`Appraisal::document`] what a report shows.

#![forbid(unsafe_code)]

mod appraisal;
mod appraise;
pub mod assumptions;
pub mod audit;
pub mod calibrate;
pub mod classify;
mod document;
pub mod expected;
pub mod finding;
mod findings;
mod issue;
mod nvidia;
pub mod policy;
pub mod profile;
pub mod profiles;
pub mod reason;
pub mod seen;
mod shown;
pub mod stated;
mod subject;

pub use appraisal::{Appraisal, DeviceAppraisal, HeldAgainst};
pub use appraise::appraise;
pub use document::InputError;
pub use nvidia::Carried;
pub use subject::{Subject, nonce};
