//! Reads results of `cargo run -p appraisal --example issue -- FOLDER` with Veraison's `ear` crate, which is not ours.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use ear::{Algorithm, EAR_PROFILE, Ear};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("expected a folder")?);
    let jwks: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("jwks.json"))?)?;
    let keys = jwks["keys"].as_array().ok_or("no keys")?;
    for (name, alg) in [("eddsa", "EdDSA"), ("es256", "ES256"), ("es384", "ES384")] {
        let key = keys.iter().find(|key| key["alg"] == alg).ok_or("no such key")?;
        let (algorithm, alg) = match alg {
            "EdDSA" => (Algorithm::EdDSA, jsonwebtoken::Algorithm::EdDSA),
            "ES256" => (Algorithm::ES256, jsonwebtoken::Algorithm::ES256),
            _ => (Algorithm::ES384, jsonwebtoken::Algorithm::ES384),
        };

        // Without an audience, by its own reader.
        let jwt = fs::read_to_string(folder.join(format!("{name}-open.jwt")))?;
        let ear = Ear::from_jwt_jwk(&jwt, algorithm, &serde_json::to_vec(key)?)?;
        check(&ear, &fs::read(folder.join("open.json"))?)?;
        println!("{name}-open.jwt: {:?}, {} submods", ear.status, ear.submods.len());

        // With one, which the reader above has no argument for: its claims, jsonwebtoken's validation.
        let jwt = fs::read_to_string(folder.join(format!("{name}-aud.jwt")))?;
        let mut validation = jsonwebtoken::Validation::new(alg);
        validation.set_audience(&["market.example"]);
        let jwk = serde_json::from_value(key.clone())?;
        let ear: Ear = jsonwebtoken::decode(&jwt, &jsonwebtoken::DecodingKey::from_jwk(&jwk)?, &validation)?.claims;
        check(&ear, &fs::read(folder.join("aud.json"))?)?;
        println!("{name}-aud.jwt: {:?}, {} submods", ear.status, ear.submods.len());

        validation.set_audience(&["someone else"]);
        let key = jsonwebtoken::DecodingKey::from_jwk(&jwk)?;
        assert!(
            jsonwebtoken::decode::<Ear>(&jwt, &key, &validation).is_err(),
            "another audience"
        );
    }
    println!("all agree");
    Ok(())
}

/// What the crate read is what was written.
fn check(ear: &Ear, expected: &[u8]) -> Result<(), Box<dyn Error>> {
    ear.validate()?;
    let expected: serde_json::Value = serde_json::from_slice(expected)?;
    let mut read = serde_json::to_value(ear)?;
    // The crate's type has no place for these two.
    for claim in ["aud", "iss"] {
        if let Some(value) = expected.get(claim) {
            read[claim] = value.clone();
        }
    }
    assert_eq!(read, expected);
    assert_eq!(ear.profile, EAR_PROFILE);
    Ok(())
}
