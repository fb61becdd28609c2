//! Common interface to all engines: devices are found, offered and opened by the engine's name.
//!
//! A [`Backend`] is one engine as the commands see it; [`ENGINES`] is the table of them. A new engine is a separate
//! crate that passes the suite in `conformance`, a [`Backend`] for it here, and a line in the table: commands name no
//! engine except the CPU.

mod backend;
pub mod bench;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod table;

pub use backend::{Backend, CpuWanted, HostDevice, NotBuilt, Unavailable, Wanted};
pub use cpu::{Cpu, cpu_devices, cpu_engine};
#[cfg(feature = "cuda")]
pub use cuda::{Cuda, CudaError, cuda_devices};
pub use device::{Device, Telemetry, panic_message};
pub use engine_cpu::{CpuEngineConfig, Path};
pub use table::{ENGINES, Taken, auto, named, open_each};
