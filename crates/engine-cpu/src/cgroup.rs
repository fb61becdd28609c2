//! Memory that the control groups of this process still allow (cgroup v1 and v2).
//!
//! A limit holds for a group and all groups below it, so each group from the process's own up to the root of the mount is
//! asked. Cache that the kernel can take back is not counted as used: after reading large files a container's usage is
//! near its limit, and all of that cache is free for whoever allocates.

use std::path::{Path, PathBuf};

/// The smallest amount that one of the groups still allows; `None` where no group has a limit.
///
/// `own` is `/proc/self/cgroup`, `mounts` is `/proc/self/mountinfo`, and `read` gives a file's text.
pub(crate) fn available_bytes(own: &str, mounts: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut least = None;
    for (version, path) in own.lines().filter_map(membership) {
        for group in version.groups(mounts, path) {
            let text = |file: &str| read(&group.join(file));
            least = least.into_iter().chain(version.group_bytes(text)).min();
        }
    }
    least
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

/// The version and the path of a line of `/proc/self/cgroup` whose hierarchy can limit memory.
fn membership(line: &str) -> Option<(Version, &str)> {
    let mut fields = line.splitn(3, ':');
    let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    match controllers {
        "" if hierarchy == "0" => Some((Version::Two, path)),
        _ if controllers.split(',').any(|name| name == "memory") => Some((Version::One, path)),
        _ => None,
    }
}

impl Version {
    /// The folders of the group at `path` and of all groups above it that are mounted here.
    fn groups(self, mounts: &str, path: &str) -> Vec<PathBuf> {
        let (root, point) = mounts.lines().find_map(|line| self.mount(line)).unwrap_or_else(|| {
            let usual = match self {
                Version::One => "/sys/fs/cgroup/memory",
                Version::Two => "/sys/fs/cgroup",
            };
            ("/".to_owned(), PathBuf::from(usual))
        });
        // A group outside of what is mounted here, as in a container with the host's paths: only the mount can be asked.
        let inside = Path::new(path).strip_prefix(&root).unwrap_or(Path::new(""));
        let is_plain = |path: &Path| !path.components().any(|part| part.as_os_str() == "..");
        let inside = if is_plain(inside) { inside } else { Path::new("") };
        inside.ancestors().map(|group| point.join(group)).collect()
    }

    /// The root and the place of a mount of this version, of a line of `mountinfo`.
    fn mount(self, line: &str) -> Option<(String, PathBuf)> {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (file_system, options) = (kind.next()?, kind.nth(1)?);
        let is_ours = match self {
            Version::One => file_system == "cgroup" && options.split(',').any(|name| name == "memory"),
            Version::Two => file_system == "cgroup2",
        };
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        is_ours.then(|| (unescaped(root), PathBuf::from(unescaped(point))))
    }

    /// What one group still allows; `text` gives the text of one of its files.
    fn group_bytes(self, text: impl Fn(&str) -> Option<String>) -> Option<u64> {
        let number = |file| text(file)?.trim().parse::<u64>().ok();
        let stat = text("memory.stat").unwrap_or_default();
        let figure = |name| figure(&stat, name);
        let (limit, used) = match self {
            // `max` is no number: no limit.
            Version::Two => (number("memory.max"), number("memory.current")),
            // Groups above that are not visible here are in the hierarchical limit.
            Version::One => (
                number("memory.limit_in_bytes")
                    .into_iter()
                    .chain(figure("hierarchical_memory_limit"))
                    .min(),
                number("memory.usage_in_bytes"),
            ),
        };
        // Version 1 counts those below a group under names of their own.
        let with_below = |total, own| figure(total).or_else(|| figure(own)).unwrap_or(0);
        let reclaimable = with_below("total_inactive_file", "inactive_file")
            .saturating_add(with_below("total_active_file", "active_file"))
            .saturating_add(figure("slab_reclaimable").unwrap_or(0));
        Some(limit?.saturating_sub(used?.saturating_sub(reclaimable)))
    }
}

fn figure(stat: &str, name: &str) -> Option<u64> {
    let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
}

/// A field of `mountinfo`: spaces, tabs, line feeds and backslashes are octal there.
fn unescaped(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (code, character)| {
            text.replace(code, character)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNT_2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const MOUNT_1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n";

    fn available(own: &str, mounts: &str, files: &[(&str, &str)]) -> Option<u64> {
        available_bytes(own, mounts, |path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn cache_that_can_be_reclaimed_is_available() {
        let files = [
            ("/sys/fs/cgroup/memory.max", "68719476736\n"),
            ("/sys/fs/cgroup/memory.current", "68700000000\n"),
            (
                "/sys/fs/cgroup/memory.stat",
                "anon 104857600\nfile 68500000000\ninactive_file 68000000000\nactive_file 500000000\nslab_reclaimable 7\n",
            ),
        ];
        let used = 68_700_000_000 - 68_500_000_007;
        assert_eq!(available("0::/\n", MOUNT_2, &files), Some(68_719_476_736 - used));
        // Without figures of the cache all of it counts as used; shared memory in `file` cannot be had back.
        assert_eq!(available("0::/\n", MOUNT_2, &files[..2]), Some(19_476_736));
        // What the figures say may be of different moments.
        let later = [files[0], ("/sys/fs/cgroup/memory.current", "5"), files[2]];
        assert_eq!(available("0::/\n", MOUNT_2, &later), Some(68_719_476_736));
    }

    #[test]
    fn the_least_of_the_own_group_and_those_above_counts() {
        let own = "0::/system.slice/job_1/step_0\n";
        let step = [
            ("/sys/fs/cgroup/system.slice/job_1/step_0/memory.max", "268435456\n"),
            ("/sys/fs/cgroup/system.slice/job_1/step_0/memory.current", "8388608\n"),
        ];
        assert_eq!(available(own, MOUNT_2, &step), Some(260_046_848));
        let job = [
            ("/sys/fs/cgroup/system.slice/job_1/memory.max", "9000000\n"),
            ("/sys/fs/cgroup/system.slice/job_1/memory.current", "8388608\n"),
            ("/sys/fs/cgroup/system.slice/job_1/step_0/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/job_1/step_0/memory.current", "8388608\n"),
        ];
        assert_eq!(available(own, MOUNT_2, &job), Some(611_392));
        // Another group's limit is not this process's.
        assert_eq!(available("0::/user.slice\n", MOUNT_2, &step), None);
        // More than the limit is in use already.
        let over = [
            ("/sys/fs/cgroup/memory.max", "5"),
            ("/sys/fs/cgroup/memory.current", "6"),
        ];
        assert_eq!(available("0::/\n", MOUNT_2, &over), Some(0));
    }

    #[test]
    fn version_1_has_its_own_names() {
        let own = "9:name=systemd:/x\n4:cpu,memory:/slurm/job\n0::/\n";
        let files = [
            (
                "/sys/fs/cgroup/memory/slurm/job/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
            ("/sys/fs/cgroup/memory/slurm/job/memory.usage_in_bytes", "900\n"),
            (
                "/sys/fs/cgroup/memory/slurm/job/memory.stat",
                "inactive_file 1\nhierarchical_memory_limit 1000\ntotal_inactive_file 500\ntotal_active_file 100\n",
            ),
        ];
        assert_eq!(available(own, MOUNT_1, &files), Some(700));
        // Both versions are mounted, and the second has no figures of memory.
        let unified = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(available(own, &format!("{unified}{MOUNT_1}"), &files), Some(700));
        // Without a list of mounts the usual place is asked.
        assert_eq!(available(own, "", &files), Some(700));
    }

    #[test]
    fn a_container_sees_a_part_of_the_tree() {
        let files = [
            ("/cg mem/memory.limit_in_bytes", "1000"),
            ("/cg mem/memory.usage_in_bytes", "100"),
            ("/cg mem/step/memory.limit_in_bytes", "500"),
            ("/cg mem/step/memory.usage_in_bytes", "100"),
        ];
        let mount = "35 31 0:32 /docker/ab /cg\\040mem rw,relatime - cgroup cgroup rw,memory\n";
        assert_eq!(available("4:memory:/docker/ab\n", mount, &files), Some(900));
        assert_eq!(available("4:memory:/docker/ab/step\n", mount, &files), Some(400));
        // The host's path, or one outside of the name space.
        for own in [
            "4:memory:/elsewhere\n",
            "4:memory:/../../x\n",
            "4:memory:/docker/ab/../step\n",
        ] {
            assert_eq!(available(own, mount, &files), Some(900), "{own}");
        }
        assert_eq!(available("", mount, &files), None);
        assert_eq!(available("nonsense\n4:memory\n", "nonsense - cgroup\n", &files), None);
    }
}
