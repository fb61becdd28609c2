//! What a class of GPU can do, as data: one TOML file a class (spec §6, §7; keys in `docs/results.md`).

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::document::{Document, InputError};

/// One class of devices.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Short name, the file's too, say `h200`.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// GPU or CPU.
    pub kind: Kind,
    /// Where the figures come from.
    pub status: Status,
    /// A model string is of this class if it holds all words of one entry, in any order and case.
    #[serde(default)]
    pub models: Vec<String>,
    /// Words that a model string of this class does not hold.
    #[serde(default)]
    pub not_models: Vec<String>,
    /// What one such device cannot exceed.
    pub capacity: Option<Capacity>,
    /// Where that comes from.
    pub source: Source,
    /// What sessions gave.
    pub measured: Option<MeasuredFigures>,
}

/// What a class is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A GPU.
    Gpu,
    /// A host's CPU: no figure is held against it.
    Cpu,
}

/// Where a class's figures come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Sessions with real cards, counted in [`MeasuredFigures`].
    Measured,
    /// A datasheet: nobody has measured one with this software.
    Datasheet,
}

/// What one device of the class has at most.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Dense int8 peak, operations/s; absent where exact int8 products have no known peak.
    pub int8_ops_per_s: Option<u64>,
    /// Memory bandwidth, bytes/s.
    pub bandwidth_bytes_per_s: u64,
    /// Host link inwards, bytes/s.
    pub link_in_bytes_per_s: Option<u64>,
    /// Host link outwards, bytes/s.
    pub link_out_bytes_per_s: Option<u64>,
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
    /// What to know about the figures.
    pub note: Option<String>,
}

/// What trusted sessions gave, at one k.
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
    /// Share of the class that lies within the limits, where they are tolerance limits.
    pub content: Option<f64>,
    /// With which confidence.
    pub confidence: Option<f64>,
}

impl Profile {
    /// The profile in `text`; `file` names it in errors, and its stem must be the profile's name.
    ///
    /// # Errors
    ///
    /// [`InputError`] with line and key for unknown keys and for figures no device has.
    pub fn parse(file: &str, text: &str) -> Result<Self, InputError> {
        let document = Document::new(file, text);
        let profile: Profile = document.read()?;
        profile.check(&document, file)?;
        Ok(profile)
    }

    /// The profile as TOML that [`Profile::parse`] reads.
    ///
    /// # Panics
    ///
    /// Never: every profile is a table of plain values.
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
        if !is_date(&self.date) {
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

/// The classes that are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Profiles(Vec<Profile>);

/// Why a folder holds no profiles.
#[derive(Debug, thiserror::Error)]
pub enum ProfilesError {
    /// The folder or a file in it cannot be read.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file is no profile.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Two classes of one name.
    #[error("two profiles are named {0}")]
    Duplicate(String),
}

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../profiles/", $name)))),*]
    };
}

/// The profiles that come with this crate: file name and text.
pub const EMBEDDED: [(&str, &str); 19] = embedded![
    "h200.toml",
    "h100-sxm.toml",
    "h100-pcie.toml",
    "h100-nvl.toml",
    "a100-40.toml",
    "a100-80.toml",
    "l40s.toml",
    "l4.toml",
    "a10.toml",
    "rtx-3090.toml",
    "rtx-4090.toml",
    "rtx-5090.toml",
    "rtx-6000-ada.toml",
    "rtx-pro-6000.toml",
    "b200.toml",
    "b300.toml",
    "gh200.toml",
    "t4.toml",
    "cpu.toml",
];

impl Profiles {
    /// The profiles that come with this crate.
    ///
    /// # Panics
    ///
    /// If one of them does not parse, which a test excludes.
    #[must_use]
    pub fn embedded() -> Self {
        let parse = |(file, text): (&str, &str)| Profile::parse(file, text).unwrap_or_else(|e| panic!("{e}"));
        Profiles(EMBEDDED.into_iter().map(parse).collect())
    }

    /// The profiles of `list`.
    ///
    /// # Errors
    ///
    /// [`ProfilesError::Duplicate`].
    pub fn new(list: Vec<Profile>) -> Result<Self, ProfilesError> {
        let is_first = |(at, profile): &(usize, &Profile)| !list[..*at].iter().any(|p| p.name == profile.name);
        if let Some((_, profile)) = list.iter().enumerate().find(|entry| !is_first(entry)) {
            return Err(ProfilesError::Duplicate(profile.name.clone()));
        }
        Ok(Profiles(list))
    }

    /// These profiles with those of the folder's `*.toml` files: same names replace, others are added.
    ///
    /// # Errors
    ///
    /// [`ProfilesError`] for what cannot be read; nothing is skipped.
    pub fn overridden_by(mut self, folder: &Path) -> Result<Self, ProfilesError> {
        let io = |path: &Path, error| ProfilesError::Io {
            path: path.display().to_string(),
            error,
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(|e| io(folder, e))? {
            let path = entry.map_err(|e| io(folder, e))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            let text = fs::read_to_string(&path).map_err(|e| io(&path, e))?;
            let profile = Profile::parse(&path.display().to_string(), &text)?;
            match self.0.iter_mut().find(|known| known.name == profile.name) {
                Some(known) => *known = profile,
                None => self.0.push(profile),
            }
        }
        Ok(self)
    }

    /// Every class, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.0.iter()
    }

    /// The class of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Profile> {
        self.0.iter().find(|profile| profile.name == name)
    }

    /// The classes that a device of this engine and model says it is: none, one, or, of too short a name, several.
    ///
    /// Entries of more words outdo those of fewer.
    #[must_use]
    pub fn claimed(&self, engine: &str, model: &str) -> Vec<&Profile> {
        if engine.eq_ignore_ascii_case("cpu") {
            return self.0.iter().filter(|p| p.kind == Kind::Cpu).collect();
        }
        let words = words_of(model);
        let has = |word: &String| words.contains(word);
        let score = |profile: &&Profile| -> usize {
            if profile.not_models.iter().any(|entry| words_of(entry).iter().all(has)) {
                return 0;
            }
            let entries = profile.models.iter().map(|entry| words_of(entry));
            let matching = entries.filter(|entry| entry.iter().all(has));
            matching.map(|entry| entry.len()).max().unwrap_or(0)
        };
        let best = self.0.iter().map(|profile| score(&profile)).max().unwrap_or(0);
        self.0
            .iter()
            .filter(|profile| best > 0 && score(profile) == best)
            .collect()
    }

    /// BLAKE3 over all of them, hex: a verdict says which profiles it used.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for profile in &self.0 {
            let text = profile.to_toml();
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Letters and digits in runs, upper-case: `A100-SXM4-80GB` is A100, SXM4, 80GB.
fn words_of(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_uppercase)
        .collect()
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |part: &str| {
        part.parse::<u32>()
            .ok()
            .filter(|_| part.bytes().all(|b| b.is_ascii_digit()))
    };
    match parts[..] {
        [year, month, day] => {
            year.len() == 4
                && number(year).is_some()
                && month.len() == 2
                && number(month).is_some_and(|m| (1..=12).contains(&m))
                && day.len() == 2
                && number(day).is_some_and(|d| (1..=31).contains(&d))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H200: &str = include_str!("../profiles/h200.toml");

    #[test]
    fn embedded_profiles_parse_and_survive_being_written() {
        let profiles = Profiles::embedded();
        assert_eq!(profiles.iter().count(), EMBEDDED.len());
        for profile in profiles.iter() {
            let file = format!("{}.toml", profile.name);
            assert_eq!(Profile::parse(&file, &profile.to_toml()).as_ref(), Ok(profile));
        }
        let measured: Vec<_> = profiles
            .iter()
            .filter(|p| p.status == Status::Measured)
            .map(|p| &p.name[..])
            .collect();
        assert_eq!(measured, ["h200"], "only what was measured says so");
    }

    #[test]
    fn models_are_of_the_class_they_name() {
        let profiles = Profiles::embedded();
        for (model, expected) in [
            ("NVIDIA H200", "h200"),
            ("NVIDIA H100 80GB HBM3", "h100-sxm"),
            ("NVIDIA H100 PCIe", "h100-pcie"),
            ("NVIDIA H100 NVL", "h100-nvl"),
            ("NVIDIA A100-SXM4-40GB", "a100-40"),
            ("NVIDIA A100-PCIE-40GB", "a100-40"),
            ("NVIDIA A100-SXM4-80GB", "a100-80"),
            ("NVIDIA A100 80GB PCIe", "a100-80"),
            ("NVIDIA L40S", "l40s"),
            ("NVIDIA L4", "l4"),
            ("NVIDIA A10", "a10"),
            ("NVIDIA GeForce RTX 3090", "rtx-3090"),
            ("NVIDIA GeForce RTX 4090", "rtx-4090"),
            ("NVIDIA GeForce RTX 5090", "rtx-5090"),
            ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
            ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000"),
            ("NVIDIA B200", "b200"),
            ("NVIDIA B300 SXM6 AC", "b300"),
            ("NVIDIA GH200 480GB", "gh200"),
            ("Tesla T4", "t4"),
        ] {
            let claimed: Vec<_> = profiles.claimed("cuda", model).iter().map(|p| &p.name[..]).collect();
            assert_eq!(claimed, [expected], "{model}");
        }
        for model in [
            "NVIDIA H200 MIG 1g.18gb",
            "NVIDIA A10G",
            "NVIDIA GeForce RTX 4090 D",
            "",
            "RTX",
            "NVIDIA H100",
        ] {
            assert!(profiles.claimed("cuda", model).is_empty(), "{model}");
        }
        assert_eq!(profiles.claimed("cpu", "Xeon")[0].name, "cpu");
    }

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
            ("date = \"2026-11-24\"", "date = \"soon\"", "measured.date"),
            ("cards = 3", "cards = 0", "measured.cards"),
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
