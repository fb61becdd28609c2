//! What a reader must know to read the figures of a result (spec §6, §7).

use protocol::bounds::{Assumptions, OFFLINE_ERROR_BITS};
use protocol::certified::Certified;
use protocol::limits::MIN_SAMPLES_FOR_BOUND;
use protocol::plan::Plan;
use protocol::verifier::VerifierSession;

use crate::fabric::FabricReport;

/// The notes on a session; a session that is not affirmed has no notes.
pub(crate) fn of(
    session: &VerifierSession,
    is_online: bool,
    is_affirmed: bool,
    certified: Option<&Certified>,
    fabric: Option<&FabricReport>,
    assumptions: &Assumptions,
) -> Vec<String> {
    let mut notes = Vec::new();
    if !is_affirmed {
        return notes;
    }
    if is_online {
        let (bits, terms) = (assumptions.error_bits, certified.map_or(0, Certified::sampled_groups));
        notes.push(format!(
            "all bounds together are false with probability at most {terms} x 2^-{bits}: once for each device and distinct k"
        ));
        notes.push(
            "T counts exact small-integer multiply-adds, on whatever unit, done somewhere in the system; T_local those of its \
             devices"
                .to_owned(),
        );
        notes.extend(fabric.iter().flat_map(|fabric| fabric.notes(bits)));
    } else {
        if let Some(plan) = session.plan() {
            notes.extend(plan.groups().into_iter().map(|inner_dim| offline(plan, inner_dim)));
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
    notes.push(
        "not excluded: a relay to equal GPUs elsewhere; whatever else holds tiles and answers for them, the host's own CPU \
         among it, beyond the rate that is assumed"
            .to_owned(),
    );
    notes.push(
        "not excluded: other GPUs behind the session, joined to its own, with their memory and links; a larger GPU in place of \
         smaller ones"
            .to_owned(),
    );
    notes.push(
        "not excluded: the same GPUs in another session under another identity, unless all are challenged at once, phase by phase"
            .to_owned(),
    );
    notes
}

/// How much of a group's work may have been left out offline (spec §10.4).
fn offline(plan: &Plan, inner_dim: u32) -> String {
    let samples = plan
        .devices()
        .iter()
        .map(|device| plan.effective_samples(device, inner_dim));
    let samples = samples.min().unwrap_or(0);
    match most_left_out(plan, inner_dim, samples) {
        Some(share) => format!(
            "offline: at k = {inner_dim} at most {:.1} % of the work was left out, except with probability \
             2^-{OFFLINE_ERROR_BITS} a try ({samples} samples)",
            100.0 * share
        ),
        None => format!(
            "offline: at k = {inner_dim} it is not certified how much of the work was done: {samples} samples, fewer than \
             {MIN_SAMPLES_FOR_BOUND}"
        ),
    }
}

/// The largest share of a group's fills that `samples` may have missed, as in T (spec §6.3): all wrong leaves may lie in the
/// iteration with the fewest sweeps, where they weigh most.
fn most_left_out(plan: &Plan, inner_dim: u32, samples: u32) -> Option<f64> {
    let own = plan
        .iterations()
        .iter()
        .filter(|iteration| iteration.inner_dim == inner_dim);
    let sweeps: Vec<f64> = own.map(|iteration| f64::from(iteration.sweeps)).collect();
    let fewest = sweeps.iter().copied().reduce(f64::min)?;
    let wrong_leaves = f64::from(OFFLINE_ERROR_BITS) * std::f64::consts::LN_2 / f64::from(samples);
    let share = wrong_leaves * sweeps.iter().sum::<f64>() / (sweeps.len() as f64 * fewest);
    (samples >= MIN_SAMPLES_FOR_BOUND).then_some(share.min(1.0))
}

#[cfg(test)]
mod tests {
    use protocol::bytes::{DeviceOrdinal, Identity};
    use protocol::plan::{Deadlines, DevicePlan, Iteration, PlanFields};

    use super::*;

    fn plan(sweeps: &[u32], samples: u32) -> Plan {
        let iteration = |&sweeps: &u32| Iteration::new(4096, sweeps);
        Plan::new(PlanFields {
            session_id: [0; 16],
            verifier: Identity([0; 32]),
            verifier_name: String::new(),
            audience: String::new(),
            matrix_dim: 8192,
            devices: vec![DevicePlan {
                ordinal: DeviceOrdinal(0),
                matrix_offset: 0,
                num_matrices: 2,
            }],
            iterations: sweeps.iter().map(iteration).collect(),
            samples,
            deadlines: Deadlines {
                ready_ms: 1,
                fill_ms: 1,
                sweep_ms: 1,
                openings_ms: 1,
            },
        })
        .expect("within the bounds")
    }

    #[test]
    fn offline_says_how_much_work_may_be_missing_and_not_how_many_leaves() {
        assert!(offline(&plan(&[8], 256), 4096).contains("at most 21.7 % of the work"));
        assert!(offline(&plan(&[8, 8], 1024), 4096).contains("at most 5.4 % of the work"));
        // A hundredth of the leaves, and half of the fills.
        assert!(offline(&plan(&[100, 1], 8192), 4096).contains("at most 34.2 % of the work"));
        assert!(offline(&plan(&[100, 1], 1024), 4096).contains("at most 100.0 % of the work"));
        let few = offline(&plan(&[8], 255), 4096);
        assert!(
            few.contains("not certified") && few.contains("255 samples, fewer than 256"),
            "{few}"
        );
    }
}
