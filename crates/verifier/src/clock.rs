//! The Verifier's clock (spec §5.3): it is monotonic and continues while its host is suspended.

/// Time since it was started.
///
/// A clock that stopped while the Verifier's host was suspended would make windows too short, and bounds too high. On
/// Linux it is `CLOCK_BOOTTIME`; elsewhere it is the standard library's clock, which may stop, so a Verifier there must
/// not be suspended.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Start);

#[cfg(any(target_os = "linux", target_os = "android"))]
type Start = u128;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
type Start = std::time::Instant;

impl Clock {
    /// A clock at 0.
    #[must_use]
    pub fn start() -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let start = since_boot_ns();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let start = std::time::Instant::now();
        Clock(start)
    }

    /// Time since the start, ns.
    #[must_use]
    pub fn now_ns(self) -> u64 {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let elapsed_ns = since_boot_ns().saturating_sub(self.0);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let elapsed_ns = self.0.elapsed().as_nanos();
        u64::try_from(elapsed_ns).unwrap_or(u64::MAX)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn since_boot_ns() -> u128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Both are counted from boot on and never negative.
    u128::from(now.tv_sec.unsigned_abs()) * 1_000_000_000 + u128::from(now.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn it_never_goes_back_and_is_not_slow() {
        let (clock, after) = (Clock::start(), Instant::now());
        let mut last_ns = 0;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(1));
            let (at_least, now_ns) = (after.elapsed(), clock.now_ns());
            assert!(now_ns > last_ns);
            // The rounding error of either clock, and no more.
            assert!(Duration::from_nanos(now_ns) + Duration::from_millis(1) >= at_least);
            last_ns = now_ns;
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_counts_what_the_host_slept() {
        // `/proc/uptime` counts from boot, including suspend, in hundredths of a second.
        let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux has it");
        let seconds: f64 = uptime.split(' ').next().and_then(|s| s.parse().ok()).expect("seconds");
        let ours = since_boot_ns() as f64 / 1e9;
        assert!((ours - seconds).abs() < 1.0, "{ours} against {seconds}");
    }
}
