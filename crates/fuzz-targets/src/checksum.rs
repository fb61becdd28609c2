//! Small complete plans: the one-file reference compared with the engine and the protocol's own chain of commitments
//! (spec §4).

use std::num::NonZeroUsize;

use engine_cpu::{CpuEngine, CpuEngineConfig, Path};
use protocol::bytes::{DeviceOrdinal, Fresh, Nonce};
use protocol::cbor::Canonical;
use protocol::derive::{advance_sweep_salts, derive};
use protocol::engine::{Engine, Unobserved};
use protocol::message::{Crossed, Filled, SaltMessage, Stage, Swept};
use protocol::plan::{DevicePlan, Iteration, Plan, PlanFields};
use protocol::trace::Trace;
use testkit::cast;

use crate::input::Input;

/// Fills and sweeps a plan of a few tiles twice: every root and the checksum agree.
///
/// # Panics
///
/// If they do not.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let paths = Path::available();
    let path = paths[input.below(paths.len())];
    let plan = plan(&mut input);
    let nonce = Nonce(derive("fuzz nonce", &[input.rest()]));
    let v = |t: usize| Fresh(derive("fuzz v", &[&nonce.0, &t.to_le_bytes()]));
    let x = |t: usize, round: usize| {
        Fresh(derive(
            "fuzz round",
            &[&nonce.0, &t.to_le_bytes(), &round.to_le_bytes()],
        ))
    };
    let w = |t: usize| Fresh(derive("fuzz w", &[&nonce.0, &t.to_le_bytes()]));

    let plan_bytes = plan.to_bytes();
    let theirs = reference::run(
        &theirs(&plan),
        &reference::chain_0(&nonce.0, b"hello", &plan_bytes),
        |t, _| v(t).0,
        |t, round| x(t, round).0,
        |t, _| w(t).0,
    );

    let mut trace = Trace::begin(&plan, &nonce, b"hello", &plan_bytes);
    let mut engines: Vec<CpuEngine> = plan
        .devices()
        .iter()
        .map(|device| engine(path, &plan, device))
        .collect();
    let datasets: Vec<_> = engines
        .iter()
        .map(|engine| engine.dataset().expect("prepared"))
        .collect();
    for engine in &mut engines {
        engine.connect(&datasets).expect("all of one host");
    }
    for (t, iteration) in plan.iterations().iter().enumerate() {
        let expected = &theirs.trace[t];
        assert_eq!(trace.current() as usize, t);
        let task = trace.fill_task();
        for (g, engine) in engines.iter_mut().enumerate() {
            let root = engine.fill(&task, &Unobserved).expect("nothing fails here");
            assert_eq!(
                root.0, expected.fill_roots[g],
                "{path}, iteration {t}, device {g}: fill root"
            );
            let filled = Filled {
                iteration: t as u32,
                device: plan.devices()[g].ordinal,
                root,
            };
            trace.filled(&filled).expect("a fill is due");
        }
        let salt = |stage, fresh| SaltMessage {
            stage,
            iteration: t as u32,
            fresh,
        };
        trace.salted(&salt(Stage::V, v(t))).expect("v is due");
        let mut salts = trace.first_sweep_salts();
        let mut all = vec![Vec::new(); salts.len()];
        for s in 0..iteration.sweeps as usize {
            let mut roots = Vec::new();
            for (g, (_, salt)) in salts.iter().enumerate() {
                assert_eq!(
                    salt.0, expected.sweep_salts[g][s],
                    "iteration {t}, device {g}: salt of sweep {s}"
                );
                let root = engines[g].sweep(salt, &Unobserved).expect("nothing fails here");
                assert_eq!(
                    root.0, expected.sweep_roots[g][s],
                    "{path}, iteration {t}, device {g}: root of sweep {s}"
                );
                all[g].push(root);
                roots.push(root);
            }
            advance_sweep_salts(&mut salts, &roots);
        }
        for ((device, _), roots) in salts.into_iter().zip(all) {
            let swept = Swept {
                iteration: t as u32,
                device,
                roots,
            };
            trace.swept(&swept).expect("sweeps are due");
        }
        for (r, expected) in expected.rounds.iter().enumerate() {
            let stage = Stage::Round(r as u32);
            trace.salted(&salt(stage, x(t, r))).expect("a round is due");
            let mut roots = Vec::new();
            for (device, task) in trace.cross_tasks() {
                assert_eq!(
                    task.salt.0, expected.salts[device.0 as usize],
                    "iteration {t}, round {r}"
                );
                let engine = &mut engines[device.0 as usize];
                let root = engine.cross(&task, &Unobserved).expect("nothing fails here");
                roots.push(root.0);
                let crossed = Crossed {
                    iteration: t as u32,
                    round: r as u32,
                    device,
                    root,
                };
                trace.crossed(&crossed).expect("a round is under way");
            }
            assert_eq!(roots, expected.roots, "{path}, iteration {t}, round {r}");
        }
        trace.salted(&salt(Stage::W, w(t))).expect("w is due");
    }
    assert_eq!(trace.checksum().map(|checksum| checksum.0), Some(theirs.checksum));
}

/// At most four tiles a device and three devices, small k.
fn plan(input: &mut Input<'_>) -> Plan {
    let (matrix_dim, most) = [(256, 9), (256, 2), (512, 2)][input.below(3)];
    let mut matrix_offset = 0;
    let devices: Vec<DevicePlan> = (0..=input.below(3) as u32)
        .map(|g| {
            let num_matrices = 1 + input.below(most) as u32;
            let device = DevicePlan {
                ordinal: DeviceOrdinal(g),
                matrix_offset,
                num_matrices,
            };
            matrix_offset += u64::from(num_matrices);
            device
        })
        .collect();
    let tiles_per_matrix = (matrix_dim / 256) * (matrix_dim / 256);
    let fewest = devices
        .iter()
        .map(|device| device.num_matrices * tiles_per_matrix)
        .min();
    let most_crossings = match devices.len() {
        1 => 0,
        _ => fewest.unwrap_or(0) / 4,
    };
    let iterations = (0..=input.below(2))
        .map(|_| Iteration {
            crossings: input.below(most_crossings as usize + 1) as u32,
            ..Iteration::new(64 * (1 + input.below(7) as u32), 1 + input.below(3) as u32)
        })
        .collect();
    let request = cast::request(&[(64, 1)], 1);
    Plan::new(PlanFields {
        session_id: request.session_id,
        verifier: request.verifier,
        verifier_name: request.verifier_name,
        audience: request.audience,
        matrix_dim,
        devices,
        iterations,
        samples: 1,
        deadlines: request.deadlines,
    })
    .expect("within the bounds")
}

fn theirs(plan: &Plan) -> reference::Plan {
    reference::Plan {
        n: plan.matrix_dim() as usize,
        devices: plan
            .devices()
            .iter()
            .map(|device| reference::Device {
                matrix_offset: device.matrix_offset,
                num_matrices: device.num_matrices.into(),
            })
            .collect(),
        iterations: plan
            .iterations()
            .iter()
            .map(|iteration| reference::Iteration {
                k: iteration.inner_dim as usize,
                sweeps: iteration.sweeps.into(),
                crossings: iteration.crossings.into(),
            })
            .collect(),
    }
}

fn engine(path: Path, plan: &Plan, device: &DevicePlan) -> CpuEngine {
    let mut engine = CpuEngine::new(CpuEngineConfig {
        path,
        threads: NonZeroUsize::MIN,
        operand_budget_bytes: 1,
        memory_limit_bytes: Some(64 << 20),
        link_bytes_per_s: None,
    })
    .expect("an available path");
    engine.prepare(&plan.assignment(device)).expect("the memory is there");
    engine
}

/// One plan for every path, and every shape once.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let path = |path: u8| vec![path, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 0, 1, 0, 1, 0, 0, 0];
    let mut seeds: Vec<_> = (0..Path::available().len() as u8).map(path).collect();
    seeds.push(vec![0, 0, 2, 0, 2, 0]);
    seeds
}
