//! The appraisal as JUnit XML, for CI systems: one case for the host and one a device.

use std::fmt::Write;

use super::{escape, parts, without_reasons};
use crate::appraise::Appraisal;
use crate::reason::Tier;

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
        let lines: Vec<String> = reasons.iter().map(|r| escape(&format!("{}: {r}", r.code()))).collect();
        let text = match lines.is_empty() {
            true => without_reasons(tier).to_owned(),
            false => lines.join("\n"),
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
    let nvidia = super::nvidia(appraisal);
    if !nvidia.is_empty() {
        let lines: Vec<String> = nvidia
            .iter()
            .map(|(name, value)| escape(&format!("{name}: {value}")))
            .collect();
        let _ = writeln!(
            xml,
            "<system-out>NVIDIA&#39;s own attestation, no part of the verdict\n{}</system-out>",
            lines.join("\n")
        );
    }
    xml.push_str("</testsuite></testsuites>\n");
    xml
}
