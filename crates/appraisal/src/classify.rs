//! Which classes certified figures fit, which they exclude, and by how much (spec §6, §7).
//!
//! Bounds are lower bounds: a figure above what a class has excludes the class; one below what it needs does not show it.

use report::figure::{CertifiedFigures, Figure, Margin, Relation};
use serde::{Deserialize, Serialize};

use crate::profile::{Profile, Status};
use crate::profiles::Profiles;

/// What share of a class must be certified, and how far above its capacity a figure excludes it; keys of `[shares]` in a
/// policy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shares {
    /// Share of its memory (spec §6).
    pub memory: f64,
    /// Share of a datasheet's bandwidth, for classes that were not measured.
    pub datasheet_bandwidth: f64,
    /// Share of a datasheet's int8 peak, for classes that were not measured: power limits keep good kernels at 0.6 to 0.7.
    pub datasheet_tensor: f64,
    /// A certified figure of more than this times the capacity excludes a class: the margin covers rounding in datasheets.
    pub ceiling: f64,
    /// Shortfall, as a share of what is needed, up to which a device may be an honest one on a bad day.
    pub doubt: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Shares {
            memory: 0.9,
            datasheet_bandwidth: 0.75,
            datasheet_tensor: 0.42,
            ceiling: 1.1,
            doubt: 0.25,
        }
    }
}

/// How a device's certified figures compare with one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ClassFit {
    /// The class.
    pub class: String,
    /// Its name for people.
    pub title: String,
    /// Whether its figures were measured.
    pub status: Status,
    /// The worst of its margins.
    pub relation: Relation,
    /// One margin per figure; a figure that the class has no number for is left out.
    pub margins: Vec<Margin>,
}

impl ClassFit {
    /// Compares `certified` with `profile`; `None` for a class without figures.
    #[must_use]
    pub fn new(certified: &CertifiedFigures, profile: &Profile, shares: &Shares) -> Option<Self> {
        profile.capacity.as_ref()?;
        let margins: Vec<Margin> = Figure::ALL
            .into_iter()
            .filter_map(|figure| margin(certified, profile, shares, figure))
            .collect();
        let relation = margins.iter().map(|m| m.relation).max().unwrap_or(Relation::Short);
        Some(ClassFit {
            class: profile.name.clone(),
            title: profile.title.clone(),
            status: profile.status,
            relation,
            margins,
        })
    }

    /// The margins with this result.
    pub fn standing(&self, relation: Relation) -> impl Iterator<Item = &Margin> {
        self.margins.iter().filter(move |margin| margin.relation == relation)
    }
}

/// Lowest value of `figure` that a device of the class must be certified for.
#[must_use]
pub fn needed(profile: &Profile, shares: &Shares, figure: Figure) -> Option<u64> {
    let capacity = profile.most(figure)? as f64;
    let needed = match (figure, &profile.measured) {
        (Figure::Memory, _) => capacity * shares.memory,
        (Figure::Bandwidth, Some(m)) => m.sweep_low_bytes_per_s as f64 * (1.0 - m.sweep_tolerance),
        (Figure::Tensor, Some(m)) => m.fill_low_ops_per_s as f64 * (1.0 - m.fill_tolerance),
        (Figure::Bandwidth, None) => capacity * shares.datasheet_bandwidth,
        (Figure::Tensor, None) => capacity * shares.datasheet_tensor,
    };
    Some(needed.ceil() as u64)
}

fn margin(certified: &CertifiedFigures, profile: &Profile, shares: &Shares, figure: Figure) -> Option<Margin> {
    let (capacity, needed) = (profile.most(figure)?, needed(profile, shares, figure)?);
    Some(Margin::new(
        figure,
        figure.of(certified),
        needed,
        capacity,
        shares.ceiling,
    ))
}

/// What certified figures show about every known class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Classification {
    /// Classes that the figures fit.
    pub fits: Vec<ClassFit>,
    /// Classes that have less than is certified: excluded.
    pub excluded: Vec<ClassFit>,
    /// Classes that would need more to be shown.
    pub unshown: Vec<ClassFit>,
    /// Classes of which one device has enough to pass as several devices like this one (spec §7).
    pub indistinguishable_from: Vec<String>,
}

impl Classification {
    /// Compares `certified` with every class.
    #[must_use]
    pub fn new(certified: &CertifiedFigures, profiles: &Profiles, shares: &Shares) -> Self {
        let mut classification = Classification {
            fits: Vec::new(),
            excluded: Vec::new(),
            unshown: Vec::new(),
            indistinguishable_from: stand_ins(&[*certified], profiles),
        };
        for fit in profiles
            .iter()
            .filter_map(|profile| ClassFit::new(certified, profile, shares))
        {
            match fit.relation {
                Relation::Fits => classification.fits.push(fit),
                Relation::Exceeds => classification.excluded.push(fit),
                Relation::Short => classification.unshown.push(fit),
            }
        }
        classification
    }

    /// The fit of a class, in whichever list it is.
    #[must_use]
    pub fn fit(&self, class: &str) -> Option<&ClassFit> {
        let all = self.fits.iter().chain(&self.excluded).chain(&self.unshown);
        all.into_iter().find(|fit| fit.class == class)
    }
}

/// Classes of which one device has the memory, bandwidth and int8 peak of all these together (spec §7).
///
/// Such a device, or its MIG slices, cannot be distinguished from the several.
#[must_use]
pub fn stand_ins(devices: &[CertifiedFigures], profiles: &Profiles) -> Vec<String> {
    let sum = |figure: Figure| {
        let values: Option<Vec<u64>> = devices.iter().map(|certified| figure.of(certified)).collect();
        values.map(|values| values.into_iter().map(u128::from).sum::<u128>())
    };
    if devices.is_empty() || Figure::ALL.iter().any(|figure| sum(*figure).is_none()) {
        return Vec::new();
    }
    let holds = |profile: &&Profile| {
        Figure::ALL
            .iter()
            .all(|figure| match (profile.most(*figure), sum(*figure)) {
                (Some(capacity), Some(sum)) => sum <= u128::from(capacity),
                // A rate without a known peak excludes nothing.
                _ => true,
            })
    };
    let known = profiles.iter().filter(|profile| profile.capacity.is_some());
    known.filter(holds).map(|profile| profile.name.clone()).collect()
}
