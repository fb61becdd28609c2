//! Drawings for the HTML page: bars, timelines, curves. All numbers and texts are ours.

use maud::{Markup, html};

use crate::document::Device;

/// One bar: certified within a class's capacity, with a mark where the class's least is.
pub(crate) fn bar(certified: f64, needed: f64, capacity: f64, is_enough: bool) -> Markup {
    let full = capacity.max(certified).max(1.0) * 1.05;
    let x = |value: f64| format!("{:.2}", value / full * 100.0);
    html! {
        svg.bar viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" {
            rect.capacity width=(x(capacity)) height="10" {}
            rect class=(if is_enough { "certified" } else { "short" }) y="2" width=(x(certified)) height="6" {}
            rect.needed x=(x(needed)) width="0.5" height="10" {}
        }
    }
}

/// Fills and sweeps of all devices against the Verifier's clock; `None` for a session that had no clock.
pub(crate) fn timeline(devices: &[Device<'_>]) -> Option<Markup> {
    let spans = || devices.iter().flat_map(|device| device.phases);
    let start = spans().map(|span| span.fill_start_ns).min()?;
    let end = spans().map(|span| span.sweep_end_ns.max(span.sweep_start_ns)).max()?;
    if end <= start {
        return None;
    }
    let (width, row, left) = (900.0, 26.0, 70.0);
    let x = |ns: u64| left + ns.saturating_sub(start) as f64 / (end - start) as f64 * (width - left - 10.0);
    let height = row * devices.len() as f64 + 30.0;
    let seconds = |ns: u64| ns as f64 / 1e9;
    let decimals = if end - start < 1_000_000_000 { 3 } else { 2 };
    Some(html! {
        svg.chart viewBox=(format!("0 0 {width} {height}")) role="img" aria-label="Timeline of fills and sweeps" {
            @for (at, device) in devices.iter().enumerate() {
                @let y = at as f64 * row + 4.0;
                text x="0" y=(format!("{:.1}", y + 14.0)) { "device " (device.ordinal) }
                @for span in device.phases {
                    @for (class, from, to, what) in [
                        ("fill", span.fill_start_ns, span.filled_ns, "fill"),
                        ("wait", span.filled_ns, span.sweep_start_ns, "waiting for the others"),
                        ("sweep", span.sweep_start_ns, span.swept_ns, "sweeps"),
                        ("wait", span.swept_ns, span.sweep_end_ns, "waiting for the others"),
                    ] {
                        @if to > from {
                            rect class=(class) x=(format!("{:.2}", x(from))) y=(format!("{y:.1}"))
                                width=(format!("{:.2}", (x(to) - x(from)).max(0.5))) height="18" {
                                title {
                                    (what) ", iteration " (span.iteration) ", k = " (span.inner_dim) ": "
                                    (format!("{:.3} s", seconds(to - from)))
                                    @if !span.is_whole { ", ended by the session's end" }
                                }
                            }
                        }
                    }
                }
            }
            @for tick in 0..=4u64 {
                @let ns = start + (end - start) / 4 * tick;
                text.tick x=(format!("{:.1}", x(ns))) y=(format!("{:.1}", height - 6.0))
                    text-anchor=(if tick == 4 { "end" } else { "start" }) {
                    (format!("{:.decimals$} s", seconds(ns - start)))
                }
            }
        }
    })
}

/// One quantity over time; `None` for fewer than two samples.
pub(crate) fn curve(samples: &[(f64, f64)], title: &str, unit: &str) -> Option<Markup> {
    let (first, last) = (samples.first()?.0, samples.last()?.0);
    if last <= first {
        return None;
    }
    let low = samples.iter().map(|s| s.1).fold(f64::INFINITY, f64::min);
    let high = samples.iter().map(|s| s.1).fold(f64::NEG_INFINITY, f64::max);
    let range = (high - low).max(f64::EPSILON);
    let point = |(seconds, value): &(f64, f64)| {
        let x = (seconds - first) / (last - first) * 280.0 + 10.0;
        format!("{x:.1},{:.1}", 70.0 - (value - low) / range * 50.0)
    };
    let points: Vec<String> = samples.iter().map(point).collect();
    Some(html! {
        svg.curve viewBox="0 0 300 90" role="img" aria-label=(title) {
            text x="10" y="12" { (title) (format!(": {low:.0} to {high:.0} ")) (unit) }
            polyline points=(points.join(" ")) {}
            text.tick x="10" y="86" { (format!("{first:.1} s")) }
            text.tick x="290" y="86" text-anchor="end" { (format!("{last:.1} s")) }
        }
    })
}
