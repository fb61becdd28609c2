//! Checks OPENINGS against the commitments: sizes first, then paths; the tiles remain to be recomputed (spec §5).

use crate::bytes::Salt;
use crate::commitment::{OpeningError, chunk_bytes, sibling_count};
use crate::frame::MessageType;
use crate::limits::{MAX_ATTESTATION_BYTES, MAX_SMALL_BYTES, MAX_SWEEPS_PER_ITERATION};
use crate::message::OpeningsBody;
use crate::plan::Plan;
use crate::sampling::Sample;
use crate::trace::Site;

/// Which of a sample's three digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Digest {
    /// The pair digest of the sweep leaf.
    Sweep,
    /// The fill digest of the pair's first tile.
    FillA,
    /// The fill digest of the pair's second tile.
    FillB,
}

/// A sampled leaf whose three openings lead to their roots: two tiles to recompute, three digests to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileCheck {
    /// The origin of the leaf.
    pub site: Site,
    /// The committed pair digest.
    pub sweep_digest: u64,
    /// The committed fill digests.
    pub fill_digests: [u64; 2],
}

/// A committed digest that differs from the recomputed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "device {}, iteration {}, sweep {}, leaf {}: {digest:?} digest is {expected:016x}, committed was {actual:016x}",
    sample.device, sample.iteration, sample.sweep, sample.leaf
)]
pub struct TileMismatch {
    /// The sample.
    pub sample: Sample,
    /// Which of its digests.
    pub digest: Digest,
    /// The recomputed digest.
    pub expected: u64,
    /// The committed digest.
    pub actual: u64,
}

/// Openings that do not match the samples.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningsError {
    /// The number of samples differs.
    #[error("openings of {actual} samples, expected {expected}")]
    Count {
        /// Samples drawn.
        expected: usize,
        /// Samples opened.
        actual: usize,
    },
    /// One opening has the wrong size or leads to another root.
    #[error("device {}, iteration {}, sweep {}, leaf {}, {digest:?}: {error}", sample.device, sample.iteration, sample.sweep, sample.leaf)]
    Opening {
        /// The sample.
        sample: Sample,
        /// Which of its openings.
        digest: Digest,
        /// What is wrong with it.
        error: OpeningError,
    },
}

/// The fill salt of a site's tiles and the pair of its leaf decide three openings, in this order.
const ORDER: [Digest; 3] = [Digest::Sweep, Digest::FillA, Digest::FillB];

/// Checks the number of openings and the length of every chunk and path, which depend only on the plan.
///
/// # Errors
///
/// [`OpeningsError`] for the first that differs.
pub fn check_sizes(sites: &[Site], body: &OpeningsBody) -> Result<(), OpeningsError> {
    if body.openings.len() != sites.len() {
        return Err(OpeningsError::Count {
            expected: sites.len(),
            actual: body.openings.len(),
        });
    }
    for (site, openings) in sites.iter().zip(&body.openings) {
        for ((digest, opening), (leaf, leaves)) in ORDER.into_iter().zip(openings).zip(leaves_of(site)) {
            let error = if opening.chunk.len() != chunk_bytes(leaf, leaves) {
                OpeningError::ChunkLength {
                    expected: chunk_bytes(leaf, leaves),
                    actual: opening.chunk.len(),
                }
            } else if opening.siblings.len() != sibling_count(leaf, leaves) {
                OpeningError::SiblingCount {
                    expected: sibling_count(leaf, leaves),
                    actual: opening.siblings.len(),
                }
            } else {
                continue;
            };
            return Err(OpeningsError::Opening {
                sample: site.sample,
                digest,
                error,
            });
        }
    }
    Ok(())
}

/// Checks that every opening leads to its root and returns the three digests of each sample, which remain to be
/// recomputed.
///
/// # Errors
///
/// [`OpeningsError`] for the first that leads to another root.
pub fn check_paths(sites: &[Site], body: &OpeningsBody) -> Result<Vec<[u64; 3]>, OpeningsError> {
    let mut opened = Vec::with_capacity(sites.len());
    for (site, openings) in sites.iter().zip(&body.openings) {
        let roots = [site.sweep_root, site.fill_root, site.fill_root];
        let mut digests = [0; 3];
        for i in 0..3 {
            let (leaf, leaves) = leaves_of(site)[i];
            digests[i] = openings[i]
                .verify(&roots[i], leaf, leaves)
                .map_err(|error| OpeningsError::Opening {
                    sample: site.sample,
                    digest: ORDER[i],
                    error,
                })?;
        }
        opened.push(digests);
    }
    Ok(opened)
}

impl TileCheck {
    /// A site and its three opened digests: of the sweep leaf, of tile a, of tile b.
    #[must_use]
    pub fn new(site: Site, [sweep_digest, a, b]: [u64; 3]) -> Self {
        TileCheck {
            site,
            sweep_digest,
            fill_digests: [a, b],
        }
    }

    /// Compares what was committed with the digests of the recomputed tiles.
    ///
    /// # Errors
    ///
    /// [`TileMismatch`] for the first that differs.
    pub fn compare(&self, sweep_digest: u64, fill_digests: [u64; 2]) -> Result<(), TileMismatch> {
        let committed = [self.sweep_digest, self.fill_digests[0], self.fill_digests[1]];
        let recomputed = [sweep_digest, fill_digests[0], fill_digests[1]];
        for ((digest, actual), expected) in ORDER.into_iter().zip(committed).zip(recomputed) {
            if actual != expected {
                return Err(TileMismatch {
                    sample: self.site.sample,
                    digest,
                    expected,
                    actual,
                });
            }
        }
        Ok(())
    }

    /// The salts of the check's two keys: fill and sweep.
    #[must_use]
    pub fn salts(&self) -> [Salt; 2] {
        [self.site.fill_salt, self.site.sweep_salt]
    }
}

/// Leaf and leaf count of a site's three openings, in [`ORDER`].
fn leaves_of(site: &Site) -> [(u32, u64); 3] {
    [
        (site.sample.leaf, site.sweep_leaves),
        (site.pair[0], site.fill_leaves),
        (site.pair[1], site.fill_leaves),
    ]
}

/// Longest payload of a message of this type under `plan` (bytes); the limit applied to the Attester's messages before
/// anything is allocated (spec §5).
#[must_use]
pub fn max_payload_bytes(plan: &Plan, message_type: MessageType) -> u64 {
    match message_type {
        MessageType::Swept => {
            let sweeps = plan.iterations().iter().map(|i| i.sweeps).max();
            let sweeps = u64::from(sweeps.unwrap_or(MAX_SWEEPS_PER_ITERATION));
            // A root is 32 bytes and a 2-byte header; before the list come at most 20 bytes.
            32 + 34 * sweeps
        }
        MessageType::Openings => {
            let samples: u64 = plan
                .devices()
                .iter()
                .map(|device| {
                    let samples: u64 = plan
                        .groups()
                        .iter()
                        .map(|&k| u64::from(plan.effective_samples(device, k)))
                        .sum();
                    let tiles = u64::from(plan.assignment(device).tiles());
                    // The longest path has a sibling a level of chunks; each item has a header of at most 3 bytes.
                    let levels = u64::from(64 - (tiles * 8).div_ceil(1024).leading_zeros());
                    samples * (1 + 3 * (1 + 3 + 1024 + 2 + 34 * levels))
                })
                .sum();
            // Labels, headers and the signature; the maker's attestation.
            samples + MAX_SMALL_BYTES + MAX_ATTESTATION_BYTES as u64
        }
        _ => MAX_SMALL_BYTES,
    }
}
