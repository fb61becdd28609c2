//! The arithmetic peak of int8 products by compute capability.

/// Dense int8 multiply-adds per clock and multiprocessor, from NVIDIA's data sheets (rate / SMs / boost clock). `None`
/// if no sheet has a matching figure.
fn int8_multiply_adds_per_clock(capability: (u32, u32)) -> Option<u32> {
    match capability {
        (7, 5) | (8, 6) | (8, 9) | (12, _) => Some(1024),
        (8, 0) | (8, 7) => Some(2048),
        (9, 0) => Some(4096),
        (10, 0) => Some(8192),
        _ => None,
    }
}

/// 10^12 operations per second, two per multiply-add, at a clock.
pub(super) fn int8_tops(capability: (u32, u32), multiprocessors: u32, clock_mhz: f64) -> Option<f64> {
    let multiply_adds = int8_multiply_adds_per_clock(capability)?;
    Some(2.0 * f64::from(multiply_adds) * f64::from(multiprocessors) * clock_mhz * 1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dense int8 rates of data sheets, within 1 %.
    #[test]
    fn data_sheets_agree() {
        for (name, capability, multiprocessors, mhz, tops) in [
            ("T4", (7, 5), 40, 1590.0, 130.0),
            ("A100 SXM", (8, 0), 108, 1410.0, 624.0),
            ("RTX 3090", (8, 6), 82, 1695.0, 284.0),
            ("RTX 4090", (8, 9), 128, 2520.0, 660.6),
            ("H100 SXM", (9, 0), 132, 1830.0, 1979.0),
            ("RTX 5090", (12, 0), 170, 2407.0, 838.0),
        ] {
            let peak = int8_tops(capability, multiprocessors, mhz).expect("in the table");
            assert!((peak / tops - 1.0).abs() < 0.01, "{name}: {peak}, expected {tops}");
        }
        assert_eq!(int8_tops((10, 3), 160, 1900.0), None);
    }
}
