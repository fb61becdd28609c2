//! Figures with their units, for people.

/// Bytes in binary units, as used for memory.
#[must_use]
pub fn bytes(count: u128) -> String {
    let units = [
        (1u128 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    scaled(count, &units, "B")
}

/// Bytes per second in decimal units, as used for rates.
#[must_use]
pub fn bytes_per_s(count: u128) -> String {
    let units = [
        (1_000_000_000_000u128, "TB/s"),
        (1_000_000_000, "GB/s"),
        (1_000_000, "MB/s"),
    ];
    scaled(count, &units, "B/s")
}

/// Operations per second; a Tops is 10^12.
#[must_use]
pub fn ops_per_s(count: u128) -> String {
    let units = [
        (1_000_000_000_000u128, "Tops"),
        (1_000_000_000, "Gops"),
        (1_000_000, "Mops"),
    ];
    scaled(count, &units, "ops")
}

/// Four digits, in the largest unit that does not exceed the count.
fn scaled(count: u128, units: &[(u128, &str)], smallest: &str) -> String {
    let Some((size, unit)) = units.iter().find(|(size, _)| count >= *size) else {
        return format!("{count} {smallest}");
    };
    let value = count as f64 / *size as f64;
    let decimals = if value >= 1000.0 {
        0
    } else if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    format!("{value:.decimals$} {unit}")
}

/// A figure whose name ends with its unit, for example `min_memory_bytes`; the bare number for any other name.
#[must_use]
pub fn by_name(name: &str, count: u64) -> String {
    match name {
        name if name.ends_with("ops_per_s") => ops_per_s(count.into()),
        name if name.ends_with("bytes_per_s") => bytes_per_s(count.into()),
        name if name.ends_with("bytes") => bytes(count.into()),
        _ => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_the_largest_that_fit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(16 << 20), "16.00 MiB");
        assert_eq!(bytes(139 << 30), "139.0 GiB");
        assert_eq!(bytes_per_s(4_450_000_000_000), "4.450 TB/s");
        assert_eq!(ops_per_s(1_350_000_000_000_000), "1350 Tops");
        assert_eq!(ops_per_s(412_300_000_000), "412.3 Gops");
    }
}
