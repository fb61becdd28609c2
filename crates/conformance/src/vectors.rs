//! Every run of `spec/vectors/v1.json`, in the steps of a session.

use std::fs;

use protocol::bytes::{Chain, DeviceOrdinal, Fresh, Root, unhex};
use protocol::derive;
use protocol::engine::{Assignment, AssignmentFields, CommitmentId, Engine, FillTask, Unobserved};
use protocol::limits::LEAVES_PER_CHUNK;
use serde_json::Value;

use crate::Subject;

/// Every run of `spec/vectors/v1.json` has the results given there: leaves, roots, salts and the checksum.
/// `GPU_ATTESTOR_VECTORS` can specify its path, for tests that run without the sources.
pub fn every_run_of_the_vectors_is_reproduced(subjects: &[&dyn Subject]) {
    let vectors = vectors();
    for subject in subjects {
        for run in list(&vectors["runs"]) {
            replay(run, *subject);
        }
    }
}

pub(crate) fn vectors() -> Value {
    let file = std::env::var("GPU_ATTESTOR_VECTORS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/v1.json").to_owned());
    serde_json::from_str(&fs::read_to_string(file).expect("the vectors are there")).expect("JSON")
}

pub(crate) fn bytes32(value: &Value) -> [u8; 32] {
    unhex(value.as_str().expect("a string"))
        .expect("hexadecimal")
        .try_into()
        .expect("32 bytes")
}

pub(crate) fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|number| number.try_into().ok()).expect("a u32")
}

pub(crate) fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

/// Opens the first leaves and compares them with those of the vectors.
fn check_leaves(engine: &mut dyn Engine, id: CommitmentId, root: &Root, leaf_count: u64, expected: &Value, what: &str) {
    for (leaf, expected) in list(expected).iter().enumerate() {
        let opening = engine.open(id, leaf as u32).expect("the leaf exists");
        let actual = opening
            .verify(root, leaf as u32, leaf_count)
            .expect("the opening belongs to the root");
        assert_eq!(
            actual.to_string(),
            expected.as_str().expect("a decimal"),
            "{what}: leaf {leaf} of {id}"
        );
    }
    for leaf in [leaf_count - 1, leaf_count / 2, LEAVES_PER_CHUNK.min(leaf_count - 1)] {
        let opening = engine.open(id, leaf as u32).expect("the leaf exists");
        opening
            .verify(root, leaf as u32, leaf_count)
            .expect("the opening belongs to the root");
    }
    assert!(
        engine.open(id, leaf_count as u32).is_err(),
        "{what}: {id} has one leaf too many"
    );
}

fn replay(run: &Value, subject: &dyn Subject) {
    let what = format!(
        "{subject}, run {}",
        run.get("name").and_then(Value::as_str).unwrap_or("without a name")
    );
    let matrix_dim = number(&run["n"]);
    let iterations = list(&run["iterations"]);
    let max_inner_dim = iterations
        .iter()
        .map(|iteration| number(&iteration["k"]))
        .max()
        .expect("an iteration");
    let mut devices: Vec<(Box<dyn Engine>, Assignment)> = list(&run["devices"])
        .iter()
        .map(|device| {
            let assignment = Assignment::new(AssignmentFields {
                matrix_dim,
                matrix_offset: device["matrix_offset"].as_u64().expect("a number"),
                num_matrices: number(&device["num_matrices"]),
                max_inner_dim,
            })
            .expect("sizes that a plan can have");
            let mut engine = subject.engine(None);
            engine.prepare(&assignment).expect("the memory is there");
            (engine, assignment)
        })
        .collect();

    let mut chain = Chain(bytes32(&run["chain_0"]));
    for (t, (iteration, trace)) in iterations.iter().zip(list(&run["trace"])).enumerate() {
        let t = t as u32;
        assert_eq!(chain.0, bytes32(&trace["chain"]), "{what}: chain of iteration {t}");
        let task = FillTask {
            inner_dim: number(&iteration["k"]),
            operand_key: derive::operand_key(&chain),
            fill_salt: derive::fill_salt(&chain),
            sweeps: number(&iteration["sweeps"]),
        };
        let mut fill_roots = Vec::new();
        for (g, (engine, assignment)) in devices.iter_mut().enumerate() {
            let root = engine.fill(&task, &Unobserved).expect("the fill runs");
            let id = CommitmentId::Fill { iteration: t };
            check_leaves(
                &mut **engine,
                id,
                &root,
                assignment.tiles().into(),
                &trace["fill_digests"][g],
                &what,
            );
            assert_eq!(
                root.0,
                bytes32(&trace["fill_roots"][g]),
                "{what}: fill root of device {g}, iteration {t}"
            );
            fill_roots.push(root);
        }
        let v = Fresh(bytes32(&trace["v"]));
        let sweeps = number(&iteration["sweeps"]);
        let ordinals = (0..devices.len() as u32).map(DeviceOrdinal);
        let first = |g| (g, derive::first_sweep_salt(&chain, &v, &fill_roots, g));
        let mut salts: Vec<_> = ordinals.map(first).collect();
        let mut last_roots = Vec::new();
        for s in 1..=sweeps {
            last_roots.clear();
            for (g, (engine, _)) in devices.iter_mut().enumerate() {
                let (salt, at) = (&salts[g].1, s as usize - 1);
                let expected = bytes32(&trace["sweep_salts"][g][at]);
                assert_eq!(salt.0, expected, "{what}: salt of device {g}, sweep {s}");
                let root = engine.sweep(salt, &Unobserved).expect("the sweep runs");
                let expected = bytes32(&trace["sweep_roots"][g][at]);
                assert_eq!(root.0, expected, "{what}: root of device {g}, iteration {t}, sweep {s}");
                last_roots.push(root);
            }
            derive::advance_sweep_salts(&mut salts, &last_roots);
        }
        for (g, (engine, assignment)) in devices.iter_mut().enumerate() {
            let id = CommitmentId::Sweep {
                iteration: t,
                sweep: sweeps,
            };
            let leaf_count = u64::from(assignment.tiles().div_ceil(2));
            let digests = &trace["last_sweep_digests"][g];
            check_leaves(&mut **engine, id, &last_roots[g], leaf_count, digests, &what);
        }
        chain = derive::next_chain(&chain, &Fresh(bytes32(&trace["w"])), &last_roots);
    }
    assert_eq!(chain.0, bytes32(&run["checksum"]), "{what}: checksum");
}
