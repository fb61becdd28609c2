//! Drawings for the HTML page: bars, timelines, curves. All numbers are ours; all text is escaped by the caller.

use std::fmt::Write;

use crate::appraise::DeviceAppraisal;

/// One bar: certified within a class's capacity, with a mark where the class's least is.
pub(super) fn bar(certified: f64, needed: f64, capacity: f64, is_enough: bool) -> String {
    let full = capacity.max(certified).max(1.0) * 1.05;
    let x = |value: f64| value / full * 100.0;
    let mut svg =
        String::from(r#"<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">"#);
    let _ = write!(
        svg,
        r#"<rect class="capacity" width="{:.2}" height="10"/>"#,
        x(capacity)
    );
    let class = if is_enough { "certified" } else { "short" };
    let _ = write!(
        svg,
        r#"<rect class="{class}" y="2" width="{:.2}" height="6"/>"#,
        x(certified)
    );
    let _ = write!(
        svg,
        r#"<rect class="needed" x="{:.2}" width="0.5" height="10"/>"#,
        x(needed)
    );
    svg.push_str("</svg>");
    svg
}

/// Fills and sweeps of all devices against the Verifier's clock.
pub(super) fn timeline(devices: &[DeviceAppraisal]) -> String {
    let spans = || devices.iter().flat_map(|device| &device.phases);
    let (Some(start), Some(end)) = (
        spans().map(|span| span.fill_start_ns).min(),
        spans().map(|span| span.sweep_end_ns.max(span.sweep_start_ns)).max(),
    ) else {
        return String::new();
    };
    // Without a clock there is nothing to draw.
    if end <= start {
        return String::new();
    }
    let (width, row, left) = (900.0, 26.0, 70.0);
    let x = |ns: u64| left + (ns.saturating_sub(start)) as f64 / (end - start).max(1) as f64 * (width - left - 10.0);
    let height = row * devices.len() as f64 + 30.0;
    let mut svg = format!(
        r#"<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="Timeline of fills and sweeps">"#
    );
    for (at, device) in devices.iter().enumerate() {
        let y = at as f64 * row + 4.0;
        let _ = write!(
            svg,
            r#"<text x="0" y="{:.1}">device {}</text>"#,
            y + 14.0,
            device.ordinal
        );
        for span in &device.phases {
            let whole = if span.is_whole {
                ""
            } else {
                ", ended by the session's end"
            };
            let mut rect = |class: &str, from: u64, to: u64, what: &str| {
                if to <= from {
                    return;
                }
                let _ = write!(
                    svg,
                    r#"<rect class="{class}" x="{:.2}" y="{y:.1}" width="{:.2}" height="18"><title>{what}, iteration {}, k = {}: {:.3} s{whole}</title></rect>"#,
                    x(from),
                    (x(to) - x(from)).max(0.5),
                    span.iteration,
                    span.inner_dim,
                    to.saturating_sub(from) as f64 / 1e9
                );
            };
            rect("fill", span.fill_start_ns, span.filled_ns, "fill");
            rect("wait", span.filled_ns, span.sweep_start_ns, "waiting for the others");
            rect("sweep", span.sweep_start_ns, span.swept_ns, "sweeps");
            rect("wait", span.swept_ns, span.sweep_end_ns, "waiting for the others");
        }
    }
    let decimals = if end - start < 1_000_000_000 { 3 } else { 2 };
    for tick in 0..=4u64 {
        let ns = start + (end - start) / 4 * tick;
        let anchor = if tick == 4 { "end" } else { "start" };
        let _ = write!(
            svg,
            r#"<text class="tick" x="{:.1}" y="{:.1}" text-anchor="{anchor}">{:.decimals$} s</text>"#,
            x(ns),
            height - 6.0,
            (ns - start) as f64 / 1e9
        );
    }
    svg.push_str("</svg>");
    svg
}

/// One quantity over time; empty for fewer than two samples.
pub(super) fn curve(samples: &[(f64, f64)], title: &str, unit: &str) -> String {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return String::new();
    };
    if samples.len() < 2 || last.0 <= first.0 {
        return String::new();
    }
    let low = samples.iter().map(|s| s.1).fold(f64::INFINITY, f64::min);
    let high = samples.iter().map(|s| s.1).fold(f64::NEG_INFINITY, f64::max);
    let range = (high - low).max(f64::EPSILON);
    let point = |(seconds, value): &(f64, f64)| {
        let x = (seconds - first.0) / (last.0 - first.0) * 280.0 + 10.0;
        format!("{x:.1},{:.1}", 70.0 - (value - low) / range * 50.0)
    };
    let points: Vec<String> = samples.iter().map(point).collect();
    format!(
        r#"<svg class="curve" viewBox="0 0 300 90" role="img" aria-label="{title}"><text x="10" y="12">{title}: {low:.0} to {high:.0} {unit}</text><polyline points="{}"/><text class="tick" x="10" y="86">{:.1} s</text><text class="tick" x="290" y="86" text-anchor="end">{:.1} s</text></svg>"#,
        points.join(" "),
        first.0,
        last.0
    )
}
