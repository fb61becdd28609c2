//! Input of users and services to the appraisal: policies, profiles, sets of keys.

use std::sync::LazyLock;

use appraisal::policy::Policy;
use appraisal::profile::Profile;
use appraisal::profiles::Profiles;
use attestation_result::key::JwkSet;

use crate::tokens::keys;

static PROFILES: LazyLock<Profiles> = LazyLock::new(Profiles::embedded);

/// Parses bytes as a policy.
///
/// # Panics
///
/// If an accepted one is written differently, or an error has no message.
pub fn run_policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Policy::parse("policy.toml", text, &PROFILES) {
        Ok(policy) => {
            let again = Policy::parse("policy.toml", &policy.to_toml(), &PROFILES);
            let again = again.unwrap_or_else(|error| panic!("{error}: {}", policy.to_toml()));
            assert_eq!(again.to_toml(), policy.to_toml());
            assert_eq!(again.id(), policy.id());
        }
        Err(error) => assert!(error.to_string().starts_with("policy.toml"), "{error}"),
    }
}

/// Parses bytes as a profile.
///
/// # Panics
///
/// If an accepted one is written differently, or an error has no message.
pub fn run_profile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A folder has no file name: the profile may have any name.
    match Profile::parse("..", text) {
        Ok(profile) => {
            let again = Profile::parse("..", &profile.to_toml());
            let again = again.unwrap_or_else(|error| panic!("{error}: {}", profile.to_toml()));
            assert_eq!(again.to_toml(), profile.to_toml());
        }
        Err(error) => assert!(error.to_string().starts_with(".."), "{error}"),
    }
}

/// Parses bytes as a JWK Set.
///
/// # Panics
///
/// If an accepted one is written differently.
pub fn run_jwks(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(set) = JwkSet::parse(text) {
        assert_eq!(JwkSet::parse(&set.to_json()).ok(), Some(set));
    }
}

/// The default policy, and one that sets a value in each part.
#[must_use]
pub fn seeds_of_policies() -> Vec<Vec<u8>> {
    let texts = [
        Policy::default().to_toml(),
        "name = \"rental\"\n[device]\nclass = \"h200\"\n[session]\n".to_owned(),
        "name = \"small\"\n[device]\nmin_memory_bytes = 1000\n[assumptions]\n[findings]\n[shares]\n".to_owned(),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}

/// One profile of each kind that comes with the appraisal.
#[must_use]
pub fn seeds_of_profiles() -> Vec<Vec<u8>> {
    let profiles = Profiles::embedded();
    let named = ["h200", "cpu", "t4"]
        .into_iter()
        .filter_map(|name| profiles.named(name));
    named.map(|profile| profile.to_toml().into_bytes()).collect()
}

/// A set of two keys, and sets that are rejected.
#[must_use]
pub fn seeds_of_jwks() -> Vec<Vec<u8>> {
    let refused = [
        r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#,
        r#"{"keys":[{"kty":"EC","crv":"P-384","x":"AA","y":"AA","alg":"ES384","use":"sig"}]}"#,
    ];
    let refused = refused.into_iter().map(|text| text.as_bytes().to_vec());
    [keys().to_json().into_bytes()].into_iter().chain(refused).collect()
}
