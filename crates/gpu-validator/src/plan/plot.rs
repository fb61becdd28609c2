//! Draws bounds against cost: shares of the measured figures over core-seconds of the Verifier.

use std::fmt::Write;

use verifier::cost::{Proposal, Row};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 100.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Lowest share drawn.
const FLOOR: f64 = 0.4;

/// A bound's name, colour, and share.
type Curve = (&'static str, &'static str, fn(&Row) -> Option<f64>);

const CURVES: [Curve; 4] = [
    ("T", "#1b7837", |row| row.tensor),
    ("V", "#2166ac", |row| row.memory),
    ("B", "#b2182b", |row| row.bandwidth),
    ("T_local", "#762a83", |row| row.local_tensor),
];

/// The drawing, an SVG file's text.
pub(super) fn svg(proposal: &Proposal, title: &str) -> String {
    let rows = &proposal.rows;
    let (first, last) = (rows[0].core_s.log2(), rows[rows.len() - 1].core_s.log2());
    let x = |core_s: f64| LEFT + (core_s.log2() - first) / (last - first) * (WIDTH - LEFT - RIGHT);
    let y = |share: f64| TOP + (1.0 - share) / (1.0 - FLOOR) * (HEIGHT - TOP - BOTTOM);
    let mut svg = String::new();
    let mut put = |text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "{text}");
    };
    put(format_args!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>
<text x="{LEFT}" y="20" font-size="14">Certified share of what is measured, against the Verifier's cost</text>
<text x="{LEFT}" y="35" fill="#555555">{}</text>"##,
        escaped(title)
    ));
    for tenth in (FLOOR * 10.0) as u32..=10 {
        let share = f64::from(tenth) / 10.0;
        put(format_args!(
            r##"<path d="M{LEFT} {0:.1}H{1:.1}" stroke="#dddddd"/><text x="{2}" y="{3:.1}" text-anchor="end">{share:.1}</text>"##,
            y(share),
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(share) + 4.0
        ));
    }
    for row in rows.iter().filter(|row| row.samples.is_power_of_two()) {
        put(format_args!(
            r##"<path d="M{0:.1} {TOP}V{1:.1}" stroke="#eeeeee"/><text x="{0:.1}" y="{2:.1}" text-anchor="middle">{3:.1}</text><text x="{0:.1}" y="{4:.1}" text-anchor="middle" fill="#555555">s = {5}</text>"##,
            x(row.core_s),
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0,
            row.core_s,
            HEIGHT - BOTTOM + 31.0,
            row.samples
        ));
    }
    put(format_args!(
        r##"<text x="{:.1}" y="{:.1}" fill="#555555">core-s</text>"##,
        WIDTH - RIGHT + 30.0,
        HEIGHT - BOTTOM + 16.0
    ));
    for (name, colour, share) in CURVES {
        let points: Vec<(f64, f64)> = rows
            .iter()
            .filter_map(|row| Some((x(row.core_s), y(share(row).filter(|&share| share >= FLOOR)?))))
            .collect();
        let Some(&(end_x, end_y)) = points.last() else { continue };
        let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        put(format_args!(
            r##"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/><text x="{:.1}" y="{:.1}" fill="{colour}">{name}</text>"##,
            line.join(" "),
            end_x + 6.0,
            end_y + 4.0
        ));
    }
    put(format_args!("</svg>"));
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
