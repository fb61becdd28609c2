//! Whether a device is what HELLO says it is, as far as certified figures tell (spec §6).

use protocol::limits::{MIN_INNER_DIM_FOR_MEMORY, MIN_SAMPLES_FOR_CLAIM};

use crate::classify::{Certified, ClassFit, Classification, Figure, Margin, Relation, Shares, needed};
use crate::profile::{Profile, Profiles};
use crate::reason::Reason;

/// What was asked of a device, beside what it was certified for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tested {
    /// N: bytes it was asked to hold.
    pub dataset_bytes: u64,
    /// Bytes of dataset it offered to hold.
    pub offered_bytes: u64,
    /// Most samples of a group with a k large enough for claims of memory.
    pub samples: u32,
}

/// The claim held against the certified figures; one reason.
///
/// A shortfall is a doubt, not a contradiction, if it is small and no lesser class explains the figures: busy,
/// throttled and power-capped devices look like that. Labels do not enter: whoever lies can write them.
#[must_use]
pub fn judge(
    profile: &Profile,
    certified: &Certified,
    tested: &Tested,
    classification: &Classification,
    profiles: &Profiles,
    shares: &Shares,
) -> Reason {
    let class = profile.name.clone();
    let Some(fit) = ClassFit::new(certified, profile, shares) else {
        return Reason::ClassWithoutFigures { class };
    };
    let margins = |relation| fit.standing(relation).copied().collect::<Vec<Margin>>();
    if fit.relation == Relation::Exceeds {
        return Reason::ClaimExceeded {
            class,
            margins: margins(Relation::Exceeds),
        };
    }
    let needed_bytes = needed(profile, shares, Figure::Memory).unwrap_or(0);
    if tested.samples < MIN_SAMPLES_FOR_CLAIM {
        return Reason::NotTested {
            why: format!("no k of at least {MIN_INNER_DIM_FOR_MEMORY} had {MIN_SAMPLES_FOR_CLAIM} samples"),
        };
    }
    if tested.dataset_bytes < needed_bytes && tested.offered_bytes >= needed_bytes {
        return Reason::NotTested {
            why: format!(
                "the session asked for {} bytes of memory, its class needs {needed_bytes}",
                tested.dataset_bytes
            ),
        };
    }
    let short = margins(Relation::Short);
    if short.is_empty() {
        return Reason::ClaimFits { class };
    }
    if short.iter().all(|margin| margin.figure == Figure::Memory) && tested.dataset_bytes < needed_bytes {
        return Reason::MemoryWithheld {
            offered_bytes: tested.offered_bytes,
            needed_bytes,
        };
    }
    let lesser = lesser_classes(profile, classification, profiles);
    if lesser.is_empty() && short.iter().all(|margin| margin.share() >= 1.0 - shares.doubt) {
        return Reason::ClaimDoubtful { class, margins: short };
    }
    Reason::ClaimShort {
        class,
        margins: short,
        looks_like: lesser,
    }
}

/// Classes that the figures fit and that have less than the claimed one somewhere.
fn lesser_classes(claimed: &Profile, classification: &Classification, profiles: &Profiles) -> Vec<String> {
    let is_lesser = |fit: &&ClassFit| {
        profiles.named(&fit.class).is_some_and(|other| {
            let has = |figure: Figure| (figure.capacity(other), figure.capacity(claimed));
            other.name != claimed.name
                && Figure::ALL
                    .iter()
                    .any(|figure| matches!(has(*figure), (Some(theirs), Some(claimed)) if theirs < claimed))
        })
    };
    let fits = classification.fits.iter().filter(is_lesser);
    fits.map(|fit| fit.class.clone()).collect()
}
