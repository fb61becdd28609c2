//! An appraisal as an Attestation Result; `docs/results.md` describes its claims.

use std::collections::BTreeMap;

use attestation_result::{AttestationResult, CLAIMS_VERSION, EAR_PROFILE, Issuance, PRIVATE_CLAIM, Submodule};
use base64ct::{Base64UrlUnpadded, Encoding};
use protocol::bytes::unhex;
use report::FabricReport;
use report::figure::CertifiedFigures;
use serde_json::{Value, json};

use crate::appraisal::{Appraisal, DeviceAppraisal};
use crate::classify::ClassFit;
use crate::finding::Finding;
use crate::reason::Reason;

impl Appraisal {
    /// The appraisal as an Attestation Result, issued when it was appraised.
    #[must_use]
    pub fn to_result(&self, issuance: &Issuance) -> AttestationResult {
        let iat = self.appraised_unix_ms / 1000;
        let nonce = self.nonce.as_deref().and_then(unhex);
        let mut submods = BTreeMap::from([("host".to_owned(), host(self))]);
        for device in &self.devices {
            submods.insert(format!("gpu{}", device.ordinal), gpu(device, self));
        }
        AttestationResult {
            eat_profile: EAR_PROFILE.to_owned(),
            iat,
            exp: iat.saturating_add(issuance.valid_s),
            iss: issuance.issuer.clone(),
            aud: issuance.audience.clone(),
            eat_nonce: nonce.map(|nonce| Base64UrlUnpadded::encode_string(&nonce)),
            ear_verifier_id: issuance.verifier_id.clone(),
            ear_status: self.verdict,
            submods,
        }
    }
}

fn private(claims: Value) -> BTreeMap<String, Value> {
    let mut claims = claims;
    // Members are absent instead of null: CBOR readers of EAR do not support null.
    if let Some(members) = claims.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    BTreeMap::from([(PRIVATE_CLAIM.to_owned(), claims)])
}

fn host(appraisal: &Appraisal) -> Submodule {
    let report = &appraisal.report;
    let claims = json!({
        "version": CLAIMS_VERSION,
        "session_id": report.session_id,
        "mode": report.mode,
        "started_unix_ms": report.started_unix_ms,
        "evidence_blake3": report.evidence_blake3,
        "evidence_audience": report.audience,
        "recorded_by": report.verifier,
        "attester_key": report.attester,
        "checksum": report.checksum,
        "samples_checked": report.samples_checked,
        "session_verdict": report.verdict,
        "policy_name": appraisal.policy_name,
        "profiles_blake3": appraisal.profiles_blake3,
        "error_bits": report.error_bits,
        "assumptions": report.assumptions,
        "certified": report.host.as_ref().map(|host| figures(&CertifiedFigures::from(host))),
        "fabric": report.fabric.as_ref().map(fabric),
        "indistinguishable_from": appraisal.host_indistinguishable_from,
        "nvidia": appraisal.nvidia.as_ref().map(|nvidia| without_nulls(json!(nvidia))),
        "reasons": reasons(&appraisal.reasons),
        "findings": findings(&appraisal.findings),
    });
    let says = report.software.as_ref().map(|software| json!({ "software": software }));
    // The verdict in the host's submodule is the overall one; each device has a submodule of its own.
    Submodule {
        ear_status: appraisal.verdict,
        ear_appraisal_policy_ids: vec![appraisal.policy_id.clone()],
        ear_attester_claims: says.map(private),
        ear_verifier_claims: private(claims),
    }
}

/// What every two devices have at least, and two halves of the system.
fn fabric(fabric: &FabricReport) -> Value {
    let (pairs, bisection) = (fabric.least(), fabric.bisection);
    without_nulls(json!({
        "pairs": fabric.pairs.len(),
        "min_link_bytes_per_s": pairs.link_bytes_per_s,
        "min_exchange_bytes_per_s": pairs.exchange_bytes_per_s,
        "bisection_link_bytes_per_s": bisection.link_bytes_per_s,
        "bisection_exchange_bytes_per_s": bisection.exchange_bytes_per_s,
        "gpu_memory_bytes": fabric.gpu_memory_bytes,
        "inner_dim": fabric.inner_dim,
        "chances": fabric.chances,
    }))
}

fn gpu(device: &DeviceAppraisal, appraisal: &Appraisal) -> Submodule {
    let classification = &device.classification;
    let names = |fits: &[ClassFit]| json!(fits.iter().map(|fit| fit.class.as_str()).collect::<Vec<_>>());
    let mut reports = appraisal.report.devices.iter();
    let report = reports.find(|report| report.ordinal == device.ordinal);
    let claims = json!({
        "version": CLAIMS_VERSION,
        "certified": figures(&device.certified),
        "shows_gpu_memory": device.certified.shows_gpu_memory(),
        "fits": names(&classification.fits),
        "excluded": names(&classification.excluded),
        "indistinguishable_from": classification.indistinguishable_from,
        "reasons": reasons(&device.reasons),
        "findings": findings(&device.findings),
        "stated_class": device.stated_class,
        "held_against": device.held_against,
        "dataset_bytes": report.map(|report| report.dataset_bytes),
        "measured": report.map(|report| &report.measured),
    });
    let says = json!({
        "model": device.model,
        "engine": report.map(|report| &report.engine),
        "memory_bytes": report.map(|report| report.memory_bytes),
    });
    Submodule {
        ear_status: device.verdict,
        ear_appraisal_policy_ids: vec![appraisal.policy_id.clone()],
        ear_attester_claims: Some(private(says)),
        ear_verifier_claims: private(claims),
    }
}

/// Claims of others may be null, which CBOR readers of EAR do not support.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let present = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(present.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(values) => values.into_iter().filter(|v| !v.is_null()).map(without_nulls).collect(),
        other => other,
    }
}

/// The figures that are certified.
fn figures(certified: &CertifiedFigures) -> Value {
    without_nulls(json!(certified))
}

fn reasons(reasons: &[Reason]) -> Value {
    let entry = |reason: &Reason| {
        let mut entry = json!({ "code": reason.code(), "tier": reason.tier().name(), "text": reason.to_string() });
        if !reason.remedy().is_empty() {
            entry["remedy"] = reason.remedy().into();
        }
        entry
    };
    reasons.iter().map(entry).collect()
}

fn findings(findings: &[Finding]) -> Value {
    let entry = |finding: &Finding| {
        let (kind, remedy) = (finding.kind.name(), finding.kind.remedy());
        json!({ "kind": kind, "effect": finding.effect, "detail": finding.detail, "remedy": remedy })
    };
    findings.iter().map(entry).collect()
}
