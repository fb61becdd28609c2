//! When each device was at work, for timelines.

use protocol::bytes::DeviceOrdinal;
use protocol::plan::{DevicePlan, Iteration};
use protocol::verifier::{VerifierSession, Windows};
use serde::Serialize;

/// One device in one iteration, ns since the session began; arrivals are diagnostics (spec §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PhaseSpan {
    /// Iteration, from 0.
    pub iteration: u32,
    /// k.
    pub inner_dim: u32,
    /// The fill window's start.
    pub fill_start_ns: u64,
    /// FILLED of this device.
    pub filled_ns: u64,
    /// The fill window's end: SALT v.
    pub sweep_start_ns: u64,
    /// SWEPT of this device.
    pub swept_ns: u64,
    /// The sweep window's end.
    pub sweep_end_ns: u64,
}

/// The spans of one device, one for each iteration that began.
pub(super) fn phases(session: &VerifierSession, device: &DevicePlan) -> Vec<PhaseSpan> {
    let Some(plan) = session.plan() else { return Vec::new() };
    let span = |(at, (iteration, windows)): (usize, (&Iteration, &Windows))| {
        let arrival = |arrivals: &[(DeviceOrdinal, u64)]| {
            let own = arrivals.iter().find(|(ordinal, _)| *ordinal == device.ordinal);
            own.map_or(0, |(_, after_ns)| *after_ns)
        };
        let sweep_start_ns = windows.fill_start_ns + windows.fill_ns;
        PhaseSpan {
            iteration: at as u32,
            inner_dim: iteration.inner_dim,
            fill_start_ns: windows.fill_start_ns,
            filled_ns: windows.fill_start_ns + arrival(&windows.filled_after_ns),
            sweep_start_ns,
            swept_ns: sweep_start_ns + arrival(&windows.swept_after_ns),
            sweep_end_ns: sweep_start_ns + windows.sweep_ns,
        }
    };
    plan.iterations()
        .iter()
        .zip(session.windows())
        .enumerate()
        .map(span)
        .collect()
}
