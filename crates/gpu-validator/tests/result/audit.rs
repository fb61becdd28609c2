//! Results compared with their evidence: `result verify --evidence`.

use std::fs;

use attestation_result::AttestationResult;
use attestation_result::key_ring::KeyRing;
use serde_json::Value;

use crate::common::{self, CPU_POLICY, Place, code, json, text};
use crate::{VERIFY, issue_to, place};

/// `result verify` of a result with its evidence: the exit code and the output.
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
        let (code, said, audit) = audited(&place, name, &["e.cbor", "--policy", "cpu.toml"]);
        assert_eq!(code, 0, "{name}: {said}");
        assert!(
            said.contains("verdict      the same: affirming\n0 claims differ\n"),
            "{name}: {said}"
        );
        assert_eq!(audit["differences"], serde_json::json!([]), "{name}");
    }

    // Other evidence, under the same policy.
    let (code, said, audit) = audited(&place, "r.jwt", &["other.cbor", "--policy", "cpu.toml"]);
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
    place.put("named.toml", CPU_POLICY.replace("\"cpu\"\n[", "\"another\"\n["));
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
    place.put("strict.toml", format!("{CPU_POLICY}[host]\ndevices = 8\n"));
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
    let (code, said, _) = audited(
        &place,
        "r.jwt",
        &["e.cbor", "--policy", "cpu.toml", "--profiles", "profiles"],
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("profiles     differs: "), "{said}");

    // Evidence that was tampered with is not accepted as evidence.
    let mut bytes = fs::read(place.path("e.cbor")).expect("evidence");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    place.put("changed.cbor", bytes);
    let refused = place.validator(&[&VERIFY[..], &["r.jwt", "--evidence", "changed.cbor", "--json"]].concat());
    assert_eq!(common::code(&refused), 2);
    let refused = json(&refused);
    assert_eq!(
        (&refused["verdict"], &refused["reason"]),
        (&"none".into(), &"damaged-evidence".into())
    );
}

/// An issuer that signs something other than the result of the evidence is exposed by its own evidence.
#[test]
fn a_verdict_that_was_made_up_differs() {
    let place = place();
    place.put("strict.toml", format!("{CPU_POLICY}[host]\ndevices = 8\n"));
    let mut issue = issue_to("r.jwt").to_vec();
    issue.extend(["--policy", "strict.toml", "--audience", "market.example"]);
    assert_eq!(code(&place.validator(&issue)), 1);
    let verified = place.validator(&[&VERIFY[..], &["r.jwt", "--json"]].concat());
    let mut result: AttestationResult = serde_json::from_value(json(&verified)["result"].clone()).expect("a result");
    for submod in result.submods.values_mut() {
        submod.ear_status = attestation_result::Tier::Affirming;
    }
    result.ear_status = attestation_result::Tier::Affirming;
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
