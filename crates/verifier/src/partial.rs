//! The result of a check that was stopped, for people and for programs.

use std::fmt;

use protocol::certified::{Bound, Certified};
use protocol::evidence::Evidence;
use protocol::limits::MIN_SAMPLES_FOR_BOUND;
use protocol::verifier::VerifierSession;
use serde::Serialize;

use crate::outcome::Judge;
use crate::recompute::SoFar;
use crate::units::{bytes, bytes_per_s, ops_per_s};

/// No verdict, but how many samples agree and what they certify.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PartialReport {
    /// Always "none": a sample that was not checked never counts as passed.
    pub verdict: &'static str,
    /// Always "stopped".
    pub reason: &'static str,
    /// Samples whose tiles were recomputed and agree.
    pub samples_checked: usize,
    /// Samples drawn.
    pub samples_drawn: usize,
    /// Device by device and group by group.
    pub groups: Vec<GroupReport>,
    /// Certified for the host by the samples that count; null offline, and if the Verifier is not trusted.
    pub host_so_far: Option<HostSoFar>,
}

/// The host's bounds from the samples that count; null where there is no bound.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostSoFar {
    /// V, bytes.
    pub memory_bytes: Option<u128>,
    /// B, bytes/s.
    pub bandwidth_bytes_per_s: Option<u128>,
    /// T, operations/s.
    pub tensor_ops_per_s: Option<u128>,
    /// T_local, operations/s.
    pub local_tensor_ops_per_s: Option<u128>,
}

/// One device's samples with one k.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GroupReport {
    /// The device's ordinal.
    pub device: u32,
    /// k.
    pub inner_dim: u32,
    /// The number of samples in an unbroken run from the first drawn that agree: these count.
    pub samples: usize,
    /// Samples drawn.
    pub drawn: usize,
}

impl PartialReport {
    /// The report of a check of this session that was stopped. It has bounds only for a judge who trusts the session's
    /// Verifier.
    #[must_use]
    pub fn new(evidence: &Evidence, session: &VerifierSession, judge: &Judge, so_far: &SoFar) -> Self {
        let certified = so_far.certified(session, &judge.assumptions);
        PartialReport {
            verdict: "none",
            reason: "stopped",
            samples_checked: so_far.done,
            samples_drawn: so_far.total,
            groups: so_far
                .groups
                .iter()
                .map(|group| GroupReport {
                    device: group.device.0,
                    inner_dim: group.inner_dim,
                    samples: group.first_agreeing,
                    drawn: group.drawn,
                })
                .collect(),
            host_so_far: certified
                .filter(|_| judge.trusts(evidence, session))
                .map(|certified| host(&certified)),
        }
    }
}

fn host(certified: &Certified) -> HostSoFar {
    let value = |bound: Option<Bound<u128>>| bound.map(|bound| bound.value);
    HostSoFar {
        memory_bytes: value(certified.host.memory_bytes),
        bandwidth_bytes_per_s: value(certified.host.bandwidth_bytes_per_s),
        tensor_ops_per_s: value(certified.host.tensor_ops_per_s),
        local_tensor_ops_per_s: value(certified.host.local_tensor_ops_per_s),
    }
}

/// The host's bounds on one line: "V 132.3 GiB, B no bound, …".
#[must_use]
pub fn bounds_line(certified: &Certified) -> String {
    line(&host(certified))
}

fn line(host: &HostSoFar) -> String {
    let cell = |name: &str, value: Option<u128>, print: fn(u128) -> String| {
        format!("{name} {}", value.map_or("no bound".to_owned(), print))
    };
    [
        cell("V", host.memory_bytes, bytes),
        cell("B", host.bandwidth_bytes_per_s, bytes_per_s),
        cell("T", host.tensor_ops_per_s, ops_per_s),
        cell("T_local", host.local_tensor_ops_per_s, ops_per_s),
    ]
    .join(", ")
}

impl fmt::Display for PartialReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "verdict      none (stopped): checked {} of {} samples, all agree",
            self.samples_checked, self.samples_drawn
        )?;
        for group in &self.groups {
            writeln!(
                f,
                "device {:<5} k = {}: the first {} of {} samples count",
                group.device, group.inner_dim, group.samples, group.drawn
            )?;
        }
        if let Some(host) = &self.host_so_far {
            writeln!(f, "bound so far {}", line(host))?;
        }
        writeln!(
            f,
            "\n- no bound below {MIN_SAMPLES_FOR_BOUND} samples; those checked early for their tiles' sake do not count"
        )
    }
}
