//! Whose fault it was that a session came to no good end, as far as it names a device.

use protocol::bytes::DeviceOrdinal;
use protocol::openings::OpeningsError;
use protocol::plan::Plan;
use protocol::trace::Misplaced;
use protocol::verdict::{Failure, Obstacle, Phase, Verdict};
use protocol::verifier::VerifierSession;

use crate::reason::Reason;

/// What is to be said of `device` of a session that was not affirmed; `None` of one that was.
///
/// A device is blamed where the failure names it, or where its own answer was waited for in vain. A signature, a malformed
/// message or a broken connection is the Attester's as a whole: no device is blamed then, and none is cleared.
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
        Failure::Misplaced(Misplaced::Duplicate { device, .. } | Misplaced::RootCount { device, .. }) => vec![*device],
        Failure::Late { phase, .. } => unanswered(*phase, session, plan),
        _ => Vec::new(),
    }
}

/// Devices whose FILLED or SWEPT had not come when the phase's time was up.
fn unanswered(phase: Phase, session: &VerifierSession, plan: &Plan) -> Vec<DeviceOrdinal> {
    let Some(iteration) = session.trace().and_then(|trace| trace.iterations().last()) else {
        return Vec::new();
    };
    let has_come: Vec<bool> = match phase {
        Phase::Fill => iteration.fill_roots.iter().map(Option::is_some).collect(),
        Phase::Sweep => iteration.sweep_roots.iter().map(|roots| !roots.is_empty()).collect(),
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
