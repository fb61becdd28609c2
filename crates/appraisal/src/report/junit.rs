//! The appraisal as JUnit XML, for CI systems: one case for the host and one a device.

use std::fmt::Write;

use attestation_result::Tier;

use super::{escape, parts, without_reasons};
use crate::appraise::Appraisal;
use crate::reason::Reason;

/// The appraisal as JUnit XML: contraindicated fails, none is skipped, a warning passes and says so.
#[must_use]
pub fn junit(appraisal: &Appraisal) -> String {
    let count = |tier: Tier| parts(appraisal).filter(|part| part.1 == tier).count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites><testsuite name=\"gpu attestation {}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" errors=\"0\">\n",
        escape(appraisal.report.session_id.as_deref().unwrap_or("")),
        parts(appraisal).count(),
        count(Tier::Contraindicated),
        count(Tier::None)
    );
    for (title, tier, reasons) in parts(appraisal) {
        let line = |reason: &Reason| escape(&format!("{}: {reason}{}", reason.code(), remedy(reason.remedy())));
        let text = match reasons.is_empty() {
            true => without_reasons(tier).to_owned(),
            false => reasons.iter().map(line).collect::<Vec<_>>().join("\n"),
        };
        let _ = write!(
            xml,
            "<testcase classname=\"{}\" name=\"{}\">",
            escape(&appraisal.policy_name),
            escape(&title)
        );
        let _ = match tier {
            Tier::Contraindicated => write!(xml, "<failure message=\"{}\">{text}</failure>", tier.name()),
            Tier::None => write!(xml, "<skipped message=\"{text}\"/>"),
            Tier::Affirming | Tier::Warning => write!(xml, "<system-out>{}\n{text}</system-out>", tier.name()),
        };
        xml.push_str("</testcase>\n");
    }
    let found: Vec<String> = appraisal
        .all_findings()
        .map(|(place, finding)| {
            let (kind, detail) = (finding.kind, &finding.detail);
            let effect = finding.effect.name();
            escape(&format!(
                "{place}: {} ({effect}): {detail}{}",
                kind.name(),
                remedy(kind.remedy())
            ))
        })
        .collect();
    let mut said = Vec::new();
    if !found.is_empty() {
        said.push(format!("findings\n{}", found.join("\n")));
    }
    let nvidia: Vec<String> = super::nvidia(appraisal)
        .iter()
        .map(|(name, value)| escape(&format!("{name}: {value}")))
        .collect();
    if !nvidia.is_empty() {
        said.push(format!(
            "NVIDIA&#39;s own attestation, no part of the verdict\n{}",
            nvidia.join("\n")
        ));
    }
    if !said.is_empty() {
        let _ = writeln!(xml, "<system-out>{}</system-out>", said.join("\n\n"));
    }
    xml.push_str("</testsuite></testsuites>\n");
    xml
}

fn remedy(remedy: &str) -> String {
    match remedy {
        "" => String::new(),
        remedy => format!(". Remedy: {remedy}"),
    }
}
