//! Whether a device is what HELLO says it is, as far as certified figures tell (spec §6).

use protocol::bounds::Assumptions;
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
    /// Largest k, 0 if there was no iteration.
    pub inner_dim: u32,
    /// What its bounds take for granted.
    pub assumptions: Assumptions,
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
        // Figures that stand for themselves have to be there.
        if *certified == Certified::default() {
            return Reason::NotTested {
                why: "nothing is certified of it, for lack of samples or by its assumptions".to_owned(),
            };
        }
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
    // Whatever no device of the class could be certified for says nothing against this one.
    let (short, unshowable): (Vec<Margin>, Vec<Margin>) = short
        .into_iter()
        .partition(|margin| is_showable(profile, margin, tested));
    if short.is_empty() {
        let names: Vec<&str> = unshowable.iter().map(|margin| margin.figure.name()).collect();
        return Reason::NotTested {
            why: format!(
                "no device of class {class} can be certified for its {} under the assumed links, helpers and regeneration: \
                 set [assumptions] in the policy to what the host has",
                names.join(" and ")
            ),
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

/// Whether a flawless device of the class, every sample right, could be certified for what it needs (spec §6).
fn is_showable(profile: &Profile, margin: &Margin, tested: &Tested) -> bool {
    let Some(bandwidth) = Figure::Bandwidth.capacity(profile) else {
        return true;
    };
    let a = &tested.assumptions;
    let regenerated = a.regeneration_bytes(tested.inner_dim.max(1)) as f64;
    let linked = a.link_in_bytes as f64 + a.link_out_bytes as f64 + a.helper_bytes as f64;
    let bandwidth = bandwidth as f64;
    let most = match margin.figure {
        Figure::Memory => {
            let held = 1.0 - 2.0 * (regenerated + linked) / bandwidth;
            margin.capacity as f64 * held.max(0.0).sqrt()
        }
        Figure::Bandwidth => bandwidth - regenerated - linked,
        Figure::Tensor => return true,
    };
    most >= margin.needed as f64
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
