//! When each device was working, for timelines.

use protocol::bytes::DeviceOrdinal;
use protocol::plan::{DevicePlan, Iteration};
use protocol::verifier::{VerifierSession, Windows};
use serde::Serialize;

/// One device in one iteration, ns since the session began; arrival times are diagnostics (spec §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PhaseSpan {
    /// Iteration, from 0.
    pub iteration: u32,
    /// k.
    pub inner_dim: u32,
    /// The fill window's start.
    pub fill_start_ns: u64,
    /// When FILLED of this device arrived; the session's end if it never did.
    pub filled_ns: u64,
    /// The fill window's end: SALT v, or the session's end.
    pub sweep_start_ns: u64,
    /// When SWEPT of this device arrived; the session's end if it never did.
    pub swept_ns: u64,
    /// The sweep window's end, or the session's.
    pub sweep_end_ns: u64,
    /// Whether both windows ended before the session did.
    pub is_whole: bool,
}

/// The spans of one device, one for each iteration that began.
#[must_use]
pub fn phases(session: &VerifierSession, device: &DevicePlan) -> Vec<PhaseSpan> {
    let Some(plan) = session.plan() else { return Vec::new() };
    let ended_ns = session.records().last().map_or(0, |record| record.at_ns);
    let span = |(at, (iteration, windows)): (usize, (&Iteration, &Windows))| {
        let arrival = |arrivals: &[(DeviceOrdinal, u64)]| {
            let own = arrivals.iter().find(|(ordinal, _)| *ordinal == device.ordinal);
            own.map(|(_, after_ns)| *after_ns)
        };
        // A window of length 0 is one that did not end.
        let end = |start_ns: u64, length_ns: u64| match length_ns {
            0 => ended_ns.max(start_ns),
            length_ns => start_ns + length_ns,
        };
        let fill_start_ns = windows.fill_start_ns;
        let sweep_start_ns = end(fill_start_ns, windows.fill_ns);
        let sweep_end_ns = end(sweep_start_ns, windows.sweep_ns);
        PhaseSpan {
            iteration: at as u32,
            inner_dim: iteration.inner_dim,
            fill_start_ns,
            filled_ns: arrival(&windows.filled_after_ns).map_or(sweep_start_ns, |after_ns| fill_start_ns + after_ns),
            sweep_start_ns,
            swept_ns: arrival(&windows.swept_after_ns).map_or(sweep_end_ns, |after_ns| sweep_start_ns + after_ns),
            sweep_end_ns,
            // The fill window has already ended.
            is_whole: windows.sweep_ns > 0,
        }
    };
    plan.iterations()
        .iter()
        .zip(session.windows())
        .enumerate()
        .map(span)
        .collect()
}
