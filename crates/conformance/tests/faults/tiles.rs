//! Tile engines with one fault each, based on the CPU's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use conformance::{Losable, TileSubject};
use engine_cpu::{OperandCache, Path, TileComputer};
use protocol::bytes::OperandKey;
use protocol::engine::{EngineError, TileEngine};
use protocol::limits::TILE_BYTES;
use protocol::tile::TileCoordinate;

use crate::{check_caught, said};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Flips a bit of the last tile of each call.
    WrongBit,
    /// Flips a bit of every tile past the 128th of a call.
    WrongPastABatch,
    /// Returns nothing for the last tile of each call.
    Missing,
    /// Returns every tile twice.
    Twice,
    /// Returns a tile that was not requested.
    PastTheEnd,
    /// Uses the key of the first call in every call.
    KeepsTheKey,
    /// Returns arbitrary tiles for parameters that no plan has.
    RefusesNothing,
    /// Rejects after returning the tiles before it.
    RefusesLate,
    /// Rejects every call after one that it rejected.
    StaysRefusing,
    /// Returns `Ok` on a lost device.
    AnswersAfterLoss,
    /// Waits for a lost device.
    HangsOnLoss,
}

struct Faulty(Fault);

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Faulty {
    fn on_device(&self, is_gone: Arc<AtomicBool>) -> Box<FaultyTiles> {
        let cache = Arc::new(OperandCache::new(1 << 20));
        Box::new(FaultyTiles {
            fault: self.0,
            inner: TileComputer::new(Path::best(), cache).expect("the best path works"),
            first_key: None,
            has_refused: false,
            is_gone,
        })
    }
}

impl TileSubject for Faulty {
    fn tile_engine(&self) -> Box<dyn TileEngine> {
        self.on_device(Arc::default())
    }

    fn losable(&self) -> Result<Losable<dyn TileEngine>, &'static str> {
        let is_gone = Arc::new(AtomicBool::new(false));
        let engine = self.on_device(Arc::clone(&is_gone));
        // A call that hangs does so forever: a shorter timeout reports it sooner.
        let patience = Duration::from_secs(if self.0 == Fault::HangsOnLoss { 1 } else { 600 });
        Ok(Losable {
            engine,
            lose: Arc::new(move || is_gone.store(true, Ordering::SeqCst)),
            patience,
        })
    }
}

struct FaultyTiles {
    fault: Fault,
    inner: TileComputer,
    first_key: Option<OperandKey>,
    has_refused: bool,
    is_gone: Arc<AtomicBool>,
}

impl TileEngine for FaultyTiles {
    fn tiles(
        &mut self,
        operand_key: &OperandKey,
        inner_dim: u32,
        at: &[TileCoordinate],
        take: &mut dyn FnMut(usize, &[u8; TILE_BYTES]),
    ) -> Result<(), EngineError> {
        if self.is_gone.load(Ordering::SeqCst) {
            return match self.fault {
                Fault::AnswersAfterLoss => Ok(()),
                Fault::HangsOnLoss => loop {
                    thread::park();
                },
                _ => Err(EngineError::DeviceLost("unplugged".to_owned())),
            };
        }
        let first_key = *self.first_key.get_or_insert(*operand_key);
        let key = if self.fault == Fault::KeepsTheKey {
            &first_key
        } else {
            operand_key
        };
        let (fault, count) = (self.fault, at.len());
        let mut alter = |i: usize, tile: &[u8; TILE_BYTES]| {
            let is_last = i + 1 == count;
            if is_last && fault == Fault::Missing {
                return;
            }
            let mut tile = Box::new(*tile);
            if (is_last && fault == Fault::WrongBit) || (i >= 128 && fault == Fault::WrongPastABatch) {
                tile[4097] ^= 0x10;
            }
            take(i, &tile);
            if fault == Fault::Twice {
                take(i, &tile);
            }
            if fault == Fault::PastTheEnd && is_last {
                take(count, &tile);
            }
        };
        if self.fault == Fault::StaysRefusing && self.has_refused {
            return Err(EngineError::Unsupported("refused once".to_owned()));
        }
        let done = self.inner.tiles(key, inner_dim, at, &mut alter);
        if let Err(error) = done {
            self.has_refused = true;
            return match self.fault {
                Fault::RefusesNothing => Ok(()),
                Fault::RefusesLate => {
                    alter(0, &[0; TILE_BYTES]);
                    Err(error)
                }
                _ => Err(error),
            };
        }
        Ok(())
    }
}

type Conforms = fn(&[&dyn TileSubject]);

fn are_caught(conforms: Conforms, faults: &[(Fault, &str)]) {
    for &(fault, expected) in faults {
        let said = said(|| conforms(&[&Faulty(Fault::None), &Faulty(fault)]));
        check_caught(&format!("{fault:?}"), expected, said);
    }
}

fn many(subjects: &[&dyn TileSubject]) {
    conformance::many_tiles_agree(subjects, &Faulty(Fault::None));
}

#[test]
fn a_tile_engine_without_a_fault_passes_every_case() {
    let cases: [(&str, Conforms); 6] = [
        ("vectors", conformance::tiles_of_the_vectors_have_their_digests),
        ("reference", conformance::tiles_agree_with_the_reference),
        ("many", many),
        ("state", conformance::tiles_do_not_depend_on_what_was_asked_before),
        ("refusals", conformance::refused_tiles_do_no_harm),
        ("lost", conformance::a_lost_device_computes_no_more_tiles),
    ];
    for (case, conforms) in cases {
        assert_eq!(said(|| conforms(&[&Faulty(Fault::None)])), None, "{case}");
    }
}

#[test]
fn vectors_and_reference_catch_tiles_that_are_wrong_missing_or_too_many() {
    are_caught(
        conformance::tiles_of_the_vectors_have_their_digests,
        &[(Fault::WrongBit, "WrongBit: digests of")],
    );
    are_caught(
        conformance::tiles_agree_with_the_reference,
        &[
            (Fault::WrongBit, "byte 4097"),
            (Fault::Missing, "Missing: not handed over"),
            (Fault::Twice, "twice"),
            (Fault::PastTheEnd, "tile 23 of 23"),
        ],
    );
}

#[test]
fn many_tiles_catch_a_fault_past_a_batch() {
    are_caught(many, &[(Fault::WrongPastABatch, "tile 128 of 300")]);
}

#[test]
fn what_was_asked_before_catches_a_key_that_stays() {
    are_caught(
        conformance::tiles_do_not_depend_on_what_was_asked_before,
        &[(Fault::KeepsTheKey, "KeepsTheKey, pass 0: k = 192")],
    );
}

#[test]
fn refusals_catch_what_is_not_refused_at_once_or_for_ever() {
    are_caught(
        conformance::refused_tiles_do_no_harm,
        &[
            (Fault::RefusesNothing, "RefusesNothing: k = 0"),
            (Fault::RefusesLate, "RefusesLate: tiles of what was refused"),
            (Fault::StaysRefusing, "StaysRefusing: 23 tiles at k = 320"),
        ],
    );
}

#[test]
fn a_lost_device_catches_who_answers_or_hangs() {
    are_caught(
        conformance::a_lost_device_computes_no_more_tiles,
        &[
            (Fault::AnswersAfterLoss, "the first question on a lost device gave Ok"),
            (Fault::HangsOnLoss, "no answer within 1s"),
        ],
    );
}
