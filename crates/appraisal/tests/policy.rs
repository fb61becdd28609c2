//! Wrong policies are refused with the line and the key of the error.

use appraisal::assumptions::AssumptionsPolicy;
use appraisal::expected::broken_by;
use appraisal::finding::Effect;
use appraisal::finding::FindingKind;
use appraisal::policy::Policy;
use appraisal::profiles::Profiles;
use protocol::bounds::Assumptions;
use protocol::bytes::Identity;
use verifier::hardware::ON_SALE;
use verifier::preset::default_assumptions;

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
    assert!(policy.device.stated_class_must_fit, "defaults fill what is absent");
    assert_eq!(parse(&policy.to_toml()).expect("its own text"), policy);
    assert_eq!(parse("").expect("the default"), Policy::default());
    assert_ne!(policy.id(), Policy::default().id());
}

#[test]
fn wrong_policies_are_refused_where_they_are_wrong() {
    for (from, to, key, line) in [
        ("devices = 8", "devises = 8", "host.devises", 8),
        (
            "min_tensor_ops_per_s = 1_200",
            "claim_must_fit = true\nmin_tensor_ops_per_s = 1_200",
            "device.claim_must_fit",
            5,
        ),
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
            "stated_class_must_fit = false",
            "device.stated_class_must_fit",
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
            "class = \"h200\"\nstated_class_must_fit = false",
            "device.stated_class_must_fit",
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
        // The spec states what joined GPUs need: policies no longer have a table for them.
        ("[findings]", "[limits]\njoined = []\n[findings]", "limits", 17),
        ("error_bits = 30", "helper_gpus = 0", "assumptions.helper_gpus", 15),
        ("error_bits = 30", "helper_gpus = 65_537", "assumptions.helper_gpus", 15),
        ("class = \"h200\"", "gpu_must_show = 1", "device.gpu_must_show", 4),
        (
            "devices = 8",
            "devices = 8\nmin_memory_bytes = 1_206_038_560_769",
            "host.min_memory_bytes",
            9,
        ),
        (
            "devices = 8",
            "devices = 8\nmin_bandwidth_bytes_per_s = 38_400_000_000_001",
            "host.min_bandwidth_bytes_per_s",
            9,
        ),
        (
            "devices = 8",
            "devices = 8\nmin_memory_bytes = 0",
            "host.min_memory_bytes",
            9,
        ),
        (
            "devices = 8",
            "devices = 1\nrequire_all_pairs = true",
            "host.require_all_pairs",
            9,
        ),
        (
            "devices = 8",
            "devices = 1\nmin_link_bytes_per_s = 1",
            "host.min_link_bytes_per_s",
            9,
        ),
        (
            "devices = 8",
            "devices = 8\nmin_link_bytes_per_s = 0",
            "host.min_link_bytes_per_s",
            9,
        ),
        // NVLink 4 has 450 GB/s each way.
        (
            "devices = 8",
            "devices = 8\nmin_link_bytes_per_s = 900_000_000_001",
            "host.min_link_bytes_per_s",
            9,
        ),
        (
            "error_bits = 30",
            "gpu_memory_bytes = 0",
            "assumptions.gpu_memory_bytes",
            15,
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

/// With any minimum figure, a policy that asks for a class without figures can be answered.
#[test]
fn a_cpu_is_asked_for_with_any_least_figure() {
    for key in [
        "memory_bytes",
        "bandwidth_bytes_per_s",
        "tensor_ops_per_s",
        "local_tensor_ops_per_s",
    ] {
        parse(&format!("[device]\nclass = \"cpu\"\nmin_{key} = 1\n")).expect(key);
        parse(&format!("[device]\nstated_class_must_fit = false\nmin_{key} = 1\n")).expect(key);
    }
    parse("[host]\ndevices = 64\n[session]\nmin_samples = 65_536\n").expect("what a session can be at most");
    parse("[assumptions]\nhelper_gpus = 65_536\n").expect("as many helpers as there can be");
    // Eight times an H200's memory and bandwidth, to the unit.
    let all = "min_memory_bytes = 1_206_038_560_768\nmin_bandwidth_bytes_per_s = 38_400_000_000_000";
    parse(&format!("[device]\nclass = \"h200\"\n[host]\ndevices = 8\n{all}\n")).expect("met");
    parse("[device]\nclass = \"h200\"\n[host]\ndevices = 8\nmin_tensor_ops_per_s = 15_000_000_000_000_000\n")
        .expect("met");
    parse("[device]\nclass = \"h200\"\n[host]\nmin_link_bytes_per_s = 900_000_000_000\n").expect("met");
}

/// A policy for a class narrows the links to those of the class, and for bounds of links between GPUs their memory: what a host uses in place of the class
/// may regenerate bytes as fast as anything on sale.
#[test]
fn a_policy_for_a_class_narrows_its_links_and_memory_alone() {
    let default = default_assumptions(20);
    for profile in Profiles::embedded().iter() {
        let policy = Policy::for_class(profile);
        assert_eq!(policy.device.class.as_ref(), Some(&profile.name));
        assert_eq!(policy.name, profile.name);
        let assumed = policy.assumptions.applied_to(&default);
        let capacity = profile.capacity.as_ref();
        let expected = Assumptions {
            link_in_bytes_per_s: capacity
                .and_then(|c| c.link_in_bytes_per_s)
                .unwrap_or(default.link_in_bytes_per_s),
            link_out_bytes_per_s: capacity
                .and_then(|c| c.link_out_bytes_per_s)
                .unwrap_or(default.link_out_bytes_per_s),
            ..default
        };
        assert_eq!(assumed, expected, "{}", profile.name);
        assert_eq!(policy.assumptions.gpu_memory_bytes, capacity.map(|c| c.memory_bytes));
        assert_eq!(broken_by(profile, &assumed), [], "{}", profile.name);
        let text = policy.to_toml();
        match capacity {
            Some(_) => assert_eq!(parse(&text).expect("its own text"), policy),
            // Minimum figures are left to the policy's author.
            None => assert_eq!(parse(&text).expect_err("no figures").key, "device.class"),
        }
    }
}

/// Evidence can raise the assumptions but never lower them; the policy's own figures take precedence.
#[test]
fn the_worst_of_default_and_record_is_assumed_where_the_policy_is_silent() {
    let default = default_assumptions(20);
    let weak = Assumptions {
        best_rate_ops_per_s: 1,
        helper_gpus: 1,
        link_in_bytes_per_s: 1,
        link_out_bytes_per_s: 1,
        helper_bytes_per_s: 0,
        on_chip_bytes: 1,
        error_bits: 1,
    };
    let strong = Assumptions {
        best_rate_ops_per_s: default.best_rate_ops_per_s + 1,
        helper_gpus: 8,
        link_in_bytes_per_s: default.link_in_bytes_per_s + 1,
        link_out_bytes_per_s: default.link_out_bytes_per_s + 1,
        helper_bytes_per_s: 1,
        on_chip_bytes: default.on_chip_bytes + 1,
        error_bits: 21,
    };
    let silent = AssumptionsPolicy::default();
    assert_eq!(silent.applied_to(&weak), default);
    assert_eq!(silent.applied_to(&strong), strong);
    let explicit = AssumptionsPolicy {
        error_bits: Some(19),
        best_rate_ops_per_s: Some(2),
        helper_gpus: Some(2),
        link_in_bytes_per_s: Some(3),
        link_out_bytes_per_s: Some(4),
        helper_bytes_per_s: Some(0),
        on_chip_bytes: Some(5),
        gpu_memory_bytes: Some(6),
    };
    let said = Assumptions {
        best_rate_ops_per_s: 2,
        helper_gpus: 2,
        link_in_bytes_per_s: 3,
        link_out_bytes_per_s: 4,
        helper_bytes_per_s: 0,
        on_chip_bytes: 5,
        error_bits: 19,
    };
    assert_eq!([explicit.applied_to(&weak), explicit.applied_to(&strong)], [said, said]);
}

/// A named Verifier counts, whether the caller or the policy names it; this host's own counts only if none is named.
#[test]
fn evidence_counts_of_those_who_are_named() {
    let [own, named] = [1, 2].map(|byte| Identity([byte; 32]));
    let listed = Identity([3; 32]);
    let silent = Policy::default();
    let mut listing = Policy::default();
    listing.session.verifiers = vec![listed.to_string()];
    let recorded = default_assumptions(20);
    let trusted = |policy: &Policy, named: &[Identity], own| policy.judge(named, own, &recorded).trusted;
    assert_eq!(trusted(&silent, &[], None), []);
    assert_eq!(trusted(&silent, &[], Some(own)), [own]);
    assert_eq!(trusted(&silent, &[named], Some(own)), [named]);
    assert_eq!(trusted(&listing, &[], Some(own)), [listed]);
    assert_eq!(trusted(&listing, &[named], Some(own)), [named, listed]);
    // A policy is reported to narrow the table only if it does.
    assert_eq!(silent.judge(&[], None, &recorded).narrowed_by, None);
    let h200 = Policy::for_class(Profiles::embedded().named("h200").expect("a class"));
    let judge = h200.judge(&[], None, &recorded);
    assert_eq!(judge.narrowed_by.as_ref().map(|by| &by.policy[..]), Some("h200"));
    // The memory of a GPU is the judge's alone.
    assert_eq!(judge.gpu_memory_bytes(), 150_754_820_096);
    let default = silent.judge(&[], None, &recorded);
    assert_eq!(default.gpu_memory_bytes(), ON_SALE.gpu_memory_bytes.value);
    let mut bits = Policy::default();
    bits.assumptions.error_bits = Some(30);
    let judge = bits.judge(&[], None, &recorded);
    assert_eq!(judge.gpu_memory_bytes(), ON_SALE.gpu_memory_bytes.value);
}
