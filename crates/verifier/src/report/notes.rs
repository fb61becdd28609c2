//! What a reader must know to read the figures of a result (spec §6, §7).

use protocol::bounds::{Assumptions, OFFLINE_ERROR_BITS};
use protocol::verifier::VerifierSession;

/// The notes on a session, which is affirmed or has none.
pub(super) fn of(
    session: &VerifierSession,
    is_online: bool,
    is_affirmed: bool,
    assumptions: &Assumptions,
) -> Vec<String> {
    let mut notes = Vec::new();
    if !is_affirmed {
        return notes;
    }
    if is_online {
        let devices = session.plan().map_or(1, |plan| plan.devices().len());
        let bits = assumptions.error_bits;
        let mut note = format!("each claim of a device is false with probability at most 2^-{bits}");
        if devices > 1 {
            note += &format!("; of the host's {devices} devices together at most {devices} x 2^-{bits}");
        }
        notes.push(note);
    } else {
        if let Some(plan) = session.plan() {
            for inner_dim in plan.groups() {
                let samples = plan
                    .devices()
                    .iter()
                    .map(|device| plan.effective_samples(device, inner_dim))
                    .min();
                let samples = samples.unwrap_or(1);
                let wrong = f64::from(OFFLINE_ERROR_BITS) * std::f64::consts::LN_2 / f64::from(samples);
                notes.push(format!(
                    "offline: at k = {inner_dim} at most {:.1} % of the work was left out, except with probability 2^-{OFFLINE_ERROR_BITS} a try ({samples} samples)",
                    100.0 * wrong.min(1.0)
                ));
            }
        }
        notes.push(
            "offline: how fast and where it was done is not certified; time is bounded only by issue and receipt of the challenge"
                .to_owned(),
        );
    }
    notes.push(
        "models, names and memory sizes are what the Attester says of itself; only certified figures are evidence"
            .to_owned(),
    );
    notes.push("not excluded: a relay to equal GPUs elsewhere, helpers that hold full copies (assumed to read 0 bytes/s unless stated)".to_owned());
    notes.push("not excluded: GPUs joined by a fast link as one, a larger GPU in place of smaller ones".to_owned());
    notes.push(
        "not excluded: the same GPUs in another session under another identity, unless all are challenged at once, phase by phase"
            .to_owned(),
    );
    notes
}
