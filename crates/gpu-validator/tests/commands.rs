//! Both commands, run like a user runs them: exit codes, files, standard output and standard error.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{Place, SMALL, attester, code, json, text};
use serde_json::Value;

/// The table and the plot of docs/verification.md equal the output of the command given there.
#[test]
fn the_cost_curve_of_the_docs_is_what_plan_computes() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let text = fs::read_to_string(docs.join("verification.md")).expect("the docs");
    let command = "gpu-validator plan --class H200 --threads 2 --tile-ms 2.2 --svg docs/bound-against-cost.svg";
    assert!(text.contains(command));
    let place = Place::new();
    let planned = place.validator(&[
        "plan",
        "--class",
        "H200",
        "--threads",
        "2",
        "--tile-ms",
        "2.2",
        "--svg",
        "p.svg",
    ]);
    assert_eq!(code(&planned), 0, "{}", text_of(&planned));
    let plot = |path: PathBuf| fs::read(path).expect("a plot");
    assert!(plot(place.path("p.svg")) == plot(docs.join("bound-against-cost.svg")));

    let cells = |line: &str, separator: &str| -> Vec<String> {
        // The plan marks its proposal.
        let line = line.trim_end_matches(" <").trim_matches('|');
        let cells = line.split(separator).map(|cell| cell.trim().to_owned());
        cells.filter(|cell| !cell.is_empty()).collect()
    };
    let begins_with_samples = |line: &&str| line.trim_start_matches("| ").starts_with(|c: char| c.is_ascii_digit());
    let computed: Vec<Vec<String>> = text_of(&planned)
        .lines()
        .filter(begins_with_samples)
        .map(|line| cells(line, "  "))
        .collect();
    let written: Vec<Vec<String>> = text
        .lines()
        .skip_while(|line| !line.starts_with("| samples | f*"))
        .take_while(|line| line.starts_with('|'))
        .filter(begins_with_samples)
        .map(|line| cells(line, "|"))
        .collect();
    // Ten rows, and the proposed one.
    assert_eq!(computed.len(), 11);
    assert_eq!(written, computed);
}

fn text_of(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// The engine that recomputes is named, and a requested engine is never replaced with another.
#[test]
fn verify_says_which_engine_it_took_and_wants_the_one_asked_for() {
    let place = Place::new();
    let attested = place.attester(&[&["attest", "--evidence", "e.cbor", "--json"], &SMALL[..]].concat());
    assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
    let expected = json(&attested);

    let auto = place.validator(&["verify", "e.cbor", "--json", "--engine", "auto"]);
    let (took, cuda) = (
        text(&auto.stderr),
        ["verify", "e.cbor", "--full", "--json", "--engine", "cuda"],
    );
    assert_eq!(code(&auto), 0, "{took}");
    assert_eq!(json(&auto), expected);
    let is_on_gpus = took.contains("engine: cuda");
    assert!(
        is_on_gpus || (took.contains("engine: cpu") && took.contains("(auto: ")),
        "{took}"
    );
    let is_required = std::env::var("GPU_ATTESTOR_REQUIRE_CUDA").is_ok_and(|value| value == "1");
    assert!(
        is_on_gpus || !is_required || !cfg!(feature = "cuda"),
        "GPU_ATTESTOR_REQUIRE_CUDA=1, but {took}"
    );

    let asked = place.validator(&cuda);
    if is_on_gpus {
        assert_eq!(code(&asked), 0, "{}", text(&asked.stderr));
        assert_eq!(json(&asked)["full_reexecution"]["agrees"], true);
    } else {
        assert_eq!(code(&asked), 2);
        assert!(text(&asked.stderr).contains("--engine cuda"), "{}", text(&asked.stderr));
        assert_eq!(json(&asked)["error"]["code"], "failed");
    }
}

#[test]
fn attest_verify_inspect_and_a_changed_byte() {
    let place = Place::new();
    let attested = place.attester(&[&["attest", "--evidence", "e.cbor", "--json"], &SMALL[..]].concat());
    assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
    let attested = json(&attested);
    assert_eq!(attested["verdict"], "affirmed");

    let verified = place.validator(&["verify", "e.cbor", "--json"]);
    assert_eq!(code(&verified), 0, "{}", text(&verified.stderr));
    assert_eq!(json(&verified), attested);

    // The evidence must be from the requested party.
    let identity = text(&place.attester(&["identity"]).stdout).trim().to_owned();
    assert_eq!(attested["attester"], identity.as_str());
    assert_eq!(
        code(&place.validator(&["verify", "e.cbor", "--attester", &identity])),
        0
    );
    let other = place.validator(&["verify", "e.cbor", "--verifier", &identity, "--json"]);
    assert_eq!((code(&other), &json(&other)["reason"]), (2, &"unknown-verifier".into()));
    assert_eq!(code(&place.validator(&["verify", "e.cbor", "--verifier", "no key"])), 2);

    let inspected = json(&place.validator(&["inspect", "e.cbor", "--json"]));
    assert_eq!(inspected["checksum"], attested["checksum"]);
    // 32 leaves in each of 8 + 2 sweeps, all of them sampled.
    assert_eq!(inspected["samples"].as_array().map(Vec::len), Some(320));
    assert!(inspected["samples"][0]["openings"]["fill_a"]["leaf_digest"].is_string());
    assert_eq!(code(&place.validator(&["inspect", "e.cbor"])), 0);

    // Full re-execution, first from the start, then with the file of finished jobs; the file of other evidence is refused.
    let full = ["verify", "e.cbor", "--full", "--resume", "e.done", "--json"];
    for (tiles, [taken, jobs_done]) in [(768, [0, 2]), (0, [2, 0])] {
        let done = &json(&place.validator(&full))["full_reexecution"];
        assert_eq!((&done["agrees"], &done["unfinished"]), (&true.into(), &Value::Null));
        assert_eq!(done["tiles"], tiles);
        let jobs = ["jobs", "jobs_taken", "jobs_done"].map(|name| done[name].as_u64());
        assert_eq!(jobs, [Some(2), Some(taken), Some(jobs_done)]);
    }
    let told = |place: &Place| text(&place.validator(&full[..5]).stdout);
    let all = told(&place);
    let expected = "full         every root agrees; 2 of 2 jobs taken from e.done; nothing was left to do\n";
    assert!(all.ends_with(expected), "{all}");
    let mut done: Value = serde_json::from_slice(&fs::read(place.path("e.done")).expect("the file")).expect("JSON");
    done["done"].as_array_mut().expect("jobs").truncate(1);
    fs::write(place.path("e.done"), done.to_string()).expect("a write");
    let rest = told(&place);
    let expected = "full         every root agrees; 1 of 2 jobs taken from e.done; ";
    assert!(
        rest.contains(expected) && rest.contains(" tiles filled and swept again"),
        "{rest}"
    );
    fs::write(place.path("e.done"), r#"{"evidence":"00","done":[]}"#).expect("a write");
    assert_eq!(code(&place.validator(&full)), 2);

    let mut bytes = fs::read(place.path("e.cbor")).expect("evidence");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(place.path("changed.cbor"), bytes).expect("a write");
    let refused = place.validator(&["verify", "changed.cbor"]);
    // The seal is invalid: damage looks the same, so no party is accused.
    assert_eq!(code(&refused), 2);
    assert!(text(&refused.stdout).starts_with("verdict      none (damaged-evidence): "));
    assert_eq!(code(&place.validator(&["inspect", "changed.cbor"])), 2);
}

/// SIGINT while tiles are recomputed: the output states what was checked, and gives no verdict that the checks do not
/// support.
#[cfg(unix)]
#[test]
fn ctrl_c_says_what_was_checked_and_exits_2() {
    let place = Place::new();
    let attested = place.attester(&["attest", "--evidence", "e.cbor", "--cpu-memory", "16MiB"]);
    assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
    let (stopped, printed) = stopped(&place, "", "recomputing");
    assert_eq!(stopped, 2, "{printed}");
    assert!(
        printed.starts_with("verdict      none (stopped): checked "),
        "{printed}"
    );
    assert!(printed.contains("bound so far V "), "{printed}");

    // During full re-execution the samples already have their verdict, and keep it.
    let (stopped, printed) = self::stopped(&place, "--full", "doing all fills and sweeps again");
    assert_eq!(stopped, 2, "{printed}");
    assert!(printed.contains("verdict      affirmed: "), "{printed}");
    assert!(printed.contains("full         stopped, no verdict: "), "{printed}");
    assert!(printed.contains(" of 2 jobs done\n"), "{printed}");
}

/// The exit code and standard output of `verify e.cbor` when it receives SIGINT after this output.
#[cfg(unix)]
fn stopped(place: &Place, options: &str, says: &str) -> (i32, String) {
    let script = format!(
        "{} verify e.cbor --threads 1 {options} > out 2> err & pid=$!; \
         until grep -q '{says}' err; do sleep 0.01; done; kill -INT $pid; wait $pid",
        env!("CARGO_BIN_EXE_gpu-validator")
    );
    // A delayed shell may send the signal after everything is done, but not five times in a row.
    (0..5)
        .map(|_| {
            let stopped = place.run(Path::new("bash"), &["-c", &script]);
            let printed = text(&fs::read(place.path("out")).expect("its output"));
            (code(&stopped), printed)
        })
        .find(|(code, _)| *code != 0)
        .expect("a signal comes before the end")
}

/// A class whose rates were not measured can be planned with, and the output says so; figures that its datasheet lacks must
/// be given.
#[test]
fn plan_takes_every_class_and_says_where_its_figures_come_from() {
    let place = Place::new();
    let plan =
        |arguments: &[&str]| place.validator(&[&["plan", "--tile-ms", "2", "--threads", "2"], arguments].concat());
    for (class, status) in [
        ("H200", "measured"),
        ("a100-80", "datasheet"),
        ("rtx-4090", "datasheet"),
    ] {
        let planned = plan(&["--class", class, "--json"]);
        assert_eq!(code(&planned), 0, "{class}: {}", text(&planned.stderr));
        assert_eq!(json(&planned)["class"]["status"], status);
        let told = text(&plan(&["--class", class]).stdout);
        assert!(told.starts_with("class        "), "{told}");
        assert_eq!(told.contains("estimated"), status == "datasheet", "{told}");
    }
    let narrowed = text(&plan(&["--class", "b200"]).stderr);
    let expected = "links of 64.00 GB/s in and 64.00 GB/s out, the class's: judge by --policy b200";
    assert!(narrowed.contains(expected), "{narrowed}");
    assert_eq!(code(&plan(&["--class", "b300", "--fill-tops", "300"])), 0);
}

#[test]
fn three_devices_behind_a_command() {
    let place = Place::new();
    let agent = attester().to_str().expect("a path in UTF-8");
    let session = [
        "attest",
        "--device-memory",
        "4MiB",
        "--evidence",
        "e.cbor",
        "--json",
        "--",
    ];
    let serve = [
        agent,
        "agent",
        "--stdio",
        "--engine",
        "cpu",
        "--cpu-devices",
        "3",
        "--cpu-memory",
        "4MiB",
    ];
    let attested = place.validator(&[&session[..], &serve].concat());
    assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
    let devices = json(&attested)["devices"].as_array().map(Vec::len);
    assert_eq!(devices, Some(3));
    assert!(text(&attested.stderr).contains("the Verifier says: affirmed"));

    // Only one of them, and one that does not exist.
    let some = [&["attest", "--devices", "1"], &session[1..], &serve].concat();
    let attested = json(&place.validator(&some));
    assert_eq!(attested["devices"][0]["ordinal"], 1);
    let none = [&["attest", "--devices", "7"], &session[1..], &serve].concat();
    let refused = place.validator(&none);
    assert_eq!(code(&refused), 2);
    assert_eq!(json(&refused)["reason"], "no-plan");
}

#[test]
fn the_offline_form_and_its_expiry() {
    let place = Place::new();
    let challenge = place.validator(&["challenge", "--device-memory", "4MiB"]);
    assert_eq!(code(&challenge), 0, "{}", text(&challenge.stderr));
    fs::write(place.path("c.json"), &challenge.stdout).expect("a write");
    let proved = place.attester(&["prove", "--challenge", "c.json", "--evidence", "o.cbor"]);
    assert_eq!(code(&proved), 0, "{}", text(&proved.stderr));
    let verified = place.validator(&["verify", "o.cbor", "--challenge", "c.json", "--json"]);
    assert_eq!(code(&verified), 0, "{}", text(&verified.stdout));
    let verified = json(&verified);
    assert_eq!(
        (verified["mode"].as_str(), verified["error_bits"].as_u64()),
        (Some("offline"), Some(80))
    );
    assert!(verified["host"].is_null(), "offline evidence certifies no figures");

    let late = place.validator(&["verify", "o.cbor", "--received", "2200-01-01T00:00:00Z"]);
    assert_eq!(code(&late), 1);
    assert!(text(&late.stdout).contains("expired"));

    // Another challenge, and one that was changed.
    let other = place.validator(&["challenge", "--device-memory", "4MiB"]);
    fs::write(place.path("other.json"), &other.stdout).expect("a write");
    assert_eq!(
        code(&place.validator(&["verify", "o.cbor", "--challenge", "other.json"])),
        1
    );
    let mut changed = json(&other);
    let hex = changed["challenge"].as_str().expect("hex").replacen('0', "1", 1);
    changed["challenge"] = hex.into();
    fs::write(place.path("changed.json"), changed.to_string()).expect("a write");
    let refused = place.attester(&["prove", "--challenge", "changed.json", "--evidence", "x.cbor"]);
    assert_eq!(code(&refused), 2);
    assert!(!place.path("x.cbor").exists());
}

/// A file-size limit simulates a full disk: the write fails in the middle.
#[test]
fn a_full_disk_leaves_no_evidence() {
    let place = Place::new();
    fs::write(place.path("e.cbor"), b"old").expect("a write");
    let script = format!(
        "trap '' XFSZ; ulimit -f 8; exec {} attest --evidence e.cbor {}",
        attester().display(),
        SMALL.join(" ")
    );
    let output = place.run(Path::new("bash"), &["-c", &script]);
    assert_eq!(code(&output), 2, "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("nothing was kept"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(fs::read(place.path("e.cbor")).expect("the old file"), b"old");
    let left: Vec<_> = fs::read_dir(place.0.path())
        .expect("a folder")
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert_eq!(left.len(), 2, "expected e.cbor and the keys' folder, found {left:?}");
}

#[test]
fn completions_and_pages_are_generated() {
    let place = Place::new();
    let completions = place.attester(&["generate", "completions", "bash"]);
    assert!(text(&completions.stdout).contains("gpu-attestor"));
    assert_eq!(code(&place.validator(&["generate", "man", "man"])), 0);
    assert!(place.path("man/gpu-validator-verify.1").exists());
}
