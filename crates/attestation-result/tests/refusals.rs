//! Attestation Results refused where they must be: signatures, algorithms, keys, claims, times.

use std::collections::BTreeMap;

use attestation_result::key::{Algorithm, JwkSet, SigningKey};
use attestation_result::{
    AttestationResult, EAR_PROFILE, Expectations, PRIVATE_CLAIM, Submodule, Tier, TokenError, VerifierId, verify_cwt,
    verify_result,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;

const NONCE: [u8; 32] = [7; 32];
const POLICY_ID: &str = "urn:gpu-attestor:policy:cpu:00";

/// A result of a host with two devices, for a market.
fn result() -> AttestationResult {
    let submodule = |ordinal: u32| {
        let claims = json!({
            "version": 1,
            "certified": { "tensor_ops_per_s": 1_234_567_890_u64 },
            "reasons": [{ "code": "minima-met", "tier": "affirming", "text": format!("of device {ordinal}") }],
            "shows_gpu_memory": false,
        });
        Submodule {
            ear_status: Tier::Affirming,
            ear_appraisal_policy_ids: vec![POLICY_ID.to_owned()],
            ear_attester_claims: Some(BTreeMap::from([(
                PRIVATE_CLAIM.to_owned(),
                json!({ "model": "a CPU" }),
            )])),
            ear_verifier_claims: BTreeMap::from([(PRIVATE_CLAIM.to_owned(), claims)]),
        }
    };
    AttestationResult {
        eat_profile: EAR_PROFILE.to_owned(),
        iat: 1_800_000_000,
        exp: 1_800_000_000 + 24 * 3_600,
        iss: Some("verifier.example".to_owned()),
        aud: Some("market.example".to_owned()),
        eat_nonce: Some(Base64UrlUnpadded::encode_string(&NONCE)),
        ear_verifier_id: VerifierId::default(),
        ear_status: Tier::Affirming,
        submods: (0..3)
            .map(|n| (["host", "gpu0", "gpu1"][n as usize].to_owned(), submodule(n)))
            .collect(),
    }
}

fn expectations() -> Expectations {
    Expectations {
        audience: Some("market.example".to_owned()),
        issuer: Some("verifier.example".to_owned()),
        nonce: Some(NONCE),
        policy_id: Some(POLICY_ID.to_owned()),
        max_age_s: Some(3_600),
    }
}

fn for_nobody(result: AttestationResult) -> AttestationResult {
    AttestationResult {
        iss: None,
        aud: None,
        ..result
    }
}

fn key(algorithm: Algorithm) -> SigningKey {
    SigningKey::generate(algorithm).expect("a key")
}

#[test]
fn what_does_not_hold_is_refused() {
    let key = key(Algorithm::EdDsa);
    let jwks = JwkSet::new([key.public()]);
    let result = result();
    let (jwt, now, expected) = (result.to_jwt(&key), result.iat + 1, expectations());
    let check = |now, expected: &Expectations| verify_result(&jwt, &jwks, now, expected).expect_err("refused");

    assert!(matches!(check(result.exp, &expected), TokenError::Expired { .. }));
    assert!(matches!(check(now + 3_600, &expected), TokenError::TooOld { .. }));
    assert!(matches!(check(now - 62, &expected), TokenError::FromTheFuture { .. }));
    let claim = |change: fn(&mut Expectations)| {
        let mut expected = expected.clone();
        change(&mut expected);
        match check(now, &expected) {
            TokenError::Claim { claim, .. } => claim,
            other => panic!("{other}"),
        }
    };
    assert_eq!(claim(|e| e.audience = Some("others".to_owned())), "aud");
    let nobody = Expectations {
        audience: None,
        ..expected.clone()
    };
    assert!(matches!(check(now, &nobody), TokenError::NotNamed { .. }));
    assert_eq!(claim(|e| e.issuer = Some("others".to_owned())), "iss");
    assert_eq!(claim(|e| e.nonce = Some([0; 32])), "eat_nonce");
    assert_eq!(
        claim(|e| e.policy_id = Some("urn:other".to_owned())),
        "ear_appraisal_policy_ids"
    );

    let other = JwkSet::new([self::key(Algorithm::EdDsa).public()]);
    assert!(matches!(
        verify_result(&jwt, &other, now, &expected),
        Err(TokenError::UnknownKey(_))
    ));
    assert!(matches!(
        verify_result("a.b", &jwks, now, &expected),
        Err(TokenError::Malformed(_))
    ));
    let long = "a".repeat(2 << 20);
    assert!(matches!(
        verify_result(&long, &jwks, now, &expected),
        Err(TokenError::TooLong(_))
    ));
    for profile in ["tag:github.com,2023:veraison/ear", ""] {
        let foreign = AttestationResult {
            eat_profile: profile.to_owned(),
            ..result.clone()
        };
        let refused = verify_result(&foreign.to_jwt(&key), &jwks, now, &expected);
        assert!(matches!(
            refused,
            Err(TokenError::Claim {
                claim: "eat_profile",
                ..
            })
        ));
    }
}

#[test]
fn the_key_says_which_algorithm_it_is() {
    let result = result();
    let (now, expected) = (result.iat + 1, expectations());
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384] {
        let key = key(algorithm);
        let (jwks, kid) = (JwkSet::new([key.public()]), key.public().kid());
        let jwt = result.to_jwt(&key);
        let parts: Vec<&str> = jwt.split('.').collect();
        let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        let check = |header: &str, signature: &str| {
            let token = format!("{}.{}.{signature}", encode(header), parts[1]);
            verify_result(&token, &jwks, now, &expected).expect_err(header)
        };
        let with = |alg: &str| format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#);
        for alg in [
            "none", "None", "", "HS256", "RS256", "ES384", "ES256", "EdDSA", "Ed25519",
        ] {
            if alg != algorithm.name() {
                let refused = check(&with(alg), parts[2]);
                assert!(matches!(refused, TokenError::Algorithm { .. }), "{alg}: {refused}");
                assert!(matches!(check(&with(alg), ""), TokenError::Algorithm { .. }));
            }
        }
        // HMAC with the public key as its secret.
        let jwk = jwks.to_json();
        let message = format!("{}.{}", encode(&with("HS256")), parts[1]);
        let mac = hmac_sha256(jwk.as_bytes(), message.as_bytes());
        let refused = check(&with("HS256"), &Base64UrlUnpadded::encode_string(&mac));
        assert!(matches!(refused, TokenError::Algorithm { .. }));

        let own = with(algorithm.name());
        assert!(matches!(check(&own, ""), TokenError::Signature(_)));
        assert!(
            matches!(check(&own, parts[2]), TokenError::Signature(_)),
            "another header than was signed"
        );
        let no_kid = format!(r#"{{"alg":"{}"}}"#, algorithm.name());
        assert!(matches!(check(&no_kid, parts[2]), TokenError::UnknownKey(None)));
        let critical = own.replace('}', r#","crit":["x"]}"#);
        assert!(matches!(check(&critical, parts[2]), TokenError::Critical));
        let twice = own.replace('}', r#","alg":"none"}"#);
        assert!(matches!(check(&twice, parts[2]), TokenError::Malformed(_)));
        // A key that the token brings along is not trusted.
        let stranger = self::key(algorithm);
        let brought = stranger.public().jwk();
        let brought = serde_json::to_string(&brought).expect("JSON");
        let header = format!(
            r#"{{"alg":"{}","kid":"{}","jwk":{brought}}}"#,
            algorithm.name(),
            stranger.public().kid()
        );
        let message = format!("{}.{}", encode(&header), parts[1]);
        let signature = Base64UrlUnpadded::encode_string(&stranger.sign(message.as_bytes()));
        assert!(matches!(check(&header, &signature), TokenError::UnknownKey(Some(_))));
    }
}

#[test]
fn cwts_are_held_to_the_same() {
    use coset::{CoseSign1, HeaderBuilder, TaggedCborSerializable, iana};
    let result = result();
    let (now, expected) = (result.iat + 1, expectations());
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384] {
        let key = key(algorithm);
        let jwks = JwkSet::new([key.public()]);
        let cwt = result.to_cwt(&key).expect("a CWT");
        let check = |cwt: &[u8]| verify_cwt(cwt, &jwks, now, &expected).expect_err("refused");
        assert!(matches!(
            verify_cwt(&cwt, &jwks, result.exp, &expected),
            Err(TokenError::Expired { .. })
        ));
        let others = Expectations {
            audience: None,
            ..expected.clone()
        };
        assert!(matches!(
            verify_cwt(&cwt, &jwks, now, &others),
            Err(TokenError::NotNamed { .. })
        ));
        assert!(matches!(check(b"no CBOR"), TokenError::Malformed(_)));
        assert!(matches!(check(&cwt[..cwt.len() - 1]), TokenError::Malformed(_)));
        let stranger = result.to_cwt(&self::key(algorithm)).expect("a CWT");
        assert!(matches!(check(&stranger), TokenError::UnknownKey(Some(_))));
        let signed = CoseSign1::from_tagged_slice(&cwt).expect("COSE");
        let with_header = |alg: iana::Algorithm| {
            let mut forged = signed.clone();
            forged.protected = coset::ProtectedHeader {
                original_data: None,
                header: HeaderBuilder::new()
                    .algorithm(alg)
                    .key_id(key.public().kid().into_bytes())
                    .build(),
            };
            forged.to_tagged_vec().expect("COSE")
        };
        // Those of the other keys, and two of none.
        let others = [
            ("EdDSA", iana::Algorithm::EdDSA),
            ("ES256", iana::Algorithm::ES256),
            ("ES384", iana::Algorithm::ES384),
            ("", iana::Algorithm::HMAC_256_256),
            ("", iana::Algorithm::ES512),
        ];
        for (_, alg) in others.into_iter().filter(|(name, _)| *name != algorithm.name()) {
            assert!(matches!(check(&with_header(alg)), TokenError::Algorithm { .. }));
        }
        let mut changed = signed.clone();
        if let Some(byte) = changed.payload.as_mut().and_then(|payload| payload.last_mut()) {
            *byte ^= 1;
        }
        assert!(matches!(
            check(&changed.to_tagged_vec().expect("COSE")),
            TokenError::Signature(_)
        ));
        // Nothing in the unprotected header counts.
        let mut unprotected = signed.clone();
        unprotected.unprotected = std::mem::take(&mut unprotected.protected).header;
        assert!(matches!(
            check(&unprotected.to_tagged_vec().expect("COSE")),
            TokenError::UnknownKey(None)
        ));
    }
}

/// RFC 2104, for the forger.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut block = [0u8; 64];
    match key.len() > 64 {
        true => block[..32].copy_from_slice(&Sha256::digest(key)),
        false => block[..key.len()].copy_from_slice(key),
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::digest([&pad(0x36)[..], message].concat());
    Sha256::digest([&pad(0x5C)[..], &inner[..]].concat()).to_vec()
}

proptest::proptest! {
    #[test]
    fn no_changed_token_passes(at in 0usize..2_000, bit in 0u8..7) {
        static ISSUED: std::sync::OnceLock<(String, JwkSet, u64)> = std::sync::OnceLock::new();
        let (jwt, jwks, now) = ISSUED.get_or_init(|| {
            let key = key(Algorithm::Es256);
            let result = for_nobody(result());
            (result.to_jwt(&key), JwkSet::new([key.public()]), result.iat)
        });
        let mut bytes = jwt.clone().into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = String::from_utf8(bytes) {
            proptest::prop_assert!(verify_result(&changed, jwks, *now, &Expectations::default()).is_err());
        }
    }
}
