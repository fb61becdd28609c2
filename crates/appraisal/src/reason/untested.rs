//! What was missing where the stated class was not tested, and what to do about each case.

use std::fmt;

use protocol::limits::{MIN_INNER_DIM_FOR_MEMORY, MIN_SAMPLES_FOR_BOUND};
use report::figure::Figure;
use serde::{Deserialize, Serialize};
use verifier::units::bytes;

/// What was missing for the stated class to be tested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "missing", rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum Untested {
    /// Samples: fewer than bounds take.
    Samples,
    /// Memory: the session asked for less than the class needs.
    Memory {
        /// Asked for, bytes.
        asked_bytes: u64,
        /// Needed, bytes.
        needed_bytes: u64,
    },
    /// Figures that no device of the class could be certified for under the assumptions.
    Showable {
        /// The class.
        class: String,
        /// The figures.
        figures: Vec<Figure>,
    },
    /// Anything certified: what is assumed explains all that was seen.
    Figures,
    /// Something to compare with: the policy asks for no class and for no least figures.
    Question,
}

impl Untested {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Untested::Samples => {
                "run a session of 256 samples or more, with memory enough for them: the standard preset"
            }
            Untested::Memory { .. } => "run a session over all memory that is offered: the standard preset",
            Untested::Showable { .. } | Untested::Figures => {
                "set [assumptions] in the policy to what the host has; `policy default --class` begins one"
            }
            Untested::Question => "ask for a class or for least figures in the policy",
        }
    }
}

impl fmt::Display for Untested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Untested::Samples => {
                write!(
                    f,
                    "no k of at least {MIN_INNER_DIM_FOR_MEMORY} had {MIN_SAMPLES_FOR_BOUND} samples"
                )
            }
            Untested::Memory {
                asked_bytes,
                needed_bytes,
            } => write!(
                f,
                "the session asked for {} of memory, its class needs {}",
                bytes((*asked_bytes).into()),
                bytes((*needed_bytes).into())
            ),
            Untested::Showable { class, figures } => {
                let names: Vec<&str> = figures.iter().map(|figure| figure.name()).collect();
                write!(
                    f,
                    "no device of class {class} can be certified for its {} under the assumed links, helpers and regeneration",
                    names.join(" and ")
                )
            }
            Untested::Figures => f.write_str("the assumed links, helpers and regeneration explain all that was seen"),
            Untested::Question => f.write_str("the policy asks neither for a class nor for least figures"),
        }
    }
}
