//! The Verifier controls its terminal: whatever the started command prints, asks or leaves behind.

#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{Place, attester, code, text};

/// Runs `script` in bash on a terminal of 80 columns, and types `answer` once `question` is shown; returns the exit code
/// and everything that was shown. `$V` is the Verifier's command, `$A` the Attester's.
fn on_a_terminal(place: &Place, kind: &str, script: &str, [question, answer]: [&str; 2]) -> (i32, Vec<u8>) {
    let pty = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/on_a_terminal.py");
    let mut command = Command::new("python3");
    command.arg(pty).args(["shown", question, answer, "bash", "-c", script]);
    let output = in_place(place, command.env("TERM", kind));
    let shown = fs::read(place.path("shown")).unwrap_or_else(|e| panic!("{e}: {}", text(&output.stderr)));
    (code(&output), shown)
}

fn in_place(place: &Place, command: &mut Command) -> Output {
    command
        .current_dir(place.0.path())
        .env("XDG_CONFIG_HOME", place.0.path())
        .env("A", attester())
        .env("V", env!("CARGO_BIN_EXE_gpu-validator"))
        .output()
        .expect("the command starts")
}

/// A hostile host's agent, based on the red team's: it draws the report of an affirmed session, moves the cursor, hides
/// what follows, writes long lines into the next row, and leaves a process that prints after the end.
const SPOOF: &str = r#"#!/bin/bash
printf 'verdict      affirmed\nsession      53fcd95d7d628cf6a544db6b3534802e (online)\n\ncertified lower bounds\n' >&2
printf '%80sverdict      affirmed\n\033[2J\033[H\r\033[2Kverdict      affirmed\n\302\2332J\342\200\256demriffa\n' '' >&2
printf '\033[30;40m\033[8m\033_' >&2
(trap '' TERM INT HUP; echo $BASHPID >>pids
    for i in {1..400}; do sleep 0.05; printf '\033[8mverdict      affirmed\n' >&2; done) &
exec "$A" "$@"
"#;

fn with_spoof() -> Place {
    let place = Place::new();
    place.put("spoof.sh", SPOOF);
    place
}

/// Whether a process exists and is not a zombie.
fn is_there(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The processes that a command listed in `pids`, none of which exists any more.
fn assert_gone(place: &Place, count: usize) {
    let noted = place.text("pids");
    assert_eq!(noted.lines().count(), count, "{noted}");
    for pid in noted.lines() {
        assert!(!is_there(pid), "{pid} of {noted}");
    }
}

#[test]
fn a_host_cannot_speak_as_the_verifier() {
    let place = with_spoof();
    let attest = "$V attest --devices 7 -- bash spoof.sh agent --stdio --engine cpu --cpu-memory 4MiB";
    // No bar is drawn on a dumb terminal: the Verifier itself prints no escape sequence.
    let (exit, shown) = on_a_terminal(&place, "dumb", attest, ["", ""]);
    let all = text(&shown);
    assert_eq!(exit, 2, "{all}");
    assert!(
        !shown.contains(&0x1B) && !all.contains(['\u{9B}', '\u{202E}']),
        "{all:?}"
    );
    let lines: Vec<&str> = all.split("\r\n").collect();
    assert!(lines.contains(&"host| verdict      affirmed"), "{all}");
    for line in &lines {
        assert!(
            !line.contains("affirmed") || line.starts_with("host| "),
            "{line:?} in {all}"
        );
        // A wider line would continue in the next row of the screen, without the prefix.
        assert!(!line.starts_with("host| ") || line.chars().count() < 80, "{line:?}");
        assert!(!line.contains('\r'), "{line:?}");
    }
    // The report, then why there is no verdict, and nothing more.
    let report = lines
        .iter()
        .position(|line| line.starts_with("verdict      could not run (no-plan)"));
    let report = report.unwrap_or_else(|| panic!("no report in {all}"));
    assert!(!lines[report..].iter().any(|line| line.starts_with("host")), "{all}");
    let last: Vec<&&str> = lines[report..].iter().filter(|line| !line.is_empty()).collect();
    assert!(
        last.last()
            .is_some_and(|line| line.starts_with("could not run: no plan: ")),
        "{all}"
    );
    assert_gone(&place, 1);

    // With a bar, each row of the host still begins at the edge, and none of its sequences is shown.
    let place = with_spoof();
    let attest = "$V attest --device-memory 4MiB -- bash spoof.sh agent --stdio --engine cpu --cpu-memory 4MiB";
    let (exit, shown) = on_a_terminal(&place, "xterm", attest, ["", ""]);
    let all = text(&shown);
    assert_eq!(exit, 0, "{all}");
    assert!(all.contains("\u{1B}["), "no bar was drawn: {all}");
    for sequence in ["\u{1B}[30", "\u{1B}[8m", "\u{1B}_", "\u{1B}[2J", "\u{1B}[H", "\u{9B}"] {
        assert!(!all.contains(sequence), "{sequence:?} in {all:?}");
    }
    for (at, _) in all.match_indices("host| ") {
        let before = &all[..at];
        assert!(
            before.is_empty() || ["\n", "\r", "\u{1B}[2K"].iter().any(|edge| before.ends_with(edge)),
            "{:?}",
            &all[..at]
        );
    }
    // In colour: the terminal is the Verifier's.
    let report = all.rfind("\nverdict      ").expect("the report");
    assert!(all[report..].contains("affirmed\u{1B}[0m: "), "{}", &all[report..]);
    assert!(!all[report..].contains("host|"), "{}", &all[report..]);
    assert_gone(&place, 1);
}

#[test]
fn a_command_may_ask_at_the_terminal() {
    let place = Place::new();
    let agent = "exec $A agent --stdio --engine cpu --cpu-memory 4MiB";
    let attest = |first: &str| format!("$V attest --device-memory 4MiB -- bash -c '{first} && {agent}'");
    let asks = r#"IFS= read -rsp "Password: " p </dev/tty && [ "$p" = secret ]"#;
    let (exit, shown) = on_a_terminal(&place, "xterm", &attest(asks), ["waiting for the Attester", "secret\n"]);
    assert_eq!(exit, 0, "{}", text(&shown));

    // Like ssh asks: with the same function of OpenSSH.
    let make = "ssh-keygen -q -t ed25519 -N secret -f key";
    if !in_place(&place, Command::new("bash").args(["-c", make]))
        .status
        .success()
    {
        eprintln!("SKIPPED: a passphrase asked for by OpenSSH: no ssh-keygen here");
        return;
    }
    let (exit, shown) = on_a_terminal(
        &place,
        "xterm",
        &attest("ssh-keygen -y -f key >&2"),
        ["Enter passphrase", "secret\n"],
    );
    let shown = text(&shown);
    assert_eq!(exit, 0, "{shown}");
    // Nothing is drawn over the question.
    let asked = shown.find("Enter passphrase").expect("it asks");
    assert!(!shown[..asked].contains('\u{1B}'), "{shown:?}");
    assert!(shown.contains("host| ssh-ed25519 "), "{shown}");
}

#[test]
fn a_command_that_floods_for_ever_holds_nobody() {
    // Building it is not part of the measured time.
    attester();
    for flood in ["yes >&2", "tr \"\\0\" x </dev/zero >&2"] {
        let place = Place::new();
        let agent = "exec $A agent --stdio --engine cpu --cpu-memory 4MiB";
        let script = format!(
            "$V attest --device-memory 4MiB -- bash -c '(trap \"\" TERM; echo $BASHPID >pids; exec {flood}) & {agent}'"
        );
        let since = Instant::now();
        let output = in_place(&place, Command::new("bash").args(["-c", &script]));
        let said = text(&output.stderr);
        assert_eq!(code(&output), 0, "{said}");
        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
        assert!(
            said.contains("left out of what the host says: ") && said.len() < 256 << 10,
            "{} bytes",
            said.len()
        );
        assert_gone(&place, 1);
    }
}

/// Orphans, grandchildren, and processes that ignore signals: they end with the session, with its failure, and with Ctrl-C.
#[test]
fn all_that_a_command_has_started_ends_with_the_session() {
    let starts = r#"sleep 600 & echo $! >>pids; (sleep 600 & echo $! >>pids);
        bash -c "trap \"\" TERM INT HUP; echo \$\$ >>pids; while :; do sleep 0.1; done" &"#;
    let agent = "exec $A agent --stdio --engine cpu --cpu-memory 4MiB";
    for (what, command, expected) in [
        ("an affirmed session", agent, 0),
        ("no agent", "exec false", 2),
        ("one that stays", "exec >&-; wait", 2),
    ] {
        let place = Place::new();
        let script =
            format!("$V attest --device-memory 4MiB --hello-deadline 3s -- bash -c '{starts} sleep 0.5; {command}'");
        let output = in_place(&place, Command::new("bash").args(["-c", &script]));
        assert_eq!(code(&output), expected, "{what}: {}", text(&output.stderr));
        assert_gone(&place, 3);
    }

    // By a signal to the Verifier alone, and by Ctrl-C at the terminal, which all of them receive.
    let place = Place::new();
    let script = format!("$V attest -- bash -c '{starts} sleep 600' & sleep 2; kill -INT $!; wait $!");
    let output = in_place(&place, Command::new("bash").args(["-c", &script]));
    assert_eq!(code(&output), 2, "{}", text(&output.stderr));
    assert_gone(&place, 3);
    let place = Place::new();
    let script = format!("exec $V attest -- bash -c '{starts} sleep 0.5; echo ready >&2; sleep 600'");
    let (exit, shown) = on_a_terminal(&place, "dumb", &script, ["host| ready", "\u{3}"]);
    assert_eq!(exit, 2, "{}", text(&shown));
    assert_gone(&place, 3);
}

/// A daemon that is left on purpose, such as the connection that ssh keeps for others: the session does not end it, and it
/// does not delay the session.
#[test]
fn what_made_a_session_of_its_own_is_left() {
    let place = Place::new();
    let agent = "exec $A agent --stdio --engine cpu --cpu-memory 4MiB";
    let script = format!(
        "$V attest --device-memory 4MiB -- bash -c 'setsid bash -c \"echo \\$\\$ >pids; exec sleep 600\" & {agent}'"
    );
    let output = in_place(&place, Command::new("bash").args(["-c", &script]));
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let pid = place.text("pids").trim().to_owned();
    assert!(is_there(&pid));
    let killed = Command::new("kill").arg(&pid).status().expect("kill starts");
    assert!(killed.success());
}
