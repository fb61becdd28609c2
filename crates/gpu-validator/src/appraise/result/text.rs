//! Results and audits as text.

use std::fmt;

use appraisal::audit::{Audit, Pair};
use appraisal::profile::Basis;
use attestation_result::{AttestationResult, Submodule};
use evidence_check::time;
use protocol::printable::printable;
use report::figure::CertifiedFigures;
use serde_json::Value;
use verifier::units::{bytes, bytes_per_s, ops_per_s};

/// Number of differences that are shown; the others are only counted.
const MAX_SHOWN: usize = 20;

/// The content of a result, for people.
pub(super) struct ResultText<'a>(pub(super) &'a AttestationResult);

impl fmt::Display for ResultText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = self.0;
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<12} {}", printable(value));
        line("status", result.ear_status.name())?;
        line("issuer", result.iss.as_deref().unwrap_or("not named"))?;
        line("audience", result.aud.as_deref().unwrap_or("nobody in particular"))?;
        let seconds = |s: u64| time(s.saturating_mul(1000));
        line(
            "issued",
            &format!("{}, until {}", seconds(result.iat), seconds(result.exp)),
        )?;
        if let Some(host) = result.submods.get("host") {
            for id in &host.ear_appraisal_policy_ids {
                line("policy", id)?;
            }
            for (name, claim) in [
                ("session", "session_id"),
                ("evidence", "evidence_blake3"),
                ("recorded by", "recorded_by"),
                ("attester", "attester_key"),
            ] {
                if let Some(value) = host.claim(claim).as_str() {
                    line(name, value)?;
                }
            }
        }
        for (name, submod) in &result.submods {
            line(name, submod.ear_status.name())?;
            if let Some(figures) = certified(submod) {
                line("", &figures)?;
            }
            for reason in list(submod, "reasons") {
                let of = |key: &str| reason.get(key).and_then(Value::as_str).unwrap_or_default();
                line("", &format!("{}: {}", of("code"), of("text")))?;
                if !of("remedy").is_empty() {
                    line("", &format!("  remedy: {}", of("remedy")))?;
                }
            }
            for finding in list(submod, "findings") {
                let of = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default();
                // Findings that affect the verdict are among the reasons.
                if of("effect") == "note" {
                    line("", &format!("{} (note): {}", of("kind"), of("detail")))?;
                    line("", &format!("  remedy: {}", of("remedy")))?;
                }
            }
            let held = submod.claim("held_against");
            let class = held["class"].as_str().unwrap_or_default();
            if let Ok(basis) = serde_json::from_value::<Basis>(held["basis"].clone()) {
                line("", &format!("held against {class}: {basis}"))?;
            }
        }
        Ok(())
    }
}

/// The certified figures of a host or a device's share of them.
fn certified(submod: &Submodule) -> Option<String> {
    let figures: CertifiedFigures = serde_json::from_value(submod.claim("certified").clone()).ok()?;
    let figure = |name: &str, figure: Option<u64>, text: fn(u128) -> String| {
        format!(
            "{name} {}",
            figure.map_or("no bound".to_owned(), |figure| text(figure.into()))
        )
    };
    Some(
        [
            figure("V", figures.memory_bytes, bytes),
            figure("B", figures.bandwidth_bytes_per_s, bytes_per_s),
            figure("T", figures.tensor_ops_per_s, ops_per_s),
            figure("T_local", figures.local_tensor_ops_per_s, ops_per_s),
        ]
        .join(", "),
    )
}

fn list<'a>(submod: &'a Submodule, claim: &str) -> impl Iterator<Item = &'a Value> {
    submod.claim(claim).as_array().into_iter().flatten()
}

/// The result of an audit, for people.
pub(super) struct AuditText<'a>(pub(super) &'a Audit);

impl fmt::Display for AuditText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let audit = self.0;
        writeln!(f, "\nappraised again")?;
        let mut line = |name: &str, pair: &Pair| match pair.agrees() {
            true => writeln!(f, "{name:<12} the same: {}", printable(&pair.appraised)),
            false => writeln!(
                f,
                "{name:<12} differs: signed {}, here {}",
                printable(&pair.signed),
                printable(&pair.appraised)
            ),
        };
        line("evidence", &audit.evidence)?;
        line("policy", &audit.policy)?;
        line("profiles", &audit.profiles)?;
        line("verdict", &audit.verdict)?;
        let shown = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), ToString::to_string);
        for difference in audit.differences.iter().take(MAX_SHOWN) {
            let text = format!(
                "{}: signed {}, here {}",
                difference.path,
                shown(&difference.signed),
                shown(&difference.appraised)
            );
            writeln!(f, "- {}", printable(&text))?;
        }
        let more = audit.differences.len().saturating_sub(MAX_SHOWN);
        if more > 0 {
            writeln!(f, "- and {more} more; --json has all")?;
        }
        writeln!(f, "{} claims differ", audit.differences.len())
    }
}
