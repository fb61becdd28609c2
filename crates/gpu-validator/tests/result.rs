//! `result keys`, `issue` and `verify` as a user runs them.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use appraisal::key::{Algorithm, SigningKey};
use appraisal::key_ring::KeyRing;
use appraisal::result::AttestationResult;
use base64ct::{Base64UrlUnpadded, Encoding};
use common::{CERTIFYING, Place, code, json, text};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Evidence of two CPU sessions, `e.cbor` and `other.cbor`, keys, and results of the first: `r.jwt` and `r.cwt` for
/// market.example, `open.jwt` for nobody in particular. No test changes what is in this folder.
fn prepared() -> &'static Place {
    static PREPARED: OnceLock<Place> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let place = Place::new();
        for name in ["e.cbor", "other.cbor"] {
            let attested = place.attester(&[&["attest", "--evidence", name], &CERTIFYING[..]].concat());
            assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
        }
        let keys = place.validator(&["result", "keys", "keys", "--new"]);
        assert_eq!(code(&keys), 0, "{}", text(&keys.stderr));
        place.put("jwks.json", &keys.stdout);
        let market = ["--audience", "market.example", "--issuer", "verifier.example"];
        for (name, format, whom) in [
            ("r.jwt", "jwt", &market[..]),
            ("r.cwt", "cwt", &market),
            ("open.jwt", "jwt", &[]),
        ] {
            let issue = [
                "result", "issue", "e.cbor", "--keys", "keys", "--format", format, "-o", name,
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

/// A folder with all of that.
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
            "policy       urn:gpu-attestor:policy:default:",
            "gpu0         affirming\n             class-without-figures: ",
        ] {
            assert!(said.contains(expected), "{name}: {expected:?} in {said}");
        }
    }
    let [jwt, cwt] = ["r.jwt", "r.cwt"].map(|name| json(&place.validator(&[&VERIFY[..], &[name, "--json"]].concat())));
    assert_eq!(jwt["result"]["submods"]["gpu0"]["ear_status"], "affirming");
    assert_eq!(jwt["audit"], Value::Null);
    // Issued one after the other; else the two forms say the same.
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
    for (policy, expected, status) in [
        ("[host]\ndevices = 8\n", 1, "contraindicated"),
        ("[session]\naudience = \"others\"\n", 2, "none"),
    ] {
        place.put("policy.toml", policy);
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
            assert!(json(&refused)["refused"].as_str().is_some_and(|why| why.contains(says)));
        }
    }
    // One that is asked for and is there.
    let nonce = json(&place.validator(&["inspect", "e.cbor", "--json"]))["nonce"].clone();
    let nonce = nonce.as_str().expect("hex");
    assert_eq!(
        code(&place.validator(&[&VERIFY[..], &["r.jwt", "--nonce", nonce, "--max-age", "1h"]].concat())),
        0
    );
}

/// Tokens with the claims of `r.jwt`, changed and signed anew by the same key.
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

#[test]
fn key_sets_with_secrets_and_input_that_is_none_end_with_2() {
    let place = place();
    place.put("secret.json", r#"{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"a"}]}"#);
    place.put("wrong.toml", "[host]\ndevices = 0\n");
    for (arguments, says) in [
        (
            &["verify", "r.jwt", "--jwks", "secret.json"][..],
            "keys secret.json: key 0 of the set: it holds a secret",
        ),
        (&["verify", "r.jwt", "--jwks", "r.jwt"], "keys r.jwt: no JWK Set"),
        (
            &["issue", "e.cbor", "--key-env", "HOME"],
            "environment variable HOME: no PKCS #8 PEM of an Ed25519",
        ),
        (
            &["issue", "e.cbor", "--key-env", "HOME", "--keys", "keys"],
            "cannot be used with",
        ),
        (
            &["issue", "e.cbor", "--key", "jwks.json"],
            "jwks.json has mode 0644; expected 0600",
        ),
        (&["issue", "e.cbor", "--key", "missing.pem"], "missing.pem: "),
        (&["keys"], "required arguments were not provided"),
        (&["keys", "--key-env", "HOME", "--new"], "cannot be used with"),
        (
            &["keys", "keys", "--drop", "none"],
            "no retired key has kid \"none\"; retired are none",
        ),
        (&["keys", "keys", "--drop", "none", "--new"], "cannot be used with"),
        (&["verify", "r.jwt", "--jwks", "missing.json"], "missing.json"),
        (&["verify", "missing.jwt", "--jwks", "jwks.json"], "missing.jwt"),
        (
            &["verify", "/dev/zero", "--jwks", "jwks.json"],
            "/dev/zero is longer than 1048576 bytes",
        ),
        (
            &["verify", "r.jwt", "--jwks", "jwks.json", "--nonce", "12"],
            "expected 64 hexadecimal digits",
        ),
        (
            &["verify", "r.jwt", "--jwks", "jwks.json", "--policy", "wrong.toml"],
            "--policy, --profiles, --nvidia-jwks and --seen need --evidence",
        ),
        (
            &[
                "verify",
                "r.jwt",
                "--jwks",
                "jwks.json",
                "--evidence",
                "e.cbor",
                "--policy",
                "wrong.toml",
            ],
            "wrong.toml:2:1: host.devices: 0",
        ),
        (&["issue", "e.cbor", "--keys", "missing"], "missing/signing.pem: "),
        (&["issue", "e.cbor"], "required arguments were not provided"),
        (
            &["issue", "e.cbor", "--key-env", "NO_SUCH_KEY"],
            "environment variable NO_SUCH_KEY is not set; expected a PKCS #8 PEM",
        ),
        (
            &["issue", "e.cbor", "--keys", "keys", "--valid", "0s"],
            "--valid is less than 1s",
        ),
        (&["keys", "missing"], "missing/signing.pem: "),
        (&["keys", "keys", "--algorithm", "es256"], "--new"),
    ] {
        let output = place.validator(&[&["result"], arguments].concat());
        let said = text(&output.stderr);
        assert_eq!(
            (code(&output), &output.stdout[..]),
            (2, &b""[..]),
            "{arguments:?}: {said}"
        );
        assert!(said.matches(" at line ").count() <= 1, "a cause is said once: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
    assert!(!place.path("missing").exists());
}

#[test]
fn keys_are_private_and_rotate() {
    let place = place();
    let pem = place.path("keys/signing.pem");
    let mode = |path: &Path| fs::metadata(path).expect("a key").permissions().mode() & 0o777;
    assert_eq!(mode(&pem), 0o600);
    let before = json(&place.validator(&["result", "keys", "keys"]));
    let rotated = place.validator(&["result", "keys", "keys", "--new", "--algorithm", "es256"]);
    let keys = json(&rotated);
    assert_eq!(
        (keys["keys"].as_array().map(Vec::len), keys["keys"][0]["alg"].as_str()),
        (Some(2), Some("ES256"))
    );
    assert_eq!(keys["keys"][1], before["keys"][0]);
    assert!(keys.to_string().find("\"d\"").is_none(), "no private key is printed");
    assert_eq!(mode(&pem), 0o600);

    // What the old key signed holds under the new set, and what the new one signs does not under the old.
    place.put("new.json", &rotated.stdout);
    let issue = ["result", "issue", "e.cbor", "--keys", "keys", "-o", "new.jwt"];
    assert_eq!(code(&place.validator(&issue)), 0);
    let verify = |name, jwks| code(&place.validator(&["result", "verify", name, "--jwks", jwks]));
    assert_eq!(verify("open.jwt", "new.json"), 0);
    assert_eq!(verify("new.jwt", "new.json"), 0);
    assert_eq!(verify("new.jwt", "jwks.json"), 1);

    // From the environment too.
    let mut issue = Command::new(env!("CARGO_BIN_EXE_gpu-validator"));
    issue.args(["result", "issue", "e.cbor", "--key-env", "SIGNING_KEY", "-o", "env.jwt"]);
    issue
        .current_dir(place.0.path())
        .env("SIGNING_KEY", place.text("keys/signing.pem"));
    assert_eq!(code(&issue.output().expect("the command starts")), 0);
    assert_eq!(verify("env.jwt", "new.json"), 0);

    // Its set is the public half; a file of the same key gives the same, and signs.
    let mut exported = Command::new(env!("CARGO_BIN_EXE_gpu-validator"));
    exported.args(["result", "keys", "--key-env", "SIGNING_KEY"]);
    exported.env("SIGNING_KEY", place.text("keys/signing.pem"));
    let exported = exported.output().expect("the command starts");
    assert_eq!(code(&exported), 0, "{}", text(&exported.stderr));
    assert_eq!(json(&exported)["keys"], serde_json::json!([keys["keys"][0]]));
    let of_file = place.validator(&["result", "keys", "--key", "keys/signing.pem"]);
    assert_eq!(json(&of_file), json(&exported));
    let issue = [
        "result",
        "issue",
        "e.cbor",
        "--key",
        "keys/signing.pem",
        "-o",
        "file.jwt",
    ];
    assert_eq!(code(&place.validator(&issue)), 0);
    assert_eq!(verify("file.jwt", "new.json"), 0);

    // A retired key that is dropped vouches for nothing under the new set; the one that signs stays.
    let kid = |index: usize| keys["keys"][index]["kid"].as_str().expect("a kid");
    let refused = place.validator(&["result", "keys", "keys", "--drop", kid(0)]);
    assert_eq!(code(&refused), 2);
    assert!(text(&refused.stderr).contains("is the key that signs: rotate first"));
    // A kid is base64url: one that begins with a hyphen is no option.
    let refused = place.validator(&[
        "result",
        "keys",
        "keys",
        "--drop",
        "-jLX4hVhHeB0XPx5dAMYqd3ENqTmoBKxSPcwgBYqKfQ",
    ]);
    assert_eq!(code(&refused), 2);
    let said = text(&refused.stderr);
    assert!(said.contains("no retired key has kid \"-jLX4"), "{said}");
    let dropped = place.validator(&["result", "keys", "keys", "--drop", kid(1)]);
    assert_eq!(json(&dropped)["keys"], serde_json::json!([keys["keys"][0]]));
    place.put("dropped.json", &dropped.stdout);
    assert_eq!(
        (verify("open.jwt", "dropped.json"), verify("new.jwt", "dropped.json")),
        (1, 0)
    );
    assert_eq!(json(&place.validator(&["result", "keys", "keys"])), json(&dropped));

    // A folder that is there and empty is no key ring yet.
    fs::create_dir(place.path("empty")).expect("a folder");
    assert_eq!(code(&place.validator(&["result", "keys", "empty", "--new"])), 0);

    fs::set_permissions(&pem, fs::Permissions::from_mode(0o644)).expect("chmod");
    for arguments in [
        &["result", "keys", "keys"][..],
        &["result", "keys", "keys", "--new"],
        &issue_to("x.jwt"),
    ] {
        let refused = place.validator(arguments);
        assert_eq!(code(&refused), 2, "{arguments:?}");
        assert!(text(&refused.stderr).contains("expected 0600: run chmod 600 keys/signing.pem"));
    }
    assert!(!place.path("x.jwt").exists());
    fs::set_permissions(&pem, fs::Permissions::from_mode(0o600)).expect("chmod");
    fs::write(&pem, "no key").expect("a write");
    let refused = place.validator(&["result", "keys", "keys", "--new"]);
    assert_eq!(
        (code(&refused), place.text("keys/signing.pem").as_str()),
        (2, "no key"),
        "nothing is thrown away"
    );
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
    assert_eq!(code(&refused), 1);
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

/// `result verify` of a result with its evidence: exit code and what it says.
fn audited(place: &Place, result: &str, more: &[&str]) -> (i32, String, Value) {
    let verify = [&VERIFY[..], &[result, "--evidence"], more].concat();
    let printed = place.validator(&verify);
    let as_json = place.validator(&[&verify[..], &["--json"]].concat());
    assert_eq!(code(&printed), code(&as_json));
    (code(&printed), text(&printed.stdout), json(&as_json)["audit"].clone())
}

#[test]
fn an_audit_says_whether_the_result_follows_from_its_evidence() {
    let place = place();
    for name in ["r.jwt", "r.cwt"] {
        let (code, said, audit) = audited(&place, name, &["e.cbor"]);
        assert_eq!(code, 0, "{name}: {said}");
        assert!(
            said.contains("verdict      the same: affirming\n0 claims differ\n"),
            "{name}: {said}"
        );
        assert_eq!(audit["differences"], serde_json::json!([]), "{name}");
    }

    // Other evidence, under the same policy.
    let (code, said, audit) = audited(&place, "r.jwt", &["other.cbor"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("evidence     differs: signed ") && said.contains("policy       the same: "),
        "{said}"
    );
    assert_ne!(audit["evidence"]["signed"], audit["evidence"]["appraised"]);
    let paths = |audit: &Value| -> Vec<String> {
        let list = audit["differences"].as_array().expect("a list");
        list.iter()
            .map(|d| d["path"].as_str().expect("a path").to_owned())
            .collect()
    };
    assert!(paths(&audit).contains(&"eat_nonce".to_owned()));

    // Another policy, with the same verdict and with another.
    place.put("named.toml", "name = \"another\"\n");
    let (code, said, audit) = audited(&place, "r.jwt", &["e.cbor", "--policy", "named.toml"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("evidence     the same: ") && said.contains("policy       differs: signed urn:"),
        "{said}"
    );
    assert!(said.contains("verdict      the same: affirming"), "{said}");
    assert!(
        paths(&audit).iter().all(|path| path.contains("policy")),
        "{:?}",
        paths(&audit)
    );
    place.put("strict.toml", "[host]\ndevices = 8\n");
    let (code, said, _) = audited(&place, "r.jwt", &["e.cbor", "--policy", "strict.toml"]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("verdict      differs: signed affirming, here contraindicated"),
        "{said}"
    );

    // Other profiles.
    fs::create_dir(place.path("profiles")).expect("a folder");
    let other = "name = \"x1\"\ntitle = \"X1\"\nkind = \"gpu\"\nstatus = \"datasheet\"\nmodels = [\"X1\"]\n\
        [capacity]\nmemory_bytes = 1000\nbandwidth_bytes_per_s = 1000\n[source]\nnote = \"made up\"\n";
    place.put("profiles/x1.toml", other);
    let (code, said, _) = audited(&place, "r.jwt", &["e.cbor", "--profiles", "profiles"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("profiles     differs: "), "{said}");

    // Evidence that was tampered with is no evidence.
    let mut bytes = fs::read(place.path("e.cbor")).expect("evidence");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    place.put("changed.cbor", bytes);
    let refused = place.validator(&[&VERIFY[..], &["r.jwt", "--evidence", "changed.cbor", "--json"]].concat());
    assert_eq!(common::code(&refused), 1);
    assert!(
        json(&refused)["refused"]
            .as_str()
            .is_some_and(|why| why.starts_with("evidence changed.cbor: "))
    );
}

/// An issuer that signs something else than what follows is found out by its own evidence.
#[test]
fn a_verdict_that_was_made_up_differs() {
    let place = place();
    place.put("strict.toml", "[host]\ndevices = 8\n");
    let mut issue = issue_to("r.jwt").to_vec();
    issue.extend(["--policy", "strict.toml", "--audience", "market.example"]);
    assert_eq!(code(&place.validator(&issue)), 1);
    let verified = place.validator(&[&VERIFY[..], &["r.jwt", "--json"]].concat());
    let mut result: AttestationResult = serde_json::from_value(json(&verified)["result"].clone()).expect("a result");
    for submod in result.submods.values_mut() {
        submod.ear_status = appraisal::reason::Tier::Affirming;
    }
    result.ear_status = appraisal::reason::Tier::Affirming;
    let keys = KeyRing::load(&place.path("keys")).expect("keys");
    place.put("r.jwt", result.to_jwt(keys.signing()));
    let alone = place.validator(&[&VERIFY[..], &["r.jwt"]].concat());
    assert_eq!(code(&alone), 0, "signed by the issuer, and nothing to hold it against");
    let (code, said, _) = audited(&place, "r.jwt", &["e.cbor", "--policy", "strict.toml"]);
    assert_eq!(code, 1);
    for expected in [
        "evidence     the same: ",
        "policy       the same: ",
        "verdict      differs: signed affirming, here contraindicated",
        "- submods.host.ear_status: signed \"affirming\", here \"contraindicated\"",
        "2 claims differ\n",
    ] {
        assert!(said.contains(expected), "{expected:?} in {said}");
    }
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
