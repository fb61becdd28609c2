//! Reports: what sessions and appraisals come to, as people and other programs read it.

#![forbid(unsafe_code)]

mod notes;
mod session;
mod text;

pub use session::{
    AssumptionsReport, BoundsReport, Claim, DeviceReport, MeasuredReport, PlanReport, Report, WindowReport,
};
