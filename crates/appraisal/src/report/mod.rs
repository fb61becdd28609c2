//! An appraisal for people and for other programs: one HTML page, Markdown, JSON, JUnit.

mod html;
mod junit;
mod markdown;
mod svg;

pub(crate) use html::date;
pub use html::html;
pub use junit::junit;
pub use markdown::markdown;

use protocol::printable::printable_char;
use serde_json::Value;

use crate::appraise::{Appraisal, DeviceAppraisal};
use crate::classify::Figure;
use crate::finding::Finding;
use crate::nvidia::Carried;
use crate::reason::{Reason, Tier};

/// The appraisal as JSON, indented; reasons with their tier, text and remedy, findings with their cause and remedy.
///
/// # Panics
///
/// Never: an appraisal has only strings, numbers and lists.
#[must_use]
pub fn json(appraisal: &Appraisal) -> String {
    let mut value = serde_json::to_value(appraisal).expect("strings, numbers and lists");
    explain(&mut value, &appraisal.reasons, &appraisal.findings);
    for (at, device) in appraisal.devices.iter().enumerate() {
        explain(&mut value["devices"][at], &device.reasons, &device.findings);
    }
    serde_json::to_string_pretty(&value).expect("strings, numbers and lists")
}

fn explain(part: &mut Value, reasons: &[Reason], findings: &[Finding]) {
    for (at, reason) in reasons.iter().enumerate() {
        let entry = &mut part["reasons"][at];
        entry["tier"] = reason.tier().name().into();
        entry["text"] = reason.to_string().into();
        entry["remedy"] = reason.remedy().into();
    }
    for (at, finding) in findings.iter().enumerate() {
        let entry = &mut part["findings"][at];
        entry["cause"] = finding.kind.cause().into();
        entry["remedy"] = finding.kind.remedy().into();
    }
}

/// `text` with all that HTML and XML read as markup replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no place for control characters and noncharacters, and others turn text around.
            c => escaped.push(printable_char(c)),
        }
    }
    escaped
}

/// What a verdict means, in plain words; of an affirming one, what is certified and no more.
fn meaning(appraisal: &Appraisal) -> String {
    let text = match appraisal.verdict {
        Tier::Affirming => {
            return format!(
                "What was asked for is certified: in a timed session {}. Only its answers and the Verifier's clock count, nothing \
                 it says of itself.",
                certified(appraisal)
            );
        }
        Tier::Warning => {
            "The session held, but there is doubt whether the system is what it says. The reasons below say what is short and what honest causes look like. Certified figures stand."
        }
        Tier::Contraindicated => {
            "What was asked for does not hold: a check failed, or the certified figures contradict the claim or the policy. The reasons below tell which."
        }
        Tier::None => {
            "Nothing can be said: the session could not run, or was not enough to tell. This is neither a pass nor a ban; the reasons below say what stood in the way."
        }
    };
    text.to_owned()
}

/// What every device of an affirmed session is certified for, as a clause.
fn certified(appraisal: &Appraisal) -> String {
    let parts = [
        (Figure::Tensor, "did the work"),
        (Figure::Memory, "held the memory"),
        (Figure::Bandwidth, "read it"),
    ];
    let is_certified = |figure: Figure| {
        appraisal
            .devices
            .iter()
            .all(|device| figure.of(&device.certified).is_some())
    };
    let (are, are_not): (Vec<_>, Vec<_>) = parts.into_iter().partition(|(figure, _)| is_certified(*figure));
    let list = |words: Vec<&str>, last: &str| match words.split_last() {
        Some((end, rest)) if !rest.is_empty() => format!("{} {last} {end}", rest.join(", ")),
        _ => words.concat(),
    };
    let did = format!(
        "each device {} at least as below",
        list(are.iter().map(|part| part.1).collect(), "and")
    );
    match are_not.is_empty() {
        true => did,
        false => {
            let names = are_not.iter().map(|part| part.0.name()).collect();
            format!("{did}; nothing is certified of {}", list(names, "or"))
        }
    }
}

fn device_title(device: &DeviceAppraisal) -> String {
    format!("Device {}: {}", device.ordinal, device.model)
}

/// Host and devices with their reasons, in order.
fn parts(appraisal: &Appraisal) -> impl Iterator<Item = (String, Tier, &[Reason])> {
    let host = ("Host and session".to_owned(), appraisal.verdict, &appraisal.reasons[..]);
    let devices = appraisal.devices.iter();
    std::iter::once(host).chain(devices.map(|device| (device_title(device), device.verdict, &device.reasons[..])))
}

/// What came of NVIDIA's own attestation, row by row; nothing where the evidence carries none.
fn nvidia(appraisal: &Appraisal) -> Vec<(String, String)> {
    let row = |name: &str, value: String| (name.to_owned(), value);
    match &appraisal.nvidia {
        None => Vec::new(),
        Some(Carried::Unchecked { bytes }) => vec![row("Not checked", format!("{bytes} bytes; no keys were given"))],
        Some(Carried::Refused { why }) => vec![row("Refused", why.clone())],
        Some(Carried::Checked(checked)) => {
            let mut rows = vec![
                row(
                    "Checked",
                    "signatures and times hold, and the nonce is this session's".to_owned(),
                ),
                row("Issuer", checked.issuer.clone()),
                row("Overall", checked.overall.to_string()),
                row(
                    "Issued",
                    format!("{} (UTC)", date(checked.issued_s.saturating_mul(1000))),
                ),
            ];
            for (gpu, claims) in &checked.gpus {
                rows.extend(
                    claims
                        .iter()
                        .map(|(claim, value)| (format!("{gpu}: {claim}"), value.to_string())),
                );
            }
            rows
        }
    }
}

/// What is said where a part has no reason of its own; the host's verdict is then that of its devices.
fn without_reasons(tier: Tier) -> &'static str {
    match tier {
        Tier::Affirming => "Nothing speaks against it",
        _ => "Nothing of its own: the worst of its devices decides",
    }
}

/// What the protocol's limits would cost a cheat (spec §7), row by row.
fn limits(appraisal: &Appraisal) -> Vec<(String, String)> {
    let a = &appraisal.report.assumptions;
    let rate = |value: u64| verifier::units::bytes_per_s(value.into());
    let mut rows = vec![
        (
            "Relay to equal GPUs elsewhere".to_owned(),
            "as many real GPUs as are claimed, idle for the session; answers are small, so a network is enough"
                .to_owned(),
        ),
        (
            "Tiles held elsewhere".to_owned(),
            format!(
                "memory there that is read as fast, the host's own included; the bounds assume {}",
                rate(a.helper_bytes_per_s)
            ),
        ),
        (
            "Helpers that hold nothing".to_owned(),
            format!(
                "{} GPU{} that make bytes anew for each device are taken off the bounds; more are not",
                a.helper_gpus,
                if a.helper_gpus == 1 { "" } else { "s" }
            ),
        ),
        (
            "Work done elsewhere".to_owned(),
            "other GPUs with that rate; a tile's digest has eight bytes, so any network carries T: it is the system's, T_local its \
             devices'"
                .to_owned(),
        ),
    ];
    rows.push((
        "Two GPUs joined as one, partial copies".to_owned(),
        "each missing a share u moves at least u² N/2 a direction in each sweep".to_owned(),
    ));
    rows.push((
        "A larger GPU, or its slices, for smaller ones".to_owned(),
        "a larger GPU: figures can't tell, and the findings name the classes".to_owned(),
    ));
    rows.push((
        "Model, firmware, anything before or after the session".to_owned(),
        "not covered: hardware attestation complements this".to_owned(),
    ));
    rows
}
