//! Commitments to a device's leaves on BLAKE3's own tree, and openings of single leaves (spec §4).
//!
//! The root is the ordinary BLAKE3 hash of the leaves. An opening is the 1,024-byte chunk that contains the leaf and
//! the chaining values next to the path to the root. The tree's shape depends only on the leaf count, so a prover has
//! no freedom in it: any other chunk length or number of siblings is rejected.

use std::sync::OnceLock;

use blake3::CHUNK_LEN;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

use crate::bytes::Root;
use crate::limits::LEAVES_PER_CHUNK;

/// Evidence that a leaf belongs to a root: its chunk, and the siblings from the chunk up to the root (spec §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The chunk that contains the leaf: 1,024 bytes, fewer for a last chunk.
    pub chunk: Vec<u8>,
    /// Chaining values next to the path, from the chunk's sibling up.
    pub siblings: Vec<[u8; 32]>,
}

/// Why an opening does not belong to its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// The chunk's length differs from that required by the leaf count.
    #[error("chunk of {actual} bytes, expected {expected}")]
    ChunkLength {
        /// Bytes required by the leaf count.
        expected: usize,
        /// Bytes received.
        actual: usize,
    },
    /// The path's length differs from that required by the leaf count.
    #[error("{actual} siblings, expected {expected}")]
    SiblingCount {
        /// Siblings required by the leaf count.
        expected: usize,
        /// Siblings received.
        actual: usize,
    },
    /// Chunk and siblings result in another root.
    #[error("path leads to {actual}, committed was {expected}")]
    Root {
        /// The committed root.
        expected: Root,
        /// The root computed from the opening.
        actual: Root,
    },
}

/// Chunks of a subtree that is hashed at once: BLAKE3 hashes this many in parallel. A power of two.
const GROUP_CHUNKS: usize = 16;
const GROUP_LEAVES: usize = GROUP_CHUNKS * LEAVES_PER_CHUNK as usize;
const GROUP_BYTES: usize = GROUP_CHUNKS * CHUNK_LEN;

/// A device's leaves of one fill or sweep, kept for openings.
#[derive(Clone, Debug)]
pub struct Commitment {
    leaves: Vec<u64>,
    /// Chaining values of the tree, from groups of chunks up to the children of the root; computed once.
    levels: OnceLock<Vec<Vec<ChainingValue>>>,
}

impl Commitment {
    /// Commits to `leaves`, at least one.
    ///
    /// # Panics
    ///
    /// If there are no leaves.
    #[must_use]
    pub fn new(leaves: Vec<u64>) -> Self {
        assert!(!leaves.is_empty(), "a commitment has at least one leaf");
        Commitment {
            leaves,
            levels: OnceLock::new(),
        }
    }

    /// The leaves in order.
    #[must_use]
    pub fn leaves(&self) -> &[u64] {
        &self.leaves
    }

    /// BLAKE3 of the leaves' little-endian bytes. The chaining values are kept for the openings.
    #[must_use]
    pub fn root(&self) -> Root {
        let levels = self.levels.get_or_init(|| self.group_levels());
        let root = match levels.last().map(Vec::as_slice) {
            Some([left, right]) => merge_subtrees_root(left, right, Mode::Hash),
            _ => blake3::hash(&bytes_of(&self.leaves)),
        };
        Root(*root.as_bytes())
    }

    /// The opening of `leaf`; `None` if there is no such leaf.
    #[must_use]
    pub fn open(&self, leaf: u32) -> Option<Opening> {
        let leaf_count = self.leaves.len() as u64;
        if u64::from(leaf) >= leaf_count {
            return None;
        }
        let chunk = (u64::from(leaf) / LEAVES_PER_CHUNK) as usize;
        let group = chunk / GROUP_CHUNKS;
        let of_group = self.leaves.chunks(GROUP_LEAVES).nth(group).expect("the leaf's group");
        // Within its group the chunks are hashed again: that costs less than keeping all chaining values.
        let below = levels_of(chaining_values(
            of_group,
            LEAVES_PER_CHUNK as usize,
            group * GROUP_BYTES,
        ));
        let above = self.levels.get_or_init(|| self.group_levels());
        let mut siblings = Vec::new();
        for (levels, mut index) in [(&below, chunk % GROUP_CHUNKS), (above, group)] {
            for level in levels {
                // A last node without a neighbour is its own parent.
                siblings.extend(level.get(index ^ 1).copied());
                index /= 2;
            }
        }
        let chunk = of_group.chunks(LEAVES_PER_CHUNK as usize).nth(chunk % GROUP_CHUNKS);
        Some(Opening {
            chunk: bytes_of(chunk.expect("the leaf's chunk")),
            siblings,
        })
    }

    fn group_levels(&self) -> Vec<Vec<ChainingValue>> {
        levels_of(chaining_values(&self.leaves, GROUP_LEAVES, 0))
    }
}

/// Chaining values of the subtrees of `subtree_leaves` each, the last of them perhaps smaller. The first leaf is at
/// `first_byte` of what is hashed, a multiple of a subtree's bytes.
fn chaining_values(leaves: &[u64], subtree_leaves: usize, first_byte: usize) -> Vec<ChainingValue> {
    let mut bytes = vec![0; subtree_leaves * 8];
    let subtrees = leaves.chunks(subtree_leaves);
    let offsets = (first_byte as u64..).step_by(subtree_leaves * 8);
    let value = |(subtree, offset): (&[u64], u64)| {
        // In chunks of constant size: that is fast whatever the compiler's settings.
        for (bytes, leaf) in bytes.chunks_exact_mut(8).zip(subtree) {
            bytes.copy_from_slice(&leaf.to_le_bytes());
        }
        blake3::Hasher::new()
            .set_input_offset(offset)
            .update(&bytes[..subtree.len() * 8])
            .finalize_non_root()
    };
    subtrees.zip(offsets).map(value).collect()
}

/// From these nodes up to the children of the one above all of them: the tree of BLAKE3 pairs neighbours, and a last node
/// without one rises as it is.
fn levels_of(mut level: Vec<ChainingValue>) -> Vec<Vec<ChainingValue>> {
    let mut levels = Vec::new();
    while level.len() > 1 {
        let parents = level
            .chunks(2)
            .map(|nodes| match nodes {
                [left, right] => merge_subtrees_non_root(left, right, Mode::Hash),
                alone => alone[0],
            })
            .collect();
        levels.push(std::mem::replace(&mut level, parents));
    }
    levels
}

impl Opening {
    /// The leaf, if this opening belongs to `root` over `leaf_count` leaves (spec §4).
    ///
    /// # Errors
    ///
    /// [`OpeningError`] names the mismatch: chunk length, path length or root.
    pub fn verify(&self, root: &Root, leaf: u32, leaf_count: u64) -> Result<u64, OpeningError> {
        let path = Path::new(leaf, leaf_count);
        let expected = path.chunk_leaves().len() * 8;
        if self.chunk.len() != expected {
            return Err(OpeningError::ChunkLength {
                expected,
                actual: self.chunk.len(),
            });
        }
        let expected = path.steps.len();
        if self.siblings.len() != expected {
            return Err(OpeningError::SiblingCount {
                expected,
                actual: self.siblings.len(),
            });
        }
        let actual = self.root(&path);
        if actual != *root {
            return Err(OpeningError::Root {
                expected: *root,
                actual,
            });
        }
        let at = (u64::from(leaf) % LEAVES_PER_CHUNK) as usize * 8;
        Ok(u64::from_le_bytes(
            self.chunk[at..at + 8].try_into().expect("eight bytes"),
        ))
    }

    fn root(&self, path: &Path) -> Root {
        let Some((top, below)) = path.steps.split_first() else {
            return Root(*blake3::hash(&self.chunk).as_bytes());
        };
        let mut value = blake3::Hasher::new()
            .set_input_offset(path.chunk_first_byte)
            .update(&self.chunk)
            .finalize_non_root();
        let (top_sibling, below_siblings) = self.siblings.split_last().expect("as many siblings as steps");
        for (step, sibling) in below.iter().rev().zip(below_siblings) {
            let (left, right) = step.order(&value, sibling);
            value = merge_subtrees_non_root(left, right, Mode::Hash);
        }
        let (left, right) = top.order(&value, top_sibling);
        Root(*merge_subtrees_root(left, right, Mode::Hash).as_bytes())
    }
}

/// Siblings of an opening of `leaf` among `leaf_count` leaves (spec §4).
#[must_use]
pub fn sibling_count(leaf: u32, leaf_count: u64) -> usize {
    Path::new(leaf, leaf_count).steps.len()
}

/// Bytes of the chunk of an opening of `leaf` among `leaf_count` leaves (spec §4).
#[must_use]
pub fn chunk_bytes(leaf: u32, leaf_count: u64) -> usize {
    Path::new(leaf, leaf_count).chunk_leaves().len() * 8
}

/// The path from the root down to the chunk of one leaf.
struct Path {
    chunk_first_byte: u64,
    chunk_byte_count: u64,
    /// From the root down.
    steps: Vec<Step>,
}

struct Step {
    sibling_is_left: bool,
}

impl Step {
    fn order<'a>(
        &self,
        value: &'a ChainingValue,
        sibling: &'a ChainingValue,
    ) -> (&'a ChainingValue, &'a ChainingValue) {
        if self.sibling_is_left {
            (sibling, value)
        } else {
            (value, sibling)
        }
    }
}

impl Path {
    fn new(leaf: u32, leaf_count: u64) -> Self {
        assert!(u64::from(leaf) < leaf_count, "leaf {leaf} of {leaf_count}");
        let target = u64::from(leaf) * 8;
        let (mut first, mut count) = (0, leaf_count * 8);
        let mut steps = Vec::new();
        while count > CHUNK_LEN as u64 {
            let left = left_subtree_len(count);
            let in_left = target < first + left;
            steps.push(Step {
                sibling_is_left: !in_left,
            });
            (first, count) = if in_left {
                (first, left)
            } else {
                (first + left, count - left)
            };
        }
        Path {
            chunk_first_byte: first,
            chunk_byte_count: count,
            steps,
        }
    }

    fn chunk_leaves(&self) -> std::ops::Range<usize> {
        (self.chunk_first_byte / 8) as usize..((self.chunk_first_byte + self.chunk_byte_count) / 8) as usize
    }
}

fn bytes_of(leaves: &[u64]) -> Vec<u8> {
    leaves.iter().flat_map(|leaf| leaf.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_of_every_shape_opens() {
        for leaf_count in [
            1u64, 2, 127, 128, 129, 255, 256, 257, 384, 385, 1000, 1025, 2047, 2048, 2049, 2176, 2177, 4096, 4097,
            6271, 10_241,
        ] {
            let leaves: Vec<u64> = (0..leaf_count).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
            let commitment = Commitment::new(leaves.clone());
            let root = commitment.root();
            assert_eq!(root.0, *blake3::hash(&bytes_of(&leaves)).as_bytes(), "{leaf_count}");
            for leaf in 0..leaf_count as u32 {
                let opening = commitment.open(leaf).expect("the leaf exists");
                assert_eq!(opening.verify(&root, leaf, leaf_count), Ok(leaves[leaf as usize]));
            }
            assert_eq!(commitment.open(leaf_count as u32), None);
        }
    }

    #[test]
    fn any_change_is_refused() {
        let commitment = Commitment::new((0..300).collect());
        let root = commitment.root();
        let good = commitment.open(200).expect("the leaf exists");
        for at in 0..good.chunk.len() {
            let mut bad = good.clone();
            bad.chunk[at] ^= 1;
            assert!(matches!(bad.verify(&root, 200, 300), Err(OpeningError::Root { .. })));
        }
        for at in 0..good.siblings.len() {
            let mut bad = good.clone();
            bad.siblings[at][0] ^= 1;
            assert!(matches!(bad.verify(&root, 200, 300), Err(OpeningError::Root { .. })));
        }
        let mut bad = good.clone();
        bad.chunk.pop();
        assert_eq!(
            bad.verify(&root, 200, 300),
            Err(OpeningError::ChunkLength {
                expected: 1024,
                actual: 1023
            })
        );
        let mut bad = good.clone();
        bad.siblings.pop();
        assert_eq!(
            bad.verify(&root, 200, 300),
            Err(OpeningError::SiblingCount { expected: 2, actual: 1 })
        );
        let mut bad = good;
        bad.siblings.push([0; 32]);
        assert_eq!(
            bad.verify(&root, 200, 300),
            Err(OpeningError::SiblingCount { expected: 2, actual: 3 })
        );
    }
}
