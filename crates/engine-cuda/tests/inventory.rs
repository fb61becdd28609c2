//! What the driver and NVML report about the first GPU, and its telemetry at work.

mod common;

use std::time::Duration;

use engine_cuda::{CudaEngine, CudaEngineConfig, NvmlWatch, devices};
use protocol::bytes::{OperandKey, Salt};
use protocol::engine::{Assignment, AssignmentFields, Engine, FillTask, Unobserved};

#[test]
fn the_first_device_is_described() {
    let Some(_turn) = common::gpu("the_first_device_is_described") else {
        return;
    };
    let devices = devices().expect("there is a GPU");
    for device in &devices {
        for (name, value) in device.labels() {
            println!("{}: {name} = {value}", device.index);
        }
    }
    let first = &devices[0];
    assert!(!first.model.is_empty() && first.memory_bytes > 0 && first.multiprocessors > 0);
    let engine = CudaEngine::new(CudaEngineConfig::new(0)).expect("there is a GPU");
    assert_eq!(
        engine.offer().expect("the driver answers").memory_bytes,
        first.memory_bytes
    );
    assert!(first.without_nvml.is_some() || first.driver_version.is_some());
}

#[test]
fn a_device_at_work_is_watched() {
    let Some(_turn) = common::gpu("a_device_at_work_is_watched") else {
        return;
    };
    let first = &devices().expect("there is a GPU")[0];
    if let Some(why) = &first.without_nvml {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let mut engine = CudaEngine::new(CudaEngineConfig::new(0)).expect("there is a GPU");
    let assignment = Assignment::new(AssignmentFields {
        matrix_dim: 4096,
        matrix_offset: 0,
        num_matrices: 64,
        max_inner_dim: 16_384,
    })
    .expect("sizes that a plan can have");
    engine.prepare(&assignment).expect("the memory is there");
    let telemetry = NvmlWatch::start(&first.uuid).expect("NVML knows the device");
    let task = FillTask {
        inner_dim: 16_384,
        operand_key: OperandKey([1; 32]),
        fill_salt: Salt([2; 32]),
        sweeps: 0,
    };
    for _ in 0..10 {
        engine.fill(&task, &Unobserved).expect("the fill runs");
    }
    std::thread::sleep(Duration::from_millis(250));
    let summary = telemetry.finish().expect("NVML answers");
    println!("{summary:?}");
    assert!(summary.samples >= 3, "{summary:?}");
    assert!(summary.elapsed_ns >= 250_000_000);
}
