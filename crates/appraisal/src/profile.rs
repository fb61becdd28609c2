//! What a class of GPU can do, as data: one TOML file per class (spec §6, §7; keys in `docs/results.md`).

use std::fmt;
use std::path::Path;

use report::date::is_day;
use report::figure::Figure;
use serde::{Deserialize, Serialize};

use crate::document::{Document, InputError};

/// One class of devices.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Short name, also that of the file, for example `h200`.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// GPU or CPU.
    pub kind: Kind,
    /// Where the figures come from.
    pub status: Status,
    /// A model string belongs to this class if it contains all words of one entry, in any order and case.
    #[serde(default)]
    pub models: Vec<String>,
    /// Words that a model string of this class must not contain.
    #[serde(default)]
    pub not_models: Vec<String>,
    /// What one such device cannot exceed.
    pub capacity: Option<Capacity>,
    /// Where that comes from.
    pub source: Source,
    /// Figures measured in sessions.
    pub measured: Option<MeasuredFigures>,
}

/// The kind of device in a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A GPU.
    Gpu,
    /// A host's CPU: no figure is compared with it.
    Cpu,
}

/// Where a class's figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Sessions with real cards.
    Measured,
    /// A datasheet: no device of the class has been measured with this software.
    Datasheet,
}

/// The most that one device of the class has.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Dense int8 peak, operations/s; absent if no peak of exact int8 products is known.
    pub int8_ops_per_s: Option<u64>,
    /// Memory bandwidth, bytes/s.
    pub bandwidth_bytes_per_s: u64,
    /// Host link inwards, bytes/s.
    pub link_in_bytes_per_s: Option<u64>,
    /// Host link outwards, bytes/s.
    pub link_out_bytes_per_s: Option<u64>,
    /// Links to other GPUs, in total, bytes/s each way; absent if not known.
    pub peer_link_bytes_per_s: Option<u64>,
    /// Power limit as delivered, W.
    pub power_w: Option<f64>,
    /// Caches, shared memory and registers, bytes.
    pub on_chip_bytes: Option<u64>,
    /// Streaming multiprocessors.
    pub sm_count: Option<u32>,
    /// Dense int8 operations of one multiprocessor in one clock, a multiply-add counted as two.
    pub int8_ops_per_clock_and_sm: Option<u32>,
}

/// Where the capacity comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The datasheet's name.
    pub datasheet: Option<String>,
    /// A note on the figures.
    pub note: Option<String>,
}

/// Figures measured in trusted sessions, at one k.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MeasuredFigures {
    /// Day of the last session, `YYYY-MM-DD`.
    pub date: String,
    /// Distinct cards.
    pub cards: u32,
    /// Sessions.
    pub sessions: u32,
    /// k of the fills.
    pub inner_dim: u32,
    /// Fill, lowest expected, operations/s.
    pub fill_low_ops_per_s: u64,
    /// Fill, highest expected, operations/s.
    pub fill_high_ops_per_s: u64,
    /// Share of `fill_low_ops_per_s` that a certified T may fall short by.
    pub fill_tolerance: f64,
    /// Sweep, lowest expected, bytes/s.
    pub sweep_low_bytes_per_s: u64,
    /// Sweep, highest expected, bytes/s.
    pub sweep_high_bytes_per_s: u64,
    /// Share of `sweep_low_bytes_per_s` that a certified B may fall short by.
    pub sweep_tolerance: f64,
    /// Share of the class that lies within the limits, if they are tolerance limits.
    pub content: Option<f64>,
    /// The confidence of that share.
    pub confidence: Option<f64>,
}

/// The data that a class's limits are based on; every verdict based on the class states it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Basis {
    /// Sessions with real cards.
    Measured {
        /// Day of the last session.
        date: String,
        /// Distinct cards.
        cards: u32,
        /// Sessions.
        sessions: u32,
    },
    /// A datasheet: no device of the class has been measured with this software.
    Datasheet,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Basis::Measured { date, cards, sessions } => {
                let plural = |count: u32| if count == 1 { "" } else { "s" };
                let (s, c) = (plural(*sessions), plural(*cards));
                write!(f, "{sessions} session{s} with {cards} card{c}, measured until {date}")
            }
            Basis::Datasheet => f.write_str("a datasheet: nobody has measured the class with this software"),
        }
    }
}

impl Profile {
    /// The data that the class's limits are based on.
    #[must_use]
    pub fn basis(&self) -> Basis {
        self.measured.as_ref().map_or(Basis::Datasheet, |m| Basis::Measured {
            date: m.date.clone(),
            cards: m.cards,
            sessions: m.sessions,
        })
    }

    /// The highest value of a figure for one device of the class; `None` if the class has no number for it.
    #[must_use]
    pub fn most(&self, figure: Figure) -> Option<u64> {
        let capacity = self.capacity.as_ref()?;
        match figure {
            Figure::Memory => Some(capacity.memory_bytes),
            Figure::Bandwidth => Some(capacity.bandwidth_bytes_per_s),
            Figure::Tensor => capacity.int8_ops_per_s,
        }
    }

    /// The profile in `text`; `file` names it in errors, and its stem must be the profile's name.
    ///
    /// # Errors
    ///
    /// [`InputError`] with line and key for unknown keys and for figures that no device can have.
    pub fn parse(file: &str, text: &str) -> Result<Self, InputError> {
        let document = Document::new(file, text);
        let profile: Profile = document.read()?;
        profile.check(&document, file)?;
        Ok(profile)
    }

    /// The profile as TOML that [`Profile::parse`] reads.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a table of plain values")
    }

    fn check(&self, document: &Document<'_>, file: &str) -> Result<(), InputError> {
        let fail = |key: &str, problem: String| Err(document.error(key, problem));
        let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str());
        if stem.is_some_and(|stem| stem != self.name) {
            return fail("name", format!("{:?} in a file of another name", self.name));
        }
        let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(is_word) {
            return fail("name", "expected lower-case letters, digits and hyphens".to_owned());
        }
        for (key, words) in [("models", &self.models), ("not_models", &self.not_models)] {
            if words.iter().any(|entry| words_of(entry).is_empty()) {
                return fail(key, "an entry without words".to_owned());
            }
        }
        match (self.kind, &self.capacity) {
            (Kind::Gpu, None) => return fail("capacity", "missing: a GPU has memory and bandwidth".to_owned()),
            (Kind::Cpu, Some(_)) => return fail("capacity", "a CPU class has no figures".to_owned()),
            _ => {}
        }
        if self.kind == Kind::Gpu && self.models.is_empty() {
            return fail("models", "missing: no model string would be of this class".to_owned());
        }
        match (self.status, &self.measured) {
            (Status::Measured, None) => return fail("status", "measured, but there is no [measured]".to_owned()),
            (Status::Datasheet, Some(_)) => {
                return fail(
                    "status",
                    "datasheet, but there is a [measured]: contradiction".to_owned(),
                );
            }
            _ => {}
        }
        if self.source.datasheet.is_none() && self.source.note.is_none() {
            return fail("source", "names neither a datasheet nor says anything else".to_owned());
        }
        if let Some(capacity) = &self.capacity {
            capacity.check(document)?;
        }
        if let Some(measured) = &self.measured {
            measured.check(document, self.capacity.as_ref())?;
        }
        Ok(())
    }
}

impl Capacity {
    fn check(&self, document: &Document<'_>) -> Result<(), InputError> {
        let figures = [
            ("memory_bytes", Some(self.memory_bytes)),
            ("int8_ops_per_s", self.int8_ops_per_s),
            ("bandwidth_bytes_per_s", Some(self.bandwidth_bytes_per_s)),
            ("link_in_bytes_per_s", self.link_in_bytes_per_s),
            ("link_out_bytes_per_s", self.link_out_bytes_per_s),
            ("peer_link_bytes_per_s", self.peer_link_bytes_per_s),
            ("on_chip_bytes", self.on_chip_bytes),
            ("sm_count", self.sm_count.map(u64::from)),
            (
                "int8_ops_per_clock_and_sm",
                self.int8_ops_per_clock_and_sm.map(u64::from),
            ),
        ];
        if let Some((key, _)) = figures.iter().find(|(_, figure)| *figure == Some(0)) {
            return Err(document.error(&format!("capacity.{key}"), "0; expected a positive number"));
        }
        if let Some(power) = self.power_w.filter(|power| !(power.is_finite() && *power > 0.0)) {
            return Err(document.error("capacity.power_w", format!("{power}; expected a positive number")));
        }
        if self.on_chip_bytes.is_some_and(|bytes| bytes >= self.memory_bytes) {
            return Err(document.error("capacity.on_chip_bytes", "not less than memory_bytes"));
        }
        Ok(())
    }
}

impl MeasuredFigures {
    fn check(&self, document: &Document<'_>, capacity: Option<&Capacity>) -> Result<(), InputError> {
        let fail = |key: &str, problem: String| Err(document.error(&format!("measured.{key}"), problem));
        if !is_day(&self.date) {
            return fail("date", format!("{:?}; expected YYYY-MM-DD", self.date));
        }
        for (key, count) in [
            ("cards", self.cards),
            ("sessions", self.sessions),
            ("inner_dim", self.inner_dim),
        ] {
            if count == 0 {
                return fail(key, "0; expected at least 1".to_owned());
            }
        }
        let shares = [
            ("fill_tolerance", Some(self.fill_tolerance)),
            ("sweep_tolerance", Some(self.sweep_tolerance)),
        ];
        let limits = [("content", self.content), ("confidence", self.confidence)];
        for (key, share) in shares.into_iter().chain(limits) {
            if let Some(share) = share.filter(|share| !(*share > 0.0 && *share < 1.0)) {
                return fail(key, format!("{share}; expected more than 0 and less than 1"));
            }
        }
        if self.content.is_some() != self.confidence.is_some() {
            return fail("content", "content and confidence come together".to_owned());
        }
        let ranges = [
            (
                "fill_low_ops_per_s",
                self.fill_low_ops_per_s,
                self.fill_high_ops_per_s,
                capacity.and_then(|c| c.int8_ops_per_s),
            ),
            (
                "sweep_low_bytes_per_s",
                self.sweep_low_bytes_per_s,
                self.sweep_high_bytes_per_s,
                capacity.map(|c| c.bandwidth_bytes_per_s),
            ),
        ];
        for (key, low, high, peak) in ranges {
            if low == 0 || low > high {
                return fail(key, format!("{low} to {high}: expected positive, lowest first"));
            }
            if peak.is_some_and(|peak| high as f64 > peak as f64 * 1.1) {
                return fail(key, format!("up to {high}, more than the class's capacity"));
            }
        }
        Ok(())
    }
}

/// Letters and digits in runs, upper-case: `A100-SXM4-80GB` is A100, SXM4, 80GB.
pub(crate) fn words_of(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_uppercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const H200: &str = include_str!("../profiles/h200.toml");

    #[test]
    fn nonsense_is_refused_with_line_and_key() {
        let with = |from: &str, to: &str| {
            assert!(H200.contains(from), "{from}");
            Profile::parse("h200.toml", &H200.replace(from, to)).expect_err(to)
        };
        for (from, to, key) in [
            ("power_w = 700", "power_w = -700", "capacity.power_w"),
            ("power_w = 700", "power_w = nan", "capacity.power_w"),
            ("power_w = 700", "power_w = inf", "capacity.power_w"),
            ("power_w = 700", "power_watt = 700", "capacity.power_watt"),
            ("sm_count = 132", "sm_count = -1", "capacity.sm_count"),
            (
                "memory_bytes = 150_754_820_096",
                "memory_bytes = 0",
                "capacity.memory_bytes",
            ),
            (
                "fill_tolerance = 0.10",
                "fill_tolerance = 0.0",
                "measured.fill_tolerance",
            ),
            (
                "sweep_tolerance = 0.10",
                "sweep_tolerance = nan",
                "measured.sweep_tolerance",
            ),
            (
                "sweep_tolerance = 0.10",
                "sweep_tolerance = 1",
                "measured.sweep_tolerance",
            ),
            ("date = \"2026-11-28\"", "date = \"soon\"", "measured.date"),
            ("cards = 8", "cards = 0", "measured.cards"),
            (
                "fill_low_ops_per_s = 1_308",
                "fill_low_ops_per_s = 2_308",
                "measured.fill_low_ops_per_s",
            ),
            ("status = \"measured\"", "status = \"datasheet\"", "status"),
            ("status = \"measured\"", "status = \"guessed\"", "status"),
            ("name = \"h200\"", "name = \"h201\"", "name"),
            ("models = [\"H200\"]", "models = [\"-\"]", "models"),
            ("kind = \"gpu\"", "kind = \"cpu\"", "capacity"),
        ] {
            let error = with(from, to);
            assert_eq!(error.key, key, "{error}");
            let (line, _) = error.position.expect("a position");
            let expected = H200.replace(from, to).lines().position(|l| {
                key.rsplit('.')
                    .next()
                    .is_some_and(|k| l.starts_with(&format!("{k} =")) || l == format!("[{k}]"))
            });
            assert_eq!(Some(line - 1), expected, "{error}");
        }
        assert!(with("[source]", "[sauce]").to_string().contains("sauce"));
        assert!(
            with("name = \"h200\"", "name = \"h200\"\nname = \"h200\"")
                .position
                .is_some()
        );
    }
}
