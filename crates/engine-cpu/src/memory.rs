//! The host's available memory.

use std::fs;

/// Bytes that can be allocated without swapping, from the kernel's estimate and the control group's limit; `None` if
/// the system does not report it.
#[must_use]
pub fn available_memory_bytes() -> Option<u64> {
    let host = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| mem_available(&text));
    let group = [
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ]
    .into_iter()
    .find_map(|(limit, used)| Some(number(limit)?.saturating_sub(number(used)?)));
    host.into_iter().chain(group).min()
}

/// The number in a file; `None` for `max`.
fn number(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
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
