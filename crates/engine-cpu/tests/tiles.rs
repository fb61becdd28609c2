//! Single tiles on every path that this CPU supports: the tests of every tile computer.

use std::fmt;
use std::sync::Arc;

use conformance::{Losable, TileSubject};
use engine_cpu::{OperandCache, Path, TileComputer};
use protocol::engine::TileEngine;

/// A computer on a path, with this many bytes of cached operands.
#[derive(Clone, Copy)]
struct OnPath(Path, usize);

impl fmt::Display for OnPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} bytes of operands", self.0, self.1)
    }
}

impl TileSubject for OnPath {
    fn tile_engine(&self) -> Box<dyn TileEngine> {
        let cache = Arc::new(OperandCache::new(self.1));
        Box::new(TileComputer::new(self.0, cache).expect("the path works"))
    }

    fn losable(&self) -> Result<Losable<dyn TileEngine>, &'static str> {
        Err("its device is this host")
    }
}

/// Runs a function of the suite on every path: operands generated again for each tile, and cached.
fn on_every_path(conforms: impl Fn(&[&dyn TileSubject])) {
    let of_path = |path| [OnPath(path, 0), OnPath(path, 1 << 24)];
    let subjects: Vec<OnPath> = Path::available().into_iter().flat_map(of_path).collect();
    let subjects: Vec<&dyn TileSubject> = subjects.iter().map(|subject| subject as _).collect();
    conforms(&subjects);
}

#[test]
fn tiles_of_the_vectors_have_their_digests() {
    on_every_path(conformance::tiles_of_the_vectors_have_their_digests);
}

#[test]
fn tiles_agree_with_the_reference() {
    on_every_path(conformance::tiles_agree_with_the_reference);
}

#[test]
fn many_tiles_agree_between_paths() {
    on_every_path(|subjects| {
        let best = OnPath(Path::best(), 256 << 20);
        // The portable path takes too long for this many.
        let (portable, others): (Vec<_>, Vec<_>) = subjects
            .iter()
            .partition(|subject| subject.to_string().starts_with(Path::Portable.name()));
        assert_eq!(portable.len(), 2);
        conformance::many_tiles_agree(&others, &best);
    });
}

#[test]
fn tiles_do_not_depend_on_what_was_asked_before() {
    on_every_path(conformance::tiles_do_not_depend_on_what_was_asked_before);
}

#[test]
fn refused_tiles_do_no_harm() {
    on_every_path(conformance::refused_tiles_do_no_harm);
}

#[test]
fn there_is_no_device_that_can_be_lost() {
    on_every_path(|subjects| {
        assert!(subjects.iter().all(|subject| subject.losable().is_err()));
        // Printed, so that skipped checks are visible.
        conformance::a_lost_device_computes_no_more_tiles(subjects);
    });
}
