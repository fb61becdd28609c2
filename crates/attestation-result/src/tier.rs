//! The four verdicts of a result (AR4SI, draft-ietf-rats-ar4si).

use serde::{Deserialize, Serialize};

/// A verdict after AR4SI; also `ear_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// Nothing can be concluded: neither accepted nor rejected.
    None,
    /// What was asked for is certified.
    Affirming,
    /// There is doubt about it.
    Warning,
    /// What was asked for is disproved.
    Contraindicated,
}

impl Tier {
    /// The tier's name in AR4SI.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Tier::None => "none",
            Tier::Affirming => "affirming",
            Tier::Warning => "warning",
            Tier::Contraindicated => "contraindicated",
        }
    }

    /// The tier's number in AR4SI.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Tier::None => 0,
            Tier::Affirming => 2,
            Tier::Warning => 32,
            Tier::Contraindicated => 96,
        }
    }

    /// Combines two tiers: contraindicated outweighs none, and none outweighs a warning.
    #[must_use]
    pub fn and(self, other: Tier) -> Tier {
        let weight = |tier: Tier| match tier {
            Tier::Affirming => 0,
            Tier::Warning => 1,
            Tier::None => 2,
            Tier::Contraindicated => 3,
        };
        if weight(other) > weight(self) { other } else { self }
    }
}
