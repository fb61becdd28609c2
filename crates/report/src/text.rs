//! A session's report as text, for terminals.

use std::fmt::{self, Write};

use verifier::units::{bytes, bytes_per_s, ops_per_s};

use crate::fabric::FabricReport;
use crate::session::{AssumptionsReport, BoundReport, BoundsReport, PlanReport, Report};

/// How much of a report is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// The verdict and what it means, one line.
    Verdict,
    /// The figures too, what they assume, and what is not proven.
    #[default]
    Figures,
    /// The plan, times and identifiers too.
    All,
}

impl Report {
    /// The verdict and its meaning on one line.
    #[must_use]
    pub fn headline(&self) -> String {
        match (self.shown.is_empty(), self.message.is_empty()) {
            (false, _) => format!("{}: {}", self.verdict, self.shown),
            (true, false) => format!("{} ({}): {}", self.verdict, self.reason, self.message),
            (true, true) => self.verdict.to_owned(),
        }
    }

    /// The report for people, the most important part first.
    #[must_use]
    pub fn text(&self, detail: Detail) -> String {
        let mut text = format!("verdict      {}\n", self.headline());
        // Writing to a string does not fail.
        let _ = self.write_rest(&mut text, detail);
        text
    }

    fn write_rest(&self, f: &mut String, detail: Detail) -> fmt::Result {
        if detail == Detail::Verdict {
            return Ok(());
        }
        if let Some(host) = &self.host {
            self.write_bounds(f, host, detail)?;
        }
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        for note in &self.notes {
            writeln!(f, "- {note}")?;
        }
        if detail == Detail::All {
            self.write_session(f)?;
        }
        Ok(())
    }

    /// The session's plan, times and identifiers.
    fn write_session(&self, f: &mut String) -> fmt::Result {
        let line = |f: &mut String, name: &str, value: &str| writeln!(f, "{name:<12} {value}");
        writeln!(f)?;
        if let Some(plan) = &self.plan {
            line(f, "plan", &plan.to_string())?;
        }
        for window in &self.windows {
            line(
                f,
                &format!("k = {}", window.inner_dim),
                &format!(
                    "fill {}, {} sweep{} {}",
                    seconds(window.fill_ns),
                    window.sweeps,
                    if window.sweeps == 1 { "" } else { "s" },
                    seconds(window.sweep_ns)
                ),
            )?;
        }
        if self.host.is_none() {
            for device in &self.devices {
                let dataset = bytes(device.dataset_bytes.into());
                line(
                    f,
                    &format!("device {}", device.ordinal),
                    &format!("{dataset}, {} ({})", device.model, device.engine),
                )?;
            }
        }
        if let Some(id) = &self.session_id {
            line(f, "session", &format!("{id} ({})", self.mode))?;
        }
        if let (Some(attester), Some(software)) = (&self.attester, &self.software) {
            line(f, "attester", &format!("{attester} ({software})"))?;
        }
        if let Some(checksum) = &self.checksum {
            line(f, "checksum", checksum)?;
        }
        line(f, "evidence", &format!("BLAKE3 {}", self.evidence_blake3))
    }
}

impl Report {
    fn write_bounds(&self, f: &mut String, host: &BoundsReport<u128>, detail: Detail) -> fmt::Result {
        writeln!(f, "\ncertified lower bounds, all at once")?;
        let mut rows = vec![["", "memory V", "bandwidth B", "tensor T", "local T_local"].map(str::to_owned)];
        rows.push(host.cells("host".to_owned()));
        for device in &self.devices {
            if let Some(share) = device.share.as_ref().filter(|_| self.devices.len() > 1) {
                rows.push(share.cells(format!("device {}, its share", device.ordinal)));
            }
        }
        write_table(f, &rows)?;
        if let Some(fabric) = &self.fabric {
            writeln!(f, "\nlinks        {}", fabric.summary())?;
            if detail == Detail::All {
                write_pairs(f, fabric)?;
            }
        }

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
        writeln!(f, "\n{}", self.assumptions)?;
        // Each reason once, with the bounds that it is for.
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, bound) in [
            ("V", &host.memory_bytes),
            ("B", &host.bandwidth_bytes_per_s),
            ("T", &host.tensor_ops_per_s),
            ("T_local", &host.local_tensor_ops_per_s),
        ] {
            let Some(reason) = bound.no_bound.as_deref() else {
                continue;
            };
            match reasons.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, names)) => names.push(name),
                None => reasons.push((reason, vec![name])),
            }
        }
        for (reason, names) in reasons {
            writeln!(f, "no bound     {}: {reason}", names.join(", "))?;
        }
        if let Some(reason) = self.fabric.as_ref().and_then(|fabric| fabric.no_bound.as_ref()) {
            writeln!(f, "no bound     links: {reason}")?;
        }
        Ok(())
    }
}

impl<T: Copy + Into<u128>> BoundsReport<T> {
    fn cells(&self, name: String) -> [String; 5] {
        let cell = |bound: &BoundReport<T>, print: fn(u128) -> String| {
            bound
                .at_least
                .map_or("no bound".to_owned(), |value| print(value.into()))
        };
        [
            name,
            cell(&self.memory_bytes, bytes),
            cell(&self.bandwidth_bytes_per_s, bytes_per_s),
            cell(&self.tensor_ops_per_s, ops_per_s),
            cell(&self.local_tensor_ops_per_s, ops_per_s),
        ]
    }
}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} matrices of n = {}, {} samples per device and k",
            self.matrices, self.matrix_dim, self.samples
        )
    }
}

impl fmt::Display for AssumptionsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "assumed      {} of {}", self.hardware_table, self.hardware_date)?;
        if let Some(policy) = &self.narrowed_by {
            write!(f, ", narrowed by policy {policy}")?;
        }
        let gpus = match self.assumed.helper_gpus {
            1 => "1 GPU regenerates".to_owned(),
            count => format!("{count} GPUs regenerate"),
        };
        write!(
            f,
            ": for each device {gpus} bytes\n             at {} and 15 % more; links to it {} in and {} out;\n             tiles held elsewhere are read at {}; on-chip memory {}",
            ops_per_s(self.assumed.best_rate_ops_per_s.into()),
            bytes_per_s(self.assumed.link_in_bytes_per_s.into()),
            bytes_per_s(self.assumed.link_out_bytes_per_s.into()),
            bytes_per_s(self.assumed.helper_bytes_per_s.into()),
            bytes(self.assumed.on_chip_bytes.into()),
        )
    }
}

/// Every two devices, slowest first.
fn write_pairs(f: &mut String, fabric: &FabricReport) -> fmt::Result {
    let mut rows = vec![["devices", "links between GPUs", "any path", "round", "window"].map(str::to_owned)];
    for pair in fabric.slowest_first() {
        let ([a, b], [links, any]) = (pair.devices, pair.exchange.cells());
        let window = format!("{:.3} s", pair.window_ms / 1e3);
        rows.push([format!("{a} and {b}"), links, any, pair.round.to_string(), window]);
    }
    write_table(f, &rows)
}

/// Left-aligned columns, two spaces apart.
fn write_table<const N: usize>(f: &mut String, rows: &[[String; N]]) -> fmt::Result {
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

fn seconds(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}
