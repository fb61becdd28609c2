//! Parsers for option values; each error says what was expected.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use protocol::bytes::DeviceOrdinal;
use protocol::limits::{INNER_DIM_RANGE, INNER_DIM_STEP, MAX_DEVICES, MAX_SWEEPS_PER_ITERATION, MAX_TEXT_BYTES};
use protocol::plan::Iteration;
use protocol::printable::is_printable;
use verifier::preset::Preset;

/// The maximum number of threads.
const MAX_THREADS: usize = 1024;

/// The shortest useful time: deadlines count milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// Bytes of a size like `512MiB` or `24GB`.
///
/// # Errors
///
/// What was expected instead.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let size: ByteSize = text.parse().map_err(|_| "expected a size like 512MiB".to_owned())?;
    // ByteSize saturates at this value.
    if size.as_u64() == u64::MAX {
        return Err("expected a size like 512MiB, below 16EiB".to_owned());
    }
    Ok(size.as_u64())
}

/// A time of at least a millisecond, like `90s` or `2h`.
///
/// # Errors
///
/// What was expected instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).ok();
    duration
        .filter(|duration| *duration >= SHORTEST)
        .ok_or_else(|| "expected a duration like 90s or 2h, at least 1ms".to_owned())
}

/// A time in RFC 3339 format, like `2026-11-24T12:00:00Z`.
///
/// # Errors
///
/// What was expected instead.
pub fn parse_time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339_weak(text).map_err(|_| "expected a time of RFC 3339 like 2026-11-24T12:00:00Z".to_owned())
}

/// A number of threads, 1 to 1024.
///
/// # Errors
///
/// What was expected instead.
pub fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    at_most(MAX_THREADS, text)
}

/// A number of devices, from 1 to the maximum of a plan.
///
/// # Errors
///
/// What was expected instead.
pub fn parse_devices(text: &str) -> Result<NonZeroUsize, String> {
    at_most(MAX_DEVICES, text)
}

fn at_most(most: usize, text: &str) -> Result<NonZeroUsize, String> {
    let count = text.parse().ok();
    count
        .filter(|count: &NonZeroUsize| count.get() <= most)
        .ok_or_else(|| format!("expected 1 to {most}"))
}

/// The audience of evidence: a text that PLAN can carry (spec §8).
///
/// # Errors
///
/// What was expected instead.
pub fn parse_audience(text: &str) -> Result<String, String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!(
            "expected at most {MAX_TEXT_BYTES} bytes; it has {}",
            text.len()
        ));
    }
    if !text.chars().all(is_printable) {
        return Err("expected printable characters: no control or format characters".to_owned());
    }
    Ok(text.to_owned())
}

/// Device ordinals of a list like `0,2,5` or `0-3,6`.
///
/// # Errors
///
/// The part that is no ordinal and no range, a duplicate, or that there are more than fit in a session.
pub fn parse_ordinals(text: &str) -> Result<Vec<DeviceOrdinal>, String> {
    let mut ordinals = Vec::new();
    for part in text.split(',') {
        let wrong = || format!("{part:?} is no device ordinal; expected a list like 0,2 or 0-3");
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let ordinal = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
        let (first, last) = (ordinal(first)?, ordinal(last)?);
        if first > last {
            return Err(wrong());
        }
        for ordinal in (first..=last).map(DeviceOrdinal) {
            if ordinals.contains(&ordinal) {
                return Err(format!("device {ordinal} is named twice"));
            }
            if ordinals.len() == MAX_DEVICES {
                return Err(format!("more than {MAX_DEVICES} devices, the most of a session"));
            }
            ordinals.push(ordinal);
        }
    }
    ordinals.sort();
    Ok(ordinals)
}

/// The iterations of a session: a list that clap takes as one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iterations(pub Vec<Iteration>);

/// Iterations of a list like `20480:32:500000,2048:2`: k and sweeps of each, and how many leaves cross in its rounds, if it has
/// some.
///
/// # Errors
///
/// The part that is no iteration, and what a plan allows (spec §9.2).
pub fn parse_iterations(text: &str) -> Result<Iterations, String> {
    let iteration = |part: &str| {
        let (inner_dim, passes) = part.trim().split_once(':')?;
        let (sweeps, crossings) = passes.split_once(':').unwrap_or((passes, "0"));
        let (inner_dim, sweeps): (u32, u32) = (inner_dim.parse().ok()?, sweeps.parse().ok()?);
        let crossings = crossings.parse().ok()?;
        let is_valid = INNER_DIM_RANGE.contains(&inner_dim)
            && inner_dim.is_multiple_of(INNER_DIM_STEP)
            && (1..=MAX_SWEEPS_PER_ITERATION).contains(&sweeps);
        is_valid.then_some(Iteration {
            crossings,
            ..Iteration::new(inner_dim, sweeps)
        })
    };
    let mut iterations = Vec::new();
    for part in text.split(',') {
        let iteration = iteration(part).ok_or_else(|| {
            format!(
                "{part:?} is no iteration; expected K:SWEEPS or K:SWEEPS:CROSSINGS, k a multiple of {INNER_DIM_STEP} up to {}, sweeps 1 to \
                 {MAX_SWEEPS_PER_ITERATION}",
                INNER_DIM_RANGE.end()
            )
        })?;
        iterations.push(iteration);
    }
    Ok(Iterations(iterations))
}

/// The values of `--preset`, each with its description in the help and in completions.
#[must_use]
pub fn preset_parser() -> impl TypedValueParser<Value = Preset> {
    let values = Preset::ALL.map(|preset| PossibleValue::new(preset.name()).help(preset.about()));
    PossibleValuesParser::new(values).try_map(|name| name.parse::<Preset>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_lists_are_parsed_or_explained() {
        assert_eq!(parse_bytes("512MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("24GB"), Ok(24_000_000_000));
        for wrong in ["much", "", "5x", "99999999TiB", "16EiB"] {
            assert!(
                parse_bytes(wrong).is_err_and(|e| e.contains("expected a size like 512MiB")),
                "{wrong}"
            );
        }
        assert_eq!(parse_ordinals("2, 0"), Ok(vec![DeviceOrdinal(0), DeviceOrdinal(2)]));
        assert!(parse_ordinals("0,x").is_err_and(|e| e.contains("\"x\"")));
        assert!(parse_ordinals("1,1").is_err_and(|e| e.contains("twice")));
        assert_eq!(parse_ordinals("5,0-2"), Ok([0, 1, 2, 5].map(DeviceOrdinal).to_vec()),);
        for wrong in ["2-0", "1-", "-1", "0-1-2", ""] {
            assert!(
                parse_ordinals(wrong).is_err_and(|e| e.contains("expected a list")),
                "{wrong}"
            );
        }
        assert!(parse_ordinals("0-2,1").is_err_and(|e| e.contains("twice")));
        assert!(parse_ordinals("0-4294967295").is_err_and(|e| e.contains("more than 64")));
    }

    #[test]
    fn iterations_are_those_of_a_plan() {
        let iteration = |inner_dim, sweeps| Iteration::new(inner_dim, sweeps);
        let parsed = parse_iterations("20480:31:9, 2048:2").expect("valid");
        let crossing = Iteration {
            crossings: 9,
            ..iteration(20_480, 31)
        };
        assert_eq!(parsed, Iterations(vec![crossing, iteration(2048, 2)]));
        for wrong in [
            "",
            "20480",
            "20480:0",
            "100:2",
            "65600:2",
            "2048:4097",
            "2048:2,",
            "-64:2",
            "2048:2:",
            "2048:2:-1",
            "2048:2:2:2",
        ] {
            assert!(
                parse_iterations(wrong).is_err_and(|e| e.contains("expected K:SWEEPS")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn times_and_counts_of_nothing_are_refused() {
        assert_eq!(parse_duration("1ms"), Ok(Duration::from_millis(1)));
        for wrong in ["0s", "999us", "soon", "", "90"] {
            assert!(
                parse_duration(wrong).is_err_and(|e| e.contains("expected a duration like")),
                "{wrong}"
            );
        }
        assert!(parse_time("soon").is_err_and(|e| e.contains("RFC 3339")));
        assert_eq!(parse_threads("1024").map(NonZeroUsize::get), Ok(1024));
        for wrong in ["0", "1025", "-1", "many"] {
            assert_eq!(parse_threads(wrong), Err("expected 1 to 1024".to_owned()));
        }
        assert_eq!(parse_devices("65"), Err("expected 1 to 64".to_owned()));
    }

    #[test]
    fn an_audience_is_what_plan_can_carry() {
        let longest = "a".repeat(256);
        assert_eq!(parse_audience(&longest), Ok(longest.clone()));
        assert!(parse_audience(&(longest + "a")).is_err_and(|e| e.contains("it has 257")));
        for unprintable in ["a\nb", "a\u{202E}b", "a\u{FFFF}"] {
            assert!(parse_audience(unprintable).is_err_and(|e| e.contains("no control or format characters")));
        }
    }
}
