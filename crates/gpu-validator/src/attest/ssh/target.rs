//! `ssh://[USER@]HOST[:PORT]`, and the `ssh` that reaches it.

use std::ffi::OsString;
use std::fmt;

/// What is expected of the text.
const EXPECTED: &str = "expected ssh://[USER@]HOST[:PORT], as in ssh://alice@gpu7:2222";

/// A host that `ssh` reaches: an address, a name, or a `Host` of the user's `ssh_config`.
///
/// The text becomes arguments of `ssh`, and `ssh_config` may hand it to a shell (`ProxyCommand`). Often it comes from a list
/// that hosts have a say in. So a user or host that could be an option, or has a character that a shell knows, is refused
/// (`what_could_be_an_option_or_a_command_is_refused`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SshTarget {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

impl SshTarget {
    /// Parses `ssh://[USER@]HOST[:PORT]`; an IPv6 address is in brackets.
    ///
    /// # Errors
    ///
    /// What was expected instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("ssh://").ok_or(EXPECTED)?;
        // A user of a directory service may have an @ itself.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or(EXPECTED)?;
                let port = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':').ok_or(EXPECTED)?),
                };
                (address, port)
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        if let Some(user) = user {
            check("user", user, "._-+@")?;
        }
        check("host", host, if rest.starts_with('[') { ".:%_-" } else { "._-" })?;
        let port = port.map(|port| match port.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(format!("port {port:?}: expected 1 to 65535")),
        });
        Ok(SshTarget {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port: port.transpose()?,
        })
    }

    /// The `ssh` that runs `script` there, with the user's `options` (`KEY=VALUE`).
    pub(super) fn command(&self, options: &[String], script: &str) -> Vec<OsString> {
        // The host is not trusted, whatever the user's configuration allows other hosts: it gets no access to the user's keys
        // (-a), screen (-x) and ports. No terminal (-T), which would change bytes. The first value of an option counts.
        let mut command: Vec<OsString> = ["ssh", "-T", "-a", "-x", "-o", "ClearAllForwardings=yes"]
            .map(OsString::from)
            .to_vec();
        let mut add = |name: &str, value: &str| command.extend([name.into(), value.into()]);
        for option in options {
            add("-o", option);
        }
        if let Some(port) = self.port {
            add("-p", &port.to_string());
        }
        if let Some(user) = &self.user {
            add("-l", user);
        }
        add("--", &self.host);
        command.push(script.into());
        command
    }
}

fn check(what: &str, text: &str, signs: &str) -> Result<(), String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || signs.contains(c);
    let first = text.chars().next().ok_or_else(|| format!("no {what}; {EXPECTED}"))?;
    if first == '-' || !text.chars().all(is_allowed) {
        return Err(format!(
            "{what} {text:?}: expected letters, digits and any of {signs}, not beginning with -"
        ));
    }
    Ok(())
}

impl fmt::Display for SshTarget {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Vec<String> {
        let target = SshTarget::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let command = target.command(&["Compression=yes".to_owned()], "run this");
        command
            .into_iter()
            .map(|word| word.into_string().expect("UTF-8"))
            .collect()
    }

    #[test]
    fn each_part_reaches_ssh() {
        let before = [
            "ssh",
            "-T",
            "-a",
            "-x",
            "-o",
            "ClearAllForwardings=yes",
            "-o",
            "Compression=yes",
        ];
        for (text, expected) in [
            ("ssh://gpu7", &["--", "gpu7"][..]),
            ("ssh://gpu_7.example:22", &["-p", "22", "--", "gpu_7.example"]),
            ("ssh://alice@192.0.2.7", &["-l", "alice", "--", "192.0.2.7"]),
            (
                "ssh://a@b.example@gpu7:65535",
                &["-p", "65535", "-l", "a@b.example", "--", "gpu7"],
            ),
            ("ssh://[2001:db8::7]", &["--", "2001:db8::7"]),
            (
                "ssh://root@[fe80::1%eth0]:2222",
                &["-p", "2222", "-l", "root", "--", "fe80::1%eth0"],
            ),
        ] {
            assert_eq!(command(text), [&before[..], expected, &["run this"]].concat(), "{text}");
        }
    }

    #[test]
    fn what_could_be_an_option_or_a_command_is_refused() {
        for text in [
            "gpu7",
            "http://gpu7",
            "ssh:gpu7",
            "ssh://",
            "ssh://@gpu7",
            "ssh://alice@",
            "ssh://-oProxyCommand=true",
            "ssh://-l@gpu7",
            "ssh://alice@-gpu7",
            "ssh://alice:secret@gpu7",
            "ssh://gpu7;id",
            "ssh://gpu7/",
            "ssh://$(id)@gpu7",
            "ssh://`id`",
            "ssh://gpu7%h",
            "ssh://gpu 7",
            "ssh://gpu7\n",
            "ssh://gpü7",
            "ssh://gpu7:",
            "ssh://gpu7:0",
            "ssh://gpu7:65536",
            "ssh://gpu7:22:22",
            "ssh://2001:db8::7",
            "ssh://[2001:db8::7",
            "ssh://[2001:db8::7]22",
            "ssh://[-2001]",
            "ssh://[]",
        ] {
            let error = SshTarget::parse(text).expect_err(text);
            assert!(error.contains("expected"), "{text}: {error}");
        }
    }
}
