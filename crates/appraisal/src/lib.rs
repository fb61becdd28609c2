//! Derives from evidence a verdict that people can rely on.
//!
//! Evidence and a [`policy::Policy`] give an [`Appraisal`]: which classes ([`profile`]) the certified figures fit, findings
//! with cause and remedy, an AR4SI verdict per device and for the host. [`Appraisal::to_result`] makes an EAT Attestation
//! Result from it, [`Appraisal::document`] makes the content of a report.

#![forbid(unsafe_code)]

mod appraisal;
mod appraise;
pub mod assumptions;
pub mod audit;
pub mod calibrate;
pub mod classify;
mod document;
pub mod expected;
mod explained;
pub mod finding;
mod findings;
mod health;
mod issue;
mod nvidia;
pub mod policy;
mod policy_file;
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
pub use policy_file::PolicyFileError;
pub use subject::{Subject, nonce};
