//! All processes that a command has started, so that they end with it.
//!
//! A separate process group for the command would be enough, but not for `ssh HOST`, which asks for a password at the
//! terminal: the system stops a group in the background that reads there, before it has asked
//! (`terminal: a_command_may_ask_at_the_terminal`). So the command stays in the Verifier's group. The Verifier becomes the
//! parent of every process that its descendants leave behind, and finds them all from itself. Processes in a session of
//! their own are left: a daemon, say the connection that ssh keeps open for others (ControlPersist).

#[cfg(target_os = "linux")]
pub(super) use linux::{adopt, signal};
#[cfg(not(target_os = "linux"))]
pub(super) use none::{adopt, signal};

/// How a process is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// The process may clean up, or refuse.
    Terminate,
    /// The process cannot refuse.
    Kill,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{HashMap, HashSet};
    use std::fs;

    use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

    use super::Ask;

    /// Makes this process the parent of what its descendants leave behind.
    pub(crate) fn adopt() {
        // Linux has this since 3.4; without it only orphans are not found.
        let _ = set_child_subreaper(Some(getpid()));
    }

    /// Asks every descendant in this session to end, but none of `asked` again; returns how many there are. `child` is
    /// waited for by other code.
    pub(crate) fn signal(child: u32, ask: Ask, asked: &mut HashSet<i32>) -> usize {
        let own = getpid().as_raw_nonzero().get();
        let found = descendants(own);
        for process in &found {
            let Some(pid) = Pid::from_raw(process.pid) else {
                continue;
            };
            if !process.is_dead {
                // Many programs treat a second request to end as an order to exit at once, including this project's own agent.
                if !asked.insert(process.pid) {
                    continue;
                }
                let signal = match ask {
                    Ask::Terminate => Signal::TERM,
                    Ask::Kill => Signal::KILL,
                };
                // It may have ended since it was listed, or belong to another user.
                let _ = kill_process(pid, signal);
            } else if process.parent == own && u32::try_from(process.pid) != Ok(child) {
                // Adopted: no other code waits for it.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
        found.iter().filter(|process| !process.is_dead).count()
    }

    struct Process {
        pid: i32,
        parent: i32,
        session: i32,
        /// Ended, but not yet waited for.
        is_dead: bool,
    }

    /// All descendants of `root` in its session.
    fn descendants(root: i32) -> Vec<Process> {
        let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
        let mut session = None;
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            // A process that ends meanwhile can no longer be read.
            let Some(process) = pid.and_then(read) else { continue };
            if process.pid == root {
                session = Some(process.session);
            }
            children.entry(process.parent).or_default().push(process);
        }
        let (mut found, mut next, mut seen) = (Vec::new(), vec![root], HashSet::new());
        while let Some(parent) = next.pop() {
            for process in children.remove(&parent).into_iter().flatten() {
                if seen.insert(process.pid) {
                    next.push(process.pid);
                    found.push(process);
                }
            }
        }
        found.retain(|process| Some(process.session) == session);
        found
    }

    fn read(pid: i32) -> Option<Process> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may be any bytes, parentheses too.
        let after = stat.iter().rposition(|&byte| byte == b')')? + 1;
        let mut fields = str::from_utf8(&stat[after..]).ok()?.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let _group = fields.next()?;
        Some(Process {
            pid,
            parent,
            session: fields.next()?.parse().ok()?,
            is_dead: matches!(state, "Z" | "X" | "x"),
        })
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use super::Ask;

    /// Other systems have no such list of descendants: there only the command itself is ended.
    pub(crate) fn adopt() {}

    pub(crate) fn signal(_child: u32, _ask: Ask, _asked: &mut std::collections::HashSet<i32>) -> usize {
        0
    }
}
