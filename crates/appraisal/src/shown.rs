//! An appraisal for output: the content of reports, and JSON.

use attestation_result::Tier;
use report::date::date;
use report::document::{Class, Device, Document, Finding, Part, Remark, Test, Verdict};
use report::figure::Figure;

use crate::appraisal::{Appraisal, DeviceAppraisal};
use crate::classify::ClassFit;
use crate::nvidia::Carried;
use crate::reason::Reason;

impl Appraisal {
    /// What [`report::html`], [`report::markdown`] and [`report::junit`] show.
    #[must_use]
    pub fn document(&self) -> Document<'_> {
        let host = part("Host and session".to_owned(), self.verdict, &self.reasons);
        let devices = self.devices.iter().map(|device| {
            let title = format!("Device {}: {}", device.ordinal, device.model);
            part(title, device.verdict, &device.reasons)
        });
        let findings = self.all_findings().map(|(place, finding)| Finding {
            place,
            kind: finding.kind.name(),
            effect: finding.effect.name(),
            detail: &finding.detail,
            cause: finding.kind.cause(),
            remedy: finding.kind.remedy(),
        });
        Document {
            verdict: verdict(self.verdict),
            meaning: meaning(self),
            parts: std::iter::once(host).chain(devices).collect(),
            devices: self.devices.iter().map(device).collect(),
            findings: findings.collect(),
            nvidia: nvidia(self.nvidia.as_ref()),
            policy_name: &self.policy_name,
            policy_id: &self.policy_id,
            asked: &self.asked,
            profiles_blake3: &self.profiles_blake3,
            appraised_unix_ms: self.appraised_unix_ms,
            nonce: self.nonce.as_deref(),
            session: &self.report,
        }
    }

    /// The appraisal as JSON, indented; reasons with their tier, text and remedy, findings with their cause and remedy.
    #[must_use]
    pub fn to_json(&self) -> String {
        let value = serde_json::to_value(self).expect("strings, numbers and lists");
        serde_json::to_string_pretty(&value).expect("strings, numbers and lists")
    }
}

fn verdict(tier: Tier) -> Verdict {
    Verdict {
        name: tier.name(),
        test: match tier {
            Tier::Affirming | Tier::Warning => Test::Passed,
            Tier::Contraindicated => Test::Failed,
            Tier::None => Test::Skipped,
        },
    }
}

fn part(title: String, tier: Tier, reasons: &[Reason]) -> Part {
    let remark = |reason: &Reason| Remark {
        code: reason.code(),
        text: reason.to_string(),
        remedy: reason.remedy(),
    };
    Part {
        title,
        verdict: verdict(tier),
        reasons: reasons.iter().map(remark).collect(),
        otherwise: match tier {
            Tier::Affirming => "Nothing speaks against it",
            // In this case the host's verdict is that of its devices.
            _ => "Nothing of its own: the worst of its devices decides",
        },
    }
}

fn device(device: &DeviceAppraisal) -> Device<'_> {
    let class = device.held_against.as_ref().and_then(|held| {
        let fit = device.classification.fit(&held.class)?;
        Some(Class {
            name: &held.class,
            title: &fit.title,
            is_stated: device.stated_class.as_ref() == Some(&held.class),
            basis: held.basis.to_string(),
            margins: &fit.margins,
        })
    });
    Device {
        ordinal: device.ordinal,
        model: &device.model,
        class,
        certified: device.certified,
        fits: titles(&device.classification.fits),
        excluded: titles(&device.classification.excluded),
        phases: &device.phases,
        telemetry: &device.telemetry,
    }
}

fn titles(fits: &[ClassFit]) -> Vec<&str> {
    fits.iter().map(|fit| &fit.title[..]).collect()
}

/// What a verdict means, in plain words; for an affirming one, what is certified and no more.
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
            "What was asked for does not hold: a check failed, or the certified figures contradict what the host states or the policy. The reasons below tell which."
        }
        Tier::None => {
            "Nothing can be said: the session could not run, or was not enough to tell. This is neither a pass nor a ban; the reasons below say what stood in the way."
        }
    };
    text.to_owned()
}

/// What an affirmed session certifies of the system behind it, as a clause: no bound holds for a device by itself.
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
        "the system behind the session {} at least as below",
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

/// The result of NVIDIA's own attestation, row by row; empty if the evidence carries none.
fn nvidia(carried: Option<&Carried>) -> Vec<(String, String)> {
    let row = |name: &str, value: String| (name.to_owned(), value);
    let checked = match carried {
        None => return Vec::new(),
        Some(Carried::Unchecked { bytes }) => {
            return vec![row("Not checked", format!("{bytes} bytes; no keys were given"))];
        }
        Some(Carried::Refused { why }) => return vec![row("Refused", why.clone())],
        Some(Carried::Checked(checked)) => checked,
    };
    let holds = "signatures and times hold, and the nonce is this session's";
    let issued = date(checked.issued_s.saturating_mul(1000));
    let mut rows = vec![
        row("Checked", holds.to_owned()),
        row("Issuer", checked.issuer.clone()),
        row("Overall", checked.overall.to_string()),
        row("Issued", format!("{issued} (UTC)")),
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
