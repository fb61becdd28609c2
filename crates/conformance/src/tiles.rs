//! The requirements for every [`TileEngine`]: correct tiles, byte by byte, for any request in any order.

use std::fmt::Display;

use protocol::bytes::OperandKey;
use protocol::engine::{EngineError, TileEngine};
use protocol::limits::TILE_BYTES;
use protocol::tile::TileCoordinate;

use crate::lost::{check_lost, or_say, within};
use crate::subject::Losable;
use crate::vectors::{bytes32, list, number, vectors};
use crate::{KEY, check_unsupported};

/// A tile engine in one configuration. Its `Display` is its name in failures.
pub trait TileSubject: Display {
    /// A new tile engine.
    fn tile_engine(&self) -> Box<dyn TileEngine>;

    /// A tile engine whose device can be lost.
    ///
    /// # Errors
    ///
    /// Why a test cannot make it lost: the suite then reports this test as skipped.
    fn losable(&self) -> Result<Losable<dyn TileEngine>, &'static str>;
}

type Tile = Box<[u8; TILE_BYTES]>;

const OTHER_KEY: OperandKey = OperandKey([0xA5; 32]);

fn tile(matrix: u64, row_block: u32, column_block: u32) -> TileCoordinate {
    TileCoordinate {
        matrix,
        row_block,
        column_block,
    }
}

/// Column blocks in runs, alone, and repeated later; matrix indices past 2^32; one tile twice.
fn mixed() -> Vec<TileCoordinate> {
    let columns = [0, 0, 0, 5, 127, 127, 64];
    let all = (0..22_u32).map(|i| tile(u64::from(i) * 0x3_0000_0001, i * 11 % 128, columns[i as usize % 7]));
    all.chain([tile(0, 0, 0)]).collect()
}

/// The limits of all ranges.
fn ends() -> Vec<TileCoordinate> {
    vec![tile(u64::MAX, 127, 127), tile(0, 127, 0), tile(u64::MAX - 1, 0, 127)]
}

/// The tiles of every run of `spec/vectors/v1.json` have the fill digests given there.
pub fn tiles_of_the_vectors_have_their_digests(subjects: &[&dyn TileSubject]) {
    let vectors = vectors();
    for subject in subjects {
        let mut engine = subject.tile_engine();
        for run in list(&vectors["runs"]) {
            for (iteration, trace) in list(&run["iterations"]).iter().zip(list(&run["trace"])) {
                let salt = reference::key(&bytes32(&trace["fill_salt"]));
                let operand_key = OperandKey(bytes32(&trace["operand_key"]));
                for (device, digests) in list(&run["devices"]).iter().zip(list(&trace["fill_digests"])) {
                    let offset = device["matrix_offset"].as_u64().expect("a number");
                    let at: Vec<_> = (0..list(digests).len() as u32)
                        .map(|index| TileCoordinate::from_index(index, offset, number(&run["n"])))
                        .collect();
                    let tiles = ask(
                        &subject.to_string(),
                        &mut *engine,
                        &operand_key,
                        number(&iteration["k"]),
                        &at,
                    );
                    let actual: Vec<_> = tiles
                        .iter()
                        .map(|tile| reference::fill_digest(&salt, &tile[..]).to_string())
                        .collect();
                    assert_eq!(actual, *list(digests), "{subject}: digests of {at:?}");
                }
            }
        }
    }
}

/// Tiles are those of the reference: k that does not fit tilings, the smallest and the largest, the limits of all
/// ranges.
pub fn tiles_agree_with_the_reference(subjects: &[&dyn TileSubject]) {
    for (k, at) in [
        (64, mixed()),
        (192, mixed()),
        (576, mixed()),
        (2112, ends()),
        (65_536, ends()[..1].to_vec()),
        (64, Vec::new()),
    ] {
        check(subjects, k, &at, &by_the_reference(&KEY, k, &at));
    }
}

/// Tiles are those of `other` where the reference takes too long: large k, and more tiles than are computed at once, in
/// long runs of one column block and with a column block each.
pub fn many_tiles_agree(subjects: &[&dyn TileSubject], other: &dyn TileSubject) {
    let runs = (0..300).map(|i| tile(i, 3, i as u32 / 140)).collect();
    let alone = (0..150).map(|i| tile(i, 0, i as u32 % 128)).collect();
    for (k, at) in [(576, runs), (2048, alone), (16_384, mixed()), (65_536, ends())] {
        let expected = ask(&other.to_string(), &mut *other.tile_engine(), &KEY, k, &at);
        check(subjects, k, &at, &expected);
    }
}

/// The same request returns the same result, whatever was requested before: another key, k or order leaves no state
/// behind.
pub fn tiles_do_not_depend_on_what_was_asked_before(subjects: &[&dyn TileSubject]) {
    let at = mixed();
    let mut reversed = at.clone();
    reversed.reverse();
    let questions = [
        (KEY, 192, &at),
        (OTHER_KEY, 192, &at),
        (OTHER_KEY, 64, &reversed),
        (KEY, 64, &at),
    ];
    let expected = questions.map(|(key, k, at)| by_the_reference(&key, k, at));
    for subject in subjects {
        let mut engine = subject.tile_engine();
        for pass in 0..2 {
            for ((key, k, at), expected) in questions.iter().zip(&expected) {
                let name = format!("{subject}, pass {pass}");
                compare(&name, *k, at, &ask(&name, &mut *engine, key, *k, at), expected);
            }
        }
    }
}

/// A k or a coordinate that no plan has is [`EngineError::Unsupported`], even as the last of many, and no tile is
/// returned. The next request is not affected.
pub fn refused_tiles_do_no_harm(subjects: &[&dyn TileSubject]) {
    let at = mixed();
    let expected = by_the_reference(&KEY, 320, &at);
    for subject in subjects {
        let name = subject.to_string();
        let mut engine = subject.tile_engine();
        let mut refuse = |k: u32, hostile: TileCoordinate| {
            let asked = [&at[..], &[hostile]].concat();
            let mut handed_over = 0;
            let answer = engine.tiles(&KEY, k, &asked, &mut |_, _| handed_over += 1);
            check_unsupported(&name, &format!("k = {k}, {hostile:?}"), answer);
            assert_eq!(
                handed_over, 0,
                "{name}: tiles of what was refused, k = {k}, {hostile:?}"
            );
        };
        for k in [0, 32, 63, 65, 65_600, u32::MAX] {
            refuse(k, tile(0, 0, 0));
        }
        for block in [128, 1 << 16, u32::MAX] {
            refuse(64, tile(0, block, 0));
            refuse(64, tile(0, 0, block));
        }
        compare(&name, 320, &at, &ask(&name, &mut *engine, &KEY, 320, &at), &expected);
    }
}

/// Once the device is lost, a request ends with an error for which [`EngineError::is_lost`] holds, and so does every
/// later one. Nothing hangs, and no request returns `Ok`. It cannot be prepared again.
pub fn a_lost_device_computes_no_more_tiles(subjects: &[&dyn TileSubject]) {
    let at = mixed();
    let expected = by_the_reference(&KEY, 64, &at);
    for subject in subjects {
        for is_used in [false, true] {
            let Some(losable) = or_say(subject, subject.losable()) else {
                break;
            };
            let Losable {
                mut engine,
                lose,
                patience,
            } = losable;
            let name = format!("{subject}, used before: {is_used}");
            let (at, expected) = (at.clone(), expected.clone());
            within(patience, &name.clone(), move || {
                if is_used {
                    compare(&name, 64, &at, &ask(&name, &mut *engine, &KEY, 64, &at), &expected);
                }
                lose();
                for what in ["the first question", "the next question"] {
                    check_lost(&name, what, engine.tiles(&KEY, 64, &at, &mut |_, _| ()));
                }
            });
        }
    }
}

fn check(subjects: &[&dyn TileSubject], k: u32, at: &[TileCoordinate], expected: &[Tile]) {
    for subject in subjects {
        let name = subject.to_string();
        let actual = ask(&name, &mut *subject.tile_engine(), &KEY, k, at);
        compare(&name, k, at, &actual, expected);
    }
}

fn by_the_reference(key: &OperandKey, k: u32, at: &[TileCoordinate]) -> Vec<Tile> {
    let tile = |at: &TileCoordinate| {
        let bytes = reference::tile(
            &key.0,
            k as usize,
            at.matrix,
            at.row_block as usize,
            at.column_block as usize,
        );
        bytes.into_boxed_slice().try_into().expect("the bytes of a tile")
    };
    at.iter().map(tile).collect()
}

/// Requests tiles, each of which must be returned exactly once.
fn ask(name: &str, engine: &mut dyn TileEngine, key: &OperandKey, k: u32, at: &[TileCoordinate]) -> Vec<Tile> {
    let mut tiles: Vec<Option<Tile>> = vec![None; at.len()];
    let mut wrong = None;
    let answer: Result<(), EngineError> = engine.tiles(key, k, at, &mut |i, bytes| match tiles.get_mut(i) {
        Some(place @ None) => *place = Some(Box::new(*bytes)),
        Some(_) => wrong = Some(format!("tile {i} twice")),
        None => wrong = Some(format!("tile {i} of {}", at.len())),
    });
    assert_eq!(answer, Ok(()), "{name}: {} tiles at k = {k}", at.len());
    assert_eq!(wrong, None, "{name}: handed over at k = {k}");
    let missing = tiles.iter().position(Option::is_none);
    assert_eq!(
        missing,
        None,
        "{name}: not handed over at k = {k}, of {} tiles",
        at.len()
    );
    tiles.into_iter().flatten().collect()
}

fn compare(name: &str, k: u32, at: &[TileCoordinate], actual: &[Tile], expected: &[Tile]) {
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        if let Some(byte) = (0..TILE_BYTES).find(|&byte| actual[byte] != expected[byte]) {
            panic!(
                "{name}: k = {k}, tile {i} of {}, {:?}: byte {byte} is {}, expected {}",
                at.len(),
                at[i],
                actual[byte],
                expected[byte]
            );
        }
    }
}
