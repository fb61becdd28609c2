//! Runs a CPU session and writes its results and reports into a folder, for other libraries to check:
//! `cargo run -p appraisal --example issue -- FOLDER`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use appraisal::policy::Policy;
use appraisal::profiles::Profiles;
use appraisal::{Subject, appraise};
use attestation_result::Issuance;
use attestation_result::key::{Algorithm, JwkSet, SigningKey};
use integration_tests::{attester, cpu, run, settings};
use report::{html, junit, markdown};
use verifier::Unobserved;

/// A CPU is not affirmed by default: a policy has to ask for one, and for some figure.
const CPU: &str = "name = \"cpu\"\n[device]\nclass = \"cpu\"\nmin_tensor_ops_per_s = 1\n";

/// NVIDIA's verification of an EAR expects the keys below this address.
const ISSUER: &str = "https://verifier.example";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("expected a folder")?);
    fs::create_dir_all(&folder)?;
    let (attestation, _) = run(attester(cpu(2)), &settings(), &Unobserved);
    let now_unix_ms = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_millis() as u64;
    let subject = Subject::from(&attestation);
    let profiles = Profiles::embedded();
    let policy = Policy::parse("cpu.toml", CPU, &profiles)?;
    // The Verifier that ran the session judges it.
    let own = attestation.evidence.sealer;
    let judge = policy.judge(&[], Some(own), &attestation.evidence.assumptions);
    let appraisal = appraise(&subject, &policy, &profiles, &judge, now_unix_ms);
    let mut keys = JwkSet::default();
    for (name, algorithm) in [
        ("eddsa", Algorithm::EdDsa),
        ("es256", Algorithm::Es256),
        ("es384", Algorithm::Es384),
    ] {
        let key = SigningKey::generate(algorithm)?;
        keys.extend(&JwkSet::of_signer(&key)?);
        for audience in [Some("market.example".to_owned()), None] {
            let form = if audience.is_some() { "aud" } else { "open" };
            let result = appraisal.to_result(&Issuance {
                audience,
                issuer: Some(ISSUER.to_owned()),
                ..Issuance::default()
            });
            fs::write(folder.join(format!("{name}-{form}.jwt")), result.to_jwt(&key))?;
            fs::write(folder.join(format!("{name}-{form}.cwt")), result.to_cwt(&key)?)?;
            fs::write(folder.join(format!("{form}.json")), serde_json::to_vec(&result)?)?;
        }
    }
    fs::write(folder.join("jwks.json"), keys.to_json())?;
    fs::write(folder.join("report.html"), html(&appraisal.document()))?;
    fs::write(folder.join("report.md"), markdown(&appraisal.document()))?;
    fs::write(folder.join("report.json"), appraisal.to_json())?;
    fs::write(folder.join("report.xml"), junit(&appraisal.document()))?;
    Ok(())
}
