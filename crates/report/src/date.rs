//! Dates for people.

use std::time::{Duration, UNIX_EPOCH};

/// The first millisecond since the Unix epoch that has no date: the year 10000.
const END_OF_DATES_MS: u64 = 253_402_300_800_000;

/// `YYYY-MM-DD HH:MM:SS`, UTC, or the number alone if the year has more than four digits.
#[must_use]
pub fn date(unix_ms: u64) -> String {
    if unix_ms >= END_OF_DATES_MS {
        return format!("{unix_ms} ms since the Unix epoch");
    }
    let at = UNIX_EPOCH + Duration::from_millis(unix_ms);
    let text = humantime::format_rfc3339_seconds(at).to_string();
    text.replace('T', " ").replace('Z', "")
}

/// Whether `text` is a day of the calendar, `YYYY-MM-DD`.
#[must_use]
pub fn is_day(text: &str) -> bool {
    humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, expected) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_764_000_000, "2025-11-24 16:00:00"),
            (4_107_542_400, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(date(unix_s * 1000), expected);
        }
        for (text, expected) in [
            ("2026-11-28", true),
            ("2026-02-29", false),
            ("2026-1-28", false),
            ("26-11-28", false),
            ("+026-11-28", false),
            ("2026-11-28 ", false),
            ("2026-11-28T00:00:00Z", false),
            ("", false),
        ] {
            assert_eq!(is_day(text), expected, "{text:?}");
        }
        assert_eq!(date(END_OF_DATES_MS - 1), "9999-12-31 23:59:59");
        assert_eq!(date(u64::MAX), "18446744073709551615 ms since the Unix epoch");
    }
}
