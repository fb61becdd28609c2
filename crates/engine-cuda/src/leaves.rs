//! Copies leaves to host memory, where they are kept to be opened.

use std::sync::Arc;
use std::time::Duration;

use protocol::bytes::Root;
use protocol::commitment::{Commitment, Opening};
use protocol::engine::{Assignment, CommitmentId, EngineError};

use crate::context::Context;
use crate::layout::Layout;
use crate::memory::Pinned;
use crate::stream::{Event, Stream};
use crate::sys;

/// The commitments of one engine; the last one may still be in flight.
///
/// Leaves are copied on a separate stream, in parallel with the next sweep, to page-locked memory: one buffer for a
/// fill's leaves, two alternating ones for sweeps and rounds. While the next launch runs, the host copies them out and hashes
/// them.
pub(crate) struct Leaves {
    fills: Vec<Commitment>,
    sweeps: Vec<Vec<Commitment>>,
    /// Of each iteration, with their numbers: a device rests in some.
    rounds: Vec<Vec<(u32, Commitment)>>,
    in_flight: Option<InFlight>,
    copied: Event,
    stream: Stream,
    /// All leaves of a fill, then two halves for sweeps.
    staging: Pinned<u64>,
    halves_at: usize,
    leaves_per_half: usize,
    room: Room,
}

/// Maximum number of sweeps whose memory is allocated ahead: those of a `standard` iteration. A `soak` has hundreds,
/// and touching memory for all of them would take longer than the concurrent fill.
const MOST_ROOM: usize = 32;

/// Memory for future leaves, its pages already touched: the first touch of a page can take longer than the sweep of the
/// tiles behind its leaves, and sweeps would wait.
#[derive(Default)]
struct Room {
    fills: Vec<Vec<u64>>,
    sweeps: Vec<Vec<u64>>,
}

impl Room {
    fn of(&mut self, place: Place) -> &mut Vec<Vec<u64>> {
        match place {
            Place::Fill => &mut self.fills,
            Place::Sweep { .. } | Place::Round { .. } => &mut self.sweeps,
        }
    }
}

/// The leaves that a copy transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Those of a fill.
    Fill,
    /// Those of a sweep, in half 0 or 1.
    Sweep {
        /// The half.
        half: usize,
    },
    /// Those of a round, in half 0 or 1.
    Round {
        /// The half.
        half: usize,
        /// Round within the iteration, from 0.
        round: u32,
    },
}

impl Place {
    /// The half of the leaves on the device, which those of a fill have as a whole.
    pub(crate) fn half(self) -> Option<usize> {
        match self {
            Place::Fill => None,
            Place::Sweep { half } | Place::Round { half, .. } => Some(half),
        }
    }
}

struct InFlight {
    place: Place,
    count: usize,
    root: Root,
}

impl Leaves {
    pub(crate) fn new(context: &Arc<Context>, assignment: &Assignment, layout: &Layout) -> Result<Self, EngineError> {
        let tiles = assignment.tiles() as usize;
        let leaves_per_half = layout.leaves_per_half as usize;
        Ok(Leaves {
            fills: Vec::new(),
            sweeps: Vec::new(),
            rounds: Vec::new(),
            in_flight: None,
            copied: Event::new(context)?,
            stream: Stream::new(context)?,
            staging: Pinned::new(context, tiles + 2 * leaves_per_half)?,
            halves_at: tiles,
            leaves_per_half,
            room: Room::default(),
        })
    }

    /// Allocates memory for the leaves of a fill, `queued` of whose `launches` are in flight, and for a corresponding
    /// part of those of the following `sweeps`, while the host is otherwise idle.
    pub(crate) fn make_room(&mut self, sweeps: u32, queued: usize, launches: usize) {
        let sweeps = (sweeps as usize).min(MOST_ROOM) * queued / launches;
        for (place, count, leaves) in [
            (Place::Fill, 1, self.halves_at),
            (Place::Sweep { half: 0 }, sweeps, self.leaves_per_half),
        ] {
            let room = self.room.of(place);
            while room.len() < count {
                // Not zeros, for which the system would not commit pages.
                room.push(vec![u64::MAX; leaves]);
            }
        }
    }

    /// Makes work queued on `stream` after this, which writes leaves to `place`, wait for a copy that still reads
    /// there.
    pub(crate) fn hold_back(&self, stream: &Stream, place: Place) -> Result<(), EngineError> {
        let in_flight = self.in_flight.as_ref().and_then(|in_flight| in_flight.place.half());
        match (in_flight, place.half()) {
            (Some(read), Some(written)) if read != written => Ok(()),
            _ => stream.wait(&self.copied),
        }
    }

    /// Stream of the copies, idle whenever the host waits for a launch.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Half of the leaves that the next sweep or round writes: not the one whose copy may be in flight.
    pub(crate) fn next_half(&self) -> usize {
        let in_flight = self.in_flight.as_ref().and_then(|in_flight| in_flight.place.half());
        in_flight.map_or(0, |half| 1 - half)
    }

    /// Starts copying `count` finished leaves from `source`. An earlier copy has been settled ([`Leaves::settle`]).
    pub(crate) fn send(
        &mut self,
        place: Place,
        source: sys::CUdeviceptr,
        count: u32,
        root: Root,
    ) -> Result<(), EngineError> {
        assert!(self.in_flight.is_none(), "leaves are settled one after the other");
        let count = count as usize;
        let first = self.first(place);
        // SAFETY: `first + count` elements lie within the staging memory (`new`), and nothing is in flight to it. The
        // source is finished and is overwritten only after `hold_back` or, for the other half, not at all.
        unsafe {
            let target = self.staging.as_mut_ptr().add(first);
            self.stream.copy_to_host(target, source, count)?;
        }
        self.copied.record(&self.stream)?;
        self.in_flight = Some(InFlight { place, count, root });
        Ok(())
    }

    /// Receives the copy in flight, and compares the device's root with that of the received leaves.
    pub(crate) fn settle(&mut self, limit: Duration) -> Result<(), EngineError> {
        let Some(InFlight { place, count, root }) = self.in_flight.take() else {
            return Ok(());
        };
        if !self.copied.wait(limit)? {
            // The copy waits for a launch that hangs, and freeing memory would wait for the copy.
            self.copied.mark_stuck();
            return Err(EngineError::DeviceLost(format!(
                "leaves did not arrive within {} s",
                limit.as_secs()
            )));
        }
        let first = self.first(place);
        // SAFETY: the only copy in flight has just ended.
        let arrived = unsafe { &self.staging.as_slice()[first..first + count] };
        let mut leaves = self.room.of(place).pop().unwrap_or_default();
        leaves.clear();
        leaves.extend_from_slice(arrived);
        let commitment = Commitment::new(leaves);
        let actual = commitment.root();
        if actual != root {
            return Err(EngineError::SelfTest(format!(
                "the device's root {root} is not that of its leaves, {actual}"
            )));
        }
        match place {
            Place::Fill => {
                self.fills.push(commitment);
                self.sweeps.push(Vec::new());
                self.rounds.push(Vec::new());
            }
            Place::Sweep { .. } => self
                .sweeps
                .last_mut()
                .expect("a fill comes before sweeps")
                .push(commitment),
            Place::Round { round, .. } => self
                .rounds
                .last_mut()
                .expect("a fill comes before rounds")
                .push((round, commitment)),
        }
        Ok(())
    }

    /// The opening of a leaf of a settled commitment.
    pub(crate) fn open(&self, commitment: CommitmentId, leaf: u32) -> Option<Opening> {
        let made = match commitment {
            CommitmentId::Fill { iteration } => self.fills.get(iteration as usize),
            CommitmentId::Sweep { iteration, sweep } => self
                .sweeps
                .get(iteration as usize)?
                .get((sweep as usize).checked_sub(1)?),
            CommitmentId::Round { iteration, round } => {
                let mut rounds = self.rounds.get(iteration as usize)?.iter();
                rounds
                    .find(|(made, _)| *made == round)
                    .map(|(_, commitment)| commitment)
            }
        };
        made?.open(leaf)
    }

    fn first(&self, place: Place) -> usize {
        match place {
            Place::Fill => 0,
            Place::Sweep { half } | Place::Round { half, .. } => self.halves_at + half * self.leaves_per_half,
        }
    }
}
