//! The result of a session, for people and for programs: one structure, printed as text or JSON.

use protocol::bounds::{Assumptions, Measured, OFFLINE_ERROR_BITS};
use protocol::bytes::hex;
use protocol::certified::{Bound, Bounds, Certified, HostBounds};
use protocol::evidence::Evidence;
use protocol::limits::{MIN_INNER_DIM_FOR_MEMORY, MIN_SAMPLES_FOR_BOUND};
use protocol::verifier::{Mode, VerifierSession};
use serde::Serialize;
use verifier::assumptions::Assumed;
use verifier::hardware::ON_SALE;
use verifier::outcome::{Judge, Outcome, verifier_of};
use verifier::units::{bytes, bytes_per_s, ops_per_s};

use crate::fabric::FabricReport;
use crate::notes;

/// A finished session, ready to print.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// The verdict.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["affirmed", "contraindicated", "could not run", "none"])))]
    pub verdict: &'static str,
    /// The reason's code; empty when affirmed.
    pub reason: &'static str,
    /// The reason for people; empty when affirmed.
    pub message: String,
    /// What an affirmed session shows, in a sentence; empty unless affirmed.
    pub shown: String,
    /// Whether a Verifier was connected.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["online", "offline"])))]
    pub mode: &'static str,
    /// Start by the recorder's clock, ms since the Unix epoch; information, not evidence of time.
    pub started_unix_ms: u64,
    /// BLAKE3 of the evidence file, hex.
    pub evidence_blake3: String,
    /// Session id of the plan, hex; null without a plan.
    pub session_id: Option<String>,
    /// The Verifier's key, hex; null if it is not known.
    pub verifier: Option<String>,
    /// The party that the evidence is for, empty for none; null without a plan.
    pub audience: Option<String>,
    /// The Attester's key, hex; null if no HELLO came.
    pub attester: Option<String>,
    /// The software that the Attester states; null if no HELLO came.
    pub software: Option<String>,
    /// The chain after the last iteration, hex; null if the session did not get that far.
    pub checksum: Option<String>,
    /// Samples whose tiles were recomputed and agree; 0 unless affirmed.
    pub samples_checked: usize,
    /// The soundness error of a device and distinct k is 2^-this.
    pub error_bits: u32,
    /// The probability that the bounds together are false is at most this many times that of `error_bits`; 0 without bounds.
    pub error_terms: usize,
    /// What the bounds assume.
    pub assumptions: AssumptionsReport,
    /// The work; null without a plan.
    pub plan: Option<PlanReport>,
    /// The Verifier's windows, one entry per iteration; empty offline.
    pub windows: Vec<WindowReport>,
    /// Devices of the plan.
    pub devices: Vec<DeviceReport>,
    /// Bounds certified for the system behind the session, for all devices at the same time; null unless affirmed online.
    pub host: Option<BoundsReport<u128>>,
    /// What the rounds between devices certify of links; absent without rounds, and unless affirmed online.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fabric: Option<FabricReport>,
    /// What a reader must know to read the figures.
    pub notes: Vec<String>,
}

/// The assumptions, with units.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AssumptionsReport {
    /// Name of the hardware table that they come from.
    pub hardware_table: &'static str,
    /// The date of that table, `YYYY-MM-DD`.
    pub hardware_date: &'static str,
    /// The policy that narrows them; null if none does.
    pub narrowed_by: Option<String>,
    /// The figures.
    #[serde(flatten)]
    pub assumed: Assumed,
}

/// The plan's sizes.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PlanReport {
    /// n.
    pub matrix_dim: u32,
    /// Samples requested per device and distinct k.
    pub samples: u32,
    /// Total number of matrices.
    pub matrices: u64,
}

/// One iteration's windows.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceReport {
    /// Its ordinal.
    pub ordinal: u32,
    /// The engine that the Attester states; a label, never evidence.
    pub engine: String,
    /// The model that the Attester states; a label, never evidence.
    pub model: String,
    /// The memory that the Attester states, bytes; a label, never evidence.
    pub memory_bytes: u64,
    /// N: bytes it was asked to hold.
    pub dataset_bytes: u64,
    /// Its share of what is certified for the host; null unless affirmed online.
    pub share: Option<BoundsReport>,
    /// What was measured by the clock, group by group; not certified.
    pub measured: Vec<MeasuredReport>,
}

/// The four bounds.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoundsReport<T = u64> {
    /// V, bytes.
    pub memory_bytes: BoundReport<T>,
    /// B, bytes/s.
    pub bandwidth_bytes_per_s: BoundReport<T>,
    /// T, operations/s.
    pub tensor_ops_per_s: BoundReport<T>,
    /// T_local, operations/s.
    pub local_tensor_ops_per_s: BoundReport<T>,
}

/// A bound, or why there is none.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BoundReport<T = u64> {
    /// The certified lower bound; null if there is none.
    pub at_least: Option<T>,
    /// k of the group it comes from; null if there is no bound.
    pub inner_dim: Option<u32>,
    /// Why there is none; null if there is a bound.
    pub no_bound: Option<String>,
}

/// One group's figures.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// The report of a finished session for `judge`; `sealed` are the evidence's bytes.
    ///
    /// # Panics
    ///
    /// If the session has no verdict yet.
    #[must_use]
    pub fn new(evidence: &Evidence, session: &VerifierSession, sealed: &[u8], judge: &Judge) -> Self {
        let outcome = Outcome::new(evidence, session, judge, None);
        Report::of(evidence, session, sealed, judge, &outcome)
    }

    /// The report of an outcome.
    #[must_use]
    pub fn of(evidence: &Evidence, session: &VerifierSession, sealed: &[u8], judge: &Judge, outcome: &Outcome) -> Self {
        let is_online = evidence.config.mode == Mode::Online;
        let is_affirmed = matches!(outcome, Outcome::Affirmed(_));
        let assumptions = &judge.assumptions;
        let certified = outcome.certified();
        let fabric = FabricReport::of(session, outcome, judge);
        let fields = session.plan().map(|plan| plan.fields());
        Report {
            verdict: outcome.name(),
            reason: outcome.code(),
            message: outcome.message(),
            shown: if is_affirmed { shown(certified) } else { String::new() },
            mode: if is_online { "online" } else { "offline" },
            started_unix_ms: evidence.started_unix_ms,
            evidence_blake3: evidence_blake3(sealed),
            session_id: fields.map(|plan| hex(&plan.session_id)),
            verifier: verifier_of(evidence, session).map(|verifier| verifier.to_string()),
            audience: fields.map(|plan| plan.audience.clone()),
            attester: session.hello().map(|hello| hello.identity.to_string()),
            software: session.hello().map(|hello| hello.software.clone()),
            checksum: session.checksum().map(|checksum| checksum.to_string()),
            samples_checked: if is_affirmed { session.tile_checks().len() } else { 0 },
            // Offline, the Attester made the record: the soundness that it states does not count.
            error_bits: if is_online {
                assumptions.error_bits
            } else {
                OFFLINE_ERROR_BITS
            },
            error_terms: certified.map_or(0, Certified::sampled_groups),
            assumptions: AssumptionsReport::new(judge),
            plan: session.plan().map(|plan| PlanReport {
                matrix_dim: plan.matrix_dim(),
                samples: plan.fields().samples,
                matrices: plan.devices().iter().map(|d| u64::from(d.num_matrices)).sum(),
            }),
            windows: windows(session, is_online),
            devices: devices(session, certified, assumptions),
            host: certified.map(|certified| {
                let groups = certified.devices.iter().flat_map(|device| &device.groups);
                bounds(&certified.host, &groups.collect::<Vec<_>>(), assumptions)
            }),
            notes: notes::of(session, is_online, is_affirmed, certified, fabric.as_ref(), assumptions),
            fabric,
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

fn devices(session: &VerifierSession, certified: Option<&Certified>, assumptions: &Assumptions) -> Vec<DeviceReport> {
    let (Some(hello), Some(plan)) = (session.hello(), session.plan()) else {
        return Vec::new();
    };
    plan.devices()
        .iter()
        .map(|device| {
            let offer = hello.devices.iter().find(|offer| offer.ordinal == device.ordinal);
            let certified =
                certified.and_then(|certified| certified.devices.iter().find(|c| c.device == device.ordinal));
            DeviceReport {
                ordinal: device.ordinal.0,
                engine: offer.map(|offer| offer.engine.clone()).unwrap_or_default(),
                model: offer.map(|offer| offer.model.clone()).unwrap_or_default(),
                memory_bytes: offer.map_or(0, |offer| offer.memory_bytes),
                dataset_bytes: plan.assignment(device).dataset_bytes(),
                share: certified.map(|certified| {
                    let groups: Vec<&Measured> = certified.groups.iter().collect();
                    bounds(&certified.share, &groups, assumptions)
                }),
                measured: certified
                    .map(|certified| certified.groups.iter().map(measured).collect())
                    .unwrap_or_default(),
            }
        })
        .collect()
}

impl AssumptionsReport {
    fn new(judge: &Judge) -> Self {
        AssumptionsReport {
            hardware_table: ON_SALE.name,
            hardware_date: ON_SALE.date,
            narrowed_by: judge.narrowed_by.as_ref().map(|by| by.policy.clone()),
            assumed: Assumed::from(&judge.assumptions),
        }
    }
}

/// The name of evidence in reports and checkpoints: BLAKE3 of its sealed bytes, hex.
#[must_use]
pub fn evidence_blake3(sealed: &[u8]) -> String {
    blake3::hash(sealed).to_hex().to_string()
}

/// What an affirmed session shows. A CPU must not be mistaken for a GPU: only memory that is faster than links and
/// regeneration of bytes is attributed to a GPU (the test `a_cpu_is_never_affirmed_as_a_gpu`).
fn shown(certified: Option<&Certified>) -> String {
    let Some(certified) = certified else {
        return "work that somebody did between issue and receipt of the challenge; no memory, rate or place of it"
            .to_owned();
    };
    let HostBounds {
        memory_bytes,
        bandwidth_bytes_per_s,
        tensor_ops_per_s,
        ..
    } = &certified.host;
    let tensor = tensor_ops_per_s.map_or("no bound of T".to_owned(), |bound| ops_per_s(bound.value));
    match (memory_bytes, bandwidth_bytes_per_s) {
        (Some(memory), Some(bandwidth)) => {
            let count = certified.devices.len();
            format!(
                "at least {} at {}, {tensor}, all at once, behind {count} device{}",
                bytes(memory.value),
                bytes_per_s(bandwidth.value),
                if count == 1 { "" } else { "s" }
            )
        }
        _ => format!(
            "no GPU is proven on this host: {tensor} can be a CPU's, and no memory is shown to be faster than links"
        ),
    }
}

fn bounds<T: Copy>(best: &Bounds<T>, groups: &[&Measured], assumptions: &Assumptions) -> BoundsReport<T> {
    let bound = |bound: Option<Bound<T>>, needs_large_k: bool, what: &str| BoundReport {
        at_least: bound.map(|bound| bound.value),
        inner_dim: bound.map(|bound| bound.inner_dim),
        no_bound: bound
            .is_none()
            .then(|| no_bound(groups, needs_large_k, what, assumptions)),
    };
    BoundsReport {
        memory_bytes: bound(best.memory_bytes, true, "memory"),
        bandwidth_bytes_per_s: bound(best.bandwidth_bytes_per_s, true, "bandwidth"),
        tensor_ops_per_s: bound(best.tensor_ops_per_s, false, "tensor"),
        local_tensor_ops_per_s: bound(best.local_tensor_ops_per_s, false, "local"),
    }
}

/// Why no group has the bound (spec §6).
fn no_bound(groups: &[&Measured], needs_large_k: bool, what: &str, assumptions: &Assumptions) -> String {
    let eligible: Vec<_> = groups
        .iter()
        .filter(|m| !needs_large_k || m.inner_dim >= MIN_INNER_DIM_FOR_MEMORY)
        .collect();
    if eligible.is_empty() {
        return format!("no iteration has k >= {MIN_INNER_DIM_FOR_MEMORY}");
    }
    if eligible.iter().all(|m| m.samples < MIN_SAMPLES_FOR_BOUND) {
        return format!("fewer than {MIN_SAMPLES_FOR_BOUND} samples");
    }
    let smallest = 16 * u128::from(assumptions.on_chip_bytes);
    if what == "bandwidth" && eligible.iter().all(|m| u128::from(m.dataset_bytes) < smallest) {
        return "the dataset is smaller than 16 times the assumed on-chip memory".to_owned();
    }
    "slower than the links and the regenerating GPUs that are assumed: these could explain what was seen".to_owned()
}

fn measured(m: &Measured) -> MeasuredReport {
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
