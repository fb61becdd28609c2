//! The table of all engines, and the rule by which one is chosen.
//!
//! Each engine is a crate of its own that passes the suite in `conformance` and has a [`Backend`]; [`ENGINES`] has a
//! line for each. Commands name no engine except the CPU.

mod table;

pub use backend::{
    Backend, Device, EmulatedWanted, HostDevice, NotBuilt, Report, Row, Telemetry, Unavailable, Wanted, panic_message,
};
pub use engine_cpu::{Cpu, CpuEngineConfig, Path, cpu_devices, cpu_engine};
#[cfg(feature = "cuda")]
pub use engine_cuda::{Cuda, CudaError, cuda_devices};
pub use table::{ENGINES, Taken, auto, named, open_each};
