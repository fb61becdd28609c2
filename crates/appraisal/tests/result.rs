//! Attestation Results: issued, checked, and compared with a second appraisal.

mod common;

use appraisal::policy::Policy;
use appraisal::profiles::Profiles;
use appraisal::{Appraisal, Subject};
use attestation_result::key::{Algorithm, JwkSet, SigningKey};
use attestation_result::{Expectations, Issuance, Tier, verify_cwt, verify_result};

/// A CPU's session under a policy that asks for a CPU, and for this in addition.
fn appraised(more: &str) -> Appraisal {
    let attestation = common::session(2);
    let policy =
        Policy::parse("policy.toml", &format!("{}{more}", common::CPU), &Profiles::embedded()).expect("a policy");
    let now = attestation.evidence.started_unix_ms + 5_000;
    common::appraise(&Subject::from(attestation), &policy, &Profiles::embedded(), now)
}

fn issuance() -> Issuance {
    Issuance {
        issuer: Some("verifier.example".to_owned()),
        audience: Some("market.example".to_owned()),
        ..Issuance::default()
    }
}

fn expectations(appraisal: &Appraisal) -> Expectations {
    let nonce = protocol::bytes::unhex(appraisal.nonce.as_deref().expect("a nonce")).expect("hexadecimal");
    Expectations {
        audience: Some("market.example".to_owned()),
        issuer: Some("verifier.example".to_owned()),
        nonce: nonce.try_into().ok(),
        policy_id: Some(appraisal.policy_id.clone()),
        max_age_s: Some(3_600),
    }
}

#[test]
fn a_result_is_what_was_appraised() {
    let appraisal = appraised("");
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384] {
        let key = SigningKey::generate(algorithm).expect("a key");
        let result = appraisal.to_result(&issuance());
        let jwks = JwkSet::parse(&JwkSet::new([key.public()]).to_json()).expect("a set");
        let jwt = result.to_jwt(&key);
        let verified = verify_result(&jwt, &jwks, result.iat + 1, &expectations(&appraisal)).expect("a result");
        assert_eq!(verified, result);
        let cwt = result.to_cwt(&key).expect("a CWT");
        let from_cwt = verify_cwt(&cwt, &jwks, result.iat + 1, &expectations(&appraisal)).expect("a result");
        assert_eq!(from_cwt, result);
        assert_eq!(verified.ear_status, Tier::Affirming);
        assert_eq!(verified.submods.keys().collect::<Vec<_>>(), ["gpu0", "gpu1", "host"]);
    }
}

#[test]
fn a_second_appraisal_tells_whether_the_signed_one_holds() {
    let signed = appraised("").to_result(&issuance());
    let again = appraised("").to_result(&Issuance::default());
    assert_eq!(again.differences(&signed), []);
    let mut forged = signed.clone();
    forged.ear_status = Tier::Warning;
    let differences = again.differences(&forged);
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].path, "ear_status");
    let stricter = appraised("[host]\ndevices = 8").to_result(&Issuance::default());
    let paths: Vec<String> = stricter.differences(&signed).into_iter().map(|d| d.path).collect();
    assert!(
        paths.contains(&"ear_status".to_owned()) && paths.iter().any(|path| path.contains("policy")),
        "{paths:?}"
    );
}
