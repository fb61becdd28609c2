//! Which classes certified figures fit, which they exclude, and by how much (spec §6, §7).
//!
//! Bounds are lower bounds: more than a class has excludes it, less than it needs leaves it unshown.

use serde::{Deserialize, Serialize};

use protocol::claims::Bounds;

use crate::profile::{Profile, Profiles, Status};

/// Certified figures of one device; `None` where no claim is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// V, bytes.
    pub memory_bytes: Option<u64>,
    /// B, bytes/s.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// T, operations/s.
    pub tensor_ops_per_s: Option<u64>,
    /// T_local, operations/s.
    pub local_tensor_ops_per_s: Option<u64>,
}

impl Certified {
    /// Whether memory is certified that is faster than links and making bytes anew: a GPU's, and no CPU's.
    #[must_use]
    pub fn shows_gpu_memory(&self) -> bool {
        self.memory_bytes.is_some() && self.bandwidth_bytes_per_s.is_some()
    }
}

impl From<&Bounds> for Certified {
    fn from(bounds: &Bounds) -> Self {
        Certified {
            memory_bytes: bounds.memory_bytes.map(|bound| bound.value),
            bandwidth_bytes_per_s: bounds.bandwidth_bytes.map(|bound| bound.value),
            tensor_ops_per_s: bounds.tensor_ops.map(|bound| bound.value),
            local_tensor_ops_per_s: bounds.local_tensor_ops.map(|bound| bound.value),
        }
    }
}

/// The figures that a class is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figure {
    /// V.
    Memory,
    /// B.
    Bandwidth,
    /// T.
    Tensor,
}

impl Figure {
    /// Every figure.
    pub const ALL: [Figure; 3] = [Figure::Memory, Figure::Bandwidth, Figure::Tensor];

    /// The figure's name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Figure::Memory => "memory V",
            Figure::Bandwidth => "bandwidth B",
            Figure::Tensor => "tensor rate T",
        }
    }

    /// Its value among the certified.
    #[must_use]
    pub fn of(self, certified: &Certified) -> Option<u64> {
        match self {
            Figure::Memory => certified.memory_bytes,
            Figure::Bandwidth => certified.bandwidth_bytes_per_s,
            Figure::Tensor => certified.tensor_ops_per_s,
        }
    }

    /// What a device of the class has of it at most.
    #[must_use]
    pub fn capacity(self, profile: &Profile) -> Option<u64> {
        let capacity = profile.capacity.as_ref()?;
        match self {
            Figure::Memory => Some(capacity.memory_bytes),
            Figure::Bandwidth => Some(capacity.bandwidth_bytes_per_s),
            Figure::Tensor => capacity.int8_ops_per_s,
        }
    }
}

/// What share of a class must be certified, and how far above it excludes; keys of `[shares]` in a policy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shares {
    /// Of its memory (spec §6).
    pub memory: f64,
    /// Of a datasheet's bandwidth, for classes that nobody measured.
    pub datasheet_bandwidth: f64,
    /// Of a datasheet's int8 peak, for classes that nobody measured: power limits keep good kernels at 0.6 to 0.7.
    pub datasheet_tensor: f64,
    /// A certified figure of more than this times the capacity excludes a class: datasheets round.
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

/// How one certified figure stands to a class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Margin {
    /// Which figure.
    pub figure: Figure,
    /// What is certified.
    pub certified: Option<u64>,
    /// Least that a device of the class must be certified for.
    pub needed: u64,
    /// Most that one device of it has.
    pub capacity: u64,
    /// How it stands.
    pub relation: Relation,
}

impl Margin {
    /// Certified / needed; 0 where nothing is certified.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.certified.unwrap_or(0) as f64 / self.needed as f64
    }
}

/// How certified figures stand to a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// Enough for the class, and no more than it has.
    Fits,
    /// Less than the class needs: not shown. A class that is larger than what was certified is never disproved.
    Short,
    /// More than one device of the class has: excluded.
    Exceeds,
}

/// How a device's certified figures stand to one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassFit {
    /// The class.
    pub class: String,
    /// Its name for people.
    pub title: String,
    /// Whether its figures were measured.
    pub status: Status,
    /// The worst of its margins.
    pub relation: Relation,
    /// Figure by figure; a figure that the class has no number for is left out.
    pub margins: Vec<Margin>,
}

impl ClassFit {
    /// How `certified` stands to `profile`; `None` for a class without figures.
    #[must_use]
    pub fn new(certified: &Certified, profile: &Profile, shares: &Shares) -> Option<Self> {
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

    /// The margins that stand so.
    pub fn standing(&self, relation: Relation) -> impl Iterator<Item = &Margin> {
        self.margins.iter().filter(move |margin| margin.relation == relation)
    }
}

/// Least of `figure` that a device of the class must be certified for.
#[must_use]
pub fn needed(profile: &Profile, shares: &Shares, figure: Figure) -> Option<u64> {
    let capacity = figure.capacity(profile)? as f64;
    let needed = match (figure, &profile.measured) {
        (Figure::Memory, _) => capacity * shares.memory,
        (Figure::Bandwidth, Some(m)) => m.sweep_low_bytes_per_s as f64 * (1.0 - m.sweep_tolerance),
        (Figure::Tensor, Some(m)) => m.fill_low_ops_per_s as f64 * (1.0 - m.fill_tolerance),
        (Figure::Bandwidth, None) => capacity * shares.datasheet_bandwidth,
        (Figure::Tensor, None) => capacity * shares.datasheet_tensor,
    };
    Some(needed.ceil() as u64)
}

fn margin(certified: &Certified, profile: &Profile, shares: &Shares, figure: Figure) -> Option<Margin> {
    let (capacity, needed) = (figure.capacity(profile)?, needed(profile, shares, figure)?);
    let certified = figure.of(certified);
    let relation = match certified {
        Some(value) if value as f64 > capacity as f64 * shares.ceiling => Relation::Exceeds,
        Some(value) if value >= needed => Relation::Fits,
        _ => Relation::Short,
    };
    Some(Margin {
        figure,
        certified,
        needed,
        capacity,
        relation,
    })
}

/// What certified figures say of every known class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// Classes the figures fit.
    pub fits: Vec<ClassFit>,
    /// Classes that have less than is certified: excluded.
    pub excluded: Vec<ClassFit>,
    /// Classes that would need more to be shown.
    pub unshown: Vec<ClassFit>,
    /// Classes of which one device has so much that it could stand for this one, and more like it (spec §7).
    pub indistinguishable_from: Vec<String>,
}

impl Classification {
    /// Holds `certified` against every class.
    #[must_use]
    pub fn new(certified: &Certified, profiles: &Profiles, shares: &Shares) -> Self {
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

    /// The fit of a class, wherever it stands.
    #[must_use]
    pub fn fit(&self, class: &str) -> Option<&ClassFit> {
        let all = self.fits.iter().chain(&self.excluded).chain(&self.unshown);
        all.into_iter().find(|fit| fit.class == class)
    }
}

/// Classes of which one device has the memory, bandwidth and int8 peak of all these together (spec §7).
///
/// Nothing tells such a device, or its MIG slices, from the several.
#[must_use]
pub fn stand_ins(devices: &[Certified], profiles: &Profiles) -> Vec<String> {
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
            .all(|figure| match (figure.capacity(profile), sum(*figure)) {
                (Some(capacity), Some(sum)) => sum <= u128::from(capacity),
                // A rate without a known peak excludes nothing.
                _ => true,
            })
    };
    let known = profiles.iter().filter(|profile| profile.capacity.is_some());
    known.filter(holds).map(|profile| profile.name.clone()).collect()
}
