//! The known classes, and which of them a device states.

use std::fs;
use std::path::Path;

use crate::document::InputError;
use crate::profile::{Kind, Profile, words_of};

/// The known classes.
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
        /// The system's error.
        error: std::io::Error,
    },
    /// A file is not a profile.
    #[error(transparent)]
    Input(#[from] InputError),
    /// Two classes have the same name.
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

    /// The class of this name, in upper or lower case: names of profiles are in lower case.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Profile> {
        self.0.iter().find(|profile| profile.name.eq_ignore_ascii_case(name))
    }

    /// The classes that a device with this engine and model states: none, one, or several if the model name is too short.
    ///
    /// Entries with more words take precedence over those with fewer. The engine `cpu` states the CPU's class unless the model
    /// is that of a GPU: a device that states a GPU is compared with that GPU, whatever its engine is.
    #[must_use]
    pub fn stated(&self, engine: &str, model: &str) -> Vec<&Profile> {
        let words = words_of(model);
        let has = |word: &String| words.contains(word);
        let is_barred = |profile: &Profile| profile.not_models.iter().any(|entry| words_of(entry).iter().all(has));
        let score = |profile: &&Profile| -> usize {
            if is_barred(profile) {
                return 0;
            }
            let entries = profile.models.iter().map(|entry| words_of(entry));
            let matching = entries.filter(|entry| entry.iter().all(has));
            matching.map(|entry| entry.len()).max().unwrap_or(0)
        };
        let best = self.0.iter().map(|profile| score(&profile)).max().unwrap_or(0);
        if best == 0 && is_cpu(engine) {
            return self.0.iter().filter(|p| p.kind == Kind::Cpu && !is_barred(p)).collect();
        }
        self.0
            .iter()
            .filter(|profile| best > 0 && score(profile) == best)
            .collect()
    }

    /// BLAKE3 over all of them, hex: a verdict states which profiles it used.
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

/// Whether HELLO states that the device uses the CPU engine.
pub(crate) fn is_cpu(engine: &str) -> bool {
    engine.eq_ignore_ascii_case("cpu")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Status;

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
        assert_eq!(measured, ["h200", "h100-sxm"], "only what was measured says so");
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
            let stated: Vec<_> = profiles.stated("cuda", model).iter().map(|p| &p.name[..]).collect();
            assert_eq!(stated, [expected], "{model}");
        }
        for model in [
            "NVIDIA H200 MIG 1g.18gb",
            "NVIDIA A10G",
            "NVIDIA GeForce RTX 4090 D",
            "",
            "RTX",
            "NVIDIA H100",
        ] {
            assert!(profiles.stated("cuda", model).is_empty(), "{model}");
        }
        for (model, expected) in [
            ("Xeon", &["cpu"][..]),
            ("", &["cpu"]),
            ("NVIDIA Grace", &["cpu"]),
            ("AMD A10-7850K Radeon R7", &["cpu"]),
            // A device that states a GPU is not of the CPU's class, whatever its engine is.
            ("NVIDIA H200", &["h200"]),
            ("NVIDIA H200 MIG 1g.18gb", &[]),
            ("NVIDIA GeForce RTX 4090 D", &[]),
            ("Tesla V100", &[]),
        ] {
            let stated: Vec<_> = profiles.stated("cpu", model).iter().map(|p| &p.name[..]).collect();
            assert_eq!(stated, expected, "{model}");
        }
    }
}
