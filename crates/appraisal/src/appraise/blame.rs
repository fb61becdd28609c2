//! Which device caused a session to end without being affirmed, as far as the session names one.

use protocol::bytes::DeviceOrdinal;
use protocol::openings::OpeningsError;
use protocol::plan::Plan;
use protocol::trace::Misplaced;
use protocol::verdict::{Failure, Obstacle, Phase, Verdict};
use protocol::verifier::VerifierSession;

use crate::reason::Reason;

/// The reason for `device` in a session that was not affirmed; `None` for one that was.
///
/// A device is blamed if the failure names it, or if its own answer did not arrive in time. A signature, a malformed
/// message or a broken connection concerns the Attester as a whole: no device is blamed then, and none is cleared.
pub(super) fn reason(session: &VerifierSession, device: DeviceOrdinal) -> Option<Reason> {
    let plan = session.plan()?;
    let (code, message, blamed) = match session.verdict()? {
        Verdict::Affirmed => return None,
        Verdict::Contraindicated(failure) => {
            let blamed = failed(failure, session, plan);
            if blamed.contains(&device) {
                return Some(Reason::DeviceFailed {
                    failure: failure.code().to_owned(),
                    message: failure.to_string(),
                });
            }
            (failure.code(), "the session failed", blamed)
        }
        Verdict::CouldNotRun(obstacle) => {
            let blamed = stopped(obstacle);
            if blamed.contains(&device) {
                return Some(Reason::CouldNotRun {
                    obstacle: obstacle.code().to_owned(),
                    message: obstacle.to_string(),
                });
            }
            (obstacle.code(), "the session could not run", blamed)
        }
    };
    let whose = match &blamed[..] {
        [] => "and no device is named".to_owned(),
        [one] => format!("by device {one}"),
        several => {
            let list: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("by devices {}", list.join(", "))
        }
    };
    Some(Reason::NotJudged {
        why: format!("{message} ({code}), {whose}"),
    })
}

fn failed(failure: &Failure, session: &VerifierSession, plan: &Plan) -> Vec<DeviceOrdinal> {
    match failure {
        Failure::Tile(mismatch) => vec![mismatch.sample.device],
        Failure::Openings(OpeningsError::Opening { sample, .. }) => vec![sample.device],
        Failure::Misplaced(
            Misplaced::Duplicate { device, .. } | Misplaced::RootCount { device, .. } | Misplaced::Rests { device, .. },
        ) => vec![*device],
        Failure::Late { phase, .. } => unanswered(*phase, session, plan),
        _ => Vec::new(),
    }
}

/// Devices whose FILLED, SWEPT or CROSSED had not arrived at the deadline of the phase.
fn unanswered(phase: Phase, session: &VerifierSession, plan: &Plan) -> Vec<DeviceOrdinal> {
    let Some(iteration) = session.trace().and_then(|trace| trace.iterations().last()) else {
        return Vec::new();
    };
    let has_come: Vec<bool> = match phase {
        Phase::Fill => iteration.fill_roots.iter().map(Option::is_some).collect(),
        Phase::Sweep => iteration.sweep_roots.iter().map(|roots| !roots.is_empty()).collect(),
        Phase::Cross => {
            let Some(round) = iteration.rounds.last() else {
                return Vec::new();
            };
            let number = iteration.rounds.len() as u32 - 1;
            let rests = |place| plan.opponent(number, place).is_none();
            let roots = round.roots.iter().enumerate();
            roots.map(|(place, root)| root.is_some() || rests(place)).collect()
        }
        Phase::Hello | Phase::Prepare | Phase::Open => return Vec::new(),
    };
    let devices = plan.devices().iter().zip(has_come);
    devices
        .filter(|(_, has_come)| !has_come)
        .map(|(device, _)| device.ordinal)
        .collect()
}

fn stopped(obstacle: &Obstacle) -> Vec<DeviceOrdinal> {
    match obstacle {
        Obstacle::Aborted { abort, .. } => abort.device.into_iter().collect(),
        _ => Vec::new(),
    }
}
