//! The definitions of spec §3 and §4, one by one, compared with the one-file reference.

use proptest::prelude::*;
use protocol::bytes::{Chain, DeviceOrdinal, Fresh, Nonce, OperandKey, Root, Salt};
use protocol::derive;
use protocol::digest::{DigestKey, matching};
use protocol::limits::{TILE_BYTES, TILE_SIDE};
use protocol::matching::{Matching, fmix32};
use protocol::operand::{Operand, operand_rows};
use protocol::tile::{TileCoordinate, fold};

fn operand(key: [u8; 32], operand: Operand, inner_dim: u32, first_row: u32, rows: usize) -> Vec<i8> {
    let mut bytes = vec![0x55; rows * inner_dim as usize];
    operand_rows(&OperandKey(key), operand, inner_dim, first_row, &mut bytes);
    bytes.into_iter().map(|byte| byte as i8).collect()
}

/// Bytes of a tile that differ for every seed.
fn tile(seed: u8) -> Box<[u8; TILE_BYTES]> {
    let bytes = reference::keystream(&[seed; 32], &[7; 12], 0, TILE_BYTES);
    bytes.try_into().expect("a tile's bytes")
}

#[test]
fn the_largest_matrix_is_cut_as_the_reference_cuts_it() {
    let device = reference::Device {
        matrix_offset: 5_000_000_000,
        num_matrices: 3,
    };
    for n in [256, 512, 1024, 32_768] {
        let side = n / TILE_SIDE as u32;
        let tiles = 3 * side * side;
        for index in (0..tiles)
            .step_by(61)
            .chain([side - 1, side, side * side - 1, side * side, tiles - 1])
        {
            let actual = TileCoordinate::from_index(index.min(tiles - 1), device.matrix_offset, n);
            let (matrix, row_block, column_block) =
                reference::tile_coordinates(n as usize, &device, u64::from(index.min(tiles - 1)));
            assert_eq!(actual.matrix, matrix, "tile {index}, n = {n}");
            let blocks = (actual.row_block as usize, actual.column_block as usize);
            assert_eq!(blocks, (row_block, column_block), "tile {index}, n = {n}");
        }
    }
}

#[test]
fn the_matching_of_every_size_of_half_is_the_references() {
    let salt = [0x2c; 32];
    let key = reference::key(&salt);
    // Both sides of every 4^h, where each half of the network grows by one bit.
    let edges = (1..16).flat_map(|h| [(1 << (2 * h)) - 1, 1 << (2 * h), (1 << (2 * h)) + 1]);
    for tiles in (1..18).chain(edges).chain([u32::MAX]) {
        let ours = matching(&Salt(salt), tiles);
        let leaves = Matching::leaves(tiles);
        assert_eq!(u64::from(leaves), reference::sweep_leaf_count(tiles.into()));
        for leaf in [0, 1, 2, 3, 5, leaves / 2, leaves - 1] {
            let leaf = leaf.min(leaves - 1);
            let (a, b) = ours.pair(leaf);
            let expected = reference::pair(&key, tiles.into(), leaf.into());
            assert_eq!((a.into(), b.into()), expected, "leaf {leaf} of {tiles} tiles");
            assert_eq!(DigestKey::expand(&Salt(salt)).matching(tiles).pair(leaf), (a, b));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn operands_are_the_references(
        key: [u8; 32],
        index: u64,
        inner_dim in (1_u32..20).prop_map(|x| 64 * x),
        first_row in 0_u32..40_000,
    ) {
        let k = inner_dim as usize;
        prop_assert_eq!(
            operand(key, Operand::A(index), inner_dim, first_row, 3),
            reference::operand_a(&key, index, k, first_row as usize, 3)
        );
        prop_assert_eq!(
            operand(key, Operand::B, inner_dim, first_row, 2),
            reference::operand_b(&key, k, first_row as usize, 2)
        );
    }

    #[test]
    fn folds_and_mixes_are_the_references(value: u32) {
        prop_assert_eq!(fold(value as i32), reference::fold(value as i32));
        prop_assert_eq!(fmix32(value), reference::fmix32(value));
    }

    #[test]
    fn digests_are_the_references(salt: [u8; 32], a: u8, b: u8, leaf: u32) {
        let (ours, theirs) = (DigestKey::expand(&Salt(salt)), reference::key(&salt));
        prop_assert_eq!(&ours.words[..], &theirs.words[..]);
        prop_assert_eq!((ours.round_keys, ours.shift_source), (theirs.feistel, theirs.z));
        prop_assert_eq!(ours.shift(leaf) as usize, reference::shift(&theirs, leaf.into()));
        let (a, b) = (tile(a), tile(b));
        prop_assert_eq!(ours.fill_digest(&a), reference::fill_digest(&theirs, &a[..]));
        let expected = reference::pair_digest(&theirs, leaf.into(), &a[..], &b[..]);
        prop_assert_eq!(ours.pair_digest(leaf, &a, &b), expected);
    }

    #[test]
    fn derivations_are_the_references(
        chain: [u8; 32],
        fresh: [u8; 32],
        roots in prop::collection::vec(any::<[u8; 32]>(), 0..5),
        device: u32,
        message in prop::collection::vec(any::<u8>(), 0..70),
    ) {
        let ours: Vec<Root> = roots.iter().copied().map(Root).collect();
        let g = DeviceOrdinal(device);
        prop_assert_eq!(
            derive::chain_0(&Nonce(fresh), &message, &chain).0,
            reference::chain_0(&fresh, &message, &chain)
        );
        prop_assert_eq!(derive::operand_key(&Chain(chain)).0, reference::operand_key(&chain));
        prop_assert_eq!(derive::fill_salt(&Chain(chain)).0, reference::fill_salt(&chain));
        prop_assert_eq!(
            derive::first_sweep_salt(&Chain(chain), &Fresh(fresh), &ours, g).0,
            reference::first_sweep_salt(&chain, &fresh, &roots, device)
        );
        prop_assert_eq!(
            derive::next_sweep_salt(&Salt(chain), &ours, g).0,
            reference::next_sweep_salt(&chain, &roots, device)
        );
        prop_assert_eq!(
            derive::next_chain(&Chain(chain), &Fresh(fresh), &ours).0,
            reference::next_chain(&chain, &fresh, &roots)
        );
    }
}
