//! Every input and output of both commands fails once: no panic, the correct exit code, and no partially written file.
//!
//! The faults are those that a shell can cause: full devices, closed pipes, limits on files and descriptors, places that
//! are not writable, killed children.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use common::{Place, attester, x1};
use tempfile::TempDir;

/// A script in bash; `$A` and `$V` are the commands, and the other variables are options: `$SMALL` for a session of about a
/// second, `$QUICK` and `$BRIEF` for minimal measurements, `$X1` for six sessions to calibrate with.
fn shell(folder: &Path, script: &str) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("set -o pipefail; {script}")])
        .current_dir(folder)
        .env("A", attester())
        .env("V", env!("CARGO_BIN_EXE_gpu-validator"))
        .env("SMALL", "--device-memory 4MiB --cpu-memory 4MiB")
        .env("QUICK", "--path portable --inner-dim 64 --time 1ms --threads 1")
        .env("BRIEF", "--engine cpu --cpu-path portable --seconds 0.1")
        .env(
            "X1",
            "--verifier 8146640f02493af4fbc54fe33388e75dc2c937ae0b7727cc2b2afb1b75199a3e --class x1 --profiles profiles s0.cbor s1.cbor s2.cbor s3.cbor s4.cbor s5.cbor",
        )
        .env("AGENT", "agent --stdio --engine cpu --cpu-memory 4MiB")
        .env("XDG_CONFIG_HOME", folder.join("config"))
        .stdin(Stdio::null());
    bash
}

fn run(folder: &Path, script: &str) -> Output {
    shell(folder, script).output().expect("bash starts")
}

/// Name and content of every file in a folder and its subfolders.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            let content = fs::read(&path).expect("a file");
            files.insert(path, content);
        }
    }
    files
}

/// Keys; evidence `e.cbor`; `none.done`, a file of finished jobs that lists none; a result of the evidence by
/// `policy.toml`, `r.jwt`, with the issuer's keys; a challenge `c.json` and the evidence for it, `o.cbor`; six sessions of
/// the class x1; old man pages and an old plot.
fn prepared() -> &'static Path {
    static PREPARED: OnceLock<Place> = OnceLock::new();
    let place = PREPARED.get_or_init(|| {
        let place = Place::new();
        x1::put_sessions(&place);
        place.put(
            "policy.toml",
            "device.stated_class_must_fit = false\ndevice.min_tensor_ops_per_s = 1000\ndevice.gpu_must_show = false\n",
        );
        place.put("old.svg", "<svg>of old</svg>");
        // Enough samples for a bound, which results and reports require.
        let script = "$A attest --device-memory 4MiB --cpu-memory 4MiB --evidence e.cbor >/dev/null && $V challenge --device-memory 4MiB >c.json && \
                      $A prove --challenge c.json --evidence o.cbor >/dev/null && $V verify o.cbor >/dev/null && \
                      $V verify e.cbor --full --resume all.done >/dev/null && \
                      sed 's/\"done\":.*/\"done\":[]}/' all.done >none.done && $V generate man man && \
                      $V result keys keys --new >jwks.json && \
                      $V result issue e.cbor --policy policy.toml --keys keys -o r.jwt";
        let output = run(place.0.path(), script);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        place
    });
    place.0.path()
}

/// A copy of the prepared folder.
fn place() -> TempDir {
    let place = tempfile::tempdir().expect("a folder");
    for (path, content) in files(prepared()) {
        let to = place.path().join(path.strip_prefix(prepared()).expect("below it"));
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::write(&to, content).expect("a copy");
        fs::set_permissions(&to, fs::metadata(&path).expect("the file").permissions()).expect("its mode");
    }
    place
}

struct Fault<'a> {
    what: &'a str,
    script: &'a str,
    code: i32,
    /// A part of standard error.
    says: &'a str,
    /// The files that may be created.
    makes: &'a [&'a str],
}

const fn fault<'a>(what: &'a str, script: &'a str, code: i32, says: &'a str) -> Fault<'a> {
    Fault {
        what,
        script,
        code,
        says,
        makes: &[],
    }
}

fn check(faults: &[Fault<'_>]) {
    for fault in faults {
        let place = place();
        let before = files(place.path());
        let output = run(place.path(), fault.script);
        let stderr = String::from_utf8_lossy(&output.stderr);
        let Fault { what, code, .. } = fault;
        assert!(!stderr.contains("panicked"), "{what}: {stderr}");
        assert_eq!(output.status.code(), Some(*code), "{what}: {stderr}");
        assert!(
            stderr.contains(fault.says),
            "{what}: expected {:?} in {stderr}",
            fault.says
        );
        let after = files(place.path());
        for (path, content) in &before {
            assert_eq!(after.get(path), Some(content), "{what}: {} was changed", path.display());
        }
        for path in after.keys().filter(|path| !before.contains_key(*path)) {
            let name = path.strip_prefix(place.path()).expect("below it");
            let is_wanted = fault.makes.iter().any(|made| Path::new(made) == name);
            assert!(is_wanted, "{what}: {} was left", name.display());
        }
    }
}

#[test]
fn standard_output_is_full() {
    let full = "No space left on device";
    check(&[
        fault("verify", "$V verify e.cbor >/dev/full", 2, full),
        fault("verify --json", "$V verify e.cbor --json >/dev/full", 2, full),
        fault("a refusal", "$V verify c.json >/dev/full", 2, full),
        fault("report", "$V report e.cbor >/dev/full", 2, full),
        fault("policy default", "$V policy default >/dev/full", 2, full),
        fault("policy check", "$V policy check /dev/null >/dev/full", 2, full),
        fault("inspect", "$V inspect e.cbor >/dev/full", 2, full),
        fault("inspect --json", "$V inspect e.cbor --json >/dev/full", 2, full),
        fault("challenge", "$V challenge >/dev/full", 2, full),
        fault("completions", "$V generate completions bash >/dev/full", 2, full),
        fault("verify --full", "$V verify e.cbor --full >/dev/full", 2, full),
        fault("plan", "$V plan --tile-ms 2 >/dev/full", 2, full),
        fault("plan --json", "$V plan --tile-ms 2 --json >/dev/full", 2, full),
        fault("bench", "$V bench $QUICK >/dev/full", 2, full),
        fault("bench --json", "$V bench $QUICK --json >/dev/full", 2, full),
        fault("calibrate", "$V calibrate $X1 >/dev/full", 2, full),
        fault("result issue", "$V result issue e.cbor --keys keys >/dev/full", 2, full),
        fault(
            "result verify",
            "$V result verify r.jwt --jwks jwks.json >/dev/full",
            2,
            full,
        ),
        fault("result keys", "$V result keys keys >/dev/full", 2, full),
        fault("the Attester's bench", "$A bench $BRIEF >/dev/full", 2, full),
        fault(
            "the Attester's bench --json",
            "$A bench $BRIEF --json >/dev/full",
            2,
            full,
        ),
        fault(
            "the Attester's completions",
            "$A generate completions bash >/dev/full",
            2,
            full,
        ),
        fault("devices", "$A devices --engine cpu >/dev/full", 2, full),
        fault("identity", "$A identity >/dev/full", 2, full),
        fault("agent", "$A $AGENT >/dev/full", 2, full),
        Fault {
            makes: &["new.cbor"],
            ..fault("attest", "$A attest $SMALL --evidence new.cbor >/dev/full", 2, full)
        },
        Fault {
            makes: &["new.cbor"],
            ..fault(
                "prove",
                "$A prove --challenge c.json --evidence new.cbor >/dev/full",
                2,
                full,
            )
        },
    ]);
}

#[test]
fn standard_output_is_closed() {
    check(&[
        fault("verify", "$V verify e.cbor | true", 0, ""),
        fault("inspect --json", "$V inspect e.cbor --json | head -c 10", 0, ""),
        // By default a CPU is not affirmed.
        fault("report", "$V report e.cbor --policy policy.toml | head -c 10", 0, ""),
        fault("policy default", "$V policy default | true", 0, ""),
        fault("verify --full", "$V verify e.cbor --full | true", 0, ""),
        fault("plan", "$V plan --tile-ms 2 | true", 0, ""),
        fault("plan --json", "$V plan --tile-ms 2 --json | head -c 10", 0, ""),
        fault("bench", "$V bench $QUICK | true", 0, ""),
        fault("calibrate", "$V calibrate $X1 | true", 0, ""),
        fault(
            "result issue",
            "$V result issue e.cbor --keys keys --policy policy.toml | true",
            0,
            "",
        ),
        fault(
            "result verify",
            "$V result verify r.jwt --jwks jwks.json | head -c 10",
            0,
            "",
        ),
        fault("result keys", "$V result keys keys | true", 0, ""),
        fault("the Attester's bench", "$A bench $BRIEF | true", 0, ""),
        fault("completions", "$A generate completions bash | true", 0, ""),
        fault("verify without any", "$V verify e.cbor >&-", 0, ""),
        fault("agent without any", "$A $AGENT >&-", 2, "error"),
    ]);
}

#[test]
fn standard_error_is_full_or_closed() {
    check(&[
        fault("verify", "$V verify e.cbor 2>/dev/full", 0, ""),
        fault("a refusal by inspect", "$V inspect c.json 2>/dev/full", 2, ""),
        fault("a refusal by report", "$V report c.json 2>/dev/full", 2, ""),
        fault("report", "$V report e.cbor --policy policy.toml 2>/dev/full", 0, ""),
        fault("an error", "$V verify missing.cbor 2>/dev/full", 2, ""),
        fault("agent", "$A $AGENT 2>/dev/full", 2, ""),
        fault("attest", "$A attest $SMALL 2>/dev/full", 0, ""),
        fault("what cannot run", "$V attest -- false 2>/dev/full", 2, ""),
        fault(
            "both sides",
            "$V attest --device-memory 4MiB -- $A $AGENT 2>/dev/full",
            0,
            "",
        ),
        fault("its reader has gone", "$V attest -- false 2> >(true)", 2, ""),
        fault("none", "$V attest --device-memory 4MiB -- $A $AGENT 2>&-", 0, ""),
    ]);
}

#[test]
fn files_cannot_be_read() {
    check(&[
        fault("evidence: none", "$V verify missing.cbor", 2, "missing.cbor"),
        fault("evidence: a folder", "$V verify config", 2, "config"),
        fault("evidence: empty", "$V verify /dev/null", 2, "damaged-evidence"),
        fault(
            "evidence: a loop of links",
            "ln -s l l; $V verify l; x=$?; rm l; exit $x",
            2,
            "evidence l",
        ),
        fault(
            "evidence: an input error",
            "$V verify /proc/self/mem",
            2,
            "/proc/self/mem",
        ),
        fault("inspect: a folder", "$V inspect config", 2, "config"),
        fault(
            "challenge: a folder",
            "$V verify o.cbor --challenge config",
            2,
            "challenge config",
        ),
        fault(
            "challenge: no text",
            "$V verify o.cbor --challenge o.cbor",
            2,
            "challenge o.cbor",
        ),
        fault(
            "challenge: empty",
            "$V verify o.cbor --challenge /dev/null",
            2,
            "not a challenge file",
        ),
        fault(
            "challenge: endless",
            "$V verify o.cbor --challenge /dev/zero",
            2,
            "longer than",
        ),
        fault("a key: a folder", "$A identity --key config", 2, "key file config"),
        fault("a key: no key", "$A identity --key /dev/null", 2, "key file /dev/null"),
        fault(
            "a key: below a file",
            "$A identity --key c.json/key",
            2,
            "key file c.json/key",
        ),
        fault(
            "finished jobs: a folder",
            "$V verify e.cbor --full --resume config",
            2,
            "config",
        ),
        fault(
            "prove: no challenge",
            "$A prove --challenge missing --evidence new.cbor",
            2,
            "missing",
        ),
    ]);
}

/// Every option that names an input, if that input is missing, of another kind, or unreadable.
#[test]
fn what_options_name_cannot_be_read() {
    let kinds = ["missing", "config", "/proc/self/mem"];
    for (option, script, kinds) in [
        ("--policy", "$V report e.cbor --policy", &kinds[..]),
        ("--profiles", "$V report e.cbor --profiles", &["missing", "e.cbor"]),
        (
            "--profiles of plan",
            "$V plan --tile-ms 2 --profiles",
            &["missing", "e.cbor"],
        ),
        ("--nvidia-jwks", "$V report e.cbor --nvidia-jwks", &kinds),
        (
            "--nvidia-roots",
            "$V report e.cbor --nvidia-jwks jwks.json --nvidia-roots",
            &kinds,
        ),
        ("--jwks", "$V result verify r.jwt --jwks", &kinds),
        ("a result", "$V result verify --jwks jwks.json", &kinds),
        (
            "--evidence",
            "$V result verify r.jwt --jwks jwks.json --evidence",
            &kinds,
        ),
        (
            "--keys",
            "$V result issue e.cbor --keys",
            &["missing", "config", "e.cbor"],
        ),
        // A missing one is created.
        (
            "--verifier-key",
            "$V attest -- false --verifier-key",
            &["config", "/proc/self/mem"],
        ),
    ] {
        for kind in kinds {
            // The command to be run comes last.
            let script = match script.split_once(" -- false ") {
                Some((command, option)) => format!("{command} {option} {kind} -- false"),
                None => format!("{script} {kind}"),
            };
            check(&[Fault {
                what: &format!("{option}: {kind}"),
                script: &script,
                code: 2,
                says: kind,
                makes: &[],
            }]);
        }
    }
}

#[test]
fn files_cannot_be_written() {
    check(&[
        fault(
            "no folder",
            "$A attest $SMALL --evidence no/e.cbor",
            2,
            "cannot write evidence into no",
        ),
        fault(
            "a folder",
            "$A attest $SMALL --evidence config",
            2,
            "config is a folder",
        ),
        fault(
            "no place for files",
            "$A attest $SMALL --evidence /proc/e.cbor",
            2,
            "cannot write evidence into /proc",
        ),
        fault(
            "attest: the disk is full",
            "trap '' XFSZ; ulimit -f 8; $A attest $SMALL --evidence e.cbor >/dev/null",
            2,
            "nothing was kept",
        ),
        fault(
            "prove: the disk is full",
            "trap '' XFSZ; ulimit -f 8; $A prove --challenge c.json --evidence o.cbor >/dev/null",
            2,
            "nothing was kept",
        ),
        fault(
            "over another command: the disk is full",
            "trap '' XFSZ; ulimit -f 8; $V attest --device-memory 4MiB --evidence e.cbor -- $A $AGENT >/dev/null",
            2,
            "nothing was kept",
        ),
        fault(
            "a new key: the disk is full",
            "trap '' XFSZ; ulimit -f 0; $A identity --key new.pem",
            2,
            "key file new.pem",
        ),
        fault(
            "a new key: no place for files",
            "$A identity --key /proc/new/key.pem",
            2,
            "key file /proc/new",
        ),
        fault(
            "no home for keys",
            "unset XDG_CONFIG_HOME HOME; $A identity",
            2,
            "no place for keys",
        ),
        fault(
            "finished jobs: the disk is full",
            "trap '' XFSZ; ulimit -f 0; $V verify e.cbor --full --resume new.done 2>&1 >&2 | cat >&2",
            2,
            "new.done",
        ),
        fault(
            "finished jobs: the disk is full later",
            "trap '' XFSZ; ulimit -f 0; $V verify e.cbor --full --resume none.done 2>&1 >&2 | cat >&2",
            2,
            "none.done",
        ),
        fault(
            "plot: the disk is full",
            "trap '' XFSZ; ulimit -f 1; $V plan --tile-ms 2 --svg old.svg >/dev/null",
            2,
            "nothing was kept",
        ),
        fault(
            "plot: no folder",
            "$V plan --tile-ms 2 --svg no/p.svg",
            2,
            "cannot write plot into no",
        ),
        fault(
            "profile: the disk is full",
            "trap '' XFSZ; ulimit -f 0; $V calibrate $X1 -o profiles/x1.toml",
            2,
            "nothing was kept",
        ),
        fault(
            "result: the disk is full",
            "trap '' XFSZ; ulimit -f 0; $V result issue e.cbor --keys keys -o r.jwt",
            2,
            "nothing was kept",
        ),
        fault(
            "signing keys: no place for files",
            "$V result keys /proc/keys --new",
            2,
            "/proc/keys/signing.pem",
        ),
        fault(
            "signing keys: the disk is full",
            "trap '' XFSZ; mkdir -p k; ulimit -f 0; $V result keys k --new; x=$?; rmdir k && exit $x",
            2,
            "k/signing.pem",
        ),
        fault(
            "man pages: no place for files",
            "$V generate man /proc/man",
            2,
            "cannot write man pages",
        ),
        fault(
            "man pages: the disk is full",
            "trap '' XFSZ; ulimit -f 1; $V generate man man",
            2,
            "nothing was kept",
        ),
    ]);
}

/// With this few descriptors, files, pipes or threads become unavailable, one after the other.
#[test]
fn descriptors_run_out() {
    for descriptors in 3..14 {
        for script in [
            "$V verify e.cbor",
            "$A attest $SMALL --evidence new.cbor",
            "$V attest --device-memory 4MiB --evidence new.cbor -- $A $AGENT",
        ] {
            let place = place();
            let output = run(
                place.path(),
                &format!("ulimit -n {descriptors}; exec 9>&- 8>&- 7>&-; {script}"),
            );
            let stderr = String::from_utf8_lossy(&output.stderr);
            let what = format!("{descriptors} descriptors: {script}: {stderr}");
            // Below that, the system's own loader fails.
            let is_loaders = stderr.contains("error while loading shared libraries");
            assert!(!stderr.contains("panicked"), "{what}");
            match output.status.code() {
                Some(0) | Some(2) => {}
                Some(126 | 127) if is_loaders => {}
                other => panic!("{what}: {other:?}"),
            }
            if place.path().join("new.cbor").exists() {
                assert_ne!(run(place.path(), "$V verify new.cbor").status.code(), Some(1), "{what}");
            }
        }
    }
}

#[test]
fn children_die_or_fall_silent() {
    let session = "$V attest --device-memory 4MiB --hello-deadline 2s --evidence new.cbor";
    for (what, child) in [
        ("killed at once", "kill -9 \\$\\$"),
        ("cut within HELLO", "$A $AGENT | head -c 40"),
        ("cut after HELLO", "$A $AGENT | head -c 400"),
        ("cut within a commitment", "$A $AGENT | head -c 500"),
        ("cut within OPENINGS", "$A $AGENT | head -c 20000"),
        ("cut at its input", "head -c 100 | $A $AGENT"),
        ("deaf", "exec <&-; sleep 3"),
        ("mute", "exec >&-; sleep 1"),
        ("full", "$A $AGENT >/dev/full"),
        ("says something else", "yes"),
    ] {
        let place = place();
        let before = files(place.path());
        let output = run(place.path(), &format!("{session} -- bash -c \"{child}\""));
        let stderr = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        assert!(!stderr.contains("panicked"), "{what}: {stderr}");
        assert!(matches!(code, Some(1 | 2)), "{what}: {code:?}, {stderr}");
        // Its evidence is complete and gives the same verdict.
        let verified = run(place.path(), "$V verify new.cbor");
        let stdout = String::from_utf8_lossy(&verified.stdout);
        assert!(!stdout.contains("evidence-refused"), "{what}: {stdout}");
        assert_eq!(verified.status.code(), code, "{what}: {stdout}");
        let mut after = files(place.path());
        after.remove(&place.path().join("new.cbor"));
        assert_eq!(after, before, "{what}");
    }
}

/// Killed at any moment, a command leaves either no evidence or complete evidence under the name.
#[test]
fn a_killed_command_leaves_nothing_half_written() {
    for after_ms in [20, 100, 300, 600, 900, 1200, 1600] {
        let place = place();
        let mut child = shell(
            place.path(),
            "exec $A attest $SMALL --evidence new.cbor >/dev/null 2>&1",
        )
        .spawn()
        .expect("bash starts");
        std::thread::sleep(Duration::from_millis(after_ms));
        // It may already have ended.
        let _ = child.kill();
        child.wait().expect("it ended");
        if place.path().join("new.cbor").exists() {
            let verified = run(place.path(), "$V verify new.cbor");
            assert_eq!(verified.status.code(), Some(0), "killed after {after_ms} ms");
        }
        // It does not leave an invalid key either.
        assert_eq!(
            run(place.path(), "$A identity").status.code(),
            Some(0),
            "killed after {after_ms} ms"
        );
    }
}
