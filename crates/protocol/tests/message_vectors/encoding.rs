//! An encoder of RFC 8949 that shares no code with the crate's, and messages as lists of items, so that one item can be
//! replaced with a wrong one.

use protocol::verifier::SIGNATURE_BYTES;

/// A CBOR item's bytes; not always canonical, nor always complete.
pub(crate) type Item = Vec<u8>;

pub(crate) fn head(major: u8, value: u64) -> Item {
    let major = major << 5;
    match value {
        0..24 => vec![major | value as u8],
        24..0x100 => vec![major | 24, value as u8],
        0x100..0x1_0000 => [&[major | 25], &(value as u16).to_be_bytes()[..]].concat(),
        0x1_0000..0x1_0000_0000 => [&[major | 26], &(value as u32).to_be_bytes()[..]].concat(),
        _ => [&[major | 27], &value.to_be_bytes()[..]].concat(),
    }
}

pub(crate) fn uint(value: u64) -> Item {
    head(0, value)
}

/// The integer -1 - `value`.
pub(crate) fn negative(value: u64) -> Item {
    head(1, value)
}

pub(crate) fn bytes(value: &[u8]) -> Item {
    [head(2, value.len() as u64), value.to_vec()].concat()
}

pub(crate) fn text(value: &str) -> Item {
    [head(3, value.len() as u64), value.as_bytes().to_vec()].concat()
}

pub(crate) fn array(items: &[Item]) -> Item {
    [head(4, items.len() as u64), items.concat()].concat()
}

pub(crate) fn null() -> Item {
    vec![0xF6]
}

pub(crate) const IDENTITY: [u8; 32] = [0xA1; 32];
pub(crate) const ROOT: [u8; 32] = [0x52; 32];
pub(crate) const FRESH: [u8; 32] = [0xF0; 32];

pub(crate) fn label(name: &str, value: &str) -> Item {
    array(&[text(name), text(value)])
}

pub(crate) fn offer_items(ordinal: u64) -> Vec<Item> {
    vec![
        uint(ordinal),
        text("cpu"),
        text("any"),
        uint(1 << 30),
        uint(1 << 29),
        uint(1 << 20),
        uint(2),
        uint(512),
        array(&[]),
    ]
}

pub(crate) fn offer(ordinal: u64) -> Item {
    array(&offer_items(ordinal))
}

pub(crate) fn hello_items() -> Vec<Item> {
    vec![
        array(&[uint(1)]),
        array(&[uint(1)]),
        bytes(&IDENTITY),
        text("example 0.1"),
        array(&[]),
        array(&[offer(0)]),
    ]
}

pub(crate) fn plan_items() -> Vec<Item> {
    vec![
        uint(1),
        uint(1),
        bytes(&[0x1D; 16]),
        bytes(&[0xB2; 32]),
        text("verifier"),
        text("audience"),
        uint(256),
        array(&[device_plan(0, 0, 1)]),
        array(&[iteration(64, 1)]),
        uint(1),
        array(&[uint(1000), uint(2000), uint(3000), uint(4000)]),
    ]
}

pub(crate) fn device_plan(ordinal: u64, matrix_offset: u64, num_matrices: u64) -> Item {
    array(&[uint(ordinal), uint(matrix_offset), uint(num_matrices)])
}

pub(crate) fn iteration(inner_dim: u64, sweeps: u64) -> Item {
    array(&[uint(inner_dim), uint(sweeps)])
}

/// A plan of two devices, with rounds.
pub(crate) fn with_rounds(crossings: u64) -> Vec<Item> {
    let mut items = plan_items();
    items[7] = array(&[device_plan(0, 0, 4), device_plan(1, 4, 8)]);
    items[8] = array(&[array(&[uint(64), uint(1), uint(crossings)])]);
    items
}

pub(crate) fn opening(chunk: &[u8], siblings: &[[u8; 32]]) -> Item {
    let siblings: Vec<Item> = siblings.iter().map(|s| bytes(s)).collect();
    array(&[bytes(chunk), array(&siblings)])
}

pub(crate) fn small_opening(fill: u8) -> Item {
    opening(&[fill; 8], &[])
}

/// A body of openings and a signature, which decoding does not check.
pub(crate) fn openings(samples: &[Item], labels: &[Item]) -> Item {
    signed(array(&[array(samples), array(labels)]))
}

/// The same with the attestation of the hardware's vendor.
pub(crate) fn openings_with(attestation: Item) -> Item {
    signed(array(&[array(&[sample()]), array(&[]), attestation]))
}

pub(crate) fn signed(body: Item) -> Item {
    [body, vec![0x5E; SIGNATURE_BYTES]].concat()
}

pub(crate) fn sample() -> Item {
    array(&[small_opening(1), small_opening(2), small_opening(3)])
}

pub(crate) fn frame(type_number: u32, length: u64, payload: &[u8]) -> Item {
    [&type_number.to_le_bytes()[..], &length.to_le_bytes(), payload].concat()
}

/// `items` as an array with the item at `at` replaced with `item`.
pub(crate) fn with(mut items: Vec<Item>, at: usize, item: Item) -> Item {
    items[at] = item;
    array(&items)
}
