//! `gpu-validator attest ssh://HOST`: puts `gpu-attestor` on a host that has nothing of this project, runs it, and leaves
//! nothing behind.
//!
//! One connection does all of it: `ssh` may ask for a password, and a second connection would ask again. The host's shell
//! gets a script on its standard input (`ssh/host.sh`), then the program, which inherits the connection.
//!
//! The host is not trusted with any of it. It may say another architecture, keep the program, or run its own: the session's
//! checks do not depend on which program answers. Only public bytes go there, and no key of the Verifier.

mod attester_file;
mod target;
mod upload;

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use verifier::{Observer, Stop};

use self::attester_file::{Architecture, AttesterFiles};
pub(super) use self::target::SshTarget;
use self::upload::Host;

/// What the host's shell runs, after the agent's options.
const HOST_SCRIPT: &str = include_str!("ssh/host.sh");

/// Options that go with `ssh://`.
#[derive(Args)]
pub(super) struct SshOptions {
    /// With ssh://: the gpu-attestor to put there; may be repeated, one for each architecture [default: gpu-attestor-ARCH or
    /// gpu-attestor next to gpu-validator, or ../lib/gpu-attestor/gpu-attestor-ARCH]
    #[arg(long, value_name = "FILE", requires = "target")]
    attester_file: Vec<PathBuf>,

    /// With ssh://: an option of ssh (ssh_config), for example Compression=yes; may be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "target")]
    ssh_option: Vec<String>,
}

/// An Attester that is to be put on a host and run there.
pub(super) struct Errand {
    /// What is started here.
    pub(super) command: Vec<OsString>,
    script: Vec<u8>,
    files: AttesterFiles,
}

impl Errand {
    /// Prepares everything that needs no connection.
    ///
    /// # Errors
    ///
    /// Those of the files that the options name.
    pub(super) fn new(target: &SshTarget, options: &SshOptions, agent_options: &[OsString]) -> anyhow::Result<Self> {
        let files = AttesterFiles::read(&options.attester_file)?;
        let script = script(agent_options);
        // The login shell may be any: this line means the same to all, and a POSIX shell reads the rest.
        let line = format!("exec sh -c 'eval \"$(head -c {})\"'", script.len());
        Ok(Errand {
            command: target.command(&options.ssh_option, &line),
            script,
            files,
        })
    }

    /// Puts the program on the host behind the streams; afterwards its agent is there. `Ok` too if `observer` stops it: the
    /// session then says so.
    ///
    /// # Errors
    ///
    /// What is missing, here or there.
    pub(super) fn run(
        self,
        from: impl Read + AsFd,
        to: impl Write + AsFd,
        answer_within: Duration,
        is_quiet: bool,
        observer: &dyn Observer,
    ) -> anyhow::Result<()> {
        let mut host = Host::new(from, to, answer_within, observer)?;
        let put = || {
            let uname = host.begin(&self.script)?;
            let Some(architecture) = Architecture::of_host(&uname) else {
                anyhow::bail!("the host says that it is {uname:?}; expected Linux on x86_64 or aarch64");
            };
            let program = self.files.find(architecture)?;
            Ok(host.upload(&program, architecture, is_quiet)?)
        };
        match put() {
            // At a terminal ssh is stopped too, and may have closed the connection before the signal was seen here.
            Err(_) if observer.stop().is_some_and(Stop::is_asked) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Ok(()),
        }
    }
}

/// The script for these options of the agent.
fn script(agent_options: &[OsString]) -> Vec<u8> {
    let mut script = b"set --".to_vec();
    for option in agent_options {
        script.push(b' ');
        script.extend(quoted(option));
    }
    script.push(b'\n');
    script.extend_from_slice(HOST_SCRIPT.as_bytes());
    script
}

/// The text as one word of a POSIX shell.
fn quoted(text: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for &byte in text.as_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(br"'\''"),
            byte => quoted.push(byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn options_reach_the_agent_unchanged() {
        let options = ["", "a b", "it's", "$(id)", "`id`", "\\", "*", "new\nline", "\"", "ü"].map(OsString::from);
        let mut shell = script(&options);
        shell.truncate(shell.len() - HOST_SCRIPT.len());
        shell.extend_from_slice(b"printf '%s\\0' \"$@\"");
        let output = Command::new("sh")
            .arg("-c")
            .arg(OsStr::from_bytes(&shell))
            .output()
            .expect("sh");
        let expected: Vec<u8> = options.iter().flat_map(|o| [o.as_bytes(), b"\0"].concat()).collect();
        assert_eq!(output.stdout, expected);
    }
}
