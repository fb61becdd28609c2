//! Many short sessions leave the device's memory unchanged: 50, or `GPU_ATTESTOR_SESSIONS`. A separate process: nothing
//! else allocates concurrently.

mod common;

use engine_cuda::{CudaEngine, CudaEngineConfig};
use protocol::bytes::{OperandKey, Salt};
use protocol::engine::{Assignment, AssignmentFields, Engine, FillTask, Unobserved};

#[test]
fn dropped_engines_free_everything() {
    let Some(_turn) = common::gpu("dropped_engines_free_everything") else {
        return;
    };
    let observer = CudaEngine::new(CudaEngineConfig::new(0)).expect("there is a GPU");
    let free = || observer.offer().expect("the driver answers").available_bytes;
    let assignment = Assignment::new(AssignmentFields {
        matrix_dim: 1024,
        matrix_offset: 0,
        num_matrices: 40,
        max_inner_dim: 256,
    })
    .expect("sizes that a plan can have");
    let session = |seed: u8, open: bool| {
        let mut engine = CudaEngine::new(CudaEngineConfig::new(0)).expect("there is a GPU");
        engine.prepare(&assignment).expect("the memory is there");
        let task = FillTask {
            inner_dim: 256,
            operand_key: OperandKey([seed; 32]),
            fill_salt: Salt([seed; 32]),
            sweeps: 1,
        };
        engine.fill(&task, &Unobserved).expect("the fill runs");
        // Dropped with a copy of leaves in flight.
        engine.sweep(&Salt([seed; 32]), &Unobserved).expect("the sweep runs");
        if open {
            engine.prepare(&assignment).expect("the memory is there again");
        }
    };
    session(0, true);
    let before = free();
    let sessions = std::env::var("GPU_ATTESTOR_SESSIONS").map_or(50, |count| count.parse().expect("a number"));
    for i in 0..sessions {
        session(i as u8, i % 2 == 0);
    }
    let after = free();
    // Pages that another process allocates or frees meanwhile are a few MiB; one leaked session is 40.
    assert!(
        before.abs_diff(after) < 32 << 20,
        "{before} bytes free before, {after} after"
    );
}
