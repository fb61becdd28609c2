//! Single tiles on a GPU: those that the CPU computes, on every path, in whatever order they are asked for.

mod common;

use std::sync::Arc;

use engine_cpu::{OperandCache, Path, Tile, TileComputer};
use engine_cuda::{CudaEngineConfig, CudaTiles, FillPath};
use protocol::bytes::OperandKey;
use protocol::engine::{EngineError, TileEngine};
use protocol::tile::TileCoordinate;

const KEY: OperandKey = OperandKey([0x77; 32]);

fn config(fill_path: FillPath, portable_images: bool) -> CudaEngineConfig {
    CudaEngineConfig {
        fill_path: Some(fill_path),
        portable_images,
        ..CudaEngineConfig::new(0)
    }
}

/// Single tiles on each path that device 0 runs.
fn engines() -> Vec<(String, CudaTiles)> {
    let all = [
        (FillPath::Mma, false),
        (FillPath::Dp4a, false),
        (FillPath::Mma, true),
        (FillPath::Dp4a, true),
    ];
    let engine = |(path, portable)| match CudaTiles::new(config(path, portable)) {
        Ok(tiles) => Some((format!("{path}, portable: {portable}"), tiles)),
        Err(EngineError::Unsupported(why)) => {
            eprintln!("SKIPPED {path}, portable: {portable}: {why}");
            None
        }
        Err(error) => panic!("{path}, portable: {portable}: {error}"),
    };
    all.into_iter().filter_map(engine).collect()
}

fn tile(matrix: u64, row_block: u32, column_block: u32) -> TileCoordinate {
    TileCoordinate {
        matrix,
        row_block,
        column_block,
    }
}

fn on_the_cpu(k: u32, at: &[TileCoordinate]) -> Vec<Box<Tile>> {
    let cache = Arc::new(OperandCache::new(256 << 20));
    let mut computer = TileComputer::new(Path::best(), cache).expect("the best path works");
    at.iter()
        .map(|&at| {
            let mut tile = Tile::zeroed();
            computer.compute(&KEY, k, at, &mut tile);
            tile
        })
        .collect()
}

fn agrees(name: &str, tiles: &mut CudaTiles, k: u32, at: &[TileCoordinate], expected: &[Box<Tile>]) {
    let mut times = vec![0; at.len()];
    tiles
        .tiles(&KEY, k, at, &mut |i, tile| {
            times[i] += 1;
            if let Some(byte) = (0..tile.len()).find(|&byte| tile[byte] != expected[i].0[byte]) {
                panic!(
                    "{name}, k = {k}, tile {i} of {}, {:?}: byte {byte} is {}, expected {}",
                    at.len(),
                    at[i],
                    tile[byte],
                    expected[i].0[byte]
                );
            }
        })
        .unwrap_or_else(|error| panic!("{name}, k = {k}: {error}"));
    assert_eq!(times, vec![1; at.len()], "{name}, k = {k}");
}

#[test]
fn single_tiles_agree_with_the_cpu() {
    let Some(_turn) = common::gpu("single_tiles_agree_with_the_cpu") else {
        return;
    };
    let mut engines = engines();
    assert!(!engines.is_empty(), "this GPU computes single tiles on no path");
    // Column blocks in runs, alone, and coming back; ends of all ranges.
    let mixed: Vec<_> = (0..23_u32)
        .map(|i| {
            tile(
                u64::from(i) * 0x3_0000_0001,
                i * 11 % 128,
                [0, 0, 0, 5, 127, 127, 64][i as usize % 7],
            )
        })
        .collect();
    let last = [tile(u64::MAX, 127, 127), tile(0, 127, 0), tile(u64::MAX - 1, 0, 127)];
    // More than a launch takes, in runs longer than one; and each tile a column block of its own.
    let many: Vec<_> = (0..300).map(|i| tile(i, 3, i as u32 / 140)).collect();
    let alone: Vec<_> = (0..150).map(|i| tile(i, 0, i as u32 % 128)).collect();
    for (k, at) in [
        (64, &mixed[..]),
        (192, &mixed),
        (576, &many),
        (2048, &alone),
        (16_384, &mixed),
        (65_536, &last),
        (64, &[]),
    ] {
        let expected = on_the_cpu(k, at);
        for (name, tiles) in &mut engines {
            agrees(name, tiles, k, at, &expected);
        }
    }
}

#[test]
fn an_engine_serves_again_after_what_it_refuses() {
    let Some(_turn) = common::gpu("an_engine_serves_again_after_what_it_refuses") else {
        return;
    };
    let mut tiles = CudaTiles::new(CudaEngineConfig::new(0)).expect("this GPU computes single tiles");
    let mut ask = |k, at| tiles.tiles(&KEY, k, &[at], &mut |_, _| panic!("a tile of what no plan has"));
    for (k, at) in [(63, tile(0, 0, 0)), (64, tile(0, 128, 0)), (64, tile(0, 0, 128))] {
        assert!(matches!(ask(k, at), Err(EngineError::Unsupported(_))));
    }
    let at = [tile(9, 1, 2)];
    agrees("after refusals", &mut tiles, 320, &at, &on_the_cpu(320, &at));
    // Not one of the fill's paths: an error, and no other path in its stead.
    let sm90a = CudaTiles::new(config(FillPath::Sm90a, false));
    assert!(matches!(sm90a.map(|_| ()), Err(EngineError::Unsupported(_))));
}

/// Prints what single tiles cost; asserts only that they were computed.
#[test]
fn the_samples_of_a_session_take_this_long() {
    let Some(_turn) = common::gpu("the_samples_of_a_session_take_this_long") else {
        return;
    };
    let mut tiles = CudaTiles::new(CudaEngineConfig::new(0)).expect("this GPU computes single tiles");
    for k in [16_384, 2048] {
        // 2048 tiles over the 32 column blocks of n = 8192, in a session's order.
        let at: Vec<_> = (0..2048_u32).map(|i| tile(u64::from(i) * 7, i % 32, i / 64)).collect();
        let mut taken = 0;
        let since = std::time::Instant::now();
        let done = tiles.tiles(&KEY, k, &at, &mut |_, _| taken += 1);
        eprintln!(
            "{} tiles at k = {k} on {}: {:?}",
            at.len(),
            tiles.path(),
            since.elapsed()
        );
        assert_eq!((done, taken), (Ok(()), at.len()));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_fake_gpu() {
    common::again_on_a_fake_gpu("75", &["--skip", "the_samples_of_a_session_take_this_long"]);
}
