//! The host's available memory.

use std::fs;

use crate::cgroup;

/// Bytes that can be allocated without swapping, from the kernel's estimate and the limits of this process's control groups;
/// `None` if the system does not report it.
#[must_use]
pub fn available_memory_bytes() -> Option<u64> {
    let text = |path: &str| fs::read_to_string(path).ok();
    let host = text("/proc/meminfo").and_then(|text| mem_available(&text));
    let groups = text("/proc/self/cgroup").and_then(|own| {
        let mounts = text("/proc/self/mountinfo").unwrap_or_default();
        cgroup::available_bytes(&own, &mounts, |path| fs::read_to_string(path).ok())
    });
    host.into_iter().chain(groups).min()
}

fn mem_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_kib() {
        let text = "MemTotal:       24689660 kB\nMemFree:        100 kB\nMemAvailable:   24000000 kB\n";
        assert_eq!(mem_available(text), Some(24_000_000 * 1024));
        assert_eq!(mem_available("MemTotal: 5 kB\n"), None);
    }
}
