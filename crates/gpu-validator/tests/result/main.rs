//! `result keys`, `issue` and `verify`, run like a user runs them.

mod audit;
#[path = "../common/mod.rs"]
mod common;
mod keys;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use attestation_result::AttestationResult;
use attestation_result::key::{Algorithm, SigningKey};
use attestation_result::key_ring::KeyRing;
use base64ct::{Base64UrlUnpadded, Encoding};
use common::{CPU_POLICY, Place, SMALL, code, json, text};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Evidence of two CPU sessions, `e.cbor` and `other.cbor`, keys, and results of the first: `r.jwt` and `r.cwt` for
/// market.example, `open.jwt` without an audience. No test changes this folder.
fn prepared() -> &'static Place {
    static PREPARED: OnceLock<Place> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let place = Place::new();
        for name in ["e.cbor", "other.cbor"] {
            let attested = place.attester(&[&["attest", "--evidence", name], &SMALL[..]].concat());
            assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
        }
        let keys = place.validator(&["result", "keys", "keys", "--new"]);
        assert_eq!(code(&keys), 0, "{}", text(&keys.stderr));
        place.put("jwks.json", &keys.stdout);
        place.put("cpu.toml", CPU_POLICY);
        let market = ["--audience", "market.example", "--issuer", "verifier.example"];
        for (name, format, whom) in [
            ("r.jwt", "jwt", &market[..]),
            ("r.cwt", "cwt", &market),
            ("open.jwt", "jwt", &[]),
        ] {
            let issue = [
                "result", "issue", "e.cbor", "--policy", "cpu.toml", "--keys", "keys", "--format", format, "-o", name,
            ];
            let issued = place.validator(&[&issue[..], whom].concat());
            assert_eq!(code(&issued), 0, "{name}: {}", text(&issued.stderr));
        }
        place
    })
}

fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let path = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&path).expect("a folder");
            copy_all(&entry.path(), &path);
        } else {
            fs::copy(entry.path(), path).expect("a copy, mode and all");
        }
    }
}

/// A folder with copies of all these files.
fn place() -> Place {
    let place = Place::new();
    copy_all(prepared().0.path(), place.0.path());
    place
}

const VERIFY: [&str; 6] = [
    "result",
    "verify",
    "--jwks",
    "jwks.json",
    "--audience",
    "market.example",
];

#[test]
fn a_result_says_what_was_certified_in_both_forms() {
    let place = place();
    for name in ["r.jwt", "r.cwt"] {
        let verified = place.validator(&[&VERIFY[..], &[name]].concat());
        assert_eq!(code(&verified), 0, "{name}: {}", text(&verified.stderr));
        let said = text(&verified.stdout);
        for expected in [
            "status       affirming\n",
            "issuer       verifier.example\n",
            "audience     market.example\n",
            "policy       urn:gpu-attestor:policy:cpu:",
            "gpu0         affirming\n             V no bound, B no bound, T ",
            "\n             minima-met: ",
        ] {
            assert!(said.contains(expected), "{name}: {expected:?} in {said}");
        }
    }
    let [jwt, cwt] = ["r.jwt", "r.cwt"].map(|name| json(&place.validator(&[&VERIFY[..], &[name, "--json"]].concat())));
    assert_eq!(jwt["result"]["submods"]["gpu0"]["ear_status"], "affirming");
    assert_eq!(jwt["audit"], Value::Null);
    // They were issued one after the other; apart from that, the two forms are equal.
    let claims = |value: &Value| {
        let mut claims = value["result"].clone();
        claims["iat"] = Value::Null;
        claims["exp"] = Value::Null;
        claims
    };
    assert_eq!(claims(&jwt), claims(&cwt));
    let open = place.validator(&["result", "verify", "open.jwt", "--jwks", "jwks.json"]);
    assert_eq!(code(&open), 0, "{}", text(&open.stderr));
    assert!(text(&open.stdout).contains("audience     nobody in particular\n"));
}

#[test]
fn the_exit_code_is_the_status_and_the_policy_is_named() {
    let place = place();
    // The first two policies affirm the device, so that only the one reason decides; by default a CPU is not affirmed.
    let for_cpu = |more: &str| format!("{CPU_POLICY}{more}");
    for (policy, expected, status, of_device, reasons) in [
        (
            for_cpu("[host]\ndevices = 8\n"),
            1,
            "contraindicated",
            "affirming",
            &["device-count"][..],
        ),
        (
            for_cpu("[session]\naudience = \"others\"\n"),
            2,
            "none",
            "affirming",
            &["wrong-audience"],
        ),
        (
            String::new(),
            2,
            "none",
            "none",
            &["no-gpu-shown", "class-without-figures"],
        ),
    ] {
        place.put("policy.toml", &policy);
        let issue = [
            "result",
            "issue",
            "e.cbor",
            "--keys",
            "keys",
            "--policy",
            "policy.toml",
            "-o",
            "new.jwt",
        ];
        assert_eq!(code(&place.validator(&issue)), expected, "{policy}");
        let checked = json(&place.validator(&["policy", "check", "policy.toml", "--json"]));
        let id = checked["policy_id"].as_str().expect("an identifier");
        let verify = [
            "result",
            "verify",
            "new.jwt",
            "--jwks",
            "jwks.json",
            "--json",
            "--policy-id",
        ];
        let verified = place.validator(&[&verify[..], &[id]].concat());
        assert_eq!(
            (code(&verified), json(&verified)["result"]["ear_status"].as_str()),
            (expected, Some(status))
        );
        let result = &json(&verified)["result"];
        assert_eq!(result["submods"]["gpu0"]["ear_status"], of_device, "{policy}");
        for reason in reasons {
            assert!(result.to_string().contains(reason), "{policy}: {reason} in {result}");
        }
        let other = place.validator(&[&verify[..], &["urn:gpu-attestor:policy:default:00"]].concat());
        assert_eq!(code(&other), 1);
        assert!(text(&other.stderr).contains("refused: ear_appraisal_policy_ids is "));
    }
}

#[test]
fn what_does_not_hold_for_this_reader_is_refused() {
    let place = place();
    let other = place.validator(&["result", "keys", "others", "--new"]);
    place.put("others.json", &other.stdout);
    let nonce = "00".repeat(32);
    for (arguments, says) in [
        (
            &["--jwks", "jwks.json", "--audience", "others"][..],
            "aud is \"market.example\"; expected \"others\"",
        ),
        (
            &["--jwks", "jwks.json"],
            "the result is for \"market.example\"; name it with --audience",
        ),
        (
            &["--jwks", "others.json", "--audience", "market.example"],
            "no trusted key has kid \"",
        ),
        (
            &[
                "--jwks",
                "jwks.json",
                "--audience",
                "market.example",
                "--issuer",
                "others",
            ],
            "iss is \"verifier.example\"; expected \"others\"",
        ),
        (
            &["--jwks", "jwks.json", "--audience", "market.example", "--nonce", &nonce],
            "eat_nonce is \"",
        ),
    ] {
        for name in ["r.jwt", "r.cwt"] {
            let refused = place.validator(&[&["result", "verify", name], arguments].concat());
            let said = text(&refused.stderr);
            assert_eq!(
                (code(&refused), &refused.stdout[..]),
                (1, &b""[..]),
                "{name} {arguments:?}: {said}"
            );
            assert!(
                said.starts_with("refused: ") && said.contains(says),
                "{name} {arguments:?}: {said}"
            );
            let refused = place.validator(&[&["result", "verify", name, "--json"], arguments].concat());
            assert_eq!(code(&refused), 1);
            let error = &json(&refused)["error"];
            assert_eq!(error["code"], "result-refused");
            assert!(
                error["message"].as_str().is_some_and(|why| why.contains(says)),
                "{error}"
            );
        }
    }
    // A nonce that is requested and present.
    let nonce = json(&place.validator(&["inspect", "e.cbor", "--json"]))["nonce"].clone();
    let nonce = nonce.as_str().expect("hex");
    assert_eq!(
        code(&place.validator(&[&VERIFY[..], &["r.jwt", "--nonce", nonce, "--max-age", "1h"]].concat())),
        0
    );
}

/// Tokens with the claims of `r.jwt`, changed and signed again by the same key.
fn signed_anew(place: &Place, change: impl FnOnce(&mut AttestationResult)) -> String {
    let claims = &json(&place.validator(&[&VERIFY[..], &["r.jwt", "--json"]].concat()))["result"];
    let mut result: AttestationResult = serde_json::from_value(claims.clone()).expect("a result");
    change(&mut result);
    result.to_jwt(KeyRing::load(&place.path("keys")).expect("keys").signing())
}

#[test]
fn times_that_do_not_hold_are_refused() {
    let place = place();
    for (change, says) in [
        ((|r| r.exp = r.iat) as fn(&mut AttestationResult), "expired at "),
        (|r| (r.iat, r.exp) = (r.iat - 90_000, r.iat - 3_600), "expired at "),
        (|r| r.iat += 3_600, "a clock is wrong"),
    ] {
        place.put("new.jwt", signed_anew(&place, change));
        let refused = place.validator(&[&VERIFY[..], &["new.jwt"]].concat());
        assert_eq!(code(&refused), 1);
        assert!(text(&refused.stderr).contains(says), "{}", text(&refused.stderr));
    }
    place.put("old.jwt", signed_anew(&place, |r| r.iat -= 7_200));
    assert_eq!(code(&place.validator(&[&VERIFY[..], &["old.jwt"]].concat())), 0);
    let refused = place.validator(&[&VERIFY[..], &["old.jwt", "--max-age", "1h"]].concat());
    assert_eq!(code(&refused), 1);
    assert!(
        text(&refused.stderr).contains("at most 3600 s allowed"),
        "{}",
        text(&refused.stderr)
    );
}

/// HMAC (RFC 2104).
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new()
        .chain_update(pad(0x5C))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

#[test]
fn forged_and_confused_tokens_are_refused() {
    let place = place();
    let jwt = place.text("r.jwt").trim().to_owned();
    let parts: Vec<&str> = jwt.split('.').collect();
    let (payload, signature) = (parts[1], parts[2]);
    let jwks = json(&place.validator(&["result", "keys", "keys"]));
    let (kid, x) = (
        jwks["keys"][0]["kid"].as_str().expect("kid"),
        jwks["keys"][0]["x"].as_str().expect("x"),
    );
    let encode = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    let with = |alg: &str| encode(format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#).as_bytes());
    let public = Base64UrlUnpadded::decode_vec(x).expect("a public key");
    let hs256 = format!("{}.{payload}", with("HS256"));
    let stranger = SigningKey::generate(Algorithm::EdDsa).expect("a key");
    let own = format!("{}.{payload}", with("EdDSA"));
    let brought = encode(
        format!(
            r#"{{"alg":"EdDSA","jwk":{}}}"#,
            serde_json::json!(stranger.public().jwk())
        )
        .as_bytes(),
    );
    let brought = format!("{brought}.{payload}");
    let claims = Base64UrlUnpadded::decode_vec(payload).expect("claims");
    let better = text(&claims).replacen("market.example", "market.examplf", 1);
    let cwt = fs::read(place.path("r.cwt")).expect("a CWT");
    let mut flipped = cwt.clone();
    flipped[cwt.len() / 2] ^= 1;
    for (what, token, says) in [
        (
            "none",
            format!("{}.{payload}.", with("none")).into_bytes(),
            "the token says alg \"none\"",
        ),
        (
            "none, signed",
            format!("{}.{payload}.{signature}", with("none")).into_bytes(),
            "the token says alg \"none\"",
        ),
        (
            "HMAC with the public key",
            format!("{hs256}.{}", encode(&hmac_sha256(&public, hs256.as_bytes()))).into_bytes(),
            "the token says alg \"HS256\"; its key is for EdDSA alone",
        ),
        (
            "ES256",
            format!("{}.{payload}.{signature}", with("ES256")).into_bytes(),
            "the token says alg \"ES256\"",
        ),
        (
            "another key under this kid",
            format!("{own}.{}", encode(&stranger.sign(own.as_bytes()))).into_bytes(),
            "the signature is not that of key",
        ),
        (
            "a key that comes along",
            format!("{brought}.{}", encode(&stranger.sign(brought.as_bytes()))).into_bytes(),
            "the token names no key (kid)",
        ),
        (
            "a changed payload",
            format!("{}.{}.{signature}", parts[0], encode(better.as_bytes())).into_bytes(),
            "the signature is not that of key",
        ),
        (
            "without its signature",
            format!("{}.{payload}.", parts[0]).into_bytes(),
            "the signature is not that of key",
        ),
        (
            "two parts",
            format!("{}.{payload}", parts[0]).into_bytes(),
            "malformed token: expected three parts",
        ),
        ("nothing", Vec::new(), "malformed token"),
        ("bytes", vec![0xFF, 0xFE, 0], "malformed token: neither JWT nor CWT"),
        ("half a CWT", cwt[..cwt.len() / 2].to_vec(), "malformed token"),
        ("a CWT with one bit changed", flipped, ""),
    ] {
        place.put("forged", token);
        let refused = place.validator(&[&VERIFY[..], &["forged"]].concat());
        let said = text(&refused.stderr);
        assert_eq!((code(&refused), &refused.stdout[..]), (1, &b""[..]), "{what}: {said}");
        assert!(said.starts_with("refused: ") && said.contains(says), "{what}: {said}");
    }
}

fn issue_to(output: &str) -> [&str; 7] {
    ["result", "issue", "e.cbor", "--keys", "keys", "-o", output]
}

#[test]
fn what_cannot_be_issued_leaves_the_old_result() {
    let place = place();
    let old = place.text("r.jwt");
    let mut bytes = fs::read(place.path("e.cbor")).expect("evidence");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    place.put("e.cbor", bytes);
    let refused = place.validator(&issue_to("r.jwt"));
    assert_eq!(code(&refused), 2);
    assert!(text(&refused.stderr).contains("refused: evidence e.cbor: "));
    assert_eq!(place.text("r.jwt"), old);
    let script = format!(
        "trap '' XFSZ; ulimit -f 1; exec {} result issue other.cbor --keys keys -o r.jwt",
        env!("CARGO_BIN_EXE_gpu-validator")
    );
    let failed = place.run(Path::new("bash"), &["-c", &script]);
    assert_eq!(code(&failed), 2, "{}", text(&failed.stderr));
    assert!(text(&failed.stderr).contains("cannot write a result to r.jwt; nothing was kept"));
    assert_eq!(place.text("r.jwt"), old);
}

#[test]
fn help_has_examples() {
    let place = Place::new();
    for arguments in [
        &["report"][..],
        &["policy"],
        &["result"],
        &["result", "issue"],
        &["result", "verify"],
    ] {
        let help = text(&place.validator(&[arguments, &["--help"]].concat()).stdout);
        assert!(help.contains("Examples:"), "{arguments:?}: {help}");
    }
}
