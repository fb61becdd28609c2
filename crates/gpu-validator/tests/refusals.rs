//! Refusals of both commands: the texts, their positions and the exit code, as snapshots.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Place, assert_snapshot, code, json, script, text, vector};

/// Invalid options.
const OPTIONS: &str = r"
$V verify e.cbor --threads 0
$V verify e.cbor --threads 20000
$V verify e.cbor --verifier 'no key'
$V verify e.cbor --received soon
$V verify e.cbor --received 2026-11-24T12:00:00Z
$V bench --threads 1025
$V bench --time 0s
$V challenge --device-memory much
$V challenge --device-memory 99999TiB
$V challenge --device-memory 1MiB
$V challenge --expires 0s
$V challenge --samples 255
$V challenge --audience $'a\nb'
$V challenge --audience $(printf a%.0s {1..257})
$V attest
$V attest ssh://-oProxyCommand=id
$V attest 'ssh://gpu7;id'
$V attest ssh://gpu7:ssh
$V attest gpu7
$V attest --attester-file e.cbor ssh://gpu7
$V attest --ssh-option Compression=yes -- false
$V attest --samples 255 -- false
$V attest --preset standard --samples 255 -- false
$V attest --device-memory 1MiB -- false
$V plan --tile-ms 2 --threads 2 --class b300
$V plan --tile-ms 2 --threads 2 --class b3000
$A devices --cpu-threads 0
$A devices --withhold colour
$A devices --memory-limit 1GiB --engines-per-gpu 0
$A devices --memory-limit 1GiB --engines-per-gpu 2 --withhold uuid
$A devices --cpu-devices 65
$A devices --cpu-memory 99999999TiB
$A devices --engine cpu --memory-limit 1GiB
$A devices --engine cpu --devices 0,7
$A bench --seconds soon
$A bench --engine cpu --cpu-threads 1 --cpu-devices 2
$A bench --engine cpu --devices 0
$A bench --engine cpu --withhold uuid
$A attest --engine cpu --matrix-dim 300
$A attest --engine cpu --cpu-memory 8KiB
$A attest --engine cpu --samples 255
$A attest --audience $'a\nb'
$A attest --audience $(printf a%.0s {1..257})
";

/// Files that are missing, of another kind or damaged, and commands that are not Attesters.
const FILES: &str = r"
$V verify missing
$V verify folder
$V verify cut.cbor
$V verify flipped.cbor
$V verify e.cbor --challenge short.json
$V inspect cut.cbor
$V report cut.cbor
$V report e.cbor --policy text
$V report e.cbor --nvidia-jwks broken.json
$V result verify text --jwks broken.json
$V result issue e.cbor --keys folder --audience a
$V calibrate --class h200 cut.cbor
$V identity --verifier-key missing/k.pem
$V attest -- false
$V attest -- no-such-command
$V attest -- echo no session of this protocol
$V attest --hello-deadline 200ms -- sleep 1
$A prove --challenge missing.json --evidence x
$A prove --challenge e.cbor --evidence x
$A prove --challenge /dev/zero --evidence x
$A prove --challenge text --evidence x
$A prove --challenge short.json --evidence x
$A prove --challenge changed.json --evidence x
$A identity --key .
$A identity --key text
$A identity --key missing/k.pem
$A attest --key /dev/null
$A attest --engine cpu --evidence missing/e.cbor
$A devices --engine cpu > /dev/full
";

/// Errors that depend on the machine: reported only once as well.
const MACHINES: &str = r"
$V verify own.cbor --full --resume text
$V verify own.cbor --full --resume folder
$V verify own.cbor --engine cuda
$A attest --engine cpu --cpu-memory 100TiB --preset standard
$A attest --engine cpu --device-memory 1KiB
$A agent --stdio < text
$A agent --stdio < /dev/null
head -c 100 /dev/zero | $A agent --stdio
";

/// The files that the commands name.
fn place() -> Place {
    let place = Place::new();
    let whole = vector("affirmed-online");
    place.put("e.cbor", &whole);
    place.put("cut.cbor", &whole[..whole.len() / 2]);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    place.put("flipped.cbor", flipped);
    place.put("offline.cbor", vector("affirmed-offline"));
    let mut challenge = json(&place.validator(&["inspect", "offline.cbor", "--json"]))["challenge"].take();
    let hex = challenge["challenge"].as_str().expect("hex").to_owned();
    challenge["challenge"] = hex[..hex.len() - 20].into();
    place.put("short.json", challenge.to_string());
    let (signed, last) = hex.split_at(hex.len() - 1);
    challenge["challenge"] = format!("{signed}{}", if last == "0" { 1 } else { 0 }).into();
    place.put("changed.json", challenge.to_string());
    place.put("text", "no JSON");
    fs::set_permissions(place.path("text"), fs::Permissions::from_mode(0o644)).expect("a mode");
    place.put("broken.json", "{");
    fs::create_dir(place.path("folder")).expect("a folder");
    place
}

/// The output of a command on standard output and standard error; it must not succeed.
fn refused(place: &Place, command: &str) -> String {
    let output = script(place, command);
    let exit = code(&output);
    assert_ne!(exit, 0, "{command}: {output:?}");
    let command = command.replace("$A", "gpu-attestor").replace("$V", "gpu-validator");
    let mut transcript = format!("$ {command}\nexit code {exit}\n");
    for (name, bytes) in [("output", &output.stdout), ("errors", &output.stderr)] {
        let said = text(bytes);
        assert_no_clause_twice(&command, &said);
        if !said.is_empty() {
            transcript += &format!("[{name}]\n{}", without_own(&said));
        }
    }
    transcript + "\n"
}

/// Removes values that depend on the machine and the time: the path, the Attester's key, the hash of the record.
fn without_own(said: &str) -> String {
    let own = [
        ("engine: cpu, path ", "[path]"),
        ("attester     ", "[key]"),
        ("evidence     BLAKE3 ", "[hash]"),
    ];
    let line = |line: &str| match own.iter().find(|(begins, _)| line.starts_with(begins)) {
        Some((begins, name)) => format!("{begins}{name}\n"),
        None => format!("{line}\n"),
    };
    said.lines().map(line).collect()
}

/// No line of an error says the same thing twice.
fn assert_no_clause_twice(command: &str, errors: &str) {
    for line in errors.lines() {
        let mut clauses: Vec<&str> = line.split(": ").filter(|clause| clause.len() > 3).collect();
        clauses.sort_unstable();
        let all = clauses.len();
        clauses.dedup();
        assert_eq!(clauses.len(), all, "{command}: {line}");
    }
}

fn all_refused(place: &Place, commands: &str) -> String {
    commands.trim().lines().map(|command| refused(place, command)).collect()
}

#[test]
fn options_that_mean_nothing_are_refused() {
    assert_snapshot("refused-options", &all_refused(&place(), OPTIONS));
}

#[test]
fn files_that_cannot_be_used_are_refused() {
    let place = place();
    let said = all_refused(&place, FILES);
    assert!(!place.path("x").exists(), "no evidence of what was refused");
    assert_snapshot("refused-files", &said);
}

#[test]
fn what_a_machine_cannot_do_is_said_once() {
    let place = place();
    let attested = place.attester(&[&["attest", "--evidence", "own.cbor"], &common::SMALL[..]].concat());
    assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
    for command in MACHINES.trim().lines() {
        // If there is CUDA, the command succeeds.
        if command.contains("--engine cuda") && code(&script(&place, command)) == 0 {
            continue;
        }
        let said = refused(&place, command);
        assert!(said.contains("\nexit code 2\n"), "{said}");
    }
}
