//! The figures that a session certifies of a device, and how they compare with those of a class.

use protocol::certified::Bounds;
use serde::{Deserialize, Serialize};
use verifier::units::{bytes, bytes_per_s, ops_per_s};

use crate::session::{BoundReport, BoundsReport};

/// Certified figures; null where there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CertifiedFigures {
    /// V, bytes.
    pub memory_bytes: Option<u64>,
    /// B, bytes/s.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// T, operations/s.
    pub tensor_ops_per_s: Option<u64>,
    /// T_local, operations/s.
    pub local_tensor_ops_per_s: Option<u64>,
}

impl CertifiedFigures {
    /// Whether the certified memory is faster than links and regeneration of bytes: a GPU has such memory, a CPU does not.
    #[must_use]
    pub fn shows_gpu_memory(&self) -> bool {
        self.memory_bytes.is_some() && self.bandwidth_bytes_per_s.is_some()
    }
}

impl From<&Bounds> for CertifiedFigures {
    fn from(bounds: &Bounds) -> Self {
        CertifiedFigures {
            memory_bytes: bounds.memory_bytes.map(|bound| bound.value),
            bandwidth_bytes_per_s: bounds.bandwidth_bytes_per_s.map(|bound| bound.value),
            tensor_ops_per_s: bounds.tensor_ops_per_s.map(|bound| bound.value),
            local_tensor_ops_per_s: bounds.local_tensor_ops_per_s.map(|bound| bound.value),
        }
    }
}

impl From<&BoundsReport<u128>> for CertifiedFigures {
    /// A host's figures; a value of more than 64 bits is replaced by the largest 64-bit value.
    fn from(bounds: &BoundsReport<u128>) -> Self {
        let value = |bound: &BoundReport<u128>| bound.at_least.map(|value| u64::try_from(value).unwrap_or(u64::MAX));
        CertifiedFigures {
            memory_bytes: value(&bounds.memory_bytes),
            bandwidth_bytes_per_s: value(&bounds.bandwidth_bytes_per_s),
            tensor_ops_per_s: value(&bounds.tensor_ops_per_s),
            local_tensor_ops_per_s: value(&bounds.local_tensor_ops_per_s),
        }
    }
}

/// The figures that are compared with those of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

    /// Its value among the certified figures.
    #[must_use]
    pub fn of(self, certified: &CertifiedFigures) -> Option<u64> {
        match self {
            Figure::Memory => certified.memory_bytes,
            Figure::Bandwidth => certified.bandwidth_bytes_per_s,
            Figure::Tensor => certified.tensor_ops_per_s,
        }
    }

    /// A value of it with its unit.
    #[must_use]
    pub fn with_unit(self, value: u64) -> String {
        let value = value.into();
        match self {
            Figure::Memory => bytes(value),
            Figure::Bandwidth => bytes_per_s(value),
            Figure::Tensor => ops_per_s(value),
        }
    }
}

/// How one certified figure compares with a class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Margin {
    /// Which figure.
    pub figure: Figure,
    /// What is certified.
    pub certified: Option<u64>,
    /// The lowest value that a device of the class must be certified for.
    pub needed: u64,
    /// The highest value that one device of the class has.
    pub capacity: u64,
    /// The result of the comparison.
    pub relation: Relation,
}

impl Margin {
    /// Compares `certified` with the lowest value needed and with the highest one allowed, `ceiling` times the capacity.
    #[must_use]
    pub fn new(figure: Figure, certified: Option<u64>, needed: u64, capacity: u64, ceiling: f64) -> Self {
        let relation = match certified {
            Some(value) if value as f64 > capacity as f64 * ceiling => Relation::Exceeds,
            Some(value) if value >= needed => Relation::Fits,
            _ => Relation::Short,
        };
        Margin {
            figure,
            certified,
            needed,
            capacity,
            relation,
        }
    }

    /// Certified / needed; 0 where nothing is certified.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.certified.unwrap_or(0) as f64 / self.needed as f64
    }
}

/// How certified figures compare with a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// Enough for the class, and no more than one device of it has.
    Fits,
    /// Less than the class needs: the class is not shown. Figures below those of a class never disprove the class.
    Short,
    /// More than one device of the class has: the class is excluded.
    Exceeds,
}
