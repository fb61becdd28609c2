//! Keys of issuers: private, rotated, and input that is not a key set.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::common::{code, json, text};
use crate::{issue_to, place};

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

    // A signature of the old key is valid under the new set, and one of the new key is invalid under the old set.
    place.put("new.json", &rotated.stdout);
    let issue = [
        "result", "issue", "e.cbor", "--policy", "cpu.toml", "--keys", "keys", "-o", "new.jwt",
    ];
    assert_eq!(code(&place.validator(&issue)), 0);
    let verify = |name, jwks| code(&place.validator(&["result", "verify", name, "--jwks", jwks]));
    assert_eq!(verify("open.jwt", "new.json"), 0);
    assert_eq!(verify("new.jwt", "new.json"), 0);
    assert_eq!(verify("new.jwt", "jwks.json"), 1);

    // A key from the environment works too.
    let mut issue = Command::new(env!("CARGO_BIN_EXE_gpu-validator"));
    issue.args(["result", "issue", "e.cbor", "--policy", "cpu.toml"]);
    issue.args(["--key-env", "SIGNING_KEY", "-o", "env.jwt"]);
    issue
        .current_dir(place.0.path())
        .env("XDG_CONFIG_HOME", place.0.path())
        .env("SIGNING_KEY", place.text("keys/signing.pem"));
    assert_eq!(code(&issue.output().expect("the command starts")), 0);
    assert_eq!(verify("env.jwt", "new.json"), 0);

    // Its set is the public half; a file with the same key gives the same set, and can sign.
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
        "--policy",
        "cpu.toml",
        "--key",
        "keys/signing.pem",
        "-o",
        "file.jwt",
    ];
    assert_eq!(code(&place.validator(&issue)), 0);
    assert_eq!(verify("file.jwt", "new.json"), 0);

    // A retired key that is dropped verifies nothing under the new set; the signing key stays.
    let kid = |index: usize| keys["keys"][index]["kid"].as_str().expect("a kid");
    let refused = place.validator(&["result", "keys", "keys", "--drop", kid(0)]);
    assert_eq!(code(&refused), 2);
    assert!(text(&refused.stderr).contains("is the key that signs: rotate first"));
    // A kid is base64url: one that begins with a hyphen is not an option.
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

    // An existing but empty folder is not a key ring yet.
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

#[test]
fn a_key_of_es384_keeps_its_certificate() {
    let place = place();
    let made = place.validator(&["result", "keys", "keys", "--new", "--algorithm", "es384"]);
    let current = json(&made)["keys"][0].clone();
    assert_eq!((&current["alg"], &current["crv"]), (&"ES384".into(), &"P-384".into()));
    assert_eq!(current["x5c"].as_array().map(Vec::len), Some(1));
    assert_eq!(json(&place.validator(&["result", "keys", "keys"])), json(&made));
    for (format, name) in [("jwt", "r.jwt"), ("cwt", "r.cwt")] {
        let issue = [
            "result", "issue", "e.cbor", "--policy", "cpu.toml", "--keys", "keys", "--format", format, "-o", name,
        ];
        assert_eq!(code(&place.validator(&issue)), 0);
    }
    let rotated = place.validator(&["result", "keys", "keys", "--new"]);
    let keys = json(&rotated);
    assert!(keys["keys"][0].get("x5c").is_none(), "EdDSA needs none");
    assert!(keys["keys"].as_array().is_some_and(|keys| keys.contains(&current)));
    place.put("new.json", &rotated.stdout);
    for (name, jwks, expected) in [
        ("r.jwt", "new.json", 0),
        ("r.cwt", "new.json", 0),
        ("r.jwt", "jwks.json", 1),
    ] {
        let verified = place.validator(&["result", "verify", name, "--jwks", jwks]);
        assert_eq!(code(&verified), expected, "{name} {jwks}: {}", text(&verified.stderr));
    }
}
