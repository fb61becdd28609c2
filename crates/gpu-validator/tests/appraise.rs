//! `report` and `policy`, run like a user runs them.

mod common;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use appraisal::classify::Classification;
use appraisal::expected::{Expected, broken_by};
use appraisal::policy::Policy;
use appraisal::profiles::Profiles;
use appraisal::stated::{Tested, judge};
use attestation_result::Tier;
use common::{CPU_POLICY, Place, SMALL, code, json, text};
use verifier::preset::default_assumptions;

/// Evidence of one CPU session, `e.cbor`; no test changes this folder.
fn prepared() -> &'static Place {
    static PREPARED: OnceLock<Place> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let place = Place::new();
        let attested = place.attester(&[&["attest", "--evidence", "e.cbor"], &SMALL[..]].concat());
        assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
        place
    })
}

/// A folder with the evidence.
fn place() -> Place {
    let place = Place::new();
    fs::copy(prepared().path("e.cbor"), place.path("e.cbor")).expect("a copy");
    // Its Verifier is this host's own.
    fs::create_dir(place.path("gpu-attestor")).expect("a folder");
    let key = "gpu-attestor/verifier.pem";
    fs::copy(prepared().path(key), place.path(key)).expect("a copy, mode and all");
    place.put("cpu.toml", CPU_POLICY);
    place
}

#[test]
fn each_format_goes_to_standard_output_or_a_file() {
    let place = place();
    let cpu = ["--policy", "cpu.toml"];
    for (format, begins) in [
        ("html", "<!doctype html>"),
        ("md", "# GPU attestation: affirming"),
        ("json", "{"),
        ("junit", "<?xml version=\"1.0\""),
    ] {
        let printed = place.validator(&[&["report", "e.cbor", "--format", format], &cpu[..]].concat());
        assert_eq!(code(&printed), 0, "{format}: {}", text(&printed.stderr));
        assert!(text(&printed.stderr).ends_with("verdict: affirming\n"), "{format}");
        assert!(text(&printed.stdout).starts_with(begins), "{format}");

        let written = place.validator(&[&["report", "e.cbor", "--format", format, "-o", "report"], &cpu[..]].concat());
        assert_eq!((code(&written), &written.stdout[..]), (0, &b""[..]), "{format}");
        assert!(place.text("report").starts_with(begins), "{format}");
    }
    // The default format is a page.
    assert!(text(&place.validator(&["report", "e.cbor"]).stdout).starts_with("<!doctype html>"));
}

#[test]
fn the_exit_code_is_the_verdict() {
    let place = place();
    for (policy, expected, says) in [
        ("", 0, "verdict: affirming"),
        ("[findings]\nclass-unmeasured = \"warn\"", 0, "verdict: affirming"),
        (
            "[host]\ndevices = 8",
            1,
            "contraindicated: number of devices: 1; the policy asks for 8",
        ),
        (
            "[device]\nclass = \"h200\"",
            1,
            "device 0: contraindicated: the policy asks for h200",
        ),
        (
            "[session]\naudience = \"others\"",
            2,
            "none: the evidence was made for \"\", not for \"others\"",
        ),
    ] {
        // In addition to this policy: a CPU is what it asks for.
        let device = if policy.contains("[device]") { "" } else { CPU_POLICY };
        place.put("policy.toml", format!("{device}{policy}"));
        let reported = place.validator(&["report", "e.cbor", "--policy", "policy.toml", "--format", "md"]);
        let said = text(&reported.stderr);
        assert_eq!(code(&reported), expected, "{policy}: {said}");
        assert!(said.contains(says), "{policy}: {said}");
    }
}

/// If only a device's reasons count against it, the host's part states so in each format.
#[test]
fn a_host_without_reasons_of_its_own_says_whose_they_are() {
    let place = place();
    place.put("policy.toml", "[device]\nclass = \"h200\"");
    for format in ["html", "md", "junit"] {
        let reported = place.validator(&["report", "e.cbor", "--policy", "policy.toml", "--format", format]);
        let page = text(&reported.stdout);
        assert!(
            page.contains("Nothing of its own: the worst of its devices decides"),
            "{format}: {page}"
        );
    }
}

/// A session too small to certify anything does not pass, not even for a class without figures.
#[test]
fn a_session_that_certifies_nothing_is_none() {
    let place = Place::new();
    let attested = place.attester(&["attest", "--evidence", "e.cbor", "--cpu-memory", "1MiB"]);
    assert_eq!(code(&attested), 2, "{}", text(&attested.stderr));
    assert!(
        text(&attested.stderr).contains("engine: cpu"),
        "{}",
        text(&attested.stderr)
    );
    assert!(text(&attested.stdout).starts_with("verdict      none (nothing-certified)"));
    let reported = place.validator(&["report", "e.cbor", "--format", "md"]);
    assert_eq!(code(&reported), 2, "{}", text(&reported.stderr));
    assert!(
        text(&reported.stderr).contains("none: every check passed and nothing is certified: fewer than 256 samples")
    );
}

/// A warning is reported, but is not a failure.
#[test]
fn a_warning_exits_0() {
    let place = place();
    fs::create_dir(place.path("profiles")).expect("a folder");
    // Another class of CPUs makes what the device states ambiguous.
    let other = "name = \"cpu-too\"\ntitle = \"another\"\nkind = \"cpu\"\nstatus = \"datasheet\"\n[source]\nnote = \"made up\"\n";
    place.put("profiles/cpu-too.toml", other);
    // Only T is required, from any unit.
    place.put("t.toml", "[device]\ngpu_must_show = false\n");
    let bought = ["report", "e.cbor", "--profiles", "profiles", "--policy", "t.toml"];
    let reported = place.validator(&[&bought[..], &["--format", "json"]].concat());
    assert_eq!(
        (code(&reported), json(&reported)["verdict"].as_str()),
        (0, Some("warning"))
    );
    assert!(text(&reported.stderr).contains("device 0: warning: "));
    // Unless a warning is to count as a failure.
    let strict = place.validator(&[&bought[..], &["--strict"]].concat());
    assert_eq!(code(&strict), 1);
    let affirmed = ["report", "e.cbor", "--policy", "cpu.toml", "--strict"];
    assert_eq!(code(&place.validator(&affirmed)), 0);
    let keys = place.validator(&["result", "keys", "keys", "--new"]);
    place.put("jwks.json", &keys.stdout);
    let issue = [
        "result",
        "issue",
        "e.cbor",
        "--keys",
        "keys",
        "--profiles",
        "profiles",
        "--policy",
        "t.toml",
        "-o",
        "r.jwt",
    ];
    let verify = ["result", "verify", "r.jwt", "--jwks", "jwks.json"];
    for (arguments, expected) in [(&issue[..], (0, 1)), (&verify, (0, 1))] {
        let strict = [arguments, &["--strict"]].concat();
        let codes = (code(&place.validator(arguments)), code(&place.validator(&strict)));
        assert_eq!(codes, expected, "{arguments:?}");
    }
}

#[test]
fn what_is_refused_or_cannot_be_read_leaves_the_old_report() {
    let place = place();
    let mut bytes = fs::read(place.path("e.cbor")).expect("evidence");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    place.put("changed.cbor", bytes);
    place.put(
        "wrong.toml",
        "name = \"x\"\n[device]\nclass = \"h200\"\nclasss = \"h100\"\n",
    );
    place.put("report.html", "old");
    fs::create_dir(place.path("profiles")).expect("a folder");
    place.put("profiles/h200.toml", "name = \"h200\"\npower = -1\n");
    for (arguments, expected, says) in [
        (&["changed.cbor"][..], 2, "refused: evidence changed.cbor: "),
        (&["missing.cbor"], 2, "missing.cbor"),
        (
            &["e.cbor", "--policy", "wrong.toml"],
            2,
            "wrong.toml:4:1: device.classs: unknown field",
        ),
        (&["e.cbor", "--policy", "missing.toml"], 2, "missing.toml"),
        (&["e.cbor", "--policy", "e.cbor"], 2, "e.cbor is no text in UTF-8"),
        (
            &["e.cbor", "--policy", "/dev/zero"],
            2,
            "/dev/zero is longer than 1048576 bytes",
        ),
        (
            &["e.cbor", "--profiles", "profiles"],
            2,
            "profiles/h200.toml:2:1: power: unknown field",
        ),
        (&["e.cbor", "--profiles", "missing"], 2, "missing: "),
        (
            &["e.cbor", "--format", "pdf"],
            2,
            "[possible values: html, md, json, junit]",
        ),
    ] {
        let reported = place.validator(&[&["report", "-o", "report.html"], arguments].concat());
        let said = text(&reported.stderr);
        assert_eq!(code(&reported), expected, "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert_eq!(place.text("report.html"), "old", "{arguments:?}");
    }
    for (output, says) in [
        ("no/report.html", "cannot write a report into no"),
        ("profiles", "profiles is a folder, expected a file name"),
    ] {
        let reported = place.validator(&["report", "e.cbor", "-o", output]);
        assert_eq!(code(&reported), 2, "{output}");
        assert!(
            text(&reported.stderr).contains(says),
            "{output}: {}",
            text(&reported.stderr)
        );
    }
}

#[test]
fn a_full_disk_leaves_the_old_report() {
    let place = place();
    place.put("report.html", "old");
    let script = format!(
        "trap '' XFSZ; ulimit -f 1; exec {} report e.cbor --policy cpu.toml -o report.html",
        env!("CARGO_BIN_EXE_gpu-validator")
    );
    let reported = place.run(Path::new("bash"), &["-c", &script]);
    assert_eq!(code(&reported), 2);
    let said = text(&reported.stderr);
    assert!(
        said.contains("cannot write a report to report.html; nothing was kept"),
        "{said}"
    );
    assert_eq!(place.text("report.html"), "old");
    assert_eq!(
        fs::read_dir(place.0.path()).expect("a folder").count(),
        4,
        "no temporary file is left"
    );
}

#[test]
fn policies_are_checked_with_line_and_key() {
    let place = Place::new();
    let printed = place.validator(&["policy", "default"]);
    assert_eq!(code(&printed), 0);
    place.put("default.toml", &printed.stdout);
    let checked = place.validator(&["policy", "check", "default.toml"]);
    let said = text(&checked.stdout);
    assert_eq!(code(&checked), 0, "{}", text(&checked.stderr));
    assert!(
        said.starts_with("urn:gpu-attestor:policy:default:") && said.ends_with(" is sound\n"),
        "{said}"
    );
    let id = said.trim_end_matches(" is sound\n");
    let checked = json(&place.validator(&["policy", "check", "default.toml", "--json"]));
    assert_eq!(
        (checked["name"].as_str(), checked["policy_id"].as_str()),
        (Some("default"), Some(id))
    );

    for (policy, says, line, key) in [
        (
            "[device]\nmin_memory = 1\n",
            "p.toml:2:1: device.min_memory: unknown field",
            2,
            "device.min_memory",
        ),
        (
            "[host]\ndevices = 0\n",
            "p.toml:2:1: host.devices: 0; ",
            2,
            "host.devices",
        ),
        (
            "[host]\ndevices = 2\nmin_devices = 4\n",
            "p.toml:3:1: host.min_devices: 4, but host.devices is 2: contradiction",
            3,
            "host.min_devices",
        ),
        (
            "name = \"a\"\nname = \"b\"\n",
            "p.toml:2:1: name: duplicate key",
            2,
            "name",
        ),
        (
            "[findings]\nsunspots = \"warn\"\n",
            "p.toml:2:1: findings.sunspots: ",
            2,
            "findings.sunspots",
        ),
    ] {
        place.put("p.toml", policy);
        let checked = place.validator(&["policy", "check", "p.toml"]);
        assert_eq!((code(&checked), &checked.stdout[..]), (2, &b""[..]), "{policy}");
        assert!(
            text(&checked.stderr).contains(says),
            "{policy}: {}",
            text(&checked.stderr)
        );
        let checked = place.validator(&["policy", "check", "p.toml", "--json"]);
        let error = &json(&checked)["error"];
        assert_eq!(code(&checked), 2, "{policy}");
        assert_eq!(
            (error["line"].as_u64(), error["key"].as_str()),
            (Some(line), Some(key)),
            "{policy}"
        );
    }
}

/// A class's policy is valid, states the class's links, and reports whether an honest device can be affirmed under it.
#[test]
fn a_class_has_a_policy_to_begin_from() {
    let place = Place::new();
    let profiles = Profiles::embedded();
    let mut affirmed = Vec::new();
    for profile in profiles.iter().filter(|profile| profile.capacity.is_some()) {
        let printed = place.validator(&["policy", "default", "--class", &profile.name]);
        let (said, toml) = (text(&printed.stderr), text(&printed.stdout));
        assert_eq!(code(&printed), 0, "{said}");
        let policy = Policy::parse("p.toml", &toml, &profiles).expect("a policy");
        assert_eq!(policy.device.class.as_deref(), Some(&profile.name[..]));
        let (assumed, capacity) = (&policy.assumptions, profile.capacity.as_ref().expect("figures"));
        assert_eq!(
            (
                assumed.link_in_bytes_per_s,
                assumed.link_out_bytes_per_s,
                assumed.on_chip_bytes
            ),
            (
                capacity.link_in_bytes_per_s,
                capacity.link_out_bytes_per_s,
                // The worst figure on sale remains.
                None
            )
        );
        assert!(
            toml.contains("# The links of ")
                && toml.contains("Taken for granted")
                && toml.contains("gpu_memory_bytes, the memory"),
            "{toml}"
        );
        let default = default_assumptions(20);
        let assumptions = assumed.applied_to(&default);
        assert!(broken_by(profile, &assumptions).is_empty(), "{}", profile.name);
        // A flawless device, judged by this policy.
        let flawless = Expected::of(profile).expect("figures");
        let certified = flawless.certified(&assumptions);
        let tested = Tested {
            dataset_bytes: flawless.dataset_bytes,
            offered_bytes: flawless.dataset_bytes,
            samples: flawless.samples,
            inner_dim: 16_384,
            assumptions,
        };
        // If no rate is known, there is none to fall short of.
        let classification = Classification::new(&certified, &profiles, &policy.shares);
        let reason = judge(profile, &certified, &tested, &classification, &profiles, &policy.shares);
        let is_affirmed = reason.tier() == Tier::Affirming;
        assert!(is_affirmed || reason.tier() == Tier::None, "{}: {reason}", profile.name);
        assert_eq!(
            toml.contains("# An honest device can be affirmed under it."),
            is_affirmed,
            "{}",
            profile.name
        );
        assert_ne!(
            toml.contains("an honest one is not-tested"),
            is_affirmed,
            "{}",
            profile.name
        );
        if is_affirmed {
            affirmed.push(&profile.name[..]);
        }
    }
    assert_eq!(affirmed, ["h200", "h100-nvl", "b200", "b300"]);
    for (class, says) in [
        ("x1", "no class \"x1\"; known are h200, "),
        ("cpu", "class cpu has no figures"),
    ] {
        let refused = place.validator(&["policy", "default", "--class", class]);
        assert_eq!((code(&refused), &refused.stdout[..]), (2, &b""[..]));
        assert!(text(&refused.stderr).contains(says), "{}", text(&refused.stderr));
    }
}

/// A policy may ask for a class that exists only in the user's profiles.
#[test]
fn policies_know_the_users_classes() {
    let place = Place::new();
    fs::create_dir(place.path("profiles")).expect("a folder");
    let profile = "name = \"x1\"\ntitle = \"X1\"\nkind = \"gpu\"\nstatus = \"datasheet\"\nmodels = [\"X1\"]\n\
        [capacity]\nmemory_bytes = 1000\nbandwidth_bytes_per_s = 1000\n[source]\nnote = \"made up\"\n";
    place.put("profiles/x1.toml", profile);
    place.put("p.toml", "[device]\nclass = \"x1\"\n");
    let without = place.validator(&["policy", "check", "p.toml"]);
    assert_eq!(code(&without), 2);
    assert!(text(&without.stderr).contains("p.toml:2:1: device.class: \"x1\" is none of h200, "));
    assert_eq!(
        code(&place.validator(&["policy", "check", "p.toml", "--profiles", "profiles"])),
        0
    );
}
