//! A modelled GPU and the assumptions about it: sessions that are real except for their times.

use protocol::bounds::Assumptions;
use protocol::certified::{Certified, HostBounds, measured, system_bounds};
use protocol::frame::MessageType;
use protocol::verifier::Windows;
use verifier::recompute::Recompute;

use crate::cast;
use crate::peer::{Action, Peer, Tampered, Turn};
use crate::rehearsal::{Rehearsal, Rehearsed};

/// Tiles that the GPU holds.
pub const TILES: u64 = 64;
/// Size of the tiles, bytes.
pub const DATASET_BYTES: u64 = TILES << 16;
/// k of the one iteration.
pub const INNER_DIM: u32 = 4_096;
/// Its sweeps: 1024 leaves together.
pub const SWEEPS: u32 = 32;
/// How many of them are sampled.
pub const SAMPLES: u32 = 1_000;
/// It reads its memory ten times a second.
pub const READ_BYTES_PER_S: u64 = 10 * DATASET_BYTES;
/// How long all sweeps take it (ns).
pub const SWEEPS_NS: u64 = SWEEPS as u64 * 100_000_000;
/// How long the fill takes it at [`INNER_DIM`] (ns).
pub const FILL_NS: u64 = 2_000_000_000;
/// A link each way is 40 times slower than memory.
pub const LINK_BYTES_PER_S: u64 = READ_BYTES_PER_S / 40;

/// What the bounds assume about it: its links, and that regeneration of bytes is 100 times slower than memory.
#[must_use]
pub fn assumptions() -> Assumptions {
    Assumptions {
        best_rate_ops_per_s: 2 * u64::from(INNER_DIM) * READ_BYTES_PER_S / 115,
        helper_gpus: 1,
        link_in_bytes_per_s: LINK_BYTES_PER_S,
        link_out_bytes_per_s: LINK_BYTES_PER_S,
        helper_bytes_per_s: 0,
        on_chip_bytes: 0,
        error_bits: 20,
    }
}

/// Operations of one fill of the whole dataset at this k.
#[must_use]
pub fn operations(inner_dim: u32) -> u128 {
    2 * u128::from(inner_dim) * u128::from(DATASET_BYTES)
}

/// A session of one iteration at this k, with deadlines that no delay here reaches.
#[must_use]
pub fn rehearsal(inner_dim: u32) -> Rehearsal {
    let mut request = cast::request(&[(inner_dim, SWEEPS)], SAMPLES);
    request.deadlines.fill_ms = 1_000_000;
    request.deadlines.sweep_ms = 1_000_000;
    Rehearsal {
        // Most tiles are sampled many times: all of them are kept.
        recompute: Recompute {
            operand_budget_bytes: 64 << 20,
            tile_budget_bytes: 2 * DATASET_BYTES as usize,
            ..cast::recompute()
        },
        ..Rehearsal::new(request)
    }
}

/// `peer`, whose FILLED and SWEPT of device after device each come `wait_ns` later than the message before.
#[must_use]
pub fn delayed(peer: impl Peer, mut wait_ns: impl FnMut(MessageType, usize) -> u64) -> impl Peer {
    Tampered::new(peer, move |turn: &mut Turn<'_>| {
        for message_type in [MessageType::Filled, MessageType::Swept] {
            if let Some(first) = turn.position(message_type) {
                let answers: Vec<Action> = turn.actions.drain(first..).collect();
                for (device, answer) in answers.into_iter().enumerate() {
                    turn.actions.push(Action::Wait(wait_ns(message_type, device)));
                    turn.actions.push(answer);
                }
            }
        }
    })
}

/// What an affirmed session certifies under [`assumptions`].
///
/// # Panics
///
/// If it was not affirmed.
#[must_use]
pub fn certified(rehearsed: &Rehearsed) -> Certified {
    rehearsed
        .session
        .certified(&assumptions())
        .expect("an affirmed session")
}

/// What its bounds would be if its windows had been these.
///
/// # Panics
///
/// If it has no plan.
#[must_use]
pub fn bounds_with(rehearsed: &Rehearsed, windows: &[Windows]) -> HostBounds {
    let plan = rehearsed.session.plan().expect("an affirmed session has a plan");
    let measured = measured(plan, windows, |_, _| u32::MAX);
    system_bounds(&measured, &assumptions()).0
}
