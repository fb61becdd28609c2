//! Policies.

use std::path::{Path, PathBuf};

use appraisal::profiles::Profiles;
use pyo3::prelude::*;

use crate::error;

/// What a Relying Party asks for, and the classes that it may name.
#[pyclass(frozen, module = "gpu_attestor")]
pub(crate) struct Policy {
    pub(crate) policy: appraisal::policy::Policy,
    pub(crate) profiles: Profiles,
}

/// The built-in profiles, and those in a folder if one is named.
fn profiles(folder: Option<&Path>) -> PyResult<Profiles> {
    let embedded = Profiles::embedded();
    match folder {
        Some(folder) => embedded.overridden_by(folder).map_err(|error| error::profiles(&error)),
        None => Ok(embedded),
    }
}

#[pymethods]
impl Policy {
    /// The default policy: the worst hardware on sale is assumed.
    #[staticmethod]
    fn default() -> Self {
        Policy {
            policy: appraisal::policy::Policy::default(),
            profiles: Profiles::embedded(),
        }
    }

    /// The policy in a file; where there is no such file, the policy for the class of this name.
    #[staticmethod]
    #[pyo3(signature = (name, *, profiles=None))]
    fn read(name: PathBuf, profiles: Option<PathBuf>) -> PyResult<Self> {
        let profiles = self::profiles(profiles.as_deref())?;
        let policy = appraisal::policy::Policy::of_file_or_class(&name, &profiles);
        let policy = policy.map_err(|error| error::policy_file(&error))?;
        Ok(Policy { policy, profiles })
    }

    /// The policy in a text in TOML.
    #[staticmethod]
    #[pyo3(signature = (text, *, profiles=None))]
    fn parse(text: &str, profiles: Option<PathBuf>) -> PyResult<Self> {
        let profiles = self::profiles(profiles.as_deref())?;
        let policy = appraisal::policy::Policy::parse("policy", text, &profiles);
        let policy = policy.map_err(|error| error::input(&error))?;
        Ok(Policy { policy, profiles })
    }

    /// Its name, for people.
    #[getter]
    fn name(&self) -> &str {
        &self.policy.name
    }

    /// Its identifier in signed results.
    #[getter]
    fn id(&self) -> String {
        self.policy.id()
    }

    /// Its text, which `parse` reads.
    fn to_toml(&self) -> String {
        self.policy.to_toml()
    }

    fn __repr__(&self) -> String {
        format!("<Policy {}>", self.policy.id())
    }
}
