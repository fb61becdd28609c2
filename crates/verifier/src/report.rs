//! What a session came to, for people and for programs: one structure, printed as text or JSON.

mod notes;

use std::fmt::{self, Write};

use serde::Serialize;

use protocol::bounds::{Assumptions, OFFLINE_ERROR_BITS};
use protocol::bytes::hex;
use protocol::claims::{Bound, Bounds, Claims, GroupClaims};
use protocol::evidence::Evidence;
use protocol::limits::{MIN_INNER_DIM_FOR_MEMORY, MIN_SAMPLES_FOR_CLAIM};
use protocol::verdict::Verdict;
use protocol::verifier::{Mode, VerifierSession};

use crate::reexecute::RootMismatch;

/// A finished session, ready to print.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// affirmed, contraindicated or could not run.
    pub verdict: &'static str,
    /// The reason's code; empty when affirmed.
    pub reason: &'static str,
    /// The reason for people; empty when affirmed.
    pub message: String,
    /// online or offline.
    pub mode: &'static str,
    /// Start by the recorder's clock, ms since the Unix epoch.
    pub started_unix_ms: u64,
    /// BLAKE3 of the sealed evidence, hex.
    pub evidence_blake3: String,
    /// Session id of the plan, hex.
    pub session_id: Option<String>,
    /// Verifier's key, hex.
    pub verifier: Option<String>,
    /// For whom the evidence was made.
    pub audience: Option<String>,
    /// Attester's key, hex.
    pub attester: Option<String>,
    /// What the Attester says it runs.
    pub software: Option<String>,
    /// The session's checksum, hex.
    pub checksum: Option<String>,
    /// Samples whose tiles were recomputed and agree.
    pub samples_checked: usize,
    /// The soundness error of a device and claim is 2^-this.
    pub error_bits: u32,
    /// What claims take for granted.
    pub assumptions: AssumptionsReport,
    /// The work.
    pub plan: Option<PlanReport>,
    /// The Verifier's windows, one entry an iteration.
    pub windows: Vec<WindowReport>,
    /// Devices of the plan.
    pub devices: Vec<DeviceReport>,
    /// Certified for the host: sums over the devices.
    pub host: Option<HostReport>,
    /// What a reader must know to read the figures.
    pub notes: Vec<String>,
}

/// The assumptions, with units.
#[derive(Clone, Debug, Serialize)]
pub struct AssumptionsReport {
    /// Exact int8 rate of the fastest measured GPU, operations/s.
    pub best_rate_ops: u64,
    /// W_in, bytes/s.
    pub link_in_bytes_per_s: u64,
    /// W_out, bytes/s.
    pub link_out_bytes_per_s: u64,
    /// R, bytes/s.
    pub helper_bytes_per_s: u64,
    /// C, bytes.
    pub on_chip_bytes: u64,
}

/// The plan's sizes.
#[derive(Clone, Debug, Serialize)]
pub struct PlanReport {
    /// n.
    pub matrix_dim: u32,
    /// Samples asked for a device and distinct k.
    pub samples: u32,
    /// Matrices in all.
    pub matrices: u64,
}

/// One iteration's windows.
#[derive(Clone, Debug, Serialize)]
pub struct WindowReport {
    /// k.
    pub inner_dim: u32,
    /// Sweeps.
    pub sweeps: u32,
    /// From NONCE or SALT w to SALT v, ns.
    pub fill_ns: u64,
    /// From SALT v to the last SWEPT, ns.
    pub sweep_ns: u64,
}

/// One device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceReport {
    /// Its ordinal.
    pub ordinal: u32,
    /// The engine it says serves it.
    pub engine: String,
    /// The model it says it is.
    pub model: String,
    /// Memory it says it has, bytes.
    pub memory_bytes: u64,
    /// N: bytes it was asked to hold.
    pub dataset_bytes: u64,
    /// Certified; absent unless affirmed online.
    pub certified: Option<BoundsReport>,
    /// What the clock gave, group by group; not certified.
    pub measured: Vec<MeasuredReport>,
}

/// The four bounds.
#[derive(Clone, Debug, Serialize)]
pub struct BoundsReport {
    /// V, bytes.
    pub memory_bytes: Claim,
    /// B, bytes/s.
    pub bandwidth_bytes_per_s: Claim,
    /// T, operations/s.
    pub tensor_ops_per_s: Claim,
    /// T_local, operations/s.
    pub local_tensor_ops_per_s: Claim,
}

/// A bound, or why there is none.
#[derive(Clone, Debug, Serialize)]
pub struct Claim {
    /// The certified lower bound.
    pub at_least: Option<u64>,
    /// k of the group it comes from.
    pub inner_dim: Option<u32>,
    /// Why no claim is made.
    pub no_claim: Option<String>,
}

/// The host's sums; `None` where no device makes the claim.
#[derive(Clone, Debug, Serialize)]
pub struct HostReport {
    /// V, bytes.
    pub memory_bytes: Option<u128>,
    /// B, bytes/s.
    pub bandwidth_bytes_per_s: Option<u128>,
    /// T, operations/s.
    pub tensor_ops_per_s: Option<u128>,
    /// T_local, operations/s.
    pub local_tensor_ops_per_s: Option<u128>,
}

/// One group's figures.
#[derive(Clone, Debug, Serialize)]
pub struct MeasuredReport {
    /// k.
    pub inner_dim: u32,
    /// s: effective samples.
    pub samples: u32,
    /// Operations/s over the fill windows.
    pub fill_ops_per_s: u64,
    /// Bytes/s over the sweep windows.
    pub sweep_bytes_per_s: u64,
}

impl Report {
    /// The report of a finished session; `sealed` are the evidence's bytes.
    ///
    /// # Panics
    ///
    /// If the session has no verdict yet.
    #[must_use]
    pub fn new(evidence: &Evidence, session: &VerifierSession, sealed: &[u8]) -> Self {
        Report::unless_contradicted(evidence, session, sealed, None)
    }

    /// The same, of which doing all of the work again came to another root: an affirmed session, whose samples missed it, is
    /// contraindicated then (`full-mismatch`), and certifies nothing.
    ///
    /// # Panics
    ///
    /// As [`Report::new`].
    #[must_use]
    pub fn contradicted(
        evidence: &Evidence,
        session: &VerifierSession,
        sealed: &[u8],
        mismatch: &RootMismatch,
    ) -> Self {
        Report::unless_contradicted(evidence, session, sealed, Some(mismatch))
    }

    fn unless_contradicted(
        evidence: &Evidence,
        session: &VerifierSession,
        sealed: &[u8],
        mismatch: Option<&RootMismatch>,
    ) -> Self {
        let verdict = session.verdict().expect("a finished session");
        let assumptions = &evidence.assumptions;
        let is_online = evidence.config.mode == Mode::Online;
        let (name, reason, message) = match (verdict, mismatch) {
            (Verdict::Affirmed, Some(mismatch)) => ("contraindicated", "full-mismatch", mismatch.to_string()),
            _ => (verdict.name(), verdict.code(), verdict.message()),
        };
        let is_affirmed = *verdict == Verdict::Affirmed && mismatch.is_none();
        let claims = session
            .plan()
            .filter(|plan| is_online && is_affirmed && session.windows().len() == plan.iterations().len())
            .map(|plan| Claims::new(plan, session.windows(), assumptions));
        let fields = session.plan().map(|plan| plan.fields());
        Report {
            verdict: name,
            reason,
            message,
            mode: if is_online { "online" } else { "offline" },
            started_unix_ms: evidence.started_unix_ms,
            evidence_blake3: blake3::hash(sealed).to_hex().to_string(),
            session_id: fields.map(|plan| hex(&plan.session_id)),
            verifier: fields.map(|plan| plan.verifier.to_string()),
            audience: fields.map(|plan| plan.audience.clone()),
            attester: session.hello().map(|hello| hello.identity.to_string()),
            software: session.hello().map(|hello| hello.software.clone()),
            checksum: session.checksum().map(|checksum| checksum.to_string()),
            samples_checked: if is_affirmed { session.tile_checks().len() } else { 0 },
            // Offline, the Attester recorded: its word on soundness counts for nothing.
            error_bits: if is_online {
                assumptions.error_bits
            } else {
                OFFLINE_ERROR_BITS
            },
            assumptions: AssumptionsReport {
                best_rate_ops: assumptions.best_rate_ops,
                link_in_bytes_per_s: assumptions.link_in_bytes,
                link_out_bytes_per_s: assumptions.link_out_bytes,
                helper_bytes_per_s: assumptions.helper_bytes,
                on_chip_bytes: assumptions.on_chip_bytes,
            },
            plan: session.plan().map(|plan| PlanReport {
                matrix_dim: plan.matrix_dim(),
                samples: plan.fields().samples,
                matrices: plan.devices().iter().map(|d| u64::from(d.num_matrices)).sum(),
            }),
            windows: windows(session, is_online),
            devices: devices(session, claims.as_ref(), assumptions),
            host: claims.as_ref().map(|claims| HostReport {
                memory_bytes: claims.host.memory_bytes,
                bandwidth_bytes_per_s: claims.host.bandwidth_bytes,
                tensor_ops_per_s: claims.host.tensor_ops,
                local_tensor_ops_per_s: claims.host.local_tensor_ops,
            }),
            notes: notes::of(session, is_online, is_affirmed, assumptions),
        }
    }

    /// The report as JSON, indented.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only strings, numbers and lists")
    }
}

fn windows(session: &VerifierSession, is_online: bool) -> Vec<WindowReport> {
    let iterations = session.plan().map(|plan| plan.iterations()).unwrap_or_default();
    iterations
        .iter()
        .zip(session.windows())
        .filter(|_| is_online)
        .map(|(iteration, windows)| WindowReport {
            inner_dim: iteration.inner_dim,
            sweeps: iteration.sweeps,
            fill_ns: windows.fill_ns,
            sweep_ns: windows.sweep_ns,
        })
        .collect()
}

fn devices(session: &VerifierSession, claims: Option<&Claims>, assumptions: &Assumptions) -> Vec<DeviceReport> {
    let (Some(hello), Some(plan)) = (session.hello(), session.plan()) else {
        return Vec::new();
    };
    plan.devices()
        .iter()
        .map(|device| {
            let offer = hello.devices.iter().find(|offer| offer.ordinal == device.ordinal);
            let claims = claims.and_then(|claims| claims.devices.iter().find(|c| c.device == device.ordinal));
            DeviceReport {
                ordinal: device.ordinal.0,
                engine: offer.map(|offer| offer.engine.clone()).unwrap_or_default(),
                model: offer.map(|offer| offer.model.clone()).unwrap_or_default(),
                memory_bytes: offer.map_or(0, |offer| offer.memory_bytes),
                dataset_bytes: plan.assignment(device).dataset_bytes(),
                certified: claims.map(|claims| bounds(&claims.best, &claims.groups, assumptions)),
                measured: claims
                    .map(|claims| claims.groups.iter().map(measured).collect())
                    .unwrap_or_default(),
            }
        })
        .collect()
}

fn bounds(best: &Bounds, groups: &[GroupClaims], assumptions: &Assumptions) -> BoundsReport {
    let claim = |bound: Option<Bound>, needs_large_k: bool, what: &str| Claim {
        at_least: bound.map(|bound| bound.value),
        inner_dim: bound.map(|bound| bound.inner_dim),
        no_claim: bound
            .is_none()
            .then(|| no_claim(groups, needs_large_k, what, assumptions)),
    };
    BoundsReport {
        memory_bytes: claim(best.memory_bytes, true, "memory"),
        bandwidth_bytes_per_s: claim(best.bandwidth_bytes, true, "bandwidth"),
        tensor_ops_per_s: claim(best.tensor_ops, false, "tensor"),
        local_tensor_ops_per_s: claim(best.local_tensor_ops, false, "local"),
    }
}

/// Why no group makes the claim (spec §6).
fn no_claim(groups: &[GroupClaims], needs_large_k: bool, what: &str, assumptions: &Assumptions) -> String {
    let eligible: Vec<_> = groups
        .iter()
        .map(|group| &group.measured)
        .filter(|m| !needs_large_k || m.inner_dim >= MIN_INNER_DIM_FOR_MEMORY)
        .collect();
    if eligible.is_empty() {
        return format!("no iteration has k >= {MIN_INNER_DIM_FOR_MEMORY}");
    }
    if eligible.iter().all(|m| m.samples < MIN_SAMPLES_FOR_CLAIM) {
        return format!("fewer than {MIN_SAMPLES_FOR_CLAIM} samples");
    }
    let smallest = 16 * u128::from(assumptions.on_chip_bytes);
    if what == "bandwidth" && eligible.iter().all(|m| u128::from(m.dataset_bytes) < smallest) {
        return "the dataset is smaller than 16 times the assumed on-chip memory".to_owned();
    }
    "slower than the assumed links and regeneration: they could explain what was seen".to_owned()
}

fn measured(group: &GroupClaims) -> MeasuredReport {
    let m = &group.measured;
    let per_s = |count: u128, ns: u64| {
        let rate = count
            .saturating_mul(1_000_000_000)
            .checked_div(u128::from(ns))
            .unwrap_or(0);
        u64::try_from(rate).unwrap_or(u64::MAX)
    };
    MeasuredReport {
        inner_dim: m.inner_dim,
        samples: m.samples,
        fill_ops_per_s: per_s(m.operations(), m.fill_ns()),
        sweep_bytes_per_s: per_s(u128::from(m.dataset_bytes) * u128::from(m.sweeps()), m.sweep_ns()),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.message.is_empty() {
            self.verdict.to_owned()
        } else {
            format!("{} ({}): {}", self.verdict, self.reason, self.message)
        };
        let line = |f: &mut fmt::Formatter<'_>, name: &str, value: &str| writeln!(f, "{name:<12} {value}");
        line(f, "verdict", &verdict)?;
        if let Some(id) = &self.session_id {
            line(f, "session", &format!("{id} ({})", self.mode))?;
        }
        if let (Some(attester), Some(software)) = (&self.attester, &self.software) {
            line(f, "attester", &format!("{attester} ({software})"))?;
        }
        if let Some(checksum) = &self.checksum {
            line(f, "checksum", checksum)?;
        }
        line(f, "evidence", &format!("BLAKE3 {}", self.evidence_blake3))?;
        if let Some(plan) = &self.plan {
            line(
                f,
                "plan",
                &format!(
                    "{} matrices of n = {}, {} samples a device and k",
                    plan.matrices, plan.matrix_dim, plan.samples
                ),
            )?;
        }
        for window in &self.windows {
            line(
                f,
                &format!("k = {}", window.inner_dim),
                &format!(
                    "fill {}, {} sweeps {}",
                    seconds(window.fill_ns),
                    window.sweeps,
                    seconds(window.sweep_ns)
                ),
            )?;
        }
        if self.devices.iter().any(|device| device.certified.is_some()) {
            self.write_claims(f)?;
        } else {
            for device in &self.devices {
                line(
                    f,
                    &format!("device {}", device.ordinal),
                    &format!(
                        "{}, {} ({})",
                        bytes(device.dataset_bytes.into()),
                        device.model,
                        device.engine
                    ),
                )?;
            }
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "- {note}")?;
        }
        Ok(())
    }
}

impl Report {
    fn write_claims(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\ncertified lower bounds")?;
        let mut rows = vec![["device", "memory V", "bandwidth B", "tensor T", "local T_local"].map(str::to_owned)];
        for device in &self.devices {
            let Some(certified) = &device.certified else { continue };
            let cell = |claim: &Claim, print: fn(u128) -> String| {
                claim
                    .at_least
                    .map_or("no claim".to_owned(), |value| print(value.into()))
            };
            rows.push([
                device.ordinal.to_string(),
                cell(&certified.memory_bytes, bytes),
                cell(&certified.bandwidth_bytes_per_s, bytes_per_s),
                cell(&certified.tensor_ops_per_s, ops_per_s),
                cell(&certified.local_tensor_ops_per_s, ops_per_s),
            ]);
        }
        if let Some(host) = &self.host {
            let cell = |value: Option<u128>, print: fn(u128) -> String| value.map_or("no claim".to_owned(), print);
            rows.push([
                "host".to_owned(),
                cell(host.memory_bytes, bytes),
                cell(host.bandwidth_bytes_per_s, bytes_per_s),
                cell(host.tensor_ops_per_s, ops_per_s),
                cell(host.local_tensor_ops_per_s, ops_per_s),
            ]);
        }
        write_table(f, &rows)?;

        writeln!(f, "\nmeasured, not certified")?;
        let mut rows = vec![["device", "dataset", "k", "samples", "fill", "sweep", "says it is"].map(str::to_owned)];
        for device in &self.devices {
            for m in &device.measured {
                rows.push([
                    device.ordinal.to_string(),
                    bytes(device.dataset_bytes.into()),
                    m.inner_dim.to_string(),
                    m.samples.to_string(),
                    ops_per_s(m.fill_ops_per_s.into()),
                    bytes_per_s(m.sweep_bytes_per_s.into()),
                    format!("{} ({})", device.model, device.engine),
                ]);
            }
        }
        write_table(f, &rows)?;

        let a = &self.assumptions;
        writeln!(
            f,
            "\nassumed      fastest measured GPU {} (G of the bounds: that / 2k, 15 % more), links {} in and {} out, helpers {}, on-chip memory {}",
            ops_per_s(a.best_rate_ops.into()),
            bytes_per_s(a.link_in_bytes_per_s.into()),
            bytes_per_s(a.link_out_bytes_per_s.into()),
            bytes_per_s(a.helper_bytes_per_s.into()),
            bytes(a.on_chip_bytes.into()),
        )?;
        let mut reasons: Vec<(String, &str)> = Vec::new();
        for certified in self.devices.iter().filter_map(|device| device.certified.as_ref()) {
            for (name, claim) in [
                ("V", &certified.memory_bytes),
                ("B", &certified.bandwidth_bytes_per_s),
                ("T", &certified.tensor_ops_per_s),
                ("T_local", &certified.local_tensor_ops_per_s),
            ] {
                if let Some(reason) = &claim.no_claim
                    && !reasons.iter().any(|(known, of)| known == reason && *of == name)
                {
                    reasons.push((reason.clone(), name));
                }
            }
        }
        for (reason, name) in reasons {
            writeln!(f, "no claim     {name}: {reason}")?;
        }
        Ok(())
    }
}

/// Left-aligned columns, two spaces apart.
fn write_table<const N: usize>(f: &mut fmt::Formatter<'_>, rows: &[[String; N]]) -> fmt::Result {
    let widths: [usize; N] = std::array::from_fn(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            write!(line, "{cell:<width$}  ")?;
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Bytes in binary units: they are memory.
#[must_use]
pub fn bytes(count: u128) -> String {
    let units = [
        (1u128 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    scaled(count, &units, "B")
}

/// Bytes a second in decimal units: they are rates.
#[must_use]
pub fn bytes_per_s(count: u128) -> String {
    let units = [
        (1_000_000_000_000u128, "TB/s"),
        (1_000_000_000, "GB/s"),
        (1_000_000, "MB/s"),
    ];
    scaled(count, &units, "B/s")
}

/// Operations a second; a Tops is 10^12.
#[must_use]
pub fn ops_per_s(count: u128) -> String {
    let units = [
        (1_000_000_000_000u128, "Tops"),
        (1_000_000_000, "Gops"),
        (1_000_000, "Mops"),
    ];
    scaled(count, &units, "ops")
}

/// Four digits, in the largest unit that is not larger than the count.
fn scaled(count: u128, units: &[(u128, &str)], smallest: &str) -> String {
    let Some((size, unit)) = units.iter().find(|(size, _)| count >= *size) else {
        return format!("{count} {smallest}");
    };
    let value = count as f64 / *size as f64;
    let decimals = if value >= 1000.0 {
        0
    } else if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    format!("{value:.decimals$} {unit}")
}

fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_the_largest_that_fit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(16 << 20), "16.00 MiB");
        assert_eq!(bytes(139 << 30), "139.0 GiB");
        assert_eq!(bytes_per_s(4_450_000_000_000), "4.450 TB/s");
        assert_eq!(ops_per_s(1_350_000_000_000_000), "1350 Tops");
        assert_eq!(ops_per_s(412_300_000_000), "412.3 Gops");
    }
}
