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
/// fill's leaves, two alternating ones for sweeps. While the next launch runs, the host copies them out and hashes
/// them.
pub(crate) struct Leaves {
    fills: Vec<Commitment>,
    sweeps: Vec<Vec<Commitment>>,
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
            Place::Half(_) => &mut self.sweeps,
        }
    }
}

/// The leaves that a copy transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Those of a fill.
    Fill,
    /// Those of a sweep, in half 0 or 1.
    Half(usize),
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
            (Place::Half(0), sweeps, self.leaves_per_half),
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
        match (&self.in_flight, place) {
            (
                Some(InFlight {
                    place: Place::Half(h), ..
                }),
                Place::Half(half),
            ) if *h != half => Ok(()),
            _ => stream.wait(&self.copied),
        }
    }

    /// Stream of the copies, idle whenever the host waits for a launch.
    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Half of the leaves that the next sweep writes: not the one whose copy may be in flight.
    pub(crate) fn next_half(&self) -> usize {
        match self.in_flight {
            Some(InFlight {
                place: Place::Half(half),
                ..
            }) => 1 - half,
            _ => 0,
        }
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
            }
            Place::Half(_) => self
                .sweeps
                .last_mut()
                .expect("a fill comes before sweeps")
                .push(commitment),
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
        };
        made?.open(leaf)
    }

    fn first(&self, place: Place) -> usize {
        match place {
            Place::Fill => 0,
            Place::Half(half) => self.halves_at + half * self.leaves_per_half,
        }
    }
}
