//! `verify --joint`: concurrent sessions, checked like a user checks them.

mod common;

use std::fs;

use common::{Place, code, json, text};
use ed25519_dalek::SigningKey;
use testkit::cast;
use testkit::peer::{HonestPeer, Peer};
use testkit::rehearsal::Rehearsal;
use testkit::together::{Party, Together, run};

/// Two concurrent Attesters, each with 16 tiles: 256 leaves to be sampled.
fn together() -> Together {
    let rehearsals = [1, 2].map(|seed| {
        let mut rehearsal = Rehearsal::new(cast::request(&[(4096, 32)], 256));
        rehearsal.seed = seed;
        rehearsal
    });
    let mut peers = [1u8, 2].map(|n| {
        let key = SigningKey::from_bytes(&[n; 32]);
        let mut hello = cast::hello(&[16]);
        hello.identity = cast::identity(&key);
        let mut peer = HonestPeer::new(hello, |_| cast::engine());
        peer.key = key;
        peer
    });
    let parties = rehearsals.iter().zip(&mut peers).zip([0, 3_000_000]);
    let parties = parties.map(|((rehearsal, peer), began_ns)| Party {
        rehearsal,
        peer: peer as &mut dyn Peer,
        began_ns,
    });
    run(&mut parties.collect::<Vec<_>>())
}

/// A folder with `a.cbor`, `b.cbor`, `joint.cbor` and `alone.cbor`, a session that is not in the record.
fn place() -> Place {
    let place = Place::new();
    let together = together();
    for (name, session) in ["a.cbor", "b.cbor"].into_iter().zip(&together.sessions) {
        assert_eq!(session.verdict().status(), 0);
        place.put(name, session.sealed());
    }
    let record = together.record.expect("both are affirmed");
    place.put("joint.cbor", record.seal(&cast::verifier_key()));
    let mut alone = HonestPeer::new(cast::hello(&[16]), |_| cast::engine());
    let alone = Rehearsal::new(cast::request(&[(4096, 32)], 256)).run(&mut alone);
    place.put("alone.cbor", alone.sealed());
    place
}

fn verifier() -> String {
    cast::identity(&cast::verifier_key()).to_string()
}

#[test]
fn sessions_at_once_are_certified_together() {
    let place = place();
    let key = verifier();
    let command = [
        "verify",
        "--joint",
        "joint.cbor",
        "b.cbor",
        "a.cbor",
        "--verifier",
        &key,
    ];
    let told = place.validator(&command);
    let said = text(&told.stdout);
    assert_eq!(code(&told), 0, "{said}{}", text(&told.stderr));
    assert!(said.starts_with("verdict      affirmed\n"), "{said}");
    assert!(
        said.contains("at once      2 sessions, 2 in all were sampled"),
        "{said}"
    );
    assert!(said.contains("a.cbor  V ") && said.contains("b.cbor  V "), "{said}");
    assert!(said.contains("at most 2 * 2^-20"), "{said}");
    // CPUs did this: the output must not suggest GPUs.
    assert!(said.contains("no GPU is proven on this host"), "{said}");

    let value = json(&place.validator(&[&command[..], &["--json"]].concat()));
    let rate = |part: &serde_json::Value| part["tensor_ops_per_s"].as_u64().expect("T is certified");
    let sessions = value["joint"]["sessions"].as_array().expect("sessions");
    let sum: u64 = sessions.iter().map(|session| rate(&session["share"])).sum();
    assert_eq!(rate(&value["joint"]["certified"]), sum);
    assert_eq!(value["joint"]["verifier"], key.as_str());
    assert_eq!(value["joint"]["shows_gpu_memory"], false);
    // Two fills of 16 tiles at k = 4096, in the common window.
    let window_ns = value["joint"]["windows"][0]["fill_ns"].as_u64().expect("a window");
    let most = 2.0 * 16.0 * 65_536.0 * 2.0 * 4096.0 * 1e9 / window_ns as f64;
    assert!((sum as f64) < most && sum as f64 > 0.9 * most, "{sum} of {most}");
}

#[test]
fn what_is_not_of_the_record_is_refused() {
    let place = place();
    let key = verifier();
    let check = |evidence: &[&str], verifier: &[&str]| {
        let command = [&["verify", "--json", "--joint", "joint.cbor"], evidence, verifier].concat();
        let told = place.validator(&command);
        let value = json(&told);
        let word = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        (code(&told), word("verdict"), word("reason"))
    };
    let told = |exit, verdict: &str, reason: &str| (exit, verdict.to_owned(), reason.to_owned());
    let named = ["--verifier", &key];
    let refused = told(1, "contraindicated", "evidence-refused");
    assert_eq!(check(&["a.cbor"], &named), refused);
    assert_eq!(check(&["a.cbor", "b.cbor", "alone.cbor"], &named), refused);
    assert_eq!(check(&["a.cbor", "a.cbor"], &named), refused);
    // The Verifier was not named.
    assert_eq!(check(&["a.cbor", "b.cbor"], &[]), told(2, "none", "unknown-verifier"));

    let mut damaged = fs::read(place.path("joint.cbor")).expect("a file");
    damaged[50] ^= 1;
    place.put("joint.cbor", damaged);
    assert_eq!(
        check(&["a.cbor", "b.cbor"], &named),
        told(2, "none", "damaged-evidence")
    );
    // An endless device is not read to its end.
    let endless = place.validator(&["verify", "--joint", "/dev/zero", "a.cbor", "--verifier", &key]);
    assert_eq!(code(&endless), 2, "{}", text(&endless.stdout));
    place.put("joint.cbor", fs::read(place.path("a.cbor")).expect("a file"));
    assert_eq!(
        check(&["a.cbor", "b.cbor"], &named),
        told(2, "none", "damaged-evidence")
    );
}

#[test]
fn several_files_need_their_record() {
    let place = place();
    let told = place.validator(&["verify", "a.cbor", "b.cbor"]);
    assert_eq!(code(&told), 2);
    assert!(
        text(&told.stderr).contains("2 evidence files; several at once need --joint RECORD"),
        "{}",
        text(&told.stderr)
    );
    let told = place.validator(&["verify", "--joint", "absent.cbor", "a.cbor"]);
    assert_eq!(code(&told), 2);
    assert!(
        text(&told.stderr).contains("joint record absent.cbor"),
        "{}",
        text(&told.stderr)
    );
}
