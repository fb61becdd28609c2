//! Reports: the results of sessions and appraisals, for people and for other programs.
//!
//! A [`Report`] is the result of a session, as text or JSON. A [`document::Document`] is what an appraisal adds to it:
//! [`html`], [`markdown`] and [`junit`] show it.

#![forbid(unsafe_code)]

pub mod date;
pub mod document;
mod escape;
mod fabric;
pub mod figure;
mod html;
mod junit;
mod markdown;
mod notes;
pub mod phases;
mod session;
mod svg;
pub mod telemetry;
mod text;

pub use fabric::{ExchangeReport, FabricReport, PairReport};
pub use html::html;
pub use junit::junit;
pub use markdown::markdown;
pub use session::{
    AssumptionsReport, BoundReport, BoundsReport, DeviceReport, MeasuredReport, PlanReport, Report, WindowReport,
    evidence_blake3,
};
pub use text::Detail;
