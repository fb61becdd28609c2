//! NVIDIA's own attestation carried in evidence. The tokens are generated here: no GPU in confidential-computing mode is
//! available.

mod common;

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attestation_result::key::{JwkSet, PublicKey};
use base64ct::{Base64UrlUnpadded, Encoding};
use common::{CPU_POLICY, Place, SMALL, attester, code, json, text};
use p384::ecdsa::signature::Signer;
use p384::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Asks for a token like an operator's script would: it writes down the nonce, and prints the token made from it.
const ASK: &str = "printf %s \"$GPU_ATTESTOR_NONCE\" >n && mv n nonce; until [ -e eat ]; do sleep 0.02; done; cat eat";

fn signing_key(byte: u8) -> SigningKey {
    SigningKey::from_slice(&[byte; 48]).expect("a scalar")
}

fn sign(claims: &Value, key: &SigningKey) -> String {
    let kid = PublicKey::P384(*key.verifying_key()).kid();
    let encode = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    let message = format!("{}.{}", encode(&json!({ "alg": "ES384", "kid": kid })), encode(claims));
    let signature: Signature = key.sign(message.as_bytes());
    format!("{message}.{}", Base64UrlUnpadded::encode_string(&signature.to_bytes()))
}

/// A detached EAT of one GPU over `nonce`.
fn eat(nonce: &str, key: &SigningKey) -> String {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let times = |mut claims: Value| {
        claims["iat"] = now_s.into();
        claims["exp"] = (now_s + 3_600).into();
        claims["eat_nonce"] = nonce.into();
        claims
    };
    let gpu = sign(&times(json!({ "hwmodel": "GH100 of the tests", "secboot": true })), key);
    let digest: String = Sha256::digest(gpu.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let overall = times(json!({
        "iss": "https://nras.example", "x-nvidia-overall-att-result": true,
        "submods": { "GPU-0": ["DIGEST", ["SHA-256", digest]] },
    }));
    json!([["JWT", sign(&overall, key)], { "GPU-0": gpu }]).to_string()
}

/// A folder with `e.cbor`, a session whose attestation `made` creates from its nonce, and the keys of [`signing_key`] 9.
fn session(made: impl FnOnce(&str) -> String + Send + 'static) -> Place {
    let place = Place::new();
    let keys = JwkSet::new([PublicKey::P384(*signing_key(9).verifying_key())]);
    place.put("nvidia.json", keys.to_json());
    let (nonce, part, whole) = (place.path("nonce"), place.path("part"), place.path("eat"));
    let service = thread::spawn(move || {
        for _ in 0..1_500 {
            if let Ok(nonce) = fs::read_to_string(&nonce) {
                fs::write(&part, made(&nonce)).expect("a write");
                return fs::rename(&part, whole).expect("a rename");
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("nobody asked within 30 s");
    });
    let attest = ["attest", "--evidence", "e.cbor", "--nvidia-attestation", ASK];
    let attested = place.attester(&[&attest[..], &SMALL].concat());
    service.join().expect("a token was asked for");
    assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
    place
}

fn report(place: &Place, more: &[&str]) -> Value {
    place.put("cpu.toml", CPU_POLICY);
    let cpu = ["report", "e.cbor", "--format", "json", "--policy", "cpu.toml"];
    let reported = place.validator(&[&cpu[..], more].concat());
    assert_eq!(code(&reported), 0, "{}", text(&reported.stderr));
    json(&reported)
}

const KEYS: [&str; 2] = ["--nvidia-jwks", "nvidia.json"];

#[test]
fn a_token_over_the_sessions_nonce_is_carried_checked_and_reported() {
    let place = session(|nonce| eat(nonce, &signing_key(9)));
    assert_eq!(code(&place.validator(&["verify", "e.cbor"])), 0);
    let inspected = json(&place.validator(&["inspect", "e.cbor", "--json"]));
    let carried: String = place.text("eat").bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(inspected["attestation_hex"], carried.as_str());
    assert_eq!(inspected["nonce"], place.text("nonce").as_str());

    let unchecked = report(&place, &[]);
    assert_eq!(unchecked["nvidia"]["status"], "unchecked");
    let checked = report(&place, &KEYS);
    assert_eq!(checked["nvidia"]["status"], "checked");
    assert_eq!(checked["nvidia"]["gpus"]["GPU-0"]["hwmodel"], "GH100 of the tests");
    assert_eq!(
        (&checked["verdict"], &checked["reasons"]),
        (&unchecked["verdict"], &unchecked["reasons"])
    );
    for format in ["html", "md", "junit"] {
        let page = place.validator(&[&["report", "e.cbor", "--format", format], &KEYS[..]].concat());
        let page = text(&page.stdout);
        assert!(
            page.contains("GH100 of the tests") && page.contains("no part of the verdict"),
            "{format}: {page}"
        );
        let page = text(&place.validator(&["report", "e.cbor", "--format", format]).stdout);
        assert!(
            page.contains("Not checked") && !page.contains("GH100"),
            "{format}: {page}"
        );
    }

    // The signed result contains it too, and an auditor with the same keys finds it there.
    place.put(
        "jwks.json",
        place.validator(&["result", "keys", "keys", "--new"]).stdout,
    );
    let issue = ["result", "issue", "e.cbor", "--policy", "cpu.toml", "--keys", "keys"];
    for (format, name) in [("jwt", "r.jwt"), ("cwt", "r.cwt")] {
        let issued = place.validator(&[&issue[..], &KEYS, &["--format", format, "-o", name]].concat());
        assert_eq!(code(&issued), 0, "{}", text(&issued.stderr));
        let verify = [
            "result",
            "verify",
            name,
            "--jwks",
            "jwks.json",
            "--evidence",
            "e.cbor",
            "--policy",
            "cpu.toml",
            "--json",
        ];
        let same = place.validator(&[&verify[..], &KEYS].concat());
        assert_eq!(code(&same), 0, "{name}: {}", text(&same.stdout));
        let host = &json(&same)["result"]["submods"]["host"]["ear_verifier_claims"]["gpu-attestor"];
        assert_eq!(host["nvidia"]["gpus"]["GPU-0"]["secboot"], true);
        let without = place.validator(&verify);
        assert_eq!(code(&without), 1, "{name}");
        assert!(
            json(&without)["audit"]["differences"]
                .to_string()
                .contains("gpu-attestor.nvidia.status"),
            "{name}"
        );
    }
}

/// It makes a verdict neither better nor worse: it is an addition.
#[test]
fn what_does_not_hold_is_said_and_changes_no_verdict() {
    for (what, place, says) in [
        (
            "another nonce",
            session(|_| eat(&"ab".repeat(32), &signing_key(9))),
            "eat_nonce is",
        ),
        (
            "another key",
            session(|nonce| eat(nonce, &signing_key(5))),
            "no trusted key has kid",
        ),
        (
            "no token",
            session(|_| "<script>alert(1)</script>".to_owned()),
            "malformed token",
        ),
    ] {
        let report = report(&place, &KEYS);
        assert_eq!(
            (report["nvidia"]["status"].as_str(), report["verdict"].as_str()),
            (Some("refused"), Some("affirming")),
            "{what}"
        );
        let why = report["nvidia"]["why"].as_str().expect("why");
        assert!(why.contains(says), "{what}: {why}");
        let page = text(&place.validator(&[&["report", "e.cbor"], &KEYS[..]].concat()).stdout);
        assert!(page.contains("Refused") && !page.contains("<script"), "{what}");
    }
}

/// Certificates of the key of 0x53 bytes: `crates/attestation-result/src/chain.rs` describes how they were generated.
#[test]
fn with_roots_only_keys_with_a_chain_to_one_count() {
    let key = signing_key(0x53);
    let place = session(|nonce| eat(nonce, &signing_key(0x53)));
    let pem = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../attestation-result/tests/certificates");
        fs::read_to_string(format!("{folder}/{name}.pem")).expect("a certificate")
    };
    let base64 = |name: &str| -> String { pem(name).lines().filter(|line| !line.starts_with('-')).collect() };
    let mut keys: Value =
        serde_json::from_str(&JwkSet::new([PublicKey::P384(*key.verifying_key())]).to_json()).expect("JSON");
    place.put("bare.json", keys.to_string());
    keys["keys"][0]["x5c"] = json!([base64("leaf"), base64("intermediate")]);
    place.put("chained.json", keys.to_string());
    place.put("root.pem", pem("root"));
    place.put("other.pem", pem("other-root"));
    let nvidia = |jwks: &str, roots: &str| {
        let mut report = report(&place, &["--nvidia-jwks", jwks, "--nvidia-roots", roots]);
        (report["nvidia"]["status"].take(), report["nvidia"]["why"].take())
    };
    assert_eq!(nvidia("chained.json", "root.pem").0, "checked");
    for (jwks, roots, says) in [
        ("bare.json", "root.pem", "no certificates come with it"),
        ("chained.json", "other.pem", "no chain to a given root"),
    ] {
        let (status, why) = nvidia(jwks, roots);
        assert_eq!(status, "refused", "{jwks}");
        assert!(why.as_str().expect("why").contains(says), "{jwks}: {why}");
    }
    for (more, says) in [
        (
            &["--nvidia-jwks", "bare.json", "--nvidia-roots", "bare.json"][..],
            "no certificate",
        ),
        (&["--nvidia-roots", "root.pem"][..], "--nvidia-jwks"),
    ] {
        let refused = place.validator(&[&["report", "e.cbor"], more].concat());
        assert_eq!(code(&refused), 2, "{more:?}");
        let said = text(&refused.stderr);
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_command_that_gives_nothing_takes_nothing_from_the_session() {
    for (command, says) in [
        ("exit 3", "the attestation command ended with exit status: 3"),
        ("true", "the attestation command printed nothing"),
        ("exec yes", "the attestation command printed more than 65536 bytes"),
        ("exec sleep 100", "had not ended when the openings were due"),
    ] {
        let place = Place::new();
        let attest = [
            "attest",
            "--evidence",
            "e.cbor",
            "--phase-deadline",
            "4s",
            "--nvidia-attestation",
            command,
        ];
        let attested = place.attester(&[&attest[..], &SMALL].concat());
        let said = text(&attested.stderr);
        assert_eq!(code(&attested), 0, "{command}: {said}");
        assert!(
            said.contains("no attestation is carried: ") && said.contains(says),
            "{command}: {said}"
        );
        assert_eq!(report(&place, &[])["nvidia"], Value::Null, "{command}");
    }
}

/// The other two forms of a session: an agent for a Verifier elsewhere, and the offline form.
#[test]
fn agents_and_proofs_carry_it_too() {
    let place = Place::new();
    let agent = attester().to_str().expect("a path in UTF-8");
    let print = "printf %s \"$GPU_ATTESTOR_NONCE\"";
    let attested = place.validator(
        &[
            &["attest", "--device-memory", "4MiB", "--evidence", "e.cbor", "--"][..],
            &[
                agent,
                "agent",
                "--stdio",
                "--engine",
                "cpu",
                "--cpu-memory",
                "4MiB",
                "--nvidia-attestation",
                print,
            ],
        ]
        .concat(),
    );
    assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
    place.put(
        "c.json",
        place.validator(&["challenge", "--device-memory", "4MiB"]).stdout,
    );
    let prove = [
        "prove",
        "--challenge",
        "c.json",
        "--evidence",
        "o.cbor",
        "--nvidia-attestation",
        print,
    ];
    assert_eq!(code(&place.attester(&prove)), 0);
    for evidence in ["e.cbor", "o.cbor"] {
        let inspected = json(&place.validator(&["inspect", evidence, "--json"]));
        let nonce = inspected["nonce"].as_str().expect("a nonce");
        let carried: String = nonce.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(inspected["attestation_hex"], carried.as_str(), "{evidence}");
        assert_eq!(code(&place.validator(&["verify", evidence])), 0, "{evidence}");
    }
}
