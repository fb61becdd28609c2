//! An appraised session as JUnit XML, for CI systems: one case for the host and one per device.

use std::fmt::Write;

use crate::document::{Document, Remark, Test};
use crate::escape::escape;

/// The appraised session as JUnit XML: `contraindicated` fails, `none` is skipped, a warning passes and is mentioned.
#[must_use]
pub fn junit(document: &Document<'_>) -> String {
    let count = |test: Test| document.parts.iter().filter(|part| part.verdict.test == test).count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites><testsuite name=\"gpu attestation {}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" errors=\"0\">\n",
        escape(document.session.session_id.as_deref().unwrap_or("")),
        document.parts.len(),
        count(Test::Failed),
        count(Test::Skipped)
    );
    for part in &document.parts {
        let line = |reason: &Remark| escape(&format!("{}: {}{}", reason.code, reason.text, remedy(reason.remedy)));
        let text = match part.reasons.is_empty() {
            true => part.otherwise.to_owned(),
            false => part.reasons.iter().map(line).collect::<Vec<_>>().join("\n"),
        };
        let (class, title) = (escape(document.policy_name), escape(&part.title));
        let _ = write!(xml, "<testcase classname=\"{class}\" name=\"{title}\">");
        let name = part.verdict.name;
        let _ = match part.verdict.test {
            Test::Failed => write!(xml, "<failure message=\"{name}\">{text}</failure>"),
            Test::Skipped => write!(xml, "<skipped message=\"{text}\"/>"),
            Test::Passed => write!(xml, "<system-out>{name}\n{text}</system-out>"),
        };
        xml.push_str("</testcase>\n");
    }
    let mut said = Vec::new();
    let mut say = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            said.push(format!("{}\n{}", escape(title), lines.join("\n")));
        }
    };
    let findings = document.findings.iter().map(|finding| {
        let (place, kind, effect, detail) = (&finding.place, finding.kind, finding.effect, finding.detail);
        escape(&format!(
            "{place}: {kind} ({effect}): {detail}{}",
            remedy(finding.remedy)
        ))
    });
    say("findings", findings.collect());
    let nvidia = document.nvidia.iter();
    let nvidia = nvidia.map(|(name, value)| escape(&format!("{name}: {value}")));
    say("NVIDIA's own attestation, no part of the verdict", nvidia.collect());
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
