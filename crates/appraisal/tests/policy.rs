//! Policies that are wrong are refused with the line and the key that say where.

use appraisal::finding::FindingKind;
use appraisal::policy::{Effect, Policy};
use appraisal::profile::Profiles;

const STRICT: &str = r#"name = "eight-h200"

[device]
class = "h200"
min_tensor_ops_per_s = 1_200_000_000_000_000

[host]
devices = 8

[session]
verifiers = ["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"]
max_age_s = 3600

[assumptions]
error_bits = 30

[findings]
throttled = "warn"
class-unmeasured = "contraindicate"
"#;

fn parse(text: &str) -> Result<Policy, appraisal::InputError> {
    Policy::parse("policy.toml", text, &Profiles::embedded())
}

#[test]
fn a_policy_says_what_it_asks_for() {
    let policy = parse(STRICT).expect("a policy");
    assert_eq!(policy.device.class.as_deref(), Some("h200"));
    assert_eq!(policy.effect(FindingKind::Throttled), Effect::Warn);
    assert_eq!(policy.effect(FindingKind::DuplicateDevice), Effect::Warn);
    assert!(policy.device.claim_must_fit, "defaults fill what is absent");
    assert_eq!(parse(&policy.to_toml()).expect("its own text"), policy);
    assert_eq!(parse("").expect("the default"), Policy::default());
    assert_ne!(policy.id(), Policy::default().id());
}

#[test]
fn wrong_policies_are_refused_where_they_are_wrong() {
    for (from, to, key, line) in [
        ("devices = 8", "devises = 8", "host.devises", 8),
        ("devices = 8", "devices = -8", "host.devices", 8),
        ("devices = 8", "devices = 8\ndevices = 8", "host.devices", 9),
        ("devices = 8", "devices = ", "host.devices", 8),
        ("devices = 8", "devices = 0", "host.devices", 8),
        ("devices = 8", "devices = 8\nmin_devices = 9", "host.min_devices", 9),
        ("devices = 8", "devices = 65", "host.devices", 8),
        ("devices = 8", "min_devices = 65", "host.min_devices", 8),
        ("max_age_s = 3600", "min_samples = 65_537", "session.min_samples", 12),
        (
            "min_tensor_ops_per_s = 1_200",
            "min_local_tensor_ops_per_s = 2_200",
            "device.min_local_tensor_ops_per_s",
            5,
        ),
        (
            "devices = 8",
            "devices = 8\nmin_tensor_ops_per_s = 16_000_000_000_000_000",
            "host.min_tensor_ops_per_s",
            9,
        ),
        (
            "devices = 8",
            "min_tensor_ops_per_s = 127_000_000_000_000_000",
            "host.min_tensor_ops_per_s",
            8,
        ),
        (
            "class = \"h200\"\nmin_tensor_ops_per_s = 1_200_000_000_000_000",
            "claim_must_fit = false",
            "device.claim_must_fit",
            4,
        ),
        (
            "class = \"h200\"\nmin_tensor_ops_per_s = 1_200_000_000_000_000",
            "class = \"cpu\"",
            "device.class",
            4,
        ),
        ("class = \"h200\"", "class = \"h300\"", "device.class", 4),
        (
            "class = \"h200\"",
            "class = \"h200\"\nclaim_must_fit = false",
            "device.claim_must_fit",
            5,
        ),
        (
            "1_200_000_000_000_000",
            "2_200_000_000_000_000",
            "device.min_tensor_ops_per_s",
            5,
        ),
        ("[\"d75a", "[\"D75A", "session.verifiers", 11),
        ("error_bits = 30", "error_bits = 0", "assumptions.error_bits", 15),
        (
            "error_bits = 30",
            "best_rate_ops_per_s = 0",
            "assumptions.best_rate_ops_per_s",
            15,
        ),
        ("max_age_s = 3600", "max_age_s = \"1 h\"", "session.max_age_s", 12),
        ("throttled = \"warn\"", "throttled = \"ban\"", "findings.throttled", 18),
        ("throttled = \"warn\"", "throtled = \"warn\"", "findings.throtled", 18),
        ("[findings]", "[shares]\ndoubt = nan\n[findings]", "shares.doubt", 18),
        ("[findings]", "[shares]\nmemory = 0.0\n[findings]", "shares.memory", 18),
        (
            "[findings]",
            "[shares]\nceiling = 0.5\n[findings]",
            "shares.ceiling",
            18,
        ),
        (
            "[findings]",
            "[limits]\njoined = []\nlink_bytes_per_s = 0\n[findings]",
            "limits.link_bytes_per_s",
            19,
        ),
    ] {
        assert!(STRICT.contains(from), "{from}");
        let error = parse(&STRICT.replace(from, to)).expect_err(to);
        println!("{error}");
        assert_eq!(
            (error.key.as_str(), error.position.map(|p| p.0)),
            (key, Some(line)),
            "{error}"
        );
        assert_eq!(error.file, "policy.toml");
    }
}

/// Any least figure makes a class without figures a question that has an answer.
#[test]
fn a_cpu_is_asked_for_with_any_least_figure() {
    for key in [
        "memory_bytes",
        "bandwidth_bytes_per_s",
        "tensor_ops_per_s",
        "local_tensor_ops_per_s",
    ] {
        parse(&format!("[device]\nclass = \"cpu\"\nmin_{key} = 1\n")).expect(key);
        parse(&format!("[device]\nclaim_must_fit = false\nmin_{key} = 1\n")).expect(key);
    }
    parse("[host]\ndevices = 64\n[session]\nmin_samples = 65_536\n").expect("what a session can be at most");
    parse("[device]\nclass = \"h200\"\n[host]\ndevices = 8\nmin_tensor_ops_per_s = 15_000_000_000_000_000\n")
        .expect("met");
}
