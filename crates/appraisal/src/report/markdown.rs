//! The appraisal as Markdown, for tickets and chats.

use std::fmt::Write;

use super::{escape, limits, meaning, parts, without_reasons};
use crate::appraise::Appraisal;
use crate::classify::Figure;
use crate::reason::figure;

/// The appraisal as Markdown; what a peer wrote is escaped.
#[must_use]
pub fn markdown(appraisal: &Appraisal) -> String {
    let mut text = String::new();
    let verdict = appraisal.verdict;
    let session = appraisal.report.session_id.as_deref().unwrap_or("without a plan");
    let _ = writeln!(
        text,
        "# GPU attestation: {}\n\nSession `{session}`. {}\n",
        verdict.name(),
        meaning(appraisal)
    );
    for (title, tier, reasons) in parts(appraisal) {
        let _ = writeln!(text, "## {}: {}\n", plain(&title), tier.name());
        if reasons.is_empty() {
            let _ = writeln!(text, "- {}.", without_reasons(tier));
        }
        for reason in reasons {
            let _ = write!(text, "- `{}`: {}.", reason.code(), plain(&reason.to_string()));
            let remedy = reason.remedy();
            let _ = if remedy.is_empty() {
                writeln!(text)
            } else {
                writeln!(text, " Remedy: {remedy}.")
            };
        }
        text.push('\n');
    }
    text.push_str("## Certified at least\n\n| device | says it is | memory V | bandwidth B | tensor rate T |\n|---|---|---|---|---|\n");
    for device in &appraisal.devices {
        let cell = |kind: Figure| {
            kind.of(&device.certified)
                .map_or("no claim".to_owned(), |value| figure(kind, value))
        };
        let [memory, bandwidth, tensor] = Figure::ALL.map(cell);
        let model = plain(&device.model);
        let _ = writeln!(
            text,
            "| {} | {model} | {memory} | {bandwidth} | {tensor} |",
            device.ordinal
        );
    }
    for device in &appraisal.devices {
        if let Some(held) = &device.held_against {
            let _ = writeln!(
                text,
                "\nDevice {} is held against `{}`, whose limits rest on {}.",
                device.ordinal, held.class, held.basis
            );
        }
    }
    if appraisal.all_findings().next().is_some() {
        text.push_str(
            "\n## Findings\n\n| finding | does | where | seen | cause | remedy |\n|---|---|---|---|---|---|\n",
        );
    }
    for (place, finding) in appraisal.all_findings() {
        let kind = finding.kind;
        let _ = writeln!(
            text,
            "| `{}` | {} | {place} | {} | {} | {} |",
            kind.name(),
            finding.effect.name(),
            plain(&finding.detail),
            plain(kind.cause()),
            plain(kind.remedy())
        );
    }
    let nvidia = super::nvidia(appraisal);
    if !nvidia.is_empty() {
        text.push_str("\n## NVIDIA's own attestation\n\nCarried in the evidence; it is no part of the verdict.\n\n| | |\n|---|---|\n");
        for (name, value) in nvidia {
            let _ = writeln!(text, "| {} | {} |", plain(&name), plain(&value));
        }
    }
    text.push_str("\n## Limits\n\n| limit | cost to a cheat |\n|---|---|\n");
    for (limit, cost) in limits(appraisal) {
        let _ = writeln!(text, "| {limit} | {cost} |");
    }
    let _ = writeln!(
        text,
        "\nPolicy `{}`; evidence BLAKE3 `{}`; error 2^-{} a device and claim.",
        appraisal.policy_id, appraisal.report.evidence_blake3, appraisal.report.error_bits
    );
    text
}

/// Text that Markdown shows as it is: no markup, no HTML, no table or link of its own.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in escape(text).chars() {
        if "\\`*_[]()!|~#".contains(c) {
            plain.push('\\');
        }
        plain.push(c);
    }
    // Entities of the escape are whole again.
    plain.replace("&\\#39;", "&#39;")
}
