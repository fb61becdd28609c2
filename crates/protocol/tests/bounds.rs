//! Bounds as functions of all their inputs: never above what was measured, and never raised by a worse measurement or a
//! more generous assumption (spec §6).

use proptest::collection::vec;
use proptest::prelude::*;

use protocol::bounds::{Assumptions, Measured, MeasuredIteration};
use protocol::limits::{HELPER_GPUS_RANGE, MIN_INNER_DIM_FOR_MEMORY};

const NS_PER_S: u128 = 1_000_000_000;

/// V, B, T and T_local.
fn bounds(measured: &Measured, assumptions: &Assumptions) -> [Option<u64>; 4] {
    [
        measured.memory_bytes(assumptions),
        measured.bandwidth_bytes_per_s(assumptions),
        measured.tensor_ops_per_s(assumptions),
        measured.local_tensor_ops_per_s(assumptions),
    ]
}

/// N / tau, rounded down.
fn swept_bytes_per_s(measured: &Measured) -> u128 {
    let swept = u128::from(measured.dataset_bytes) * u128::from(measured.sweeps());
    swept * NS_PER_S / u128::from(measured.sweep_ns())
}

/// T_raw, rounded down.
fn raw_ops(measured: &Measured) -> u128 {
    measured.operations() * NS_PER_S / u128::from(measured.fill_ns())
}

/// A number whose logarithm is uniform below that of 2^`bits`; 0 now and then.
fn any_size(bits: u32) -> impl Strategy<Value = u64> {
    (0..=bits, any::<u64>()).prop_map(|(bits, x)| if bits == 0 { 0 } else { x >> (64 - bits) })
}

fn assumptions() -> impl Strategy<Value = Assumptions> {
    let rates = (any_size(52), any_size(40), any_size(40), any_size(40));
    (rates, HELPER_GPUS_RANGE, any_size(36), 1u32..=80).prop_map(
        |(
            (best_rate_ops_per_s, link_in_bytes_per_s, link_out_bytes_per_s, helper_bytes_per_s),
            gpus,
            on_chip_bytes,
            error_bits,
        )| Assumptions {
            best_rate_ops_per_s,
            // Most often few.
            helper_gpus: 1 + gpus % (1 << (gpus % 17)),
            link_in_bytes_per_s,
            link_out_bytes_per_s,
            helper_bytes_per_s,
            on_chip_bytes,
            error_bits,
        },
    )
}

/// A group of one to four iterations whose sweeps differ, at times that may be far apart.
fn measured() -> impl Strategy<Value = Measured> {
    let iteration =
        (1u32..=4_096, 1u32..45, 1u32..45, any::<(u64, u64)>()).prop_map(|(sweeps, fill, sweep, (x, y))| {
            MeasuredIteration {
                sweeps,
                fill_ns: (x >> (64 - fill)).max(1),
                sweep_ns: (y >> (64 - sweep)).max(1),
            }
        });
    (
        1u32..=512,
        128u32..=65_536,
        1u32..=48,
        any::<u64>(),
        vec(iteration, 1..5),
    )
        .prop_map(|(steps, samples, bits, x, iterations)| Measured {
            inner_dim: 64 * steps,
            samples,
            dataset_bytes: (x >> (64 - bits)).max(1),
            iterations,
        })
}

/// A device whose figures result in bounds, as those of random devices seldom do.
fn fast() -> impl Strategy<Value = Measured> {
    let iteration =
        (1u32..=128, 1u64..4_000_000_000, 5_000_000u64..60_000_000).prop_map(|(sweeps, fill_ns, sweep_ns)| {
            MeasuredIteration {
                sweeps,
                fill_ns,
                sweep_ns: u64::from(sweeps) * sweep_ns,
            }
        });
    (1u32..=512, 256u32..=65_536, 30u32..=40, vec(iteration, 1..5)).prop_map(|(steps, samples, bits, iterations)| {
        Measured {
            inner_dim: 64 * steps,
            samples,
            dataset_bytes: 1 << bits,
            iterations,
        }
    })
}

/// Every change that lowers a bound, one at a time.
fn worse(measured: &Measured, assumptions: &Assumptions, by: u64) -> Vec<(&'static str, Measured, Assumptions)> {
    let assume = |name, change: &dyn Fn(&mut Assumptions)| {
        let mut assumptions = *assumptions;
        change(&mut assumptions);
        (name, measured.clone(), assumptions)
    };
    let measure = |name, change: &dyn Fn(&mut Measured)| {
        let mut measured = measured.clone();
        change(&mut measured);
        (name, measured, *assumptions)
    };
    vec![
        assume("error_bits", &|a| a.error_bits += 1 + by as u32 % 40),
        assume("G", &|a| a.best_rate_ops_per_s += by),
        assume("helpers", &|a| a.helper_gpus += by % 100),
        assume("W_in", &|a| a.link_in_bytes_per_s += by),
        assume("W_out", &|a| a.link_out_bytes_per_s += by),
        assume("R", &|a| a.helper_bytes_per_s += by),
        assume("C", &|a| a.on_chip_bytes += by),
        measure("samples", &|m| m.samples -= by.min(u64::from(m.samples) / 2) as u32),
        measure("one fill's time", &|m| m.iterations[0].fill_ns += by),
        measure("one iteration's sweep time", &|m| m.iterations[0].sweep_ns += by),
        measure("all times", &|m| {
            for iteration in &mut m.iterations {
                iteration.fill_ns += by;
                iteration.sweep_ns += by;
            }
        }),
    ]
}

fn hold(measured: &Measured, assumptions: &Assumptions, by: u64) -> Result<(), TestCaseError> {
    // A rate too large for 64 bits has no bound, so a slower one could have a larger bound.
    prop_assume!(raw_ops(measured) <= u64::MAX.into() && swept_bytes_per_s(measured) <= u64::MAX.into());
    let certified = bounds(measured, assumptions);
    let [memory, bandwidth, rate, local] = certified.map(|bound| bound.map_or(0, u128::from));
    prop_assert!(memory <= measured.dataset_bytes.into(), "V {memory} above N");
    prop_assert!(bandwidth <= swept_bytes_per_s(measured), "B {bandwidth} above N / tau");
    prop_assert!(rate <= raw_ops(measured), "T {rate} above T_raw");
    prop_assert!(local <= raw_ops(measured), "T_local {local} above T_raw");
    if measured.inner_dim < MIN_INNER_DIM_FOR_MEMORY {
        prop_assert_eq!((certified[0], certified[1]), (None, None));
    }
    for (what, measured, assumptions) in worse(measured, assumptions, by) {
        let lower = bounds(&measured, &assumptions);
        let names = ["V", "B", "T", "T_local"];
        for ((bound, lower), certified) in names.into_iter().zip(lower).zip(certified) {
            prop_assert!(
                lower <= certified,
                "{bound}: {lower:?} with more {what}, {certified:?} without"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 2_000,
        max_global_rejects: 100_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_bound_passes_what_was_measured_and_time_only_lowers_it(
        measured in measured(), assumptions in assumptions(), by in any_size(44),
    ) {
        hold(&measured, &assumptions, by)?;
    }

    #[test]
    fn nor_on_devices_with_bounds_to_be_had(measured in fast(), assumptions in assumptions(), by in any_size(44)) {
        hold(&measured, &assumptions, by)?;
    }
}

/// The random devices do have bounds: each of the four in a good part of the cases.
#[test]
fn what_is_drawn_has_bounds() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = [0; 4];
    for _ in 0..1_000 {
        let drawn = (fast(), assumptions())
            .new_tree(&mut runner)
            .expect("no filter refuses");
        let (measured, assumptions) = proptest::strategy::ValueTree::current(&drawn);
        for (count, bound) in counts.iter_mut().zip(bounds(&measured, &assumptions)) {
            *count += u32::from(bound.is_some());
        }
    }
    assert!(counts.iter().all(|&count| count > 300), "{counts:?} of 1000");
}
