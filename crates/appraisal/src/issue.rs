//! An appraisal as an Attestation Result; `docs/results.md` describes its claims.

use std::collections::BTreeMap;

use attestation_result::{AttestationResult, CLAIMS_VERSION, EAR_PROFILE, Issuance, PRIVATE_CLAIM, Submodule};
use base64ct::{Base64UrlUnpadded, Encoding};
use protocol::bytes::unhex;
use report::Claim;
use report::figure::Certified;
use serde_json::{Map, Value, json};

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

fn private(claims: Map<String, Value>) -> BTreeMap<String, Value> {
    BTreeMap::from([(PRIVATE_CLAIM.to_owned(), Value::Object(claims))])
}

fn host(appraisal: &Appraisal) -> Submodule {
    let report = &appraisal.report;
    let mut claims = Map::new();
    let mut put = |key: &str, value: Value| {
        // Absent members, not nulls: CBOR readers of EAR know none.
        if !value.is_null() {
            claims.insert(key.to_owned(), value);
        }
    };
    put("version", json!(CLAIMS_VERSION));
    put("session_id", json!(report.session_id));
    put("mode", json!(report.mode));
    put("started_unix_ms", json!(report.started_unix_ms));
    put("evidence_blake3", json!(report.evidence_blake3));
    put("evidence_audience", json!(report.audience));
    put("recorded_by", json!(report.verifier));
    put("attester_key", json!(report.attester));
    put("checksum", json!(report.checksum));
    put("samples_checked", json!(report.samples_checked));
    put("session_verdict", json!(report.verdict));
    put("policy_name", json!(appraisal.policy_name));
    put("profiles_blake3", json!(appraisal.profiles_blake3));
    put("error_bits", json!(report.error_bits));
    put("assumptions", json!(report.assumptions));
    if let Some(host) = &report.host {
        let clamp = |claim: &Claim<u128>| claim.at_least.map(|value| u64::try_from(value).unwrap_or(u64::MAX));
        let certified = Certified {
            memory_bytes: clamp(&host.memory_bytes),
            bandwidth_bytes_per_s: clamp(&host.bandwidth_bytes_per_s),
            tensor_ops_per_s: clamp(&host.tensor_ops_per_s),
            local_tensor_ops_per_s: clamp(&host.local_tensor_ops_per_s),
        };
        put("certified", figures(&certified));
    }
    put("indistinguishable_from", json!(appraisal.host_indistinguishable_from));
    put(
        "nvidia",
        appraisal
            .nvidia
            .as_ref()
            .map_or(Value::Null, |nvidia| without_nulls(json!(nvidia))),
    );
    put("reasons", reasons(&appraisal.reasons));
    put("findings", findings(&appraisal.findings));
    let says = report
        .software
        .as_ref()
        .map(|software| Map::from_iter([("software".to_owned(), json!(software))]));
    // The host's own verdict is the whole's: its devices speak for themselves beside it.
    Submodule {
        ear_status: appraisal.verdict,
        ear_appraisal_policy_ids: vec![appraisal.policy_id.clone()],
        ear_attester_claims: says.map(private),
        ear_verifier_claims: private(claims),
    }
}

fn gpu(device: &DeviceAppraisal, appraisal: &Appraisal) -> Submodule {
    let classification = &device.classification;
    let names = |fits: &[ClassFit]| json!(fits.iter().map(|fit| fit.class.as_str()).collect::<Vec<_>>());
    let mut claims = Map::from_iter([
        ("version".to_owned(), json!(CLAIMS_VERSION)),
        ("certified".to_owned(), figures(&device.certified)),
        (
            "shows_gpu_memory".to_owned(),
            json!(device.certified.shows_gpu_memory()),
        ),
        ("fits".to_owned(), names(&classification.fits)),
        ("excluded".to_owned(), names(&classification.excluded)),
        (
            "indistinguishable_from".to_owned(),
            json!(classification.indistinguishable_from),
        ),
        ("reasons".to_owned(), reasons(&device.reasons)),
        ("findings".to_owned(), findings(&device.findings)),
    ]);
    if let Some(class) = &device.claimed_class {
        claims.insert("claimed_class".to_owned(), json!(class));
    }
    if let Some(held) = &device.held_against {
        claims.insert("held_against".to_owned(), json!(held));
    }
    let report = appraisal
        .report
        .devices
        .iter()
        .find(|report| report.ordinal == device.ordinal);
    let mut says = Map::from_iter([("model".to_owned(), json!(device.model))]);
    if let Some(report) = report {
        claims.insert("dataset_bytes".to_owned(), json!(report.dataset_bytes));
        claims.insert("measured".to_owned(), json!(report.measured));
        says.insert("engine".to_owned(), json!(report.engine));
        says.insert("memory_bytes".to_owned(), json!(report.memory_bytes));
    }
    Submodule {
        ear_status: device.verdict,
        ear_appraisal_policy_ids: vec![appraisal.policy_id.clone()],
        ear_attester_claims: Some(private(says)),
        ear_verifier_claims: private(claims),
    }
}

/// Foreign claims may be null, which CBOR readers of EAR do not know.
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

fn figures(certified: &Certified) -> Value {
    let members = [
        ("memory_bytes", certified.memory_bytes),
        ("bandwidth_bytes_per_s", certified.bandwidth_bytes_per_s),
        ("tensor_ops_per_s", certified.tensor_ops_per_s),
        ("local_tensor_ops_per_s", certified.local_tensor_ops_per_s),
    ];
    let present = members
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), json!(value?))));
    Value::Object(present.collect())
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
