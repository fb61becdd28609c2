//! One self-contained page that explains everything to a reader without prior knowledge; it loads no other resource.

use maud::{Markup, PreEscaped, html};
use protocol::printable::printable_lines;
use verifier::units::{bytes, bytes_per_s, ops_per_s};

use crate::date::date;
use crate::document::{Device, Document, limits};
use crate::escape::escape;
use crate::figure::{CertifiedFigures, Figure, Relation};
use crate::session::{BoundReport, BoundsReport, Report};
use crate::svg;
use crate::telemetry::StatedTelemetry;

/// The appraised session as a self-contained page: no script, no network, light and dark, fit to print.
#[must_use]
pub fn html(document: &Document<'_>) -> String {
    let session = document.session;
    let id = session.session_id.as_deref().unwrap_or("without a plan");
    let verdict = document.verdict.name;
    let page = html! {
        (PreEscaped("<!doctype html>"))
        html lang="en" {
            head {
                meta charset="utf-8";
                // Markup that passed the escaping by mistake could neither run nor load anything.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { "GPU attestation " (text(id)) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    h1 { "GPU attestation report" }
                    p.soft {
                        "session " code { (text(id)) } ", " (session.mode) ", recorded " (date(session.started_unix_ms)) " (UTC)"
                    }
                    section class={ "verdict " (verdict) } { strong { (verdict) } p { (text(&document.meaning)) } }
                    (reasons(document))
                    (host(session))
                    (links(session))
                    h2 { "What this does not prove" }
                    p {
                        "Limits of the protocol, and what using them would cost a cheat. The table of joined GPUs is argued, not proven."
                    }
                    table {
                        tr { th scope="col" { "Limit" } th scope="col" { "Cost to a cheat" } }
                        @for (limit, cost) in limits(session) { tr { td { (text(limit)) } td { (text(&cost)) } } }
                    }
                    @for device in &document.devices { (device_section(device, session)) }
                    (timeline(&document.devices))
                    (findings(document))
                    (nvidia(document))
                    (parameters(document))
                }
            }
        }
    };
    // Escaped or not, the page has no character that a viewer would interpret as a control.
    printable_lines(&page.into_string()) + "\n"
}

/// Text from others: shown, never parsed as markup. Maud itself does not escape apostrophes and control characters.
fn text(text: &str) -> Markup {
    PreEscaped(escape(text))
}

fn reasons(document: &Document<'_>) -> Markup {
    html! {
        h2 { "Why" }
        @for part in &document.parts {
            @let verdict = part.verdict.name;
            h3 class=(verdict) { (text(&part.title)) " " span.badge { (verdict) } }
            @if part.reasons.is_empty() {
                p.soft { (part.otherwise) "." }
            } @else {
                ul {
                    @for reason in &part.reasons {
                        li {
                            code { (reason.code) } " " (text(&reason.text))
                            @if !reason.remedy.is_empty() {
                                br; span.soft { "Remedy: " (text(reason.remedy)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn host(session: &Report) -> Markup {
    let Some(host) = &session.host else {
        return Markup::default();
    };
    let cell =
        |bound: &BoundReport<u128>, print: fn(u128) -> String| bound.at_least.map_or("no bound".to_owned(), print);
    html! {
        h2 { "Certified for the host" }
        table {
            tr { th scope="col" { "Figure" } th scope="col" { "At least" } }
            tr { td { "Memory V" } td { (cell(&host.memory_bytes, bytes)) } }
            tr { td { "Bandwidth B" } td { (cell(&host.bandwidth_bytes_per_s, bytes_per_s)) } }
            tr { td { "Int8 tensor rate T of the whole system" } td { (cell(&host.tensor_ops_per_s, ops_per_s)) } }
            tr {
                td { "of that, done by its devices (T_local)" } td { (cell(&host.local_tensor_ops_per_s, ops_per_s)) }
            }
        }
    }
}

fn links(session: &Report) -> Markup {
    let Some(fabric) = &session.fabric else {
        return Markup::default();
    };
    let ([links, any], [of_links, of_any]) = (fabric.least().cells(), fabric.bisection.cells());
    html! {
        h2 { "Links between GPUs" }
        p.soft {
            "What moved between GPUs at least, both ways together. What can have gone over the links to the hosts is not counted as \
             links between GPUs. No GPU is assumed to have more than " (bytes(fabric.gpu_memory_bytes.into())) "."
        }
        table {
            tr { th scope="col" { "At least" } th scope="col" { "Links between GPUs" } th scope="col" { "Any path" } }
            tr { td { "Every two devices" } td { (links) } td { (any) } }
            tr { td { "Bisection, however the GPUs are halved" } td { (of_links) } td { (of_any) } }
        }
        @if let Some(why) = &fabric.no_bound { p { b { "No bound of links: " } (text(why)) "." } }
        p.soft { "Of each two devices, in GB/s: links between GPUs, and below any path." }
        (svg::matrix(fabric))
    }
}

fn device_section(device: &Device<'_>, session: &Report) -> Markup {
    let mut reported = session.devices.iter();
    let reported = reported.find(|reported| reported.ordinal == device.ordinal);
    let share = reported.and_then(|reported| reported.share.as_ref());
    let value = |figure: Figure, value: Option<u64>, bound: fn(&BoundsReport) -> &BoundReport| match (value, share) {
        (Some(value), _) => figure.with_unit(value),
        (None, Some(share)) => {
            let why = bound(share).no_bound.as_deref();
            format!("no bound: {}", why.unwrap_or("no reason is given"))
        }
        (None, None) => "no bound: the session was not affirmed, or had no clock".to_owned(),
    };
    let certified = |figure: Figure| {
        let bound: fn(&BoundsReport) -> &BoundReport = match figure {
            Figure::Memory => |share| &share.memory_bytes,
            Figure::Bandwidth => |share| &share.bandwidth_bytes_per_s,
            Figure::Tensor => |share| &share.tensor_ops_per_s,
        };
        value(figure, figure.of(&device.certified), bound)
    };
    let local = device.certified.local_tensor_ops_per_s;
    let local = value(Figure::Tensor, local, |share| &share.local_tensor_ops_per_s);
    let list = |titles: &[&str]| match titles.is_empty() {
        true => "none".to_owned(),
        false => titles.join(", "),
    };
    html! {
        h2 { "Device " (device.ordinal) ": " (text(device.model)) }
        @if let Some(class) = &device.class {
            p {
                @if class.is_stated { "It says it is a " } @else { "It does not say so, but is asked to be a " }
                b { (text(class.title)) }
                (text("; the class's limits rest on ")) (text(&class.basis))
                ". Bar: certified; shade: what one such GPU has; mark: least it must be certified for."
            }
        } @else if device.certified == CertifiedFigures::default() {
            p { "Nothing is certified of it." }
        } @else {
            p { "No class to hold it against: the certified figures stand for themselves." }
        }
        table {
            tr {
                th scope="col" { "Its share of the host" } th scope="col" { "Certified at least" }
                // Without a class there is no scale for the bar.
                @if device.class.is_some() { th scope="col" { "Class has" } th scope="col" { "Certified against class" } }
            }
            @for figure in Figure::ALL {
                tr {
                    td { (figure.name()) } td { (text(&certified(figure))) }
                    @if let Some(class) = &device.class {
                        @if let Some(margin) = class.margins.iter().find(|margin| margin.figure == figure) {
                            td { (figure.with_unit(margin.capacity)) }
                            td.bars {
                                (svg::bar(
                                    figure.of(&device.certified).unwrap_or(0) as f64,
                                    margin.needed as f64,
                                    margin.capacity as f64,
                                    margin.relation == Relation::Fits,
                                ))
                            }
                        } @else {
                            td { "not known" } td {}
                        }
                    }
                }
            }
            tr {
                td { "local rate T_local" } td { (text(&local)) }
                @if device.class.is_some() { td {} td {} }
            }
        }
        p {
            b { "Fits:" } " " (text(&list(&device.fits))) ". "
            b { "Excluded" } " (less than is certified): " (text(&list(&device.excluded))) "."
        }
        (telemetry(device.telemetry))
    }
}

fn telemetry(telemetry: &StatedTelemetry) -> Markup {
    let curves = [
        svg::curve(&telemetry.power_w, "Power", "W"),
        svg::curve(&telemetry.clock_mhz, "Clock", "MHz"),
        svg::curve(&telemetry.temperature_c, "Temperature", "°C"),
    ];
    let has_curves = curves.iter().any(Option::is_some);
    html! {
        @if has_curves || !telemetry.summaries.is_empty() { h3 { "As it says of itself" } }
        @if !telemetry.summaries.is_empty() {
            table { @for (name, value) in &telemetry.summaries { tr { td { (summary(name)) } td { (value) } } } }
        }
        @if has_curves {
            div.curves { @for curve in curves.into_iter().flatten() { (curve) } }
        }
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

fn timeline(devices: &[Device<'_>]) -> Markup {
    let Some(timeline) = svg::timeline(devices) else {
        return Markup::default();
    };
    let keys = [
        ("fill", "fill"),
        ("sweep", "sweeps"),
        ("wait", "waiting for the others"),
    ];
    html! {
        h2 { "Timeline" }
        p.soft {
            (text("The Verifier's clock; a window ends with its last device, arrivals within it are diagnostics."))
            @for (name, what) in keys {
                span.legend { span.key style={ "--key:var(--" (name) ")" } {} (what) } " "
            }
        }
        (timeline)
    }
}

fn findings(document: &Document<'_>) -> Markup {
    html! {
        h2 { "Findings" }
        @if document.findings.is_empty() {
            p { "None." }
        } @else {
            p.soft { "What labels and circumstances say: they raise doubt, and never prove anything." }
        }
        @for finding in &document.findings {
            div.finding {
                p {
                    code { (finding.kind) } " " span.soft { (finding.place) ", " (finding.effect) } " "
                    (text(finding.detail))
                }
                p.soft { (text(finding.cause)) ". " b { "Remedy:" } " " (text(finding.remedy)) "." }
            }
        }
    }
}

fn nvidia(document: &Document<'_>) -> Markup {
    html! {
        @if !document.nvidia.is_empty() {
            h2 { (text("NVIDIA's own attestation")) }
            p.soft { "Carried in the evidence. A complement: it is no part of the verdict." }
            table {
                @for (name, value) in &document.nvidia { tr { th scope="row" { (text(name)) } td { (text(value)) } } }
            }
        }
    }
}

fn parameters(document: &Document<'_>) -> Markup {
    html! {
        h2 { "Parameters and assumptions" }
        table {
            @for (name, value) in rows(document) { tr { th scope="row" { (text(name)) } td { (text(&value)) } } }
        }
        ul.soft { @for note in &document.session.notes { li { (text(note)) } } }
    }
}

fn rows(document: &Document<'_>) -> Vec<(&'static str, String)> {
    let session = document.session;
    let a = &session.assumptions;
    let asked = match document.asked.is_empty() {
        true => "no minimum figures and no class".to_owned(),
        false => document.asked.join(", "),
    };
    let narrowed = a.narrowed_by.as_ref();
    let narrowed = narrowed.map_or(String::new(), |policy| format!(", narrowed by policy {policy}"));
    let mut rows = vec![
        ("Policy", format!("{} ({})", document.policy_name, document.policy_id)),
        ("The policy asks for", asked),
        ("Profiles, BLAKE3", document.profiles_blake3.to_owned()),
        ("Evidence, BLAKE3", session.evidence_blake3.clone()),
        ("Appraised", format!("{} (UTC)", date(document.appraised_unix_ms))),
        (
            "Session's own verdict",
            format!("{} {} {}", session.verdict, session.reason, session.message),
        ),
        ("Samples recomputed", session.samples_checked.to_string()),
        (
            "Error η of a device and distinct k",
            format!("2^-{}, {} of them at most", session.error_bits, session.error_terms),
        ),
        (
            "Assumed",
            format!("{} of {}{narrowed}", a.hardware_table, a.hardware_date),
        ),
        (
            "GPUs that regenerate bytes for a device (give G)",
            format!(
                "{} at {} and 15 % more",
                a.assumed.helper_gpus,
                ops_per_s(a.assumed.best_rate_ops_per_s.into())
            ),
        ),
        (
            "W_in, fastest link in",
            bytes_per_s(a.assumed.link_in_bytes_per_s.into()),
        ),
        (
            "W_out, fastest link out",
            bytes_per_s(a.assumed.link_out_bytes_per_s.into()),
        ),
        (
            "R, what is read elsewhere",
            bytes_per_s(a.assumed.helper_bytes_per_s.into()),
        ),
        ("C, largest on-chip memory", bytes(a.assumed.on_chip_bytes.into())),
    ];
    if let Some(plan) = &session.plan {
        rows.push(("Plan", plan.to_string()));
    }
    for window in &session.windows {
        let seconds = |ns: u64| match ns {
            0 => "not ended".to_owned(),
            ns => format!("{:.3} s", ns as f64 / 1e9),
        };
        let (fill, sweep) = (seconds(window.fill_ns), seconds(window.sweep_ns));
        let text = format!(
            "k = {}: fill {fill}, {} sweeps {sweep}",
            window.inner_dim, window.sweeps
        );
        rows.push(("Windows", text));
    }
    for device in &session.devices {
        for m in &device.measured {
            let (fill, sweep) = (
                ops_per_s(m.fill_ops_per_s.into()),
                bytes_per_s(m.sweep_bytes_per_s.into()),
            );
            let text = format!(
                "device {}, k = {}: fill {fill}, sweep {sweep}, {} samples; not certified",
                device.ordinal, m.inner_dim, m.samples
            );
            rows.push(("Measured", text));
        }
    }
    for (name, value) in [
        ("Nonce", document.nonce),
        ("Checksum", session.checksum.as_deref()),
        ("Verifier's key", session.verifier.as_deref()),
        ("Audience", session.audience.as_deref()),
        ("Attester's key", session.attester.as_deref()),
        ("Attester's software, as it says", session.software.as_deref()),
    ] {
        let value = value.filter(|value| !value.is_empty());
        rows.extend(value.map(|value| (name, value.to_owned())));
    }
    rows
}
