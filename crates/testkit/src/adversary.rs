//! Adversaries by name: Attesters that deviate from the protocol in one way (spec §5, rationale).

mod openings;
mod work;

use std::collections::HashMap;

use protocol::cbor::Label;
use protocol::engine::Engine;
use protocol::message::DeviceOffer;

use crate::engine::{AbsentEngine, CheatingEngine, Place, Shortcut, ShortcutEngine, Strategy};
use crate::odds::Draws;

/// An Attester that cheats.
#[derive(Clone, Copy)]
pub struct Adversary {
    /// Its name, say `junk-fill`.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The required result of its session if all leaves are sampled and it leaves out a part of the work.
    pub ends: End,
    make: fn(Box<dyn Engine>, f64) -> Box<dyn Engine>,
    offer: fn(&mut DeviceOffer),
}

/// The result of a session with an [`Adversary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is contraindicated.
    Caught,
    /// It is contraindicated once the deadline of the fill has passed.
    Late,
    /// It is affirmed: all answers are right, and the bounds count the time that they took.
    Affirmed,
}

impl Adversary {
    const fn new(
        name: &'static str,
        summary: &'static str,
        make: fn(Box<dyn Engine>, f64) -> Box<dyn Engine>,
    ) -> Adversary {
        Adversary {
            name,
            summary,
            ends: End::Caught,
            make,
            offer: |_| (),
        }
    }

    const fn ending(self, ends: End) -> Adversary {
        Adversary { ends, ..self }
    }

    const fn offering(self, offer: fn(&mut DeviceOffer)) -> Adversary {
        Adversary { offer, ..self }
    }

    /// The adversary over an honest engine; `fraction` is how much of the work it leaves out, if that can be chosen.
    #[must_use]
    pub fn engine(&self, inner: Box<dyn Engine>, fraction: f64) -> Box<dyn Engine> {
        (self.make)(inner, fraction)
    }

    /// Replaces the statements of an honest device by those of this adversary.
    pub fn boast(&self, offer: &mut DeviceOffer) {
        (self.offer)(offer);
    }

    /// The adversary with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Adversary> {
        ADVERSARIES.iter().find(|adversary| adversary.name == name).copied()
    }
}

fn over<S: Strategy + 'static>(inner: Box<dyn Engine>, strategy: S) -> Box<dyn Engine> {
    Box::new(CheatingEngine::new(inner, strategy))
}

fn taking(shortcut: Shortcut) -> Box<dyn Engine> {
    Box::new(ShortcutEngine::new(shortcut))
}

fn absent(fraction: f64, places: &'static [Place]) -> Box<dyn Engine> {
    Box::new(AbsentEngine::new(fraction, places))
}

/// Every adversary.
pub const ADVERSARIES: &[Adversary] = &[
    Adversary::new(
        "junk-fill",
        "commits to junk for a fraction of the fill leaves",
        |inner, fraction| over(inner, work::JunkFill(fraction, Draws::new(1))),
    ),
    Adversary::new(
        "junk-sweep",
        "commits to junk for a fraction of the sweep leaves",
        |inner, fraction| over(inner, work::JunkSweep(fraction, Draws::new(2))),
    ),
    Adversary::new(
        "missing-memory",
        "digests all tiles in the epilogue, keeps only a part, answers junk for pairs that need the rest",
        |inner, fraction| over(inner, work::MissingMemory::new(fraction)),
    ),
    Adversary::new(
        "regenerate",
        "regenerates the tiles that it does not hold for every sweep",
        |_, fraction| absent(fraction, &[Place::Regenerated]),
    )
    .ending(End::Affirmed),
    Adversary::new(
        "disk-paged",
        "keeps the tiles that it does not hold in a file, and reads them for every sweep",
        |_, fraction| absent(fraction, &[Place::File]),
    )
    .ending(End::Affirmed),
    Adversary::new(
        "junk-mixture",
        "answers junk for a third of the tiles that it does not hold, regenerates a third, reads a third from a file",
        |_, fraction| absent(fraction, &[Place::Junk, Place::Regenerated, Place::File]),
    ),
    Adversary::new(
        "joined-gpus",
        "holds half of the tiles on each of two GPUs, answers junk for the pairs across that their link is too slow for",
        |inner, fraction| over(inner, work::JoinedGpus::new(fraction)),
    ),
    Adversary::new(
        "sweeps-in-one-pass",
        "does all sweeps of an iteration in one pass, under the first one's salt",
        |inner, _| over(inner, work::OnePass(None)),
    ),
    Adversary::new(
        "sweeps-repeated",
        "sweeps once an iteration and sends that root for every sweep",
        |inner, _| over(inner, work::RepeatedSweep),
    ),
    Adversary::new("roots-invented", "sends sweep roots of its own making", |inner, _| {
        over(inner, work::InventedRoots)
    }),
    Adversary::new(
        "fill-skipped",
        "leaves the first iteration's dataset and digests for all later ones",
        |inner, _| over(inner, work::SkippedFills),
    ),
    Adversary::new(
        "twin",
        "holds the matrices from 0 on, whichever its own are",
        |inner, _| over(inner, work::Twin),
    ),
    Adversary::new("other-nonce", "fills as another nonce would have it", |inner, _| {
        over(inner, work::OtherNonce)
    }),
    Adversary::new(
        "other-session",
        "answers with what it made for another session, under keys that it knew before",
        |inner, _| over(inner, work::OtherSession),
    ),
    Adversary::new("short-products", "multiplies with half of k", |inner, _| {
        over(inner, work::ShortProducts)
    }),
    Adversary::new(
        "hankel-operands",
        "takes operands with structure, whose product costs O(n^2 log n)",
        |_, _| {
            taking(Shortcut {
                operand: work::hankel,
                ..Shortcut::default()
            })
        },
    ),
    Adversary::new("low-rank-operands", "takes left operands whose rows repeat", |_, _| {
        taking(Shortcut {
            operand: work::low_rank,
            ..Shortcut::default()
        })
    }),
    Adversary::new(
        "top-byte",
        "keeps the top byte of each sum in place of the fold",
        |_, _| {
            taking(Shortcut {
                fold: |acc| (acc >> 24) as u8,
                ..Shortcut::default()
            })
        },
    ),
    Adversary::new(
        "neighbours",
        "pairs neighbouring tiles instead of the matching's",
        |_, _| {
            taking(Shortcut {
                pair: work::neighbours,
                ..Shortcut::default()
            })
        },
    ),
    Adversary::new("unshifted", "pairs words at equal positions", |_, _| {
        taking(Shortcut {
            shift: |_, _| 0,
            ..Shortcut::default()
        })
    }),
    Adversary::new("opening-altered", "changes a leaf after SAMPLE", |inner, _| {
        over(inner, openings::Altered)
    }),
    Adversary::new(
        "openings-swapped",
        "opens the sweep where the fill is asked for, and the fill where the sweep is",
        |inner, _| over(inner, openings::Swapped),
    ),
    Adversary::new("openings-empty", "opens nothing", |inner, _| {
        over(inner, openings::Empty)
    }),
    Adversary::new(
        "openings-duplicate",
        "opens the same leaf wherever one is asked for",
        |inner, _| over(inner, openings::Duplicate(None)),
    ),
    Adversary::new(
        "openings-elsewhere",
        "opens under the root of another fill or sweep",
        |inner, _| over(inner, openings::Elsewhere),
    ),
    Adversary::new(
        "abort-on-sample",
        "gives up when it has seen the samples",
        |inner, _| over(inner, openings::Abort),
    ),
    Adversary::new("late", "does not answer the first fill", |inner, _| {
        Box::new(work::Late(inner))
    })
    .ending(End::Late),
    Adversary::new(
        "boaster",
        "says that it is a larger GPU with more memory and another UUID, and works honestly",
        |inner, _| inner,
    )
    .ending(End::Affirmed)
    .offering(boast),
];

fn boast(offer: &mut DeviceOffer) {
    offer.model = "NVIDIA B300".to_owned();
    (offer.memory_bytes, offer.available_bytes) = (u64::MAX, u64::MAX);
    let uuid = format!("GPU-b0a57e60-0000-4000-8000-{:012x}", offer.ordinal.0);
    offer.labels = vec![Label::new("uuid", &uuid)];
}

/// Engines of one adversary for the devices that have one, honest ones for the others.
///
/// # Panics
///
/// The returned engine maker panics if no adversary has the name.
pub fn engines(
    adversaries: HashMap<u32, (&'static str, f64)>,
    honest: fn() -> Box<dyn Engine>,
) -> impl FnMut(protocol::bytes::DeviceOrdinal) -> Box<dyn Engine> {
    move |g| match adversaries.get(&g.0) {
        Some((name, fraction)) => Adversary::named(name)
            .unwrap_or_else(|| panic!("no adversary is named {name}"))
            .engine(honest(), *fraction),
        None => honest(),
    }
}
