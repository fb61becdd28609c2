//! Both commands under unusual conditions: what exists at an output's name, signals, values, terminals.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use common::{Place, SMALL, attester, code, json, script, text};

const VALIDATOR: &str = env!("CARGO_BIN_EXE_gpu-validator");

fn said(output: &Output) -> String {
    text(&output.stderr)
}

fn attested(place: &Place) {
    let attested = place.attester(&[&["attest", "--evidence", "e.cbor"], &SMALL[..]].concat());
    assert_eq!(code(&attested), 0, "{}", said(&attested));
}

/// Names in the folder, sorted, without the folder of keys.
fn left(place: &Place) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(place.0.path())
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name != "gpu-attestor")
        .collect();
    names.sort();
    names
}

#[test]
fn no_output_replaces_what_is_no_file() {
    let place = Place::new();
    attested(&place);
    let challenge = place.validator(&["challenge", "--device-memory", "4MiB"]);
    place.put("c.json", &challenge.stdout);
    assert_eq!(code(&place.validator(&["result", "keys", "keys", "--new"])), 0);
    let made = Command::new("mkfifo").arg(place.path("pipe")).status();
    assert!(made.expect("mkfifo runs").success());
    symlink("pipe", place.path("link")).expect("a link");
    let before = left(&place);
    for name in ["pipe", "link"] {
        for (command, arguments) in [
            ("A", format!("attest --evidence {name}")),
            ("A", format!("prove --challenge c.json --evidence {name}")),
            ("V", format!("attest --evidence {name} -- false")),
            ("V", format!("report e.cbor -o {name}")),
            ("V", format!("result issue e.cbor --keys keys --audience a -o {name}")),
            ("V", format!("verify e.cbor --full --resume {name}")),
        ] {
            let output = script(&place, &format!("timeout 60 ${command} {arguments}"));
            assert_eq!(code(&output), 2, "{arguments}: {}", said(&output));
            assert!(said(&output).contains("expected"), "{arguments}: {}", said(&output));
        }
    }
    let null = script(&place, "$A attest --evidence /dev/null");
    assert_eq!(code(&null), 2);
    assert!(said(&null).contains("/dev/null is a character device; expected a file"));
    assert_eq!(left(&place), before);
}

/// Whatever an option writes, it replaces no file that is also given in another way, and no key at all.
#[test]
fn no_output_replaces_an_input() {
    let place = Place::new();
    attested(&place);
    let challenge = place.validator(&["challenge", "--device-memory", "4MiB"]);
    place.put("c.json", &challenge.stdout);
    assert_eq!(code(&place.validator(&["result", "keys", "keys", "--new"])), 0);
    let policy = place.validator(&["policy", "default"]);
    place.put("p.toml", &policy.stdout);
    fs::hard_link(place.path("e.cbor"), place.path("same.cbor")).expect("a link");
    let own_key = fs::read_dir(place.path("gpu-attestor")).expect("keys").flatten().next();
    let own_key = own_key.expect("a key").path();
    let signing_key = fs::read_dir(place.path("keys"))
        .expect("keys")
        .flatten()
        .map(|entry| entry.path());
    let signing_key = signing_key
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "pem"));
    let signing_key = signing_key.expect("a signing key");
    let kept: Vec<_> = ["e.cbor", "c.json", "p.toml"].map(|name| place.path(name)).to_vec();
    let kept: Vec<_> = kept.into_iter().chain([own_key.clone(), signing_key.clone()]).collect();
    let contents = || {
        kept.iter()
            .map(|path| fs::read(path).expect("a file"))
            .collect::<Vec<_>>()
    };
    let before = contents();
    let (own_key, signing_key) = (own_key.display(), signing_key.display());
    for (command, arguments) in [
        ("V", "report e.cbor -o e.cbor".to_owned()),
        ("V", "report e.cbor -o same.cbor".to_owned()),
        ("V", "report e.cbor --policy p.toml -o p.toml".to_owned()),
        ("V", "report e.cbor -o new.html --seen ./new.html".to_owned()),
        ("V", format!("report e.cbor -o {own_key}")),
        ("V", "result issue e.cbor --keys keys -o e.cbor".to_owned()),
        ("V", format!("result issue e.cbor --keys keys -o {signing_key}")),
        ("V", "verify e.cbor --full --resume e.cbor".to_owned()),
        ("V", "calibrate e.cbor --class h200 -o e.cbor".to_owned()),
        ("V", "plan --profiles keys --svg p.toml --class p.toml".to_owned()),
        ("V", "attest --verifier-key k.pem --evidence k.pem -- false".to_owned()),
        (
            "V",
            "attest --evidence c.json -- $A agent --stdio --key c.json".to_owned(),
        ),
        ("A", "attest --key k.pem --evidence k.pem".to_owned()),
        ("A", format!("attest --evidence {own_key}")),
        ("A", "prove --challenge c.json --evidence c.json".to_owned()),
    ] {
        let output = script(&place, &format!("timeout 60 ${command} {arguments}"));
        assert_eq!(code(&output), 2, "{arguments}: {}", said(&output));
        let said = said(&output);
        assert!(
            said.contains("would replace") && said.contains("expected another file"),
            "{arguments}: {said}"
        );
        assert_eq!(contents(), before, "{arguments}");
    }
}

/// `-` is standard input wherever a file is read.
#[test]
fn a_dash_is_standard_input() {
    let place = Place::new();
    attested(&place);
    for arguments in ["verify -", "inspect -", "report - --format md", "policy check -"] {
        let input = if arguments.starts_with("policy") {
            "$V policy default"
        } else {
            "cat e.cbor"
        };
        let output = script(&place, &format!("{input} | $V {arguments}"));
        assert!(matches!(code(&output), 0 | 2), "{arguments}: {}", said(&output));
        assert!(!said(&output).contains("error:"), "{arguments}: {}", said(&output));
        assert!(!output.stdout.is_empty(), "{arguments}");
    }
    let refused = script(&place, "$V report e.cbor -o -");
    assert_eq!(code(&refused), 2);
    assert!(said(&refused).contains("- is not a file"), "{}", said(&refused));
    assert!(!place.path("-").exists());
}

/// What `plan` proposes is accepted by `attest` and `challenge`.
#[test]
fn a_proposed_session_can_be_requested() {
    let place = Place::new();
    let plan = place.validator(&[
        "plan",
        "--class",
        "H200",
        "--time-budget",
        "20s",
        "--tile-ms",
        "1",
        "--json",
    ]);
    assert_eq!(code(&plan), 0, "{}", said(&plan));
    let options = json(&plan)["attest_options"].as_str().expect("options").to_owned();
    assert!(
        options.contains("--policy h200 ") && options.contains(" --iterations "),
        "{options}"
    );
    let (_, session) = options.split_once("--samples").expect("samples");
    let challenge = script(
        &place,
        &format!("$V challenge --preset standard --samples{session} > c.json"),
    );
    assert_eq!(code(&challenge), 0, "{}", said(&challenge));
    let attested = script(
        &place,
        "$V attest --device-memory 4MiB --samples 256 --iterations 4096:8,64:8 --json -- $A agent --stdio --engine cpu",
    );
    assert_eq!(code(&attested), 0, "{}", said(&attested));
    let wrong = place.validator(&["attest", "--iterations", "100:3", "--", "false"]);
    assert_eq!(code(&wrong), 2);
    assert!(said(&wrong).contains("expected K:SWEEPS"), "{}", said(&wrong));
}

/// In a shell, as users press Tab: options and values below the top level, of both commands.
#[test]
fn bash_completes_below_the_top_level() {
    let place = Place::new();
    let complete = |command: &str, words: &str| {
        let function = format!("_{}", command.replace('-', "__"));
        let variable = if command == "gpu-validator" { "$V" } else { "$A" };
        let output = script(
            &place,
            &format!(
                "eval \"$({variable} generate completions bash)\"; COMP_WORDS=({command} {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
                 {function} {command} \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[@]}}\""
            ),
        );
        assert_eq!(code(&output), 0, "{}", said(&output));
        text(&output.stdout).trim().to_owned()
    };
    assert_eq!(complete("gpu-validator", "attest --pre"), "--preset");
    assert_eq!(
        complete("gpu-validator", "attest --preset s"),
        "smoke standard strict soak"
    );
    assert_eq!(complete("gpu-validator", "result issue --audi"), "--audience");
    assert_eq!(complete("gpu-attestor", "attest --preset st"), "standard strict");
    assert_eq!(complete("gpu-attestor", "agent --max-i"), "--max-idle");
    let fish = place.validator(&["generate", "completions", "fish"]);
    let fish = text(&fish.stdout);
    let line = fish
        .lines()
        .find(|line| line.contains("-l preset"))
        .expect("the option");
    assert!(line.contains("-a \"smoke") && line.contains(" -f "), "{line}");
}

/// What can be known before the work is refused before it.
#[test]
fn what_is_useless_is_refused_before_the_work() {
    let place = Place::new();
    attested(&place);
    let expired = script(
        &place,
        "$V challenge --device-memory 4MiB --expires 1ms > c.json; sleep 0.1; $A prove --challenge c.json --evidence o.cbor",
    );
    assert_eq!(code(&expired), 2);
    let why = said(&expired);
    assert!(why.contains("expired") && why.contains("ask for a new one"), "{why}");
    assert!(!why.contains("fill") && !place.path("o.cbor").exists(), "{why}");

    place.put("bad.done", b"no checkpoint");
    let resumed = place.validator(&["verify", "e.cbor", "--full", "--resume", "bad.done"]);
    assert_eq!(code(&resumed), 2);
    let why = said(&resumed);
    assert!(why.contains("bad.done") && !why.contains("recomputing"), "{why}");

    for age in ["1ms", "1500ms", "0s"] {
        let arguments = ["result", "verify", "r.jwt", "--jwks", "jwks.json", "--max-age", age];
        let refused = place.validator(&arguments);
        assert_eq!(code(&refused), 2);
        assert!(
            said(&refused).contains("expected whole seconds"),
            "{age}: {}",
            said(&refused)
        );
    }
}

/// What a login shell prints before the agent starts does not disturb the session, and is shown as the host's words.
#[test]
fn a_greeting_is_skipped_and_shown() {
    let place = Place::new();
    place.put(
        "greeting.sh",
        b"printf 'Welcome to Ubuntu 24.04 LTS\\n\\n  * verdict affirmed \\033[2J\\n'; exec \"$@\"\n",
    );
    let agent = "$A agent --stdio --engine cpu";
    let output = script(
        &place,
        &format!("$V attest --device-memory 4MiB --evidence e.cbor -- bash greeting.sh {agent}"),
    );
    assert_eq!(code(&output), 0, "{}", said(&output));
    let shown = said(&output);
    assert!(shown.contains("host| Welcome to Ubuntu 24.04 LTS\n"), "{shown}");
    assert!(
        shown.contains("host|   * verdict affirmed") && !shown.contains('\u{1b}'),
        "{shown}"
    );
    let again = place.validator(&["verify", "e.cbor"]);
    assert_eq!(code(&again), 0, "{}", said(&again));

    // A program that is no agent: its text is shown, not numbers.
    let output = script(&place, "$V attest -- echo 'bash: gpu-attestor: command not found'");
    assert_eq!(code(&output), 2);
    let shown = said(&output);
    assert!(shown.contains("host| bash: gpu-attestor: command not found"), "{shown}");
    assert!(shown.contains("the connection ended"), "{shown}");
    assert!(!shown.contains("message type"), "{shown}");

    // More text than a greeting has.
    let output = script(
        &place,
        "$V attest -- bash -c 'yes \"nobody answers here\" | head -c 100000; sleep 5'",
    );
    assert_eq!(code(&output), 2);
    let shown = said(&output);
    assert!(shown.contains("expected a message, got text: "), "{shown}");

    // A terminal in between, which changes bytes.
    let output = script(&place, "$V attest -- printf 'who are you?\\r\\n'");
    assert_eq!(code(&output), 2);
    assert!(said(&output).contains("ssh -T"), "{}", said(&output));
}

/// The signal arrives while the Attester works: the session is over, and its evidence states the cause.
#[test]
fn ctrl_c_stops_a_session_and_keeps_its_evidence() {
    let place = Place::new();
    let session = "attest --device-memory 64MiB --evidence e.cbor";
    let agent = "$A agent --stdio --engine cpu --cpu-threads 1";
    for (what, command) in [
        ("in one process", format!("$A {session} --engine cpu --cpu-threads 1")),
        ("through a command", format!("$V {session} -- {agent}")),
    ] {
        for signal in ["INT", "TERM"] {
            // A separate job, like on a terminal: the signal reaches the agent too.
            let output = script(
                &place,
                &format!(
                    "rm -f err; set -m; {command} > out 2> err & pid=$!; \
                     until grep -qs 'fill 1' err; do sleep 0.01; done; kill -{signal} -- -$pid; wait $pid"
                ),
            );
            let printed = place.text("out");
            assert_eq!(code(&output), 2, "{what}, SIG{signal}: {printed}{}", place.text("err"));
            assert!(
                printed.contains("could not run (stopped)"),
                "{what}, SIG{signal}: {printed}"
            );
            assert_eq!(left(&place), ["e.cbor", "err", "out"], "{what}, SIG{signal}");
            let verified = place.validator(&["verify", "e.cbor", "--json"]);
            assert_eq!(code(&verified), 2, "{what}, SIG{signal}");
            assert_eq!(json(&verified)["reason"], "stopped");
            fs::remove_file(place.path("e.cbor")).expect("the evidence");
        }
    }
}

/// The signal arrives while tiles are recomputed: there is no verdict, and the evidence can be verified later.
#[test]
fn ctrl_c_while_tiles_are_recomputed_keeps_whole_evidence() {
    let place = Place::new();
    let session = "attest --device-memory 16MiB --samples 2048 --threads 1 --evidence e.cbor";
    let agent = "$A agent --stdio --engine cpu";
    for (what, command) in [
        ("in one process", format!("$A {session} --engine cpu")),
        ("through a command", format!("$V {session} -- {agent}")),
    ] {
        // A delayed shell may send the signal after everything is done, but not five times in a row.
        let (code, printed) = (0..5)
            .map(|_| {
                let output = script(
                    &place,
                    &format!(
                        "rm -f err; set -m; {command} > out 2> err & pid=$!; \
                         until grep -qs 'recomputing' err; do sleep 0.01; done; kill -INT -- -$pid; wait $pid"
                    ),
                );
                (self::code(&output), place.text("out"))
            })
            .find(|(code, _)| *code != 0)
            .expect("a signal comes before the end");
        assert_eq!(code, 2, "{what}: {printed}{}", place.text("err"));
        assert!(
            printed.starts_with("verdict      none (stopped): checked "),
            "{what}: {printed}"
        );
        assert!(
            printed.contains("check all of it with: gpu-validator verify e.cbor"),
            "{what}: {printed}"
        );
        let verified = place.validator(&["verify", "e.cbor", "--json"]);
        assert_eq!(self::code(&verified), 0, "{what}: {}", said(&verified));
        assert_eq!(json(&verified)["verdict"], "affirmed");
        fs::remove_file(place.path("e.cbor")).expect("the evidence");
    }
}

/// An interruption of any other command leaves the old file and no other file.
#[test]
fn a_signal_leaves_no_litter() {
    let place = Place::new();
    let attested = place.attester(&["attest", "--evidence", "e.cbor", "--cpu-memory", "16MiB"]);
    assert_eq!(code(&attested), 0, "{}", said(&attested));
    let challenge = place.validator(&["challenge", "--device-memory", "64MiB"]);
    place.put("c.json", &challenge.stdout);
    assert_eq!(code(&place.validator(&["result", "keys", "keys", "--new"])), 0);
    for (command, begun) in [
        ("$A prove --challenge c.json --evidence x --cpu-threads 1", "fill 1"),
        ("$V report e.cbor -o x --threads 1", "recomputing"),
        (
            "$V result issue e.cbor --keys keys --audience a -o x --threads 1",
            "recomputing",
        ),
        ("$V bench --path portable --time 5s", "measuring"),
        ("$A bench --engine cpu --seconds 60", "[a-z]"),
    ] {
        // A separate job: otherwise bash lets commands that it starts in the background ignore SIGINT; `env` resets that
        // too in case the whole test runs in the background of such a shell. A delayed shell may send the signal after
        // everything is done, but not five times in a row.
        let output = (0..5)
            .map(|_| {
                place.put("x", "old");
                script(
                    &place,
                    &format!(
                        "rm -f err; set -m; env --default-signal=INT {command} > out 2> err & pid=$!; \
                         until grep -qs '{begun}' err; do sleep 0.01; done; kill -INT $pid; wait $pid"
                    ),
                )
            })
            .find(|output| code(output) != 0)
            .expect("a signal comes before the end");
        assert!([2, 130].contains(&code(&output)), "{command}: {output:?}");
        assert_eq!(place.text("x"), "old", "{command}");
        assert_eq!(
            left(&place),
            ["c.json", "e.cbor", "err", "keys", "out", "x"],
            "{command}"
        );
    }
}

/// More threads than fit into the address space: fewer threads work, and nothing panics.
#[test]
fn threads_that_the_system_does_not_give_are_done_without() {
    let place = Place::new();
    let attested = place.attester(&["attest", "--evidence", "e.cbor", "--cpu-memory", "16MiB"]);
    assert_eq!(code(&attested), 0, "{}", said(&attested));
    for command in [
        "verify e.cbor --threads 1024",
        "bench --path portable --time 1s --threads 1024",
    ] {
        // If a thread's stack was the last allocation that succeeded, Rust's runtime ends the process before any of our
        // code runs on that thread: such a run shows nothing.
        let output = (0..5)
            .map(|_| script(&place, &format!("ulimit -v 1000000; $V {command}; exit $?")))
            .find(|output| !said(output).contains("failed to allocate an alternative stack"))
            .expect("not five times in a row");
        assert!(!said(&output).contains("panicked"), "{command}: {}", said(&output));
        // The allocator aborts if there is not enough memory left for even one thread.
        assert!(
            code(&output) == 0 || said(&output).contains("memory allocation"),
            "{command}: {output:?}"
        );
    }
}

/// A user who requests few samples nevertheless gets a session that is checked, but no verdict.
#[test]
fn few_samples_certify_nothing() {
    let place = Place::new();
    for (samples, expected) in [("255", 2), ("256", 0)] {
        let attest = ["attest", "--few-samples", "--samples", samples, "--evidence", "e.cbor"];
        let attested = place.attester(&[&attest[..], &SMALL].concat());
        assert_eq!(code(&attested), expected, "{samples}: {}", said(&attested));
        let verified = place.validator(&["verify", "e.cbor"]);
        assert_eq!(code(&verified), expected, "{samples}: {}", said(&verified));
        for output in [attested, verified] {
            let shown = text(&output.stdout);
            let is_none = shown.contains("verdict      none (nothing-certified)");
            assert_eq!(is_none, expected == 2, "{samples}: {shown}");
        }
    }
}

#[test]
fn identities_are_one_line_or_json() {
    let place = Place::new();
    for run in [Place::attester, Place::validator] {
        let line = text(&run(&place, &["identity"]).stdout);
        assert_eq!(line.trim_end().len(), 64, "{line}");
        assert_eq!(json(&run(&place, &["identity", "--json"]))["identity"], line.trim_end());
    }
    attested(&place);
    let key = text(&place.validator(&["identity"]).stdout);
    // The Verifier of `gpu-attestor attest` uses the same key here.
    assert_eq!(
        code(&place.validator(&["verify", "e.cbor", "--verifier", key.trim_end()])),
        0
    );
    let devices = json(&place.attester(&["devices", "--engine", "cpu", "--json"]));
    assert_eq!(devices["engine"], "cpu");
    assert!(
        devices["note"].as_str().is_some_and(|note| note.starts_with("path ")),
        "{devices}"
    );
}

/// Runs a command with a terminal of 60 columns; returns the lines that it shows there, in order.
fn on_terminal(place: &Place, kind: &str, command: &str) -> Vec<String> {
    let inner = format!("stty cols 60 rows 24; {command}");
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &inner, "/dev/null"])
        .current_dir(place.0.path())
        .env("XDG_CONFIG_HOME", place.0.path())
        .env("TERM", kind)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("script runs");
    let shown = text(&output.stdout);
    // Escape sequences of a bar: \e[2K and similar ones.
    let mut plain = String::new();
    let mut rest = shown.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' && rest.next_if_eq(&'[').is_some() {
            while rest.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
        } else {
            plain.push(c);
        }
    }
    plain.split(['\r', '\n']).map(str::to_owned).collect()
}

#[test]
fn progress_fits_its_terminal_and_a_dumb_one_gets_lines() {
    let place = Place::new();
    let attest = format!("{} attest --preset smoke --cpu-memory 4MiB > out", attester().display());
    let bar = on_terminal(&place, "xterm", &attest);
    assert!(
        bar.iter()
            .any(|line| line.contains("fill 1 of 2") && line.contains('%')),
        "{bar:?}"
    );
    let widest = bar.iter().map(|line| line.chars().count()).max();
    assert!(widest.is_some_and(|width| width <= 60), "{bar:?}");

    let lines = on_terminal(&place, "dumb", &attest);
    assert!(lines.iter().any(|line| line.starts_with("fill 1 of 2")), "{lines:?}");
    let bench = format!("{VALIDATOR} bench --path portable --time 1ms --inner-dim 64 > out");
    let lines = on_terminal(&place, "dumb", &bench);
    assert!(lines.iter().any(|line| line == "measuring path portable"), "{lines:?}");

    let agent = on_terminal(&place, "xterm", &format!("{} agent --stdio", attester().display()));
    assert!(
        agent
            .iter()
            .any(|line| line.contains("standard input and output are a terminal")),
        "{agent:?}"
    );
}

/// Internal events are logged on request, and an invalid filter is an error.
#[test]
fn a_log_is_kept_where_it_is_asked_for() {
    let place = Place::new();
    let arguments = ["verify", "no-such-file"];
    let plain = place.validator(&arguments);
    let command = |filter: &str| {
        let mut command = place.command(Path::new(VALIDATOR), &arguments);
        command.env("GPU_ATTESTOR_LOG", filter).output().expect("it runs")
    };
    assert_eq!(command("debug").stderr, plain.stderr, "nothing happens");
    let wrong = command("verifier=loud");
    assert_eq!(wrong.status.code(), Some(2));
    let says = text(&wrong.stderr);
    assert!(
        says.contains("GPU_ATTESTOR_LOG=verifier=loud: expected a level"),
        "{says}"
    );
    let session = place
        .command(
            attester(),
            &["attest", "--preset", "smoke", "--engine", "cpu", "--json"],
        )
        .env("GPU_ATTESTOR_LOG", "debug")
        .output()
        .expect("it runs");
    let says = text(&session.stderr);
    for part in [
        "phase=Fill iteration=0",
        "does=\"sweep\"",
        "recompute{samples=",
        "time.busy=",
    ] {
        assert!(says.contains(part), "{part} in {says}");
    }
}

#[test]
fn the_attesters_key_is_an_option_of_the_commands_that_use_it() {
    let place = Place::new();
    for arguments in [
        &["devices", "--key", "k.pem"][..],
        &["bench", "--key", "k.pem"],
        &["generate", "completions", "bash", "--key", "k.pem"],
        &["--key", "k.pem", "identity"],
    ] {
        let refused = place.attester(arguments);
        assert_eq!(code(&refused), 2, "{arguments:?}");
        assert!(
            said(&refused).contains("unexpected argument '--key'"),
            "{}",
            said(&refused)
        );
    }
    assert!(!place.path("k.pem").exists());
    let identity = place.attester(&["identity", "--key", "k.pem"]);
    assert_eq!(code(&identity), 0, "{}", said(&identity));
    // Its name in a session is that of the same key.
    let attested = place.attester(&[&["attest", "--json", "--key", "k.pem"], &SMALL[..]].concat());
    assert_eq!(json(&attested)["attester"], text(&identity.stdout).trim());
}
