//! Single tiles on a GPU: the tests of every tile computer, on every path.

mod common;

use std::fmt;
use std::sync::Arc;

use conformance::{Losable, TileSubject};
use engine_cpu::{OperandCache, Path, TileComputer};
use engine_cuda::{CudaEngineConfig, CudaTiles, FillPath};
use protocol::bytes::OperandKey;
use protocol::engine::{EngineError, TileEngine};
use protocol::tile::TileCoordinate;

const KEY: OperandKey = OperandKey([0x77; 32]);

/// A path of device 0, and whether the driver compiles the code.
#[derive(Clone, Copy)]
struct OnPath(FillPath, bool);

impl OnPath {
    fn tiles(self) -> Result<CudaTiles, EngineError> {
        CudaTiles::new(CudaEngineConfig {
            fill_path: Some(self.0),
            portable_images: self.1,
            ..CudaEngineConfig::new(0)
        })
    }
}

impl fmt::Display for OnPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, portable: {}", self.0, self.1)
    }
}

impl TileSubject for OnPath {
    fn tile_engine(&self) -> Box<dyn TileEngine> {
        Box::new(self.tiles().expect("the path was available a moment ago"))
    }

    fn losable(&self) -> Result<Losable<dyn TileEngine>, &'static str> {
        common::losable(|| self.tile_engine())
    }
}

/// The CPU to compare with, where the reference takes too long.
struct Cpu;

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the CPU")
    }
}

impl TileSubject for Cpu {
    fn tile_engine(&self) -> Box<dyn TileEngine> {
        let cache = Arc::new(OperandCache::new(256 << 20));
        Box::new(TileComputer::new(Path::best(), cache).expect("the best path works"))
    }

    fn losable(&self) -> Result<Losable<dyn TileEngine>, &'static str> {
        Err("its device is this host")
    }
}

/// Runs a function of the suite on every path of device 0, or says that the test was skipped.
fn on_every_path(test: &str, conforms: impl Fn(&[&dyn TileSubject])) {
    let Some(_turn) = common::gpu(test) else {
        return;
    };
    let all = [
        OnPath(FillPath::Mma, false),
        OnPath(FillPath::Dp4a, false),
        OnPath(FillPath::Mma, true),
        OnPath(FillPath::Dp4a, true),
    ];
    let is_there = |subject: &&OnPath| match subject.tiles() {
        Ok(_) => true,
        Err(EngineError::Unsupported(why)) => {
            eprintln!("SKIPPED {subject}: {why}");
            false
        }
        Err(error) => panic!("{subject}: {error}"),
    };
    let subjects: Vec<&dyn TileSubject> = all.iter().filter(is_there).map(|subject| subject as _).collect();
    assert!(!subjects.is_empty(), "this GPU computes single tiles on no path");
    conforms(&subjects);
}

#[test]
fn tiles_of_the_vectors_have_their_digests() {
    on_every_path(
        "tiles_of_the_vectors_have_their_digests",
        conformance::tiles_of_the_vectors_have_their_digests,
    );
}

#[test]
fn tiles_agree_with_the_reference() {
    on_every_path(
        "tiles_agree_with_the_reference",
        conformance::tiles_agree_with_the_reference,
    );
}

#[test]
fn many_tiles_agree_with_the_cpu() {
    on_every_path("many_tiles_agree_with_the_cpu", |subjects| {
        conformance::many_tiles_agree(subjects, &Cpu);
    });
}

#[test]
fn tiles_do_not_depend_on_what_was_asked_before() {
    on_every_path(
        "tiles_do_not_depend_on_what_was_asked_before",
        conformance::tiles_do_not_depend_on_what_was_asked_before,
    );
}

#[test]
fn refused_tiles_do_no_harm() {
    on_every_path("refused_tiles_do_no_harm", conformance::refused_tiles_do_no_harm);
}

#[test]
fn a_lost_device_computes_no_more_tiles() {
    on_every_path(
        "a_lost_device_computes_no_more_tiles",
        conformance::a_lost_device_computes_no_more_tiles,
    );
}

#[test]
fn hoppers_own_path_computes_no_single_tiles() {
    let Some(_turn) = common::gpu("hoppers_own_path_computes_no_single_tiles") else {
        return;
    };
    // An error; no other path is used instead.
    let sm90a = OnPath(FillPath::Sm90a, false).tiles();
    assert!(matches!(sm90a.map(|_| ()), Err(EngineError::Unsupported(_))));
}

/// Prints the cost of single tiles; asserts only that they were computed.
#[test]
fn the_samples_of_a_session_take_this_long() {
    let Some(_turn) = common::gpu("the_samples_of_a_session_take_this_long") else {
        return;
    };
    let mut tiles = CudaTiles::new(CudaEngineConfig::new(0)).expect("this GPU computes single tiles");
    for k in [16_384, 2048] {
        // 2048 tiles over the 32 column blocks of n = 8192, in the order of a session.
        let tile = |i: u32| TileCoordinate {
            matrix: u64::from(i) * 7,
            row_block: i % 32,
            column_block: i / 64,
        };
        let at: Vec<_> = (0..2048).map(tile).collect();
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
