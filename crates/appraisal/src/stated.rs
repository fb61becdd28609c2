//! Whether a device is what HELLO states, as far as certified figures show it (spec §6).

use protocol::bounds::Assumptions;
use protocol::limits::MIN_SAMPLES_FOR_BOUND;
use report::figure::{CertifiedFigures, Figure, Margin, Relation};

use crate::classify::{ClassFit, Classification, Shares, needed};
use crate::expected::is_showable;
use crate::profile::Profile;
use crate::profiles::Profiles;
use crate::reason::{Reason, Untested};

/// What a device was asked for, in addition to what it was certified for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tested {
    /// N: bytes it was asked to hold.
    pub dataset_bytes: u64,
    /// Bytes of dataset it offered to hold.
    pub offered_bytes: u64,
    /// Most samples of a group with a k large enough for bounds of memory.
    pub samples: u32,
    /// Largest k, 0 if there was no iteration.
    pub inner_dim: u32,
    /// What its bounds assume.
    pub assumptions: Assumptions,
}

/// Compares the stated class with the certified figures; the result is one reason.
///
/// A shortfall is a doubt, not a contradiction, if it is small and no lesser class explains the figures: busy,
/// throttled and power-capped devices look like that. Labels are not considered: a host that lies can write any label.
#[must_use]
pub fn judge(
    profile: &Profile,
    certified: &CertifiedFigures,
    tested: &Tested,
    classification: &Classification,
    profiles: &Profiles,
    shares: &Shares,
) -> Reason {
    let (class, basis) = (profile.name.clone(), profile.basis());
    let Some(fit) = ClassFit::new(certified, profile, shares) else {
        // Without figures of the class, any figure is enough, but one must be certified.
        if *certified == CertifiedFigures::default() {
            let cause = match tested.samples < MIN_SAMPLES_FOR_BOUND {
                true => Untested::Samples,
                false => Untested::Figures,
            };
            return Reason::NotTested { cause };
        }
        return Reason::ClassWithoutFigures { class };
    };
    let margins = |relation| fit.standing(relation).copied().collect::<Vec<Margin>>();
    if fit.relation == Relation::Exceeds {
        return Reason::StatedExceeded {
            class,
            margins: margins(Relation::Exceeds),
        };
    }
    let needed_bytes = needed(profile, shares, Figure::Memory).unwrap_or(0);
    if tested.samples < MIN_SAMPLES_FOR_BOUND {
        return Reason::NotTested {
            cause: Untested::Samples,
        };
    }
    if tested.dataset_bytes < needed_bytes && tested.offered_bytes >= needed_bytes {
        return Reason::NotTested {
            cause: Untested::Memory {
                asked_bytes: tested.dataset_bytes,
                needed_bytes,
            },
        };
    }
    let short = margins(Relation::Short);
    if short.is_empty() {
        return Reason::StatedFits { class, basis };
    }
    if short.iter().all(|margin| margin.figure == Figure::Memory) && tested.dataset_bytes < needed_bytes {
        return Reason::MemoryWithheld {
            offered_bytes: tested.offered_bytes,
            needed_bytes,
            looks_like: classes_of_about(tested, certified, profiles, shares),
        };
    }
    // A figure that no device of the class could be certified for does not count against this one.
    let (short, unshowable): (Vec<Margin>, Vec<Margin>) = short
        .into_iter()
        .partition(|margin| is_showable(profile, margin.figure, shares, &tested.assumptions, tested.samples));
    if short.is_empty() {
        let figures = unshowable.iter().map(|margin| margin.figure).collect();
        return Reason::NotTested {
            cause: Untested::Showable { class, figures },
        };
    }
    let lesser = lesser_classes(profile, tested, classification, profiles, shares);
    if lesser.is_empty() && short.iter().all(|margin| margin.share() >= 1.0 - shares.doubt) {
        return Reason::StatedDoubtful {
            class,
            margins: short,
            basis,
        };
    }
    Reason::StatedShort {
        class,
        margins: short,
        looks_like: lesser,
        basis,
    }
}

/// Classes of about the offered memory whose other figures are certified: what the device may be, if nothing else holds its
/// memory. It offers less than the stated class needs, so they are lesser ones.
fn classes_of_about(
    tested: &Tested,
    certified: &CertifiedFigures,
    profiles: &Profiles,
    shares: &Shares,
) -> Vec<String> {
    let is_one = |other: &&Profile| {
        let memory = |profile: &Profile| profile.most(Figure::Memory).unwrap_or(0) as f64;
        let offered = tested.offered_bytes as f64;
        let is_near = offered >= memory(other) * shares.memory && offered <= memory(other) * shares.ceiling;
        let fit = ClassFit::new(certified, other, shares);
        is_near
            && fit.is_some_and(|fit| {
                let mut others = fit.margins.iter().filter(|margin| margin.figure != Figure::Memory);
                others.all(|margin| is_explained(margin, other, tested, shares))
            })
    };
    profiles.iter().filter(is_one).map(|other| other.name.clone()).collect()
}

/// Classes that the figures fit, as far as the assumptions let them, and that have less than the stated one somewhere.
fn lesser_classes(
    stated: &Profile,
    tested: &Tested,
    classification: &Classification,
    profiles: &Profiles,
    shares: &Shares,
) -> Vec<String> {
    let is_lesser = |fit: &&ClassFit| {
        profiles.named(&fit.class).is_some_and(|other| {
            let has = |figure: Figure| (other.most(figure), stated.most(figure));
            fit.margins
                .iter()
                .all(|margin| is_explained(margin, other, tested, shares))
                && Figure::ALL
                    .iter()
                    .any(|figure| matches!(has(*figure), (Some(theirs), Some(stated)) if theirs < stated))
        })
    };
    let fits = classification.fits.iter().chain(&classification.unshown);
    fits.filter(is_lesser).map(|fit| fit.class.clone()).collect()
}

/// Whether a device of the class would be certified for about these figures: they fit, or no such device could show more.
fn is_explained(margin: &Margin, profile: &Profile, tested: &Tested, shares: &Shares) -> bool {
    match margin.relation {
        Relation::Fits => true,
        Relation::Short => !is_showable(profile, margin.figure, shares, &tested.assumptions, tested.samples),
        Relation::Exceeds => false,
    }
}
