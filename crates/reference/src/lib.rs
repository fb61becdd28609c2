//! Protocol v1 in one plain file: what `spec/protocol.md` defines, in its order, clarity above speed.
//!
//! It has no dependencies and shares no code with the other crates, down to its own BLAKE3 and ChaCha8, so that an
//! agreement with it means something. It parses nothing and trusts its caller: arguments outside the plan's bounds
//! (spec §3) panic or give nonsense. Use it in tests only.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::ops::Range;

/// 32 bytes: a hash, key, salt, chain, root or nonce (spec §4).
pub type Hash = [u8; 32];

/// Rows and columns of a tile (spec §4).
pub const TILE_DIM: usize = 256;

/// u32 words of a tile, and u64 words of its key (spec §4).
pub const TILE_WORDS: usize = TILE_DIM * TILE_DIM / 4;

/// Bytes of a BLAKE3 chunk, which is what an opening shows (spec §4).
pub const CHUNK_BYTES: usize = 1024;

/// Leaves, 8 bytes each, in a full chunk (spec §4).
pub const CHUNK_LEAVES: u64 = CHUNK_BYTES as u64 / 8;

// ---------------------------------------------------------------------------------------------------------------------
// §3 The plan

/// What the reference needs of a plan (spec §3): deadlines and names do not change any byte that it computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// `matrix_dim`: a matrix has n x n elements of one byte (spec §3).
    pub n: usize,
    /// The devices in ordinal order (spec §3).
    pub devices: Vec<Device>,
    /// The iterations in order (spec §3).
    pub iterations: Vec<Iteration>,
}

/// The matrices of one device (spec §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Global index of its first matrix (spec §3).
    pub matrix_offset: u64,
    /// How many matrices it holds (spec §3).
    pub num_matrices: u64,
}

/// One iteration of a plan (spec §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iteration {
    /// `inner_dim`: elements of an operand's row (spec §3).
    pub k: usize,
    /// How many sweeps follow the fill (spec §3).
    pub sweeps: u64,
    /// c: leaves that cross, of each device and round; 0 for no rounds (spec §3).
    pub crossings: u64,
}

/// The shares, in matrices, of `total` over `offers`: floors, then the remainder by largest fraction, ties to the
/// lowest ordinal (spec §3).
pub fn shares(total: u64, offers: &[u64]) -> Vec<u64> {
    let sum: u128 = offers.iter().map(|&offer| u128::from(offer)).sum();
    assert!(sum > 0 && u128::from(total) <= sum, "{total} matrices of {sum} offered");
    let scaled = |g: usize| u128::from(total) * u128::from(offers[g]);

    let mut shares: Vec<u64> = (0..offers.len()).map(|g| (scaled(g) / sum) as u64).collect();
    let mut by_fraction: Vec<usize> = (0..offers.len()).collect();
    by_fraction.sort_by_key(|&g| (std::cmp::Reverse(scaled(g) % sum), g));
    let remainder = total - shares.iter().sum::<u64>();
    for &g in &by_fraction[..remainder as usize] {
        shares[g] += 1;
    }
    shares
}

/// The plan's devices for these shares, in matrices: contiguous from 0, those with a share of 0 left out (spec §3).
pub fn devices(shares: &[u64]) -> Vec<Device> {
    let mut matrix_offset = 0;
    let mut devices = Vec::new();
    for &num_matrices in shares.iter().filter(|&&share| share > 0) {
        devices.push(Device {
            matrix_offset,
            num_matrices,
        });
        matrix_offset += num_matrices;
    }
    devices
}

// ---------------------------------------------------------------------------------------------------------------------
// §4 Definitions: derivations

/// `derive(purpose, m)`: BLAKE3 derive_key of the material under the protocol's context, 32 bytes (spec §4).
pub fn derive(purpose: &str, material: &[u8]) -> Hash {
    blake3_derive_key(&format!("gpu-attestor 2026-11-22 {purpose}"), material)
}

/// `length` bytes of keystream(key, nonce) from byte `offset`: ChaCha8, IETF layout (spec §4).
pub fn keystream(key: &Hash, nonce: &[u8; 12], offset: u64, length: usize) -> Vec<u8> {
    let skip = (offset % 64) as usize;
    let mut bytes = Vec::with_capacity(skip + length + 64);
    let mut block = offset / 64;
    while bytes.len() < skip + length {
        let counter = u32::try_from(block).expect("the keystream's block counter has 32 bits");
        bytes.extend_from_slice(&chacha8_block(key, nonce, counter));
        block += 1;
    }
    bytes.truncate(skip + length);
    bytes.split_off(skip)
}

/// The chain before the first iteration, from the nonce and the canonical payloads of HELLO and PLAN (spec §4).
pub fn chain_0(nonce: &Hash, hello: &[u8], plan: &[u8]) -> Hash {
    derive("session", &[*nonce, blake3(hello), blake3(plan)].concat())
}

/// The key of an iteration's operands (spec §4).
pub fn operand_key(chain: &Hash) -> Hash {
    derive("operands", chain)
}

/// The salt of an iteration's fill digests (spec §4).
pub fn fill_salt(chain: &Hash) -> Hash {
    derive("fill salt", chain)
}

// ---------------------------------------------------------------------------------------------------------------------
// §4 Definitions: operands and tiles

/// Rows `first_row..first_row + rows` of operand A_i, row-major, `rows` x k (spec §4).
pub fn operand_a(operand_key: &Hash, i: u64, k: usize, first_row: usize, rows: usize) -> Vec<i8> {
    operand(operand_key, b'A', i, k, first_row, rows)
}

/// Rows `first_row..first_row + rows` of operand B, row-major, `rows` x k; row c is column c of the right operand
/// (spec §4).
pub fn operand_b(operand_key: &Hash, k: usize, first_row: usize, rows: usize) -> Vec<i8> {
    operand(operand_key, b'B', 0, k, first_row, rows)
}

fn operand(operand_key: &Hash, letter: u8, index: u64, k: usize, first_row: usize, rows: usize) -> Vec<i8> {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&u32::from(letter).to_le_bytes());
    nonce[4..].copy_from_slice(&index.to_le_bytes());
    let bytes = keystream(operand_key, &nonce, (first_row * k) as u64, rows * k);
    bytes.into_iter().map(|byte| byte as i8).collect()
}

/// `acc[r][c]`: the exact product of a row of A_i with a row of B, k elements each (spec §4).
pub fn acc(a_row: &[i8], b_row: &[i8]) -> i32 {
    // |acc| <= 65536 * 2^14 = 2^30: nothing wraps, but saying so without checks lets the loop use vectors.
    let mut sum = 0_i32;
    for (&a, &b) in a_row.iter().zip(b_row) {
        sum = sum.wrapping_add(i32::from(a) * i32::from(b));
    }
    sum
}

/// The fold of an acc to one byte of X_i (spec §4).
pub fn fold(acc: i32) -> u8 {
    let mut h = (acc as u32).wrapping_mul(0x9E37_79B1);
    h ^= h >> 15;
    h = h.wrapping_mul(0x85EB_CA6B);
    (h >> 24) as u8
}

/// The 65,536 bytes, row-major, of the tile made by 256 rows of A_i and 256 rows of B, each 256 x k (spec §4).
pub fn tile_of_rows(a_rows: &[i8], b_rows: &[i8], k: usize) -> Vec<u8> {
    assert_eq!((a_rows.len(), b_rows.len()), (TILE_DIM * k, TILE_DIM * k));
    let mut tile = Vec::with_capacity(TILE_DIM * TILE_DIM);
    for a_row in a_rows.chunks_exact(k) {
        for b_row in b_rows.chunks_exact(k) {
            tile.push(fold(acc(a_row, b_row)));
        }
    }
    tile
}

/// The 65,536 bytes, row-major, of tile (i, tr, tc) (spec §4).
pub fn tile(operand_key: &Hash, k: usize, i: u64, tr: usize, tc: usize) -> Vec<u8> {
    let a_rows = operand_a(operand_key, i, k, TILE_DIM * tr, TILE_DIM);
    let b_rows = operand_b(operand_key, k, TILE_DIM * tc, TILE_DIM);
    tile_of_rows(&a_rows, &b_rows, k)
}

/// All tiles of a device in index order, 65,536 bytes each (spec §4).
pub fn device_tiles(operand_key: &Hash, n: usize, k: usize, device: &Device) -> Vec<Vec<u8>> {
    let b = operand_b(operand_key, k, 0, n);
    let mut tiles = Vec::new();
    for i in device.matrix_offset..device.matrix_offset + device.num_matrices {
        let a = operand_a(operand_key, i, k, 0, n);
        for a_rows in a.chunks_exact(TILE_DIM * k) {
            for b_rows in b.chunks_exact(TILE_DIM * k) {
                tiles.push(tile_of_rows(a_rows, b_rows, k));
            }
        }
    }
    tiles
}

/// M: the tiles of a device, each a leaf of its fill (spec §4).
pub fn tile_count(n: usize, device: &Device) -> u64 {
    device.num_matrices * tiles_of_matrix(n)
}

/// The (i, tr, tc) of the tile with this index within a device (spec §4).
pub fn tile_coordinates(n: usize, device: &Device, index: u64) -> (u64, usize, usize) {
    let within = (index % tiles_of_matrix(n)) as usize;
    let across = n / TILE_DIM;
    let i = device.matrix_offset + index / tiles_of_matrix(n);
    (i, within / across, within % across)
}

fn tiles_of_matrix(n: usize) -> u64 {
    (n / TILE_DIM * (n / TILE_DIM)) as u64
}

// ---------------------------------------------------------------------------------------------------------------------
// §4 Definitions: digests and the matching

/// `key(salt)`: what digests and the matching under one salt need (spec §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// K_j, one factor a word of a tile: 16,384 of them (spec §4).
    pub words: Vec<u64>,
    /// The keys of the four Feistel rounds in order (spec §4).
    pub feistel: [u32; 4],
    /// z, from which each leaf's shift comes (spec §4).
    pub z: u32,
}

/// `key(salt)` (spec §4).
pub fn key(salt: &Hash) -> Key {
    let bytes = keystream(salt, &[0; 12], 0, 8 * TILE_WORDS + 16 + 4);
    let (words, rest) = bytes.split_at(8 * TILE_WORDS);
    let rest = words_u32(rest);
    Key {
        words: words_u64(words),
        feistel: [rest[0], rest[1], rest[2], rest[3]],
        z: rest[4],
    }
}

/// Fill digest of a tile: `sum_j K_j * w_j mod 2^64` (spec §4).
pub fn fill_digest(key: &Key, tile: &[u8]) -> u64 {
    let mut sum = 0_u64;
    for (&factor, word) in key.words.iter().zip(words_u32(tile)) {
        sum = sum.wrapping_add(factor.wrapping_mul(u64::from(word)));
    }
    sum
}

/// `permute(x)` on 0..tiles, the permutation behind the matching (spec §4).
pub fn permute(key: &Key, tiles: u64, x: u64) -> u64 {
    let mut h = 1;
    while 1_u64 << (2 * h) < tiles {
        h += 1;
    }
    let mask = (1_u32 << h) - 1;
    let mut x = x;
    loop {
        let (mut left, mut right) = ((x >> h) as u32, x as u32 & mask);
        for round_key in key.feistel {
            (left, right) = (right, left ^ (fmix32(right ^ round_key) & mask));
        }
        x = u64::from(left) << h | u64::from(right);
        if x < tiles {
            return x;
        }
    }
}

/// The tiles (a, b) of a device that leaf j pairs; an odd last tile is paired with itself (spec §4).
pub fn pair(key: &Key, tiles: u64, j: u64) -> (u64, u64) {
    let a = permute(key, tiles, 2 * j);
    // An odd last tile is the permutation's image of tiles - 1, which is 2j then.
    let b = permute(key, tiles, (2 * j + 1).min(tiles - 1));
    (a, b)
}

/// The matching of a sweep: the pair of each leaf in order (spec §4).
pub fn matching(key: &Key, tiles: u64) -> Vec<(u64, u64)> {
    (0..sweep_leaf_count(tiles)).map(|j| pair(key, tiles, j)).collect()
}

/// Leaves of one sweep over this many tiles: ceil(M/2) (spec §4).
pub fn sweep_leaf_count(tiles: u64) -> u64 {
    tiles.div_ceil(2)
}

/// The shift m of leaf j, in words, 0..16384 (spec §4).
pub fn shift(key: &Key, j: u64) -> usize {
    (fmix32(j as u32 ^ key.z) & 16383) as usize
}

/// Pair digest of leaf j: `sum_i K_i * a_i * b_{i xor m} mod 2^64` (spec §4).
pub fn pair_digest(key: &Key, j: u64, a: &[u8], b: &[u8]) -> u64 {
    let m = shift(key, j);
    let (a, b) = (words_u32(a), words_u32(b));
    let mut sum = 0_u64;
    for i in 0..TILE_WORDS {
        let product = u64::from(a[i]).wrapping_mul(u64::from(b[i ^ m]));
        sum = sum.wrapping_add(key.words[i].wrapping_mul(product));
    }
    sum
}

/// MurmurHash3's 32-bit finalizer (spec §4).
pub fn fmix32(h: u32) -> u32 {
    let h = (h ^ h >> 16).wrapping_mul(0x85EB_CA6B);
    let h = (h ^ h >> 13).wrapping_mul(0xC2B2_AE35);
    h ^ h >> 16
}

// ---------------------------------------------------------------------------------------------------------------------
// §4 Definitions: roots and openings

/// Root of a device's leaves: BLAKE3 of their u64s in order (spec §4).
pub fn root(leaves: &[u64]) -> Hash {
    blake3(&leaf_bytes(leaves))
}

/// An opening of one leaf under a root (spec §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The BLAKE3 chunk that holds the leaf: 1,024 bytes, or fewer if it is the last (spec §4).
    pub chunk: Vec<u8>,
    /// The chaining values of the siblings from leaf to root (spec §4).
    pub siblings: Vec<Hash>,
}

/// The opening of leaf `leaf` of a device's leaves (spec §4).
pub fn opening(leaves: &[u64], leaf: u64) -> Opening {
    let bytes = leaf_bytes(leaves);
    let (chunk, path) = path(leaves.len() as u64, leaf);
    let chaining_value = |side: &Sibling| blake3_tree(&BLAKE3_IV, &bytes[side.range.clone()], side.range.start, 0);
    let siblings = path.iter().map(|side| bytes_of_words(&chaining_value(side))).collect();
    let chunk = bytes[chunk].to_vec();
    Opening { chunk, siblings }
}

/// The digest at leaf `leaf` of `leaf_count` if the opening leads to the root and has the only possible shape, else
/// nothing (spec §4).
pub fn verify_opening(root: &Hash, leaf_count: u64, leaf: u64, opening: &Opening) -> Option<u64> {
    if leaf >= leaf_count {
        return None;
    }
    let (chunk, path) = path(leaf_count, leaf);
    if opening.chunk.len() != chunk.len() || opening.siblings.len() != path.len() {
        return None;
    }
    let root_flag = |levels_above: usize| if levels_above == 0 { ROOT } else { 0 };
    let mut node = chunk_chaining_value(&BLAKE3_IV, &opening.chunk, chunk.start, root_flag(path.len()));
    for (level, (side, sibling)) in path.iter().zip(&opening.siblings).enumerate() {
        let sibling = words(sibling);
        let [left, right] = if side.is_right {
            [node, sibling]
        } else {
            [sibling, node]
        };
        node = parent_chaining_value(&BLAKE3_IV, &left, &right, root_flag(path.len() - 1 - level));
    }
    let at = (leaf % CHUNK_LEAVES) as usize;
    (bytes_of_words(&node) == *root).then(|| words_u64(&opening.chunk)[at])
}

struct Sibling {
    range: Range<usize>,
    is_right: bool,
}

/// The bytes of a leaf's chunk, and the siblings from leaf to root: the tree's shape follows from the leaf count.
fn path(leaf_count: u64, leaf: u64) -> (Range<usize>, Vec<Sibling>) {
    let start = (leaf / CHUNK_LEAVES) as usize * CHUNK_BYTES;
    let mut node = 0..8 * leaf_count as usize;
    let mut siblings = Vec::new();
    while node.len() > CHUNK_BYTES {
        let middle = node.start + left_bytes(node.len());
        let (left, right) = (node.start..middle, middle..node.end);
        let is_right = start < middle;
        let (inside, range) = if is_right { (left, right) } else { (right, left) };
        siblings.push(Sibling { range, is_right });
        node = inside;
    }
    siblings.reverse();
    (node, siblings)
}

fn leaf_bytes(leaves: &[u64]) -> Vec<u8> {
    leaves.iter().flat_map(|leaf| leaf.to_le_bytes()).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// §4 Definitions: sweeps, chain, a whole run

/// The salt of device g's first sweep, after all fill roots and the Verifier's v (spec §4).
pub fn first_sweep_salt(chain: &Hash, v: &Hash, fill_roots: &[Hash], g: u32) -> Hash {
    let joint = blake3(&fill_roots.concat());
    derive("first sweep salt", &[&chain[..], v, &joint, &g.to_le_bytes()].concat())
}

/// The salt of device g's next sweep, from this sweep's salt and all devices' roots in ordinal order (spec §4).
pub fn next_sweep_salt(sweep_salt: &Hash, sweep_roots: &[Hash], g: u32) -> Hash {
    let material = [&sweep_salt[..], &sweep_roots.concat(), &g.to_le_bytes()].concat();
    derive("next sweep salt", &material)
}

/// The chain of the next iteration, from the devices' last sweep roots and then the rounds' roots, in ordinal order (spec §4).
pub fn next_chain(chain: &Hash, w: &Hash, last_roots: &[Hash]) -> Hash {
    derive("chain", &[*chain, *w, blake3(&last_roots.concat())].concat())
}

// ---------------------------------------------------------------------------------------------------------------------
// §4 Definitions: rounds

/// Rounds of a tournament: as many as the next odd number, if the devices are even, has places beside one (spec §4.8).
pub fn round_count(devices: usize) -> usize {
    if devices < 2 {
        0
    } else {
        devices.next_multiple_of(2) - 1
    }
}

/// The round, from 0, in which the devices at places i < j meet: the r with i + j = 2r modulo the number of rounds, or i if j is the
/// last of an even number (spec §4.8).
pub fn meeting(devices: usize, i: usize, j: usize) -> usize {
    let rounds = round_count(devices);
    assert!(i < j && j < devices);
    if j == rounds {
        return i;
    }
    // 2 has the inverse (rounds + 1) / 2, as rounds is odd.
    (i + j) * rounds.div_ceil(2) % rounds
}

/// The place that the device at place g meets in a round, if it does not rest (spec §4.8).
pub fn opponent(devices: usize, round: usize, g: usize) -> Option<usize> {
    let meets = |&h: &usize| h != g && meeting(devices, g.min(h), g.max(h)) == round;
    (0..devices).find(meets)
}

/// The salt of device g's leaves in a round, from the Verifier's fresh bytes (spec §4.8).
pub fn crossing_salt(chain: &Hash, fresh: &Hash, g: u32) -> Hash {
    derive("crossing salt", &[&chain[..], fresh, &g.to_le_bytes()].concat())
}

/// The tiles that leaf j of a round pairs, the second with whether it is the other device's; M of either device (spec §4.8).
pub fn crossing_pair(own: (&Key, u64), other: (&Key, u64), c: u64, j: u64) -> (u64, u64, bool) {
    let (own, other) = (|x| permute(own.0, own.1, x), |x| permute(other.0, other.1, x));
    if j < c {
        (own(2 * j), own(2 * j + 1), false)
    } else {
        (own(c + j), other(2 * c + j), true)
    }
}

/// The leaves of one device in a round, from its salt and the other's, and the tiles of both (spec §4.8).
pub fn cross(salt: &Hash, other_salt: &Hash, tiles: &[Vec<u8>], other_tiles: &[Vec<u8>], c: u64) -> Vec<u64> {
    let (key, other_key) = (key(salt), key(other_salt));
    let digest = |j| {
        let (own, other) = ((&key, tiles.len() as u64), (&other_key, other_tiles.len() as u64));
        let (a, b, crosses) = crossing_pair(own, other, c, j);
        let b = if crosses {
            &other_tiles[b as usize]
        } else {
            &tiles[b as usize]
        };
        pair_digest(&key, j, &tiles[a as usize], b)
    };
    (0..2 * c).map(digest).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// §4 Definitions: a whole run

/// Everything a run computes (spec §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// One entry an iteration (spec §4).
    pub trace: Vec<IterationTrace>,
    /// The session's checksum: the chain after the last iteration (spec §4).
    pub checksum: Hash,
}

/// Everything one iteration computes; `[g]` is the device's ordinal, `[s]` the sweep counted from 0 (spec §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IterationTrace {
    /// chain_t (spec §4).
    pub chain: Hash,
    /// The key of its operands (spec §4).
    pub operand_key: Hash,
    /// The salt of its fill digests (spec §4).
    pub fill_salt: Hash,
    /// Fill digests `[g][tile]`: the leaves under the fill roots (spec §4).
    pub fill_digests: Vec<Vec<u64>>,
    /// Fill roots `[g]` (spec §4).
    pub fill_roots: Vec<Hash>,
    /// The Verifier's v (spec §4).
    pub v: Hash,
    /// Sweep salts `[g][s]` (spec §4).
    pub sweep_salts: Vec<Vec<Hash>>,
    /// Pair digests `[g][s][leaf]`: the leaves under the sweep roots (spec §4).
    pub sweep_leaves: Vec<Vec<Vec<u64>>>,
    /// Sweep roots `[g][s]` (spec §4).
    pub sweep_roots: Vec<Vec<Hash>>,
    /// The rounds (spec §4.8).
    pub rounds: Vec<RoundTrace>,
    /// The Verifier's w (spec §4).
    pub w: Hash,
}

/// Everything one round computes; `[g]` is the device's place (spec §4.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundTrace {
    /// The Verifier's fresh bytes.
    pub fresh: Hash,
    /// Salts `[g]`.
    pub salts: Vec<Hash>,
    /// Leaves `[g][leaf]`; none of a device that rests.
    pub leaves: Vec<Vec<u64>>,
    /// Roots of those that do not rest, in order of their places.
    pub roots: Vec<Hash>,
}

/// A whole run of the plan: `v` is asked with (t, fill roots `[g]`), `x` with (t, round), `w` with (t, sweep roots `[g][s]`)
/// (spec §4).
pub fn run(
    plan: &Plan,
    chain_0: &Hash,
    mut v: impl FnMut(usize, &[Hash]) -> Hash,
    mut x: impl FnMut(usize, usize) -> Hash,
    mut w: impl FnMut(usize, &[Vec<Hash>]) -> Hash,
) -> Run {
    let mut chain = *chain_0;
    let mut trace = Vec::new();
    for (t, iteration) in plan.iterations.iter().enumerate() {
        let operand_key = operand_key(&chain);
        let fill_salt = fill_salt(&chain);
        let fill_key = key(&fill_salt);
        let (mut tiles, mut fill_digests, mut fill_roots) = (Vec::new(), Vec::new(), Vec::new());
        for device in &plan.devices {
            let filled = device_tiles(&operand_key, plan.n, iteration.k, device);
            let leaves: Vec<u64> = filled.iter().map(|tile| fill_digest(&fill_key, tile)).collect();
            fill_roots.push(root(&leaves));
            fill_digests.push(leaves);
            tiles.push(filled);
        }

        let v = v(t, &fill_roots);
        let devices = tiles.len();
        let mut salts: Vec<Hash> = (0..devices)
            .map(|g| first_sweep_salt(&chain, &v, &fill_roots, g as u32))
            .collect();
        let mut sweep_salts = vec![Vec::new(); devices];
        let (mut sweep_leaves, mut sweep_roots) = (vec![Vec::new(); devices], vec![Vec::new(); devices]);
        for _ in 0..iteration.sweeps {
            let mut roots = Vec::new();
            for (g, tiles) in tiles.iter().enumerate() {
                let swept = sweep(&salts[g], tiles);
                roots.push(root(&swept));
                sweep_salts[g].push(salts[g]);
                sweep_roots[g].push(roots[g]);
                sweep_leaves[g].push(swept);
            }
            for (g, salt) in salts.iter_mut().enumerate() {
                *salt = next_sweep_salt(salt, &roots, g as u32);
            }
        }

        let round = |round| cross_round(&chain, &x(t, round), round, &tiles, iteration.crossings);
        let count = if iteration.crossings == 0 {
            0
        } else {
            round_count(devices)
        };
        let rounds: Vec<RoundTrace> = (0..count).map(round).collect();

        let w = w(t, &sweep_roots);
        let mut last_roots: Vec<Hash> = sweep_roots.iter().map(|roots| roots[roots.len() - 1]).collect();
        last_roots.extend(rounds.iter().flat_map(|round| &round.roots));
        let next = next_chain(&chain, &w, &last_roots);
        trace.push(IterationTrace {
            chain,
            operand_key,
            fill_salt,
            fill_digests,
            fill_roots,
            v,
            sweep_salts,
            sweep_leaves,
            sweep_roots,
            rounds,
            w,
        });
        chain = next;
    }
    Run { trace, checksum: chain }
}

/// One round over all devices' tiles (spec §4.8).
fn cross_round(chain: &Hash, fresh: &Hash, round: usize, tiles: &[Vec<Vec<u8>>], c: u64) -> RoundTrace {
    let salts: Vec<Hash> = (0..tiles.len())
        .map(|g| crossing_salt(chain, fresh, g as u32))
        .collect();
    let mut leaves = vec![Vec::new(); tiles.len()];
    let mut roots = Vec::new();
    for g in 0..tiles.len() {
        if let Some(h) = opponent(tiles.len(), round, g) {
            leaves[g] = cross(&salts[g], &salts[h], &tiles[g], &tiles[h], c);
            roots.push(root(&leaves[g]));
        }
    }
    RoundTrace {
        fresh: *fresh,
        salts,
        leaves,
        roots,
    }
}

/// The leaves of one sweep over a device's tiles: the pair digests of its matching in order (spec §4).
pub fn sweep(sweep_salt: &Hash, tiles: &[Vec<u8>]) -> Vec<u64> {
    let key = key(sweep_salt);
    let pairs = matching(&key, tiles.len() as u64);
    let digest =
        |(j, &(a, b)): (usize, &(u64, u64))| pair_digest(&key, j as u64, &tiles[a as usize], &tiles[b as usize]);
    pairs.iter().enumerate().map(digest).collect()
}

// ---------------------------------------------------------------------------------------------------------------------
// §5 The session: transcript, offline form, samples

/// H: BLAKE3 of the messages (type, payload) in order, each as u32 type | u64 length | payload (spec §5).
pub fn transcript_hash(messages: &[(u32, &[u8])]) -> Hash {
    let mut bytes = Vec::new();
    for (message_type, payload) in messages {
        bytes.extend_from_slice(&message_type.to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        bytes.extend_from_slice(payload);
    }
    blake3(&bytes)
}

/// The 32 bytes that the Attester signs: derive("transcript", H | TLS exporter value or nothing) (spec §5).
pub fn signed_transcript(transcript_hash: &Hash, tls_exporter: &[u8]) -> Hash {
    derive("transcript", &[&transcript_hash[..], tls_exporter].concat())
}

/// v of the offline form, from H over the transcript so far (spec §5).
pub fn offline_v(transcript_hash: &Hash) -> Hash {
    derive("offline v", transcript_hash)
}

/// w of the offline form, from H over the transcript so far (spec §5).
pub fn offline_w(transcript_hash: &Hash) -> Hash {
    derive("offline w", transcript_hash)
}

/// The key of the offline form's samples, from H over the transcript so far (spec §5).
pub fn offline_samples_key(transcript_hash: &Hash) -> Hash {
    derive("offline samples", transcript_hash)
}

/// The groups of a plan: its distinct k in order of first appearance (spec §6).
pub fn groups(plan: &Plan) -> Vec<usize> {
    let mut groups = Vec::new();
    for iteration in &plan.iterations {
        if !groups.contains(&iteration.k) {
            groups.push(iteration.k);
        }
    }
    groups
}

/// Sweep leaves of a device over all iterations with this k: what its samples are drawn from (spec §5).
pub fn group_leaf_count(plan: &Plan, device: &Device, k: usize) -> u64 {
    let of_group = plan.iterations.iter().filter(|iteration| iteration.k == k);
    let sweeps: u64 = of_group.map(|iteration| iteration.sweeps).sum();
    sweeps * sweep_leaf_count(tile_count(plan.n, device))
}

/// The totals that samples are drawn from: devices in ordinal order, within each its groups in order (spec §5).
pub fn sample_totals(plan: &Plan) -> Vec<u64> {
    let groups = groups(plan);
    let totals = |device| groups.iter().map(move |&k| group_leaf_count(plan, device, k));
    plan.devices.iter().flat_map(totals).collect()
}

/// Leaves of each device in all rounds with this k: what its samples of rounds are drawn from (spec §5).
pub fn crossing_total(plan: &Plan, k: usize) -> u64 {
    let of_group = plan.iterations.iter().filter(|iteration| iteration.k == k);
    let leaves: u64 = of_group.map(|iteration| 2 * iteration.crossings).sum();
    leaves * (plan.devices.len() as u64 - 1)
}

/// The (t, round, leaf), all from 0, of a sample index of the device at place g in the rounds of a group (spec §5).
pub fn crossing_coordinates(plan: &Plan, g: usize, k: usize, index: u64) -> (usize, usize, u64) {
    let mut rest = index;
    for (t, iteration) in plan
        .iterations
        .iter()
        .enumerate()
        .filter(|(_, iteration)| iteration.k == k)
    {
        for round in 0..round_count(plan.devices.len()) {
            if iteration.crossings > 0 && opponent(plan.devices.len(), round, g).is_some() {
                if rest < 2 * iteration.crossings {
                    return (t, round, rest);
                }
                rest -= 2 * iteration.crossings;
            }
        }
    }
    panic!("sample index {index} is past the last leaf of the rounds of k = {k}");
}

/// The effective number s of samples: min(samples, leaves of all sweeps with that k) (spec §3).
pub fn effective_samples(samples: u64, total: u64) -> u64 {
    samples.min(total)
}

/// For each total in order, that many distinct indices below it in the order drawn, from one stream of u64s of
/// keystream(key, zeros): rejection-sampled, repeats skipped (spec §5).
pub fn sample_indices(key: &Hash, totals: &[u64], counts: &[u64]) -> Vec<Vec<u64>> {
    assert_eq!(totals.len(), counts.len());
    let mut offset = 0;
    let mut draw = || {
        let bytes = keystream(key, &[0; 12], offset, 8);
        offset += 8;
        words_u64(&bytes)[0]
    };

    let mut samples = Vec::new();
    for (&total, &count) in totals.iter().zip(counts) {
        assert!(count <= total, "{count} distinct samples of {total} leaves");
        let mut indices = Vec::new();
        let mut seen = HashSet::new();
        while (indices.len() as u64) < count {
            let x = draw();
            // 2^64 itself when total divides it: then no x is rejected.
            let limit = (1_u128 << 64) / u128::from(total) * u128::from(total);
            if u128::from(x) < limit && seen.insert(x % total) {
                indices.push(x % total);
            }
        }
        samples.push(indices);
    }
    samples
}

/// The (t from 0, sweep from 1, leaf from 0) of a sample index of a device and group: iterations with that k in order,
/// then sweeps, then leaves (spec §5).
pub fn sample_coordinates(plan: &Plan, device: &Device, k: usize, index: u64) -> (usize, u64, u64) {
    let leaves = sweep_leaf_count(tile_count(plan.n, device));
    let mut rest = index;
    for (t, iteration) in plan.iterations.iter().enumerate() {
        let here = if iteration.k == k { iteration.sweeps * leaves } else { 0 };
        if rest < here {
            return (t, 1 + rest / leaves, rest % leaves);
        }
        rest -= here;
    }
    panic!("sample index {index} is past the last leaf of k = {k}");
}

// ---------------------------------------------------------------------------------------------------------------------
// §6 What the Verifier certifies, in f64 to compare the exact bounds with

/// The assumptions of the bounds, all in SI units (spec §6).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assumptions {
    /// Highest exact int8 rate of one GPU, operations/s, from which G follows (spec §6).
    pub best_rate: f64,
    /// GPUs that may regenerate bytes for one device, itself among them (spec §6).
    pub helper_gpus: f64,
    /// W_in: fastest link into the device, bytes/s (spec §6).
    pub link_in: f64,
    /// W_out: fastest link out of the device, bytes/s (spec §6).
    pub link_out: f64,
    /// R: rate at which what holds tiles elsewhere reads them, bytes/s (spec §6).
    pub helper_read: f64,
    /// C: largest known on-chip memory, bytes (spec §6).
    pub on_chip: f64,
}

/// What was measured of one device and group (spec §6).
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The group's inner dimension (spec §6).
    pub k: usize,
    /// s: the effective number of samples (spec §6).
    pub samples: u64,
    /// N: the device's dataset in bytes (spec §6).
    pub dataset: f64,
    /// The group's iterations (spec §6).
    pub iterations: Vec<MeasuredIteration>,
}

/// One iteration of a group (spec §6).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredIteration {
    /// Its sweeps.
    pub sweeps: f64,
    /// Its fill window, seconds.
    pub fill: f64,
    /// Its sweep window, seconds.
    pub sweep: f64,
}

impl Measured {
    /// Sweeps of all iterations.
    pub fn sweeps(&self) -> f64 {
        self.iterations.iter().map(|i| i.sweeps).sum()
    }

    /// τ: sum of sweep windows / number of sweeps, seconds (spec §6).
    pub fn tau(&self) -> f64 {
        self.iterations.iter().map(|i| i.sweep).sum::<f64>() / self.sweeps()
    }

    /// F: sum of fill windows, seconds (spec §6).
    pub fn fill(&self) -> f64 {
        self.iterations.iter().map(|i| i.fill).sum()
    }

    /// T_raw: operations / sum of fill windows, operations/s (spec §6).
    pub fn raw_rate(&self) -> f64 {
        2.0 * self.k as f64 * self.dataset * self.iterations.len() as f64 / self.fill()
    }
}

/// N: a device's dataset in bytes (spec §6).
pub fn dataset_bytes(n: usize, device: &Device) -> u64 {
    device.num_matrices * (n * n) as u64
}

/// Operations of a device's fills in all iterations with this k: 2k a byte and iteration (spec §6).
pub fn group_operations(plan: &Plan, device: &Device, k: usize) -> u128 {
    let iterations = plan.iterations.iter().filter(|iteration| iteration.k == k).count() as u128;
    iterations * 2 * k as u128 * u128::from(dataset_bytes(plan.n, device))
}

/// f*: except with probability 2^-20 fewer than this fraction of a group's leaves were wrong (spec §6).
pub fn wrong_fraction(samples: u64) -> f64 {
    13.862_943_7 / samples as f64
}

/// G: bytes/s that all GPUs that may help regenerate at this k, +15 % (spec §6).
pub fn regenerated_rate(assumptions: &Assumptions, k: usize) -> f64 {
    1.15 * assumptions.best_rate * assumptions.helper_gpus / (2.0 * k as f64)
}

/// V: bytes of memory held at least, or no bound (spec §6).
pub fn bound_v(measured: &Measured, assumptions: &Assumptions) -> Option<f64> {
    let supplied = elsewhere_rate(assumptions, measured.k) * measured.tau();
    let has_bound = measured.k >= 4096 && measured.samples >= 256;
    has_bound.then(|| measured.dataset - wrong_bytes(measured) - supplied)
}

/// V of a device whose sweeps are not in step with those it is added to, or no bound (spec §6.5).
pub fn bound_v_joint(measured: &Measured, assumptions: &Assumptions) -> Option<f64> {
    let regenerated = regenerated_rate(assumptions, measured.k);
    let mean_window = measured.iterations.iter().map(|i| i.sweeps * i.sweep).sum::<f64>() / measured.sweeps();
    let kept = (regenerated + assumptions.link_in) * mean_window;
    let answered = (regenerated + assumptions.link_out + assumptions.helper_read) * measured.tau();
    let has_bound = measured.k >= 4096 && measured.samples >= 256;
    has_bound.then(|| measured.dataset - wrong_bytes(measured) - kept - answered)
}

/// B: bytes/s read at least, or no bound (spec §6).
pub fn bound_b(measured: &Measured, assumptions: &Assumptions) -> Option<f64> {
    let has_bound = measured.k >= 4096 && measured.samples >= 256 && measured.dataset >= 16.0 * assumptions.on_chip;
    let read = (measured.dataset - wrong_bytes(measured) - assumptions.on_chip) / measured.tau();
    has_bound.then(|| read - elsewhere_rate(assumptions, measured.k))
}

/// T: operations/s of the whole system at least, or no bound (spec §6).
pub fn bound_t(measured: &Measured) -> Option<f64> {
    let has_bound = measured.samples >= 256;
    has_bound.then(|| 2.0 * measured.k as f64 * right_fills(measured) / measured.fill())
}

/// T_local: operations/s at least of the part that can't have come in over a link, or no bound (spec §6).
pub fn bound_t_local(measured: &Measured, assumptions: &Assumptions) -> Option<f64> {
    let window = measured.fill() + measured.iterations.iter().map(|i| i.sweep).sum::<f64>();
    let answered = regenerated_rate(assumptions, measured.k) + assumptions.link_out + assumptions.helper_read;
    let in_a_sweep: f64 = measured.iterations.iter().map(|i| answered * i.sweep / i.sweeps).sum();
    let local = right_fills(measured) - in_a_sweep - assumptions.link_in * window;
    (measured.samples >= 256).then(|| 2.0 * measured.k as f64 * local / window)
}

/// Bytes of all fills that stand in right leaves, if the wrong ones lie where sweeps are fewest (spec §6).
fn right_fills(measured: &Measured) -> f64 {
    let sweeps = measured.iterations.iter().map(|i| i.sweeps);
    let fewest = sweeps.fold(f64::INFINITY, f64::min);
    let filled = measured.dataset * measured.iterations.len() as f64;
    filled - wrong_bytes(measured) * measured.sweeps() / fewest
}

/// Bytes of one sweep that may stand in wrong leaves: f of what all leaves stand for (spec §6).
fn wrong_bytes(measured: &Measured) -> f64 {
    let leaves = (measured.dataset / 131_072.0).ceil();
    wrong_fraction(measured.samples) * leaves * 131_072.0
}

/// E: bytes/s that may come from elsewhere (spec §6).
fn elsewhere_rate(assumptions: &Assumptions, k: usize) -> f64 {
    let links = assumptions.link_in + assumptions.link_out;
    regenerated_rate(assumptions, k) + links + assumptions.helper_read
}

/// Bytes/s that moved between the memories of GPUs in the round of two of these devices, all of the same dataset: on any path, or
/// over links between GPUs alone; C crossings, the round's window in seconds (spec §6.6).
pub fn bound_exchange(
    measured: &Measured,
    devices: f64,
    crossings: f64,
    window: f64,
    gpu_memory: f64,
    assumptions: &Assumptions,
    links_alone: bool,
) -> f64 {
    let pairs = (devices / 2.0).floor();
    let held = (gpu_memory + assumptions.on_chip) / (2.0 * measured.dataset);
    let alone = 4.0 * crossings * devices * held * held / pairs;
    let lucky = 4.0 * (crossings * 13.862_943_7).sqrt();
    let wrong = 2.0 * wrong_fraction(measured.samples) * 2.0 * crossings * (devices - 1.0);
    let leaves = 4.0 * crossings - alone - lucky - wrong;
    let made = regenerated_rate(assumptions, measured.k) + assumptions.helper_read;
    let replaced = made
        + if links_alone {
            assumptions.link_in + assumptions.link_out
        } else {
            0.0
        };
    65_536.0 * leaves / window - devices * replaced / pairs
}

// ---------------------------------------------------------------------------------------------------------------------
// BLAKE3

/// BLAKE3 of the bytes, unkeyed, 32 bytes (spec §4).
pub fn blake3(bytes: &[u8]) -> Hash {
    bytes_of_words(&blake3_tree(&BLAKE3_IV, bytes, 0, ROOT))
}

/// BLAKE3 derive_key: 32 bytes from a context and material (spec §4).
pub fn blake3_derive_key(context: &str, material: &[u8]) -> Hash {
    let context_key = blake3_tree(&BLAKE3_IV, context.as_bytes(), 0, DERIVE_KEY_CONTEXT | ROOT);
    bytes_of_words(&blake3_tree(&context_key, material, 0, DERIVE_KEY_MATERIAL | ROOT))
}

#[rustfmt::skip]
const BLAKE3_IV: [u32; 8] = [
    0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
];

const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 2;
const PARENT: u32 = 4;
const ROOT: u32 = 8;
const DERIVE_KEY_CONTEXT: u32 = 32;
const DERIVE_KEY_MATERIAL: u32 = 64;

/// The chaining value of the subtree over these bytes, which begin at `offset` of the whole input.
fn blake3_tree(key: &[u32; 8], bytes: &[u8], offset: usize, flags: u32) -> [u32; 8] {
    if bytes.len() <= CHUNK_BYTES {
        return chunk_chaining_value(key, bytes, offset, flags);
    }
    let (left, right) = bytes.split_at(left_bytes(bytes.len()));
    let left_value = blake3_tree(key, left, offset, flags & !ROOT);
    let right_value = blake3_tree(key, right, offset + left.len(), flags & !ROOT);
    parent_chaining_value(key, &left_value, &right_value, flags)
}

/// Bytes in the left half of a subtree of more than one chunk: the most that is a power of two of chunks and leaves
/// something for the right.
fn left_bytes(length: usize) -> usize {
    let mut left = CHUNK_BYTES;
    while 2 * left < length {
        left *= 2;
    }
    left
}

fn chunk_chaining_value(key: &[u32; 8], chunk: &[u8], offset: usize, flags: u32) -> [u32; 8] {
    let counter = (offset / CHUNK_BYTES) as u64;
    let last = chunk.len().div_ceil(64).max(1) - 1;
    let mut value = *key;
    for b in 0..=last {
        let bytes = &chunk[64 * b..chunk.len().min(64 * b + 64)];
        let mut padded = [0; 64];
        padded[..bytes.len()].copy_from_slice(bytes);
        let start = if b == 0 { CHUNK_START } else { 0 };
        // Only the last block of a chunk that is the whole tree carries ROOT.
        let end = if b == last { CHUNK_END | flags } else { flags & !ROOT };
        value = compress(&value, &words(&padded), counter, bytes.len() as u32, start | end);
    }
    value
}

fn parent_chaining_value(key: &[u32; 8], left: &[u32; 8], right: &[u32; 8], flags: u32) -> [u32; 8] {
    let block = std::array::from_fn(|i| if i < 8 { left[i] } else { right[i - 8] });
    compress(key, &block, 0, 64, flags | PARENT)
}

fn compress(value: &[u32; 8], block: &[u32; 16], counter: u64, block_length: u32, flags: u32) -> [u32; 8] {
    const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    let mut state = [0; 16];
    state[..8].copy_from_slice(value);
    state[8..12].copy_from_slice(&BLAKE3_IV[..4]);
    state[12..].copy_from_slice(&[counter as u32, (counter >> 32) as u32, block_length, flags]);
    let mut block = *block;
    for _ in 0..7 {
        for (i, [a, b, c, d]) in COLUMNS_THEN_DIAGONALS.into_iter().enumerate() {
            mix(&mut state, [a, b, c, d], block[2 * i], block[2 * i + 1]);
        }
        block = PERMUTATION.map(|from| block[from]);
    }
    std::array::from_fn(|i| state[i] ^ state[i + 8])
}

/// BLAKE3's quarter round on four words of the state with two of the block.
fn mix(state: &mut [u32; 16], [a, b, c, d]: [usize; 4], x: u32, y: u32) {
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(x);
    state[d] = (state[d] ^ state[a]).rotate_right(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(12);
    state[a] = state[a].wrapping_add(state[b]).wrapping_add(y);
    state[d] = (state[d] ^ state[a]).rotate_right(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_right(7);
}

// ---------------------------------------------------------------------------------------------------------------------
// ChaCha8

fn chacha8_block(key: &Hash, nonce: &[u8; 12], counter: u32) -> [u8; 64] {
    let mut start = [0; 16];
    start[..4].copy_from_slice(&words::<4>(b"expand 32-byte k"));
    start[4..12].copy_from_slice(&words::<8>(key));
    start[12] = counter;
    start[13..].copy_from_slice(&words::<3>(nonce));
    let mut state = start;
    for _ in 0..4 {
        for quarter in COLUMNS_THEN_DIAGONALS {
            quarter_round(&mut state, quarter);
        }
    }
    let mut block = [0; 64];
    for i in 0..16 {
        block[4 * i..4 * i + 4].copy_from_slice(&state[i].wrapping_add(start[i]).to_le_bytes());
    }
    block
}

fn quarter_round(state: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(16);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(12);
    state[a] = state[a].wrapping_add(state[b]);
    state[d] = (state[d] ^ state[a]).rotate_left(8);
    state[c] = state[c].wrapping_add(state[d]);
    state[b] = (state[b] ^ state[c]).rotate_left(7);
}

/// The words of a 4 x 4 state that each quarter round of ChaCha and BLAKE3 mixes, in order.
const COLUMNS_THEN_DIAGONALS: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

// ---------------------------------------------------------------------------------------------------------------------
// Little-endian words

fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    std::array::from_fn(|i| u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]))
}

fn words_u32(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|word| words::<1>(word)[0]).collect()
}

fn words_u64(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks_exact(8)
        .map(words)
        .map(|[low, high]| u64::from(high) << 32 | u64::from(low))
        .collect()
}

fn bytes_of_words(words: &[u32; 8]) -> Hash {
    let mut bytes = [0; 32];
    for (i, word) in words.iter().enumerate() {
        bytes[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}
