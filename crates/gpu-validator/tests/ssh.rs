//! `attest ssh://HOST`, with a host that has nothing of this project. In place of `ssh` a script runs the command line in a
//! shell, as the login shell of a host does; `contrib/remote-checks.sh` does it with a real server.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Place, attester, code, json, text};
use serde_json::Value;

/// Notes its arguments, then is a host: its login prints a greeting whose end has no newline.
const SSH: &str = r#"#!/bin/sh
printf '%s\n' "$@" >arguments
for line; do :; done
export HOME=$PWD/home TMPDIR=$PWD/tmp PATH=$PWD/tools:/usr/bin:/bin
unset XDG_CONFIG_HOME XDG_RUNTIME_DIR
printf 'Welcome!\nLast login: today'
[ ! -f before ] || . ./before
exec ${LOGIN_SHELL:-sh} -c "$line"
"#;

/// A small agent on the CPU.
const AGENT: [&str; 5] = ["--", "--engine", "cpu", "--cpu-memory", "4MiB"];

fn host() -> Place {
    let place = Place::new();
    for folder in ["bin", "tools", "home", "tmp"] {
        fs::create_dir(place.path(folder)).expect("a folder");
    }
    put_program(&place, "bin/ssh", SSH);
    place
}

fn put_program(place: &Place, name: &str, content: &str) {
    place.put(name, content);
    fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o755)).expect("a mode");
}

fn attest(place: &Place, arguments: &[&str]) -> Command {
    let validator = Path::new(env!("CARGO_BIN_EXE_gpu-validator"));
    let mut command = place.command(validator, &["attest", "--device-memory", "4MiB"]);
    let path = format!("{}:{}", place.path("bin").display(), env!("PATH"));
    command.args(arguments).env("PATH", path);
    command
}

/// With the Attester's command of this build.
fn attest_with_own(place: &Place, arguments: &[&str]) -> Output {
    let own = attester().to_str().expect("UTF-8");
    let arguments = [&["--attester-file", own, "ssh://alice@gpu7:2222"], arguments].concat();
    attest(place, &arguments).output().expect("the command starts")
}

fn names(place: &Place, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path(folder)).expect("a folder").flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Login shells may leave files of their own.
fn assert_nothing_left(place: &Place) {
    let left = place.run(Path::new("find"), &["tmp", "home", "-name", "gpu-attestor*"]);
    assert_eq!((code(&left), text(&left.stdout)), (0, String::new()));
}

/// Waits for it, at most 20 seconds.
fn until(what: &str, is_true: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_true() {
        assert!(since.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_host_that_has_nothing_is_attested_and_has_nothing_afterwards() {
    for shell in ["sh", "bash", "dash", "busybox sh", "csh", "fish", "zsh"] {
        let name = shell.split(' ').next().expect("a name");
        if !env!("PATH")
            .split(':')
            .any(|folder| Path::new(folder).join(name).exists())
        {
            eprintln!("SKIPPED: {shell} as the login shell: it is not here");
            continue;
        }
        let place = host();
        // Where the login shell is busybox, so are the shell that it runs and what that runs.
        if name == "busybox" {
            let install =
                "for tool in sh head mktemp sha256sum chmod rm uname; do ln -s $(command -v busybox) tools/$tool; done";
            let linked = place.run(Path::new("sh"), &["-c", install]);
            assert_eq!(code(&linked), 0, "{}", text(&linked.stderr));
        }
        let own = attester().to_str().expect("UTF-8");
        let arguments = [
            &["--json", "--attester-file", own, "ssh://alice@gpu7:2222"],
            &AGENT[..],
            &["--cpu-devices", "3"],
        ];
        let attested = attest(&place, &arguments.concat()).env("LOGIN_SHELL", shell).output();
        let attested = attested.expect("the command starts");
        assert_eq!(code(&attested), 0, "{shell}: {}", text(&attested.stderr));
        assert_eq!(json(&attested)["devices"].as_array().map(Vec::len), Some(3), "{shell}");
        assert_nothing_left(&place);

        let arguments = place.text("arguments");
        let (before, line) = arguments.trim_end().rsplit_once('\n').expect("arguments");
        assert_eq!(
            before,
            "-T\n-a\n-x\n-o\nClearAllForwardings=yes\n-p\n2222\n-l\nalice\n--\ngpu7"
        );
        assert!(line.starts_with("exec sh -c '"), "{line}");
    }
}

/// Options of ssh are passed on; the host keeps its identity only if it has one.
#[test]
fn a_host_with_a_key_keeps_its_identity() {
    let place = host();
    let attester_of = |output: &Output| json(output)["attester"].clone();
    let session = |arguments: &[&str]| {
        let output = attest_with_own(&place, &[&["--json"], arguments, &AGENT[..]].concat());
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
        output
    };
    let first = attester_of(&session(&[
        "--ssh-option",
        "Compression=yes",
        "--ssh-option",
        "ConnectTimeout=5",
    ]));
    assert!(
        place
            .text("arguments")
            .contains("\n-o\nCompression=yes\n-o\nConnectTimeout=5\n-p\n")
    );
    assert_ne!(first, Value::Null);
    assert_ne!(attester_of(&session(&[])), first);
    assert_nothing_left(&place);
    let made = place
        .command(attester(), &["identity", "--json"])
        .env("XDG_CONFIG_HOME", place.path("home/.config"))
        .output()
        .expect("the command starts");
    assert_eq!(code(&made), 0, "{}", text(&made.stderr));
    let identity = attester_of(&session(&[]));
    assert!(text(&made.stdout).contains(identity.as_str().expect("a key")));
    assert_eq!(attester_of(&session(&[])), identity);
    assert_eq!(names(&place, "tmp"), [""; 0]);
}

#[test]
fn what_a_host_lacks_is_said() {
    let print = |text: &str| format!("#!/bin/sh\necho {text}\n");
    let missing = "#!/bin/sh\nexit 127\n";
    let zero = print(&format!("{:064} -", 0));
    let [riscv, darwin, arm] = ["Linux riscv64", "Darwin arm64", "Linux aarch64"].map(print);
    for (tools, before, expected) in [
        (
            &[("sha256sum", &*zero)][..],
            "",
            "the host received other bytes than were sent: their SHA-256 is 0000",
        ),
        (
            &[("sha256sum", missing), ("shasum", missing), ("openssl", missing)],
            "",
            "the host has neither sha256sum, shasum nor openssl",
        ),
        (
            &[("uname", &riscv)],
            "",
            "the host says that it is \"Linux riscv64\"; expected Linux on x86_64 or aarch64",
        ),
        (&[("uname", &darwin)], "", "the host says that it is \"Darwin arm64\""),
        (
            &[("uname", &arm)],
            "",
            "`cargo xtask dist --target aarch64 --command gpu-attestor` builds one",
        ),
        (
            &[("mktemp", missing)],
            "",
            "no folder on the host can hold a program: tried ",
        ),
        (&[("chmod", missing)], "", "tmp (programs cannot be run there)"),
        (&[], "ulimit -f 64; trap '' XFSZ", "gpu-attestor cannot be written to "),
        (&[], "exec >&-", "the connection ended before the host's shell answered"),
        (
            &[],
            "echo; echo This account is not available; exit 1",
            "the connection ended before",
        ),
        (&[], "exec sleep 60", "no answer within 3s"),
        (&[], "echo; yes; exit", "expected a login that can run commands"),
        (
            &[],
            "echo; echo gpu-attestor-ssh hello; exec sleep 60",
            "expected a login that can run commands",
        ),
    ] {
        let place = host();
        for (name, content) in tools {
            put_program(&place, &format!("tools/{name}"), content);
        }
        place.put("before", before);
        let output = attest_with_own(
            &place,
            &[&["--hello-deadline", "3s", "--evidence", "e.cbor"], &AGENT[..]].concat(),
        );
        let said = text(&output.stderr);
        assert_eq!(code(&output), 2, "{before}{tools:?}: {said}");
        let error = said
            .lines()
            .find(|line| line.starts_with("error: no gpu-attestor runs on gpu7: "));
        assert!(
            error.is_some_and(|error| error.contains(expected)),
            "{expected}: {said}"
        );
        assert!(said.lines().any(|line| line.starts_with("ssh ")), "{said}");
        // What the login has printed may say why.
        assert!(said.contains("host| Welcome!\nhost| Last login: today\n"), "{said}");
        assert!(
            !before.contains("This account") || said.contains("host| This account is not available\n"),
            "{said}"
        );
        assert!(!place.path("e.cbor").exists());
        until("the folder is removed", || names(&place, "tmp").is_empty());
    }
}

/// A program for the host's architecture that the host cannot run.
#[test]
fn a_program_that_does_not_start_is_said() {
    let place = host();
    let mut cut = fs::read(attester()).expect("the command");
    cut.truncate(4_000);
    place.put("cut", cut);
    let output = attest(&place, &["--attester-file", "cut", "ssh://gpu7"]).output();
    let output = output.expect("the command starts");
    assert_eq!(code(&output), 2);
    let said = text(&output.stderr);
    assert!(
        said.contains("gpu-attestor does not start on the host, which says: "),
        "{said}"
    );
    assert!(said.contains("`cargo xtask dist` builds one for glibc 2.17"), "{said}");
    assert_nothing_left(&place);
}

/// Next to `gpu-validator`, where packages and builds have it.
#[test]
fn the_program_is_found_next_to_the_verifier() {
    attester();
    let place = host();
    let arguments = [&["ssh://gpu7"], &AGENT[..]].concat();
    let output = attest(&place, &arguments).output().expect("the command starts");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert_nothing_left(&place);
}

fn start(place: &Place, arguments: &[&str]) -> Child {
    let own = attester().to_str().expect("UTF-8");
    let arguments = [&["--attester-file", own, "ssh://gpu7"], arguments].concat();
    let log = fs::File::create(place.path("log")).expect("a file");
    attest(place, &arguments)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("the command starts")
}

fn signal(pid: u32, signal: &str) {
    let killed = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(killed.expect("kill starts").success());
}

/// The `head` of a host that takes the program slowly.
const SLOW: &str = "#!/bin/sh\n[ \"$2\" -lt 100000 ] || sleep 2\nexec /usr/bin/head \"$@\"\n";

/// Ctrl-C before and during the session, a Verifier that is killed and so a connection that is lost, and signals to the
/// host's shell: the agent ends, and nothing is left.
#[test]
fn however_it_ends_nothing_is_left() {
    let session = [
        &["--device-memory", "16GiB", "--evidence", "e.cbor", "--"][..],
        &["--engine", "cpu", "--cpu-memory", "512MiB"],
    ];
    let session: Vec<&str> = session.concat().into_iter().skip(2).collect();
    for (during, to, with, exit) in [
        ("upload", "verifier", "-INT", Some(2)),
        ("upload", "verifier", "-KILL", None),
        ("upload", "shell", "-HUP", Some(2)),
        ("session", "verifier", "-INT", Some(2)),
        ("session", "verifier", "-KILL", None),
        ("session", "shell", "-TERM", Some(2)),
        ("session", "shell", "-HUP", Some(2)),
    ] {
        let place = host();
        place.put("before", "echo $$ >pid");
        if during == "upload" {
            put_program(&place, "tools/head", SLOW);
        }
        let mut child = start(&place, &session);
        match during {
            "upload" => until("a file", || {
                names(&place, "tmp")
                    .first()
                    .is_some_and(|name| place.path("tmp").join(name).join("gpu-attestor").exists())
            }),
            _ => until("work", || place.text("log").contains("devices take their memory")),
        }
        let shell = place.text("pid").trim().parse().expect("a process");
        signal(if to == "shell" { shell } else { child.id() }, with);
        let status = child.wait().expect("it ends");
        let what = format!("{with} to the {to} during the {during}: {}", place.text("log"));
        assert_eq!(status.code(), exit, "{what}");
        until(&what, || names(&place, "tmp").is_empty());
        until(&what, || !Path::new(&format!("/proc/{shell}")).exists());
        if with == "-INT" {
            // As for any other session that is stopped.
            let inspected = place.validator(&["inspect", "e.cbor"]);
            assert!(
                text(&inspected.stdout).contains("stopped"),
                "{}",
                text(&inspected.stdout)
            );
        }
    }
}

/// What a killed shell left is removed by the next session, if it is certainly that, and nothing else.
#[test]
fn the_folder_of_a_killed_shell_is_removed_a_day_later() {
    let host = host();
    host.put("before", "echo $$ >pid");
    put_program(&host, "tools/head", SLOW);
    let mut child = start(&host, &AGENT);
    let killed = || names(&host, "tmp").into_iter().next().unwrap_or_default();
    until("a file", || {
        host.path("tmp").join(killed()).join("gpu-attestor").exists()
    });
    signal(host.text("pid").trim().parse().expect("a process"), "-KILL");
    assert_eq!(child.wait().expect("it ends").code(), Some(2), "{}", host.text("log"));
    let killed = killed();
    assert!(killed.starts_with("gpu-attestor-ssh."), "{killed}");
    let age = |name: &str, age: &str| {
        let aged = host.run(Path::new("touch"), &["-d", age, &format!("tmp/{name}/session")]);
        assert_eq!(code(&aged), 0, "{}", text(&aged.stderr));
    };
    age(&killed, "2 days ago");
    fs::remove_file(host.path("tools/head")).expect("a file");

    let node = text(&Command::new("uname").arg("-n").output().expect("uname starts").stdout);
    let node = node.trim();
    let mut gone = Command::new("true").spawn().expect("it starts");
    let (gone_pid, own_pid) = (gone.id(), std::process::id());
    gone.wait().expect("a child");
    let folder = |name: &str, mark: Option<String>, old: &str| {
        host.put(&format!("tmp/{name}/gpu-attestor"), "a program");
        if let Some(mark) = mark {
            host.put(&format!("tmp/{name}/session"), mark);
            age(name, old);
        }
    };
    let mark = |node: &str, pid: u32| Some(format!("{node} {pid}\n"));
    for name in [
        "gpu-attestor-ssh.stale12345",
        "gpu-attestor-ssh.fresh12345",
        "gpu-attestor-ssh.alive12345",
        "gpu-attestor-ssh.other12345",
        "gpu-attestor-ssh.nomark1234",
        "gpu-attestor-ssh.nopid12345",
        "gpu-attestor-ssh.group12345",
        "gpu-attestor-ssh.longer123456",
        "elsewhere",
    ] {
        fs::create_dir(host.path("tmp").join(name)).expect("a folder");
    }
    folder("gpu-attestor-ssh.stale12345", mark(node, gone_pid), "2 days ago");
    folder("gpu-attestor-ssh.fresh12345", mark(node, gone_pid), "23 hours ago");
    folder("gpu-attestor-ssh.alive12345", mark(node, own_pid), "2 days ago");
    folder(
        "gpu-attestor-ssh.other12345",
        mark("another-host", gone_pid),
        "2 days ago",
    );
    folder("gpu-attestor-ssh.nomark1234", None, "");
    folder("gpu-attestor-ssh.nopid12345", Some(format!("{node}\n")), "2 days ago");
    folder(
        "gpu-attestor-ssh.group12345",
        Some(format!("{node} -{gone_pid}\n")),
        "2 days ago",
    );
    folder("gpu-attestor-ssh.longer123456", mark(node, gone_pid), "2 days ago");
    folder("elsewhere", mark(node, gone_pid), "2 days ago");
    std::os::unix::fs::symlink("elsewhere", host.path("tmp/gpu-attestor-ssh.alink12345")).expect("a link");
    let before = names(&host, "tmp");

    // Others could have put them there: nothing is removed. Only root can give a folder away.
    let is_root = text(&Command::new("id").arg("-u").output().expect("id starts").stdout).trim() == "0";
    if is_root {
        std::os::unix::fs::chown(host.path("tmp"), Some(65534), None).expect("a chown");
        fs::set_permissions(host.path("tmp"), fs::Permissions::from_mode(0o777)).expect("a mode");
        assert_eq!(code(&attest_with_own(&host, &AGENT)), 0);
        assert_eq!(names(&host, "tmp").len(), before.len());
        // A sticky folder protects each one's files from the others.
        fs::set_permissions(host.path("tmp"), fs::Permissions::from_mode(0o1777)).expect("a mode");
    }
    let attested = attest_with_own(&host, &AGENT);
    assert_eq!(code(&attested), 0, "{}", text(&attested.stderr));
    let mut expected: Vec<String> = before
        .into_iter()
        .filter(|name| !name.contains("stale") && *name != killed)
        .collect();
    let mut left = names(&host, "tmp");
    expected.sort();
    left.sort();
    assert_eq!(left, expected);
    assert!(host.path("tmp/elsewhere/session").exists());
}
