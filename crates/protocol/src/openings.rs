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
    /// The pair digest of the leaf of a sweep or round.
    Pair,
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
    pub pair_digest: u64,
    /// The committed fill digests.
    pub fill_digests: [u64; 2],
}

/// A committed digest that differs from the recomputed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "device {}, iteration {}, {}, leaf {}: {digest:?} digest is {expected:016x}, committed was {actual:016x}",
    sample.device, sample.iteration, sample.pass, sample.leaf
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
    #[error("device {}, iteration {}, {}, leaf {}, {digest:?}: {error}", sample.device, sample.iteration, sample.pass, sample.leaf)]
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
const ORDER: [Digest; 3] = [Digest::Pair, Digest::FillA, Digest::FillB];

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
        let roots = [site.pair_root, site.fill_roots[0], site.fill_roots[1]];
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
    /// A site and its three opened digests: of the pair, of tile a, of tile b.
    #[must_use]
    pub fn new(site: Site, [pair_digest, a, b]: [u64; 3]) -> Self {
        TileCheck {
            site,
            pair_digest,
            fill_digests: [a, b],
        }
    }

    /// Compares what was committed with the digests of the recomputed tiles.
    ///
    /// # Errors
    ///
    /// [`TileMismatch`] for the first that differs.
    pub fn compare(&self, pair_digest: u64, fill_digests: [u64; 2]) -> Result<(), TileMismatch> {
        let committed = [self.pair_digest, self.fill_digests[0], self.fill_digests[1]];
        let recomputed = [pair_digest, fill_digests[0], fill_digests[1]];
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

    /// The salts of the check's two keys: of fill digests and of pair digests.
    #[must_use]
    pub fn salts(&self) -> [Salt; 2] {
        [self.site.fill_salt, self.site.pair_salt]
    }
}

/// Leaf and leaf count of a site's three openings, in [`ORDER`].
fn leaves_of(site: &Site) -> [(u32, u64); 3] {
    [
        (site.sample.leaf, site.pair_leaves),
        (site.pair[0], site.fill_leaves[0]),
        (site.pair[1], site.fill_leaves[1]),
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
            // The longest path has a sibling a level of chunks; each item has a header of at most 3 bytes.
            let sample_bytes = |tiles: u64| {
                let levels = u64::from(64 - (tiles * 8).div_ceil(1024).leading_zeros());
                1 + 3 * (1 + 3 + 1024 + 2 + 34 * levels)
            };
            let groups = plan.groups();
            let drawn = |of: &dyn Fn(u32) -> u32| -> u64 { groups.iter().map(|&k| u64::from(of(k))).sum() };
            let tiles = |device| u64::from(plan.assignment(device).tiles());
            // The second tile of a leaf that crosses may be that of any device.
            let most_tiles = plan.devices().iter().map(tiles).max().unwrap_or(0);
            let crossing = drawn(&|k| plan.effective_crossing_samples(k)) * sample_bytes(most_tiles);
            let of_device =
                |device| drawn(&|k| plan.effective_samples(device, k)) * sample_bytes(tiles(device)) + crossing;
            let samples: u64 = plan.devices().iter().map(of_device).sum();
            // Labels, headers and the signature; the maker's attestation.
            samples + MAX_SMALL_BYTES + MAX_ATTESTATION_BYTES as u64
        }
        _ => MAX_SMALL_BYTES,
    }
}
