//! An appraised session as Markdown, for tickets and chats.

use std::fmt::Write;

use verifier::units::bytes;

use crate::document::{Document, limits};
use crate::escape::escape;
use crate::fabric::FabricReport;
use crate::figure::Figure;

/// The appraised session as Markdown; what a peer wrote is escaped.
#[must_use]
pub fn markdown(document: &Document<'_>) -> String {
    let mut text = String::new();
    let session = document.session;
    let id = session.session_id.as_deref().unwrap_or("without a plan");
    let (verdict, meaning) = (document.verdict.name, &document.meaning);
    let _ = writeln!(text, "# GPU attestation: {verdict}\n\nSession `{id}`. {meaning}\n");
    for part in &document.parts {
        let _ = writeln!(text, "## {}: {}\n", plain(&part.title), part.verdict.name);
        if part.reasons.is_empty() {
            let _ = writeln!(text, "- {}.", part.otherwise);
        }
        for reason in &part.reasons {
            let _ = write!(text, "- `{}`: {}.", reason.code, plain(&reason.text));
            let _ = match reason.remedy {
                "" => writeln!(text),
                remedy => writeln!(text, " Remedy: {remedy}."),
            };
        }
        text.push('\n');
    }
    text.push_str("## Certified at least\n\n| device | says it is | memory V | bandwidth B | tensor rate T |\n|---|---|---|---|---|\n");
    for device in &document.devices {
        let cell = |figure: Figure| {
            let value = figure.of(&device.certified);
            value.map_or("no bound".to_owned(), |value| figure.with_unit(value))
        };
        let [memory, bandwidth, tensor] = Figure::ALL.map(cell);
        let (ordinal, model) = (device.ordinal, plain(device.model));
        let _ = writeln!(text, "| {ordinal} | {model} | {memory} | {bandwidth} | {tensor} |");
    }
    for device in &document.devices {
        if let Some(class) = &device.class {
            let (ordinal, name, basis) = (device.ordinal, class.name, &class.basis);
            let _ = writeln!(
                text,
                "\nDevice {ordinal} is held against `{name}`, whose limits rest on {basis}."
            );
        }
    }
    if let Some(fabric) = &session.fabric {
        links(&mut text, fabric);
    }
    if !document.findings.is_empty() {
        text.push_str(
            "\n## Findings\n\n| finding | does | where | seen | cause | remedy |\n|---|---|---|---|---|---|\n",
        );
    }
    for finding in &document.findings {
        let (kind, effect, place) = (finding.kind, finding.effect, &finding.place);
        let [detail, cause, remedy] = [finding.detail, finding.cause, finding.remedy].map(plain);
        let _ = writeln!(
            text,
            "| `{kind}` | {effect} | {place} | {detail} | {cause} | {remedy} |"
        );
    }
    if !document.nvidia.is_empty() {
        text.push_str("\n## NVIDIA's own attestation\n\nCarried in the evidence; it is no part of the verdict.\n\n| | |\n|---|---|\n");
        for (name, value) in &document.nvidia {
            let _ = writeln!(text, "| {} | {} |", plain(name), plain(value));
        }
    }
    text.push_str("\n## Limits\n\n| limit | cost to a cheat |\n|---|---|\n");
    for (limit, cost) in limits(session) {
        let _ = writeln!(text, "| {limit} | {cost} |");
    }
    let _ = writeln!(
        text,
        "\nPolicy `{}`; evidence BLAKE3 `{}`; all bounds together are false with probability at most {} x 2^-{}.",
        document.policy_id, session.evidence_blake3, session.error_terms, session.error_bits
    );
    text
}

/// The most pairs that a table lists: those of 16 devices.
const MOST_PAIRS: usize = 120;

fn links(text: &mut String, fabric: &FabricReport) {
    let _ = writeln!(
        text,
        "\n## Links between GPUs\n\nCertified: {}. No GPU is assumed to have more than {}.\n",
        fabric.summary(),
        bytes(fabric.gpu_memory_bytes.into())
    );
    if let Some(why) = &fabric.no_bound {
        let _ = writeln!(text, "No bound of links: {}.\n", plain(why));
    }
    text.push_str("| devices | links between GPUs | any path | round |\n|---|---|---|---|\n");
    let pairs = fabric.slowest_first();
    for pair in pairs.iter().take(MOST_PAIRS) {
        let ([a, b], [links, any]) = (pair.devices, pair.exchange.cells());
        let _ = writeln!(text, "| {a} and {b} | {links} | {any} | {} |", pair.round);
    }
    if let Some(more) = pairs.len().checked_sub(MOST_PAIRS).filter(|more| *more > 0) {
        let _ = writeln!(text, "\n{more} more pairs have as much or more.");
    }
}

/// Text escaped so that Markdown shows it literally: it can add no markup, HTML, table or link.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in escape(text).chars() {
        if "\\`*_[]()!|~#".contains(c) {
            plain.push('\\');
        }
        plain.push(c);
    }
    // The entities that the HTML escaping made are restored.
    plain.replace("&\\#39;", "&#39;")
}
