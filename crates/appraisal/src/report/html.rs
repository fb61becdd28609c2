//! One page that says everything, for a reader who knows none of it; nothing is loaded from anywhere.

use std::fmt::Write;

use report::{Claim, DeviceReport};
use verifier::units::{bytes, bytes_per_s, ops_per_s};

use super::{escape, limits, meaning, parts, svg, without_reasons};
use crate::appraise::{Appraisal, DeviceAppraisal};
use crate::classify::{Certified, ClassFit, Figure, Relation};
use crate::reason::figure;
use crate::telemetry::Telemetry;

const STYLE: &str = include_str!("style.css");

/// The appraisal as a self-contained page: no script, no network, light and dark, fit to print.
#[must_use]
pub fn html(appraisal: &Appraisal) -> String {
    let mut page = String::new();
    let report = &appraisal.report;
    let session = report.session_id.as_deref().unwrap_or("without a plan");
    // Whatever slipped through could neither run nor load anything.
    let _ = write!(
        page,
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"><meta name="viewport" content="width=device-width,initial-scale=1"><title>GPU attestation {}</title><style>{STYLE}</style></head><body>"#,
        escape(session)
    );
    let tier = appraisal.verdict.name();
    let _ = write!(
        page,
        r#"<h1>GPU attestation report</h1><p class="soft">session <code>{}</code>, {}, recorded {} (UTC)</p><section class="verdict {tier}"><strong>{tier}</strong><p>{}</p></section>"#,
        escape(session),
        report.mode,
        date(report.started_unix_ms),
        meaning(appraisal)
    );
    reasons(&mut page, appraisal);
    host(&mut page, appraisal);
    for device in &appraisal.devices {
        let figures = report.devices.iter().find(|figures| figures.ordinal == device.ordinal);
        device_section(&mut page, device, figures);
    }
    let timeline = svg::timeline(&appraisal.devices);
    if !timeline.is_empty() {
        let key = |name: &str, what: &str| {
            format!(r#"<span class="legend"><span class="key" style="--key:var(--{name})"></span>{what}</span> "#)
        };
        let (fill, sweep) = (key("fill", "fill"), key("sweep", "sweeps"));
        let wait = key("wait", "waiting for the others");
        let _ = write!(
            page,
            r#"<h2>Timeline</h2><p class="soft">The Verifier's clock; a window ends with its last device, arrivals within it are diagnostics.{fill}{sweep}{wait}</p>{timeline}"#
        );
    }
    findings(&mut page, appraisal);
    nvidia(&mut page, appraisal);
    parameters(&mut page, appraisal);
    page.push_str("<h2>What this does not prove</h2><p>Limits of the protocol, and what using them would cost a cheat. The table of joined GPUs is argued, not proven.</p><table><tr><th>Limit</th><th>Cost to a cheat</th></tr>");
    for (limit, cost) in limits(appraisal) {
        let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", escape(&limit), escape(&cost));
    }
    page.push_str("</table></body></html>\n");
    page
}

fn reasons(page: &mut String, appraisal: &Appraisal) {
    page.push_str("<h2>Why</h2>");
    for (title, tier, reasons) in parts(appraisal) {
        let name = tier.name();
        let _ = write!(
            page,
            r#"<h3 class="{name}">{} <span class="badge">{name}</span></h3>"#,
            escape(&title)
        );
        if reasons.is_empty() {
            let _ = write!(page, r#"<p class="soft">{}.</p>"#, without_reasons(tier));
            continue;
        }
        page.push_str("<ul>");
        for reason in reasons {
            let _ = write!(
                page,
                "<li><code>{}</code> {}",
                reason.code(),
                escape(&reason.to_string())
            );
            if !reason.remedy().is_empty() {
                let _ = write!(
                    page,
                    r#"<br><span class="soft">Remedy: {}</span>"#,
                    escape(reason.remedy())
                );
            }
            page.push_str("</li>");
        }
        page.push_str("</ul>");
    }
}

fn host(page: &mut String, appraisal: &Appraisal) {
    let Some(host) = &appraisal.report.host else { return };
    page.push_str("<h2>Certified for the host</h2><table><tr><th>Figure</th><th>At least</th></tr>");
    let cell = |claim: &Claim<u128>, print: fn(u128) -> String| claim.at_least.map_or("no claim".to_owned(), print);
    for (name, value) in [
        ("Memory V", cell(&host.memory_bytes, bytes)),
        ("Bandwidth B", cell(&host.bandwidth_bytes_per_s, bytes_per_s)),
        (
            "Int8 tensor rate T of the whole system",
            cell(&host.tensor_ops_per_s, ops_per_s),
        ),
        (
            "of that, done by its devices (T_local)",
            cell(&host.local_tensor_ops_per_s, ops_per_s),
        ),
    ] {
        let _ = write!(page, "<tr><td>{name}</td><td>{value}</td></tr>");
    }
    page.push_str("</table>");
}

fn device_section(page: &mut String, device: &DeviceAppraisal, report: Option<&DeviceReport>) {
    let _ = write!(page, "<h2>Device {}: {}</h2>", device.ordinal, escape(&device.model));
    let held = device.held_against.as_ref();
    let fit = held.and_then(|held| device.classification.fit(&held.class));
    match (held, fit) {
        (Some(held), Some(fit)) => {
            let whose = match device.claimed_class.as_ref() == Some(&held.class) {
                true => "It says it is a",
                false => "It does not say so, but is asked to be a",
            };
            let _ = write!(
                page,
                r#"<p>{whose} <b>{}</b>; the class&#39;s limits rest on {}. Bar: certified; shade: what one such GPU has; mark: least it must be certified for.</p>"#,
                escape(&fit.title),
                escape(&held.basis.to_string())
            );
        }
        _ if device.certified == Certified::default() => page.push_str("<p>Nothing is certified of it.</p>"),
        _ => page.push_str("<p>No class to hold it against: the certified figures stand for themselves.</p>"),
    }
    // A bar without a class would have nothing to be measured by.
    let more = if fit.is_some() {
        "<th>Class has</th><th>Certified against class</th>"
    } else {
        ""
    };
    let _ = write!(
        page,
        "<table><tr><th>Its share of the host</th><th>Certified at least</th>{more}</tr>"
    );
    let claims = report.and_then(|report| report.share.as_ref());
    let why = |claim: Option<&Claim>| match claim {
        Some(claim) => format!(
            "no claim: {}",
            escape(claim.no_claim.as_deref().unwrap_or("no reason is given"))
        ),
        None => "no claim: the session was not affirmed, or had no clock".to_owned(),
    };
    for kind in Figure::ALL {
        let margin = fit.and_then(|fit| fit.margins.iter().find(|margin| margin.figure == kind));
        let value = kind.of(&device.certified);
        let claim = claims.map(|claims| match kind {
            Figure::Memory => &claims.memory_bytes,
            Figure::Bandwidth => &claims.bandwidth_bytes_per_s,
            Figure::Tensor => &claims.tensor_ops_per_s,
        });
        let certified = value.map_or_else(|| why(claim), |value| figure(kind, value));
        let _ = write!(page, "<tr><td>{}</td><td>{certified}</td>", kind.name());
        if let Some(margin) = margin {
            let drawn = svg::bar(
                value.unwrap_or(0) as f64,
                margin.needed as f64,
                margin.capacity as f64,
                margin.relation == Relation::Fits,
            );
            let has = figure(kind, margin.capacity);
            let _ = write!(page, r#"<td>{has}</td><td class="bars">{drawn}</td>"#);
        } else if fit.is_some() {
            page.push_str("<td>not known</td><td></td>");
        }
        page.push_str("</tr>");
    }
    let local = device.certified.local_tensor_ops_per_s;
    let local = local.map_or_else(
        || why(claims.map(|claims| &claims.local_tensor_ops_per_s)),
        |value| ops_per_s(value.into()),
    );
    let rest = if fit.is_some() { "<td></td><td></td>" } else { "" };
    let _ = write!(
        page,
        "<tr><td>local rate T_local</td><td>{local}</td>{rest}</tr></table>"
    );
    let list = |fits: &[ClassFit]| match fits.is_empty() {
        true => "none".to_owned(),
        false => fits.iter().map(|fit| escape(&fit.title)).collect::<Vec<_>>().join(", "),
    };
    let classification = &device.classification;
    let _ = write!(
        page,
        "<p><b>Fits:</b> {}. <b>Excluded</b> (less than is certified): {}.</p>",
        list(&classification.fits),
        list(&classification.excluded)
    );
    telemetry(page, &device.telemetry);
}

fn telemetry(page: &mut String, telemetry: &Telemetry) {
    let curves = [
        svg::curve(&telemetry.power_w, "Power", "W"),
        svg::curve(&telemetry.clock_mhz, "Clock", "MHz"),
        svg::curve(&telemetry.temperature_c, "Temperature", "°C"),
    ]
    .concat();
    if telemetry.summaries.is_empty() && curves.is_empty() {
        return;
    }
    page.push_str("<h3>As it says of itself</h3>");
    if !telemetry.summaries.is_empty() {
        let figure = |(name, value): &(&str, f64)| format!("<tr><td>{}</td><td>{value}</td></tr>", summary(name));
        let rows: Vec<String> = telemetry.summaries.iter().map(figure).collect();
        let _ = write!(page, "<table>{}</table>", rows.concat());
    }
    if !curves.is_empty() {
        let _ = write!(page, r#"<div class="curves">{curves}</div>"#);
    }
}

/// A summary of telemetry with its unit.
fn summary(name: &str) -> &str {
    match name {
        "energy_j" => "Energy, J",
        "mean_power_w" => "Mean power, W",
        "max_power_w" => "Highest power, W",
        "min_sm_clock_mhz" => "Lowest clock, MHz",
        "mean_sm_clock_mhz" => "Mean clock, MHz",
        "max_sm_clock_mhz" => "Highest clock, MHz",
        "max_temperature_c" => "Highest temperature, °C",
        other => other,
    }
}

fn findings(page: &mut String, appraisal: &Appraisal) {
    page.push_str("<h2>Findings</h2>");
    if appraisal.all_findings().next().is_none() {
        page.push_str("<p>None.</p>");
        return;
    }
    page.push_str(
        r#"<p class="soft">What labels and circumstances say: they raise doubt, and never prove anything.</p>"#,
    );
    for (place, finding) in appraisal.all_findings() {
        let _ = write!(
            page,
            r#"<div class="finding"><p><code>{}</code> <span class="soft">{place}, {}</span> {}</p><p class="soft">{}. <b>Remedy:</b> {}.</p></div>"#,
            finding.kind.name(),
            finding.effect.name(),
            escape(&finding.detail),
            escape(finding.kind.cause()),
            escape(finding.kind.remedy())
        );
    }
}

fn nvidia(page: &mut String, appraisal: &Appraisal) {
    let rows = super::nvidia(appraisal);
    if rows.is_empty() {
        return;
    }
    page.push_str(r#"<h2>NVIDIA's own attestation</h2><p class="soft">Carried in the evidence. A complement: it is no part of the verdict.</p><table>"#);
    for (name, value) in rows {
        let _ = write!(page, "<tr><th>{}</th><td>{}</td></tr>", escape(&name), escape(&value));
    }
    page.push_str("</table>");
}

fn parameters(page: &mut String, appraisal: &Appraisal) {
    let report = &appraisal.report;
    let a = &report.assumptions;
    let mut rows: Vec<(&str, String)> = vec![
        ("Policy", format!("{} ({})", appraisal.policy_name, appraisal.policy_id)),
        ("Profiles, BLAKE3", appraisal.profiles_blake3.clone()),
        ("Evidence, BLAKE3", report.evidence_blake3.clone()),
        ("Appraised", format!("{} (UTC)", date(appraisal.appraised_unix_ms))),
        (
            "Session's own verdict",
            format!("{} {} {}", report.verdict, report.reason, report.message),
        ),
        ("Samples recomputed", report.samples_checked.to_string()),
        (
            "Error η of a device and distinct k",
            format!("2^-{}, {} of them at most", report.error_bits, report.error_terms),
        ),
        (
            "Assumed",
            format!(
                "{} of {}{}",
                a.hardware_table,
                a.hardware_date,
                match &a.narrowed_by {
                    Some(policy) => format!(", narrowed by policy {policy}"),
                    None => String::new(),
                }
            ),
        ),
        (
            "GPUs that make bytes anew for a device (give G)",
            format!(
                "{} at {} and 15 % more",
                a.helper_gpus,
                ops_per_s(a.best_rate_ops_per_s.into())
            ),
        ),
        ("W_in, fastest link in", bytes_per_s(a.link_in_bytes_per_s.into())),
        ("W_out, fastest link out", bytes_per_s(a.link_out_bytes_per_s.into())),
        ("R, what is read elsewhere", bytes_per_s(a.helper_bytes_per_s.into())),
        ("C, largest on-chip memory", bytes(a.on_chip_bytes.into())),
    ];
    if let Some(plan) = &report.plan {
        let text = format!(
            "{} matrices of n = {}, {} samples a device and k",
            plan.matrices, plan.matrix_dim, plan.samples
        );
        rows.push(("Plan", text));
    }
    for window in &report.windows {
        let seconds = |ns: u64| match ns {
            0 => "not ended".to_owned(),
            ns => format!("{:.3} s", ns as f64 / 1e9),
        };
        let text = format!(
            "k = {}: fill {}, {} sweeps {}",
            window.inner_dim,
            seconds(window.fill_ns),
            window.sweeps,
            seconds(window.sweep_ns)
        );
        rows.push(("Windows", text));
    }
    for device in &report.devices {
        for m in &device.measured {
            let text = format!(
                "k = {}: fill {}, sweep {}, {} samples; not certified",
                m.inner_dim,
                ops_per_s(m.fill_ops_per_s.into()),
                bytes_per_s(m.sweep_bytes_per_s.into()),
                m.samples
            );
            rows.push(("Measured", format!("device {}, {text}", device.ordinal)));
        }
    }
    for (name, value) in [
        ("Nonce", &appraisal.nonce),
        ("Checksum", &report.checksum),
        ("Verifier's key", &report.verifier),
        ("Audience", &report.audience),
        ("Attester's key", &report.attester),
        ("Attester's software, as it says", &report.software),
    ] {
        rows.extend(value.as_ref().map(|value| (name, value.clone())));
    }
    let asked = match appraisal.asked.is_empty() {
        true => "what the default does".to_owned(),
        false => appraisal.asked.join(", "),
    };
    rows.insert(1, ("The policy asks for", asked));
    page.push_str("<h2>Parameters and assumptions</h2><table>");
    for (name, value) in rows {
        let _ = write!(page, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    page.push_str("</table><ul class=\"soft\">");
    for note in &report.notes {
        let _ = write!(page, "<li>{}</li>", escape(note));
    }
    page.push_str("</ul>");
}

/// `YYYY-MM-DD HH:MM:SS` of the proleptic Gregorian calendar.
pub(crate) fn date(unix_ms: u64) -> String {
    let (days, second) = (unix_ms / 86_400_000, unix_ms / 1000 % 86_400);
    // Days since 0000-03-01, in eras of 400 years: years then end in February.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_764_000_000, "2025-11-24 16:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date(unix_s * 1000), expected);
        }
    }
}
