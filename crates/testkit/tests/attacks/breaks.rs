//! Attesters that give up, disconnect, flood, or send something that is not a frame, in each phase.

use protocol::cbor::Canonical;
use protocol::frame::{Frame, MessageType, header};
use protocol::limits::{MAX_HELLO_BYTES, MAX_PROGRESS_FRAMES, MAX_SMALL_BYTES};
use protocol::message::{Abort, AbortCode};
use protocol::verdict::{Failure, Obstacle, Phase, Verdict};
use protocol::verifier::Outgoing;
use testkit::peer::Action;

use crate::attacks;
use crate::stage::{bytes, honest, instead, judge, rehearsal};

use Verdict::{Contraindicated, CouldNotRun};

/// ABORT with this code.
pub(crate) fn abort_action(number: usize) -> Action {
    let abort = Abort {
        code: AbortCode::ALL[number - 1],
        device: None,
        message: "as played".to_owned(),
    };
    Action::Frame(Frame::new(MessageType::Abort, abort.to_bytes()))
}

fn abort(phase: Phase, number: usize) -> Verdict {
    instead(phase, vec![abort_action(number)])
}

fn close(phase: Phase) -> Verdict {
    instead(phase, vec![Action::Close])
}

/// A whole header, followed by one byte too few, then the end.
fn cut(phase: Phase) -> Verdict {
    let mut bytes = bytes(&Frame::new(MessageType::Filled, vec![0; 100]));
    bytes.pop();
    instead(phase, vec![Action::Bytes(bytes), Action::Close])
}

fn cut_header(phase: Phase) -> Verdict {
    instead(phase, vec![Action::Bytes(vec![5, 0, 0]), Action::Close])
}

/// Announces a payload of `length` bytes; none of them have to arrive.
fn announce(phase: Phase, type_number: u32, length: u64) -> Verdict {
    instead(
        phase,
        vec![Action::Bytes(header(type_number, length).to_vec()), Action::Hang],
    )
}

fn flood(phase: Phase) -> Verdict {
    let progress = bytes(&Frame::new(MessageType::Progress, vec![0x81, 0x80]));
    // All at once: frames that arrive past the deadline would be late.
    instead(
        phase,
        vec![Action::Bytes(progress.repeat(MAX_PROGRESS_FRAMES as usize + 1))],
    )
}

fn stop(before: Outgoing) -> Verdict {
    let mut rehearsal = rehearsal();
    rehearsal.stop_before = Some(before);
    judge(&rehearsal, &mut honest())
}

fn not_ours(verdict: &Verdict) -> Option<&Failure> {
    match verdict {
        CouldNotRun(Obstacle::NotThisProtocol(failure)) => Some(failure),
        _ => None,
    }
}

attacks! {
    fn no_memory(): "out-of-memory", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. }) => abort(Phase::Prepare, 1);
    fn a_lost_device(): "device-lost", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. }) => abort(Phase::Prepare, 2);
    fn a_driver_error(): "driver-error", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. }) => abort(Phase::Prepare, 3);
    fn a_failed_self_test(): "self-test-failed", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. }) => abort(Phase::Prepare, 4);
    fn an_unsupported_plan(): "unsupported", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. }) => abort(Phase::Prepare, 5);
    fn cancelled(): "cancelled", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. }) => abort(Phase::Prepare, 6);
    fn a_violation(): "protocol-violation", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. }) => abort(Phase::Prepare, 7);
    fn an_internal_error(): "internal", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. }) => abort(Phase::Prepare, 8);
    fn aborts_instead_of_hello(): "cancelled", CouldNotRun(Obstacle::Aborted { after_nonce: false, .. }) => abort(Phase::Hello, 6);
    fn aborts_in_the_fill(): "device-lost", CouldNotRun(Obstacle::Aborted { after_nonce: true, .. }) => abort(Phase::Fill, 2);
    fn aborts_in_the_sweeps(): "out-of-memory", CouldNotRun(Obstacle::Aborted { after_nonce: true, .. }) => abort(Phase::Sweep, 1);
    fn aborts_on_an_unlucky_sample(): "unopened", Contraindicated(Failure::Unopened(_)) => abort(Phase::Open, 2);

    fn dies_before_hello(): "disconnected",
        CouldNotRun(Obstacle::Disconnected { phase: Phase::Hello, detail: None, after_nonce: false }) => close(Phase::Hello);
    fn dies_before_ready(): "disconnected",
        CouldNotRun(Obstacle::Disconnected { phase: Phase::Prepare, detail: None, after_nonce: false }) => close(Phase::Prepare);
    fn dies_in_the_fill(): "disconnected",
        CouldNotRun(Obstacle::Disconnected { phase: Phase::Fill, detail: None, after_nonce: true }) => close(Phase::Fill);
    fn dies_in_the_sweeps(): "disconnected",
        CouldNotRun(Obstacle::Disconnected { phase: Phase::Sweep, detail: None, after_nonce: true }) => close(Phase::Sweep);
    fn dies_on_an_unlucky_sample(): "unopened", Contraindicated(Failure::Unopened(_)) => close(Phase::Open);

    fn a_frame_cut_before_hello(): "disconnected",
        CouldNotRun(Obstacle::Disconnected { phase: Phase::Hello, detail: Some(_), .. }) => cut(Phase::Hello);
    fn a_frame_cut_before_ready(): "disconnected",
        CouldNotRun(Obstacle::Disconnected { phase: Phase::Prepare, detail: Some(_), .. }) => cut(Phase::Prepare);
    fn a_frame_cut_in_the_fill(): "disconnected",
        CouldNotRun(Obstacle::Disconnected { phase: Phase::Fill, detail: Some(_), .. }) => cut(Phase::Fill);
    fn a_header_cut_in_the_sweeps(): "disconnected",
        CouldNotRun(Obstacle::Disconnected { phase: Phase::Sweep, detail: Some(_), .. }) => cut_header(Phase::Sweep);
    fn a_frame_cut_in_the_openings(): "unopened", Contraindicated(Failure::Unopened(_)) => cut(Phase::Open);

    fn an_oversized_hello(): "not-this-protocol", verdict
        if matches!(not_ours(verdict), Some(Failure::OversizedMessage { type_number: 1, limit_bytes: MAX_HELLO_BYTES, .. }))
        => announce(Phase::Hello, 1, MAX_HELLO_BYTES + 1);
    fn oversized_openings_before_hello(): "not-this-protocol", verdict
        if matches!(not_ours(verdict), Some(Failure::OversizedMessage { type_number: 9, limit_bytes: MAX_SMALL_BYTES, .. }))
        => announce(Phase::Hello, 9, MAX_SMALL_BYTES + 1);
    fn an_oversized_ready(): "not-this-protocol", verdict
        if matches!(not_ours(verdict), Some(Failure::OversizedMessage { type_number: 3, .. }))
        => announce(Phase::Prepare, 3, u64::MAX);
    fn a_second_hello_has_the_small_cap(): "not-this-protocol", verdict
        if matches!(not_ours(verdict), Some(Failure::OversizedMessage { type_number: 1, limit_bytes: MAX_SMALL_BYTES, .. }))
        => announce(Phase::Prepare, 1, MAX_HELLO_BYTES);
    fn an_oversized_filled(): "oversized-message",
        Contraindicated(Failure::OversizedMessage { type_number: 5, length_bytes: u64::MAX, limit_bytes: MAX_SMALL_BYTES })
        => announce(Phase::Fill, 5, u64::MAX);
    fn an_oversized_unknown_type(): "oversized-message", Contraindicated(Failure::OversizedMessage { type_number: 77, .. })
        => announce(Phase::Fill, 77, MAX_SMALL_BYTES + 1);
    // At most two roots per iteration: 32 + 34 * 2 bytes.
    fn an_oversized_swept(): "oversized-message",
        Contraindicated(Failure::OversizedMessage { type_number: 7, length_bytes: 101, limit_bytes: 100 })
        => announce(Phase::Sweep, 7, 101);
    fn oversized_openings(): "oversized-message", Contraindicated(Failure::OversizedMessage { type_number: 9, .. })
        => announce(Phase::Open, 9, 1 << 20);

    fn floods_before_hello(): "not-this-protocol", verdict if not_ours(verdict) == Some(&Failure::Flood) => flood(Phase::Hello);
    fn floods_before_ready(): "not-this-protocol", verdict if not_ours(verdict) == Some(&Failure::Flood) => flood(Phase::Prepare);

    fn floods_in_the_fill(): "flood", Contraindicated(Failure::Flood) => flood(Phase::Fill);
    fn floods_in_the_sweeps(): "flood", Contraindicated(Failure::Flood) => flood(Phase::Sweep);
    fn floods_before_openings(): "flood", Contraindicated(Failure::Flood) => flood(Phase::Open);

    fn stopped_before_plan(): "stopped", CouldNotRun(Obstacle::Stopped) => stop(Outgoing::Plan);
    fn stopped_before_nonce(): "stopped", CouldNotRun(Obstacle::Stopped) => stop(Outgoing::Nonce);
    fn stopped_before_sample(): "stopped", CouldNotRun(Obstacle::Stopped) => stop(Outgoing::Sample);
}
